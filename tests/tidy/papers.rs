//! Rules of the papers: tables that match the code, links that lead somewhere, headings.
//!
//! Knows: Markdown, roughly. Does not know: Rust.

use std::path::Path;

use super::{Source, Tree};

impl Tree {
    /// The tables of `docs/FORMAT.md` are those at the head of the files that write the bytes.
    pub fn tables(&self, source: &Source) -> Vec<String> {
        if !source.path.starts_with("src/format/") {
            return Vec::new();
        }
        let paper = self.texts.get("docs/FORMAT.md").map_or("", String::as_str);
        let told: Vec<Vec<String>> = paper.split("\n\n").map(rows).collect();
        let head = source.text.lines().map_while(|line| line.strip_prefix("//!"));
        let head = head.collect::<Vec<_>>().join("\n");
        let blocks = head.split("```").skip(1).step_by(2).filter(|block| block.starts_with("text"));
        let mut faults = Vec::new();
        for mine in blocks.map(rows).filter(|mine| !mine.is_empty() && !told.contains(mine)) {
            let common =
                |table: &&Vec<String>| mine.iter().filter(|row| table.contains(row)).count();
            let nearest = told.iter().max_by_key(common).cloned().unwrap_or_default();
            let row = mine.iter().find(|row| !nearest.contains(row)).unwrap_or(&mine[0]);
            faults.push(source.at(0, format!("docs/FORMAT.md has no table like this at `{row}`")));
        }
        faults
    }

    /// Relative links in papers point at something.
    pub fn links(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (path, text) in self.texts.iter().filter(|(path, _)| path.ends_with(".md")) {
            let mut fenced = false;
            for (index, line) in text.lines().enumerate() {
                fenced ^= line.trim_start().starts_with("```");
                let prose: String = line.split('`').step_by(2).collect();
                for target in prose.split("](").skip(1).filter(|_| !fenced) {
                    let target = target.split([')', '#', ' ']).next().unwrap();
                    let place = Path::new(path).parent().unwrap().join(target);
                    let outside = target.contains(':') || target.is_empty();
                    if !outside && !self.paths.contains(&plain(&place)) {
                        faults.push(format!("{path}:{}: `{target}` is not there", index + 1));
                    }
                }
            }
        }
        faults
    }

    /// The version has its heading, the format its paper, the gate its bit.
    pub fn papers(&self) -> Vec<String> {
        let text = |path: &str| self.texts.get(path).map_or("", String::as_str);
        let manifest = text("Cargo.toml").split_once("[package]").map_or("", |(_, rest)| rest);
        let version = manifest.lines().find_map(|line| line.strip_prefix("version = "));
        let version = version.unwrap_or("\"?\"").trim_matches('"').to_owned();
        let mut headings = text("CHANGELOG.md").lines().filter(|line| line.starts_with("## "));
        let mut faults = Vec::new();
        if !headings.any(|line| line.split(['[', ']', ' ']).any(|part| part == version)) {
            faults.push(format!("CHANGELOG.md:1: no heading for version {version}"));
        }
        if !self.texts.contains_key("docs/FORMAT.md") {
            faults.push("docs/FORMAT.md:1: missing".into());
        }
        if !self.executables.contains(".ci/run") {
            faults.push(".ci/run:1: missing or not executable".into());
        }
        faults
    }
}

/// Offset, name and width of every row that begins with an offset; Markdown's bars are blanks.
fn rows(table: &str) -> Vec<String> {
    let clean = |line: &str| line.replace('|', "  ").replace('`', "");
    let row = |line: String| {
        let (offset, rest) = line.trim().split_once(' ')?;
        let cells = rest.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        offset.parse::<u32>().ok()?;
        Some(cells.take(2).fold(offset.to_owned(), |row, cell| format!("{row} | {cell}")))
    };
    table.lines().filter_map(|line| row(clean(line))).collect()
}

fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part.as_os_str().to_string_lossy().as_ref() {
            ".." => drop(parts.pop()),
            "." => {}
            name => parts.push(name.to_owned()),
        }
    }
    parts.join("/")
}
