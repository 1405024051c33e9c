//! S1: from the return of an append to a subscriber, also beside idle ones; and to a follower.
//!
//! Knows: how to take both moments. Does not know: who wakes whom first, so a difference may be
//! below zero. The limit is the bare log, whose subscriber is woken before the appender; beside it
//! stands what one wake-up of a thread takes here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, clippy::cast_sign_loss, reason = "a benchmark")]
#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "a benchmark")]

mod bare;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bare::Bare;
use criterion::Criterion;
use crossbeam_channel::{Receiver, Sender, unbounded};
use factlog::{Delivery, Expect, Source, Start, Store, Subscription};
use parking_lot::{Condvar, Mutex};
use workload::{Fact, Random, criterion, folder, micros, percentile, size, wanted};

/// Each event's moments: when its append began and returned, when it was delivered.
type Moments = Vec<[Instant; 3]>;

/// Appends one after the other while `deliver` takes them on another thread.
fn moments(
    events: usize,
    mut append: impl FnMut(),
    deliver: impl FnOnce(&mut dyn FnMut() -> bool) + Send,
) -> Moments {
    std::thread::scope(|scope| {
        let subscriber = scope.spawn(move || {
            let mut delivered = Vec::with_capacity(events);
            deliver(&mut || {
                delivered.push(Instant::now());
                delivered.len() == events
            });
            delivered
        });
        // The subscriber should sleep when the first event comes.
        std::thread::sleep(Duration::from_millis(5));
        let mut appended = Vec::with_capacity(events);
        for _ in 0..events {
            let began = Instant::now();
            append();
            appended.push((began, Instant::now()));
        }
        let delivered = subscriber.join().unwrap();
        let all = appended.into_iter().zip(delivered);
        all.map(|((began, returned), delivered)| [began, returned, delivered]).collect()
    })
}

fn through(store: &Store, from: &Store, events: usize) -> Moments {
    let mut random = Random(store.last_position().get());
    let mut facts: Vec<Fact> = (0..events).map(|_| Fact::new(&mut random)).collect();
    while from.last_position() < store.last_position() {
        std::thread::yield_now();
    }
    let mut subscription = from.subscribe(Source::All).start(Start::End).unwrap();
    let append = || {
        let event = facts.pop().unwrap().event();
        store.append("Order-000001", Expect::Any, [event]).unwrap();
    };
    moments(events, append, move |delivered| {
        loop {
            if matches!(subscription.next().unwrap(), Delivery::Event(_)) && delivered() {
                return;
            }
        }
    })
}

fn through_bare(bare: &Bare, version: &mut u64, events: usize) -> Moments {
    let mut random = Random(*version);
    let mut facts: Vec<Fact> = (0..events).map(|_| Fact::new(&mut random)).collect();
    let mut seen = bare.end();
    let append = || {
        bare.append("Order-000001", *version, &[facts.pop().unwrap()]).unwrap();
        *version += 1;
    };
    moments(events, append, move |delivered| {
        let mut done = false;
        while !done {
            seen = bare.follow(seen, Duration::from_secs(10), |_| done |= delivered());
        }
    })
}

/// Microseconds from one moment to another; below zero when the other came first.
fn between(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(after) => after.as_secs_f64() * 1e6,
        None => -(from - to).as_secs_f64() * 1e6,
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all
}

/// From the return of the append to the delivery.
fn late(moments: &Moments) -> Vec<f64> {
    sorted(moments.iter().map(|[_, returned, delivered]| between(*returned, *delivered)))
}

/// From the beginning of the append to the delivery: the median.
fn whole(moments: &Moments) -> f64 {
    let all = sorted(moments.iter().map(|[began, _, delivered]| between(*began, *delivered)));
    percentile(&all, 0.5)
}

/// What it takes to wake a thread by a condition variable.
fn wake_ups(times: usize) -> Vec<f64> {
    let (state, moved) = (Mutex::new((0, Instant::now())), Condvar::new());
    let mut taken = Vec::with_capacity(times);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = state.lock();
            for round in 1..=times {
                while state.0 < round {
                    moved.wait(&mut state);
                }
                taken.push(state.1.elapsed().as_secs_f64() * 1e6);
            }
        });
        for round in 1..=times {
            std::thread::sleep(Duration::from_micros(200));
            *state.lock() = (round, Instant::now());
            moved.notify_all();
        }
    });
    taken.sort_by(f64::total_cmp);
    taken
}

fn show(times: &[f64]) -> String {
    format!("{} / {}", micros(percentile(times, 0.5)), micros(percentile(times, 0.99)))
}

