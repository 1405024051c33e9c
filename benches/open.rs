//! O1 opening after a clean close and after a kill, rebuilding without sidecars; M1 memory after
//! opening, and disk per event.
//!
//! Knows: that opening and memory are a process's own affair: each is measured in a fresh process,
//! this program started again with a task. Does not know: what opening does. The limit is the bare
//! log, which scans all of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, clippy::cast_sign_loss, reason = "a benchmark")]
#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "a benchmark")]

mod bare;
mod workload;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bare::Bare;
use criterion::Criterion;
use factlog::{Durability, Expect, Store};
use workload::{
    Fact, Random, Unit, Work, compare, criterion, disk_bytes, fill, fill_bare, folder, size, wanted,
};

const TASK: &str = "FACTLOG_BENCH_TASK";
const PLACE: &str = "FACTLOG_BENCH_PLACE";

/// What a fresh process found: the time to open, and what it added to memory of its own and to
/// memory shared with the page cache.
#[derive(Clone, Copy, Default)]
struct Found {
    took: Duration,
    own_bytes: i64,
    mapped_bytes: i64,
}

fn memory() -> (i64, i64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok());
        number.unwrap_or(0) * 1024
    };
    (of("RssAnon:"), of("RssFile:"))
}

/// The body of a fresh process.
fn child(task: &str, place: &Path) {
    let before = memory();
    let start = Instant::now();
    let (took, after) = match task {
        "bare" => {
            let bare = Bare::open(place, true);
            let took = start.elapsed();
            let after = memory();
            drop(bare);
            (took, after)
        }
        _ => {
            let store = Store::open(place).unwrap();
            let took = start.elapsed();
            let after = memory();
            if task == "die" {
                let event = Fact::new(&mut Random(took.as_nanos() as u64)).event();
                store.append("Order-000001", Expect::Any, [event]).unwrap();
            } else {
                store.close().unwrap();
            }
            (took, after)
        }
    };
    println!("{} {} {}", took.as_nanos(), after.0 - before.0, after.1 - before.1);
    if task == "die" {
        // As a kill does: nothing is closed, nothing is dropped.
        std::process::exit(0);
    }
}

fn fresh(task: &str, place: &Path) -> Found {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).env(TASK, task).env(PLACE, place).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(|word| word.parse::<i64>().unwrap());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("{task} died: {output:?}"));
    let took = Duration::from_nanos(next() as u64);
    Found { took, own_bytes: next(), mapped_bytes: next() }
}

fn remove_sidecars(place: &Path) {
    for entry in std::fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        let is_heads = path.file_name().is_some_and(|name| name == "heads");
        if is_heads || path.extension().is_some_and(|extension| extension == "idx") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn megabytes(bytes: i64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn open_with(criterion: &mut Criterion, streams: usize) {
    let label = |what: &str| format!("{what}_{streams}_streams");
    let names = ["O1_open_after_close", "O1_open_after_kill", "rebuild", "M1"].map(label);
    if !names.iter().any(|name| wanted(name)) {
        return;
    }
    let events = size(1_000_000, 20_000);
    let folder = folder();
    let place = folder.path().join("store");
    let store = Store::options().durability(Durability::Os).open(&place).unwrap();
    fill(&store, events, streams.min(events));
    store.close().unwrap();
    let per_event = disk_bytes(&place) as f64 / events as f64;
    let bare = Bare::create(folder.path(), events as u64 * 448, false);
    fill_bare(&bare, events, streams.min(events));
    let bare = bare.path().to_owned();

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let sum = |task: &str, place: &Path, times: u64, seen: &mut Vec<Found>| -> Duration {
        let found: Vec<Found> = (0..times).map(|_| fresh(task, place)).collect();
        seen.extend(&found);
        found.iter().map(|found| found.took).sum()
    };
    let mut limit = |times| sum("bare", &bare, times, &mut theirs);
    let work = |name, times| Work { name, unit: Unit::Time, times };
    let mut clean = |times| sum("close", &place, times, &mut ours);
    compare(criterion, &work(&names[0], size(3, 1) as u64), &mut clean, &mut limit);
    if let (Some(ours), Some(theirs)) = (ours.last(), theirs.last()) {
        println!(
            "{}: factlog {:.1} MiB of its own and {:.1} MiB mapped, bare {:.1} MiB, ratio {:.2} \
             (one process each); {per_event:.0} B on disk per event",
            names[3],
            megabytes(ours.own_bytes),
            megabytes(ours.mapped_bytes),
            megabytes(theirs.own_bytes),
            megabytes(ours.own_bytes) / megabytes(theirs.own_bytes),
        );
    }
    let mut limit = |times| sum("bare", &bare, times, &mut Vec::new());
    let mut rebuild = |times| {
        let once = |_| {
            remove_sidecars(&place);
            fresh("close", &place).took
        };
        (0..times).map(once).sum()
    };
    let per_round = Work { name: &names[2], unit: Unit::Events(events), times: 1 };
    compare(criterion, &per_round, &mut rebuild, &mut limit);
    fresh("die", &place);
    let mut killed = |times| sum("die", &place, times, &mut Vec::new());
    compare(criterion, &work(&names[1], size(3, 1) as u64), &mut killed, &mut limit);
}

fn main() {
    if let Ok(task) = std::env::var(TASK) {
        let place = std::env::var_os(PLACE).unwrap();
        return child(&task, Path::new(&place));
    }
    let mut criterion = criterion();
    for streams in [10_000, 1_000_000] {
        open_with(&mut criterion, streams);
    }
    criterion.final_summary();
}
