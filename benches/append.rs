//! Appends beside the bare limit: W1, W2, W3, W4, and importing.
//!
//! Knows: how each side is asked to append; `workload` has the events and the turns. Input is made
//! before the clock starts, on both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, clippy::cast_sign_loss, reason = "a benchmark")]
#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "a benchmark")]

mod bare;
mod workload;

use std::time::{Duration, Instant};

use bare::Bare;
use criterion::Criterion;
use factlog::{Durability, Expect, NewEvent, Store, Version};
use workload::{Fact, Unit, Work, Writer, compare, criterion, folder, size};

const STREAMS: usize = 10_000;

/// What one thread will append in a round: stream, its version, events.
type Plan<E> = Vec<(usize, u64, Vec<E>)>;

fn plan(writer: &mut Writer, times: u64, events: usize) -> Plan<Fact> {
    let next = |_| {
        let (stream, version) = writer.next(events);
        (stream, version, writer.facts(events))
    };
    (0..times).map(next).collect()
}

fn as_events(plan: Plan<Fact>) -> Plan<NewEvent> {
    let events = |facts: Vec<Fact>| facts.into_iter().map(Fact::event).collect();
    plan.into_iter().map(|(stream, version, facts)| (stream, version, events(facts))).collect()
}

/// Runs every thread's plan; answers the time from the first start to the last end.
fn run<E: Send>(
    writers: &mut [Writer],
    plans: Vec<Plan<E>>,
    append: impl Fn(&str, u64, Vec<E>) + Sync,
) -> Duration {
    if let ([writer], [_]) = (&*writers, plans.as_slice()) {
        let start = Instant::now();
        for (stream, version, events) in plans.into_iter().flatten() {
            append(writer.name(stream), version, events);
        }
        return start.elapsed();
    }
    let barrier = std::sync::Barrier::new(writers.len() + 1);
    std::thread::scope(|scope| {
        for (writer, plan) in writers.iter().zip(plans) {
            let (append, barrier) = (&append, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for (stream, version, events) in plan {
                    append(writer.name(stream), version, events);
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    })
}

/// Appends by so many threads, in batches of so many events.
struct Shape<'a> {
    name: &'a str,
    threads: usize,
    events: usize,
    times: usize,
    syncs: bool,
}

fn appends(criterion: &mut Criterion, shape: &Shape<'_>) {
    if !workload::wanted(shape.name) {
        return;
    }
    let folder = folder();
    let durability = if shape.syncs { Durability::Sync } else { Durability::Os };
    let store = Store::options().durability(durability).open(folder.path().join("store")).unwrap();
    let bare = Bare::create(folder.path(), size(512 << 20, 64 << 20) as u64, shape.syncs);
    let writers = || -> Vec<Writer> {
        (0..shape.threads).map(|thread| Writer::new(thread, shape.threads, STREAMS)).collect()
    };
    let (mut for_store, mut for_bare) = (writers(), writers());
    let plans = |writers: &mut [Writer], times: u64| -> Vec<Plan<Fact>> {
        let each = times.div_ceil(shape.threads as u64);
        writers.iter_mut().map(|writer| plan(writer, each, shape.events)).collect()
    };
    let mut factlog = |times: u64| {
        let plans = plans(&mut for_store, times).into_iter().map(as_events).collect();
        run(&mut for_store, plans, |stream, version, events| {
            store.append(stream, Expect::Version(Version::new(version)), events).unwrap();
        })
    };
    let mut limit = |times: u64| {
        let plans = plans(&mut for_bare, times);
        bare.make_room();
        run(&mut for_bare, plans, |stream, version, facts: Vec<Fact>| {
            bare.append(stream, version, &facts).unwrap();
        })
    };
    let work =
        Work { name: shape.name, unit: Unit::Events(shape.events), times: shape.times as u64 };
    compare(criterion, &work, &mut factlog, &mut limit);
    store.close().unwrap();
}

/// Many batches handed over without waiting for each; the limit appends them one by one.
fn import(criterion: &mut Criterion) {
    const EVENTS: usize = 1_000;
    if !workload::wanted("import") {
        return;
    }
    let folder = folder();
    let store = Store::open(folder.path().join("store")).unwrap();
    let bare = Bare::create(folder.path(), size(512 << 20, 64 << 20) as u64, true);
    let (mut ours, mut theirs) = (Writer::new(0, 1, STREAMS), Writer::new(0, 1, STREAMS));
    let mut factlog = |times: u64| {
        let plan = as_events(plan(&mut ours, times, EVENTS));
        let start = Instant::now();
        let submit = |(stream, version, events): (usize, u64, Vec<NewEvent>)| {
            let expect = Expect::Version(Version::new(version));
            store.batch().append(ours.name(stream), expect, events).submit().unwrap()
        };
        let tickets: Vec<_> = plan.into_iter().map(submit).collect();
        tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
        start.elapsed()
    };
    let mut limit = |times: u64| {
        let plan = plan(&mut theirs, times, EVENTS);
        bare.make_room();
        let start = Instant::now();
        for (stream, version, facts) in plan {
            bare.append(theirs.name(stream), version, &facts).unwrap();
        }
        start.elapsed()
    };
    let times = size(100, 10) as u64;
    let work = Work { name: "import", unit: Unit::Events(EVENTS), times };
    compare(criterion, &work, &mut factlog, &mut limit);
    store.close().unwrap();
}

fn main() {
    let mut criterion = criterion();
    let shapes = [
        ("W1_one_thread", 1, 1, size(1_000, 50), true),
        ("W2_16_threads", 16, 1, size(16_000, 320), true),
        ("W2_64_threads", 64, 1, size(32_000, 640), true),
        ("W3_batches_of_100", 1, 100, size(500, 20), true),
        ("W3_batches_of_1000", 1, 1_000, size(100, 10), true),
        ("W4_not_synced", 1, 1, size(50_000, 1_000), false),
    ];
    for (name, threads, events, times, syncs) in shapes {
        appends(&mut criterion, &Shape { name, threads, events, times, syncs });
    }
    import(&mut criterion);
    criterion.final_summary();
}
