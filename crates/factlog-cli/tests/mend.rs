//! The built binary: what one wants to do to a store at three in the morning.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Home, interrupt};
use factlog::{Expect, NewEvent, Store};
use serde_json::{Value, json};

fn paths(home: &Home) -> (String, String) {
    (home.file("salvaged").display().to_string(), home.dir())
}

#[test]
fn a_sound_store_has_nothing_to_repair_and_is_salvaged_whole() {
    let home = Home::filled(4);
    let before = home.bytes_of_everything();
    let repair = home.on(&["repair"], "");
    assert_eq!((repair.code, repair.out.as_str()), (0, "nothing to repair\n"), "{}", repair.err);
    let (new, old) = paths(&home);
    let run = home.run(&["salvage", &new, "--dir", &old, "--json"], "");
    assert_eq!(run.code, 0, "{}", run.err);
    let mut answer = run.json();
    for key in ["from", "store"] {
        assert_eq!(answer[key].take().as_str().unwrap().len(), 36, "{key}");
    }
    let expected = json!({
        "from": null, "store": null, "events": 4, "lost": 0, "segments": 1, "missing": [],
        "damage": [], "checkpoints": 0, "checkpoints_left": [], "snapshots": 0,
        "snapshots_left": 0, "notes": [],
    });
    assert_eq!(answer, expected);
    assert_eq!(home.bytes_of_everything(), before);
    let wanted = home.lines(&["export"]);
    assert_eq!(home.ok(&["export", "--dir", &new]).out.lines().collect::<Vec<_>>(), wanted);
    let again = home.run(&["salvage", &new, "--dir", &old], "");
    assert_eq!((again.code, again.out.as_str()), (2, ""), "{}", again.err);
}

#[test]
fn a_damaged_event_is_beyond_repair_and_salvage_lists_it() {
    let home = Home::filled(4);
    home.flip_a_byte_of_the_first_event();
    let before = home.bytes_of_everything();
    let repair = home.on(&["repair", "--write", "--json"], "");
    assert_eq!(repair.code, 11, "{}", repair.err);
    let answer = repair.json();
    assert_eq!((&answer["written"], &answer["sound"]), (&false.into(), &false.into()));
    assert_eq!(answer["beyond"][0]["first_position"], 1);
    assert_eq!(home.bytes_of_everything(), before, "nothing was changed");
    assert!(home.on(&["repair"], "").out.contains("salvage"));
    let (new, old) = paths(&home);
    let salvage = home.run(&["salvage", &new, "--dir", &old], "");
    assert_eq!(salvage.code, 11, "{}", salvage.err);
    assert!(salvage.out.contains("3 events saved"), "{}", salvage.out);
    assert!(salvage.out.contains("position 1: "), "{}", salvage.out);
    assert_eq!(home.bytes_of_everything(), before);
    let verify = home.run(&["verify", "--json", "--dir", &new], "");
    assert_eq!((verify.code, &verify.json()["lost"]), (0, &1.into()));
    // Told, until the loss is accepted.
    let told = home.run(&["export", "--dir", &new], "");
    assert_eq!(told.code, 11);
    let left_out = told.err.lines().filter(|line| line.contains("left out"));
    assert_eq!(left_out.count(), 1, "{}", told.err);
    let rest = home.ok(&["export", "--dir", &new, "--accept-lost"]);
    let positions: Vec<Value> = rest
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["position"].clone())
        .collect();
    assert_eq!(positions, [2, 3, 4]);
    let append = home.run(&["append", "A-1", "--type", "T", "--dir", &new], "");
    assert_eq!((append.code, &append.json()["position"]), (0, &5.into()), "{}", append.err);
}

/// Each lost position had a line of its own: hundreds for one lost segment.
#[test]
fn an_export_tells_a_lost_segment_in_one_line() {
    let home = Home::new();
    let store = Store::options().segment_bytes(16 << 10).open(home.file("store")).unwrap();
    for n in 0..100 {
        let event = NewEvent::json_text("T", format!("{{\"n\":{n},\"fill\":\"{:800}\"}}", ""));
        store.append("A-1", Expect::Any, [event]).unwrap();
    }
    store.close().unwrap();
    std::fs::remove_file(home.file("store").join("00000000000000000002.seg")).unwrap();
    let (new, old) = paths(&home);
    assert_eq!(home.run(&["salvage", &new, "--dir", &old], "").code, 11);
    let export = home.run(&["export", "--dir", &new], "");
    let left_out: Vec<&str> = export.err.lines().filter(|l| l.contains("left out")).collect();
    assert_eq!((export.code, left_out.len()), (11, 1), "{}", export.err);
    let lost = 100 - export.out.lines().count() as u64;
    assert!(lost > 1, "{}", export.err);
    let numbers: Vec<u64> = left_out[0].split(' ').filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers[1] - numbers[0] + 1, lost, "{}", left_out[0]);
}

