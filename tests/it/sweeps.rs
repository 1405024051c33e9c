//! Sectors that come back old, that are gone or that stand in each other's place, one by one over
//! a whole store, closed or killed: the verdict for each. `recovery.rs` flips every bit, cuts at
//! every byte and exchanges whole files.

use std::collections::{BTreeMap, BTreeSet};

use factlog::disk::SimDisk;

use crate::recovery::{
    Outcome, check_refusal, closed_sample, is_keyed, judge, judge_read_only, older_or_damaged,
    segment,
};
use crate::rig::{Answers, answers, cases, open, sample};

const SECTOR: usize = 512;

/// A store at rest, what it answers, and what its sectors have held before.
struct Subject {
    what: &'static str,
    disk: SimDisk,
    before: Answers,
    past: BTreeMap<(String, usize), BTreeSet<Vec<u8>>>,
}

/// The sample, closed and as a kill leaves it.
fn subjects() -> [Subject; 2] {
    let disk = SimDisk::new(1);
    disk.keep_history();
    let store = sample(&disk);
    let killed = disk.after_kill();
    let upto = disk.operations();
    store.close().unwrap();
    let subject = |what, at: SimDisk, upto| Subject {
        what,
        before: answers(&open(&at.copy()).unwrap()).unwrap(),
        past: past(&disk, &at, upto),
        disk: at,
    };
    [subject("closed", disk.copy(), disk.operations()), subject("killed", killed, upto)]
}

/// Every other value that a sector of `now` had at some operation.
fn past(disk: &SimDisk, now: &SimDisk, upto: u64) -> BTreeMap<(String, usize), BTreeSet<Vec<u8>>> {
    let mut all: BTreeMap<(String, usize), BTreeSet<Vec<u8>>> = BTreeMap::new();
    let files: Vec<_> =
        now.file_names().into_iter().map(|name| (now.read_file(&name).unwrap(), name)).collect();
    for then in (0..upto).filter_map(|at| disk.rewind(at, 0)) {
        for (bytes, name) in &files {
            let Some(old) = then.read_file(name) else { continue };
            for (number, (old, new)) in old.chunks(SECTOR).zip(bytes.chunks(SECTOR)).enumerate() {
                // A sector that was not there yet is zeros, and zeros have a sweep of their own.
                if old.len() >= new.len() && old.get(..new.len()) != Some(new) {
                    let old = old.iter().take(new.len()).copied().collect();
                    all.entry((name.clone(), number)).or_default().insert(old);
                }
            }
        }
    }
    all
}

/// The disk with one sector replaced.
fn with_sector(disk: &SimDisk, (file, number): (&str, usize), sector: &[u8]) -> SimDisk {
    let disk = disk.copy();
    let mut bytes = disk.read_file(file).unwrap();
    let start = number * SECTOR;
    let length = sector.len().min(bytes.len() - start);
    bytes[start..start + length].copy_from_slice(&sector[..length]);
    disk.write_file(file, bytes);
    disk
}

/// Judges a disk on which only `file` is not as it was.
fn check_verdict(subject: &Subject, disk: &SimDisk, file: &str, what: &str) -> &'static str {
    let outcome = judge(disk, &subject.before, file, what);
    // Of a killed store the live file is the certificate of the last batch, and without one a
    // reader is not shown it.
    let shown = !(subject.what == "killed" && file == "live");
    let lost = if shown { judge_read_only(disk, &subject.before, what) } else { Vec::new() };
    let name = match &outcome {
        Outcome::Same => "same",
        Outcome::Lost(_) => "lost and told",
        Outcome::Refused => "refused",
        Outcome::Keyed => "older value",
        Outcome::Shorter(_) => "shorter",
    };
    let fine = match outcome {
        // What has an index is not walked: it is found out when it is read.
        Outcome::Same | Outcome::Lost(_) if file == segment(3) => {
            check_tail_without_index(subject, disk, what);
            true
        }
        Outcome::Same => true,
        Outcome::Lost(_) => file.ends_with(".seg"),
        Outcome::Refused => file.ends_with(".seg"),
        Outcome::Keyed => is_keyed(file),
        // Everything is certified: nothing can pass for torn.
        Outcome::Shorter(_) => false,
    };
    assert!(fine, "{what}: {outcome:?}");
    assert!(lost.is_empty() || file.ends_with(".seg"), "{what}: {lost:?}");
    name
}

/// Walked from its beginning, a damaged tail is refused.
fn check_tail_without_index(subject: &Subject, disk: &SimDisk, what: &str) {
    let disk = disk.copy();
    let of_tail = segment(3).replace(".seg", "");
    let indexes = disk.file_names().into_iter().filter(|name| name.ends_with(".idx"));
    indexes.filter(|name| name.starts_with(&of_tail)).for_each(|name| disk.remove_file(&name));
    let outcome = judge(&disk, &subject.before, &segment(3), what);
    assert_eq!(outcome, Outcome::Refused, "{what}, without its index");
}

