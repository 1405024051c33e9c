//! Opening what was damaged: the same answers, a typed error, or a reported shorter log; never
//! wrong data and never a silently shorter log.

use std::sync::Arc;

use factlog::disk::SimDisk;
use factlog::{Error, ErrorKind, Position, RecordedEvent, Store};

use crate::explore::contract;
use crate::rig::{Answers, SEGMENT, answers, event, open, options, read_only, sample};

/// What opening for writing came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Same,
    /// Opened, but these positions answer `Damaged`.
    Lost(Vec<u64>),
    /// Fewer events, as the report says.
    Shorter(u64),
    Refused,
    /// The log is as it was, a saved checkpoint or snapshot is not.
    Keyed,
}

pub fn closed_sample() -> (SimDisk, Answers) {
    let disk = SimDisk::new(1);
    sample(&disk).close().unwrap();
    let store = open(&disk.copy()).unwrap();
    assert!(store.open_report().clean, "{:?}", store.open_report());
    let before = answers(&store).unwrap();
    drop(store);
    (disk, before)
}

pub fn segment(number: u64) -> String {
    format!("{number:020}.seg")
}

fn sidecar(number: u64) -> String {
    format!("{number:020}.idx")
}

/// The index of the part of a segment that begins behind its opening frame.
fn part(number: u64) -> String {
    format!("{number:020}-{:010}.idx", 4096 + 144)
}

pub fn is_keyed(file: &str) -> bool {
    ["checkpoints", "snapshots"].contains(&file)
}

/// The error is one that this may be, and names the file.
pub fn check_refusal(error: &Error, file: &str, what: &str) {
    let typed = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported);
    assert!(typed, "{what}: {error:?}");
    assert!(error.file().is_some() && error.offset().is_some(), "{what}: {error:?}");
    if !file.is_empty() {
        assert_eq!(error.file(), Some(file), "{what}: {error:?}");
    }
}

/// Opens for writing and compares with what there was.
pub fn judge(disk: &SimDisk, before: &Answers, file: &str, what: &str) -> Outcome {
    let store = match open(&disk.copy()) {
        Ok(store) => store,
        Err(error) => {
            check_refusal(&error, file, what);
            return Outcome::Refused;
        }
    };
    let report = store.open_report();
    let last = store.last_position().get();
    if last < before.all.len() as u64 {
        let told = !report.set_aside.is_empty() || !report.clean;
        assert!(told, "{what}: silently shorter: {report:?}");
        let now = answers(&store).unwrap();
        assert_eq!(now.all, before.all[..now.all.len()], "{what}: a prefix");
        return Outcome::Shorter(last);
    }
    match answers(&store) {
        Ok(now) if now == *before => Outcome::Same,
        Ok(mut now) => {
            assert!(is_keyed(file), "{what}: {now:#?}");
            older_or_damaged(&now, before, what);
            now.checkpoints = before.checkpoints.clone();
            now.snapshots = before.snapshots.clone();
            assert_eq!(now, *before, "{what}");
            Outcome::Keyed
        }
        Err(_) => Outcome::Lost(check_served(&store, before, what)),
    }
}

/// A saved value that does not check is the one before it, or a typed error.
pub fn older_or_damaged(now: &Answers, before: &Answers, what: &str) {
    match &now.checkpoints {
        Ok(known) => {
            for (name, position) in known {
                let all = before.checkpoints.as_ref().unwrap();
                let newest = all.iter().find(|(known, _)| known == name).unwrap().1;
                assert!([2, 3, 5, 9].contains(position) && *position <= newest, "{what}: {now:?}");
            }
        }
        Err(kind) => assert_eq!(*kind, ErrorKind::Damaged, "{what}"),
    }
    for (stream, (version, data)) in &now.snapshots {
        assert_eq!(data, format!("{stream} folded up to {version}").as_bytes(), "{what}");
    }
}

/// Every position is the event that was there, or `Damaged` with its place. Answers which are not
/// served.
fn check_served(store: &Store, before: &Answers, what: &str) -> Vec<u64> {
    let lost = contract::c4_no_silent_loss(store, &before.all);
    let lost = lost.unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
    for (name, (_, _, positions)) in &before.streams {
        let read: Vec<_> =
            store.read_stream(&**name).hidden(factlog::Hidden::Include).into_iter().collect();
        let good: Vec<Position> = read.iter().flatten().map(RecordedEvent::position).collect();
        let kept: Vec<Position> =
            positions.iter().copied().filter(|p| !lost.contains(&p.get())).collect();
        assert_eq!(good, kept, "{what}: stream {name}, lost {lost:?}");
        let told = read.iter().any(Result::is_err);
        assert!(good.len() == positions.len() || told, "{what}: {name} is silently shorter");
    }
    lost
}

