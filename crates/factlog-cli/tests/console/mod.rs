//! Console blocks of a Markdown page, run as written and compared with what they say.
//!
//! A block begins with ` ```console `; in it a line `$ command` is run by `sh`, and the lines
//! behind it are what it prints, standard error included, then `[exit N]` unless it ended with 0.
//! All commands of a page share one shell, in a directory with `sample.ndjson`, and, if the page
//! names it, `segmented`, a store of several small segments. What varies from run to run stands
//! there as a named placeholder. `FACTLOG_PAGES=write` makes the pages anew.
#![allow(dead_code, reason = "every test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use factlog::{Expect, NewEvent, Position, Store};
use tempfile::TempDir;

const SAMPLE: &str = include_str!("sample.ndjson");

/// One command of a page, and what it left.
#[derive(Debug)]
pub struct Step {
    pub command: String,
    /// As printed.
    pub out: String,
    pub code: String,
    /// As the page has it: with placeholders, and the exit code.
    pub shown: String,
}

/// How a page is run.
#[derive(Debug, Default)]
pub struct Place {
    /// What the shell is started with, instead of by itself.
    pub wrapper: Vec<&'static str>,
    /// What the shell does first, in the directory of the page; not shown.
    pub prologue: &'static str,
}

/// The pages of a folder beside the tests, by name.
pub fn pages(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    all.sort();
    all
}

/// The name of a page, without folder and ending.
pub fn name_of(page: &Path) -> String {
    page.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Runs a page and compares it with itself; answers what its commands printed.
pub fn check(page: &Path, place: &Place) -> Vec<Step> {
    let text = std::fs::read_to_string(page).unwrap();
    let commands = commands(&text);
    assert!(!commands.is_empty(), "{} has no commands", page.display());
    let steps = run(&commands, &text, place);
    let real = rewritten(&text, &steps);
    if std::env::var_os("FACTLOG_PAGES").is_some_and(|how| how == "write") {
        std::fs::write(page, real).unwrap();
        return steps;
    }
    if real != text {
        let page = page.display();
        let hint = "if it is meant: FACTLOG_PAGES=write makes the pages anew";
        panic!("{page} says otherwise ({hint})\n{}", difference(&text, &real));
    }
    steps
}

fn difference(page: &str, real: &str) -> String {
    let (page, real): (Vec<&str>, Vec<&str>) = (page.lines().collect(), real.lines().collect());
    let same = page.iter().zip(&real).take_while(|(a, b)| a == b).count();
    let command = page[..same].iter().rev().find(|line| line.starts_with("$ ")).unwrap_or(&"");
    let mut text = format!("line {}, in or after {command:?}\n", same + 1);
    for (sign, lines) in [('-', &page), ('+', &real)] {
        for line in lines.iter().skip(same).take(12) {
            writeln!(text, "{sign} {line}").unwrap();
        }
    }
    text
}

/// The commands of a page; one may go on in lines that begin with `> `.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let (mut inside, mut open) = (false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            commands.push(command.to_owned());
            open = true;
            continue;
        } else if let Some(more) = line.strip_prefix("> ").filter(|_| inside && open) {
            let last = commands.last_mut().unwrap();
            last.push('\n');
            last.push_str(more);
            continue;
        }
        open = false;
    }
    commands
}

