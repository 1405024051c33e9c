//! Each rule broken once, on purpose: a rule that cannot fail is a defect.
//!
//! Knows: a small tidy repository, and one fault per row. Does not know: the real repository.

use super::Tree;

const PLACE: &str = "src/types/place.rs";
const ERROR: &str = "src/types/error.rs";
const TESTING: &str = "docs/TESTING.md";
const APPEND: &str = "tests/it/append.rs";
const TIDY: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace.package]\nversion = \"9.9.9\"\n\
      [package]\nversion = \"0.1.0\"\n",
    ),
    ("CHANGELOG.md", "# Changelog\n\n## [0.1.0] - Unreleased\n"),
    ("README.md", "[format](docs/FORMAT.md#frame), [us](https://example.org), `[not](a-link)`\n"),
    (
        "docs/FORMAT.md",
        "# Format\n\n```text\n\
      0  magic \"A\"  u32\n 4  length     u32  of all\n```\n",
    ),
    ("docs/adr/0001-x.md", "[up](../FORMAT.md)\n```text\n[x](y)\n```\n"),
    (
        "src/lib.rs",
        "// Layer 8.0: the door.\nmod clock;\nmod disk;\n\
      mod format;\nmod types;\n",
    ),
    (
        "src/clock.rs",
        "//! Layer 2.0: time.\nfn now() { std::time::SystemTime::now(); }\n\
         fn late() -> bool { planted!(Slip) }\n",
    ),
    ("src/disk/mod.rs", "//! Layer 2.9: files.\nmod map;\nmod real;\npub use real::Real;\n"),
    ("src/disk/map.rs", "//! Layer 2.1: maps.\nfn f() { unsafe { memmap2::map() } }\n"),
    ("src/disk/real.rs", "//! Layer 2.2: real.\nuse std::fs::File;\nuse super::map;\n"),
    (
        "src/types/mod.rs",
        "//! Layer 0.9: words.\n\
      mod error;\nmod place;\npub use error::{Error, Kind as K};\n",
    ),
    (
        "src/types/error.rs",
        "//! Layer 0.2: errors.\nuse super::place::Place;\nuse std::sync::Arc;\n",
    ),
    ("src/types/place.rs", "//! Layer 0.1: places.\nfn f<'a>(c: &'a str) -> char { '\"' }\n"),
    ("src/format/mod.rs", "//! Layer 1.9: bytes.\nmod head;\nmod names;\npub use head::Head;\n"),
    ("src/format/names.rs", "//! Layer 1.0: names.\nfn f() -> &'static str { \"1.seg\" }\n"),
    (
        "src/format/head.rs",
        "//! Layer 1.1: head.\n//! ```text\n\
         //! 0  magic \"A\"  u32  first\n//! 4  length  u32\n//! ```\n\
         use crate::types::{Error, K};\n#[cfg(test)]\nmod tests;\n",
    ),
    ("src/format/head/tests.rs", "use super::super::names;\nfn f() { x().unwrap(); }\n"),
    ("crates/cli/src/main.rs", "fn main() { println!(\"unsafe\"); }\n"),
    ("tests/it/main.rs", "//! Tests.\nmod append;\nmod planted;\n"),
    (
        "tests/it/planted.rs",
        "//! Bugs.\nconst BUGS: &[T] = &[\n    (\"Slip\", \"append::fine\"),\n];\n",
    ),
    ("tests/it/append.rs", "//! Appends.\n#[test] fn fine() { assert!(matches!(1, 1)); }\n"),
];

/// A paper with a row for every class, and with the one bug there is.
fn testing() -> String {
    let rows: String = (1..=56).map(|class| format!("| {class} | what | `fine` |\n")).collect();
    format!(
        "## The classes of faults\n\n| class | what | test |\n|---|---|---|\n{rows}\n\
         ## Planted bugs\n\n| bug | what |\n|---|---|\n| `Slip` | it slips |\n"
    )
}

/// What is told of the tidy repository once `added` ends a file, or (after `=`) is the file.
fn faults(path: &str, added: &str) -> Vec<String> {
    let mut tree = Tree::default();
    TIDY.iter().for_each(|(path, text)| tree.add(path, text));
    tree.add(TESTING, &testing());
    tree.executables.insert(".ci/run".into());
    let before = tree.texts.get(path).map_or("", String::as_str);
    let text = added.strip_prefix('=').map_or(format!("{before}{added}"), str::to_owned);
    tree.add(path, &text);
    tree.faults()
}

