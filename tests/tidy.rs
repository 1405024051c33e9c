//! The rules of the house, checked on the text of the repository with the standard library alone.
//!
//! Knows: layers and rooms; `code.rs` and `papers.rs` know the rest, `CONTRIBUTING.md` says it in
//! prose. Does not know: types; what needs them is clippy's. `planted.rs` sees every rule fail.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/papers.rs"]
mod papers;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/proof.rs"]
mod proof;
#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use code::{every_file, shipped_file, signatures};
use source::{Source, words};

/// What may be named in one room only. `std::sync::Arc` is free: it guards nothing.
const ROOMS: &[(&str, &[&str])] = &[
    ("std::fs", &["src/disk/"]),
    ("memmap2", &["src/disk/"]),
    ("rustix", &["src/disk/"]),
    ("SystemTime::now", &["src/clock.rs"]),
    ("Instant::now", &["src/clock.rs"]),
    ("shuttle", &["src/sync"]),
    ("parking_lot", &["src/sync.rs", "src/clock.rs", "src/disk/"]),
    ("std::sync", &["src/sync.rs", "src/clock.rs", "src/disk/"]),
];
const NAMES: &str = "src/format/names.rs";

type Layer = (u32, u32);

/// The repository: the text of every source and paper, and the path of everything.
#[derive(Default)]
struct Tree {
    texts: BTreeMap<String, String>,
    paths: BTreeSet<String>,
    sources: BTreeMap<String, Source>,
    executables: BTreeSet<String>,
}

impl Tree {
    fn add(&mut self, path: &str, text: &str) {
        if path.ends_with(".rs") {
            self.sources.insert(path.to_owned(), Source::new(path, text));
        }
        self.texts.insert(path.to_owned(), text.to_owned());
        self.paths.extend(Path::new(path).ancestors().map(|p| p.to_string_lossy().into_owned()));
    }

    fn read(&mut self, root: &Path, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            self.paths.insert(name.clone());
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with(".git") {
                    self.read(root, &path);
                }
            } else if [".rs", ".md", ".toml"].iter().any(|end| name.ends_with(end)) {
                self.add(&name, &std::fs::read_to_string(&path).unwrap());
            } else if path.metadata().unwrap().permissions().mode() & 0o111 != 0 {
                self.executables.insert(name);
            }
        }
    }

    /// Every rule, over everything.
    fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.sources.values().flat_map(every_file).collect();
        for source in self.sources.values().filter(|s| is_shipped(&s.path)) {
            faults.extend(shipped_file(source));
            faults.extend(signatures(source));
        }
        for source in self.sources.values().filter(|s| s.path.starts_with("src/")) {
            faults.extend(self.layer_line(source));
            faults.extend(self.layers(source));
            faults.extend(self.rooms(source));
            faults.extend(self.tables(source));
        }
        faults.extend(self.sources.values().filter_map(|s| self.reachable(s)));
        faults.extend(self.links());
        faults.extend(self.papers());
        faults.extend(self.classes());
        faults.extend(self.bugs());
        faults
    }
}

/// Part of a package, and not a whole file of tests.
fn is_shipped(path: &str) -> bool {
    let packaged =
        path.starts_with("src/") || path.starts_with("crates/") && path.contains("/src/");
    packaged && !path.ends_with("/tests.rs")
}

/// `src/types/error.rs` is `[types, error]`; `mod.rs` and `lib.rs` stand for their folder.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = inner.split('/').filter(|part| !["mod", "lib"].contains(part));
    parts.map(str::to_owned).collect()
}

fn layer_of(source: &Source) -> Option<Layer> {
    let line = source.text.lines().next()?;
    // The crate's own page is for users: there a plain comment will do.
    let rest = match line.strip_prefix("// ") {
        Some(rest) if source.path == "src/lib.rs" => rest,
        _ => line.strip_prefix("//! ")?,
    };
    let (number, sentence) = rest.strip_prefix("Layer ")?.split_once(": ")?;
    let (major, minor) = number.split_once('.')?;
    let one = sentence.ends_with('.') && !sentence.contains(". ");
    one.then_some((major.parse().ok()?, minor.parse().ok()?))
}

impl Tree {
    fn layer_line(&self, source: &Source) -> Option<String> {
        let missing = is_shipped(&source.path) && layer_of(source).is_none();
        missing.then(|| source.at(0, "does not begin with `//! Layer N.M: one sentence.`"))
    }

    fn file_of(&self, module: &[String]) -> Option<&Source> {
        let joined = module.join("/");
        let of = |path: String| self.sources.get(&path);
        if module.is_empty() {
            return of("src/lib.rs".into());
        }
        of(format!("src/{joined}.rs")).or_else(|| of(format!("src/{joined}/mod.rs")))
    }

