//! The built binary: `backup`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Home;
use factlog::{Expect, NewEvent, Store, Trim};
use serde_json::json;

fn path(home: &Home, name: &str) -> String {
    home.file(name).display().to_string()
}

/// The documented JSON is a contract.
#[test]
fn a_backup_answers_as_documented_and_reads_like_the_store() {
    let home = Home::filled(4);
    let to = path(&home, "copy");
    let mut answer = home.on(&["backup", &to, "--json"], "").json();
    let store = answer["store"].take();
    assert_eq!(store.as_str().map(str::len), Some(36));
    assert!(answer["last_recorded_at"].take().as_str().unwrap().ends_with('Z'));
    let bytes = answer["bytes"].take();
    assert_eq!(answer["bytes_copied"].take(), bytes);
    assert_eq!(
        answer,
        json!({"dir": to, "store": null, "position": 4, "last_recorded_at": null, "segments": 1,
            "segments_copied": 1, "bytes": null, "bytes_copied": null, "let_go": null,
            "checkpoints": 0, "snapshots": 0, "verified": true, "dry_run": false})
    );
    let read = home.run(&["read", "--dir", &to], "");
    assert_eq!((read.code, read.out), (0, home.on(&["read"], "").out));
    assert_eq!(home.run(&["verify", "--dir", &to], "").code, 0);
}

#[test]
fn a_second_run_copies_what_is_new_and_a_dry_one_nothing() {
    let home = Home::filled(4);
    let to = path(&home, "copy");
    assert!(home.on(&["backup", &to], "").out.contains("ends at position 4"));
    let again = home.on(&["backup", &to, "--json"], "").json();
    assert_eq!(again["segments_copied"], 0);
    home.on(&["append", "C-1", "--type", "T"], "");
    let before = std::fs::metadata(home.file("copy").join("00000000000000000001.seg")).unwrap();
    let dry = home.on(&["backup", &to, "--dry-run"], "");
    assert!(dry.out.contains("would end at position 5") && dry.out.contains("to copy"), "{dry:?}");
    let after = std::fs::metadata(home.file("copy").join("00000000000000000001.seg")).unwrap();
    assert_eq!(before.len(), after.len());
    let report = home.on(&["backup", &to, "--json", "--through", "5"], "").json();
    assert_eq!(report["position"], 5);
}

#[test]
fn a_dry_run_into_nothing_makes_nothing() {
    let home = Home::filled(2);
    let run = home.on(&["backup", &path(&home, "copy"), "--dry-run", "--json"], "");
    assert_eq!((run.code, &run.json()["segments_copied"]), (0, &1.into()));
    assert!(!home.file("copy").exists());
}

#[test]
fn every_refusal_has_its_code_and_says_what_to_do() {
    let home = Home::filled(2);
    let to = path(&home, "copy");
    assert_eq!(home.on(&["backup", &to, "--through", "3"], "").code, 2);
    assert!(!home.file("copy").exists());
    home.on(&["backup", &to], "");
    let appended = home.run(&["append", "C-1", "--type", "T", "--dir", &to], "");
    assert_eq!(appended.code, 2);
    assert!(appended.err.contains("restore it into another directory"), "{}", appended.err);
    let onto_itself = home.on(&["backup", &home.dir()], "");
    assert_eq!(onto_itself.code, 2, "{}", onto_itself.err);
    std::fs::create_dir(home.file("mine")).unwrap();
    std::fs::write(home.file("mine").join("notes.txt"), "mine").unwrap();
    let foreign = home.on(&["backup", &path(&home, "mine")], "");
    assert_eq!(foreign.code, 2);
    assert!(foreign.err.contains("not empty"), "{}", foreign.err);
    let other = Home::filled(3);
    assert_eq!(other.on(&["backup", &to], "").code, 2);
    let nothing = Home::new();
    assert_eq!(nothing.on(&["backup", &path(&nothing, "copy")], "").code, 4);
    assert!(!nothing.file("copy").exists());
}

#[test]
fn damage_is_11_and_leaves_no_backup() {
    let home = Home::filled(50);
    let name = home.file("store").join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&name).unwrap();
    *bytes.get_mut(4096 + 300).unwrap() ^= 1;
    std::fs::write(&name, bytes).unwrap();
    let run = home.on(&["backup", &path(&home, "copy")], "");
    assert_eq!(run.code, 11, "{}", run.err);
    assert_eq!(home.run(&["info", "--dir", &path(&home, "copy")], "").code, 4);
}

/// A trim in the store, and the next night's backup threw the same events away, without a word: it
/// had been all that was left of them.
#[test]
fn a_backup_never_lets_go_of_trimmed_events_unless_told_to() {
    let home = Home::new();
    let store = Store::options().segment_bytes(16 << 10).open(home.file("store")).unwrap();
    for _ in 0..100 {
        let event = NewEvent::binary("T", vec![7; 800]);
        store.append("A-1", Expect::Any, [event]).unwrap();
    }
    let to = path(&home, "copy");
    assert_eq!(home.on(&["backup", &to], "").code, 0);
    let gone = store.trim(Trim::keep_events(50)).unwrap().events;
    store.append("A-1", Expect::Any, [NewEvent::binary("T", "")]).unwrap();
    store.close().unwrap();
    let range = format!("positions 1 to {gone}");
    for how in [["--json"], ["--dry-run"]] {
        let refused = home.on(&[["backup", &to].as_slice(), &how].concat(), "");
        assert_eq!(refused.code, 6, "{how:?}: {}", refused.err);
        let said = refused.err.contains(&range) && refused.err.contains("--follow-trim");
        assert!(said, "{}", refused.err);
        assert_eq!(home.run(&["get", "1", "--dir", &to], "").code, 0, "it is still there");
    }
    let expected = json!({"first_position": 1, "last_position": gone});
    let dry = ["backup", &to, "--follow-trim", "--dry-run", "--json"];
    let plan = home.on(&dry, "");
    assert_eq!((plan.code, &plan.json()["let_go"]), (0, &expected));
    let elsewhere = path(&home, "elsewhere");
    assert_eq!(home.on(&["backup", &elsewhere, "--json"], "").json()["let_go"], json!(null));
    let run = home.on(&["backup", &to, "--follow-trim", "--json", "--quiet"], "");
    assert_eq!((run.code, &run.json()["let_go"]), (0, &expected));
    assert!(run.err.contains("let go of") && run.err.contains(&range), "{}", run.err);
    assert_eq!(home.run(&["get", "1", "--dir", &to], "").code, 4);
    let again = home.on(&["backup", &to, "--json"], "");
    assert_eq!((again.code, &again.json()["let_go"]), (0, &json!(null)));
}