/// A read-only opening works around everything but the head.
pub fn judge_read_only(disk: &SimDisk, before: &Answers, what: &str) -> Vec<u64> {
    let store = match read_only(disk) {
        Ok(store) => store,
        Err(error) => panic!("{what}: {error:?}"),
    };
    let lost = check_served(&store, before, what);
    let report = store.open_report();
    let told = lost.is_empty() || !report.damage.is_empty() || has_sidecars(disk);
    assert!(told, "{what}: {lost:?} are lost, {report:?}");
    lost
}

fn has_sidecars(disk: &SimDisk) -> bool {
    disk.file_names().iter().any(|name| name.ends_with(".idx"))
}

/// Every bit with `FACTLOG_CASES`, one per byte without; of long data only samples.
fn bits(bytes: &[u8]) -> Vec<(u64, u32)> {
    let every = crate::rig::cases(1) > 1;
    let mut all = Vec::new();
    for at in 0..bytes.len() {
        let dull = |at: usize| bytes.get(at).is_none_or(|b| *b == 0 || b.is_ascii_lowercase());
        let inside = (at.saturating_sub(40)..at + 40).all(dull);
        let bit = u32::try_from(at % 8).unwrap();
        if every {
            all.extend((0..8).map(|bit| (at as u64, bit)));
        } else if !inside || at % 61 == 0 {
            all.push((at as u64, bit));
        }
    }
    all
}

fn flip_all(file: &str, mut check: impl FnMut(&SimDisk, &Answers, &str)) {
    let (disk, before) = closed_sample();
    for (at, bit) in bits(&disk.read_file(file).unwrap()) {
        let flipped = disk.copy();
        flipped.flip_bit(file, at, bit);
        check(&flipped, &before, &format!("bit {bit} of byte {at} of {file}"));
    }
}

