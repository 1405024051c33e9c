//! What every benchmark shares: the events, the choice of streams, and comparisons taken in turns.
//!
//! Knows: seeds, sizes, how to print. Does not know: what is compared. Two sides take turns in
//! short rounds within one process, so that a machine that slows down slows both; each comparison
//! ends in one line, `NAME: factlog X, bare Y, ratio Z (low..high)`.
#![allow(dead_code, reason = "each benchmark uses what it needs")]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use factlog::{Expect, NewEvent, Store, Uuid};

use crate::bare::Bare;

pub const EVENT_TYPE: &str = "OrderPlaced";
pub const METADATA: &[u8] = br#"{"by":"user-00017","at":"desk-4","v":"12345"}"#;
pub const DATA_BYTES: usize = 256;
/// What an event is to its owner: id, stream, type, metadata, data.
pub const EVENT_BYTES: usize = 16 + 12 + EVENT_TYPE.len() + METADATA.len() + DATA_BYTES;
const _: () = assert!(EVENT_BYTES == 340);

/// Small sizes and few rounds: shows that everything runs, measures nothing.
pub fn quick() -> bool {
    std::env::var_os("FACTLOG_BENCH_QUICK").is_some_and(|value| value != "0")
        || !std::env::args().any(|argument| argument == "--bench")
}

/// One size for measuring and one for `quick`.
pub fn size(earnest: usize, small: usize) -> usize {
    if quick() { small } else { earnest }
}

/// A temporary directory beside the build, because /tmp may be memory, where a sync costs nothing.
/// `FACTLOG_BENCH_DIR` names another file system.
pub fn folder() -> tempfile::TempDir {
    let place = std::env::var("FACTLOG_BENCH_DIR");
    tempfile::tempdir_in(place.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

/// SplitMix64: the same numbers in every run.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// In 0..1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Zipf(0.99) over `0..n`, the way YCSB draws it.
#[derive(Clone)]
pub struct Zipf {
    n: f64,
    zeta: f64,
    eta: f64,
    alpha: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    pub fn over(n: usize) -> Self {
        let zeta_of = |n: usize| (1..=n).map(|i| (i as f64).powf(-Self::THETA)).sum::<f64>();
        let zeta = zeta_of(n);
        let n = n as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - Self::THETA)) / (1.0 - zeta_of(2) / zeta);
        Self { n, zeta, eta, alpha: 1.0 / (1.0 - Self::THETA) }
    }

    pub fn draw(&self, random: &mut Random) -> usize {
        let u = random.unit();
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(Self::THETA) {
            return 1;
        }
        let rank = self.n * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as usize).min(self.n as usize - 1)
    }
}

/// An event before it is anybody's.
#[derive(Clone)]
pub struct Fact {
    pub id: Uuid,
    pub data: Vec<u8>,
}

impl Fact {
    /// JSON text of 256 bytes that does not compress well, for stores that insist on JSON.
    pub fn new(random: &mut Random) -> Self {
        let id = (u128::from(random.next()) << 64) | u128::from(random.next());
        let mut data = br#"{"order":""#.to_vec();
        while data.len() < DATA_BYTES - 2 {
            let bits = random.next();
            let letter =
                |at: u32| b"0123456789abcdefghijklmnopqrstuv"[(bits >> (5 * at)) as usize & 31];
            data.extend((0..12).map(letter).take(DATA_BYTES - 2 - data.len()));
        }
        data.extend(br#""}"#);
        Self { id: Uuid::from_u128(id), data }
    }

    pub fn event(self) -> NewEvent {
        NewEvent::binary(EVENT_TYPE, self.data).id(self.id).metadata(METADATA)
    }
}

pub fn stream_name(number: usize) -> String {
    format!("Order-{number:06}")
}

/// Chooses streams for one thread and knows their versions; threads own disjoint streams.
pub struct Writer {
    pub random: Random,
    zipf: Zipf,
    names: Vec<String>,
    pub versions: Vec<u64>,
}

impl Writer {
    pub fn new(thread: usize, threads: usize, streams: usize) -> Self {
        let own = streams / threads;
        Self {
            random: Random(thread as u64 + 1),
            zipf: Zipf::over(own),
            names: (0..own).map(|rank| stream_name(rank * threads + thread)).collect(),
            versions: vec![0; own],
        }
    }

    /// A stream, and the version it has before `events` are appended to it.
    pub fn next(&mut self, events: usize) -> (usize, u64) {
        let stream = self.zipf.draw(&mut self.random);
        let version = self.versions[stream];
        self.versions[stream] += events as u64;
        (stream, version)
    }

    pub fn name(&self, stream: usize) -> &str {
        &self.names[stream]
    }

