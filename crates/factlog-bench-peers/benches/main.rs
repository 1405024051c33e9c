//! factlog beside other stores: the same events, the same durability, in turns within one process.
//!
//! Knows: the workloads. Does not know: any store but this one. The first word of the command line
//! chooses by name, as in `W1` or `sqlite`; `FACTLOG_BENCH_EVENTS` says how many events the reads
//! go over (200,000); `FACTLOG_BENCH_QUICK=1` shows in a minute that everything runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

#[path = "../../../benches/bare/mod.rs"]
mod bare;
mod fjall_peer;
mod keys;
mod ours;
mod peer;
mod postgres_peer;
mod redb_peer;
mod sqlite_peer;
mod tephra_peer;
mod umadb_peer;
#[path = "../../../benches/workload/mod.rs"]
mod workload;

use std::path::Path;
use std::time::{Duration, Instant};

use ours::{Factlog, Limit};
use peer::{Grouped, Part, Peer};
use workload::{
    Fact, Random, Unit, Work, Writer, folder, in_turns, micros, percentile, quick, size,
    stream_name, timed, wanted,
};

const STREAMS: usize = 10_000;

/// A store in a directory of its own.
struct Contestant {
    name: &'static str,
    open: fn(&Path) -> Result<Box<dyn Peer>, String>,
    /// A transaction per batch and no group commit: many threads only queue up.
    alone: bool,
}

const fn contestant(
    name: &'static str,
    alone: bool,
    open: fn(&Path) -> Result<Box<dyn Peer>, String>,
) -> Contestant {
    Contestant { name, open, alone }
}

const CONTESTANTS: &[Contestant] = &[
    contestant("bare", false, |place| Ok(Box::new(Limit::open(place)))),
    contestant("sqlite", true, |place| Ok(Box::new(sqlite_peer::Sqlite::open(place)))),
    contestant("sqlite_grouped", false, |place| {
        Ok(Box::new(Grouped::over(sqlite_peer::Sqlite::open(place))))
    }),
    contestant("redb", true, |place| Ok(Box::new(redb_peer::Redb::open(place)))),
    contestant("redb_grouped", false, |place| {
        Ok(Box::new(Grouped::over(redb_peer::Redb::open(place))))
    }),
    contestant("fjall", true, |place| Ok(Box::new(fjall_peer::Fjall::open(place)))),
    contestant("umadb", false, |place| Ok(Box::new(umadb_peer::Umadb::open(place)))),
    contestant("tephra", false, |place| Ok(Box::new(tephra_peer::Tephra::open(place)))),
    contestant("postgres", false, |place| {
        postgres_peer::Postgres::open(place).map(|server| Box::new(server) as Box<dyn Peer>)
    }),
];

