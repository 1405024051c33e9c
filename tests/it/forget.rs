//! Subjects: their data is encrypted, and can be forgotten; nothing else of an event changes.

mod crashes;
mod keys;
mod typed;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use factlog::disk::SimDisk;
use factlog::{
    Delivery, ErrorKind, Expect, Keyring, NewEvent, Position, Query, RecordedEvent, Result, Source,
    Start, Store, Version,
};

use crate::rig::{id, options, read_only};

const SECRET: &str = "the-moon-is-made-of-cheese";

/// What is said of a subject, in an event that can be told from every other by its number.
fn said(subject: &str, number: u64) -> NewEvent {
    let text = format!(r#"{{"n": {number}, "of": "{subject}", "secret": "{SECRET}"}}"#);
    let event = NewEvent::json_text("Said", text).id(id(number));
    event.subject(subject).tag(format!("n:{number}")).correlation("talk-1")
}

fn ringed(disk: &SimDisk) -> Result<Store> {
    options().keyring(Keyring::beside()).open_on(Arc::new(disk.clone()))
}

/// Whether any file has these bytes.
fn holds(disk: &SimDisk, bytes: &[u8]) -> bool {
    disk.file_names().iter().any(|name| {
        let file = disk.read_file(name).unwrap();
        file.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// The event of that number by every way there is; they all answer the same.
fn everywhere(store: &Store, number: u64) -> Result<RecordedEvent> {
    let event = store.event(id(number))?.unwrap();
    assert_eq!(store.event_at(event.position())?.as_ref(), Some(&event));
    let by_version = store.stream_event(event.stream(), event.version())?;
    assert_eq!(by_version.as_ref(), Some(&event));
    let tag = || Query::tags([format!("n:{number}")]);
    let stream = || store.read_stream(event.stream()).from(event.version()).limit(1);
    let at = event.position();
    let just = Position::new(at.get() - 1);
    let reads = [
        stream(),
        store.read_all().after(just).through(at),
        store.read_all().backward().after(just).through(at),
        store.read_category("Person").only(tag()),
        store.read(tag()),
        store.read(Query::correlation("talk-1")).only(tag()),
    ];
    for read in reads {
        assert_eq!(read.clone().to_vec()?, std::slice::from_ref(&event), "{read:?}");
        let mut visited = 0;
        read.for_each(|seen| {
            assert_eq!((seen.data(), seen.text()), (event.data(), event.text()));
            assert_eq!(seen.is_forgotten(), event.is_forgotten());
            assert_eq!(seen.to_owned(), event);
            visited += 1;
            ControlFlow::Continue(())
        })?;
        assert_eq!(visited, 1);
    }
    let mut all = store.subscribe(Source::Query(tag())).start(Start::Beginning)?;
    assert_eq!(all.next()?, Delivery::Event(event.clone()));
    Ok(event)
}

/// An event that is readable, with what it said.
fn readable(store: &Store, subject: &str, number: u64) {
    let event = everywhere(store, number).unwrap();
    event.readable().unwrap();
    assert!(!event.is_forgotten());
    let said = said(subject, number);
    let wanted = format!(r#"{{"n": {number}, "of": "{subject}", "secret": "{SECRET}"}}"#);
    assert_eq!((event.text(), event.id()), (Some(wanted.as_str()), said.event_id()));
}

/// An event whose data cannot be had, and all the rest of it.
fn without_data(store: &Store, subject: &str, number: u64, kind: ErrorKind) {
    let event = everywhere(store, number).unwrap();
    assert_eq!(event.readable().unwrap_err().kind(), kind);
    assert_eq!(event.is_forgotten(), kind == ErrorKind::Forgotten);
    assert_eq!((event.data(), event.text()), (&b""[..], None));
    let error = event.json::<serde_json::Value>().unwrap_err();
    assert_eq!((error.kind(), error.position()), (kind, Some(event.position())));
    assert_eq!((event.event_type(), event.subject()), ("Said", Some(subject)));
    assert_eq!(event.tags().collect::<Vec<_>>(), [format!("n:{number}")]);
    assert_eq!(event.correlation(), Some("talk-1"));
}

/// Two subjects and an event of nobody's, in one batch over two streams.
fn talk(disk: &SimDisk) -> Store {
    let store = ringed(disk).unwrap();
    let weather = NewEvent::json_text("Rained", r#"{"mm": 3}"#);
    store
        .batch()
        .append("Person-ada", Expect::NoStream, [said("ada", 1), said("bob", 2)])
        .append("Person-bob", Expect::NoStream, [said("bob", 3)])
        .append("Weather-1", Expect::Any, [weather])
        .commit()
        .unwrap();
    store.append("Person-ada", Expect::Version(Version::new(2)), [said("ada", 4)]).unwrap();
    store
}

#[test]
fn what_is_said_of_a_subject_is_encrypted_on_disk_and_clear_to_readers() {
    let disk = SimDisk::new(1);
    let store = talk(&disk);
    assert!(!holds(&disk, SECRET.as_bytes()), "it stands on the disk in clear");
    for clear in ["Person-ada", "Said", "n:1", "talk-1", "ada", r#"{"mm": 3}"#] {
        assert!(holds(&disk, clear.as_bytes()), "{clear} is not in clear");
    }
    for (subject, number) in [("ada", 1), ("bob", 2), ("bob", 3), ("ada", 4)] {
        readable(&store, subject, number);
    }
    store.close().unwrap();
    let store = read_only(&disk).unwrap();
    readable(&store, "ada", 4);
    drop(store);
    assert!(ringed(&disk).unwrap().verify().unwrap().damage.is_empty());
}

/// Without a keyring the data went into the log in clear, and nobody was told that `forget` would
/// never reach it.
#[test]
fn a_store_without_keyring_refuses_subjects_unless_it_was_told_to_take_them() {
    let disk = SimDisk::new(1);
    let open = |clear| options().subjects_in_clear(clear).open_on(Arc::new(disk.clone())).unwrap();
    let store = open(false);
    let batch = store.batch().append("Weather-1", Expect::Any, [NewEvent::binary("Rained", "")]);
    let error = batch.append("Person-ada", Expect::Any, [said("ada", 1)]).commit().unwrap_err();
    assert_eq!((error.kind(), error.stream()), (ErrorKind::Invalid, Some("Person-ada")));
    for step in ["Options::keyring", "subjects_in_clear"] {
        assert!(error.message().contains(step), "{error}");
    }
    assert_eq!(store.last_position(), Position::START);
    assert!(!holds(&disk, SECRET.as_bytes()));
    drop(store);
    let store = open(true);
    store.append("Person-ada", Expect::Any, [said("ada", 1)]).unwrap();
    let event = store.event(id(1)).unwrap().unwrap();
    assert!(event.is_in_clear() && event.text().unwrap().contains(SECRET));
    drop(store);
    // With a keyring it encrypts, whatever is allowed.
    let how = options().subjects_in_clear(true).keyring(Keyring::beside());
    let store = how.open_on(Arc::new(disk.clone())).unwrap();
    store.append("Person-ada", Expect::Any, [said("ada", 2)]).unwrap();
    assert!(!store.event(id(2)).unwrap().unwrap().is_in_clear());
}

/// The receipt said that all was gone up to its position, although what was stored before there
/// was a keyring stands in the log for ever.
#[test]
fn a_receipt_counts_what_was_stored_in_the_clear() {
    let disk = SimDisk::new(1);
    let store = options().open_on(Arc::new(disk.clone())).unwrap();
    let weather = NewEvent::binary("Rained", "");
    store.append("Weather-1", Expect::Any, [weather]).unwrap();
    for (number, subject) in [(1, "ada"), (2, "ada"), (3, "bob"), (4, "eve")] {
        store.append("Person-1", Expect::Any, [said(subject, number)]).unwrap();
    }
    // There is no keyring at all: nothing to destroy, and something left.
    let receipt = store.forget("ada").unwrap();
    assert_eq!((receipt.keys.len(), receipt.in_clear.events), (0, 2));
    assert_eq!(store.forget("nobody").unwrap_err().kind(), ErrorKind::NotFound);
    drop(store);
    let store = ringed(&disk).unwrap();
    store.append("Person-1", Expect::Any, [said("ada", 5), said("cy", 6)]).unwrap();
    let of = |subject| {
        let receipt = store.forget(subject).unwrap();
        let clear = receipt.in_clear;
        (receipt.keys.len(), clear.events, clear.first.map(Position::get), clear.whole)
    };
    assert_eq!(of("ada"), (1, 2, Some(2), true));
    assert_eq!(of("cy"), (1, 0, None, true));
    assert_eq!(of("bob"), (0, 1, Some(4), true));
    assert_eq!(store.forget("nobody").unwrap_err().kind(), ErrorKind::NotFound);
    // What was reclaimed is no longer in the clear.
    assert_eq!(store.in_clear("eve").unwrap().events, 1);
    drop(store);
    disk.remove_file("keyring");
    let store = options().open_on(Arc::new(disk.clone())).unwrap();
    // Its keys may be somewhere: that is no receipt.
    assert_eq!(store.forget("bob").unwrap_err().kind(), ErrorKind::NotFound);
}

/// The same data of the same subject looks different each time, and is checked before it is
/// encrypted.
#[test]
fn encryption_changes_neither_limits_nor_the_check_for_json() {
    let store = ringed(&SimDisk::new(1)).unwrap();
    let bad = NewEvent::json_text("Said", "{]").subject("ada");
    let error = store.append("Person-ada", Expect::Any, [bad]).unwrap_err();
    assert!(error.message().contains("event data is not JSON"), "{error}");
    let long = NewEvent::binary("Said", vec![7; (1 << 20) + 1]).subject("ada");
    let error = store.append("Person-ada", Expect::Any, [long]).unwrap_err();
    assert!(error.message().contains("1048577 given"), "{error}");
    for subject in ["s".repeat(256), "a\nb".into()] {
        let event = NewEvent::binary("Said", "x").subject(subject);
        let error = store.append("Person-ada", Expect::Any, [event]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert!(store.keys().unwrap().iter().all(|key| key.subject == "ada"), "a key for no subject");
    let whole = NewEvent::binary("Said", vec![7; 1 << 20]).subject("ada");
    store.append("Person-ada", Expect::Any, [whole]).unwrap();
    assert_eq!(store.last_event("Person-ada").unwrap().unwrap().data().len(), 1 << 20);
    let nothing = NewEvent::binary("Said", "").subject("ada");
    store.append("Person-ada", Expect::Any, [nothing]).unwrap();
    let last = store.last_event("Person-ada").unwrap().unwrap();
    assert!(last.readable().is_ok() && last.data().is_empty());
}

#[test]
fn what_is_forgotten_is_gone_and_everything_else_stays() {
    let disk = SimDisk::new(1);
    let store = talk(&disk);
    let before: Vec<_> = store.read_all().to_vec().unwrap();
    let receipt = store.forget("ada").unwrap();
    assert_eq!((receipt.subject.as_str(), receipt.keys.len()), ("ada", 1));
    assert_eq!((receipt.through, receipt.overwritten), (Position::new(5), true));
    let check = |store: &Store| {
        for (subject, number) in [("bob", 2), ("bob", 3)] {
            readable(store, subject, number);
        }
        for number in [1, 4] {
            without_data(store, "ada", number, ErrorKind::Forgotten);
        }
        let after: Vec<_> = store.read_all().to_vec().unwrap();
        let place = |event: &RecordedEvent| (event.position(), event.version(), event.id());
        assert!(before.iter().map(place).eq(after.iter().map(place)));
    };
    check(&store);
    assert!(store.verify().unwrap().damage.is_empty());
    store.close().unwrap();
    check(&read_only(&disk).unwrap());
    check(&ringed(&disk).unwrap());
    check(&options().rebuild_index(true).open_on(Arc::new(disk.clone())).unwrap());
}

/// Forgetting is about what has been: a person may come back, and a second forgetting is one too.
#[test]
fn what_comes_later_has_a_key_of_its_own_and_can_be_forgotten_again() {
    let disk = SimDisk::new(1);
    let store = talk(&disk);
    let first = store.forget("ada").unwrap();
    let again = store.forget("ada").unwrap();
    assert!(again.keys.is_empty(), "there was nothing left");
    store.append("Person-ada", Expect::Any, [said("ada", 5)]).unwrap();
    readable(&store, "ada", 5);
    without_data(&store, "ada", 1, ErrorKind::Forgotten);
    let second = store.forget("ada").unwrap();
    assert_eq!(second.keys.len(), 1);
    assert_ne!(second.keys, first.keys);
    without_data(&store, "ada", 5, ErrorKind::Forgotten);
    let error = store.forget("nobody").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let keys = store.keys().unwrap();
    let state = |key: &factlog::KeyInfo| (key.subject.clone(), key.forgotten_at.is_some());
    let wanted = [("ada".into(), true), ("ada".into(), true), ("bob".into(), false)];
    assert_eq!(keys.iter().map(state).collect::<Vec<_>>(), wanted);
}

/// A retry is told by the ids, whatever the bytes are now, and whatever was forgotten since.
#[test]
fn a_retry_gets_the_original_answer_also_after_forgetting() {
    let store = ringed(&SimDisk::new(1)).unwrap();
    let events = || [said("ada", 1), said("bob", 2)];
    let first = store.append("Person-ada", Expect::NoStream, events()).unwrap();
    for forget in [false, true] {
        if forget {
            store.forget("ada").unwrap();
        }
        let again = store.append("Person-ada", Expect::NoStream, events()).unwrap();
        assert!(again.already);
        assert_eq!(again.streams, first.streams);
    }
    without_data(&store, "ada", 1, ErrorKind::Forgotten);
    readable(&store, "bob", 2);
}

/// Many new subjects in one batch cost one sync more than none.
#[test]
fn a_batch_keeps_all_its_keys_with_one_sync() {
    let disk = SimDisk::new(1);
    let how = options().keyring(Keyring::beside()).segment_bytes(1 << 20);
    let store = how.open_on(Arc::new(disk.clone())).unwrap();
    let of = |from: u64| (from..from + 50).map(|n| said(&format!("p{}", n % 100), n));
    let before = disk.operations();
    store.append("Person-all", Expect::Any, of(0)).unwrap();
    let with_keys = disk.operations() - before;
    let before = disk.operations();
    store.append("Person-all", Expect::Any, of(100)).unwrap();
    let without = disk.operations() - before;
    assert_eq!(with_keys, without + 2, "a write and a sync");
    readable(&store, "p7", 7);
    readable(&store, "p7", 107);
}

/// A follower finds the keys that are made while it runs, and loses those that are destroyed.
#[test]
fn forgetting_reaches_a_follower() {
    let disk = SimDisk::new(1);
    let store = talk(&disk);
    let how = options().background_threads(true).poll_interval(Duration::from_millis(1));
    let reader = how.open_read_only_on(Arc::new(disk.clone())).unwrap();
    readable(&reader, "ada", 1);
    store.append("Person-eve", Expect::Any, [said("eve", 6)]).unwrap();
    let source = Source::Query(Query::tags(["n:6"]));
    let mut eve = reader.subscribe(source).start(Start::Beginning).unwrap();
    let seen = loop {
        if let Delivery::Event(event) = eve.next().unwrap() {
            break event;
        }
    };
    seen.readable().unwrap();
    store.forget("ada").unwrap();
    std::thread::sleep(Duration::from_millis(2));
    without_data(&reader, "ada", 1, ErrorKind::Forgotten);
    without_data(&reader, "ada", 4, ErrorKind::Forgotten);
    readable(&reader, "bob", 2);
    readable(&reader, "eve", 6);
}