/// What an index of a part covers is judged when it is read, like a sealed segment; the rest, and
/// without such an index all of it, when it is opened.
#[test]
fn a_flipped_bit_in_the_tail_of_a_closed_store_is_damage() {
    let (file, part) = (segment(3), part(3));
    flip_all(&file, |disk, before, what| {
        match judge(disk, before, &file, what) {
            Outcome::Refused | Outcome::Same => {}
            Outcome::Lost(lost) => assert_eq!(lost.len(), 1, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        let lost = judge_read_only(disk, before, what);
        assert!(lost.len() <= 3, "{what}: {lost:?}");
        let rebuilt = options().rebuild_index(true).open_on(Arc::new(disk.copy()));
        check_refusal(&rebuilt.unwrap_err(), &file, what);
        disk.remove_file(&part);
        assert_eq!(judge(disk, before, &file, what), Outcome::Refused, "{what}");
    });
}

#[test]
fn a_flipped_bit_in_the_index_of_a_part_changes_nothing() {
    let file = part(3);
    flip_all(&file, |disk, before, what| {
        assert_eq!(judge(disk, before, &file, what), Outcome::Same, "{what}");
        assert!(judge_read_only(disk, before, what).is_empty(), "{what}");
    });
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_never_served() {
    for number in [1, 2] {
        let file = segment(number);
        flip_all(&file, |disk, before, what| {
            match judge(disk, before, &file, what) {
                Outcome::Refused | Outcome::Same => {}
                Outcome::Lost(lost) => assert_eq!(lost.len(), 1, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
            judge_read_only(disk, before, what);
            let rebuilt = options().rebuild_index(true).open_on(Arc::new(disk.copy()));
            check_refusal(&rebuilt.unwrap_err(), &file, what);
            for number in [1, 2] {
                disk.remove_file(&sidecar(number));
            }
            let lost = judge_read_only(disk, before, what);
            assert!(lost.len() <= 4, "{what}: {lost:?}");
        });
    }
}

#[test]
fn a_flipped_bit_in_the_head_or_the_live_file_changes_nothing() {
    for file in ["head-0", "head-1", "live"] {
        flip_all(file, |disk, before, what| {
            assert_eq!(judge(disk, before, file, what), Outcome::Same, "{what}");
            assert!(judge_read_only(disk, before, what).is_empty(), "{what}");
        });
    }
}

#[test]
fn a_flipped_bit_in_a_sidecar_changes_nothing() {
    for file in [sidecar(1), sidecar(2)] {
        flip_all(&file, |disk, before, what| {
            assert_eq!(judge(disk, before, &file, what), Outcome::Same, "{what}");
            assert!(judge_read_only(disk, before, what).is_empty(), "{what}");
        });
    }
}

#[test]
fn a_flipped_bit_in_a_keyed_file_gives_the_value_before_or_a_typed_error() {
    for file in ["checkpoints", "snapshots"] {
        flip_all(file, |disk, before, what| {
            let outcome = judge(disk, before, file, what);
            assert!(matches!(outcome, Outcome::Keyed | Outcome::Same), "{what}: {outcome:?}");
        });
    }
}

#[test]
fn every_cut_of_every_file_is_the_same_log_or_a_typed_error() {
    let (disk, before) = closed_sample();
    for file in disk.file_names() {
        let bytes = disk.read_file(&file).unwrap();
        for length in 0..bytes.len() {
            let dull = file.ends_with(".seg") && !(4000..).contains(&length);
            if dull && length % 97 != 0 {
                continue;
            }
            let cut = disk.copy();
            cut.write_file(&file, bytes[..length].to_vec());
            let what = format!("{file} cut at {length}");
            let outcome = judge(&cut, &before, &file, &what);
            let fine = match &*file {
                name if name.ends_with(".seg") => {
                    matches!(outcome, Outcome::Refused | Outcome::Lost(_))
                }
                name if is_keyed(name) => matches!(outcome, Outcome::Same | Outcome::Keyed),
                _ => outcome == Outcome::Same,
            };
            assert!(fine, "{what}: {outcome:?}");
            judge_read_only(&cut, &before, &what);
        }
    }
}

#[test]
fn every_zeroed_sector_is_the_same_log_or_a_typed_error() {
    let (disk, before) = closed_sample();
    for file in disk.file_names() {
        let bytes = disk.read_file(&file).unwrap();
        for start in (0..bytes.len()).step_by(512) {
            let mut zeroed = bytes.clone();
            let end = bytes.len().min(start + 512);
            zeroed[start..end].fill(0);
            if zeroed == bytes {
                continue;
            }
            let disk = disk.copy();
            disk.write_file(&file, zeroed);
            let what = format!("{file} zeroed from {start}");
            let outcome = judge(&disk, &before, &file, &what);
            let fine = match outcome {
                // What a sealed segment says of itself is read only where its sidecar is doubted.
                Outcome::Same => !file.ends_with("3.seg"),
                Outcome::Keyed => is_keyed(&file),
                Outcome::Refused | Outcome::Lost(_) => file.ends_with(".seg"),
                Outcome::Shorter(_) => false,
            };
            assert!(fine, "{what}: {outcome:?}");
            judge_read_only(&disk, &before, &what);
        }
    }
}

#[test]
fn a_missing_file_is_the_same_log_or_a_typed_error() {
    let (disk, before) = closed_sample();
    for file in disk.file_names() {
        let disk = disk.copy();
        disk.remove_file(&file);
        let outcome = judge(&disk, &before, if is_keyed(&file) { &file } else { "" }, &file);
        match file.ends_with(".seg") {
            true => assert_eq!(outcome, Outcome::Refused, "{file}"),
            false => assert!(matches!(outcome, Outcome::Same | Outcome::Keyed), "{file}"),
        }
        judge_read_only(&disk, &before, &format!("without {file}"));
    }
}

#[test]
fn a_swapped_duplicated_or_foreign_file_is_the_same_log_or_a_typed_error() {
    let (disk, before) = closed_sample();
    let (other, _) = closed_sample();
    let names = disk.file_names();
    for file in &names {
        for source in &names {
            let copied = disk.copy();
            copied.write_file(file, disk.read_file(source).unwrap());
            check_replaced(&copied, &before, file, &format!("{source} copied to {file}"));
            copied.write_file(source, disk.read_file(file).unwrap());
            let what = format!("{file} and {source} swapped");
            let damaged = |name: &String| name.ends_with(".seg");
            if file != source {
                match open(&copied.copy()) {
                    Ok(store) => assert_eq!(answers(&store).unwrap().all, before.all, "{what}"),
                    Err(error) => {
                        check_refusal(&error, "", &what);
                        let heads = |name: &String| name.starts_with("head-");
                        let either = |is: &dyn Fn(&String) -> bool| is(file) || is(source);
                        assert!(either(&damaged) || either(&heads), "{what}: {error:?}");
                    }
                }
            }
        }
        let mixed = disk.copy();
        mixed.write_file(file, other.read_file(file).unwrap());
        check_replaced(&mixed, &before, file, &format!("{file} of another store"));
    }
}

fn check_replaced(disk: &SimDisk, before: &Answers, file: &str, what: &str) {
    match open(&disk.copy()) {
        Ok(store) => {
            let now = answers(&store).unwrap();
            assert_eq!(now.all, before.all, "{what}");
            assert_eq!(now.streams, before.streams, "{what}");
        }
        Err(error) => check_refusal(&error, "", what),
    }
    if file.starts_with("head-") {
        return;
    }
    judge_read_only(disk, before, what);
}

#[test]
fn a_duplicate_under_the_next_number_is_never_taken_for_a_segment() {
    let (disk, before) = closed_sample();
    for (source, number) in [(1, 4), (2, 4), (3, 4), (3, 5)] {
        let disk = disk.copy();
        disk.write_file(&segment(number), disk.read_file(&segment(source)).unwrap());
        let what = format!("segment {source} copied to {number}");
        let outcome = judge(&disk, &before, &segment(number), &what);
        assert!(matches!(outcome, Outcome::Refused | Outcome::Same), "{what}: {outcome:?}");
        assert!(judge_read_only(&disk, &before, &what).is_empty(), "{what}");
    }
}

#[test]
fn sidecars_are_only_ever_a_shortcut() {
    let (disk, before) = closed_sample();
    let all = [sidecar(1), sidecar(2)];
    let without = disk.copy();
    all.iter().for_each(|name| without.remove_file(name));
    let swapped = disk.copy();
    swapped.write_file(&all[0], disk.read_file(&all[1]).unwrap());
    swapped.write_file(&all[1], disk.read_file(&all[0]).unwrap());
    let emptied = disk.copy();
    all.iter().for_each(|name| emptied.write_file(name, Vec::new()));
    for (what, disk) in [("deleted", without), ("swapped", swapped), ("emptied", emptied)] {
        assert_eq!(judge(&disk, &before, "", what), Outcome::Same, "{what}");
        assert!(judge_read_only(&disk, &before, what).is_empty(), "{what}");
        let store = open(&disk).unwrap();
        assert_eq!(store.open_report().sidecars_rebuilt.len(), 2, "{what}");
        drop(store);
        let again = open(&disk).unwrap();
        assert_eq!(again.open_report().sidecars_rebuilt, [], "{what}: made again");
        assert_eq!(answers(&again).unwrap(), before, "{what}");
    }
    let rebuilt = options().rebuild_index(true).open_on(Arc::new(disk.copy())).unwrap();
    assert_eq!(answers(&rebuilt).unwrap(), before);
}

/// Without any certificate for it, the end of the log is ambiguous: exactly the last group is.
#[test]
fn only_the_last_group_is_ambiguous_when_no_certificate_survives() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let before = answers(&store).unwrap();
    let killed = disk.after_kill();
    drop(store);
    let uncertain = killed.copy();
    uncertain.remove_file("live");
    let file = segment(3);
    let bytes = uncertain.read_file(&file).unwrap();
    let last = before.all.len() as u64;
    let mut ambiguous = 0;
    for (at, bit) in bits(&bytes).into_iter().filter(|(at, _)| *at >= 4096) {
        if bytes[at as usize..].iter().all(|byte| *byte == 0) {
            break;
        }
        for (disk, marked) in [(&uncertain, false), (&killed, true)] {
            let disk = disk.copy();
            disk.flip_bit(&file, at, bit);
            let what = format!("bit {bit} of byte {at}, live file: {marked}");
            match judge(&disk, &before, &file, &what) {
                Outcome::Refused => {}
                Outcome::Shorter(kept) if !marked => {
                    assert_eq!(kept, last - 3, "{what}: only the last batch");
                    ambiguous += 1;
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    assert!(ambiguous > 0);
}

#[test]
fn what_is_set_aside_is_kept_byte_for_byte() {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let torn = disk.after_kill();
    drop(store);
    torn.remove_file("live");
    let file = segment(3);
    let bytes = torn.read_file(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    torn.flip_bit(&file, used - 10, 0);
    let bytes = torn.read_file(&file).unwrap();
    let store = open(&torn).unwrap();
    let report = store.open_report();
    let aside = &report.set_aside[0];
    assert_eq!((&*aside.file, aside.offset + aside.bytes), (&*file, used), "{report:?}");
    let kept = torn.read_file(&aside.kept_in).unwrap();
    assert_eq!(kept, &bytes[aside.offset as usize..used as usize]);
    store.append("A-1", factlog::Expect::Any, [event(100, 5)]).unwrap();
    assert!(SEGMENT > aside.offset);
}
