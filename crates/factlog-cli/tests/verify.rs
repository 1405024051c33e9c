//! The built binary: `verify` and `info`, and that they mean the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::Home;
use factlog::{BackupOptions, Durability, Expect, NewEvent, Position, RestoreTo, Store};
use serde_json::{Value, json};

fn path(home: &Home, name: &str) -> String {
    home.file(name).display().to_string()
}

/// A store of several small segments.
fn segments() -> (Home, Store) {
    let home = Home::new();
    let store = Store::options().segment_bytes(16 << 10).open(home.file("store")).unwrap();
    for n in 0..60 {
        let stream = format!("A-{}", n % 3);
        store.append(&*stream, Expect::Any, [NewEvent::binary("T", vec![7; 800])]).unwrap();
    }
    (home, store)
}

/// One batch of ten events in one frame.
fn batch() -> Home {
    let home = Home::new();
    let store = Store::open(home.file("store")).unwrap();
    let events = (0..10).map(|n| NewEvent::json_text("T", format!("{{\"n\":{n}}}")));
    store.append("A-1", Expect::Any, events).unwrap();
    store.close().unwrap();
    home
}

/// `info` said 0 of a store that it had found damaged.
#[test]
fn a_damaged_store_is_no_success_of_info() {
    let home = Home::filled(4);
    home.flip_a_byte_of_the_first_event();
    let run = home.on(&["info", "--json"], "");
    assert_eq!(run.code, 11, "{}", run.err);
    assert_eq!(run.json()["damage"][0]["file"], "00000000000000000001.seg");
    assert!(home.on(&["info"], "").out.contains("damage in 00000000000000000001.seg at byte"));
    std::fs::remove_file(home.segment()).unwrap();
    let missing = home.on(&["info"], "");
    assert_eq!(missing.code, 11, "{}", missing.err);
    assert!(missing.out.contains("damage in 00000000000000000001.seg: "), "{}", missing.out);
    assert!(!missing.err.contains("at byte 0"), "no byte is known: {}", missing.err);
}

/// After a kill they differed by what was being written, and nobody could say which was right.
#[test]
fn events_that_nothing_names_as_durable_are_counted_apart() {
    let home = Home::new();
    let options = || Store::options().background_threads(false).durability(Durability::Os);
    let store = options().open(home.file("written")).unwrap();
    store.append("A-1", Expect::Any, [NewEvent::binary("T", "")]).unwrap();
    store.close().unwrap();
    let store = options().open(home.file("written")).unwrap();
    for _ in 0..2 {
        store.append("A-1", Expect::Any, [NewEvent::binary("T", "")]).unwrap();
    }
    // What a kill leaves.
    std::fs::create_dir(home.file("store")).unwrap();
    for entry in std::fs::read_dir(home.file("written")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "lock" {
            std::fs::copy(entry.path(), home.file("store").join(entry.file_name())).unwrap();
        }
    }
    let verify = home.on(&["verify", "--json"], "");
    let (events, apart) = (&verify.json()["events"], &verify.json()["uncertified"]);
    assert_eq!((verify.code, events, apart), (0, &1.into(), &2.into()), "{}", verify.out);
    assert_eq!(home.on(&["info", "--json"], "").json()["events"], 1);
    let text = home.on(&["verify"], "").out;
    assert!(text.contains("2 events more at the end"), "{text}");
    // An opening for writing makes them durable.
    let appended = home.on(&["append", "A-1", "--type", "T"], "");
    assert_eq!(appended.json()["position"], 4, "{}", appended.err);
    for verb in [["verify", "--json"], ["info", "--json"]] {
        assert_eq!(home.on(&verb, "").json()["events"], 4, "{verb:?}");
    }
}

