//! Growth: what must stay flat, measured at several sizes of one store.
//!
//! Knows: sizes; `FACTLOG_BENCH_EVENTS` adds one, such as 10000000 (a few minutes, 8 GB of disk).
//! Does not know: a limit: each size is compared with the one before it, in rounds that take turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, clippy::cast_sign_loss, reason = "a benchmark")]
#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "a benchmark")]

mod bare;
mod workload;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use factlog::{Durability, Expect, NewEvent, Position, Query, Store, Version};
use workload::{Fact, Random, Side, Unit, Work, fill, folder, in_turns, size, stream_name, timed};

const STREAMS: usize = 10_000;

struct Grown {
    store: Option<Store>,
    versions: Vec<u64>,
    events: usize,
    random: Random,
    folder: tempfile::TempDir,
}

impl Grown {
    fn new(events: usize) -> Self {
        let folder = folder();
        let place = folder.path().join("store");
        let store = Store::options().durability(Durability::Os).open(&place).unwrap();
        let versions = fill(&store, events, STREAMS.min(events / 2));
        store.close().unwrap();
        let store = Some(Store::open(&place).unwrap());
        Self { store, versions, events, random: Random(7), folder }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// A durable append of one event.
    fn append(&mut self, times: u64) -> Duration {
        let new = |_| {
            let stream = self.random.below(self.versions.len());
            (stream_name(stream), Fact::new(&mut self.random).event())
        };
        let mut events = (0..times).map(new).collect::<Vec<_>>().into_iter();
        timed(times, || {
            let (stream, event) = events.next().unwrap();
            self.store().append(stream.as_str(), Expect::StreamExists, [event]).unwrap();
        })
    }

    fn scan(&mut self, times: u64) -> Duration {
        // As many events at every size: growth must not slow an event down.
        timed(times, || {
            let read = self.store().read_all().limit(10_000);
            read.for_each(|event| {
                black_box(event.data());
                ControlFlow::Continue(())
            })
            .unwrap();
        })
    }

    fn one_event(&mut self, times: u64) -> Duration {
        let pick = |_| {
            let stream = self.random.below(self.versions.len());
            let version = self.random.below(self.versions[stream] as usize) as u64 + 1;
            (stream_name(stream), Version::new(version))
        };
        let mut picked = (0..times).map(pick).collect::<Vec<_>>().into_iter();
        timed(times, || {
            let (stream, version) = picked.next().unwrap();
            black_box(self.store().stream_event(stream.as_str(), version).unwrap().unwrap());
        })
    }

    /// The last hundred events of a stream.
    fn stream_end(&mut self, times: u64) -> Duration {
        let pick = |_| stream_name(self.random.below(self.versions.len()));
        let mut picked = (0..times).map(pick).collect::<Vec<_>>().into_iter();
        timed(times, || {
            let stream = picked.next().unwrap();
            let read = self.store().read_stream(stream.as_str()).backward().limit(100);
            black_box(read.count().unwrap());
        })
    }

    fn retry(&mut self, times: u64) -> Duration {
        let pick = |_| {
            let position = Position::new(self.random.below(self.events) as u64 + 1);
            let event = self.store().event_at(position).unwrap().unwrap();
            (event.stream().to_owned(), NewEvent::binary("T", "").id(event.id()))
        };
        let mut picked = (0..times).map(pick).collect::<Vec<_>>().into_iter();
        timed(times, || {
            let (stream, event) = picked.next().unwrap();
            assert!(self.store().append(stream.as_str(), Expect::Any, [event]).unwrap().already);
        })
    }

    fn condition(&mut self, times: u64) -> Duration {
        let last = self.store().last_position();
        timed(times, || {
            let query = Query::tags([format!("customer:{}", self.random.below(10_000))]);
            self.store().batch().condition(query, last).commit().unwrap();
        })
    }

    fn open(&mut self, times: u64) -> Duration {
        let once = |_| {
            self.store.take().unwrap().close().unwrap();
            let start = Instant::now();
            let store = Store::open(self.folder.path().join("store")).unwrap();
            let took = start.elapsed();
            self.store = Some(store);
            took
        };
        (0..times).map(once).sum()
    }
}

type Measure = fn(&mut Grown, u64) -> Duration;

fn main() {
    let (small, middle) = (10_000, size(1_000_000, 20_000));
    let asked = std::env::var("FACTLOG_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let sizes: Vec<usize> = [Some(small), Some(middle), asked].into_iter().flatten().collect();
    let mut grown: Vec<Grown> = sizes.iter().map(|events| Grown::new(*events)).collect();
    let measures: [(&str, usize, Measure); 7] = [
        ("append", 500, Grown::append),
        ("scan_of_10000", 5, Grown::scan),
        ("one_event", 20_000, Grown::one_event),
        ("last_100_of_a_stream", 1_000, Grown::stream_end),
        ("retry", 5_000, Grown::retry),
        ("condition", 5_000, Grown::condition),
        ("open", 3, Grown::open),
    ];
    for (what, times, measure) in measures {
        for at in 1..sizes.len() {
            let (before, after) = grown.split_at_mut(at);
            let (smaller, larger) = (&mut before[at - 1], &mut after[0]);
            let name = format!("growth_{what}_{}", larger.events);
            let times = size(times, times.div_ceil(50)) as u64;
            let work = Work { name: &name, unit: Unit::Time, times };
            let label = format!("at {} events", smaller.events);
            let left: &mut Side<'_> = &mut |times| measure(larger, times);
            in_turns(&work, ("factlog", left), (&label, &mut |times| measure(smaller, times)));
        }
    }
}
