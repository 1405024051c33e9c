//! Reads beside the bare limit: R1 full scan, R2 a whole stream, R3 one event; and the events of a
//! category and of a type.
//!
//! Knows: one store of a million events in page cache, closed and opened again. Does not know: how
//! reading works. Both sides check every checksum and touch every byte of data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, clippy::cast_sign_loss, reason = "a benchmark")]
#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "a benchmark")]

mod bare;
mod workload;

use std::hint::black_box;
use std::ops::ControlFlow;

use bare::Bare;
use criterion::Criterion;
use factlog::{Durability, Query, Read, Store, Version};
use workload::{
    EVENT_TYPE, Random, Unit, Work, compare, criterion, fill, fill_bare, folder, size, stream_name,
    timed,
};

const STREAMS: usize = 10_000;

struct Pair {
    store: Store,
    bare: Bare,
    versions: Vec<u64>,
    events: usize,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let events = size(1_000_000, 20_000);
        let streams = size(STREAMS, STREAMS / 50);
        let folder = folder();
        let place = folder.path().join("store");
        let store = Store::options().durability(Durability::Os).open(&place).unwrap();
        let versions = fill(&store, events, streams);
        store.close().unwrap();
        let bare = Bare::create(folder.path(), events as u64 * 448, false);
        fill_bare(&bare, events, streams);
        Self { store: Store::open(&place).unwrap(), bare, versions, events, _folder: folder }
    }
}

/// Folds every byte, eight at a time.
fn touch(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let sum = words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// Visits all; answers how many events.
fn visit(read: Read) -> usize {
    let (mut events, mut sum) = (0, 0u64);
    read.for_each(|event| {
        events += 1;
        sum = sum.wrapping_add(touch(event.data()));
        ControlFlow::Continue(())
    })
    .unwrap();
    black_box(sum);
    events
}

fn scan(criterion: &mut Criterion, pair: &Pair) {
    let work = Work { name: "R1_full_scan", unit: Unit::Events(pair.events), times: 1 };
    let mut factlog =
        |times| timed(times, || assert_eq!(visit(pair.store.read_all()), pair.events));
    let mut limit = |times| {
        timed(times, || {
            let mut sum = 0u64;
            let events = pair.bare.scan(|record| sum = sum.wrapping_add(touch(record.data)));
            black_box(sum);
            assert_eq!(events, pair.events as u64);
        })
    };
    compare(criterion, &work, &mut factlog, &mut limit);
    let work = Work { name: "R1_full_scan_owned_events", ..work };
    let mut owned = |times| {
        timed(times, || {
            let events =
                pair.store.read_all().into_iter().map(|event| touch(event.unwrap().data()));
            black_box(events.fold(0, u64::wrapping_add));
        })
    };
    compare(criterion, &work, &mut owned, &mut limit);
}

fn streams(criterion: &mut Criterion, pair: &Pair) {
    let middling = |version: &&(usize, u64)| (80..=120).contains(&version.1);
    let numbered: Vec<(usize, u64)> = pair.versions.iter().copied().enumerate().collect();
    let chosen: Vec<(String, u64)> = numbered
        .iter()
        .filter(middling)
        .map(|(stream, version)| (stream_name(*stream), *version))
        .collect();
    assert!(!chosen.is_empty(), "no stream of 80 to 120 events");
    let mut randoms = [Random(1), Random(1), Random(2), Random(2)];
    let [whole, whole_bare, one, one_bare] = &mut randoms;
    let mut factlog = |times| {
        timed(times, || {
            let (stream, version) = &chosen[whole.below(chosen.len())];
            assert_eq!(visit(pair.store.read_stream(stream)), *version as usize);
        })
    };
    let mut limit = |times| {
        timed(times, || {
            let (stream, version) = &chosen[whole_bare.below(chosen.len())];
            let mut sum = 0u64;
            let visit = |record: bare::Record<'_>| sum = sum.wrapping_add(touch(record.data));
            assert_eq!(pair.bare.read_stream(stream, visit), *version as usize);
            black_box(sum);
        })
    };
    let times = size(2_000, 50) as u64;
    let work = Work { name: "R2_whole_stream", unit: Unit::Time, times };
    compare(criterion, &work, &mut factlog, &mut limit);
    let mut factlog = |times| {
        timed(times, || {
            let (stream, versions) = &chosen[one.below(chosen.len())];
            let version = Version::new(one.below(*versions as usize) as u64 + 1);
            let event = pair.store.stream_event(stream, version).unwrap().unwrap();
            black_box(touch(event.data()));
        })
    };
    let mut limit = |times| {
        timed(times, || {
            let (stream, versions) = &chosen[one_bare.below(chosen.len())];
            let version = one_bare.below(*versions as usize) as u64 + 1;
            assert!(pair.bare.read_one(stream, version, |record| {
                black_box(touch(record.data));
            }));
        })
    };
    let work = Work { name: "R3_one_event", times: size(50_000, 500) as u64, ..work };
    compare(criterion, &work, &mut factlog, &mut limit);
}

/// All events are of one category and one type here: the limit is the same full scan. What it costs
/// to find few among many is in `query.rs`.
fn through_the_index(criterion: &mut Criterion, pair: &Pair) {
    let mut limit = |times| {
        timed(times, || {
            let mut sum = 0u64;
            pair.bare.scan(|record| sum = sum.wrapping_add(touch(record.data)));
            black_box(sum);
        })
    };
    let work = Work { name: "category_of_all", unit: Unit::Events(pair.events), times: 1 };
    let mut category =
        |times| timed(times, || assert_eq!(visit(pair.store.read_category("Order")), pair.events));
    compare(criterion, &work, &mut category, &mut limit);
    let work = Work { name: "type_of_all", ..work };
    let mut of_type = |times| {
        timed(times, || {
            assert_eq!(visit(pair.store.read(Query::types([EVENT_TYPE]))), pair.events);
        })
    };
    compare(criterion, &work, &mut of_type, &mut limit);
}

fn main() {
    let mut criterion = criterion();
    let pair = Pair::new();
    scan(&mut criterion, &pair);
    streams(&mut criterion, &pair);
    through_the_index(&mut criterion, &pair);
    pair.store.close().unwrap();
    criterion.final_summary();
}
