//! The built binary: `restore`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Home;
use serde_json::json;

fn path(home: &Home, name: &str) -> String {
    home.file(name).display().to_string()
}

fn backed_up(events: u64) -> (Home, String) {
    let home = Home::filled(events);
    let backup = path(&home, "backup");
    assert_eq!(home.on(&["backup", &backup], "").code, 0);
    (home, backup)
}

/// The documented JSON is a contract.
#[test]
fn a_restored_store_answers_as_documented_and_goes_on() {
    let (home, backup) = backed_up(4);
    let to = path(&home, "restored");
    let origin = home.on(&["backup", &backup, "--json"], "").json()["store"].take();
    let mut answer = home.run(&["restore", &backup, &to, "--json"], "").json();
    assert_ne!(answer["store"].take(), origin);
    assert_eq!(answer["origin"].take(), origin);
    assert!(answer["last_recorded_at"].take().is_string());
    assert!(answer["bytes_copied"].take().as_u64().unwrap() > 4096);
    assert_eq!(
        answer,
        json!({"dir": to, "store": null, "origin": null, "position": 4, "last_recorded_at": null,
            "segments": 1, "segments_linked": 0, "bytes_copied": null, "checkpoints": 0,
            "snapshots": 0, "dry_run": false})
    );
    let append = ["append", "A-1", "--type", "T", "--expect", "2", "--dir", &to];
    assert_eq!(home.run(&append, "").code, 0);
    assert_eq!(home.run(&["read", "--dir", &to], "").out.lines().count(), 5);
    assert_eq!(home.lines(&["read"]).len(), 4);
}

#[test]
fn an_end_is_a_position_or_a_time() {
    let (home, backup) = backed_up(4);
    let times = home.values(&["read"]);
    let second = times.get(1).unwrap()["recorded_at"].as_str().unwrap().to_owned();
    for (end, position) in [("3", 3), ("end", 4), ("0", 0), ("2020-01-01", 0), ("0s", 4)] {
        let to = path(&home, &format!("to-{position}-{end}"));
        let answer = home.run(&["restore", &backup, &to, "--to", end, "--json"], "").json();
        assert_eq!(answer["position"], position, "{end}");
        let info = home.run(&["info", "--json", "--dir", &to], "");
        assert_eq!((info.code, &info.json()["events"]), (0, &position.into()), "{end}");
    }
    let to = path(&home, "to-a-time");
    let answer = home.run(&["restore", &backup, &to, "--to", &second, "--json"], "").json();
    assert!(answer["position"].as_u64().unwrap() >= 2);
    assert_eq!(answer["last_recorded_at"].as_str(), Some(second.as_str()));
}

#[test]
fn every_refusal_has_its_code_and_a_dry_run_makes_nothing() {
    let (home, backup) = backed_up(2);
    let to = path(&home, "restored");
    let dry = home.run(&["restore", &backup, &to, "--dry-run"], "");
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert!(dry.out.contains("would end at position 2"), "{}", dry.out);
    assert_eq!(home.run(&["restore", &backup, &to, "--to", "3"], "").code, 2);
    assert_eq!(home.run(&["restore", &backup, &to, "--to", "yesterday"], "").code, 2);
    assert!(!home.file("restored").exists());
    let missing = home.run(&["restore", &path(&home, "nothing"), &to], "");
    assert_eq!(missing.code, 4, "{}", missing.err);
    let taken = home.run(&["restore", &backup, &home.dir()], "");
    assert_eq!(taken.code, 2, "{}", taken.err);
    assert!(taken.err.contains("holds a store already"), "{}", taken.err);
}
