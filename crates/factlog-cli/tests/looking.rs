//! The built binary: the verbs that look into a store and tend its subscribers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Home, history};
use serde_json::{Value, json};

#[test]
fn init_makes_a_store_once_and_leaves_it_then() {
    let home = Home::new();
    let first = home.on(&["init", "--json"], "");
    assert_eq!((first.code, &first.json()["created"]), (0, &true.into()), "{}", first.err);
    home.on(&["append", "S-1", "--type", "T"], "");
    let again = home.on(&["init", "--json"], "");
    assert_eq!((again.code, &again.json()["created"]), (0, &false.into()));
    assert!(again.err.contains("already"), "{}", again.err);
    assert_eq!(home.lines(&["read"]).len(), 1);
}

#[test]
fn init_does_not_move_into_a_directory_of_other_files() {
    let home = Home::new();
    std::fs::create_dir(home.file("store")).unwrap();
    std::fs::write(home.file("store").join("letters.txt"), "dear").unwrap();
    let run = home.on(&["init"], "");
    assert_ne!(run.code, 0);
    let names: Vec<_> = home.bytes_of_everything().into_keys().collect();
    assert_eq!(names, [home.file("store").join("letters.txt")]);
}

#[test]
fn an_event_is_found_by_position_by_id_and_by_version() {
    let home = Home::filled(4);
    let third = home.values(&["read", "$all", "--from", "3", "-n", "1"]).remove(0);
    let id = third["id"].as_str().unwrap();
    for name in ["3", id, "A-1@2"] {
        assert_eq!(home.values(&["get", name]), std::slice::from_ref(&third), "{name}");
    }
    let raw = home.on(&["get", "3", "-o", "raw"], "");
    assert_eq!(raw.out, "{\"n\":3}\n");
}

#[test]
fn an_event_that_is_not_there_is_4_and_nonsense_is_2() {
    let home = Home::filled(2);
    for name in ["3", "0", "701c4f0a-de22-531e-951e-3ad8bc4bce71", "A-1@2", "A-1@0", "C-1@1"] {
        let run = home.on(&["get", name], "");
        assert_eq!((run.code, run.out.as_str()), (4, ""), "{name}: {}", run.err);
    }
    for name in ["", "A-1", "A-1@", "-3"] {
        assert_eq!(home.on(&["get", name], "").code, 2, "{name}");
    }
}

#[test]
fn types_are_counted_sorted_and_cut() {
    let home = Home::new();
    assert_eq!(home.on(&["import", &history()], "").code, 0);
    let all = home.values(&["types", "--json"]);
    let names: Vec<_> = all.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.len() > 2, "{names:?}");
    assert_eq!(all.iter().map(|entry| entry["events"].as_u64().unwrap()).sum::<u64>(), 7630);
    for entry in &all {
        let count = home.lines(&["read", "--type", entry["name"].as_str().unwrap()]).len();
        assert_eq!(entry["events"], count, "{entry}");
    }
    let largest = home.values(&["types", "--json", "--sort", "events", "--top", "1"]).remove(0);
    let most = all.iter().map(|entry| entry["events"].as_u64()).max();
    assert_eq!(largest["events"].as_u64(), most.flatten());
    let some = home.values(&["types", "--json", "--prefix", "Comm"]);
    assert_eq!(some.len(), 1);
}

/// The documented JSON is a contract.
#[test]
fn stats_answer_as_documented() {
    let home = Home::filled(3);
    let mut answer = home.on(&["stats", "--json"], "").json();
    for key in ["first_recorded_at", "last_recorded_at"] {
        assert!(answer[key].take().as_str().unwrap().ends_with('Z'), "{key}");
    }
    let entry = |name: &str, events: u64, first: u64, last: u64| {
        json!({
            "name": name, "events": events, "bytes": 7 * events,
            "first_position": first, "last_position": last,
        })
    };
    let expected = json!({
        "events": 3, "bytes": 21, "largest": 7, "events_per_day": null,
        "first_recorded_at": null, "last_recorded_at": null,
        "streams": {"count": 2, "top": [entry("A-1", 2, 1, 3), entry("B-1", 1, 2, 2)]},
        "categories": {"count": 2, "top": [entry("A", 2, 1, 3), entry("B", 1, 2, 2)]},
        "types": {"count": 1, "top": [entry("T", 3, 1, 3)]},
    });
    assert_eq!(answer, expected);
    let text = home.on(&["stats"], "").out;
    assert!(text.starts_with("3 events, 21 B of data"), "{text}");
}