#[test]
fn every_sector_that_comes_back_old_is_the_same_log_or_a_typed_error() {
    for subject in subjects() {
        let mut verdicts: BTreeMap<_, u64> = BTreeMap::new();
        for ((file, number), old) in &subject.past {
            for (turn, old) in old.iter().enumerate() {
                let disk = with_sector(&subject.disk, (file, *number), old);
                let what = format!("{}: sector {number} of {file}, value {turn}", subject.what);
                *verdicts.entry(check_verdict(&subject, &disk, file, &what)).or_default() += 1;
            }
        }
        let all: u64 = verdicts.values().sum();
        println!("{}: {all} stale sectors, {verdicts:?}", subject.what);
        assert!(all > 50, "{all} sectors");
    }
}

#[test]
fn every_sector_of_a_killed_store_that_is_gone_is_the_same_log_or_a_typed_error() {
    let [_, subject] = subjects();
    let mut verdicts: BTreeMap<_, u64> = BTreeMap::new();
    for (file, number, sector) in sectors(&subject.disk) {
        for gone in [vec![0; sector.len()], vec![0xA5; sector.len()]] {
            let disk = with_sector(&subject.disk, (&file, number), &gone);
            let what = format!("killed: sector {number} of {file}");
            // Of a live file one slot is enough, and of a segment's empty end nothing is needed.
            *verdicts.entry(check_verdict(&subject, &disk, &file, &what)).or_default() += 1;
        }
    }
    println!("killed: lost sectors, {verdicts:?}");
}

/// Those that hold something.
fn sectors(disk: &SimDisk) -> Vec<(String, usize, Vec<u8>)> {
    let mut all = Vec::new();
    for file in disk.file_names() {
        let bytes = disk.read_file(&file).unwrap();
        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
            if sector.iter().any(|byte| *byte != 0) {
                all.push((file.clone(), number, sector.to_vec()));
            }
        }
    }
    all
}

/// All pairs with `FACTLOG_CASES`, some without.
#[test]
fn any_two_sectors_exchanged_are_the_same_log_or_a_typed_error() {
    let (disk, before) = closed_sample();
    let all = sectors(&disk);
    let every = if cases(1) > 1 { 1 } else { 29 };
    let (mut pairs, mut same) = (0_usize, 0);
    for (at, one) in all.iter().enumerate() {
        for other in all.get(at + 1..).unwrap_or_default() {
            pairs += 1;
            if pairs % every != 0 || one.2 == other.2 {
                continue;
            }
            let swapped = with_sector(&disk, (&one.0, one.1), &other.2);
            let swapped = with_sector(&swapped, (&other.0, other.1), &one.2);
            let what = format!("{}:{} and {}:{}", one.0, one.1, other.0, other.1);
            same += usize::from(check_exchange(&swapped, &before, [&one.0, &other.0], &what));
        }
    }
    println!("{pairs} pairs, every {every}. tried, {same} change nothing that is served");
    assert!(pairs > 1000, "{pairs}");
}

/// Whether the store opened for writing, with all of its events.
fn check_exchange(disk: &SimDisk, before: &Answers, files: [&str; 2], what: &str) -> bool {
    judge_read_only(disk, before, what);
    match open(&disk.copy()) {
        Err(error) => {
            check_refusal(&error, "", what);
            let blamed = error.file().unwrap_or_default();
            assert!(files.contains(&blamed), "{what}: {error:?}");
            false
        }
        Ok(store) => {
            let sound = files.iter().all(|file| !file.ends_with(".seg"));
            match answers(&store) {
                Ok(now) => {
                    assert_eq!(now.all, before.all, "{what}");
                    assert_eq!(now.streams, before.streams, "{what}");
                    older_or_damaged(&now, before, what);
                    true
                }
                Err(error) => {
                    assert!(!sound, "{what}: {error:?}");
                    false
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_the_heads_file_changes_nothing_and_the_lock_file_holds_nothing() {
    let disk = SimDisk::new(1);
    sample(&disk).close().unwrap();
    // Opening for writing makes the heads file when it is due.
    let file = disk.file_names().into_iter().find(|name| name.starts_with("heads"));
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    for at in 0..file.iter().flat_map(|file| disk.read_file(file)).map(|b| b.len()).sum::<usize>() {
        let flipped = disk.copy();
        flipped.flip_bit(file.as_deref().unwrap(), at as u64, at as u32 % 8);
        let what = format!("byte {at} of heads");
        assert_eq!(judge(&flipped, &before, "", &what), Outcome::Same, "{what}");
        assert!(judge_read_only(&flipped, &before, &what).is_empty(), "{what}");
    }
    assert_eq!(disk.read_file("lock"), Some(Vec::new()));
}
