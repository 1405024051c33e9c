//! A trimmed store under the verbs beside it: backed up, restored, forked, reclaimed.

use std::ops::ControlFlow;
use std::sync::Arc;

use factlog::disk::{Disk, SimDisk};
use factlog::{
    BackupOptions, Dump, ErrorKind, Expect, HiddenReason, ManualClock, PieceValue, Position,
    Repair, RestoreTo, Salvaged, Store, Timestamp, Trim, Version,
};

use crate::branches::{backup, fork, restore};
use crate::rig::{NOW, answers, event, id, open, options, read_only, save_snapshot};
use crate::trim::fill;

/// Several segments, the first of which were trimmed; the first position that is left.
fn trimmed(disk: &SimDisk) -> (Store, Position) {
    let store = open(disk).unwrap();
    fill(&store, 0..60);
    let carried = store.batch().append("A-1", Expect::Any, [event(60, 5)]);
    carried.checkpoint("carried", Position::new(30)).commit().unwrap();
    save_snapshot(&store, "Short", 2);
    fill(&store, 61..100);
    let told = store.trim(Trim::before(Position::new(70)).past_checkpoints()).unwrap();
    assert!(told.segments >= 3 && told.first_position > Position::new(61), "{told:?}");
    store.save_checkpoint("reader", Position::new(90)).unwrap();
    (store, told.first_position)
}

/// Asks `copy` what a trimmed store must still know of what is gone.
fn check_gone(copy: &Store, first: Position) {
    let trimmed = |error: factlog::Error| {
        assert_eq!((error.kind(), error.position()), (ErrorKind::Trimmed, Some(first)), "{error}");
    };
    assert_eq!(copy.first_position(), first);
    trimmed(copy.event_at(Position::new(1)).unwrap_err());
    trimmed(copy.event(id(1)).unwrap_err());
    trimmed(copy.stream_event("Short", Version::new(1)).unwrap_err());
    assert_eq!(copy.checkpoint("carried").unwrap(), Some(Position::new(30)));
    assert!(copy.snapshot("Short", "state").unwrap().is_some());
    assert!(copy.verify().unwrap().clean);
}

#[test]
fn a_trimmed_store_is_backed_up_restored_and_forked_and_answers_alike() {
    let disk = SimDisk::new(1);
    let (store, first) = trimmed(&disk);
    let names = ["backup", "restored", "forked"];
    let [to, restored, forked] = names.map(|name| disk.directory(name));
    backup(&store, &to).unwrap();
    let answers_of = |store: &Store| answers(store).unwrap();
    let expected = answers_of(&store);
    let copy = read_only(&to).unwrap();
    assert_eq!(answers_of(&copy), expected);
    check_gone(&copy, first);
    restore(&to, &restored, RestoreTo::End).unwrap();
    fork(&store, 100, &forked).unwrap();
    for disk in [restored, forked] {
        for how in [options(), options().rebuild_index(true)] {
            let made = how.open_on(Arc::new(disk.clone())).unwrap();
            assert_eq!(answers_of(&made), expected);
            check_gone(&made, first);
            let again = made.append("B-1", Expect::Any, [event(1, 700)]).unwrap();
            assert!(again.already, "an id that was trimmed is stored once");
        }
        let made = open(&disk).unwrap();
        made.append("A-1", Expect::Any, [event(500, 5)]).unwrap();
        made.trim(Trim::keep_events(5).past_checkpoints()).unwrap();
        drop(made);
        assert!(read_only(&disk).unwrap().verify().unwrap().clean);
        assert_eq!(read_only(&disk).unwrap().last_position(), Position::new(101));
    }
}

