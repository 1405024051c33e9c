//! Trimming: what goes, what is still known, who is told, and what a crash leaves of it.

use std::sync::Arc;
use std::time::Duration;

use factlog::disk::{Disk, Fault, FaultCall, FaultKind, SimDisk};
use factlog::{
    Delivery, ErrorKind, Expect, ManualClock, Position, Query, Recovery, Retention, Source, Start,
    Store, Trim, Trimmed, Version,
};

use crate::rig::{NOW, answers, event, id, open, options, read_only, save_snapshot};

fn base(number: u64) -> String {
    format!("{number:020}.base")
}

fn segment(number: u64) -> String {
    format!("{number:020}.seg")
}

/// Some sixteen events to a segment, in turn in three streams, one of which ends soon.
pub fn fill(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let stream = match number % 3 {
            0 => "A-1",
            1 => "B-1",
            _ if number < 20 => "Short",
            _ => "A-1",
        };
        store.append(stream, Expect::Any, [event(number, 700)]).unwrap();
    }
}

/// Several segments, the first of which were trimmed.
fn trimmed() -> (SimDisk, Store, Trimmed) {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.batch().append("Short", Expect::Any, [event(0, 5)]).commit().unwrap();
    fill(&store, 1..40);
    let carried = store.batch().append("A-1", Expect::Any, [event(41, 5)]);
    carried.checkpoint("carried", Position::new(30)).commit().unwrap();
    fill(&store, 42..100);
    let told = store.trim(Trim::before(Position::new(60)).past_checkpoints()).unwrap();
    (disk, store, told)
}

fn kind<T: std::fmt::Debug>(outcome: factlog::Result<T>, first: Position) -> ErrorKind {
    let error = outcome.unwrap_err();
    assert_eq!(error.position(), Some(first), "{error:?}");
    error.kind()
}

#[test]
fn whole_segments_go_and_what_is_left_answers_as_before() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    let before = answers(&store).unwrap();
    let stats = store.stats();
    let trim = Trim::before(Position::new(50));
    let planned = store.plan_trim(&trim).unwrap();
    assert_eq!((store.first_position().get(), disk.file_names().contains(&segment(1))), (1, true));
    let told = store.trim(trim.clone()).unwrap();
    assert_eq!(told, planned);
    assert!(told.segments >= 2 && told.first_position.get() <= 50, "{told:?}");
    assert_eq!(told.events, told.first_position.get() - 1);
    assert_eq!(store.stats().segments, stats.segments - told.segments);
    assert_eq!(store.stats().events, 100 - told.events);
    assert_eq!(store.stats().streams, 3);
    let after = answers(&store).unwrap();
    assert_eq!(after.all, before.all[told.events as usize..]);
    for (name, (version, last, _)) in &before.streams {
        let (version_now, last_now, _) = &after.streams[name];
        assert_eq!((version_now, last_now), (version, last), "{name}");
    }
    for number in 1..=told.segments {
        let names = disk.file_names();
        let left = names.iter().filter(|name| name.starts_with(&format!("{number:020}")));
        assert_eq!(left.filter(|name| !name.ends_with(".base")).count(), 0, "segment {number}");
    }
    let again = store.trim(trim).unwrap();
    assert_eq!((again.segments, again.first_position), (0, told.first_position));
    for how in [options(), options().rebuild_index(true)] {
        let copy = disk.copy();
        let killed = how.open_on(Arc::new(copy.after_kill())).unwrap();
        assert_eq!(answers(&killed).unwrap(), after);
    }
    store.close().unwrap();
    assert!(open(&disk).unwrap().open_report().clean);
    assert_eq!(answers(&read_only(&disk).unwrap()).unwrap(), after);
}

