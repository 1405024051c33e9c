//! Repair in place, and salvage into a new store: nothing is lost that still checks, and what is
//! lost is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use factlog::disk::{Fault, FaultKind, SimDisk};
use factlog::{
    ErrorKind, Expect, Hidden, Position, Query, RecordedEvent, Repair, Repaired, Result, Salvaged,
    Store, Version,
};

use crate::rig::{CHANGING_CALLS, Random, answers, cases, event, open, options, read_only, sample};

const SEGMENT_1: &str = "00000000000000000001.seg";

fn closed() -> SimDisk {
    let disk = SimDisk::new(1);
    sample(&disk).close().unwrap();
    disk
}

fn salvage(from: &SimDisk, to: &SimDisk) -> Result<Salvaged> {
    options().salvage_on(Arc::new(from.clone()), Arc::new(to.clone()), &mut |_, _| ())
}

fn repair(disk: &SimDisk, how: Repair) -> Result<Repaired> {
    options().repair_on(Arc::new(disk.clone()), how, &mut |_, _| ())
}

/// All files but the lock.
fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.file_names().into_iter().filter(|name| name != "lock");
    names.map(|name| (name.clone(), disk.read_file(&name).unwrap())).collect()
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.file_names().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn accepting(disk: &SimDisk) -> Store {
    options().accept_lost(true).open_on(Arc::new(disk.clone())).unwrap()
}

fn events(store: &Store) -> Vec<RecordedEvent> {
    store.read_all().hidden(Hidden::Include).to_vec().unwrap()
}

/// Positions that the report lists.
fn listed(salvaged: &Salvaged) -> Vec<u64> {
    let range = |damage: &factlog::Damage| {
        damage.first_position.unwrap().get()..=damage.last_position.unwrap().get()
    };
    let all: Vec<u64> = salvaged.missing.iter().flat_map(range).collect();
    assert!(all.is_sorted_by(|a, b| a < b), "in order, each once: {all:?}");
    all
}

