//! What every verb owes to whoever calls it: from a pipe, in colour or without, quietly.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::{Command, Stdio};

use common::{Home, Run};

/// Every verb that ends by itself, in an order in which each finds what it needs; `@` stands for
/// the home's directory. The first word says whether it prints something on standard output.
const LINES: [&str; 40] = [
    "- init",
    "+ init --json",
    "+ append A-1 --type T",
    "+ read",
    "+ read A-1 -o table",
    "+ read A-1 -o json",
    "+ read A-1 -o raw",
    "+ read A-1 -o cloudevents",
    "+ tail -n 3",
    "+ get 2",
    "+ get 2 -o table",
    "+ streams",
    "+ streams --categories",
    "+ types",
    "+ stats",
    "+ info",
    "- subs reset mailer --to 1 --create",
    "+ subs ls",
    "+ subs lag mailer",
    "+ export",
    "+ export --gzip",
    "+ verify",
    "+ verify --deep",
    "+ dump",
    "+ dump 1 --hex",
    "+ repair",
    "+ trim --keep-events 1",
    "+ salvage @/saved",
    "+ backup @/backup",
    "+ fork @/fork",
    "- stream retain B-1 --keep-last 1",
    "+ stream show B-1",
    "+ stream show B-1 --json",
    "- stream delete B-1",
    "- stream tombstone B-1 --yes",
    "+ reclaim --yes",
    "- init --encrypt",
    "- keys ls",
    "+ completions bash",
    "+ man",
];

struct Line {
    prints: bool,
    words: Vec<String>,
}

fn lines(home: &Home) -> Vec<Line> {
    let place = home.file("").display().to_string();
    let place = place.trim_end_matches('/');
    let line = |text: &str| {
        let (prints, words) = text.split_once(' ').unwrap();
        let words = words.split(' ').map(|word| word.replace('@', place)).collect();
        Line { prints: prints == "+", words }
    };
    LINES.iter().map(|text| line(text)).collect()
}

fn command(home: &Home, words: &[String], more: &[&str]) -> Command {
    let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let mut command = home.command(&words);
    command.args(["--dir", &home.dir()]);
    command
}

fn run(home: &Home, words: &[String], more: &[&str]) -> Run {
    let output = command(home, words, more).output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn quiet_is_silent_on_standard_error_and_prints_the_same_data() {
    let home = Home::filled(6);
    for line in lines(&home) {
        let run = run(&home, &line.words, &["--quiet"]);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{:?}", line.words);
        assert_eq!(!run.out.is_empty(), line.prints, "{:?}: {}", line.words, run.out);
    }
}

#[test]
fn verbose_tells_how_the_store_was_opened_and_cannot_be_quiet() {
    let home = Home::filled(6);
    for words in ["read", "info", "subs ls", "export"] {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let run = run(&home, &words, &["--verbose"]);
        assert_eq!(run.code, 0, "{words:?}");
        assert!(run.err.contains(" ms: 6 events in 1 segment"), "{words:?}: {}", run.err);
    }
    assert_eq!(home.on(&["read", "-v", "-q"], "").code, 2);
}

#[test]
fn off_a_terminal_nothing_is_coloured_unless_asked_for_and_json_never() {
    let home = Home::filled(6);
    // What is compressed may hold any byte.
    for line in lines(&home).iter().filter(|line| !line.words.contains(&"--gzip".to_owned())) {
        let run = run(&home, &line.words, &[]);
        assert_eq!(run.code, 0, "{:?}: {}", line.words, run.err);
        let text = format!("{}{}", run.out, run.err);
        assert!(!text.contains('\x1b'), "{:?}: {text}", line.words);
    }
    let coloured = ["--color", "always"];
    for (line, wanted) in [
        ("read -o table", true),
        ("info", true),
        ("read", false),
        ("read -o json", false),
        ("info --json", false),
        ("stats --json", false),
        ("export", false),
    ] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let out = run(&home, &words, &coloured).out;
        assert_eq!(out.contains('\x1b'), wanted, "{line}: {out}");
        let said = command(&home, &words, &coloured).env("NO_COLOR", "1").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.contains('\x1b'), wanted, "{line}: what is said counts over NO_COLOR");
    }
}

/// `factlog read | head -1` is no failure: nobody reads any more, and nobody wants to hear of it.
#[test]
fn nobody_who_reads_is_a_quiet_success() {
    let home = Home::filled(6);
    for line in lines(&home) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&home, &line.words, &["--quiet"])
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{:?}", line.words);
    }
    let follow = ["tail", "-f", "-n", "6", "--dir", &home.dir()].map(str::to_owned);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&home, &follow[..4], &[]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn rows_are_as_wide_as_columns_says() {
    let home = Home::new();
    let data = format!(r#"{{"text":"{:200}"}}"#, "long");
    home.on(&["append", "A-1", "--type", "T", "--data", &data], "");
    for columns in [60, 80, 120] {
        let output = home
            .command(&["read", "-o", "table", "--dir", &home.dir()])
            .env("COLUMNS", columns.to_string())
            .output()
            .unwrap();
        let row = String::from_utf8(output.stdout).unwrap();
        assert_eq!(row.trim_end_matches('\n').chars().count(), columns, "{row}");
    }
}

#[test]
fn help_fits_into_the_columns_that_texts_are_written_for() {
    let home = Home::new();
    let verbs = lines(&home).into_iter().map(|line| line.words[0].clone());
    for verb in verbs.chain(["keys".into(), "restore".into(), "import".into(), "bench".into()]) {
        let output = home.command(&[&verb, "--help"]).env("COLUMNS", "100").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        // What clap makes of the options in one line cannot be broken.
        for line in help.lines().filter(|line| !line.starts_with("Usage: ")) {
            assert!(line.chars().count() <= 100, "{verb}: {line}");
        }
    }
}