#[test]
fn every_bound_is_kept_and_several_are_kept_together() {
    let clock = Arc::new(ManualClock::at(NOW));
    let disk = SimDisk::new(1);
    let store = options().clock(clock.clone()).open_on(Arc::new(disk.clone())).unwrap();
    for hour in 0..100 {
        clock.set(NOW + hour * 3_600_000_000);
        store.append("A-1", Expect::Any, [event(hour, 700)]).unwrap();
    }
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let first = |trim: &Trim| store.plan_trim(trim).unwrap().first_position.get();
    for bound in [0, 1, 10, 33, 50, 99, 100, 1000] {
        assert!(first(&Trim::before(Position::new(bound))) <= bound.max(1));
        assert!(101 - first(&Trim::keep_events(bound)) >= bound.min(100), "{bound} events");
        let old = first(&Trim::older_than(hours(bound)));
        // The event at position p was recorded 100 - p hours ago.
        assert!(old == 1 || 100 - (old - 1) > bound, "{bound} hours: {old}");
        let bytes = bound * 1000;
        let planned = store.plan_trim(&Trim::keep_bytes(bytes)).unwrap();
        let left = store.stats().log_bytes - planned.bytes;
        assert!(planned.segments == 0 || left >= bytes, "{bytes} bytes");
        for other in [20, 60] {
            let both = Trim::older_than(hours(bound)).and(Trim::keep_events(other));
            assert_eq!(first(&both), old.min(first(&Trim::keep_events(other))));
        }
    }
    let all = store.trim(Trim::keep_events(0)).unwrap();
    assert_eq!(store.stats().segments, 1, "the newest stays: {all:?}");
    assert!(store.last_position().get() == 100 && store.first_position() <= Position::new(101));
}

#[test]
fn whoever_asks_for_what_was_trimmed_is_told_where_the_log_begins() {
    let (disk, store, told) = trimmed();
    let (first, trimmed) = (told.first_position, ErrorKind::Trimmed);
    let last_gone = Position::new(first.get() - 1);
    let reader = read_only(&disk).unwrap();
    for store in [&store, &reader] {
        assert_eq!(kind(store.event_at(Position::new(1)), first), trimmed);
        assert_eq!(kind(store.event_at(last_gone), first), trimmed);
        assert!(store.event_at(first).unwrap().is_some());
        assert_eq!(store.event_at(Position::START).unwrap(), None);
        assert_eq!(kind(store.event(id(1)), first), trimmed);
        assert_eq!(store.event(id(5_000)).unwrap(), None);
        assert_eq!(kind(store.stream_event("Short", Version::new(1)), first), trimmed);
        assert_eq!(kind(store.stream_event("A-1", Version::new(1)), first), trimmed);
        assert_eq!(store.stream_event("A-1", Version::NONE).unwrap(), None);
        assert_eq!(kind(store.last_event("Short"), first), trimmed);
        assert_eq!(store.head("Short").unwrap().unwrap().version, Version::new(7));
        // From the beginning is what there is; a place that is named is a place.
        let all = store.read_all().to_vec().unwrap();
        assert_eq!(all[0].position(), first);
        assert_eq!(store.read_all().after(last_gone).count().unwrap(), all.len() as u64);
        assert_eq!(kind(store.read_all().after(Position::new(1)).count(), first), trimmed);
        let backward = store.read_all().after(Position::new(3)).backward();
        assert_eq!(kind(backward.into_iter().next().unwrap(), first), trimmed);
        assert_eq!(kind(store.read_all().through(Position::new(3)).count(), first), trimmed);
        assert_eq!(kind(store.read_category("A").after(Position::new(1)).count(), first), trimmed);
        let query = || Query::types(["Paid"]);
        assert_eq!(kind(store.read(query()).after(Position::new(1)).count(), first), trimmed);
        assert!(store.read(query()).count().unwrap() > 0);
        assert_eq!(store.read_stream("Short").count().unwrap(), 0);
        assert_eq!(kind(store.read_stream("Short").from(Version::new(1)).count(), first), trimmed);
        assert_eq!(kind(store.read_stream("A-1").from(Version::new(2)).count(), first), trimmed);
        assert_eq!(kind(store.read_stream("A-1").to(Version::new(2)).count(), first), trimmed);
        let from = store.read_stream("A-1").to_vec().unwrap()[0].version();
        assert!(from > Version::new(2) && store.read_stream("A-1").from(from).count().is_ok());
    }
    assert_eq!(store.first_position(), reader.first_position());
}