/// A store that was just restored, and a fork that was cut, failed it with code 10: an index was
/// missing that the next opening makes.
#[test]
fn what_was_just_made_passes_a_deep_verification() {
    let (home, store) = segments();
    store.backup(home.file("backup"), BackupOptions::default()).unwrap();
    let restored = |to: &str, what| {
        factlog::restore(home.file("backup"), home.file(to), what).unwrap();
    };
    restored("whole", RestoreTo::End);
    restored("cut", RestoreTo::Position(Position::new(21)));
    store.fork_at(Position::new(33), home.file("fork")).unwrap();
    store.close().unwrap();
    for made in ["backup", "whole", "cut", "fork"] {
        let dir = path(&home, made);
        let run = home.run(&["verify", "--deep", "--json", "--dir", &dir], "");
        assert_eq!((run.code, &run.json()["doubtful"]), (0, &json!([])), "{made}: {}", run.out);
    }
    for made in ["whole", "cut", "fork"] {
        let dir = path(&home, made);
        let dry = home.run(&["repair", "--dir", &dir], "");
        assert_eq!(dry.code, 0, "{made}: {}", dry.out);
        let absent = || {
            let run = home.run(&["verify", "--deep", "--json", "--dir", &dir], "");
            run.json()["absent"].as_array().unwrap().len()
        };
        assert_eq!(dry.out.matches("note: ").count(), absent(), "{made}: {}", dry.out);
        // Threads of its own may be told to end before they came to it.
        let alone = Store::options().background_threads(false);
        alone.open(home.file(made)).unwrap().close().unwrap();
        assert_eq!(absent(), 0, "{made}: an opening makes them");
    }
}

fn ranges(list: &Value) -> Vec<(u64, u64)> {
    let list = list.as_array().unwrap().iter();
    let number = |damage: &Value, key: &str| damage[key].as_u64().unwrap();
    list.map(|d| (number(d, "first_position"), number(d, "last_position"))).collect()
}

/// Of a bad frame it listed every position, where nine of ten events could be read and saved.
#[test]
fn the_positions_that_verify_lists_are_those_that_salvage_loses() {
    let home = batch();
    let mut bytes = std::fs::read(home.segment()).unwrap();
    for wanted in ["\"n\":3}", "\"n\":4}", "\"n\":8}"] {
        let at = bytes.windows(6).position(|found| found == wanted.as_bytes()).unwrap();
        bytes[at] ^= 1;
    }
    std::fs::write(home.segment(), bytes).unwrap();
    let verify = home.on(&["verify", "--json"], "").json();
    let salvage = home.on(&["salvage", &path(&home, "new"), "--json"], "").json();
    assert_eq!(ranges(&verify["damage"]), [(4, 5), (9, 9)], "{verify}");
    assert_eq!(ranges(&verify["damage"]), ranges(&salvage["missing"]), "{salvage}");
    assert_eq!((&verify["events"], &salvage["events"]), (&7.into(), &7.into()));
}

/// It said that every checksum holds, over random bytes in any of these.
#[test]
fn what_lies_beside_the_log_is_verified_too() {
    let home = Home::filled(40);
    for (name, to) in [("mail", "7"), ("mail", "9"), ("search", "11")] {
        home.on(&["subs", "reset", name, "--to", to, "--create"], "");
    }
    let file = home.file("store").join("checkpoints");
    let whole = std::fs::read(&file).unwrap();
    let bend = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    };
    bend(20);
    let run = home.on(&["verify", "--json"], "");
    assert_eq!(run.code, 11, "{}", run.err);
    assert_eq!(run.json()["damage"][0]["file"], "checkpoints");
    bend(whole.len() - 20);
    let run = home.on(&["verify", "--json"], "");
    assert_eq!((run.code, &run.json()["torn"]["file"]), (10, &json!("checkpoints")));
    // Who knows what the one that is gone would have held back?
    let trim = home.on(&["trim", "--keep-events", "1", "--yes"], "");
    assert_eq!(trim.code, 11, "{}{}", trim.out, trim.err);
    assert!(trim.err.contains("checkpoint"), "{}", trim.err);
    std::fs::write(&file, whole).unwrap();
    assert_eq!(home.on(&["verify", "--json"], "").json()["clean"], true);
}