/// Right before the first event that is left there is a state of the store that can be had; before
/// that, there is none.
#[test]
fn a_prefix_ends_where_the_log_begins_or_later() {
    let disk = SimDisk::new(1);
    let (store, first) = trimmed(&disk);
    let before = Position::new(first.get() - 1);
    let (to, backed) = (disk.directory("forked"), disk.directory("backup"));
    for position in [0, 1, before.get() - 1] {
        let refused = fork(&store, position, &to).unwrap_err();
        let told = (refused.kind(), refused.position());
        assert_eq!(told, (ErrorKind::Trimmed, Some(first)), "{refused}");
    }
    fork(&store, before.get(), &to).unwrap();
    let forked = open(&to).unwrap();
    assert_eq!((forked.last_position(), forked.first_position()), (before, first));
    assert_eq!(forked.read_all().count().unwrap(), 0);
    let last = store.head("A-1").unwrap().unwrap();
    let head = forked.head("A-1").unwrap().unwrap();
    assert!(head.version < last.version && head.last_position <= before);
    let appended = forked.append("A-1", Expect::Version(head.version), [event(900, 5)]).unwrap();
    assert_eq!(appended.first, first);
    check_gone(&forked, first);

    let options = || BackupOptions::default().through(before);
    let made = store.backup_on(Arc::new(backed.clone()), options()).unwrap();
    assert_eq!(made.position, before);
    assert_eq!(read_only(&backed).unwrap().last_position(), before);
    backup(&store, &backed).unwrap();
    assert_eq!(answers(&read_only(&backed).unwrap()).unwrap(), answers(&store).unwrap());
}

#[test]
fn a_time_before_what_is_left_is_trimmed_too() {
    let clock = Arc::new(ManualClock::at(NOW));
    let disk = SimDisk::new(1);
    let store = options().clock(clock.clone()).open_on(Arc::new(disk.clone())).unwrap();
    for number in 0..60 {
        clock.set(NOW + number);
        store.append("A-1", Expect::Any, [event(number, 700)]).unwrap();
    }
    let first = store.trim(Trim::before(Position::new(40))).unwrap().first_position;
    let to = disk.directory("backup");
    backup(&store, &to).unwrap();
    let at = |after: u64| {
        let time = Timestamp::from_micros(NOW + after);
        restore(&to, &disk.directory(&format!("at-{after}")), RestoreTo::Time(time))
    };
    // The event at position p was recorded p - 1 microseconds after the beginning.
    let refused = at(first.get() - 3).unwrap_err();
    assert_eq!((refused.kind(), refused.position()), (ErrorKind::Trimmed, Some(first)));
    assert_eq!(at(first.get() - 2).unwrap().position.get(), first.get() - 1);
    assert_eq!(at(first.get()).unwrap().position.get(), first.get() + 1);
}

/// A later backup takes over what is known of the trimmed segments, and lets them go: but only when
/// it is told to, and it says so. The backup may be all that is left of them.
#[test]
fn a_backup_is_carried_on_when_the_store_was_trimmed() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let to = disk.directory("backup");
    fill(&store, 0..80);
    backup(&store, &to).unwrap();
    let mut begins = Position::new(1);
    for before in [40, 60] {
        let told = store.trim(Trim::before(Position::new(before))).unwrap();
        fill(&store, before * 10..before * 10 + 5);
        let refused = backup(&store, &to).unwrap_err();
        let kept = (refused.kind(), refused.position());
        assert_eq!(kept, (ErrorKind::Trimmed, Some(told.first_position)), "{refused}");
        assert_eq!(read_only(&to).unwrap().first_position(), begins);
        let follow = BackupOptions::default().follow_trim(true);
        let report = store.backup_on(Arc::new(to.clone()), follow).unwrap();
        assert!(report.segments_copied <= 2, "{report:?}");
        let last_gone = Position::new(told.first_position.get() - 1);
        assert_eq!(report.let_go, Some((begins, last_gone)));
        begins = told.first_position;
        let copy = read_only(&to).unwrap();
        assert_eq!(copy.first_position(), told.first_position);
        assert_eq!(answers(&copy).unwrap(), answers(&store).unwrap());
        let bases = to.file_names().into_iter().filter(|name| name.ends_with(".base")).count();
        assert!(bases == 1 && !to.file_names().contains(&"00000000000000000001.seg".to_owned()));
        for head in ["head-0", "head-1"] {
            let lost = to.copy();
            lost.write_file(head, b"rotten".to_vec());
            let copy = read_only(&lost).unwrap();
            assert_eq!(copy.first_position(), told.first_position, "{head} lost");
        }
        // What it keeps of trimmed events is checked and brought again.
        let base = to.file_names().into_iter().find(|name| name.ends_with(".base")).unwrap();
        let mut bytes = to.read_file(&base).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        to.write_file(&base, bytes);
        backup(&store, &to).unwrap();
        check_trims_alike(&store, &to);
    }
}

