//! Rules of one file by itself: sizes, words, calls, signatures.
//!
//! Knows: one source. Does not know: which other files there are.

use super::source::{Source, after_closing, is_word, item_end, line_of, words};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
const PARAMETERS_MAX: usize = 5;
/// Other projects' words for what `docs/VOCABULARY.md` names once.
const BANNED_WORDS: &[&str] = &["revision", "seqno", "lsn", "commit_id"];
const MARKERS: &[&str] = &["FIXME", "XXX"];
const CALLS: &[&str] = &[".unwrap()", ".expect(", "dbg!", "todo!"];
const PRINTS: &[&str] = &["println!", "eprintln!", "print!", "eprint!"];
const UNSAFE_ROOM: &str = "src/disk/map.rs";

/// The body of every function: where `fn` stands, and the end of its item.
fn functions(code: &str) -> impl Iterator<Item = (usize, usize)> {
    let named = |at: &usize| code.as_bytes().get(at + 3).is_some_and(|byte| is_word(*byte));
    words(code, "fn ").into_iter().filter(named).map(|at| (at, item_end(code, at)))
}

/// Columns, functions, markers, words, and the statement that checks nothing.
pub fn every_file(source: &Source) -> Vec<String> {
    let (code, mut faults) = (&source.code, Vec::new());
    for (index, line) in source.text.lines().enumerate() {
        if line.chars().count() > COLUMNS_MAX {
            faults.push(format!("{}:{}: over {COLUMNS_MAX} columns", source.path, index + 1));
        }
    }
    for (from, to) in functions(code) {
        let lines = line_of(code, to) - line_of(code, from) + 1;
        if lines > FUNCTION_LINES_MAX {
            faults.push(source.at(from, format!("a function of {lines} lines")));
        }
    }
    for marker in MARKERS {
        let found = words(&source.unquoted, marker);
        faults.extend(found.iter().map(|at| source.at(*at, format!("a {marker}"))));
    }
    for at in words(code, "matches!(") {
        let before = code[..at].trim_end().bytes().next_back();
        let after = code[after_closing(code, at + 8)..].trim_start();
        if before.is_some_and(|byte| b";{}".contains(&byte)) && after.starts_with(';') {
            faults.push(source.at(at, "a bare matches! checks nothing"));
        }
    }
    let begins = |at: &usize| *at == 0 || !is_word(code.as_bytes()[at - 1]);
    for at in (0..code.len()).filter(|at| is_word(code.as_bytes()[*at])).filter(begins) {
        let word = code[at..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        let apart: String = word
            .char_indices()
            .map(|(i, c)| format!("{}{c}", if i > 0 && c.is_uppercase() { "_" } else { "" }))
            .collect();
        let plain = format!("_{word}_{apart}_").to_lowercase().replace("s_", "_");
        if BANNED_WORDS.iter().any(|banned| plain.contains(&format!("_{banned}_"))) {
            faults.push(source.at(at, format!("`{word}` is not a word of docs/VOCABULARY.md")));
        }
    }
    faults
}

/// What may not stand in code that ships.
pub fn shipped_file(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if source.shipped_lines > FILE_LINES_MAX {
        let lines = source.shipped_lines;
        faults.push(source.at(0, format!("{lines} lines before its tests")));
    }
    // The command prints; a library does not.
    let prints = if source.path.starts_with("src/") { PRINTS } else { &[] };
    for call in CALLS.iter().chain(prints) {
        let found = words(&source.shipped, call);
        faults.extend(found.iter().map(|at| source.at(*at, format!("{call} outside tests"))));
    }
    if source.path != UNSAFE_ROOM {
        let found = words(&source.code, "unsafe");
        let text = format!("unsafe outside {UNSAFE_ROOM}");
        faults.extend(found.iter().map(|at| source.at(*at, &text)));
    }
    faults
}

/// The parameters of public functions, `self` aside.
pub fn signatures(source: &Source) -> Vec<String> {
    let (code, mut faults) = (&source.shipped, Vec::new());
    for (at, _) in functions(code) {
        let line = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        if !code[line..at].trim_start().starts_with("pub") {
            continue;
        }
        let open = after_generics(code, at);
        let inside = &code[open + 1..after_closing(code, open) - 1];
        let all = split_outside(inside);
        let own: Vec<&str> = all.into_iter().filter(|p| words(p, "self").is_empty()).collect();
        let bools =
            own.iter().filter(|p| p.split_once(':').is_some_and(|(_, t)| t.trim() == "bool"));
        if bools.count() > 1 {
            faults.push(source.at(at, "a public function with two bool parameters"));
        }
        if own.len() > PARAMETERS_MAX {
            faults.push(source.at(at, format!("a public function of {} parameters", own.len())));
        }
    }
    faults
}

/// Where the parameters open: the first `(` outside `<..>`.
fn after_generics(code: &str, from: usize) -> usize {
    let (mut depth, bytes) = (0, code.as_bytes());
    for at in from..bytes.len() {
        match bytes[at] {
            b'<' => depth += 1,
            b'>' if bytes[at - 1] != b'-' => depth -= 1,
            b'(' if depth == 0 => return at,
            _ => {}
        }
    }
    bytes.len()
}

/// The parts between commas that stand in no bracket.
fn split_outside(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b'>' if text.as_bytes()[at - 1] == b'-' => {}
            b')' | b']' | b'}' | b'>' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}