fn run(commands: &[String], text: &str, place: &Place) -> Vec<Step> {
    let home = TempDir::new().unwrap();
    let (work, out) = (home.path().join("work"), home.path().join("out"));
    std::fs::create_dir(&work).unwrap();
    std::fs::create_dir(&out).unwrap();
    std::fs::write(work.join("sample.ndjson"), SAMPLE).unwrap();
    if text.contains("segmented") {
        segmented(&work.join("segmented"));
    }
    let mut script =
        format!("cd '{}'\nout='{}'\n{}\n", work.display(), out.display(), place.prologue);
    for (number, command) in commands.iter().enumerate() {
        writeln!(script, "{{ {command}\n}} > \"$out/{number}\" 2>&1 < /dev/null").unwrap();
        writeln!(script, "echo $? > \"$out/{number}.code\"").unwrap();
    }
    let file = home.path().join("script.sh");
    std::fs::write(&file, script).unwrap();
    let mut words = place.wrapper.iter().copied().chain(["sh"]);
    let mut shell = Command::new(words.next().unwrap());
    let binary = Path::new(env!("CARGO_BIN_EXE_factlog")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let ended = shell
        .args(words)
        .arg(&file)
        .env("PATH", format!("{}:{path}", binary.display()))
        .env("FACTLOG_DIR", "shop")
        .env("COLUMNS", "100")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let root = home.path().display().to_string();
    let read = |name: String| {
        let bytes = std::fs::read(out.join(name)).unwrap();
        String::from_utf8_lossy(&bytes).replace(&root, "~")
    };
    let step = |(number, command): (usize, &String)| {
        let (out, code) = (read(number.to_string()), read(format!("{number}.code")));
        let mut shown = normal(&out);
        if !shown.is_empty() && !shown.ends_with('\n') {
            shown.push('\n');
        }
        if code.trim() != "0" {
            writeln!(shown, "[exit {}]", code.trim()).unwrap();
        }
        Step { command: command.clone(), out, code: code.trim().to_owned(), shown }
    };
    commands.iter().enumerate().map(step).collect()
}

/// The page with what its commands printed now.
fn rewritten(text: &str, steps: &[Step]) -> String {
    let (mut out, mut steps) = (String::new(), steps.iter());
    let (mut inside, mut open) = (false, None::<&Step>);
    for line in text.lines() {
        if line.starts_with("```") {
            if let Some(step) = open.take() {
                out.push_str(&step.shown);
            }
            inside = line == "```console";
        } else if inside && line.starts_with("$ ") {
            if let Some(step) = open.take() {
                out.push_str(&step.shown);
            }
            open = steps.next();
        } else if inside && !(line.starts_with("> ") && open.is_some()) {
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// A store of several small segments, with two checkpoints, one of them carried by a batch.
fn segmented(dir: &Path) {
    // Its own threads would be ready with a segment's index now or a little later.
    let options = Store::options().segment_bytes(16 << 10).background_threads(false);
    let store = options.open(dir).unwrap();
    for batch in 0..12_u32 {
        let events = (1..=5).map(|n| {
            let data = format!("{{\"n\":{},\"fill\":\"{:700}\"}}", batch * 5 + n, "");
            NewEvent::json_text("Counted", data)
                .id(uuid::Uuid::from_u128(u128::from(batch * 5 + n)))
        });
        let stream = if batch % 2 == 0 { "Shelf-1" } else { "Shelf-2" };
        store.append(stream, Expect::Any, events).unwrap();
    }
    store.save_checkpoint("mailer", Position::new(40)).unwrap();
    store.batch().checkpoint("biller", Position::new(50)).commit().unwrap();
    store.close().unwrap();
}

/// What varies, by name. Ids that begin with zeros and times before 2020 are the pages' own.
fn normal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let gap = rest.find(is_word).unwrap_or(rest.len());
        out.push_str(&rest[..gap]);
        rest = &rest[gap..];
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let word = rest[..end].trim_end_matches(['.', ':']);
        out.push_str(placeholder(word).unwrap_or(word));
        out.push_str(&rest[word.len()..end]);
        rest = &rest[end..];
    }
    measured(&out)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-:.".contains(c)
}

fn placeholder(word: &str) -> Option<&'static str> {
    let dashes = |at: [usize; 4]| at.iter().all(|at| word.as_bytes().get(*at) == Some(&b'-'));
    if word.len() == 36 && dashes([8, 13, 18, 23]) && !word.starts_with("00000000-") {
        return Some("<id>");
    }
    let time = word.len() >= 20 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
    (time && word > "2020").then_some("<time>")
}

/// Numbers that are measured stand behind these words.
const MEASURED: [(&str, &str); 21] = [
    ("\"open_ms\":", "<ms>"),
    ("opened in       ", "<ms>"),
    ("\"index_memory_bytes\":", "<bytes>"),
    ("index memory    ", "<size>"),
    ("\"file_system\":\"", "<name>"),
    ("\"in_memory\":", "<true or false>"),
    ("\"seconds\":", "<seconds>"),
    ("\"events_per_day\":", "<rate>"),
    ("\"per_second\":", "<rate>"),
    ("\"ratio\":", "<ratio>"),
    ("\"p50_us\":", "<us>"),
    ("\"p99_us\":", "<us>"),
    ("\"chain\":\"", "<chain>"),
    (" chain=", "<chain>"),
    ("\"records\":\"", "<crc>"),
    (" records=", "<crc>"),
    (" body=", "<crc>"),
    ("\"made_at\":", "<micros>"),
    (" made_at=", "<micros>"),
    ("\"recorded_at\":", "<micros>"),
    (" recorded_at=", "<micros>"),
];

fn measured(text: &str) -> String {
    let mut out = text.to_owned();
    for (before, name) in MEASURED {
        let mut from = 0;
        while let Some(at) = out.get(from..).and_then(|rest| rest.find(before)) {
            let start = from + at + before.len();
            let rest = &out[start..];
            // A row for people goes on to its end.
            let ends = if before.ends_with("  ") { "\n" } else { ",}\" \n" };
            let end = rest.find(|c: char| ends.contains(c)).unwrap_or(rest.len());
            if rest[..end].starts_with(|c: char| c.is_ascii_alphanumeric())
                && (&rest[..end] != "null" || name == "<us>")
            {
                out.replace_range(start..start + end, name);
            }
            from = start;
        }
    }
    out
}
