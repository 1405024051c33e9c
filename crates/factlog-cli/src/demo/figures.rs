//! The demo's last act: this disk's own figures.
//!
//! Knows: how each is measured. Does not know: what would be good.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use factlog::{Delivery, Expect, NewEvent, Source, Start, Store, Version};

use super::place::Place;
use super::{Story, disproved};
use crate::exit::Failure;
use crate::output::{counted, grouped};

const MEASURE: Duration = Duration::from_millis(1500);
const WRITERS: u64 = 16;
const LATENCIES: u64 = 500;
const REOPENS: usize = 5;

/// Measures and prints.
pub fn act(story: &mut Story, store: Store, dir: &Path, place: &Place) -> Result<(), Failure> {
    story.act("This disk's own figures")?;
    let alone = durable_appends(&store, 1)?;
    let together = durable_appends(&store, WRITERS)?;
    story.tell(format!(
        "durable appends, each on disk before it returns:\n  \
         1 thread     {:>9} a second\n  {WRITERS} threads   {:>9} a second",
        grouped(alone),
        grouped(together),
    ))?;
    let (middle, most) = latencies(&store)?;
    let middle = match middle {
        0 => "half have it before".to_owned(),
        middle => format!("half within {middle} µs"),
    };
    story.tell(format!(
        "from an append's return to a subscriber in another thread: \
         {middle}, 99 of 100 within {most} µs"
    ))?;
    let events = store.stats().events;
    let (_store, millis) = reopen(store, dir)?;
    story
        .tell(format!("closed and open again with {}: {millis:.1} ms", counted(events, "event")))?;
    if place.is_memory() {
        story.tell("this is memory and not a disk; set TMPDIR to a directory on one")?;
    }
    Ok(())
}

fn event(n: u64) -> Result<NewEvent, factlog::Error> {
    let text = "x".repeat(200);
    NewEvent::json("Measured", &serde_json::json!({ "n": n, "text": text }))
}

/// Appends of one event each, by so many threads, a second.
fn durable_appends(store: &Store, writers: u64) -> Result<u64, Failure> {
    let begun = Instant::now();
    let threads: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            thread::spawn(move || -> Result<u64, factlog::Error> {
                let stream = format!("Figure-{writers}-{writer}");
                let mut done = 0;
                while begun.elapsed() < MEASURE {
                    store.append(&stream, Expect::Version(Version::new(done)), [event(done)?])?;
                    done += 1;
                }
                Ok(done)
            })
        })
        .collect();
    let mut done = 0;
    for thread in threads {
        done += thread.join().map_err(|_| disproved("a writing thread died"))??;
    }
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(done.saturating_mul(1_000_000) / micros.max(1))
}

/// Microseconds from the return of an append until a subscriber has the event: the median and the
/// 99th of 100. A subscriber that has it before counts as 0.
fn latencies(store: &Store) -> Result<(u64, u64), Failure> {
    let (send, receive) = mpsc::channel();
    let start = Start::After(store.last_position());
    let mut subscription = store.subscribe(Source::All).start(start)?;
    let reader = thread::spawn(move || -> Result<(), factlog::Error> {
        let mut seen = 0;
        while seen < LATENCIES {
            if let Delivery::Event(event) = subscription.next()? {
                seen += 1;
                let _ = send.send((event.position(), Instant::now()));
            }
        }
        Ok(())
    });
    let mut micros = Vec::new();
    for n in 0..LATENCIES {
        let answer = store.append("Figure-latency", Expect::Any, [event(n)?])?;
        let returned = Instant::now();
        let seen = receive.recv_timeout(Duration::from_secs(10));
        let (position, at) = seen.map_err(|_| disproved("a subscriber saw nothing"))?;
        if position != answer.last {
            return Err(disproved("a subscriber saw another event"));
        }
        let late = at.saturating_duration_since(returned).as_micros();
        micros.push(u64::try_from(late).unwrap_or(u64::MAX));
    }
    reader.join().map_err(|_| disproved("a subscriber died"))??;
    micros.sort_unstable();
    let at = |part: usize| micros.get(micros.len() * part / 100).copied().unwrap_or_default();
    Ok((at(50), at(99)))
}

/// The median time of an opening, in milliseconds.
fn reopen(mut store: Store, dir: &Path) -> Result<(Store, f64), Failure> {
    let mut times = Vec::new();
    for _ in 0..REOPENS {
        store.close()?;
        let begun = Instant::now();
        store = Store::open(dir)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((store, times.get(REOPENS / 2).copied().unwrap_or_default()))
}
