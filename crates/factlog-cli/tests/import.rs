//! Import and export: exact whatever the file, and exact again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Home, history, line};
use flate2::{Compression, write::GzEncoder};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";
const C: &str = "00000000-0000-4000-8000-00000000000c";

fn event(stream: &str, id: &str) -> String {
    line(stream, "T", &format!(r#""id":"{id}","data":{{"of":"{stream}"}}"#))
}

fn tally(read: u64, stored: u64, already: u64, refused: u64) -> serde_json::Value {
    serde_json::json!({
        "read": read, "stored": stored, "already_there": already, "refused": refused,
        "without_id": 0
    })
}

/// The line without what only the store knows.
fn head(line: &str) -> &str {
    line.split(",\"version\":").next().unwrap()
}

fn history_lines() -> Vec<String> {
    let packed = std::fs::read(history()).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_shipped_history_comes_in_once_and_goes_out_as_it_was() {
    let home = Home::new();
    let first = home.on(&["import", &history()], "");
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.err.contains("created a store"), "{}", first.err);
    assert!(first.err.contains("7,630 stored"), "{}", first.err);
    assert_eq!(first.json(), tally(7630, 7630, 0, 0));
    assert_eq!(home.on(&["import", &history()], "").json(), tally(7630, 0, 7630, 0));
    let exported = home.lines(&["export"]);
    let original = history_lines();
    assert_eq!(exported.len(), original.len());
    for (n, (out, line)) in exported.iter().zip(&original).enumerate() {
        assert_eq!(head(out), line.strip_suffix('}').unwrap(), "line {}", n + 1);
        assert!(out.contains(&format!(",\"position\":{},", n + 1)), "{out}");
    }
}

#[test]
fn export_can_be_imported_again_with_equal_values() {
    let home = Home::new();
    let input = [
        line("S-1", "T", r#""data":{"big":123456789012345678901234567890,"x":1.0,"x":1.00}"#),
        line("S-1", "T", r#""data_base64":"AP8=","schema_version":7,"tags":["a"]"#),
        line("S-2", "T", r#""data":"text","metadata":{"a": 1},"time":"2016-02-27T16:07:26+02:00""#),
        line("S-2", "T", r#""data":null,"metadata":{"$time":"not a time"}"#),
        line("S-3", "T", ""),
    ]
    .join("\n");
    assert_eq!(home.on(&["append"], &input).code, 0);
    std::fs::write(home.file("pretty.json"), "{\n  \"a\": 1\n}\n").unwrap();
    let pretty = format!("@{}", home.file("pretty.json").display());
    assert_eq!(home.on(&["append", "S-3", "--type", "P", "--data", &pretty], "").code, 0);
    let exported = home.on(&["export"], "").out;
    let copy = Home::new();
    assert_eq!(copy.on(&["import"], &exported).json(), tally(6, 6, 0, 0));
    let again = copy.on(&["export"], "").out;
    let heads = |text: &str| text.lines().map(|line| head(line).to_owned()).collect::<Vec<_>>();
    assert_eq!(heads(&again), heads(&exported));
    assert!(exported.contains(r#""data":{"big":123456789012345678901234567890,"x":1.0,"x":1.00}"#));
    assert!(exported.contains(r#""time":"2016-02-27T16:07:26+02:00""#));
    let gzip = home.command(&["export", "--gzip", "--dir", &home.dir()]).output().unwrap();
    let third = Home::new();
    assert_eq!(third.with_bytes(&["import", "-"], &gzip.stdout).json(), tally(6, 6, 0, 0));
}

#[test]
fn a_file_that_has_grown_brings_only_what_is_new() {
    let home = Home::new();
    let file = home.file("grows.ndjson");
    let lines = history_lines();
    for (count, stored) in [(100, 100), (1500, 1400), (1500, 0), (1501, 1)] {
        std::fs::write(&file, lines[..count].join("\n")).unwrap();
        let run = home.on(&["import", file.to_str().unwrap()], "");
        let count = count as u64;
        assert_eq!(run.json(), tally(count, stored, count - stored, 0));
    }
    let exported = home.lines(&["export"]);
    assert_eq!(exported.len(), 1501);
    assert!(exported.iter().zip(&lines).all(|(out, line)| line.starts_with(head(out))));
}

#[test]
fn the_size_of_batches_makes_no_difference() {
    let input = [
        event("S-1", A),
        line("S-1", "T", r#""id":"00000000-0000-4000-8000-00000000000d","tags":[""]"#),
        event("S-1", A),
        event("S-2", A),
        event("S-2", B),
        line("S-1", "", r#""id":"00000000-0000-4000-8000-00000000000c""#),
        event("S-1", C),
        event("$own", "00000000-0000-4000-8000-00000000000e"),
        event("S-1", B),
        "not json".to_owned(),
        String::new(),
        event("S-2", C),
    ]
    .join("\n");
    let mut seen = HashSet::new();
    for batch in ["1", "2", "3", "1000"] {
        let home = Home::new();
        let run = home.on(&["import", "--batch", batch], &input);
        assert_eq!(run.code, 6, "{}", run.err);
        assert_eq!(run.json(), tally(11, 3, 1, 7), "batches of {batch}: {}", run.err);
        for number in [2, 4, 6, 8, 9, 10, 12] {
            assert!(run.err.contains(&format!("line {number}: ")), "{number}: {}", run.err);
        }
        let heads: Vec<_> =
            home.lines(&["export"]).iter().map(|line| head(line).to_owned()).collect();
        assert_eq!(heads.len(), 3);
        seen.insert(heads);
        let again = home.on(&["import", "--batch", batch], &input);
        assert_eq!((again.code, again.json()), (6, tally(11, 0, 5, 6)), "{}", again.err);
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn an_id_stored_in_another_stream_is_refused() {
    let home = Home::new();
    assert_eq!(home.on(&["import"], &event("S-1", A)).code, 0);
    let run = home.on(&["import"], &[event("S-2", A), event("S-2", B)].join("\n"));
    assert_eq!((run.code, run.json()), (6, tally(2, 1, 0, 1)));
    assert!(run.err.contains("line 1: refused: its id"), "{}", run.err);
    assert!(run.err.contains("S-1"), "{}", run.err);
}

#[test]
fn lines_without_an_id_get_one_and_are_counted() {
    let home = Home::new();
    let run = home.on(&["import"], &[event("S-1", A), line("S-1", "T", "")].join("\n"));
    assert_eq!(run.json()["without_id"], 1);
    assert!(run.err.contains("1 had no id"), "{}", run.err);
    let ids: HashSet<String> = home
        .values(&["read", "S-1"])
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn what_only_the_store_knows_and_unknown_keys_are_ignored() {
    let home = Home::new();
    let extra = format!(
        r#""id":"{A}","version":99,"position":"x","recorded_at":[],"subject_line":1,"other":null"#
    );
    assert_eq!(home.on(&["import"], &line("S-1", "T", &extra)).json(), tally(1, 1, 0, 0));
    let event = home.values(&["read"]).remove(0);
    assert_eq!((&event["version"], &event["position"]), (&1.into(), &1.into()));
    assert_eq!(event.get("other"), None);
}

#[test]
fn malformed_lines_are_refused_with_their_numbers_and_the_rest_is_stored() {
    let home = Home::new();
    let mut input = Vec::new();
    for bytes in [
        event("S-1", A).as_bytes(),
        b"{\"stream\":\"S-1\",\"type\":\"\xff\"}",
        b"[]",
        b"{\"type\":\"T\"}",
        line("S-1", "T", r#""metadata":[1],"time":"2016-02-27T16:07:26Z""#).as_bytes(),
        line("S-1", "T", r#""id":"x""#).as_bytes(),
        line(&"x".repeat(2000), "T", "").as_bytes(),
        event("S-1", B).as_bytes(),
    ] {
        input.extend_from_slice(bytes);
        input.extend_from_slice(b"\r\n");
    }
    let run = home.with_bytes(&["import"], &input);
    assert_eq!((run.code, run.json()), (6, tally(8, 2, 0, 6)), "{}", run.err);
    for number in 2..=7 {
        assert!(run.err.contains(&format!("line {number}: refused: ")), "{}", run.err);
    }
}

#[test]
fn gzip_is_known_by_its_magic_and_not_by_its_name() {
    let home = Home::new();
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(event("S-1", A).as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    std::fs::write(home.file("packed"), &packed).unwrap();
    std::fs::write(home.file("plain.gz"), event("S-1", B)).unwrap();
    for name in ["packed", "plain.gz"] {
        let run = home.on(&["import", home.file(name).to_str().unwrap()], "");
        assert_eq!(run.json(), tally(1, 1, 0, 0), "{}", run.err);
    }
    let cut = home.with_bytes(&["import"], &packed[..packed.len() - 4]);
    assert_eq!(cut.code, 1, "{}", cut.err);
}

#[test]
fn an_import_that_was_killed_is_finished_by_the_next() {
    let home = Home::new();
    let whole = history_lines();
    for millis in [30, 60, 120] {
        let mut child = home
            .command(&["import", &history(), "--batch", "7", "--dir", &home.dir()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let run = home.on(&["import", &history()], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(run.json()["refused"], 0);
    let exported = home.lines(&["export"]);
    assert_eq!(exported.len(), whole.len());
    assert!(exported.iter().zip(&whole).all(|(out, line)| line.starts_with(head(out))));
}

#[test]
fn a_dry_run_stores_nothing() {
    let home = Home::new();
    let input = [event("S-1", A), event("S-1", A), event("S-2", A), event("S-2", B)].join("\n");
    let run = home.on(&["import", "--dry-run"], &input);
    assert_eq!((run.code, run.json()), (6, tally(4, 2, 1, 1)), "{}", run.err);
    assert!(!home.exists());
}