#[test]
fn a_lost_head_is_repaired_when_told_to() {
    let home = Home::filled(4);
    for name in ["head-0", "head-1"] {
        std::fs::write(home.file("store").join(name), "scribble").unwrap();
    }
    assert_eq!(home.on(&["append", "A-1", "--type", "T"], "").code, 11);
    let dry = home.on(&["repair", "--json"], "");
    assert_eq!(dry.code, 10, "{}", dry.err);
    let answer = dry.json();
    assert_eq!(answer["steps"].as_array().unwrap().len(), 2);
    assert_eq!((&answer["written"], &answer["sound"]), (&false.into(), &false.into()));
    let done = home.on(&["repair", "--write", "--json"], "").json();
    assert_eq!(done["written"], true);
    for step in done["steps"].as_array().unwrap() {
        let kept = home.file("store").join(step["kept_in"].as_str().unwrap());
        assert_eq!(std::fs::read(kept).unwrap(), b"scribble");
    }
    assert_eq!(home.on(&["repair"], "").code, 0);
    assert_eq!(home.lines(&["read"]).len(), 4);
}

/// Missing is lost as well: the dry run said "nothing to repair", and --write made both anew.
#[test]
fn heads_that_are_missing_are_made_anew_as_the_dry_run_says() {
    let home = Home::filled(4);
    for name in ["head-0", "head-1"] {
        std::fs::remove_file(home.file("store").join(name)).unwrap_or_default();
    }
    let dry = home.on(&["repair", "--json"], "");
    assert_eq!(dry.code, 10, "{}", dry.err);
    let steps = dry.json()["steps"].clone();
    let files: Vec<&Value> = steps.as_array().unwrap().iter().map(|step| &step["file"]).collect();
    assert_eq!(files, ["head-0", "head-1"]);
    assert_eq!(steps[0]["kept_in"], Value::Null);
    let done = home.on(&["repair", "--write", "--json"], "");
    assert_eq!((done.code, &done.json()["steps"]), (0, &steps), "{}", done.err);
    assert_eq!(home.on(&["repair"], "").out, "nothing to repair\n");
    assert_eq!(home.lines(&["read"]).len(), 4);
}

/// Beside a writer it said that there was something to repair, whatever the writer was doing.
#[test]
fn beside_a_writer_only_damage_is_judged() {
    let home = Home::filled(4);
    // Without threads of its own, which prepare space while this looks on.
    let options = factlog::Store::options().background_threads(false);
    let store = options.open(home.file("store")).unwrap();
    store.append("A-1", factlog::Expect::Any, [factlog::NewEvent::binary("T", "")]).unwrap();
    let before = home.bytes_of_everything();
    let run = home.on(&["repair", "--json"], "");
    assert_eq!((run.code, &run.json()["writer"]), (5, &true.into()), "{}", run.err);
    let text = home.on(&["repair"], "");
    assert!(text.out.contains("a process has the store open for writing"), "{}", text.out);
    let refused = home.on(&["repair", "--write"], "");
    assert_eq!(refused.code, 5);
    assert!(!refused.err.contains("open read-only"), "a step of the shell: {}", refused.err);
    assert_eq!(home.bytes_of_everything(), before);
    drop(store);
    assert_eq!(home.on(&["repair"], "").code, 0);
}

/// Whoever had pressed Ctrl-C was told the next time that the directory is not empty.
#[test]
fn an_interrupted_salvage_is_begun_anew_and_never_over_a_store() {
    let home = Home::filled(4);
    let (new, old) = paths(&home);
    std::fs::create_dir(&new).unwrap();
    for (name, left) in [("lock", "17\n"), ("new-6.tmp", "left")] {
        std::fs::write(home.file("salvaged").join(name), left).unwrap();
    }
    let run = home.run(&["salvage", &new, "--dir", &old], "");
    assert_eq!(run.code, 0, "{}", run.err);
    let wanted = home.lines(&["export"]);
    assert_eq!(home.ok(&["export", "--dir", &new]).out.lines().collect::<Vec<_>>(), wanted);
    let again = home.run(&["salvage", &new, "--dir", &old], "");
    assert_eq!(again.code, 2, "{}", again.err);
    for head in ["head-0", "head-1"] {
        std::fs::remove_file(home.file("salvaged").join(head)).unwrap();
    }
    let headless = home.run(&["salvage", &new, "--dir", &old], "");
    assert_eq!(headless.code, 2, "a store that has lost its head is one: {}", headless.err);
}