/// The new store holds of the model what is not listed, says of the rest that it is lost, and goes
/// on.
fn holds_the_rest(to: &SimDisk, salvaged: &Salvaged, model: &[RecordedEvent]) {
    let lost = listed(salvaged);
    let there: Vec<RecordedEvent> =
        model.iter().filter(|event| !lost.contains(&event.position().get())).cloned().collect();
    let last = salvaged.events + salvaged.lost();
    let there: Vec<_> = there.into_iter().filter(|e| e.position().get() <= last).collect();
    assert_eq!(salvaged.events, there.len() as u64, "{salvaged:?}");
    for how in [options(), options().rebuild_index(true)] {
        let store = how.accept_lost(true).open_on(Arc::new(to.copy())).unwrap();
        assert_eq!(events(&store), there);
        let all = store.read_all().hidden(Hidden::Include);
        let mut backward = all.backward().to_vec().unwrap();
        backward.reverse();
        assert_eq!(backward, there);
        for event in &there {
            assert_eq!(store.event(event.id()).unwrap().as_ref(), Some(event));
            let (stream, version) = (event.stream(), event.version());
            let by_version = store.stream_event(stream, version).unwrap();
            assert!(by_version.as_ref().is_none_or(|found| found == event));
            let of_stream: Vec<_> =
                there.iter().filter(|e| e.stream() == stream).cloned().collect();
            let read = store.read_stream(stream).hidden(Hidden::Include);
            assert_eq!(read.to_vec().unwrap(), of_stream);
            let head = store.head(stream).unwrap().unwrap();
            assert_eq!(head.version, of_stream.last().unwrap().version());
        }
        let query = Query::types(["Paid", "Sent"]).tag("mod:2");
        let found = store.read(query.clone()).hidden(Hidden::Include).to_vec().unwrap();
        let wanted = there.iter().filter(|event| {
            ["Paid", "Sent"].contains(&event.event_type()) && event.tags().any(|t| t == "mod:2")
        });
        assert_eq!(found, wanted.cloned().collect::<Vec<_>>());
    }
    // Who has not accepted the loss is told of every one of them.
    let strict = open(&to.copy()).unwrap();
    let mut refused = Vec::new();
    for event in strict.read_all() {
        if let Err(error) = event {
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.message().contains("lost by salvage"), "{error}");
            refused.push(error.position().unwrap().get());
        }
    }
    assert_eq!(refused, lost);
    for position in &lost {
        let error = accepting(&to.copy()).event_at(Position::new(*position)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
    // It can be written to, and opens again.
    let disk = to.copy();
    let store = accepting(&disk);
    for number in 500..503 {
        store.append("New-1", Expect::Any, [event(number, 4000)]).unwrap();
    }
    assert!(store.verify().unwrap().clean);
    store.close().unwrap();
    let store = accepting(&disk);
    assert_eq!(store.last_position().get(), last + 3);
    assert_eq!(store.read_stream("New-1").count().unwrap(), 3);
    let reader = options().accept_lost(true).open_read_only_on(Arc::new(disk)).unwrap();
    assert_eq!(reader.read_all().count().unwrap(), salvaged.events + 3);
}

#[test]
fn a_sound_store_is_salvaged_whole() {
    let disk = closed();
    let before = files(&disk);
    let to = SimDisk::new(2);
    let salvaged = salvage(&disk, &to).unwrap();
    assert_eq!(files(&disk), before, "the source is only read");
    assert_eq!((salvaged.lost(), salvaged.events), (0, 16), "{salvaged:?}");
    assert!(salvaged.checkpoints_left.is_empty() && salvaged.snapshots_left == 0);
    let wanted = answers(&open(&disk).unwrap()).unwrap();
    assert_eq!(answers(&open(&to).unwrap()).unwrap(), wanted);
    assert_eq!(answers(&read_only(&to).unwrap()).unwrap(), wanted);
    assert_ne!(salvaged.store, salvaged.from);
}

#[test]
fn a_lost_segment_leaves_lost_positions_in_its_place() {
    let disk = closed();
    let model = events(&open(&disk.copy()).unwrap());
    for name in segments(&disk) {
        let hit = disk.copy();
        hit.remove_file(&name);
        let to = SimDisk::new(2);
        let salvaged = salvage(&hit, &to).unwrap();
        assert!(salvaged.lost() > 0 || name.ends_with("4.seg"), "{name}: {salvaged:?}");
        assert_eq!(salvaged.events + salvaged.lost(), 16, "{name}: {salvaged:?}");
        holds_the_rest(&to, &salvaged, &model);
    }
}

/// Any byte of any file, runs of zeros, cuts, whole files: what is not listed reads as ever.
#[test]
fn campaign_what_is_not_listed_as_missing_reads_equal_to_the_model() {
    let disk = closed();
    let model = events(&open(&disk.copy()).unwrap());
    let whole = files(&disk);
    let names: Vec<&String> = whole.keys().collect();
    let mut lossy = 0;
    for case in 0..cases(150) {
        let mut random = Random::new(case);
        let hit = disk.copy();
        for _ in 0..=random.below(3) {
            let name = names[random.below(names.len() as u64) as usize];
            let Some(mut bytes) = hit.read_file(name).filter(|bytes| !bytes.is_empty()) else {
                continue;
            };
            let at = random.below(bytes.len() as u64) as usize;
            let to = (at + 1 + random.below(600) as usize).min(bytes.len());
            match random.below(6) {
                0 => bytes[at..to].fill(0),
                1 => bytes.truncate(at),
                _ => bytes[at] ^= 1 << random.below(8),
            }
            hit.write_file(name, bytes);
        }
        let before = files(&hit);
        let to = SimDisk::new(case);
        let salvaged = match salvage(&hit, &to) {
            Ok(salvaged) => salvaged,
            Err(error) => {
                assert!(open(&to).is_ok_and(|store| store.open_report().created));
                assert_eq!(error.kind(), ErrorKind::Damaged, "case {case}: {error}");
                continue;
            }
        };
        assert_eq!(files(&hit), before, "case {case}: the source is only read");
        lossy += u64::from(salvaged.lost() > 0);
        let certain = salvaged.notes.iter().all(|note| !note.contains("not known"));
        let last = salvaged.events + salvaged.lost();
        assert!(!certain || last == 16 || last < 16 && uncertified(&hit), "{case}: {salvaged:?}");
        holds_the_rest(&to, &salvaged, &model);
    }
    assert!(lossy > 5, "only {lossy} cases lost anything");
}

/// Whether the damage took what named the end as durable, so that an end before it looks torn.
fn uncertified(disk: &SimDisk) -> bool {
    let opened = open(&disk.copy());
    opened.is_ok_and(|store| store.last_position().get() < 16)
        || read_only(disk).is_ok_and(|store| store.last_position().get() < 16)
}

/// What was set of a stream lies in the log without a position of its own, and goes along.
#[test]
fn deleted_streams_stay_deleted_in_a_salvaged_store() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for number in 0..4 {
        let stream = format!("A-{}", number % 2);
        store.append(&*stream, Expect::Any, [event(number, 10)]).unwrap();
    }
    store.delete_stream("A-0", Expect::Any).unwrap();
    store.tombstone_stream("A-1", Expect::Any).unwrap();
    store.close().unwrap();
    let to = SimDisk::new(2);
    let salvaged = salvage(&disk, &to).unwrap();
    assert_eq!((salvaged.events, salvaged.lost()), (4, 0));
    let store = open(&to).unwrap();
    assert_eq!(store.read_stream("A-0").count().unwrap(), 0);
    let buried = store.append("A-1", Expect::Any, [event(9, 1)]).unwrap_err();
    assert_eq!(buried.kind(), ErrorKind::Deleted);
    let appended = store.append("A-0", Expect::NoStream, [event(10, 1)]).unwrap();
    assert_eq!(appended.streams[0].first, Version::new(3));
}

