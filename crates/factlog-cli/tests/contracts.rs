//! The documented JSON is a contract: what every verb prints stands in a page of `contracts/`, and
//! `docs/CLI.md` names each member that occurs there, with the types that were seen, and no other.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod console;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use console::{Place, Step, check, name_of, pages};
use serde_json::Value;

/// Members whose inside belongs to whoever wrote it, or is told apart by another member.
const OPAQUE: [&str; 4] = ["data", "metadata", "fields", "factlogmetadata"];

/// The types seen of each member, by its path.
type Shape = BTreeMap<String, BTreeSet<&'static str>>;

#[test]
fn every_page_holds_and_the_manual_names_the_same_members() {
    let manual = manual();
    let mut left: BTreeSet<&String> = manual.keys().collect();
    let mut faults = Vec::new();
    for page in pages("contracts") {
        let name = name_of(&page);
        let shape = shape_of(&check(&page, &Place::default()));
        assert!(!shape.is_empty(), "{name} prints no JSON");
        left.remove(&name);
        match manual.get(&name) {
            None => faults.push(format!("{name} has no section; it would be\n{}", table(&shape))),
            Some(said) => faults.extend(differences(&name, said, &shape)),
        }
    }
    faults.extend(left.iter().map(|name| format!("{name} has a section and no page")));
    assert!(faults.is_empty(), "docs/CLI.md:\n{}", faults.join("\n"));
}

fn shape_of(steps: &[Step]) -> Shape {
    let mut shape = Shape::new();
    for step in steps.iter().filter(|step| step.command.contains("factlog ")) {
        let whole = serde_json::from_str(&step.out);
        let values = match whole {
            Ok(value) => vec![value],
            Err(_) => step.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        };
        for value in values {
            match value {
                Value::Array(all) => all.iter().for_each(|value| add(&mut shape, "", value)),
                value => add(&mut shape, "", &value),
            }
        }
    }
    shape
}

fn add(shape: &mut Shape, path: &str, value: &Value) {
    if !path.is_empty() {
        shape.entry(path.to_owned()).or_default().insert(type_of(value));
    }
    let last = path.rsplit('.').next().unwrap_or(path);
    if OPAQUE.contains(&last) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                add(shape, &format!("{path}{dot}{name}"), value);
            }
        }
        // The entries of a list are told by their members; plain ones are told with the list.
        Value::Array(all) => {
            for value in all.iter().filter(|value| value.is_object()) {
                add(shape, &format!("{path}[]"), value);
            }
        }
        _ => {}
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "number",
        Value::String(text) => match text.as_bytes() {
            [year @ .., b'Z'] if year.len() > 18 && year[10] == b'T' => "time",
            id if id.len() == 36 && id[8] == b'-' && id[13] == b'-' => "id",
            _ => "text",
        },
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// The tables of the manual, each by the page that its section links to.
fn manual() -> BTreeMap<String, BTreeMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CLI.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut page = String::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("tests/contracts/") {
            page = rest.split_once(".md)").unwrap().0.to_owned();
            all.entry(page.clone()).or_default();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, member, types, meaning, _] = cells[..]
            && let Some(member) = member.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'))
        {
            assert!(!meaning.is_empty(), "{page}: {member} means nothing");
            all.get_mut(&page).unwrap().insert(member.to_owned(), types.to_owned());
        }
    }
    all
}

fn types(seen: &BTreeSet<&'static str>) -> String {
    let rest: Vec<&str> = seen.iter().copied().filter(|one| *one != "null").collect();
    let null = seen.contains("null").then_some("null");
    rest.into_iter().chain(null).collect::<Vec<_>>().join(" or ")
}

fn differences(name: &str, said: &BTreeMap<String, String>, shape: &Shape) -> Vec<String> {
    let mut faults = Vec::new();
    for (member, seen) in shape {
        let seen = types(seen);
        match said.get(member) {
            None => faults.push(format!("{name}: `{member}` ({seen}) is not named")),
            Some(types) if *types == seen => {}
            Some(types) => faults.push(format!("{name}: `{member}` is {types}, seen: {seen}")),
        }
    }
    let gone = said.keys().filter(|member| !shape.contains_key(*member));
    faults.extend(gone.map(|member| format!("{name}: `{member}` was never printed")));
    faults
}

fn table(shape: &Shape) -> String {
    let row = |(member, seen): (&String, &BTreeSet<&'static str>)| {
        format!("| `{member}` | {} |  |\n", types(seen))
    };
    let rows: String = shape.iter().map(row).collect();
    format!("| member | type | meaning |\n|---|---|---|\n{rows}")
}

/// Every member that a page shows is named in the help of its verb, so that `--help` is enough.
#[test]
fn help_names_every_member() {
    let manual = manual();
    let mut faults = Vec::new();
    for (page, members) in manual {
        let verb = match page.as_str() {
            "exchange" | "cloudevents" => continue, // the format has a page of its own
            page => page.split('-').next().unwrap().to_owned(),
        };
        let help = std::process::Command::new(env!("CARGO_BIN_EXE_factlog"))
            .args([verb.as_str(), "--help"])
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let words: BTreeSet<&str> =
            help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        for member in members.keys() {
            let last = member.rsplit(['.', ']']).next().unwrap();
            if !words.contains(last) && !member.starts_with("fields.") {
                faults.push(format!("`factlog {verb} --help` does not name {member}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