#[test]
fn the_small_repository_is_tidy() {
    assert_eq!(faults("README.md", ""), Vec::<String>::new());
    for fine in [
        "// in a comment: .unwrap(), unsafe, std::fs\n",
        "#[cfg(test)]\nmod t {\n use super::super::y;\n fn f() { x(\"1.seg\").unwrap(); }\n}\n",
        "#[expect(unsafe_code)]\nfn f() { \"println!(\"; r#\"a \" dbg!() \"#; '\\''; }\n",
        "pub fn f<F: Fn(u8, u8) -> u8>(&self, a: bool, b: &[u8], c: F, d: (u8, u8), e: u8) {}\n",
        "fn f(x: u8) -> bool { matches!(x, 1) }\n",
        "macro_rules! m { () => { $crate::types::place::P } }\n",
    ] {
        assert_eq!(faults(ERROR, fine), Vec::<String>::new());
    }
}

/// File, what is added to it, and what must be told.
const PLANTED: &[(&str, &str, &str)] = &[
    ("src/new.rs", "use std::fmt;\n", "src/new.rs:1: does not begin"),
    ("src/new.rs", "//! Layer 1.x: numbers.\n", "src/new.rs:1: does not begin"),
    ("src/new.rs", "//! Layer 1.0: two. Sentences.\n", "src/new.rs:1: does not begin"),
    ("src/new.rs", "//! Layer 1.0: lost.\n", "src/new.rs:1: no `mod` line"),
    ("tests/it/lost.rs", "//! Lost.\n", "tests/it/lost.rs:1: no `mod` line"),
    ("src/format/head.rs", "mod tests;\n", "src/format/head/tests.rs:1: no `mod` line"),
    (PLACE, "use super::error::Kind;\n", "place.rs:3: `super::error::Kind` is in"),
    (
        PLACE,
        "use crate::{\n  types::{K},\n};\n",
        "place.rs:4: `crate::types::K` is in src/types/err",
    ),
    (PLACE, "fn g() { crate::format::Head::new() }\n", "is in src/format/head.rs"),
    (PLACE, "use crate::format;\n", "is in src/format/mod.rs"),
    (PLACE, "use crate::types::{self};\n", "is in src/types/mod.rs"),
    (PLACE, "use crate::Nowhere;\n", "is in src/lib.rs"),
    (ERROR, "use super::*;\n", "is in src/types/mod.rs"),
    (ERROR, "use crate::*;\n", "`crate::*` hides"),
    (ERROR, "use super::super::types::place;\n", "hides where it points"),
    (ERROR, "=//! Layer 0.9: e.\n", "src/types/mod.rs:2: holds src/types/error.rs"),
    (PLACE, "unsafe fn g() {}\n", "unsafe outside"),
    ("crates/cli/src/main.rs", "unsafe fn g() {}\n", "unsafe outside"),
    (PLACE, "use std::{fs, io};\n", "std::fs outside"),
    (PLACE, "use memmap2::Mmap;\n", "memmap2 outside"),
    (PLACE, "use rustix::fs;\n", "rustix outside"),
    (PLACE, "fn g() { SystemTime::now(); }\n", "SystemTime::now outside"),
    (PLACE, "fn g() { time::Instant::now(); }\n", "Instant::now outside"),
    (PLACE, "use parking_lot::Mutex;\n", "parking_lot outside"),
    (PLACE, "use std::sync::{Arc, Mutex};\n", "std::sync outside"),
    (PLACE, "fn g() -> String { format!(\"{n}.seg\") }\n", "place.rs:3: a file name"),
    (PLACE, "fn g() { x().unwrap(); }\n", ".unwrap() outside tests"),
    ("crates/cli/src/main.rs", "fn g() { x().expect(\"\"); }\n", ".expect( outside tests"),
    (PLACE, "fn g() { println!(\"\"); }\n", "println! outside tests"),
    (PLACE, "fn g() { eprint!(\"\"); }\n", "eprint! outside tests"),
    (PLACE, "fn g() { dbg!(1); }\n", "dbg! outside tests"),
    (PLACE, "fn g() { todo!() }\n", "todo! outside tests"),
    (APPEND, concat!("// FIX", "ME: later\n"), concat!("append.rs:3: a FIX", "ME")),
    (PLACE, concat!("// XX", "X\n"), concat!("a XX", "X")),
    (PLACE, "pub fn g<T>(a: bool, t: T, b: bool) {}\n", "two bool"),
    (PLACE, "pub fn g(&self, a: A<u8, u8>, b: B, c: C, d: D, e: E, f: F) {}\n", "of 6 parameters"),
    (APPEND, "fn g() { f(); matches!(x(), Some(_)); }\n", "a bare matches!"),
    (PLACE, "fn g(next_revision: u64) {}\n", "`next_revision` is not a word"),
    (PLACE, "struct RecordLsn;\n", "`RecordLsn` is not a word"),
    (PLACE, "const SEQNOS: u8 = 1;\n", "`SEQNOS` is not a word"),
    ("CHANGELOG.md", "=## [0.1.1] 2030\n\n0.1.0\n", "no heading for version 0.1.0"),
    ("docs/FORMAT.md", "=|0|magic \"A\"|u32|\n|4|length|u64|\n", "like this at `4 | length | u32`"),
    ("docs/FORMAT.md", "= 4  length  u32\n", "at `0 | magic \"A\" | u32`"),
    ("README.md", "[gone](docs/GONE.md)\n", "README.md:2: `docs/GONE.md` is not there"),
    ("docs/adr/0001-x.md", "[up](FORMAT.md)\n", "docs/adr/0001-x.md:5: `FORMAT.md`"),
    (TESTING, "| `Ghost` | it haunts |\n", "src: does not know the bug `Ghost`"),
    (
        "src/clock.rs",
        "fn g() { planted!(Ghost) }\n",
        "docs/TESTING.md: does not know the bug `Ghost`",
    ),
    (
        "src/clock.rs",
        "fn g() { planted!(Ghost) }\n",
        "it/planted.rs: does not know the bug `Ghost`",
    ),
    (
        TESTING,
        "=## The classes of faults\n| 1 | a | `gone` |\n",
        "TESTING.md:2: there is no test `gone`",
    ),
    (TESTING, "=## The classes of faults\n| 2 | a | soon |\n", "class 2 has no test and no reason"),
    (TESTING, "=## The classes of faults\n| 2 | a | `fine` |\n", "class 56 is missing"),
    (
        TESTING,
        "=## The classes of faults\n| 2 | a | `fine` |\n| 2 | b | `fine` |\n",
        "TESTING.md:3: class 2 has two rows",
    ),
];