#[test]
fn versions_go_on_and_expectations_hold_for_a_stream_whose_events_are_all_gone() {
    let (disk, store, _) = trimmed();
    let conflict = store.append("Short", Expect::NoStream, [event(200, 5)]).unwrap_err();
    assert_eq!(conflict.conflicts()[0].actual, Version::new(7));
    let exactly = Expect::Version(Version::new(7));
    let next = store.append("Short", exactly, [event(201, 5)]).unwrap();
    assert_eq!(next.streams[0].first, Version::new(8));
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.head("Short").unwrap().unwrap().version, Version::new(8));
    assert_eq!(store.streams("").unwrap().len(), 3);
    assert!(store.stream_event("Short", Version::new(8)).unwrap().is_some());
}

#[test]
fn a_trimmed_batch_that_is_sent_again_gets_its_first_answer() {
    let (disk, store, told) = trimmed();
    let again = |store: &Store| {
        let answer = store.append("B-1", Expect::NoStream, [event(1, 700)]).unwrap();
        assert_eq!((answer.already, answer.first.get()), (true, 2));
        assert_eq!(answer.streams[0].last, Version::new(1));
        let elsewhere = store.append("A-1", Expect::Any, [event(1, 700)]).unwrap_err();
        assert_eq!(elsewhere.kind(), ErrorKind::IdConflict);
        let mixed = store.append("B-1", Expect::Any, [event(1, 700), event(500, 5)]).unwrap_err();
        assert_eq!(mixed.kind(), ErrorKind::IdConflict);
        assert_eq!(store.last_position().get(), 99);
    };
    again(&store);
    // And after a second trim, and from a store opened again.
    let further = store.trim(Trim::keep_events(1).past_checkpoints()).unwrap();
    assert!(further.first_position > told.first_position);
    again(&store);
    drop(store);
    again(&open(&disk).unwrap());
    assert_eq!(disk.file_names().iter().filter(|name| name.ends_with(".base")).count(), 1);
}

#[test]
fn with_ids_unique_in_a_stream_a_trimmed_id_is_new_in_another() {
    let disk = SimDisk::new(1);
    let how = || options().id_scope(factlog::IdScope::Stream);
    let store = how().open_on(Arc::new(disk.clone())).unwrap();
    store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
    store.append("B-1", Expect::Any, [event(0, 5)]).unwrap();
    fill(&store, 1..60);
    store.trim(Trim::keep_events(10)).unwrap();
    let a = store.append("A-1", Expect::Any, [event(0, 5)]).unwrap();
    let b = store.append("B-1", Expect::Any, [event(0, 5)]).unwrap();
    assert_eq!((a.already, a.first.get(), b.already, b.first.get()), (true, 1, true, 2));
    assert!(!store.append("C-1", Expect::Any, [event(0, 5)]).unwrap().already);
}

#[test]
fn conditions_see_the_events_that_are_there() {
    let (_, store, told) = trimmed();
    let short = || Query::tags(["mod:1"]).or(factlog::QueryItem::new().tag("no such"));
    let first = store.read(short()).to_vec().unwrap()[0].position();
    let batch = store.batch().append("New", Expect::Any, [event(300, 5)]).fails_if_exists(short());
    assert_eq!(batch.commit().unwrap_err().position(), Some(first));
    assert!(first >= told.first_position);
    let batch = store.batch().append("New", Expect::Any, [event(301, 5)]);
    let after = store.last_position();
    batch.condition(short(), after).commit().unwrap();
}

