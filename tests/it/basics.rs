//! Open, append, read, close, open again.

use factlog::{ErrorKind, Expect, NewEvent, Position, Store, Version};

fn tick(n: u64) -> NewEvent {
    NewEvent::json_text("Ticked", format!("{{\"n\":{n}}}"))
}

#[test]
fn what_was_appended_is_read_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for n in 0..100 {
        store.append(format!("Clock-{}", n % 7), Expect::Any, [tick(n)]).unwrap();
    }
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let report = store.open_report();
    assert!(report.clean, "{report:?}");
    assert_eq!(report.events, 100);
    let all: Vec<_> = store.read_all().into_iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), 100);
    for (n, event) in all.iter().enumerate() {
        assert_eq!(event.position(), Position::new(n as u64 + 1));
        assert_eq!(event.data(), format!("{{\"n\":{n}}}").as_bytes());
    }
    let clock: Vec<_> = store.read_stream("Clock-3").into_iter().map(Result::unwrap).collect();
    assert_eq!(clock.len(), 14);
    assert_eq!(clock[13].version(), Version::new(14));
    assert_eq!(
        store.append("Clock-3", Expect::NoStream, [tick(1)]).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    store.append("Clock-3", Expect::Version(Version::new(14)), [tick(1)]).unwrap();
}

#[test]
fn a_store_that_rolls_through_many_segments_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::options().segment_bytes(16 << 10).open(dir.path()).unwrap();
    let store = open();
    let mut ids = Vec::new();
    for n in 0..2000 {
        let event = tick(n).tag(format!("mod:{}", n % 5));
        ids.push(event.event_id());
        store.append(format!("Clock-{}", n % 11), Expect::Any, [event]).unwrap();
    }
    assert!(store.stats().segments > 10);
    drop(store);
    let store = open();
    // A busy machine may not have come to the last of them when the store was dropped.
    let rebuilt = store.open_report().sidecars_rebuilt.len() as u64;
    assert!(rebuilt < store.stats().segments / 2, "{:?}", store.open_report());
    assert_eq!(store.read_all().into_iter().map(Result::unwrap).count(), 2000);
    assert_eq!(
        store.read(factlog::Query::tags(["mod:3"])).into_iter().map(Result::unwrap).count(),
        400
    );
    assert_eq!(
        store.read_category("Clock").backward().into_iter().map(Result::unwrap).count(),
        2000
    );
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(store.event(*id).unwrap().unwrap().position().get(), n as u64 + 1);
    }
    assert!(store.verify().unwrap().clean);
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    drop(store);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_follower_sees_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().segment_bytes(16 << 10).open(dir.path()).unwrap();
    store.append("A-1", Expect::Any, [tick(0)]).unwrap();
    let follower = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(follower.last_position().get(), 1);
    let mut subscription =
        follower.subscribe(factlog::Source::All).start(factlog::Start::Beginning).unwrap();
    for n in 1..600 {
        store.append("A-1", Expect::Any, [tick(n)]).unwrap();
    }
    let mut seen = 0;
    while seen < 600 {
        if let factlog::Delivery::Event(event) = subscription.next().unwrap() {
            seen += 1;
            assert_eq!(event.position().get(), seen);
        }
    }
}
