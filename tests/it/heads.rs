//! The heads file is only ever a shortcut: present, absent, damaged, stale or foreign, the answers
//! are the same, and what is doubtful is made again and reported.

use factlog::disk::SimDisk;
use factlog::{ErrorKind, Expect, NewEvent, OpenReport, Position, Retention, Store};

use crate::rig::{Answers, answers, event, open, options, read_only, save_snapshot};

const HEADS: &str = "heads";

/// Several sealed segments; streams that end in every one of them, checkpoints in some. Answers
/// the disk as it was when each segment had been sealed, too.
fn history() -> (Vec<SimDisk>, SimDisk) {
    let disk = SimDisk::new(3);
    let store = open(&disk).unwrap();
    let (mut stages, mut segments) = (Vec::new(), 1);
    for number in 0..40 {
        let stream = format!("S-{}", number % (2 + number / 3));
        let stream = if stream == "S-0" && number > 9 { "S-9".into() } else { stream };
        store.append(&*stream, Expect::Any, [event(number, 1500)]).unwrap();
        if number % 7 == 3 {
            let name = format!("carried-{}", number % 2);
            let batch = store.batch().append("C-1", Expect::Any, [event(1000 + number, 5)]);
            batch.checkpoint(name, Position::new(number)).commit().unwrap();
        }
        match number {
            5 => store.retain("S-1", Retention::default().keep_last(3)).unwrap(),
            9 => store.tombstone_stream("S-0", Expect::Any).unwrap(),
            10 => store.delete_stream("S-2", Expect::Any).unwrap(),
            _ => {}
        }
        if store.stats().segments > segments {
            segments = store.stats().segments;
            stages.push(disk.after_kill());
        }
    }
    save_snapshot(&store, "S-1", 2);
    store.save_checkpoint("saved", Position::new(9)).unwrap();
    store.close().unwrap();
    assert!(segments > 4, "{segments}");
    (stages, disk)
}

fn told(report: &OpenReport) -> Option<&str> {
    let found = report.sidecars_rebuilt.iter().find(|rebuilt| rebuilt.file == HEADS);
    found.map(|rebuilt| &*rebuilt.why)
}

/// Opens a copy for writing; the answers have to be those, also after what is there goes on.
fn opened_same(disk: &SimDisk, before: &Answers, what: &str) -> Store {
    let follower = read_only(disk).unwrap();
    assert_eq!(answers(&follower).unwrap(), *before, "read only, {what}");
    let store = open(disk).unwrap();
    assert_eq!(answers(&store).unwrap(), *before, "{what}");
    store
}

/// What is not the file that was written is noticed, made again and then believed.
fn is_doubted(disk: &SimDisk, before: &Answers, what: &str) {
    let store = opened_same(disk, before, what);
    assert!(told(&store.open_report()).is_some(), "{what}: {:?}", store.open_report());
    drop(store);
    let again = open(disk).unwrap();
    assert_eq!(told(&again.open_report()), None, "{what}: made again");
    assert_eq!(answers(&again).unwrap(), *before, "{what}: made again");
}

#[test]
fn the_file_is_there_and_believed_and_nothing_is_made_again() {
    let (_, disk) = history();
    assert!(disk.file_names().contains(&HEADS.to_owned()));
    let store = open(&disk.copy()).unwrap();
    assert_eq!(store.open_report().sidecars_rebuilt, []);
    let before = answers(&store).unwrap();
    let alone = options().rebuild_index(true).open_on(std::sync::Arc::new(disk.copy())).unwrap();
    assert!(told(&alone.open_report()).is_some());
    assert_eq!(answers(&alone).unwrap(), before);
}

#[test]
fn a_missing_cut_or_flipped_file_gives_the_same_answers() {
    let (_, disk) = history();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let bytes = disk.read_file(HEADS).unwrap();
    let without = disk.copy();
    without.remove_file(HEADS);
    is_doubted(&without, &before, "missing");
    for length in 0..bytes.len() {
        let cut = disk.copy();
        cut.write_file(HEADS, bytes[..length].to_vec());
        is_doubted_at_open(&cut, &before, &format!("cut at {length}"));
    }
    for bit in 0..bytes.len() * 8 {
        let flipped = disk.copy();
        flipped.flip_bit(HEADS, (bit / 8) as u64, (bit % 8) as u32);
        is_doubted_at_open(&flipped, &before, &format!("bit {bit}"));
    }
}