#[test]
fn a_subscriber_behind_what_was_trimmed_is_told_and_skips_nothing() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    store.save_checkpoint("far", Position::new(70)).unwrap();
    let mut slow = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    let mut from_here = store.subscribe(Source::All).start(Start::After(Position::new(2))).unwrap();
    assert!(matches!(slow.next().unwrap(), Delivery::Event(event) if event.position().get() == 1));
    let told = store.trim(Trim::before(Position::new(60))).unwrap();
    let first = told.first_position;
    // What it holds it reads on; what it would hold next is gone.
    for position in 2..=100 {
        let Delivery::Event(event) = slow.next().unwrap() else { panic!("an end") };
        assert_eq!(event.position().get(), position);
    }
    for _ in 0..2 {
        assert_eq!(kind(from_here.try_next(), first), ErrorKind::Trimmed);
    }
    let start = |start| store.subscribe(Source::All).start(start).map(|_| ());
    assert_eq!(kind(start(Start::After(Position::new(2))), first), ErrorKind::Trimmed);
    start(Start::After(Position::new(first.get() - 1))).unwrap();
    let mut anew = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    assert!(matches!(anew.next().unwrap(), Delivery::Event(event) if event.position() == first));
}

#[test]
fn nothing_goes_that_a_checkpoint_has_not_come_to_unless_told() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    store.save_checkpoint("near", Position::new(40)).unwrap();
    let carrying = store.batch().append("A-1", Expect::Any, [event(100, 5)]);
    carrying.checkpoint("carried", Position::new(20)).commit().unwrap();
    let told = store.trim(Trim::keep_events(1)).unwrap();
    assert!(told.first_position <= Position::new(21), "{told:?}");
    assert_eq!(told.held_by, Some(("carried".to_owned(), Position::new(20))));
    store.reset_checkpoint("carried", Position::new(90)).unwrap();
    let told = store.trim(Trim::keep_events(1)).unwrap();
    assert_eq!(told.held_by, Some(("near".to_owned(), Position::new(40))));
    // Exactly what it has seen may go: it stands right before the first that is there.
    let first = told.first_position.get();
    let at = |position| store.reset_checkpoint("near", Position::new(position));
    at(first - 1).unwrap();
    assert_eq!(at(first - 2).unwrap_err().kind(), ErrorKind::Trimmed);
    let resume = || store.subscribe(Source::All).start(Start::Checkpoint("near".into()));
    assert!(matches!(resume().unwrap().next().unwrap(),
        Delivery::Event(event) if event.position().get() == first));
    let forced = store.trim(Trim::keep_events(1).past_checkpoints()).unwrap();
    assert!(forced.first_position.get() > first && forced.held_by.is_none(), "{forced:?}");
    assert_eq!(kind(resume().map(|_| ()), forced.first_position), ErrorKind::Trimmed);
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.checkpoint("near").unwrap(), Some(Position::new(first - 1)));
    let resume = store.subscribe(Source::All).start(Start::Checkpoint("near".into()));
    assert_eq!(resume.unwrap_err().kind(), ErrorKind::Trimmed);
}

