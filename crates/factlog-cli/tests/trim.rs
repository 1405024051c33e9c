//! The built binary: old segments that go, and what is said about it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Home;
use factlog::{Expect, NewEvent, Position, Store};
use serde_json::{Value, json};

/// A store of several small segments.
fn home() -> Home {
    let home = Home::new();
    let store = Store::options().segment_bytes(16 << 10).open(home.file("store")).unwrap();
    for n in 0..100 {
        let event = NewEvent::json_text("T", format!("{{\"n\":{n},\"fill\":\"{:800}\"}}", ""));
        store.append("A-1", Expect::Any, [event]).unwrap();
    }
    store.save_checkpoint("mailer", Position::new(60)).unwrap();
    store.close().unwrap();
    home
}

/// The documented JSON is a contract.
#[test]
fn a_dry_run_removes_nothing_and_yes_removes_what_it_said() {
    let home = home();
    let before = home.bytes_of_everything();
    let said = home.on(&["trim", "--keep-events", "50", "--json"], "").json();
    assert_eq!(home.bytes_of_everything(), before, "a dry run writes nothing");
    let events = said["events"].as_u64().unwrap();
    assert!(events > 20 && events <= 50, "{said}");
    let expected = json!({
        "removed": false, "segments": said["segments"], "events": events,
        "bytes": said["bytes"], "first_position": events + 1, "held_by": null,
    });
    assert_eq!(said, expected);
    let text = home.on(&["trim", "--keep-events", "50"], "");
    assert!(text.out.starts_with("would remove") && text.out.contains("--yes"), "{}", text.out);
    let done = home.on(&["trim", "--keep-events", "50", "--yes", "--json"], "").json();
    assert_eq!((&done["removed"], &done["events"]), (&Value::Bool(true), &said["events"]));
    assert_eq!(home.numbers(&["read"], "position"), Vec::from_iter(events + 1..=100));
    assert_eq!(home.on(&["get", "1"], "").code, 4);
    assert_eq!(home.on(&["verify"], "").code, 0);
    let again = home.on(&["trim", "--keep-events", "50", "--yes"], "");
    assert!(again.out.starts_with("nothing to remove"), "{}", again.out);
    assert_eq!(home.on(&["info", "--json"], "").json()["events"], 100 - events);
}

#[test]
fn a_checkpoint_keeps_what_it_has_not_come_to_unless_forced() {
    let home = home();
    let held = home.on(&["trim", "--keep-bytes", "0", "--json"], "").json();
    assert_eq!(held["held_by"], json!({"name": "mailer", "position": 60}));
    assert!(held["first_position"].as_u64().unwrap() <= 61);
    let text = home.on(&["trim", "--keep-bytes", "0"], "").out;
    assert!(text.contains("checkpoint mailer at position 60"), "{text}");
    let forced = home.on(&["trim", "--keep-bytes", "0", "--force", "--yes", "--json"], "").json();
    let first = forced["first_position"].as_u64().unwrap();
    assert!(first > 61, "{forced}");
    // The lag counted what was trimmed, and the oldest unread was not found.
    let lag = home.on(&["subs", "lag", "mailer", "--json"], "").json();
    assert_eq!(lag["lag"], 100 - (first - 1), "{lag}");
    assert!(lag["oldest_unread"].is_string(), "{lag}");
}

#[test]
fn bounds_are_wanted_and_all_of_them_are_kept() {
    let home = home();
    assert_eq!(home.on(&["trim", "--yes"], "").code, 2);
    assert_eq!(home.on(&["trim", "--older-than", "soon"], "").code, 2);
    let both = ["trim", "--before-position", "40", "--older-than", "1h", "--yes", "--json"];
    let young = home.on(&both, "").json();
    assert_eq!((&young["removed"], &young["segments"]), (&false.into(), &0.into()));
    let old = home.on(&["trim", "--before-position", "40", "--older-than", "0s", "--json"], "");
    assert!(old.json()["segments"].as_u64().unwrap() > 0);
    let nowhere = Home::new();
    assert_eq!(nowhere.on(&["trim", "--keep-events", "1", "--yes"], "").code, 4);
    assert!(!nowhere.exists());
}

#[test]
fn a_store_that_is_being_written_is_asked_and_not_trimmed() {
    let home = home();
    let store = Store::open(home.file("store")).unwrap();
    assert_eq!(home.on(&["trim", "--keep-events", "10"], "").code, 0);
    assert_eq!(home.on(&["trim", "--keep-events", "10", "--yes"], "").code, 5);
    drop(store);
}