fn check_trims_alike(store: &Store, copy: &SimDisk) {
    let copy = read_only(copy).unwrap();
    assert!(copy.verify().unwrap().clean);
    let kind = |store: &Store| store.event(id(1)).unwrap_err().kind();
    assert_eq!((kind(store), kind(&copy)), (ErrorKind::Trimmed, ErrorKind::Trimmed));
}

/// It may be all that is left of the events between; nothing can follow it.
#[test]
fn a_backup_that_ends_before_the_log_begins_is_left_alone() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let to = disk.directory("backup");
    fill(&store, 0..20);
    backup(&store, &to).unwrap();
    let kept = answers(&read_only(&to).unwrap()).unwrap();
    fill(&store, 20..100);
    let first = store.trim(Trim::keep_events(10)).unwrap().first_position;
    let refused = backup(&store, &to).unwrap_err();
    assert_eq!((refused.kind(), refused.position()), (ErrorKind::Trimmed, Some(first)));
    assert_eq!(answers(&read_only(&to).unwrap()).unwrap(), kept);
}

/// The base of a fork that was trimmed within what it shares may go along to a fork of its own.
#[test]
fn forks_of_trimmed_forks_know_what_was_trimmed() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..90);
    let (one, other) = (disk.directory("one"), disk.directory("other"));
    fork(&store, 90, &one).unwrap();
    let forked = open(&one).unwrap();
    let first = forked.trim(Trim::before(Position::new(40))).unwrap().first_position;
    // Before the end of the shared past: nothing of the first fork's own is in it.
    fork(&forked, 70, &other).unwrap();
    let again = open(&other).unwrap();
    assert_eq!((again.first_position(), again.last_position().get()), (first, 70));
    assert_eq!(again.event(id(1)).unwrap_err().kind(), ErrorKind::Trimmed);
    assert!(again.verify().unwrap().clean);
    // The first store has all of it.
    assert_eq!(store.read_all().count().unwrap(), 90);
}

#[test]
fn a_trim_meets_stubs_and_keeps_their_ids() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    let odd = |store: &Store| {
        let report = store.reclaim_where(|event| {
            (event.position().get() % 2 == 1).then_some(HiddenReason::Truncated)
        });
        report.unwrap().events
    };
    assert!(odd(&store) > 20);
    let first = store.trim(Trim::before(Position::new(50))).unwrap().first_position;
    check_trims_alike(&store, &disk);
    let again = store.append("A-1", Expect::Any, [event(0, 700)]).unwrap();
    assert!(again.already && again.first == Position::new(1), "a stub's id was kept: {again:?}");
    assert_eq!(odd(&store), 0, "what is left was rewritten before");
    let stub = if first.get() % 2 == 1 { first } else { first.next() };
    assert_eq!(store.event_at(stub).unwrap_err().kind(), ErrorKind::Deleted);
    store.close().unwrap();
    let copy = disk.directory("backup");
    backup(&read_only(&disk).unwrap(), &copy).unwrap();
    check_trims_alike(&open(&disk).unwrap(), &copy);
}