/// The quick half of [`is_doubted`], for thousands of cases.
fn is_doubted_at_open(disk: &SimDisk, before: &Answers, what: &str) {
    let store = open(disk).unwrap();
    assert!(told(&store.open_report()).is_some(), "{what}");
    heads_same(&store, before, what);
}

/// What comes out of heads alone: streams, their heads, checkpoints.
fn heads_same(store: &Store, before: &Answers, what: &str) {
    let streams = store.streams("").unwrap();
    let found: Vec<_> = streams.iter().map(|info| info.name.as_str().to_owned()).collect();
    assert_eq!(found, before.streams.keys().cloned().collect::<Vec<_>>(), "{what}");
    for (name, (version, position, _)) in &before.streams {
        let head = store.head(&**name).unwrap().unwrap();
        assert_eq!((head.version.get(), head.last_position.get()), (*version, *position), "{what}");
    }
    assert_eq!(store.stats().streams, before.streams.len() as u64, "{what}");
    let saved = store.checkpoints().unwrap().into_iter();
    let saved: Vec<_> = saved.map(|known| (known.name, known.position.get())).collect();
    assert_eq!(Ok(saved), before.checkpoints, "{what}");
}

#[test]
fn a_stale_file_is_gone_on_from() {
    let (stages, disk) = history();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let newest = disk.read_file(HEADS).unwrap();
    let mut older = 0;
    for (number, stage) in stages.iter().enumerate() {
        let Some(bytes) = stage.read_file(HEADS) else { continue };
        older += u32::from(bytes != newest);
        let stale = disk.copy();
        stale.write_file(HEADS, bytes);
        let what = format!("as of stage {number}");
        let store = opened_same(&stale, &before, &what);
        drop(store);
        assert_eq!(answers(&open(&stale).unwrap()).unwrap(), before, "again, {what}");
    }
    assert!(older > 1, "{older}");
}

#[test]
fn a_file_from_another_store_or_of_a_later_end_is_doubted() {
    let (stages, disk) = history();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let (_, other) = history();
    let foreign = disk.copy();
    foreign.write_file(HEADS, other.read_file(HEADS).unwrap());
    is_doubted(&foreign, &before, "of another store");
    // The log was set back to a copy, this file was not.
    let restored = stages[1].copy();
    let was = answers(&open(&restored.copy()).unwrap()).unwrap();
    restored.write_file(HEADS, disk.read_file(HEADS).unwrap());
    is_doubted(&restored, &was, "of a later end");
}

#[test]
fn a_power_cut_while_it_is_written_costs_nothing() {
    let (_, disk) = history();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    disk.remove_file(HEADS);
    let whole = disk.copy();
    drop(open(&whole).unwrap());
    let operations = whole.operations() - disk.operations();
    for at in 0..operations {
        for seed in 0..4 {
            let crashed = disk.copy();
            crashed.crash_at(disk.operations() + at);
            let _ = open(&crashed);
            let after = crashed.after_power_cut(seed);
            let what = format!("crash at {at}, seed {seed}");
            let store = open(&after).unwrap();
            heads_same(&store, &before, &what);
            assert_eq!(store.last_position().get(), before.all.len() as u64, "{what}");
            store.append("S-1", Expect::Any, [event(5000, 5)]).unwrap();
        }
    }
}

fn sidecar(number: u64) -> String {
    format!("{number:020}.idx")
}

/// The segment at whose end the heads are.
fn covered(disk: &SimDisk) -> u64 {
    let bytes = disk.read_file(HEADS).unwrap();
    u64::from_le_bytes(bytes[32..40].try_into().unwrap())
}