#[test]
fn checkpoints_that_only_trimmed_segments_carried_are_kept() {
    let (disk, store, _) = trimmed();
    assert_eq!(store.checkpoint("carried").unwrap(), Some(Position::new(30)));
    store.close().unwrap();
    for how in [options(), options().rebuild_index(true)] {
        let store = how.open_on(Arc::new(disk.copy())).unwrap();
        assert_eq!(store.checkpoint("carried").unwrap(), Some(Position::new(30)));
        let back = store.save_checkpoint("carried", Position::START).unwrap_err();
        assert_eq!(back.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn a_snapshot_of_a_trimmed_version_stays_good() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    for (stream, version) in [("Short", 6), ("A-1", 3)] {
        save_snapshot(&store, stream, version);
    }
    let told = store.trim(Trim::before(Position::new(60))).unwrap();
    let known = |store: &Store, stream| {
        store.snapshot(stream, "state").unwrap().map(|saved| saved.version.get())
    };
    assert_eq!((known(&store, "Short"), known(&store, "A-1")), (Some(6), Some(3)));
    let (version, schema) = (Version::new(4), 1);
    let late = store.save_snapshot("A-1", "state", (version, schema), *b"late");
    assert_eq!(kind(late, told.first_position), ErrorKind::Trimmed);
    // It is told apart from one of another history as ever.
    let other = SimDisk::new(1);
    let theirs = open(&other).unwrap();
    fill(&theirs, 1000..1100);
    drop(theirs);
    store.close().unwrap();
    let store = open(&disk).unwrap();
    assert_eq!((known(&store, "Short"), known(&store, "A-1")), (Some(6), Some(3)));
}

#[test]
fn a_view_goes_on_with_what_it_holds() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    let mut reading = store.read_all().into_iter();
    reading.next();
    store.trim(Trim::keep_events(1)).unwrap();
    assert!(store.first_position() > Position::new(60));
    assert_eq!(reading.filter(Result::is_ok).count(), 99);
}

#[test]
fn a_removed_segment_that_comes_back_is_ignored_and_removed() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    let old: Vec<_> =
        disk.file_names().into_iter().map(|name| (disk.read_file(&name).unwrap(), name)).collect();
    let told = store.trim(Trim::before(Position::new(60))).unwrap();
    let known = answers(&store).unwrap();
    store.close().unwrap();
    let gone: Vec<_> = old
        .into_iter()
        .filter(|(_, name)| !disk.file_names().contains(name) && !name.starts_with("head"))
        .collect();
    assert!(gone.len() as u64 >= told.segments);
    for (bytes, name) in &gone {
        disk.write_file(name, bytes.clone());
    }
    disk.write_file(&base(9), b"of a trim that was never marked".to_vec());
    assert_eq!(answers(&read_only(&disk).unwrap()).unwrap(), known);
    assert!(read_only(&disk).unwrap().verify().unwrap().clean);
    assert!(disk.file_names().contains(&segment(1)), "a reader removes nothing");
    let store = open(&disk).unwrap();
    assert_eq!(answers(&store).unwrap(), known);
    for (_, name) in &gone {
        assert!(!disk.file_names().contains(name), "{name} is left");
    }
    assert!(!disk.file_names().contains(&base(9)));
}

#[test]
fn a_trim_that_damage_stands_in_the_way_of_removes_nothing() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    store.close().unwrap();
    disk.flip_bit(&segment(2), 4096 + 144 + 300, 3);
    let store = open(&disk).unwrap();
    let error = store.trim(Trim::keep_events(1)).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Damaged, Some(&*segment(2))));
    assert!(disk.file_names().contains(&segment(1)) && store.first_position().get() == 1);
    // What lies before it can go.
    assert_eq!(store.trim(Trim::before(Position::new(20))).unwrap().segments, 1);
}

#[test]
fn every_flipped_bit_of_a_base_and_of_a_head_that_names_it_is_noticed() {
    let (disk, store, _) = trimmed();
    let known = answers(&store).unwrap();
    store.close().unwrap();
    let name = base(1);
    let length = disk.read_file(&name).unwrap().len() as u64;
    for at in (0..length).step_by(7) {
        let hit = disk.copy();
        hit.flip_bit(&name, at, (at % 8) as u32);
        let verified = read_only(&hit).unwrap().verify().unwrap();
        assert_eq!(verified.damage.first().map(|d| &d.file), Some(&name), "byte {at}");
        match open(&hit) {
            Err(error) => {
                assert_eq!((error.kind(), error.file()), (ErrorKind::Damaged, Some(&*name)));
            }
            // The ids are looked at when one of them may be meant.
            Ok(store) => {
                assert_eq!(answers(&store).unwrap().all, known.all, "byte {at}");
                let again = store.append("B-1", Expect::Any, [event(1, 700)]).unwrap_err();
                assert_eq!((again.kind(), again.file()), (ErrorKind::Damaged, Some(&*name)));
            }
        }
        // Who only reads is served what is there, and told what is not known.
        let reader = read_only(&hit).unwrap();
        assert_eq!(reader.read_all().to_vec().unwrap(), known.all, "byte {at}");
        let gone = reader.event(id(1)).unwrap_err().kind();
        assert_eq!(gone, ErrorKind::Damaged, "byte {at}");
    }
    for head in ["head-0", "head-1"] {
        for at in 0..disk.read_file(head).unwrap().len() as u64 {
            let hit = disk.copy();
            hit.flip_bit(head, at, (at % 8) as u32);
            assert_eq!(answers(&read_only(&hit).unwrap()).unwrap(), known, "byte {at} of {head}");
            assert_eq!(answers(&open(&hit).unwrap()).unwrap(), known, "byte {at} of {head}");
        }
    }
    disk.remove_file(&name);
    assert_eq!(open(&disk).unwrap_err().file(), Some(&*name));
}

