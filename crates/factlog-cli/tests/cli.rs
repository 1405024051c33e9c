//! The built binary over directories of its own: every rule of the command line by an example.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Home, history, line};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

#[test]
fn the_directory_is_named_before_or_after_the_verb_or_by_the_environment() {
    let home = Home::new();
    home.ok(&["--dir", &home.dir(), "append", "S-1", "--type", "T"]);
    home.ok(&["append", "S-1", "--type", "T", "--dir", &home.dir()]);
    let output = home.command(&["read", "S-1"]).env("FACTLOG_DIR", home.dir()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

#[test]
fn without_a_directory_and_with_nonsense_it_is_usage() {
    let home = Home::new();
    for arguments in [
        vec!["read", "S-1"],
        vec!["append", "S-1", "--type", "T"],
        vec!["info"],
        vec!["verify"],
        vec!["export"],
        vec!["import"],
        vec!["tail"],
        vec!["streams"],
        vec!["verify", "somewhere"],
        vec!["no-such-verb"],
        vec!["append", "S-1", "--type", "T", "--expect", "maybe"],
    ] {
        let run = home.run(&arguments, "");
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.err);
        assert_eq!(run.out, "", "{arguments:?}");
        assert!(!run.err.is_empty(), "{arguments:?}");
    }
    assert!(!home.exists());
}

#[test]
fn append_creates_the_store_and_says_so_once() {
    let home = Home::new();
    let first = home.on(&["append", "Order-1", "--type", "Placed", "--data", r#"{"n":1.0}"#], "");
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.err.contains("created a store"), "{}", first.err);
    let answer = first.json();
    assert_eq!(answer["stream"], "Order-1");
    assert_eq!((&answer["version"], &answer["position"]), (&1.into(), &1.into()));
    assert_eq!(answer["already"], false);
    let second = home.on(&["append", "Order-1", "--type", "Paid"], "");
    assert_eq!((second.code, second.err.as_str()), (0, ""));
    assert_eq!(second.json()["version"], 2);
}

#[test]
fn a_conflict_is_3_and_a_retry_is_answered_as_the_first_time() {
    let home = Home::new();
    let id = "701c4f0a-de22-531e-951e-3ad8bc4bce71";
    let append = ["append", "S-1", "--type", "T", "--expect", "none", "--id", id];
    assert_eq!(home.on(&append, "").code, 0);
    let again = home.on(&append, "");
    assert_eq!((again.code, again.json()["already"].clone()), (0, true.into()));
    let conflict = home.on(&["append", "S-1", "--type", "T", "--expect", "none"], "");
    assert_eq!((conflict.code, conflict.out.as_str()), (3, ""));
    assert!(conflict.err.contains("version 1"), "{}", conflict.err);
    assert_eq!(home.on(&["append", "S-1", "--type", "T", "--expect", "1"], "").code, 0);
    assert_eq!(home.on(&["append", "S-1", "--type", "T", "--expect", "1"], "").code, 3);
    assert_eq!(home.on(&["append", "S-2", "--type", "T", "--expect", "exists"], "").code, 3);
    let elsewhere = home.on(&["append", "S-2", "--type", "T", "--id", id], "");
    assert_eq!(elsewhere.code, 3, "{}", elsewhere.err);
}

#[test]
fn append_answers_every_line_before_the_next_is_sent() {
    let home = Home::new();
    let mut child = home
        .command(&["append", "S-1", "--dir", &home.dir(), "--expect", "none"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 1..=5 {
        writeln!(input, r#"{{"type":"T","data":{{"n":{n}}}}}"#).unwrap();
        let answer: serde_json::Value =
            serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["version"], n);
        // What was answered is visible to another process at once.
        assert_eq!(home.lines(&["read", "S-1"]).len(), n);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_line_that_append_refuses_is_answered_and_the_next_is_stored() {
    let home = Home::new();
    let input =
        "{\"type\":\"A\"}\nnonsense\n{\"stream\":\"T-1\",\"type\":\"B\"}\n{\"type\":\"C\"}\n";
    let run = home.on(&["append", "S-1"], input);
    assert_eq!(run.code, 2, "{}", run.err);
    let answers: Vec<serde_json::Value> =
        run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 4);
    assert_eq!((&answers[1]["line"], &answers[1]["kind"]), (&2.into(), &"invalid".into()));
    assert!(answers[2]["error"].as_str().unwrap().contains("T-1"));
    assert_eq!(answers[3]["version"], 2);
    let conflict = home.on(&["append", "S-1", "--expect", "7"], "{\"type\":\"D\"}\n");
    assert_eq!(conflict.code, 3);
    assert_eq!(conflict.json()["actual_version"], 2);
}

#[test]
fn lines_may_name_their_own_streams() {
    let home = Home::new();
    let input = "{\"stream\":\"A-1\",\"type\":\"T\"}\n{\"stream\":\"B-1\",\"type\":\"T\"}";
    assert_eq!(home.on(&["append"], input).code, 0);
    assert_eq!(home.lines(&["read", "B-1"]).len(), 1);
}

#[test]
fn read_prints_exchange_lines_off_a_terminal() {
    let home = Home::new();
    let line = [
        r#"{"stream":"S-1","type":"T","id":"701c4f0a-de22-531e-951e-3ad8bc4bce71""#,
        r#""time":"2016-02-27T16:07:26Z","data":{"a":1.0,"a":123456789012345678901234567890}"#,
        r#""metadata":{"$correlationId":"c"},"tags":["x:1"],"schema_version":2"#,
    ]
    .join(",");
    home.on(&["append", "S-1"], &format!("{line}}}\n"));
    let read = home.lines(&["read", "S-1"]);
    let rest = read[0].strip_prefix(&line).unwrap();
    assert!(rest.starts_with(r#","version":1,"position":1,"recorded_at":""#), "{rest}");
    let recorded_at = home.values(&["read", "S-1"])[0]["recorded_at"].as_str().unwrap().to_owned();
    assert!(recorded_at.len() == 27 && recorded_at.ends_with('Z'), "{recorded_at}");
    assert_eq!(home.lines(&["export"]), read);
    assert_eq!(home.lines(&["tail", "S-1"]), read);
}

#[test]
fn from_and_to_are_inclusive_in_a_stream_and_in_everything() {
    let home = Home::filled(6);
    let versions = |arguments: &[&str]| home.numbers(arguments, "version");
    assert_eq!(versions(&["read", "A-1", "--from", "2", "--to", "3"]), [2, 3]);
    assert_eq!(versions(&["read", "A-1", "--from", "0"]), [1, 2, 3]);
    assert_eq!(versions(&["read", "A-1", "--from", "3"]), [3]);
    assert_eq!(versions(&["read", "A-1", "--from", "4"]), [0u64; 0]);
    assert_eq!(versions(&["read", "A-1", "--to", "0"]), [0u64; 0]);
    assert_eq!(versions(&["read", "A-1", "--back"]), [3, 2, 1]);
    assert_eq!(versions(&["read", "A-1", "--back", "-n", "2"]), [3, 2]);
    assert_eq!(versions(&["read", "A-1", "--back", "--from", "2", "--to", "3"]), [3, 2]);
    let positions = |arguments: &[&str]| home.numbers(arguments, "position");
    assert_eq!(positions(&["read", "$all", "--from", "3", "--to", "5"]), [3, 4, 5]);
    assert_eq!(positions(&["read", "--from", "5"]), [5, 6]);
    assert_eq!(positions(&["read", "--to", "2"]), [1, 2]);
    assert_eq!(positions(&["read", "$ce-B", "--from", "2", "--to", "4"]), [2, 4]);
    assert_eq!(positions(&["read", "--back", "--from", "2", "--to", "4"]), [4, 3, 2]);
    assert_eq!(positions(&["read", "-n", "0"]), [0u64; 0]);
}

#[test]
fn filters_are_all_asked_for() {
    let home = Home::new();
    let input = [
        line("A-1", "Made", r#""tags":["t:1","t:2"],"metadata":{"$correlationId":"c1"}"#),
        line("A-2", "Made", r#""tags":["t:1"],"data":{"find":"me"}"#),
        line("B-1", "Sent", r#""tags":["t:2"],"metadata":{"$correlationId":"c1"}"#),
    ]
    .join("\n");
    assert_eq!(home.on(&["append"], &input).code, 0);
    let positions = |arguments: &[&str]| home.numbers(arguments, "position");
    assert_eq!(positions(&["read", "--category", "A"]), [1, 2]);
    assert_eq!(positions(&["read", "$ce-B"]), [3]);
    assert_eq!(positions(&["read", "--type", "Sent"]), [3]);
    assert_eq!(positions(&["read", "--type", "Sent", "--type", "Made"]), [1, 2, 3]);
    assert_eq!(positions(&["read", "--tag", "t:1"]), [1, 2]);
    assert_eq!(positions(&["read", "--tag", "t:1", "--tag", "t:2"]), [1]);
    assert_eq!(positions(&["read", "--correlation", "c1"]), [1, 3]);
    assert_eq!(positions(&["read", "--correlation", "c1", "--category", "B"]), [3]);
    assert_eq!(positions(&["read", "A-1", "--type", "Sent"]), [0u64; 0]);
    assert_eq!(positions(&["read", "A-1", "--category", "B"]), [0u64; 0]);
    assert_eq!(positions(&["read", "--grep", "find", "-n", "1"]), [2]);
    assert_eq!(positions(&["tail", "-n", "1", "--tag", "t:1"]), [2]);
    assert_eq!(positions(&["tail", "-n", "9", "--category", "A"]), [1, 2]);
}

#[test]
fn since_and_until_mean_when_it_was_recorded() {
    let home = Home::new();
    let old = line("A-1", "T", r#""time":"2016-02-27T16:07:26Z""#);
    assert_eq!(home.on(&["append"], &old).code, 0);
    assert_eq!(home.lines(&["read", "--since", "5m"]).len(), 1);
    assert_eq!(home.lines(&["read", "--until", "2016-12-31"]).len(), 0);
    assert_eq!(home.lines(&["read", "--since", "2999-01-01T00:00:00Z"]).len(), 0);
    let at = home.values(&["read"])[0]["recorded_at"].as_str().unwrap().to_owned();
    assert_eq!(home.lines(&["read", "--since", &at, "--until", &at]).len(), 1);
    assert_eq!(home.lines(&["tail", "--since", "5m"]).len(), 1);
    assert_eq!(home.on(&["read", "--since", "noon"], "").code, 2);
}

#[test]
fn what_is_missing_is_4() {
    let home = Home::new();
    for arguments in [&["read"][..], &["info"], &["streams"], &["export"], &["tail"], &["verify"]] {
        let run = home.on(arguments, "");
        assert_eq!((run.code, run.out.as_str()), (4, ""), "{arguments:?}: {}", run.err);
    }
    assert!(!home.exists(), "reading creates nothing");
    let home = Home::filled(1);
    for arguments in [&["read", "No-1"][..], &["read", "$ce-No"], &["tail", "No-1"]] {
        assert_eq!(home.on(arguments, "").code, 4, "{arguments:?}");
    }
    assert_eq!(home.on(&["read", "--category", "No"], "").code, 0);
    assert_eq!(home.on(&["import", "no-such-file"], "").code, 4);
}

#[test]
fn a_second_writer_is_5_and_reading_goes_on() {
    let home = Home::new();
    let mut child = home
        .command(&["append", "S-1", "--dir", &home.dir()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, r#"{{"type":"T"}}"#).unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    answers.next().unwrap().unwrap();
    assert_eq!(home.on(&["append", "S-1", "--type", "T"], "").code, 5);
    assert_eq!(home.on(&["import"], "").code, 5);
    for arguments in [&["read"][..], &["info"], &["streams"], &["export"], &["verify"]] {
        assert_eq!(home.on(arguments, "").code, 0, "{arguments:?}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn tail_follows_another_process() {
    let home = Home::filled(12);
    assert_eq!(home.numbers(&["tail"], "position"), (3..=12).collect::<Vec<u64>>());
    let mut child = home
        .command(&["tail", "-f", "-n", "2", "--dir", &home.dir()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> u64 {
        let line = lines.next().unwrap().unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        value["position"].as_u64().unwrap()
    };
    assert_eq!((next(), next()), (11, 12));
    for position in 13..=15 {
        home.ok(&["append", "New-1", "--type", "T", "--dir", &home.dir()]);
        assert_eq!(next(), position);
    }
    common::interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn following(home: &Home, arguments: &[&str]) -> std::process::Child {
    let dir = home.dir();
    let mut all = vec!["tail", "-f", "--dir", &dir];
    all.extend(arguments);
    home.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// It went on waiting for a stream of which nothing could come any more.
#[test]
fn tail_of_a_stream_ends_with_it_and_says_when_it_is_deleted() {
    let home = Home::filled(2);
    let mut child = following(&home, &["A-1", "-n", "1"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"position\":1"));
    assert_eq!(home.on(&["stream", "delete", "A-1"], "").code, 0);
    let deleted = said.next().unwrap().unwrap();
    assert!(deleted.contains("A-1 is deleted"), "{deleted}");
    assert_eq!(home.on(&["append", "A-1", "--type", "T"], "").code, 0);
    assert!(lines.next().unwrap().unwrap().contains("\"version\":2"), "it lives again");
    assert_eq!(home.on(&["stream", "tombstone", "A-1", "--yes"], "").code, 0);
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(said.next().unwrap().unwrap().contains("was deleted for ever"));
}

#[test]
fn tail_hides_and_marks_as_it_is_told() {
    let home = Home::filled(4);
    home.on(&["stream", "retain", "A-1", "--truncate-before", "2"], "");
    assert_eq!(home.numbers(&["tail", "A-1"], "position"), [3]);
    assert_eq!(home.numbers(&["tail", "A-1", "--hidden", "include"], "position"), [1, 3]);
    assert_eq!(home.numbers(&["tail", "--hidden", "exclude"], "position"), [2, 3, 4]);
    let marked = home.on(&["tail", "--hidden", "mark"], "");
    assert_eq!((marked.out.lines().count(), marked.err.lines().count()), (4, 1), "{marked:?}");
    assert!(marked.err.contains("position 1 is hidden: "), "{}", marked.err);
    let mut child = following(&home, &["A-1", "-n", "0", "--hidden", "mark"]);
    home.on(&["append", "A-1", "--type", "T"], "");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"position\":5"));
    common::interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A misspelt field was taken, and every line was empty.
#[test]
fn a_field_that_no_line_has_is_refused_with_those_there_are() {
    let home = Home::filled(1);
    for verb in ["read", "tail"] {
        let run = home.on(&[verb, "--fields", "position,nope"], "");
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{verb}");
        assert!(run.err.contains("nope") && run.err.contains("schema_version"), "{}", run.err);
        assert_eq!(home.on(&[verb, "--fields", "position,in_clear"], "").code, 0);
    }
}

/// A refused append left an empty store behind, and a misspelt path its directories.
#[test]
fn what_cannot_be_stored_makes_no_store() {
    let home = Home::new();
    let refused: [(&[&str], &str, i32); 5] = [
        (&["append", "S-1", "--type", "T", "--expect", "exists"], "", 3),
        (&["append", "S-1", "--type", "T", "--expect", "3"], "", 3),
        (&["append", "S-1", "--type", "$T"], "", 2),
        (&["append"], "{\"stream\":\"S-1\"}", 2),
        (&["append"], "", 0),
    ];
    for (arguments, input, code) in refused {
        let run = home.on(arguments, input);
        assert_eq!(run.code, code, "{arguments:?}: {}", run.err);
        assert!(!home.exists(), "{arguments:?}");
    }
    std::fs::create_dir(home.file("store")).unwrap();
    assert_eq!(home.on(&["append", "S-1", "--type", "T", "--expect", "3"], "").code, 3);
    assert_eq!(std::fs::read_dir(home.file("store")).unwrap().count(), 0, "not even a lock");
    let deep = home.file("no/such/place").display().to_string();
    for verb in [&["append", "S-1", "--type", "T", "--dir", &deep][..], &["import", "--dir", &deep]]
    {
        let run = home.run(verb, "");
        assert_eq!(run.code, 4, "{verb:?}: {}", run.err);
        assert!(run.err.contains("there is no directory"), "{}", run.err);
        assert!(!home.file("no").exists());
    }
    // The second of these lines makes it.
    let lines = "{\"stream\":\"S-1\"}\n{\"stream\":\"S-1\",\"type\":\"T\"}";
    let run = home.on(&["append"], lines);
    assert_eq!(run.code, 2, "{}", run.err);
    assert_eq!(home.lines(&["read"]).len(), 1);
    home.ok(&["init", "--dir", &deep]);
}

/// Ctrl-C during an import ended it without a word on what was stored.
#[test]
fn an_interrupted_import_says_how_far_it_is_and_goes_on() {
    let home = Home::new();
    let dir = home.dir();
    let mut child = home
        .command(&["import", "--batch", "1", "--dir", &dir])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = ["1", "2", "3"].map(|n| {
        let id = format!("\"id\":\"0198f0a5-7b1c-7c3e-8f2d-00000000000{n}\"");
        common::line("S-1", "T", &id)
    });
    let mut input = child.stdin.take().unwrap();
    let whole = format!("{}\n", lines.join("\n"));
    input.write_all(whole.as_bytes()).unwrap();
    let began = std::time::Instant::now();
    loop {
        let run = home.on(&["info", "--json"], "");
        if run.code == 0 && run.json()["events"] == 3 {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "{run:?}");
    }
    common::interrupt(&child);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted: ") && said.contains("import the same again"), "{said}");
    assert!(said.contains("3 events stored") || said.contains("2 events stored"), "{said}");
    drop(input);
    let again = home.on(&["import"], &whole);
    assert_eq!((again.code, &again.json()["already_there"]), (0, &3.into()), "{}", again.err);
}

#[test]
fn streams_and_info_tell_what_there_is() {
    let home = Home::filled(6);
    let streams = home.values(&["streams", "--json"]);
    let names: Vec<&str> = streams.iter().map(|s| s["stream"].as_str().unwrap()).collect();
    assert_eq!(names, ["A-1", "B-1"]);
    assert_eq!(
        streams[1],
        serde_json::json!({"stream":"B-1","version":3,"last_position":6,"state":"live"})
    );
    assert_eq!(home.lines(&["streams", "--prefix", "A"]).len(), 1);
    assert_eq!(home.lines(&["streams", "--top", "1", "--sort", "recent"]).len(), 1);
    let categories = home.values(&["streams", "--categories", "--json"]);
    assert_eq!(categories[0], serde_json::json!({"category":"A","streams":1}));
    let info = home.values(&["info", "--json"]).remove(0);
    assert_eq!((&info["events"], &info["streams"]), (&6.into(), &2.into()));
    assert!(
        info["first_recorded_at"].as_str().unwrap() <= info["last_recorded_at"].as_str().unwrap()
    );
    assert!(home.on(&["info"], "").out.contains("events"));
}

#[test]
fn every_output_format_is_what_it_says() {
    let home = Home::filled(3);
    let array: Vec<serde_json::Value> =
        serde_json::from_str(&home.on(&["read", "-o", "json"], "").out).unwrap();
    assert_eq!(array.len(), 3);
    assert_eq!(home.on(&["read", "-o", "json", "-n", "0"], "").out, "[]\n");
    assert_eq!(home.lines(&["read", "-o", "raw"]), [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    assert_eq!(home.values(&["read", "-o", "cloudevents"])[0]["specversion"], "1.0");
    assert!(home.lines(&["read", "-o", "table"])[0].contains("A-1@1"));
    let fields = home.lines(&["read", "--fields", "stream,version", "-n", "1"]);
    assert_eq!(fields, [r#"{"stream":"A-1","version":1}"#]);
}

#[test]
fn verify_tells_clean_torn_and_damaged_apart() {
    let home = Home::filled(6);
    let clean = home.on(&["verify", "--json"], "");
    assert_eq!(clean.code, 0, "{}", clean.err);
    let report = clean.json();
    assert_eq!((&report["clean"], &report["events"]), (&true.into(), &6.into()));
    assert_eq!(report["segments"], 1);
    assert_eq!((&report["torn"], &report["damage"]), (&().into(), &serde_json::json!([])));
    assert!(home.on(&["verify"], "").out.contains("every checksum holds"));

    let before = home.bytes_of_everything();
    home.flip_a_byte_of_the_first_event();
    let damaged = home.on(&["verify", "--json"], "");
    assert_eq!(damaged.code, 11, "{}", damaged.out);
    let report = damaged.json();
    assert_eq!(report["clean"], false);
    let damage = &report["damage"][0];
    assert!(damage["file"].as_str().unwrap().ends_with(".seg"));
    assert_eq!(damage["file"].as_str().unwrap().len(), 24);
    assert!(damage["offset"].is_u64() && damage["first_position"].is_u64(), "{report}");
    assert!(damage["last_position"].is_u64(), "{report}");
    assert_eq!(home.on(&["append", "S-1", "--type", "T"], "").code, 11);
    assert_eq!(home.on(&["export"], "").code, 11);
    home.flip_a_byte_of_the_first_event();
    assert!(home.bytes_of_everything() == before, "verify and the rest wrote nothing");
    assert_eq!(home.on(&["verify"], "").code, 0);
}

#[test]
fn verify_tells_a_torn_tail_with_exit_10_and_leaves_it_there() {
    let home = Home::filled(3);
    let mut bytes = std::fs::read(home.segment()).unwrap();
    let end = bytes.len();
    bytes.extend([7; 100]);
    std::fs::write(home.segment(), bytes).unwrap();
    let torn = home.on(&["verify", "--json"], "");
    assert_eq!(torn.code, 10, "{}", torn.err);
    assert_eq!(torn.json()["torn"]["offset"], end);
    assert_eq!(home.on(&["read", "-n", "1"], "").code, 0);
    assert_eq!(std::fs::metadata(home.segment()).unwrap().len(), end as u64 + 100);
}

#[test]
fn verify_tells_a_newer_format_with_exit_12() {
    let home = Home::filled(3);
    let mut bytes = std::fs::read(home.segment()).unwrap();
    bytes[8] = 9; // the format version; the header's checksum is its last four bytes
    let mut sum = flate2::Crc::new();
    sum.update(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&sum.sum().to_le_bytes());
    std::fs::write(home.segment(), bytes).unwrap();
    assert_eq!(home.on(&["verify"], "").code, 12);
    assert_eq!(home.on(&["append", "S-1", "--type", "T"], "").code, 12);
}

#[test]
fn a_closed_pipe_is_a_quiet_success() {
    let home = Home::new();
    assert_eq!(home.on(&["import", &history()], "").code, 0);
    let mut child = home
        .command(&["export", "--dir", &home.dir()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn help_is_a_success_and_names_every_verb() {
    let home = Home::new();
    let help = home.run(&["--help"], "");
    assert_eq!(help.code, 0);
    for verb in ["demo", "append", "read", "tail", "streams", "info", "import", "export", "verify"]
    {
        assert!(help.out.contains(verb), "{verb}");
        assert_eq!(home.run(&[verb, "--help"], "").code, 0, "{verb}");
    }
    assert!(!help.out.contains("demo-writer"));
}

#[test]
fn without_arguments_it_runs_the_demo_and_says_what_is_next() {
    let home = Home::new();
    let run = home.run(&[], "");
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    for told in ["SIGKILL", "another process", "same answer", "every checksum holds", "a second"] {
        assert!(run.out.contains(told), "{told}: {}", run.out);
    }
    let next = run.out.split("Next, ").nth(1).unwrap();
    assert_eq!(next.lines().skip(1).count(), 5, "{next}");
}