#[test]
fn a_trimmed_store_is_shown_and_its_head_made_anew() {
    let disk = SimDisk::new(1);
    let (store, first) = trimmed(&disk);
    let expected = answers(&store).unwrap();
    store.close().unwrap();
    let base = disk.file_names().into_iter().find(|name| name.ends_with(".base")).unwrap();
    let mut shown = Vec::new();
    let dump = Dump::on(Arc::new(disk.clone()));
    assert!(dump.files().unwrap().contains(&base));
    dump.file(&base, |piece| {
        shown.push(piece);
        ControlFlow::Continue(())
    })
    .unwrap();
    let said = |name| shown[0].fields.iter().find(|(field, _)| *field == name).unwrap().1.clone();
    assert_eq!((shown.len(), shown[0].problem.clone()), (1, None));
    assert_eq!(said("first_position"), PieceValue::Number(first.get()));
    assert_eq!(said("ids"), PieceValue::Number(first.get() - 1));

    for head in ["head-0", "head-1"] {
        disk.write_file(head, b"rotten".to_vec());
    }
    let repair = options().repair_on(Arc::new(disk.clone()), Repair::Write, &mut |_, _| ());
    assert!(!repair.unwrap().steps.is_empty());
    let repaired = open(&disk).unwrap();
    assert_eq!(answers(&repaired).unwrap(), expected);
    check_gone(&repaired, first);
}

fn salvage(from: &SimDisk, to: &SimDisk) -> factlog::Result<Salvaged> {
    options().salvage_on(Arc::new(from.clone()), Arc::new(to.clone()), &mut |_, _| ())
}

/// It was refused as unsupported: who had trimmed a store could not save it any more. What was
/// trimmed is known in the new store as it was in the old one.
#[test]
fn a_trimmed_store_is_salvaged_and_knows_what_was_trimmed() {
    let disk = SimDisk::new(1);
    let (store, first) = trimmed(&disk);
    let expected = answers(&store).unwrap();
    store.close().unwrap();
    let to = SimDisk::new(2);
    let salvaged = salvage(&disk, &to).unwrap();
    assert_eq!((salvaged.lost(), salvaged.events), (0, 101 - first.get()), "{salvaged:?}");
    assert_eq!((salvaged.checkpoints, salvaged.checkpoints_left.len()), (2, 0), "{salvaged:?}");
    for how in [options(), options().rebuild_index(true)] {
        let made = how.open_on(Arc::new(to.copy())).unwrap();
        assert_eq!(answers(&made).unwrap(), expected);
        check_gone(&made, first);
        let again = made.append("B-1", Expect::Any, [event(1, 700)]).unwrap();
        assert!(again.already, "an id that was trimmed is stored once");
    }
    // It can be trimmed, copied and salvaged again.
    let (twice, backed) = (SimDisk::new(3), to.directory("backup"));
    let made = open(&to).unwrap();
    made.append("A-1", Expect::Any, [event(500, 5)]).unwrap();
    backup(&made, &backed).unwrap();
    check_trims_alike(&made, &backed);
    let later = made.trim(Trim::keep_events(5).past_checkpoints()).unwrap().first_position;
    made.close().unwrap();
    assert_eq!(salvage(&to, &twice).unwrap().lost(), 0);
    let made = open(&twice).unwrap();
    assert_eq!((made.first_position(), made.last_position().get()), (later, 101));
    assert!(later > first && made.verify().unwrap().clean);
    made.close().unwrap();
    for disk in [&to, &twice] {
        let dir = tempfile::tempdir().unwrap();
        for name in disk.file_names() {
            std::fs::write(dir.path().join(&name), disk.read_file(&name).unwrap()).unwrap();
        }
        assert!(crate::verifier::judged(dir.path()).is_none_or(|code| code == 0));
    }
}

