//! The built binary: `fork`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Home;
use factlog::{Expect, NewEvent, Store};
use serde_json::json;

fn path(home: &Home, name: &str) -> String {
    home.file(name).display().to_string()
}

/// The documented JSON is a contract.
#[test]
fn a_fork_answers_as_documented_and_both_go_their_own_way() {
    let home = Home::filled(4);
    let to = path(&home, "what-if");
    let mut answer = home.on(&["fork", &to, "--at", "3", "--json"], "").json();
    assert_ne!(answer["store"].take(), answer["origin"].take());
    assert!(answer["last_recorded_at"].take().is_string());
    assert!(answer["bytes_copied"].take().is_u64());
    assert_eq!(
        answer,
        json!({"dir": to, "store": null, "origin": null, "position": 3, "last_recorded_at": null,
            "segments": 1, "segments_linked": 0, "bytes_copied": null, "checkpoints": 0,
            "snapshots": 0, "dry_run": false})
    );
    home.run(&["append", "Own-1", "--type", "There", "--dir", &to], "");
    home.on(&["append", "Own-1", "--type", "Here"], "");
    let types = |dir: &str| home.run(&["types", "--dir", dir], "").out;
    assert!(types(&to).contains("There") && !types(&to).contains("Here"));
    assert!(types(&home.dir()).contains("Here") && !types(&home.dir()).contains("There"));
    for dir in [to.as_str(), &home.dir()] {
        assert_eq!(home.run(&["verify", "--dir", dir], "").code, 0, "{dir}");
    }
}

#[test]
fn sealed_files_are_shared() {
    let home = Home::filled(1);
    let data = serde_json::Value::from("x".repeat(1 << 20)).to_string();
    let line = common::line("Big-1", "T", &format!(r#""data":{data}"#));
    let lines = vec![line; 70].join("\n");
    assert_eq!(home.on(&["append"], &lines).code, 0);
    let answer = home.on(&["fork", &path(&home, "what-if"), "--json"], "").json();
    assert_eq!((&answer["segments"], &answer["segments_linked"]), (&2.into(), &1.into()));
    assert_eq!(answer["position"], 71);
    let to = path(&home, "what-if");
    assert_eq!(home.run(&["info", "--json", "--dir", &to], "").json()["events"], 71);
}

#[test]
fn every_refusal_has_its_code_and_a_dry_run_makes_nothing() {
    let home = Home::filled(2);
    let to = path(&home, "what-if");
    let dry = home.on(&["fork", &to, "--dry-run", "--json"], "");
    let answer = dry.json();
    assert_eq!((dry.code, &answer["dry_run"], &answer["store"]), (0, &true.into(), &json!(null)));
    assert_eq!(home.on(&["fork", &to, "--at", "3"], "").code, 2);
    assert!(!home.file("what-if").exists());
    let taken = home.on(&["fork", &home.dir()], "");
    assert_eq!(taken.code, 2, "{}", taken.err);
    let nothing = Home::new();
    assert_eq!(nothing.on(&["fork", &path(&nothing, "what-if")], "").code, 4);
}

/// A fork shared what was damaged, and said 0: there were two stores then that had lost it.
#[test]
fn damage_is_not_passed_on_in_silence() {
    let home = Home::new();
    let store = Store::options().segment_bytes(16 << 10).open(home.file("store")).unwrap();
    for _ in 0..60 {
        store.append("A-1", Expect::Any, [NewEvent::binary("T", vec![7; 800])]).unwrap();
    }
    store.close().unwrap();
    let mut bytes = std::fs::read(home.segment()).unwrap();
    *bytes.get_mut(4096 + 144 + 600).unwrap() ^= 1;
    std::fs::write(home.segment(), bytes).unwrap();
    let to = path(&home, "what-if");
    let run = home.on(&["fork", &to], "");
    assert_eq!(run.code, 11, "{}", run.err);
    assert!(run.err.contains("00000000000000000001.seg"), "{}", run.err);
    assert_eq!(home.run(&["info", "--dir", &to], "").code, 4, "there is no store");
    // Whoever wants it has it, and has read what --no-verify means.
    assert_eq!(home.on(&["fork", &to, "--no-verify"], "").code, 0);
    assert_eq!(home.run(&["verify", "--dir", &to], "").code, 11);
}