fn with_lost_middle() -> (SimDisk, Salvaged) {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for number in 0..6 {
        store.append("A-1", Expect::Any, [event(number, 100)]).unwrap();
        store.append("B-1", Expect::Any, [event(10 + number, 100)]).unwrap();
    }
    store.save_checkpoint("at-lost", Position::new(5)).unwrap();
    store.save_checkpoint("at-kept", Position::new(6)).unwrap();
    for version in [3, 4] {
        let name = format!("v{version}");
        store.save_snapshot("A-1", &name, (Version::new(version), 1), *b"state").unwrap();
    }
    store.close().unwrap();
    // Positions 5 and 9 are versions 3 and 5 of A-1.
    let bytes = disk.read_file(SEGMENT_1).unwrap();
    for number in [2, 4] {
        let data = format!("{{\"n\":{number},");
        let at = bytes.windows(data.len()).position(|w| w == data.as_bytes()).unwrap();
        disk.flip_bit(SEGMENT_1, at as u64, 0);
    }
    let to = SimDisk::new(2);
    let salvaged = salvage(&disk, &to).unwrap();
    assert_eq!(listed(&salvaged), [5, 9], "{salvaged:?}");
    (to, salvaged)
}

#[test]
fn lost_versions_are_told_and_the_others_keep_theirs() {
    let (to, salvaged) = with_lost_middle();
    assert!(salvaged.missing.iter().all(|lost| lost.file == SEGMENT_1 && lost.offset > 4096));
    assert_eq!(salvaged.checkpoints_left, [("at-lost".to_owned(), Position::new(5))]);
    assert_eq!((salvaged.checkpoints, salvaged.snapshots, salvaged.snapshots_left), (1, 1, 1));
    let store = accepting(&to);
    let versions: Vec<u64> =
        store.read_stream("A-1").to_vec().unwrap().iter().map(|e| e.version().get()).collect();
    assert_eq!(versions, [1, 2, 4, 6]);
    let error = store.stream_event("A-1", Version::new(3)).unwrap_err();
    assert_eq!((error.kind(), error.version()), (ErrorKind::Damaged, Some(Version::new(3))));
    assert_eq!(store.stream_event("A-1", Version::new(7)).unwrap(), None);
    assert_eq!(store.checkpoint("at-kept").unwrap(), Some(Position::new(6)));
    assert!(store.snapshot("A-1", "v4").unwrap().is_some());
    assert!(store.snapshot("A-1", "v3").unwrap().is_none());
    // Sealed, its index lies in a sidecar that lists what is lost.
    for number in 100..110 {
        store.append("C-1", Expect::Any, [event(number, 3000)]).unwrap();
    }
    store.close().unwrap();
    let store = accepting(&to);
    assert!(store.open_report().sidecars_rebuilt.is_empty(), "{:?}", store.open_report());
    assert_eq!(store.read_stream("A-1").count().unwrap(), 4);
    assert_eq!(store.stats().lost, 2);
    drop(store);
    let strict = open(&to).unwrap();
    let refused = strict.read_stream("A-1").into_iter().filter(Result::is_err).count();
    assert_eq!(refused, 2, "each may have been of this stream");
    assert_eq!(strict.head("A-1").unwrap().unwrap().version.get(), 6);
}

