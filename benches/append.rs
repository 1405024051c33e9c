//! Durable appends beside the least a disk can be asked for: a bare loop that writes the same bytes
//! to a file written with zeros before, in the same directory, and calls `fdatasync` after each.
//!
//! Knows: the public API and how many bytes a frame takes (`docs/FORMAT.md`). The two take turns in
//! short rounds, so that a disk that slows down slows both; the last lines print their ratio.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use factlog::{Expect, NewEvent, Store};

const STREAM: &str = "Order-1";
const EVENT_TYPE: &str = "T";
const DATA_BYTES: usize = 340;
const ROUNDS: usize = 21;
const ROUND: u64 = 40;

/// What one batch takes on disk: a frame header, then per event a head and a body, padded to 8.
fn frame_bytes(events: usize) -> usize {
    let body = 28 + STREAM.len() + EVENT_TYPE.len() + DATA_BYTES;
    64 + events * (40 + body.next_multiple_of(8))
}

fn batch(events: usize) -> Vec<NewEvent> {
    (0..events).map(|_| NewEvent::binary(EVENT_TYPE, vec![7; DATA_BYTES])).collect()
}

/// The limit: one write and one sync per batch, over space that is already there.
struct Bare {
    file: File,
    capacity: u64,
    at: u64,
}

impl Bare {
    const CAPACITY: u64 = 64 << 20;

    fn open(folder: &Path) -> Self {
        let path = folder.join("bare");
        let mut file = File::options().write(true).create_new(true).open(path).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..Self::CAPACITY / (1 << 20) {
            file.write_all(&zeros).unwrap();
        }
        file.sync_all().unwrap();
        Self { file, capacity: Self::CAPACITY, at: 0 }
    }

    fn append(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap();
        if self.at + length > self.capacity {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at).unwrap();
        self.file.sync_data().unwrap();
        self.at += length;
    }
}

/// Both contestants over one directory.
struct Pair {
    store: Store,
    bare: Bare,
    events: usize,
    bytes: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn new(events: usize) -> Self {
        // Beside the build, because /tmp may be memory, where a sync costs nothing.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let bare = Bare::open(folder.path());
        Self { store, bare, events, bytes: vec![7; frame_bytes(events)], _folder: folder }
    }

    fn time_store(&self, times: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            self.store.append(STREAM, Expect::Any, batch(self.events)).unwrap();
        }
        start.elapsed()
    }

    fn time_bare(&mut self, times: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            self.bare.append(&self.bytes);
        }
        start.elapsed()
    }
}

fn measure(criterion: &mut Criterion, pair: &mut Pair) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(u64::try_from(pair.events).unwrap()));
    group.bench_function(BenchmarkId::new("store", pair.events), |bencher| {
        bencher.iter_custom(|times| pair.time_store(times));
    });
    group.bench_function(BenchmarkId::new("bare", pair.events), |bencher| {
        bencher.iter_custom(|times| pair.time_bare(times));
    });
    group.finish();
}

/// The median over rounds in which each goes once, first and second in turn.
fn ratio(pair: &mut Pair) {
    let mut rounds: Vec<(f64, Duration, Duration)> = (0..ROUNDS)
        .map(|round| {
            let (store, bare) = if round % 2 == 0 {
                let store = pair.time_store(ROUND);
                (store, pair.time_bare(ROUND))
            } else {
                let bare = pair.time_bare(ROUND);
                (pair.time_store(ROUND), bare)
            };
            (bare.as_secs_f64() / store.as_secs_f64(), store, bare)
        })
        .collect();
    rounds.sort_by(|left, right| left.0.total_cmp(&right.0));
    let rate = |times: Duration| {
        let events = u32::try_from(pair.events).unwrap();
        f64::from(events) * ROUND as f64 / times.as_secs_f64()
    };
    let [low, middle, high] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| rounds.get(at).unwrap());
    println!(
        "append/{}: store {:.0} events/s, bare {:.0} events/s, ratio {:.3} ({:.3} to {:.3})",
        pair.events,
        rate(middle.1),
        rate(middle.2),
        middle.0,
        low.0,
        high.0,
    );
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // Without `--bench` this is a test that it runs at all.
    let in_earnest = std::env::args().any(|argument| argument == "--bench");
    for events in [1, 100] {
        let mut pair = Pair::new(events);
        measure(&mut criterion, &mut pair);
        if in_earnest {
            ratio(&mut pair);
        }
        pair.store.close().unwrap();
    }
    criterion.final_summary();
}