/// Subscriptions without events on one thread, the way an async runtime drives them: who is woken
/// is polled again.
struct Idle {
    stop: Arc<AtomicBool>,
    polls: Arc<AtomicU64>,
    woken: Sender<usize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Waking(usize, Sender<usize>);

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        let _ = self.1.send(self.0);
    }
}

impl Idle {
    fn start(store: &Store, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let polls = Arc::new(AtomicU64::new(0));
        let (woken, ready) = unbounded();
        let subscribe = |number: usize| {
            let source = Source::stream(format!("Quiet-{number}").as_str()).unwrap();
            let subscription = store.subscribe(source).start(Start::End).unwrap();
            (subscription, Waker::from(Arc::new(Waking(number, woken.clone()))))
        };
        let all: Vec<_> = (0..count).map(subscribe).collect();
        (0..count).for_each(|number| woken.send(number).unwrap());
        let (stopped, counted) = (stop.clone(), polls.clone());
        let thread = std::thread::spawn(move || Self::drive(all, &ready, &stopped, &counted));
        let idle = Self { stop, polls, woken, thread: Some(thread) };
        while idle.polls.load(Ordering::Relaxed) < 2 * count as u64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        idle
    }

    fn drive(
        mut all: Vec<(Subscription, Waker)>,
        ready: &Receiver<usize>,
        stop: &AtomicBool,
        polls: &AtomicU64,
    ) {
        while let Ok(number) = ready.recv() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let Some((subscription, waker)) = all.get_mut(number) else { continue };
            let mut context = Context::from_waker(waker);
            loop {
                polls.fetch_add(1, Ordering::Relaxed);
                match subscription.poll_next(&mut context) {
                    Poll::Ready(delivery) => drop(delivery.unwrap()),
                    Poll::Pending => break,
                }
            }
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.woken.send(usize::MAX);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One line: p50 / p99 from return to delivery, pooled over rounds in turns. That may lie on either
/// side of zero, so the ratio is of the medians from the beginning of the append to the delivery.
fn line(name: &str, factlog: &mut dyn FnMut() -> Moments, other: &mut dyn FnMut() -> Moments) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..size(11, 3) {
        let (left, right) = if round % 2 == 0 {
            let left = factlog();
            (left, other())
        } else {
            let right = other();
            (factlog(), right)
        };
        ratios.push(whole(&left) / whole(&right));
        ours.extend(late(&left));
        theirs.extend(late(&right));
    }
    for all in [&mut ours, &mut theirs, &mut ratios] {
        all.sort_by(f64::total_cmp);
    }
    println!(
        "{name}: factlog {}, bare {}, ratio {:.2} ({:.2}..{:.2})",
        show(&ours),
        show(&theirs),
        percentile(&ratios, 0.5),
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

fn bench(criterion: &mut Criterion, name: &str, round: &mut dyn FnMut() -> Moments) {
    let mut group = criterion.benchmark_group(name);
    group.bench_function("factlog", |bencher| {
        bencher.iter_custom(|times| {
            // From the beginning of each append to its delivery.
            let mut moments = Vec::new();
            while (moments.len() as u64) < times {
                moments.extend(round());
            }
            let took = |[began, _, delivered]: &[Instant; 3]| *delivered - *began;
            moments.iter().take(times as usize).map(took).sum()
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = criterion();
    let folder = folder();
    let place = folder.path().join("store");
    let store = Store::open(&place).unwrap();
    let bare = Bare::create(folder.path(), size(256 << 20, 64 << 20) as u64, true);
    let (mut version, events) = (0, size(1_000, 50));
    let mut limit = || through_bare(&bare, &mut version, events);
    let wake = wake_ups(size(5_000, 100));
    println!("thread_wake_up: {} (p50 / p99)", show(&wake));
    if wanted("S1_subscriber") {
        bench(&mut criterion, "S1_subscriber", &mut || through(&store, &store, 100));
        line("S1_subscriber", &mut || through(&store, &store, events), &mut limit);
    }
    for count in [1, 100, size(10_000, 1_000)] {
        let name = format!("S1_beside_{count}_idle");
        if wanted(&name) {
            let idle = Idle::start(&store, count);
            let before = idle.polls.load(Ordering::Relaxed);
            line(&name, &mut || through(&store, &store, events), &mut limit);
            let polls = idle.polls.load(Ordering::Relaxed) - before;
            let commits = (size(11, 3) * events) as u64;
            println!("{name}: {:.1} polls of idle ones per append", polls as f64 / commits as f64);
        }
    }
    if wanted("follower") {
        let follower = Store::open_read_only(&place).unwrap();
        line("follower", &mut || through(&store, &follower, events), &mut limit);
        follower.close().unwrap();
    }
    store.close().unwrap();
    criterion.final_summary();
}