/// Also right after the trim, before anything else has written a head.
#[test]
fn either_generation_of_the_head_may_be_lost_right_after_a_trim() {
    let (disk, store, _) = trimmed();
    let known = answers(&store).unwrap();
    let killed = disk.after_kill();
    for head in ["head-0", "head-1"] {
        let hit = killed.copy();
        hit.flip_bit(head, 20, 1);
        assert_eq!(answers(&read_only(&hit).unwrap()).unwrap(), known, "without {head}");
        assert_eq!(answers(&open(&hit).unwrap()).unwrap(), known, "without {head}");
    }
}

/// The head's change fails after its new name is in the cache, the next trim has nothing to do and
/// says so: a power cut must not bring about what failed. The head is written again for the failed
/// change, and once more for the base that was left, either of which is enough.
#[test]
fn a_trim_that_failed_does_not_come_about_after_the_next_was_answered() {
    let mut failed = 0;
    for nth in 0..4 {
        let disk = SimDisk::new(1);
        let store = open(&disk).unwrap();
        fill(&store, 0..100);
        disk.inject(Fault::once(FaultCall::SyncDir, nth, FaultKind::Os(5)));
        if store.trim(Trim::keep_events(1)).is_ok() {
            continue;
        }
        failed += 1;
        let told = store.trim(Trim::before(Position::new(1))).unwrap();
        assert_eq!(told.first_position, store.first_position());
        for seed in 0..20 {
            let left = open(&disk.after_power_cut(seed)).unwrap();
            assert_eq!(left.first_position(), told.first_position, "sync {nth}, cut {seed}");
        }
    }
    assert!(failed >= 2, "{failed} of the syncs were the trim's");
}

#[test]
fn with_both_heads_lost_the_base_tells_where_the_log_begins() {
    let (disk, store, told) = trimmed();
    let known = answers(&store).unwrap();
    store.close().unwrap();
    for head in ["head-0", "head-1"] {
        disk.remove_file(head);
    }
    let reader = read_only(&disk).unwrap();
    assert_eq!(reader.open_report().damage.len(), 1, "the head");
    let read = reader.read_all().to_vec().unwrap();
    assert_eq!((reader.first_position(), read), (told.first_position, known.all.clone()));
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Damaged);
    let rebuild = || options().recovery(Recovery::RebuildHead);
    let store = rebuild().open_on(Arc::new(disk.clone())).unwrap();
    assert_eq!(answers(&store).unwrap(), known);
    store.close().unwrap();
    assert_eq!(answers(&open(&disk).unwrap()).unwrap(), known);
    // Of a trim that was not marked the base may be there, and all the segments: nothing was lost.
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..100);
    let whole = answers(&store).unwrap();
    disk.inject(Fault::once(FaultCall::Rename, 1, FaultKind::Os(5)));
    assert_eq!(store.trim(Trim::keep_events(1)).unwrap_err().kind(), ErrorKind::Io);
    assert!(disk.file_names().contains(&base(1)));
    assert_eq!(answers(&store).unwrap(), whole);
    drop(store);
    for head in ["head-0", "head-1"] {
        disk.remove_file(head);
    }
    let store = rebuild().open_on(Arc::new(disk)).unwrap();
    assert_eq!(answers(&store).unwrap(), whole);
}