#[test]
fn opening_reads_no_more_of_a_covered_sidecar_than_its_header() {
    let (_, disk) = history();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let upto = covered(&disk);
    assert!(upto > 2, "{upto}");
    // Whatever is read of these is noticed: nothing but headers and the last byte's section check.
    for number in 1..=upto {
        let last = disk.read_file(&sidecar(number)).unwrap().len() as u64 - 1;
        disk.flip_bit(&sidecar(number), last, 3);
        disk.flip_bit(&sidecar(number), 336, 3);
    }
    let store = open(&disk).unwrap();
    heads_same(&store, &before, "opened");
    assert_eq!(store.last_position().get(), before.all.len() as u64);
    assert_eq!(store.open_report().sidecars_rebuilt, [], "nothing was read");
    assert_eq!(answers(&store).unwrap(), before);
    let report = store.open_report();
    assert_eq!(report.sidecars_rebuilt.len() as u64, upto, "{report:?}");
    assert_eq!(report.damage, []);
    store.append("S-1", Expect::Any, [event(6000, 5)]).unwrap();
    drop(store);
    let again = open(&disk).unwrap();
    assert_eq!(again.open_report().sidecars_rebuilt.len() as u64, upto, "made again");
    drop(again);
    assert_eq!(open(&disk).unwrap().open_report().sidecars_rebuilt, []);
}

#[test]
fn a_flipped_bit_or_cut_in_a_covered_sidecar_gives_the_same_answers() {
    let (_, disk) = history();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let file = sidecar(2);
    let bytes = disk.read_file(&file).unwrap();
    let (mut at_open, mut later) = (0, 0);
    for at in 0..bytes.len() {
        let flipped = disk.copy();
        flipped.flip_bit(&file, at as u64, (at % 8) as u32);
        let what = format!("byte {at}");
        let store = open(&flipped).unwrap();
        let early = store.open_report().sidecars_rebuilt.len();
        assert_eq!(answers(&store).unwrap(), before, "{what}");
        assert_eq!(store.open_report().sidecars_rebuilt.len(), 1, "{what}");
        if early == 1 { at_open += 1 } else { later += 1 }
    }
    assert!(at_open < 400 && later > 400, "{at_open} at the opening, {later} later");
    for length in (0..bytes.len()).step_by(7) {
        let cut = disk.copy();
        cut.write_file(&file, bytes[..length].to_vec());
        let store = open(&cut).unwrap();
        assert_eq!(store.open_report().sidecars_rebuilt.len(), 1, "cut at {length}");
        assert_eq!(answers(&store).unwrap(), before, "cut at {length}");
    }
}

/// With the log damaged below a covered sidecar that is damaged, too: what is left is served, the
/// rest is a typed error, nothing is made around the damage, and no id is taken for a new one.
#[test]
fn damage_under_a_damaged_covered_sidecar_is_told_where_it_is_read() {
    let (_, disk) = history();
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let (file, log) = (sidecar(2), format!("{:020}.seg", 2));
    let last = disk.read_file(&file).unwrap().len() as u64 - 1;
    disk.flip_bit(&file, last, 1);
    disk.flip_bit(&log, 6000, 1);
    let bad = disk.read_file(&file).unwrap();
    let store = open(&disk).unwrap();
    let mut lost = 0;
    for known in &before.all {
        match store.event_at(known.position()) {
            Ok(found) => assert_eq!(found.as_ref(), Some(known)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
                lost += 1;
            }
        }
    }
    assert!((1..5).contains(&lost), "{lost}");
    assert!(!store.open_report().damage.is_empty());
    for known in &before.all {
        let again = NewEvent::binary("Again", "x").id(known.id());
        let told = store.append(known.stream(), Expect::Any, [again]);
        let deleted = told.as_ref().is_err_and(|error| error.kind() == ErrorKind::Deleted);
        let answered = deleted || told.is_ok_and(|answer| answer.already);
        assert!(answered || store.event_at(known.position()).is_err());
    }
    let new = store.append("S-1", Expect::Any, [event(7000, 5)]).unwrap_err();
    assert_eq!(new.kind(), ErrorKind::Damaged, "{new:?}");
    assert_eq!(store.last_position().get(), before.all.len() as u64);
    drop(store);
    assert_eq!(disk.read_file(&file).unwrap(), bad, "left as it was");
}