#[test]
fn every_rule_notices_what_breaks_it() {
    for (path, added, told) in PLANTED {
        let found = faults(path, added);
        assert!(found.iter().any(|fault| fault.contains(told)), "{told}: {found:?}");
    }
}

#[test]
fn missing_papers_are_noticed() {
    let mut tree = Tree::default();
    TIDY.iter().filter(|t| t.0 != "docs/FORMAT.md").for_each(|(p, text)| tree.add(p, text));
    let found = tree.faults().join("\n");
    for told in [".ci/run:1: missing or not executable", "docs/FORMAT.md:1: missing"] {
        assert!(found.contains(told), "{told}: {found}");
    }
}

#[test]
fn sizes_are_noticed_one_above_the_bound() {
    let line = |columns: usize| format!("// {}\n", "é".repeat(columns - 3));
    let body = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    let rest = |lines: usize| "// more\n".repeat(lines - 2);
    let tests = format!("#[cfg(test)]\nmod t {{\n{}}}\n", rest(100));
    for fine in [line(100), body(70), rest(500), tests + &rest(500)] {
        assert_eq!(faults(PLACE, &fine), Vec::<String>::new());
    }
    assert_eq!(faults(PLACE, &line(101)), ["src/types/place.rs:3: over 100 columns"]);
    assert_eq!(faults(APPEND, &body(71)), ["tests/it/append.rs:3: a function of 71 lines"]);
    assert_eq!(faults(PLACE, &rest(501)), ["src/types/place.rs:1: 501 lines before its tests"]);
}