/// Appends `events` at a time by `threads`, `times` in all.
fn append(peer: &dyn Peer, writers: &mut [Writer], times: u64, events: usize) -> Duration {
    let each = times.div_ceil(writers.len() as u64);
    let plan = |writer: &mut Writer| -> Vec<(usize, u64, Vec<Fact>)> {
        let next = |_| {
            let (stream, version) = writer.next(events);
            (stream, version, writer.facts(events))
        };
        (0..each).map(next).collect()
    };
    let plans: Vec<_> = writers.iter_mut().map(plan).collect();
    let barrier = std::sync::Barrier::new(writers.len() + 1);
    std::thread::scope(|scope| {
        for (writer, plan) in writers.iter().zip(&plans) {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for (stream, version, facts) in plan {
                    let stream = writer.name(*stream);
                    peer.append(Part { stream, version: *version, facts });
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

fn appends(contestant: &Contestant) -> Result<(), String> {
    let shapes = [
        ("W1_one_thread", 1, 1, size(300, 20)),
        ("W2_16_threads", 16, 1, size(3_200, 160)),
        ("W2_64_threads", 64, 1, size(6_400, 320)),
        ("W3_batches_of_100", 1, 100, size(50, 5)),
        ("W3_batches_of_1000", 1, 1_000, size(10, 2)),
    ];
    for (shape, threads, events, times) in shapes {
        let name = format!("{shape}/{}", contestant.name);
        if !wanted(&name) {
            continue;
        }
        let times = if contestant.alone && threads > 1 { times / 4 } else { times } as u64;
        let (place, ours) = (folder(), folder());
        let factlog = Factlog::open(ours.path());
        let other = (contestant.open)(place.path())?;
        let writers = || -> Vec<Writer> {
            (0..threads).map(|thread| Writer::new(thread, threads, STREAMS)).collect()
        };
        let (mut for_us, mut for_other) = (writers(), writers());
        let work = Work { name: &name, unit: Unit::Events(events), times };
        let mut left = |times| append(&factlog, &mut for_us, times, events);
        let mut right = |times| append(&*other, &mut for_other, times, events);
        in_turns(&work, ("factlog", &mut left), (contestant.name, &mut right));
    }
    Ok(())
}

fn events_read() -> usize {
    let asked = std::env::var("FACTLOG_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(size(200_000, 20_000))
}

/// The same events in the same order into each: a stream's batch holds up to 100, so that filling
/// takes minutes and not hours. Streams are used in turns, as interleaved writers do.
fn fill(peer: &dyn Peer, events: usize) -> Vec<u64> {
    let streams = (events / 98).clamp(1, STREAMS);
    let mut versions = vec![0; streams];
    let (mut random, mut left) = (Random(9), events);
    while left > 0 {
        let stream = random.below(streams);
        let facts: Vec<Fact> = (0..left.min(7)).map(|_| Fact::new(&mut random)).collect();
        let version = versions[stream];
        peer.append(Part { stream: &stream_name(stream), version, facts: &facts });
        versions[stream] += facts.len() as u64;
        left -= facts.len();
    }
    versions
}

fn tree_bytes(place: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(place) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => tree_bytes(&entry.path()),
        false => entry.metadata().map_or(0, |data| data.blocks() * 512),
    };
    entries.map(|entry| size(entry.unwrap())).sum()
}

fn reads(contestant: &Contestant) -> Result<(), String> {
    let label = |shape: &str| format!("{shape}/{}", contestant.name);
    let names = ["R1_full_scan", "R2_whole_stream", "R3_one_event", "O1_open_after_close"];
    let names = names.map(label);
    if contestant.name.ends_with("_grouped") || !names.iter().any(|name| wanted(name)) {
        return Ok(());
    }
    let events = events_read();
    let (place, ours) = (folder(), folder());
    let (mut factlog, mut other) = (Factlog::open(ours.path()), (contestant.open)(place.path())?);
    let versions = fill(&factlog, events);
    fill(&*other, events);
    if contestant.name != "postgres" && wanted(&names[3]) {
        drop((factlog, other));
        let per_event = |place: &Path| tree_bytes(place) as f64 / events as f64;
        let work = Work { name: &names[3], unit: Unit::Time, times: 1 };
        let mut left = |times| timed(times, || drop(Factlog::open(ours.path())));
        let mut right = |times| timed(times, || drop((contestant.open)(place.path())));
        // Closing is timed too: some defer to it what others do at opening.
        in_turns(&work, ("factlog", &mut left), (contestant.name, &mut right));
        println!(
            "disk/{}: factlog {:.0} B per event, {} {:.0} B per event",
            contestant.name,
            per_event(ours.path()),
            contestant.name,
            per_event(place.path()),
        );
        factlog = Factlog::open(ours.path());
        other = (contestant.open)(place.path())?;
    }
    let (factlog, other): (&dyn Peer, &dyn Peer) = (&factlog, &*other);
    if wanted(&names[0]) {
        let work = Work { name: &names[0], unit: Unit::Events(events), times: 1 };
        let scan = |peer: &dyn Peer| assert_eq!(peer.scan().1, events as u64);
        let mut left = |times| timed(times, || scan(factlog));
        let mut right = |times| timed(times, || scan(other));
        in_turns(&work, ("factlog", &mut left), (contestant.name, &mut right));
    }
    points(contestant, (factlog, other), &versions, &names[1..3]);
    Ok(())
}

fn points(
    contestant: &Contestant,
    (factlog, other): (&dyn Peer, &dyn Peer),
    versions: &[u64],
    names: &[String],
) {
    let streams = |peer: &dyn Peer, random: &mut Random, times: u64| {
        timed(times, || {
            let stream = random.below(versions.len());
            let events = peer.read_stream(&stream_name(stream));
            assert_eq!(events as u64, versions[stream]);
        })
    };
    let (mut one, mut two) = (Random(1), Random(1));
    if wanted(&names[0]) {
        let work = Work { name: &names[0], unit: Unit::Time, times: size(500, 20) as u64 };
        let mut left = |times| streams(factlog, &mut one, times);
        let mut right = |times| streams(other, &mut two, times);
        in_turns(&work, ("factlog", &mut left), (contestant.name, &mut right));
    }
    if wanted(&names[1]) && other.read_one(&stream_name(0), 1) {
        let events = |peer: &dyn Peer, random: &mut Random, times: u64| {
            timed(times, || {
                let stream = random.below(versions.len());
                let version = random.below(versions[stream] as usize) as u64 + 1;
                assert!(peer.read_one(&stream_name(stream), version));
            })
        };
        let work = Work { name: &names[1], unit: Unit::Time, times: size(5_000, 100) as u64 };
        let mut left = |times| events(factlog, &mut one, times);
        let mut right = |times| events(other, &mut two, times);
        in_turns(&work, ("factlog", &mut left), (contestant.name, &mut right));
    }
}

/// Sorted microseconds from the return of an append to its delivery.
fn late(peer: &dyn Peer, version: &mut u64, events: usize) -> Option<Vec<f64>> {
    let mut next = peer.subscriber()?;
    let delivered = std::thread::spawn(move || {
        let mut delivered = Vec::new();
        while delivered.len() < events {
            let came = next();
            delivered.extend(std::iter::repeat_n(Instant::now(), came));
        }
        delivered
    });
    std::thread::sleep(Duration::from_millis(5));
    let mut random = Random(*version);
    let mut append = |_| {
        let fact = Fact::new(&mut random);
        peer.append(Part { stream: "Order-000001", version: *version, facts: &[fact] });
        *version += 1;
        Instant::now()
    };
    let returned: Vec<Instant> = (0..events).map(&mut append).collect();
    let micros = |(from, to): (Instant, Instant)| match to.checked_duration_since(from) {
        Some(after) => after.as_secs_f64() * 1e6,
        None => -(from - to).as_secs_f64() * 1e6,
    };
    let mut all: Vec<f64> =
        returned.into_iter().zip(delivered.join().unwrap()).map(micros).collect();
    all.sort_by(f64::total_cmp);
    Some(all)
}

fn subscribers(contestant: &Contestant) -> Result<(), String> {
    let name = format!("S1_subscriber/{}", contestant.name);
    if !wanted(&name) {
        return Ok(());
    }
    let (place, ours) = (folder(), folder());
    let factlog = Factlog::open(ours.path());
    let other = (contestant.open)(place.path())?;
    let (mut ours, mut theirs, mut versions) = (Vec::new(), Vec::new(), (0, 0));
    for _ in 0..size(9, 3) {
        let events = size(500, 50);
        let Some(times) = late(&*other, &mut versions.1, events) else { return Ok(()) };
        theirs.extend(times);
        ours.extend(late(&factlog, &mut versions.0, events).unwrap_or_default());
    }
    let show = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        format!("{} / {}", micros(percentile(times, 0.5)), micros(percentile(times, 0.99)))
    };
    println!(
        "{name}: factlog {}, {} {} (p50 / p99 after the append returned)",
        show(&mut ours),
        contestant.name,
        show(&mut theirs),
    );
    Ok(())
}

fn main() {
    if quick() {
        println!("quick: sizes are small, figures mean nothing");
    }
    for contestant in CONTESTANTS {
        for measure in [appends, reads, subscribers] {
            if let Err(why) = measure(contestant) {
                println!("{}: SKIPPED: {why}", contestant.name);
                break;
            }
        }
    }
}