#[test]
fn indexes_from_sidecars_from_the_log_and_from_the_heads_file_answer_alike() {
    let (disk, store, _) = trimmed();
    // Enough for the heads file to be made behind the base.
    fill(&store, 100..300);
    store.trim(Trim::before(Position::new(80)).past_checkpoints()).unwrap();
    let known = answers(&store).unwrap();
    store.close().unwrap();
    let names = disk.file_names();
    assert!(names.iter().any(|name| name == "heads"), "{names:?}");
    let is_index = |name: &&String| name.ends_with(".idx") || *name == "heads";
    let indexes: Vec<_> = names.iter().filter(is_index).collect();
    assert_eq!(answers(&open(&disk.copy()).unwrap()).unwrap(), known);
    for lost in [&indexes[..], &indexes[..1], &indexes[indexes.len() - 1..]] {
        let disk = disk.copy();
        lost.iter().for_each(|name| disk.remove_file(name));
        assert_eq!(answers(&read_only(&disk).unwrap()).unwrap(), known, "without {lost:?}");
        let store = open(&disk).unwrap();
        assert_eq!(answers(&store).unwrap(), known, "without {lost:?}");
        assert_eq!(store.stats().streams, 3);
        store.close().unwrap();
        assert_eq!(answers(&open(&disk).unwrap()).unwrap(), known, "again without {lost:?}");
    }
    let rebuilt = options().rebuild_index(true).open_on(Arc::new(disk)).unwrap();
    assert_eq!(answers(&rebuilt).unwrap(), known);
}

#[test]
fn the_life_of_a_stream_goes_on_when_what_set_it_is_trimmed() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.append("Gone-1", Expect::Any, [event(0, 5)]).unwrap();
    store.append("Off-1", Expect::Any, [event(1, 5)]).unwrap();
    store.delete_stream("Off-1", Expect::Any).unwrap();
    store.tombstone_stream("Gone-1", Expect::Any).unwrap();
    store.retain("A-1", Retention::default().keep_last(5)).unwrap();
    fill(&store, 2..100);
    let known = answers(&store).unwrap();
    store.trim(Trim::keep_events(40)).unwrap();
    let check = |store: &Store| {
        assert_eq!(answers(store).unwrap().lives, known.lives);
        assert_eq!(store.read_stream("A-1").count().unwrap(), 5);
        let deleted = store.append("Gone-1", Expect::Any, [event(500, 5)]).unwrap_err();
        assert_eq!(deleted.kind(), ErrorKind::Deleted);
        assert_eq!(store.read_stream("Off-1").from(Version::new(1)).count().unwrap(), 0);
    };
    check(&store);
    store.trim(Trim::keep_events(10)).unwrap();
    check(&store);
    store.close().unwrap();
    for how in [options(), options().rebuild_index(true)] {
        check(&how.open_on(Arc::new(disk.copy())).unwrap());
    }
    let next = open(&disk).unwrap().append("Off-1", Expect::Any, [event(501, 5)]).unwrap();
    assert_eq!(next.streams[0].first, Version::new(2));
}

/// Found by the model: a file of heads from before the trimmed segments was asked before the base,
/// and answered where streams had stood then.
#[test]
fn a_file_of_heads_that_ends_before_the_base_is_asked_no_more() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    fill(&store, 0..50);
    store.close().unwrap();
    assert!(disk.file_names().contains(&"heads".to_owned()));
    let store = open(&disk).unwrap();
    fill(&store, 50..100);
    store.append("Soon-over", Expect::Any, [event(100, 5)]).unwrap();
    store.append("Short", Expect::Any, [event(101, 5)]).unwrap();
    fill(&store, 102..200);
    let known = answers(&store).unwrap().streams;
    store.trim(Trim::keep_events(30)).unwrap();
    for (name, (version, last, _)) in known {
        let head = store.head(&*name).unwrap().unwrap();
        assert_eq!((head.version.get(), head.last_position.get()), (version, last), "{name}");
    }
}