/// A salvaged store is written to: what is lost cannot be known by its id any more.
#[test]
fn a_lost_event_sent_again_is_stored_anew_and_others_are_replays() {
    let (to, _) = with_lost_middle();
    let store = open(&to).unwrap();
    let known = store.append("A-1", Expect::Any, [event(1, 100)]).unwrap();
    assert!(known.already && known.first == Position::new(3));
    let lost = store.append("A-1", Expect::Version(Version::new(6)), [event(2, 100)]).unwrap();
    assert!(!lost.already && lost.first == Position::new(13));
}

#[test]
fn a_condition_over_what_is_lost_is_refused_until_the_loss_is_accepted() {
    let (to, _) = with_lost_middle();
    let query = || Query::types(["Nothing"]);
    let append = |store: &Store, after: u64| {
        let batch = store.batch().append("A-1", Expect::Any, [event(200 + after, 1)]);
        batch.condition(query(), Position::new(after)).commit()
    };
    let store = open(&to).unwrap();
    assert_eq!(append(&store, 4).unwrap_err().kind(), ErrorKind::Damaged);
    append(&store, 9).unwrap();
    store.close().unwrap();
    append(&accepting(&to), 4).unwrap();
}

#[test]
fn a_salvaged_store_is_salvaged_again_with_what_it_lost() {
    let (first, _) = with_lost_middle();
    let second = SimDisk::new(3);
    let salvaged = salvage(&first, &second).unwrap();
    assert_eq!(listed(&salvaged), [5, 9]);
    assert!(salvaged.missing[0].what.contains("earlier"), "{salvaged:?}");
    let model = events(&accepting(&first));
    assert_eq!(events(&accepting(&second)), model);
}

#[test]
fn reads_by_time_go_around_what_is_lost() {
    let (to, _) = with_lost_middle();
    let store = accepting(&to);
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_micros(crate::rig::NOW);
    assert_eq!(store.read_all().since(now).count().unwrap(), 10);
    let later = now + std::time::Duration::from_secs(1);
    assert_eq!(store.read_all().since(later).count().unwrap(), 0);
}

