//! The built binary: the life of a stream.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::Home;
use serde_json::{Value, json};

fn shown(home: &Home, stream: &str) -> Value {
    home.on(&["stream", "show", stream, "--json"], "").json()
}

#[test]
fn a_deleted_stream_is_not_read_and_lives_again_with_its_next_event() {
    let home = Home::filled(6);
    let run = home.on(&["stream", "delete", "A-1", "--expect", "3"], "");
    assert_eq!((run.code, run.out.as_str()), (0, ""), "{}", run.err);
    assert!(run.err.contains("A-1 is deleted; 0 events of it are shown"), "{}", run.err);
    let wanted = json!({
        "stream": "A-1", "state": "deleted", "version": 3, "last_position": 5, "shown": 0,
        "truncate_before": null, "keep_last": null, "max_age_seconds": null,
    });
    assert_eq!(shown(&home, "A-1"), wanted);
    assert_eq!(home.lines(&["read"]).len(), 6, "the log shows it");
    assert_eq!(home.lines(&["read", "--hidden", "exclude"]).len(), 3);
    let marked = home.on(&["read", "A-1", "--hidden", "mark"], "");
    assert_eq!(marked.out.lines().count(), 3);
    assert!(marked.err.contains("position 5 is hidden: its stream was deleted"), "{}", marked.err);
    let streams = home.values(&["streams", "--json"]);
    assert_eq!(streams[0]["state"], "deleted");
    let again = home.on(&["append", "A-1", "--type", "T", "--expect", "none"], "");
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(
        (&shown(&home, "A-1")["state"], &shown(&home, "A-1")["shown"]),
        (&json!("live"), &json!(1))
    );
}

#[test]
fn a_tombstone_asks_and_is_for_ever() {
    let home = Home::filled(2);
    assert_eq!(home.on(&["stream", "tombstone", "A-1"], "").code, 2);
    assert_eq!(shown(&home, "A-1")["state"], "live");
    assert_eq!(home.on(&["stream", "tombstone", "A-1", "--yes"], "").code, 0);
    assert_eq!(shown(&home, "A-1")["state"], "tombstoned");
    for refused in [&["append", "A-1", "--type", "T"][..], &["read", "A-1"]] {
        let run = home.on(refused, "");
        assert_eq!(run.code, 4, "{refused:?}: {}", run.err);
        assert!(run.err.contains("A-1"), "{}", run.err);
    }
    let again = home.on(&["stream", "tombstone", "A-1", "--yes"], "");
    assert_eq!(again.code, 0, "it is so already: {}", again.err);
}

#[test]
fn bounds_are_set_replaced_and_lifted() {
    let home = Home::filled(10);
    let retain = |bounds: &[&str]| {
        let run = home.on(&[&["stream", "retain", "A-1"], bounds].concat(), "");
        assert_eq!(run.code, 0, "{bounds:?}: {}", run.err);
        shown(&home, "A-1")
    };
    assert_eq!(retain(&["--keep-last", "2"])["shown"], 2);
    let both = retain(&["--truncate-before", "3", "--max-age", "2h"]);
    assert_eq!((&both["shown"], &both["keep_last"]), (&json!(3), &Value::Null));
    assert_eq!(both["max_age_seconds"], 7200.0);
    assert_eq!(retain(&["--all"])["shown"], 5);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let home = Home::filled(4);
    let table: [(&[&str], i32); 10] = [
        (&["stream", "retain", "A-1"], 2),
        (&["stream", "retain", "A-1", "--keep-last", "0"], 2),
        (&["stream", "retain", "A-1", "--truncate-before", "4"], 2),
        (&["stream", "retain", "A-1", "--max-age", "soon"], 2),
        (&["stream", "retain", "A-1", "--all", "--keep-last", "1"], 2),
        (&["stream", "delete", "A-1", "--expect", "1"], 3),
        (&["stream", "delete", "Nobody-1"], 4),
        (&["stream", "retain", "Nobody-1", "--keep-last", "1"], 4),
        (&["stream", "tombstone", "Nobody-1", "--yes"], 4),
        (&["stream", "show", "Nobody-1"], 4),
    ];
    for (asked, code) in table {
        let run = home.on(asked, "");
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{asked:?}: {}", run.err);
    }
    assert_eq!(shown(&home, "A-1")["shown"], 2);
    let early = ["stream", "retain", "Later-1", "--keep-last", "1", "--create"];
    let run = home.on(&early, "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("Later-1 is bounded; 0 events of it are shown"), "{}", run.err);
    assert_eq!(shown(&home, "Later-1")["state"], "never");
    // Something is said of it, so it is known.
    assert_eq!(home.on(&["stream", "retain", "Later-1", "--all"], "").code, 0);
    let one = home.on(&["stream", "retain", "A-1", "--keep-last", "1"], "");
    assert!(one.err.contains("1 event of it is shown"), "{}", one.err);
}

/// It said that there was no such version.
#[test]
fn an_event_that_is_hidden_is_told_as_such_and_how_to_see_it() {
    let home = Home::filled(6);
    home.on(&["stream", "retain", "B-1", "--truncate-before", "3"], "");
    home.on(&["stream", "delete", "A-1"], "");
    for (event, why) in
        [("A-1@2", "stream A-1 is deleted"), ("B-1@2", "version 2 of B-1 is hidden")]
    {
        let run = home.on(&["get", event], "");
        assert_eq!(run.code, 4);
        assert!(run.err.contains(why), "{}", run.err);
        let command = run.err.split('`').nth(1).unwrap();
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        assert_eq!(home.lines(&words).len(), 1, "{command}");
    }
    let none = home.on(&["get", "A-1@4"], "");
    assert!(none.code == 4 && none.err.contains("there is no version 4"), "{}", none.err);
}
