//! `forget` and `keys` as a user meets them, and what other verbs print of what was forgotten.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::{Home, line};
use serde_json::{Value, json};

/// A store with a keyring and three events, of ada, of bob and of nobody.
fn talk() -> Home {
    let home = Home::new();
    assert_eq!(home.on(&["init", "--encrypt"], "").code, 0);
    let lines = [
        line(
            "Person-1",
            "Said",
            r#""id":"0198f0a5-7b1c-7c3e-8f2d-000000000001","data":{"a":"cheese"},"subject":"ada""#,
        ),
        line("Person-2", "Said", r#""data":{"b":"cheese"},"subject":"bob""#),
        line("Weather-1", "Rained", r#""data":{"mm":3}"#),
    ];
    let run = home.on(&["append"], &lines.join("\n"));
    assert_eq!(run.code, 0, "{}", run.err);
    home
}

fn holds_cheese(home: &Home) -> bool {
    let all = home.bytes_of_everything();
    all.values().any(|file| file.windows(6).any(|window| window == b"cheese"))
}

#[test]
fn what_is_said_of_a_subject_is_read_until_it_is_forgotten() {
    let home = talk();
    assert!(!holds_cheese(&home), "it stands on the disk in clear");
    assert_eq!(home.values(&["get", "1"])[0]["data"], json!({"a": "cheese"}));
    let refused = home.on(&["forget", "ada"], "");
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{}", refused.err);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(home.values(&["get", "1"])[0]["data"], json!({"a": "cheese"}));
    let mut receipt = home.on(&["forget", "ada", "--yes", "--json"], "").json();
    assert!(receipt["forgotten_at"].take().as_str().unwrap().ends_with('Z'));
    assert_eq!(receipt["keys"].take().as_array().unwrap().len(), 1);
    let wanted = json!({
        "subject": "ada", "forgotten_at": null, "keys": null, "through": 3, "overwritten": true,
        "in_clear": 0, "first_in_clear": null, "whole": true,
    });
    assert_eq!(receipt, wanted);
    let event = home.values(&["get", "1"]).remove(0);
    assert_eq!((event.get("data"), &event["forgotten"]), (None, &json!(true)));
    assert_eq!((&event["subject"], &event["position"]), (&json!("ada"), &json!(1)));
    assert_eq!(home.values(&["get", "2"])[0]["data"], json!({"b": "cheese"}));
    let table = home.on(&["read", "-o", "table"], "").out;
    assert!(table.contains("<forgotten>"), "{table}");
    let cloud = home.values(&["read", "-o", "cloudevents"]);
    assert_eq!((&cloud[0]["forgotten"], cloud[0].get("data")), (&json!(true), None));
    let text = home.on(&["forget", "ada", "--yes"], "").out;
    assert_eq!(text, "there was nothing left to forget of ada\n");
    assert_eq!(home.on(&["verify"], "").code, 0);
}

#[test]
fn a_receipt_for_people() {
    let home = talk();
    let text = home.on(&["forget", "bob", "--yes"], "").out;
    assert!(text.starts_with("forgot bob at 20"), "{text}");
    assert!(text.contains("Z: 1 key destroyed, up to position 3\n  "), "{text}");
}

#[test]
fn a_subject_or_a_store_that_is_not_there_is_4() {
    let home = talk();
    let nobody = home.on(&["forget", "eve", "--yes"], "");
    assert_eq!((nobody.code, nobody.out.as_str()), (4, ""));
    assert!(nobody.err.contains("factlog keys ls"), "{}", nobody.err);
    let empty = Home::new();
    for verb in [&["forget", "ada", "--yes"][..], &["keys", "ls"], &["keys", "import", "x"]] {
        assert_eq!(empty.on(verb, "").code, 4, "{verb:?}");
        assert!(!empty.exists());
    }
    // A store without a keyring has nothing to forget.
    let plain = Home::filled(1);
    assert_eq!(plain.on(&["forget", "ada", "--yes"], "").code, 4);
}

#[test]
fn keys_are_listed_taken_out_and_taken_in() {
    let home = talk();
    home.on(&["forget", "bob", "--yes"], "");
    let keys = home.values(&["keys", "ls", "--json"]);
    let state = |key: &Value| (key["subject"].clone(), key["forgotten_at"].is_null());
    let states: Vec<_> = keys.iter().map(state).collect();
    assert_eq!(states, [(json!("ada"), true), (json!("bob"), false)]);
    let listed = home.lines(&["keys", "ls"]);
    assert!(listed[0].contains("ada  made at ") && listed[1].contains("bob  forgotten at "));
    let file = home.file("shop.keys").display().to_string();
    let exported = home.on(&["keys", "export", &file, "--json"], "").json();
    assert_eq!(exported, json!({"file": file, "keys": 1}));
    assert_eq!(home.on(&["keys", "export", &file], "").code, 2, "it is there");
    // Lost, told, and found again.
    std::fs::remove_file(home.file("store").join("keyring")).unwrap();
    let event = home.values(&["get", "1"]).remove(0);
    assert!(event["unreadable"].as_str().unwrap().contains("not in the keyring"), "{event}");
    let table = home.on(&["read", "-o", "table"], "").out;
    assert!(table.contains("<encrypted>"), "{table}");
    let refused = home.on(&["append", "P-1", "--type", "T", "--data", "1"], "");
    assert_eq!(refused.code, 0, "it names no subject: {}", refused.err);
    assert_eq!(home.on(&["export"], "").code, 4, "an export that lacks data is none");
    let imported = home.on(&["keys", "import", &file, "--json"], "").json();
    assert_eq!(imported, json!({"added": 1, "forgotten": 1}));
    assert_eq!(home.values(&["get", "1"])[0]["data"], json!({"a": "cheese"}));
    assert_eq!(home.values(&["get", "2"])[0]["forgotten"], json!(true));
}

#[test]
fn an_export_is_in_clear_and_an_import_encrypts() {
    let home = talk();
    let exported = home.on(&["export"], "");
    assert_eq!(exported.code, 0, "{}", exported.err);
    assert_eq!(exported.out.matches("cheese").count(), 2);
    let copy = Home::new();
    assert_eq!(copy.on(&["init", "--encrypt"], "").code, 0);
    let run = copy.on(&["import"], &exported.out);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(!holds_cheese(&copy));
    assert_eq!(copy.on(&["export"], "").out.matches("cheese").count(), 2);
    // What was forgotten is exported as such, and no store can be told so: it refuses the line.
    home.on(&["forget", "ada", "--yes"], "");
    let exported = home.on(&["export"], "");
    assert_eq!((exported.code, exported.out.matches("cheese").count()), (0, 1));
    let other = Home::new();
    let run = other.on(&["import"], &exported.out);
    assert_eq!(run.code, 6, "{}", run.err);
    assert!(run.err.contains("line 1: refused: its data was forgotten"), "{}", run.err);
    assert!(run.err.contains("line 2: refused: the event names a subject"), "{}", run.err);
    assert_eq!(other.lines(&["read"]).len(), 1);
    let run = other.on(&["import", "--in-clear"], &exported.out);
    assert_eq!((run.code, &run.json()["stored"]), (6, &json!(1)), "{}", run.err);
    // The round trip keeps the subject, and says in what state it is.
    let back = other.values(&["export"]);
    let of = |n: usize| (back[n].get("subject").cloned(), back[n].get("in_clear").cloned());
    assert_eq!(of(0), (None, None));
    assert_eq!(of(1), (Some(json!("bob")), Some(json!(true))));
    assert!(home.values(&["export"]).iter().all(|line| line.get("in_clear").is_none()));
}

/// `forget` said that all was gone, and what was stored before there was a keyring was not.
#[test]
fn what_is_in_the_clear_is_told_and_has_a_code_of_its_own() {
    let home = Home::filled(1);
    let event = line("P-1", "Said", r#""data":{"a":"cheese"},"subject":"ada""#);
    let refused = home.on(&["append"], &event);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("--in-clear") && refused.err.contains("init --encrypt"));
    assert!(!holds_cheese(&home));
    assert_eq!(home.on(&["append", "--in-clear"], &event).code, 0);
    let left = home.on(&["forget", "ada", "--yes", "--json"], "");
    let receipt = left.json();
    assert_eq!(
        (left.code, &receipt["in_clear"], &receipt["first_in_clear"]),
        (7, &json!(1), &json!(2)),
        "{left:?}"
    );
    assert!(left.err.contains("the first at position 2") && left.err.contains("reclaim"));
    home.on(&["init", "--encrypt"], "");
    assert_eq!(home.on(&["append"], &event).code, 0);
    let both = home.on(&["forget", "ada", "--yes"], "");
    assert!(both.code == 7 && both.out.contains("1 key destroyed"), "{both:?}");
    assert!(both.err.contains("1 event stored in the clear"), "{both:?}");
}

#[test]
fn keys_may_lie_in_a_directory_of_their_own() {
    let home = Home::new();
    let safe = home.file("safe").display().to_string();
    let nowhere = home.on(&["read", "--keyring", &safe], "");
    assert_eq!((nowhere.code, nowhere.err.contains("there is no keyring")), (4, true));
    assert_eq!(home.on(&["init", "--encrypt", "--keyring", &safe], "").code, 0);
    let event = line("Person-1", "Said", r#""data":{"a":"cheese"},"subject":"ada""#);
    let without = home.on(&["append"], &event);
    assert_ne!(without.code, 0, "nothing is written in clear: {}", without.out);
    let run = home.on(&["append", "--keyring", &safe], &event);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(home.file("safe").join("keyring").exists());
    assert!(!home.file("store").join("keyring").exists());
    assert!(home.values(&["get", "1"])[0]["unreadable"].is_string());
    let read = home.values(&["get", "1", "--keyring", &safe]).remove(0);
    assert_eq!(read["data"], json!({"a": "cheese"}));
}

/// A new keyring would have hidden that the old one was lost; so did saying nothing.
#[test]
fn init_says_whether_there_is_a_keyring() {
    let home = talk();
    std::fs::remove_file(home.file("store").join("keyring")).unwrap();
    let run = home.on(&["init", "--encrypt"], "");
    assert_eq!(run.code, 4, "{}", run.err);
    assert!(run.err.contains("keys import"), "{}", run.err);
    let plain = Home::filled(1);
    let run = plain.on(&["init", "--encrypt"], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("made ") && run.err.contains("keyring"), "{}", run.err);
    assert!(!plain.on(&["init", "--encrypt"], "").err.contains("made "));
}

/// Whoever removed the damaged store after "everything was saved" lost all data of subjects.
#[test]
fn a_salvage_says_that_keys_stay_behind() {
    let home = talk();
    let new = home.file("new").display().to_string();
    let run = home.on(&["salvage", &new], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("keys export") && run.err.contains("keys import"), "{}", run.err);
}