#[test]
fn a_file_is_shown_piece_by_piece() {
    let home = Home::filled(3);
    let all = home.values(&["dump", "--json"]);
    let keys: Vec<&String> = all[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["bytes", "depth", "fields", "file", "kind", "offset", "problem"]);
    let events: Vec<&Value> = all.iter().filter(|piece| piece["kind"] == "event").collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1]["fields"]["stream"], "B-1");
    let text = home.on(&["dump", "1", "--headers"], "").out;
    assert!(text.contains("batch frame") && !text.contains("  event "), "{text}");
    let hex = home.on(&["dump", "1", "--hex", "--offset", "4096"], "").out;
    assert!(hex.contains("46 4c 46 52") && hex.contains("FLFR"), "{hex}");
    // The frame that holds the offset, which is what an error names.
    let frame = all.iter().filter(|piece| piece["kind"] == "batch frame").nth(1).unwrap();
    for within in [0, 8, 70] {
        let offset = (frame["offset"].as_u64().unwrap() + within).to_string();
        let shown = home.values(&["dump", "1", "--json", "--offset", &offset]);
        assert_eq!(&shown[0], frame, "at {offset}");
    }
    let alone = home.file("alone.seg");
    std::fs::copy(home.segment(), &alone).unwrap();
    let shown = home.ok(&["dump", alone.to_str().unwrap(), "--json"]).out;
    assert_eq!(shown.matches("\"kind\":\"event\"").count(), 3);
    home.flip_a_byte_of_the_first_event();
    let bad = home.on(&["dump", "1"], "");
    assert!(bad.code == 0 && bad.out.contains("!! its body does not check"), "{}", bad.out);
    assert_eq!(home.on(&["dump", "9"], "").code, 4);
    assert_eq!(Home::new().on(&["dump"], "").code, 4);
}

#[test]
fn verify_looks_deeper_and_at_one_segment_when_asked() {
    let home = Home::filled(3);
    for arguments in [vec!["verify", "--deep"], vec!["verify", "--segment", "1"]] {
        let run = home.on(&arguments, "");
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.err);
    }
    assert_eq!(home.on(&["verify", "--segment", "7"], "").code, 4);
    let answer = home.on(&["verify", "--deep", "--json"], "").json();
    let expected = json!({
        "clean": true, "events": 3, "uncertified": 0, "lost": 0, "segments": 1, "torn": null,
        "damage": [], "doubtful": [], "absent": [],
    });
    assert_eq!(answer, expected);
}

#[test]
fn bench_measures_the_disk_first_and_leaves_nothing() {
    let home = Home::new();
    let dir = home.file("disk");
    std::fs::create_dir(&dir).unwrap();
    let place = dir.to_str().unwrap().to_owned();
    let few = ["--seconds", "0.05", "--writers", "2", "--batch", "5", "--json", "--dir", &place];
    let run = home.run(&[&["bench"], few.as_slice()].concat(), "");
    assert_eq!(run.code, 0, "{}", run.err);
    let answer = run.json();
    let rows = answer["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let expected = [
        "bare write and sync",
        "append, 1 writer",
        "append, 2 writers",
        "batches of 5, 1 writer",
        "scan",
        "append to subscriber",
    ];
    assert_eq!(names, expected);
    assert_eq!(rows[0]["ratio"], 1.0);
    assert!(rows.iter().all(|row| row["per_second"].as_f64().unwrap() > 0.0));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    assert_eq!(home.run(&["bench", "--writers", "0", "--dir", &place], "").code, 2);
    // It ended the process by asking for that much memory, and left its directory.
    for much in [["--size", "99999999999"], ["--batch", "99999999999"], ["--writers", "999999999"]]
    {
        let run = home.run(&[["bench", "--dir", &place].as_slice(), &much].concat(), "");
        assert_eq!(run.code, 2, "{much:?}: {}", run.err);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    }
    assert_eq!(home.run(&["bench", "--dir", "/nowhere/at/all"], "").code, 4);
}

#[test]
fn an_interrupted_bench_leaves_nothing() {
    let home = Home::new();
    let dir = home.file("disk");
    std::fs::create_dir(&dir).unwrap();
    let mut child = home
        .command(&["bench", "--seconds", "60", "--dir", dir.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while std::fs::read_dir(&dir).unwrap().count() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}
