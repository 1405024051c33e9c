//! Rules of the proof: `docs/TESTING.md` names a test for every class of fault and for every bug
//! that is planted on purpose, and the tests it names are there.
//!
//! Knows: tables, and where tests stand. Does not know: whether they are good:
//! `tests/it/planted.rs` sees them fail.

use std::collections::BTreeSet;

use super::Tree;

const PAPER: &str = "docs/TESTING.md";
const RUNNER: &str = "tests/it/planted.rs";
const CLASSES: u32 = 56;

impl Tree {
    /// Every class of fault has a row with a test that is there, or with the reason for none.
    pub fn classes(&self) -> Vec<String> {
        let Some(paper) = self.texts.get(PAPER) else { return vec![format!("{PAPER}:1: missing")] };
        let (tests, mut faults, mut seen) = (self.tests(), Vec::new(), BTreeSet::new());
        for (line, cells) in rows(paper, "## The classes of faults") {
            let Ok(class) = cells[0].parse::<u32>() else { continue };
            let last = cells[cells.len() - 1];
            if !seen.insert(class) {
                faults.push(format!("{PAPER}:{line}: class {class} has two rows"));
            }
            let named = quoted(last).filter(|name| is_plain(name)).collect::<Vec<_>>();
            let reason = last.strip_prefix("not tested: ").is_some_and(|why| why.len() > 20);
            if named.is_empty() && !reason {
                faults.push(format!("{PAPER}:{line}: class {class} has no test and no reason"));
            }
            let lost = named.into_iter().filter(|name| !tests.contains(name));
            faults.extend(lost.map(|name| format!("{PAPER}:{line}: there is no test `{name}`")));
        }
        let missing = (1..=CLASSES).filter(|class| !seen.contains(class));
        faults.extend(missing.map(|class| format!("{PAPER}:1: class {class} is missing")));
        faults
    }

    /// The bugs in the sources, in the runner's list and in the paper are the same.
    pub fn bugs(&self) -> Vec<String> {
        let text = |path: &str| self.texts.get(path).map_or("", String::as_str);
        let sources = self.sources.values().filter(|s| s.path.starts_with("src/"));
        let hooked: BTreeSet<&str> = sources.flat_map(|s| between(&s.code, "planted!(")).collect();
        let caught: BTreeSet<&str> = text(RUNNER)
            .lines()
            .filter_map(|line| line.trim_start().trim_start_matches('(').strip_prefix('"'))
            .filter_map(|rest| rest.split('"').next())
            .filter(|name| name.starts_with(char::is_uppercase) && !name.contains(' '))
            .collect();
        let told = rows(text(PAPER), "## Planted bugs");
        let told: BTreeSet<&str> = told.iter().flat_map(|(_, cells)| quoted(cells[0])).collect();
        let mut faults = Vec::new();
        for (place, there) in [("src", &hooked), (RUNNER, &caught), (PAPER, &told)] {
            let all = hooked.iter().chain(&caught).chain(&told).collect::<BTreeSet<_>>();
            let lost = all.into_iter().filter(|name| !there.contains(*name));
            faults.extend(lost.map(|bug| format!("{place}: does not know the bug `{bug}`")));
        }
        faults
    }

    /// The names of all functions under `#[test]`.
    fn tests(&self) -> BTreeSet<&str> {
        let found = self.sources.values().flat_map(|source| source.code.split("#[test]").skip(1));
        let names = found.filter_map(|rest| rest.split_once("fn ")?.1.split('(').next());
        names.collect()
    }
}

/// The rows of the tables under a heading, without their heads, each with its line.
fn rows<'a>(paper: &'a str, heading: &str) -> Vec<(usize, Vec<&'a str>)> {
    let lines = paper.lines().enumerate().skip_while(|(_, line)| *line != heading).skip(1);
    let within = lines.take_while(|(_, line)| !line.starts_with("## "));
    let rows = within.filter_map(|(at, line)| Some((at + 1, line.strip_prefix('|')?)));
    rows.map(|(at, line)| (at, line.trim_end_matches('|').split('|').map(str::trim).collect()))
        .collect()
}

/// What stands in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The name of a function, and not a command or a path.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The first word after every occurrence of `open`.
fn between<'a>(code: &'a str, open: &str) -> Vec<&'a str> {
    code.split(open).skip(1).filter_map(|rest| rest.split(')').next()).collect()
}