    /// The file that defines what a path names: the longest module, then through its re-exports.
    fn definer(&self, path: &[String], hops: usize) -> Option<&Source> {
        let depth = (0..=path.len()).rev().find(|n| self.file_of(&path[..*n]).is_some())?;
        let (module, file) = (&path[..depth], self.file_of(&path[..depth])?);
        let Some(item) = path.get(depth).filter(|_| hops > 0) else { return Some(file) };
        for import in file.imports().iter().filter(|import| import.name == *item) {
            let mut parts = absolute(module, &import.parts);
            if parts.is_none() {
                let child: Vec<String> = module.iter().chain(&import.parts[..1]).cloned().collect();
                let inside = module.iter().chain(&import.parts).cloned().collect();
                parts = self.file_of(&child).map(|_| inside);
            }
            if let Some(found) = parts.and_then(|parts| self.definer(&parts, hops - 1)) {
                return Some(found);
            }
        }
        Some(file)
    }

    /// Imports point strictly downward; a folder stands above all it holds.
    fn layers(&self, source: &Source) -> Vec<String> {
        let (module, mut faults) = (module_of(&source.path), Vec::new());
        let Some(own) = layer_of(source) else { return faults };
        let higher = |to: &Source| layer_of(to).is_some_and(|layer| layer >= own);
        for import in source.imports() {
            let spelled = import.parts.join("::");
            if spelled.starts_with("super::super") || spelled == "crate::*" {
                faults.push(source.at(import.at, format!("`{spelled}` hides where it points")));
            }
            let Some(path) = absolute(&module, &import.parts) else { continue };
            let to = self.definer(&path, 4).filter(|to| to.path != source.path);
            if let Some(to) = to.filter(|to| higher(to)) {
                let text = format!("`{spelled}` is in {}, whose layer is not lower", to.path);
                faults.push(source.at(import.at, text));
            }
        }
        for at in words(&source.shipped, "mod ") {
            let name = source.shipped[at + 4..].split(|c: char| !c.is_alphanumeric() && c != '_');
            let child = module.iter().cloned().chain(name.take(1).map(str::to_owned));
            if let Some(to) = self.file_of(&child.collect::<Vec<_>>()).filter(|to| higher(to)) {
                faults.push(source.at(at, format!("holds {}, whose layer is not lower", to.path)));
            }
        }
        faults
    }

    /// Each thing in its room: what may be named where, and file names in one file.
    fn rooms(&self, source: &Source) -> Vec<String> {
        let mut faults = Vec::new();
        for import in source.imports() {
            let spelled = format!("::{}::", import.parts.join("::"));
            for (thing, rooms) in ROOMS {
                let outside = !rooms.iter().any(|room| source.path.starts_with(room));
                let names = spelled.contains(&format!("::{thing}::"));
                if outside && names && !spelled.starts_with("::std::sync::Arc::") {
                    faults.push(source.at(import.at, format!("{thing} outside {rooms:?}")));
                }
            }
        }
        let names = self.sources.get(NAMES).map_or(&[][..], |names| &names.literals);
        let ends = names.iter().filter_map(|name| Some(name.1.rsplit_once('.')?.1));
        let ends: Vec<&str> = ends.filter(|end| !end.is_empty()).collect();
        for (at, text) in source.literals.iter().filter(|_| source.path != NAMES) {
            let first = |part| str::split(part, |c: char| !c.is_alphanumeric()).next();
            if text.split('.').skip(1).filter_map(first).any(|word| ends.contains(&word)) {
                faults.push(source.at(*at, format!("a file name, which belongs in {NAMES}")));
            }
        }
        faults
    }

    /// A file that no `mod` line names is never compiled.
    fn reachable(&self, source: &Source) -> Option<String> {
        let (folder, name) = source.path.trim_end_matches("/mod.rs").rsplit_once('/')?;
        let name = name.trim_end_matches(".rs");
        let root = ["lib", "main"].contains(&name) || folder.ends_with("/bin");
        let flat = ["tests", "benches", "examples", "fuzz/fuzz_targets"].contains(&folder);
        // In a crate's folder of tests each file is a program of its own, and names what it shares.
        let crate_tests = folder.starts_with("crates/") && folder.ends_with("/tests");
        if root || flat || crate_tests || name == "build" {
            return None;
        }
        let tested_only = source.path.ends_with("/tests.rs");
        let owners = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].map(|end| format!("{folder}{end}"));
        let named = owners.iter().filter_map(|owner| self.sources.get(owner)).any(|owner| {
            let line = format!("mod {name};");
            let ships = !words(&owner.shipped, &line).is_empty();
            let compiles = !words(&owner.code, &line).is_empty();
            compiles && !(tested_only && ships)
        });
        (!named).then(|| source.at(0, "no `mod` line names this file, or tests ship with it"))
    }
}

/// The path a `use` means, from the crate's root; `None` when it leaves the crate.
fn absolute(module: &[String], parts: &[String]) -> Option<Vec<String>> {
    let base = match parts[0].as_str() {
        "crate" => &[],
        "self" => module,
        "super" => &module[..module.len().checked_sub(1)?],
        _ => return None,
    };
    Some(base.iter().chain(&parts[1..]).cloned().collect())
}

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tree = Tree::default();
    tree.read(root, root);
    assert!(tree.sources.len() > 20, "the walk found the sources");
    let faults = tree.faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