#[test]
fn stats_of_an_empty_store_are_zeros_and_of_a_damaged_one_are_11() {
    let home = Home::new();
    home.on(&["init"], "");
    let empty = home.on(&["stats", "--json"], "").json();
    assert_eq!((&empty["events"], &empty["first_recorded_at"]), (&0.into(), &Value::Null));
    let home = Home::filled(3);
    home.flip_a_byte_of_the_first_event();
    let damaged = home.on(&["stats"], "");
    assert_eq!((damaged.code, damaged.out.as_str()), (11, ""), "{}", damaged.err);
}

#[test]
fn subscribers_are_listed_with_their_lag_and_set_back() {
    let home = Home::filled(4);
    let none = home.on(&["subs", "ls"], "");
    assert_eq!((none.out.as_str(), none.err.lines().count()), ("", 1), "{none:?}");
    assert_eq!(home.on(&["subs", "ls", "--quiet"], "").err, "");
    assert_eq!(home.on(&["subs", "lag", "mailer"], "").code, 4);
    let refused = home.on(&["subs", "reset", "mailer", "--to", "3"], "");
    assert_eq!(refused.code, 4, "a typing error makes no subscriber: {}", refused.err);
    let made = home.on(&["subs", "reset", "mailer", "--to", "3", "--create"], "");
    assert_eq!((made.code, made.out.as_str()), (0, ""), "{}", made.err);
    let all = home.values(&["subs", "ls", "--json"]);
    assert_eq!(
        (&all[0]["name"], &all[0]["position"], &all[0]["lag"]),
        (&"mailer".into(), &3.into(), &1.into())
    );
    let fourth = home.values(&["get", "4"]).remove(0);
    assert_eq!(all[0]["oldest_unread"], fourth["recorded_at"]);
    for (to, position) in [("start", 0), ("end", 4), ("2", 2)] {
        assert_eq!(home.on(&["subs", "reset", "mailer", "--to", to], "").code, 0);
        let lag = home.on(&["subs", "lag", "mailer", "--json"], "").json();
        assert_eq!((&lag["position"], &lag["lag"]), (&position.into(), &(4 - position).into()));
    }
    let beyond = home.on(&["subs", "reset", "mailer", "--to", "5"], "");
    assert_eq!(beyond.code, 2, "{}", beyond.err);
    assert!(beyond.err.contains("position 4"), "{}", beyond.err);
}

#[test]
fn a_removed_subscriber_is_gone_and_told_how_to_come_back() {
    let home = Home::filled(4);
    let missing = home.on(&["subs", "rm", "mailer"], "");
    assert_eq!((missing.code, missing.out.as_str()), (4, ""), "{missing:?}");
    home.on(&["subs", "reset", "mailer", "--to", "3", "--create"], "");
    home.on(&["subs", "reset", "other", "--to", "2", "--create"], "");
    let removed = home.on(&["subs", "rm", "mailer", "--json"], "");
    assert_eq!(removed.json(), serde_json::json!({ "name": "mailer", "position": 3 }));
    assert!(removed.err.contains("--to 3 --create"), "{}", removed.err);
    assert_eq!(home.values(&["subs", "ls", "--json"]).len(), 1);
    assert_eq!(home.on(&["subs", "lag", "mailer"], "").code, 4);
    assert_eq!(home.on(&["subs", "lag", "other"], "").code, 0);
}

#[test]
fn a_subscriber_of_a_store_that_is_not_there_makes_none() {
    let home = Home::new();
    assert_eq!(home.on(&["subs", "reset", "m", "--to", "start", "--create"], "").code, 4);
    assert_eq!(home.on(&["subs", "rm", "m"], "").code, 4);
    assert!(!home.exists());
}

#[test]
fn every_verb_has_a_manual_page_and_completions_know_it() {
    let home = Home::new();
    let verbs = ["append", "export", "get", "import", "info", "init", "read", "stats", "streams"];
    let verbs = verbs.iter().chain(&["forget", "keys", "subs", "tail", "types", "verify"]);
    let verbs = verbs.chain(&["bench", "dump", "repair", "salvage"]);
    let completions = home.ok(&["completions", "bash"]).out;
    let pages = home.file("man");
    home.ok(&["man", "--to", pages.to_str().unwrap()]);
    for verb in verbs {
        assert!(completions.contains(&format!("factlog__subcmd__{verb}")), "{verb}");
        let page = std::fs::read_to_string(pages.join(format!("factlog-{verb}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{verb}");
    }
    assert!(!completions.contains("demo-writer"), "nobody else has a use for it");
    assert!(home.ok(&["man"]).out.contains("factlog"));
    assert!(!pages.join("factlog-demo-writer.1").exists());
}