#[test]
fn salvage_goes_into_an_empty_directory_only_and_never_beside_a_writer() {
    let disk = closed();
    let other = closed();
    assert_eq!(salvage(&disk, &other).unwrap_err().kind(), ErrorKind::Invalid);
    let writer = open(&disk).unwrap();
    let to = SimDisk::new(2);
    assert_eq!(salvage(&disk, &to).unwrap_err().kind(), ErrorKind::Locked);
    drop(writer);
    let none = SimDisk::new(3);
    assert_eq!(salvage(&none, &to).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Torn and never acknowledged is not lost: it is as if it had never been.
#[test]
fn what_was_never_acknowledged_is_not_missing() {
    let disk = closed();
    let store = open(&disk).unwrap();
    disk.crash_at(disk.operations() + 1);
    store.append("A-1", Expect::Any, [event(90, 10), event(91, 10)]).unwrap_err();
    drop(store);
    for seed in 0..20 {
        let torn = disk.after_power_cut(seed);
        let wanted = events(&open(&torn.copy()).unwrap());
        let to = SimDisk::new(2);
        let salvaged = salvage(&torn, &to).unwrap();
        assert!(salvaged.missing.is_empty(), "{salvaged:?}");
        assert_eq!(events(&open(&to).unwrap()), wanted);
    }
}

fn damaged() -> SimDisk {
    let disk = closed();
    let bytes = disk.read_file(SEGMENT_1).unwrap();
    let at = bytes.windows(6).position(|window| window == b"\"n\":3,").unwrap();
    disk.flip_bit(SEGMENT_1, at as u64, 0);
    disk
}

/// Whatever fails, the new store is whole or none, and the old one is as it was.
#[test]
fn salvage_with_every_call_failing_leaves_a_whole_store_or_none() {
    let from = damaged();
    let before = files(&from);
    let model = events(&open(&closed()).unwrap());
    for sticky in [false, true] {
        for call in CHANGING_CALLS {
            for nth in 0.. {
                let to = SimDisk::new(7);
                let kind = FaultKind::ShortWrite(28);
                to.inject(if sticky {
                    Fault::from(call, nth, kind)
                } else {
                    Fault::once(call, nth, kind)
                });
                let done = salvage(&from, &to);
                assert_eq!(files(&from), before, "{call:?} {nth}");
                let hit = to.faults() == 0 || sticky;
                to.clear_faults();
                match done {
                    Ok(salvaged) => holds_the_rest(&to, &salvaged, &model),
                    Err(_) => begun_anew(&from, &to, &model),
                }
                if !hit || nth > 60 {
                    break;
                }
            }
        }
    }
}

/// What a salvage that was interrupted left is no store, and the next one begins there anew. It was
/// refused, and whoever had waited an hour for the first try did not dare to remove what it left.
fn begun_anew(from: &SimDisk, to: &SimDisk, model: &[RecordedEvent]) {
    let refused = read_only(&to.copy()).err();
    match salvage(from, to) {
        Ok(salvaged) => {
            assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::NotFound));
            holds_the_rest(to, &salvaged, model);
        }
        Err(error) => {
            // Only a step after the last that counts had failed: a store is never written over.
            assert_eq!((error.kind(), refused.is_none()), (ErrorKind::Invalid, true), "{error}");
            let store = open(to).unwrap();
            assert!(store.verify().unwrap().clean);
            assert_eq!(store.last_position().get(), 16);
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_a_salvage_leaves_a_whole_store_or_none() {
    let from = damaged();
    let model = events(&open(&closed()).unwrap());
    let to = SimDisk::new(7);
    let whole = salvage(&from, &to).unwrap();
    for operation in 0..to.operations() {
        let to = SimDisk::new(7);
        to.crash_at(operation);
        let done = salvage(&from, &to);
        for seed in 0..3 {
            let after = to.after_power_cut(seed);
            match &done {
                Ok(salvaged) => holds_the_rest(&after, salvaged, &model),
                Err(_) => begun_anew(&from, &after, &model),
            }
        }
    }
    assert_eq!(listed(&whole).len(), 1, "{whole:?}");
}

#[test]
fn a_sound_store_has_nothing_to_repair_and_a_dry_run_changes_nothing() {
    let disk = closed();
    let before = files(&disk);
    let found = repair(&disk, Repair::DryRun).unwrap();
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(files(&disk), before);
}

/// Everything a repair can mend, all at once.
fn broken() -> SimDisk {
    let disk = closed();
    for name in ["head-0", "head-1"] {
        disk.flip_bit(name, 20, 1);
    }
    for name in segments(&disk).iter().take(2) {
        disk.flip_bit(name, 50, 1);
    }
    disk.flip_bit("checkpoints", 40, 1);
    disk.flip_bit("00000000000000000001.idx", 400, 1);
    disk
}

fn mended(disk: &SimDisk) {
    let wanted = answers(&open(&closed()).unwrap()).unwrap();
    let store = open(disk).unwrap();
    let found = answers(&store).unwrap();
    assert_eq!(found.all, wanted.all);
    assert_eq!(found.streams, wanted.streams);
    assert_eq!(found.snapshots, wanted.snapshots);
    assert_eq!(found.lives, wanted.lives);
    // The first entry is lost, a later one of the same name counts.
    assert_eq!(found.checkpoints, wanted.checkpoints);
}

/// Every byte that was replaced is in the file that keeps it.
fn kept(disk: &SimDisk, before: &BTreeMap<String, Vec<u8>>) {
    let kept: Vec<Vec<u8>> = files(disk)
        .into_iter()
        .filter(|(name, _)| name.ends_with(".torn"))
        .map(|(_, bytes)| bytes)
        .collect();
    for (name, was) in before {
        let changed = match name {
            name if name.ends_with(".seg") => &was[..4096],
            name if name.starts_with("head-") || name == "checkpoints" => was,
            _ => continue,
        };
        let now = disk.read_file(name).unwrap_or_default();
        let there = now.starts_with(changed) || kept.iter().any(|bytes| bytes == changed);
        assert!(there, "{name} was replaced and not kept");
    }
}

#[test]
fn what_is_known_otherwise_is_mended_and_the_original_kept() {
    let disk = broken();
    let before = files(&disk);
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Damaged);
    let found = repair(&disk, Repair::DryRun).unwrap();
    assert!(!found.written && found.beyond.is_empty() && found.steps.len() == 5, "{found:?}");
    assert_eq!(files(&disk), before, "a dry run changes nothing");
    let done = repair(&disk, Repair::Write).unwrap();
    assert!(done.written && done.steps == found.steps, "{done:?}");
    kept(&disk, &before);
    mended(&disk);
    let again = repair(&disk, Repair::DryRun).unwrap();
    assert!(again.steps.is_empty() && again.beyond.is_empty(), "{again:?}");
}

#[test]
fn damage_to_events_is_not_repaired_and_nothing_is_changed() {
    let disk = damaged();
    disk.flip_bit("head-0", 20, 1);
    let before = files(&disk);
    let found = repair(&disk, Repair::Write).unwrap();
    assert!(!found.written && found.beyond.len() == 1, "{found:?}");
    assert_eq!(found.beyond[0].first_position, Some(Position::new(4)));
    assert_eq!(files(&disk), before);
}

#[test]
fn a_torn_end_is_told_and_then_set_aside() {
    let disk = closed();
    let store = open(&disk).unwrap();
    disk.crash_at(disk.operations() + 1);
    store.append("A-1", Expect::Any, [event(90, 10), event(91, 10)]).unwrap_err();
    drop(store);
    let disk = disk.after_kill();
    let name = segments(&disk)[2].clone();
    let mut bytes = disk.read_file(&name).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used - 30..].fill(0);
    disk.write_file(&name, bytes);
    let found = repair(&disk, Repair::DryRun).unwrap();
    let (file, _, torn) = found.torn.clone().unwrap();
    assert_eq!((file, found.set_aside.len()), (name, 0));
    let done = repair(&disk, Repair::Write).unwrap();
    assert_eq!(done.set_aside[0].bytes, torn, "{done:?}");
    let kept = disk.read_file(&done.set_aside[0].kept_in).unwrap();
    assert_eq!(kept.len() as u64, torn);
    assert!(repair(&disk, Repair::DryRun).unwrap().torn.is_none());
}

#[test]
fn repair_with_every_call_failing_can_be_repeated_and_keeps_what_it_replaced() {
    let broken = broken();
    let before = files(&broken);
    for call in CHANGING_CALLS {
        for nth in 0.. {
            let disk = broken.copy();
            disk.inject(Fault::once(call, nth, FaultKind::ShortWrite(28)));
            let _ = repair(&disk, Repair::Write);
            let hit = disk.faults() == 0;
            disk.clear_faults();
            kept(&disk, &before);
            repair(&disk, Repair::Write).unwrap();
            kept(&disk, &before);
            mended(&disk);
            if !hit || nth > 80 {
                break;
            }
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_a_repair_can_be_repaired_and_loses_no_original() {
    let broken = broken();
    let before = files(&broken);
    let whole = broken.copy();
    let from = whole.operations();
    repair(&whole, Repair::Write).unwrap();
    for operation in 0..whole.operations() - from {
        let disk = broken.copy();
        disk.crash_at(disk.operations() + operation);
        let _ = repair(&disk, Repair::Write);
        for seed in 0..2 {
            let after = disk.after_power_cut(seed);
            kept(&after, &before);
            repair(&after, Repair::Write).unwrap();
            kept(&after, &before);
            mended(&after);
        }
    }
}