#[test]
fn a_reader_beside_the_writer_notices_a_trim_also_when_it_was_far_behind() {
    let disk = SimDisk::new(1);
    let background = || options().background_threads(true);
    let store = open(&disk).unwrap();
    fill(&store, 0..30);
    let near = background().open_read_only_on(Arc::new(disk.clone())).unwrap();
    // A poll so rare that everything happens between two of them.
    let rarely = background().poll_interval(Duration::from_millis(700));
    let far = rarely.open_read_only_on(Arc::new(disk.clone())).unwrap();
    let held = far.read_all().into_iter();
    fill(&store, 30..200);
    let told = store.trim(Trim::keep_events(20)).unwrap();
    fill(&store, 200..210);
    let begun = std::time::Instant::now();
    for reader in [&near, &far] {
        while reader.last_position().get() < 210 || reader.first_position() < told.first_position {
            assert!(begun.elapsed() < Duration::from_secs(20), "{reader:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(answers(reader).unwrap(), answers(&store).unwrap());
    }
    assert_eq!(held.filter(Result::is_ok).count(), 30, "what a view holds stays");
}

#[test]
fn a_trim_beside_appends_and_a_close_waits_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let how = || Store::options().segment_bytes(16 << 10);
    let store = how().open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let store = store.clone();
            scope.spawn(move || {
                for number in 0..150 {
                    let event = event(1000 * thread + number, 700);
                    store.append(format!("W-{thread}"), Expect::Any, [event]).unwrap();
                }
            });
        }
        let store = store.clone();
        scope.spawn(move || {
            for _ in 0..10 {
                store.trim(Trim::keep_events(40)).unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
    });
    let trimming = store.clone();
    let trim = std::thread::spawn(move || trimming.trim(Trim::keep_events(5)));
    store.close().unwrap();
    let outcome = trim.join().unwrap().map(|_| ()).map_err(|error| error.kind());
    assert!(matches!(outcome, Ok(()) | Err(ErrorKind::Closed)), "{outcome:?}");
    let store = how().open(dir.path()).unwrap();
    assert_eq!(store.last_position().get(), 300);
    for thread in 0..2 {
        let head = store.head(format!("W-{thread}")).unwrap().unwrap();
        assert_eq!(head.version.get(), 150);
        for number in [0, 50, 149] {
            let again = event(1000 * thread + number, 700);
            assert!(store.append(format!("W-{thread}"), Expect::Any, [again]).unwrap().already);
        }
    }
    assert!(store.verify().unwrap().clean);
}

#[test]
fn a_store_opened_to_read_and_one_that_is_closed_are_not_trimmed() {
    let (disk, store, _) = trimmed();
    let other = store.clone();
    assert_eq!(
        read_only(&disk).unwrap().trim(Trim::keep_events(1)).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    store.close().unwrap();
    assert_eq!(other.trim(Trim::keep_events(1)).unwrap_err().kind(), ErrorKind::Closed);
}

/// A trim on a disk that was nearly full left the base it could not finish, or one that no head
/// came to name. Then not even the block for a head was left, so that the store could not be opened
/// for writing any more: what should have made room had taken the last of it.
#[test]
fn a_full_disk_gets_back_what_could_not_be_made() {
    const FULL: i32 = 28;
    let mut refused = 0;
    for nth in 0..8 {
        let disk = SimDisk::new(1);
        let store = open(&disk).unwrap();
        fill(&store, 0..100);
        let before = disk.list().unwrap();
        disk.inject(Fault::from(FaultCall::Write, nth, FaultKind::Os(FULL)));
        let trim = Trim::before(Position::new(60));
        let Err(error) = store.trim(trim.clone()) else { continue };
        assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
        if store.first_position() == Position::new(1) {
            refused += 1;
            assert_eq!(disk.list().unwrap(), before, "write {nth}");
        }
        disk.clear_faults();
        assert!(store.trim(trim).unwrap().first_position <= Position::new(60));
        assert!(store.first_position() > Position::new(30));
    }
    assert!(refused > 3, "{refused}");
}