/// An event that does not check is lost, and nothing else; without a base that checks nothing is
/// known any more of what was trimmed, so that its positions are listed as lost.
#[test]
fn a_damaged_trimmed_store_is_salvaged_with_the_list_of_what_is_missing() {
    let disk = SimDisk::new(1);
    let (store, first) = trimmed(&disk);
    store.close().unwrap();
    let number = |name: &String| name.ends_with(".seg");
    let segment = disk.file_names().into_iter().find(number).unwrap();
    let hit = disk.copy();
    hit.flip_bit(&segment, 4096 + 144 + 200, 3);
    let to = SimDisk::new(2);
    let salvaged = salvage(&hit, &to).unwrap();
    assert_eq!(salvaged.lost(), 1, "{salvaged:?}");
    assert_eq!(salvaged.missing[0].first_position, Some(first));
    let accepting = options().accept_lost(true).open_on(Arc::new(to)).unwrap();
    assert_eq!(accepting.first_position(), first);
    assert_eq!(accepting.read_all().count().unwrap(), 100 - first.get());
    let base = disk.file_names().into_iter().find(|name| name.ends_with(".base")).unwrap();
    for at in [20, disk.read_file(&base).unwrap().len() as u64 - 1] {
        let hit = disk.copy();
        hit.flip_bit(&base, at, 0);
        let to = SimDisk::new(2);
        let salvaged = salvage(&hit, &to).unwrap();
        assert_eq!(salvaged.lost(), first.get() - 1, "{at}: {salvaged:?}");
        assert_eq!(salvaged.events, 101 - first.get());
        assert!(salvaged.missing[0].what.contains("trimmed"), "{salvaged:?}");
        let made = options().accept_lost(true).open_on(Arc::new(to)).unwrap();
        assert_eq!(made.last_position().get(), 100);
        assert!(made.verify().unwrap().clean);
    }
}

#[test]
fn a_crash_at_any_operation_of_a_salvage_of_a_trimmed_store_leaves_a_whole_store_or_none() {
    let disk = SimDisk::new(1);
    let (store, first) = trimmed(&disk);
    let expected = answers(&store).unwrap();
    store.close().unwrap();
    let to = SimDisk::new(7);
    salvage(&disk, &to).unwrap();
    for operation in 0..to.operations() {
        let to = SimDisk::new(7);
        to.crash_at(operation);
        let done = salvage(&disk, &to).is_ok();
        for seed in 0..3 {
            let after = to.after_power_cut(seed);
            let there = read_only(&after).map(drop).map_err(|error| error.kind());
            match (done, there) {
                (_, Ok(())) => {}
                (false, Err(ErrorKind::NotFound)) => drop(salvage(&disk, &after).unwrap()),
                (_, other) => panic!("{operation}, {seed}: {other:?}"),
            }
            let made = open(&after).unwrap();
            assert_eq!(answers(&made).unwrap(), expected, "{operation}, {seed}");
            check_gone(&made, first);
        }
    }
}

/// Both take segments that are at rest, and never the same one at once. A thread of the store that
/// had space to prepare in a segment which was full, sealed and trimmed by then ended the store.
#[test]
fn a_trim_beside_a_reclaim_and_a_writer() {
    for round in 0..6 {
        let disk = SimDisk::new(round);
        let store = options().background_threads(true).open_on(Arc::new(disk.clone())).unwrap();
        fill(&store, 0..100);
        std::thread::scope(|scope| {
            let reclaiming = scope.spawn(|| {
                for part in 2..5 {
                    let gone = |event: &factlog::EventRef<'_>| {
                        event
                            .position()
                            .get()
                            .is_multiple_of(part)
                            .then_some(HiddenReason::Truncated)
                    };
                    let report = store.reclaim_where(gone).unwrap();
                    assert!(report.damage.is_empty(), "{report:?}");
                }
            });
            let trimming = scope.spawn(|| {
                for before in (10..80).step_by(10) {
                    store.trim(Trim::before(Position::new(before))).unwrap();
                }
            });
            fill(&store, 100..160);
            trimming.join().unwrap();
            reclaiming.join().unwrap();
        });
        let first = store.first_position();
        assert!(first > Position::new(40), "{first}");
        let seen = store.read_all().hidden(factlog::Hidden::Mark);
        let seen = seen.into_iter().map(|event| event.unwrap().position().get());
        assert!(seen.eq(first.get()..=160));
        assert!(store.verify().unwrap().clean);
        store.close().unwrap();
        let names = disk.list().unwrap();
        assert_eq!(names.iter().filter(|name| name.ends_with(".base")).count(), 1, "{names:?}");
        let again = open(&disk).unwrap();
        assert_eq!((again.first_position(), again.last_position().get()), (first, 160));
    }
}
