//! What reads once got wrong, one story each.

use std::ops::ControlFlow;

use std::sync::Arc;

use factlog::{Expect, IdScope, ManualClock, NewEvent, Position, Store, Timestamp, Version};

fn tick(n: u64) -> NewEvent {
    NewEvent::binary("Ticked", n.to_le_bytes())
}

/// The visitor counted the limit down after its first event, so a limit of none was below zero.
#[test]
fn a_visit_with_a_limit_of_none_visits_nothing() {
    let store = Store::in_memory().unwrap();
    store.append("A-1", Expect::Any, [tick(1)]).unwrap();
    let mut visited = 0;
    let visit = |_: factlog::EventRef<'_>| {
        visited += 1;
        ControlFlow::Continue(())
    };
    store.read_all().limit(0).for_each(visit).unwrap();
    assert_eq!(visited, 0);
}

/// One more than the highest version there can be does not fit a number.
#[test]
fn a_stream_is_read_up_to_the_highest_version_there_can_be() {
    let store = Store::in_memory().unwrap();
    store.append("A-1", Expect::Any, [tick(1), tick(2)]).unwrap();
    let read = store.read_stream("A-1").to(Version::new(u64::MAX));
    assert_eq!(read.into_iter().map(Result::unwrap).count(), 2);
}

/// A segment can fill up with checkpoints and hold no event at all. It has no last time, which
/// passed for a time before all others and led the search by time to the end of the log.
#[test]
fn reads_by_time_step_over_segments_without_events() {
    let clock = Arc::new(ManualClock::at(10));
    let options = Store::options().segment_bytes(16 << 10).clock(clock.clone());
    let store = options.in_memory().unwrap();
    for n in 1..=40 {
        clock.set(10 * n);
        store.append("A-1", Expect::Any, [tick(n)]).unwrap();
    }
    let segments = store.stats().segments;
    for n in 0..1000 {
        let to = Position::new(1 + n % 40);
        store.reset_checkpoint("mail", Position::START).unwrap();
        store.batch().checkpoint("mail", to).commit().unwrap();
    }
    assert!(store.stats().segments > segments + 2);
    let count = |read: factlog::Read| read.into_iter().map(Result::unwrap).count();
    for n in 1..=40_u64 {
        let at = Timestamp::from_micros(10 * n);
        assert_eq!(count(store.read_all().since(at)), 41 - n as usize, "since {n}");
        assert_eq!(count(store.read_all().until(at)), n as usize, "until {n}");
    }
    assert_eq!(count(store.read_all().until(Timestamp::from_micros(9))), 0);
}

/// Where ids are unique per stream, two events of one segment can share an id; the older was found.
#[test]
fn of_several_events_with_an_id_the_newest_is_found() {
    let store = Store::options().id_scope(IdScope::Stream).in_memory().unwrap();
    let event = tick(1);
    for stream in ["A-1", "A-2", "A-3"] {
        store.append(stream, Expect::NoStream, [event.clone()]).unwrap();
        assert_eq!(store.event(event.event_id()).unwrap().unwrap().stream(), stream);
    }
}

/// A version is looked for where it should lie by its share of the stream, whichever segments the
/// stream left out: a long pause, a burst, one event in each, the first or the last alone.
#[test]
fn one_event_is_found_whatever_segments_its_stream_left_out() {
    let disk = Arc::new(factlog::disk::SimDisk::new(5));
    let store = crate::rig::open(&disk).unwrap();
    let mut written = Vec::new();
    for n in 0..900_u64 {
        let stream = match n % 10 {
            0 => "Each-1",
            1 if n < 40 => "First-1",
            2 if n > 360 => "Last-1",
            3 if !(100..300).contains(&n) => "Paused-1",
            4..=8 if n > 200 && n < 260 => "Burst-1",
            _ => "Other-1",
        };
        let event = NewEvent::binary("Ticked", vec![0; 400]);
        let appended = store.append(stream, Expect::Any, [event]).unwrap();
        written.push((stream, appended.streams[0].last, appended.last));
    }
    assert!(store.stats().segments > 40, "{}", store.stats().segments);
    let check = |store: &Store| {
        assert_eq!(store.stats().streams, 6);
        for (stream, version, position) in &written {
            let found = store.stream_event(*stream, *version).unwrap();
            assert_eq!(found.map(|event| event.position()), Some(*position), "{stream} {version}");
            let head = store.head(*stream).unwrap().unwrap().version;
            for none in [Version::NONE, head.next(), Version::new(u64::MAX - 1)] {
                assert_eq!(store.stream_event(*stream, none).unwrap(), None, "{stream} {none}");
            }
        }
        assert_eq!(store.stream_event("Nobody-1", Version::new(1)).unwrap(), None);
    };
    check(&store);
    store.close().unwrap();
    check(&crate::rig::open(&disk).unwrap());
    check(&crate::rig::read_only(&disk).unwrap());
}