    pub fn facts(&mut self, events: usize) -> Vec<Fact> {
        (0..events).map(|_| Fact::new(&mut self.random)).collect()
    }
}

/// Fills a store with `events` over `streams`; answers each stream's version.
pub fn fill(store: &Store, events: usize, streams: usize) -> Vec<u64> {
    let mut writer = Writer::new(0, 1, streams);
    let mut first_round = 0..streams.min(events);
    let mut left = events;
    let mut last = None;
    while left > 0 {
        let mut batch = store.batch();
        for _ in 0..left.min(1_000) {
            let stream = pick(&mut writer, &mut first_round);
            let event = Fact::new(&mut writer.random).event();
            batch = batch.append(writer.name(stream), Expect::Any, [event]);
        }
        left -= left.min(1_000);
        last = Some(batch.submit().unwrap());
    }
    last.unwrap().wait().unwrap();
    writer.versions
}

/// The same events in the same order.
pub fn fill_bare(bare: &Bare, events: usize, streams: usize) {
    let mut writer = Writer::new(0, 1, streams);
    let mut first_round = 0..streams.min(events);
    for _ in 0..events {
        let stream = pick(&mut writer, &mut first_round);
        let fact = Fact::new(&mut writer.random);
        let version = writer.versions[stream] - 1;
        bare.append(writer.name(stream), version, &[fact]).unwrap();
    }
    bare.sync();
}

/// Every stream once, then by Zipf.
fn pick(writer: &mut Writer, first_round: &mut std::ops::Range<usize>) -> usize {
    match first_round.next() {
        Some(stream) => {
            writer.versions[stream] += 1;
            stream
        }
        None => writer.next(1).0,
    }
}

/// What a number of iterations amounts to.
#[derive(Clone, Copy)]
pub enum Unit {
    /// So many events each: more is better, the ratio is of rates.
    Events(usize),
    /// One operation each: less is better, the ratio is of times.
    Time,
}

impl Unit {
    fn show(self, times: u64, took: Duration) -> String {
        let seconds = took.as_secs_f64();
        match self {
            Self::Events(events) => {
                format!("{} ev/s", rounded(events as f64 * times as f64 / seconds))
            }
            Self::Time => micros(seconds * 1e6 / times as f64),
        }
    }

    fn ratio(self, factlog: Duration, other: Duration) -> f64 {
        match self {
            Self::Events(_) => other.as_secs_f64() / factlog.as_secs_f64(),
            Self::Time => factlog.as_secs_f64() / other.as_secs_f64(),
        }
    }
}

pub fn micros(value: f64) -> String {
    if value.abs() >= 1000.0 {
        format!("{:.2} ms", value / 1000.0)
    } else if value.abs() >= 10.0 {
        format!("{value:.1} us")
    } else {
        format!("{value:.2} us")
    }
}

fn rounded(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// One side of a comparison: does the work so many times, and says how long it took.
pub type Side<'a> = dyn FnMut(u64) -> Duration + 'a;

/// What is compared: its name, what an iteration amounts to, and iterations per round.
pub struct Work<'a> {
    pub name: &'a str,
    pub unit: Unit,
    pub times: u64,
}

/// Whether the command line asks for this comparison: its first word is a part of the name.
pub fn wanted(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    words.next().is_none_or(|word| name.contains(&word))
}

/// Criterion's group `NAME` with `factlog` and `bare`, then the line with their ratio.
pub fn compare(
    criterion: &mut Criterion,
    work: &Work<'_>,
    factlog: &mut Side<'_>,
    bare: &mut Side<'_>,
) {
    if !wanted(work.name) {
        return;
    }
    let mut group = criterion.benchmark_group(work.name);
    if let Unit::Events(events) = work.unit {
        group.throughput(Throughput::Elements(events as u64));
    }
    group.bench_function("factlog", |bencher| bencher.iter_custom(&mut *factlog));
    group.bench_function("bare", |bencher| bencher.iter_custom(&mut *bare));
    group.finish();
    in_turns(work, ("factlog", factlog), ("bare", bare));
}

/// The median over rounds in which each goes once, first and second in turn; answers the ratio.
pub fn in_turns(
    work: &Work<'_>,
    (one, left): (&str, &mut Side<'_>),
    (other, right): (&str, &mut Side<'_>),
) -> f64 {
    left(work.times.div_ceil(10));
    right(work.times.div_ceil(10));
    let rounds = size(11, 3);
    let mut taken: Vec<(f64, Duration, Duration)> = (0..rounds)
        .map(|round| {
            let (left, right) = if round % 2 == 0 {
                let took = left(work.times);
                (took, right(work.times))
            } else {
                let took = right(work.times);
                (left(work.times), took)
            };
            (work.unit.ratio(left, right), left, right)
        })
        .collect();
    taken.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (low, middle, high) = (taken[0], taken[rounds / 2], taken[rounds - 1]);
    println!(
        "{}: {one} {}, {other} {}, ratio {:.2} ({:.2}..{:.2})",
        work.name,
        work.unit.show(work.times, middle.1),
        work.unit.show(work.times, middle.2),
        middle.0,
        low.0,
        high.0,
    );
    middle.0
}

/// How criterion measures here: the ratios need no more.
pub fn criterion() -> Criterion {
    let (warm_up, measure) = if quick() { (5, 20) } else { (200, 1_000) };
    Criterion::default()
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measure))
        .sample_size(10)
        .without_plots()
        .configure_from_args()
}

/// Times `act` so many times.
pub fn timed(times: u64, mut act: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        act();
    }
    start.elapsed()
}

/// The value below which `share` of the sorted values lie.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Bytes that the files of a directory take on disk.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}
