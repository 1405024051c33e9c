//! What the typed layer costs: a decision beside the append it comes to, on the same store, and a
//! projection beside the scan it rests on.
//!
//! Knows: the public API. Both of a pair take turns in short rounds; each line ends with their
//! ratio: the median over the rounds, and the lowest and highest.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use factlog::{
    Durability, Event, Expect, Model, ModelCache, NewEvent, Position, RecordedEvent, Scope, Store,
    Version,
};
use serde::{Deserialize, Serialize};

const ROUNDS: usize = 15;
const SCANNED: u64 = 200_000;

#[derive(Clone, Event, Serialize, Deserialize)]
enum Bank {
    Deposited { cents: u64, note: String },
}

#[derive(Clone, Default)]
struct Account {
    id: u64,
    balance: u64,
}

impl Model for Account {
    type Event = Bank;

    fn scope(&self) -> Scope {
        Scope::stream("Account", self.id)
    }

    fn apply(&mut self, Bank::Deposited { cents, .. }: Bank) {
        self.balance += cents;
    }
}

fn deposit() -> Bank {
    Bank::Deposited { cents: 5, note: "n".repeat(300) }
}

fn account(id: u64) -> Account {
    Account { id, ..Account::default() }
}

/// Times both in turn; `work` is how much one round of either does.
fn pair(name: &str, work: u32, mut bare: impl FnMut(), mut typed: impl FnMut()) {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let mut rounds: Vec<(f64, Duration, Duration)> = (0..ROUNDS)
        .map(|round| {
            let (bare, typed) = match round % 2 {
                0 => (time(&mut bare), time(&mut typed)),
                _ => {
                    let typed = time(&mut typed);
                    (time(&mut bare), typed)
                }
            };
            (bare.as_secs_f64() / typed.as_secs_f64(), bare, typed)
        })
        .collect();
    rounds.sort_by(|left, right| left.0.total_cmp(&right.0));
    let [low, middle, high] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| *rounds.get(at).unwrap());
    let rate = |took: Duration| f64::from(work) / took.as_secs_f64();
    println!(
        "{name}: typed {:.0}/s, bare {:.0}/s, ratio {:.3} ({:.3} to {:.3})",
        rate(middle.2),
        rate(middle.1),
        middle.0,
        low.0,
        high.0
    );
}

/// Decisions beside the appends they come to; the stream of each grows alike.
fn decisions(name: &str, store: &Store, work: u32) {
    let mut version = store.head("Bare-1").unwrap().map_or(Version::NONE, |head| head.version);
    let mut bare = || {
        for _ in 0..work {
            let event = NewEvent::of(&deposit()).unwrap();
            let appended = store.append("Bare-1", Expect::Version(version), [event]).unwrap();
            version = appended.streams.first().unwrap().last;
        }
    };
    let cache = ModelCache::new(8);
    pair(&format!("{name}, decide, cached"), work, &mut bare, || {
        for _ in 0..work {
            store.decide(cache.of(account(1)), |_| Ok::<_, String>([deposit()])).unwrap();
        }
    });
    pair(&format!("{name}, decide_inside, cached"), work, &mut bare, || {
        for _ in 0..work {
            store.decide_inside(cache.of(account(2)), |_| Ok::<_, String>([deposit()])).unwrap();
        }
    });
    let mut streams = 1000..;
    pair(&format!("{name}, decide on a stream of 10"), work, &mut bare, || {
        for at in 0..work {
            let id = if at % 10 == 0 { streams.next().unwrap() } else { streams.start };
            store.decide(account(id), |_| Ok::<_, String>([deposit()])).unwrap();
        }
    });
}

/// Many threads that decide on one boundary: optimistically, and inside the writer.
fn hot(name: &str, store: &Store, work: u32) {
    const THREADS: u64 = 16;
    let all = |decide: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..u64::from(work) / THREADS).for_each(|_| decide()));
            }
        });
    };
    let cache = ModelCache::new(8);
    let optimistic = || {
        let decider = store.decider().attempts(100_000);
        decider.decide(cache.of(account(3)), |_| Ok::<_, String>([deposit()])).unwrap();
    };
    let inside = || {
        store.decide_inside(cache.of(account(4)), |_| Ok::<_, String>([deposit()])).unwrap();
    };
    let name = format!("{name}, 16 threads on one stream, decide_inside beside decide");
    pair(&name, work, || all(&optimistic), || all(&inside));
}

/// A projection beside a scan that decodes, and one that does not.
fn projections(store: &Store) {
    let scan = |decode: bool| {
        let mut sum = 0;
        let visit = |event: factlog::EventRef<'_>| {
            if decode {
                let Some(Bank::Deposited { cents, .. }) = event.decode().unwrap() else {
                    return ControlFlow::Continue(());
                };
                sum += cents;
            } else {
                sum += u64::try_from(event.data().len()).unwrap();
            }
            ControlFlow::Continue(())
        };
        store.read_all().for_each(visit).unwrap();
        black_box(sum);
    };
    let typed = || {
        let mut sum = 0;
        let options = store.projection::<Bank>("sum").from(factlog::Source::All);
        let mut projection = options.after(Position::START).start().unwrap();
        projection
            .catch_up(|events| {
                for event in events {
                    let Bank::Deposited { cents, .. } = event.event;
                    sum += cents;
                }
                Ok::<(), String>(())
            })
            .unwrap();
        black_box(sum);
    };
    let raw = || {
        let mut sum = 0;
        let options = store.projection::<RecordedEvent>("sum").after(Position::START);
        options
            .start()
            .unwrap()
            .catch_up(|events| {
                sum += events.iter().map(|event| event.data().len()).sum::<usize>();
                Ok::<(), String>(())
            })
            .unwrap();
        black_box(sum);
    };
    let work = u32::try_from(SCANNED).unwrap();
    pair("projection of typed events beside a scan that decodes", work, || scan(true), typed);
    pair("projection of typed events beside a bare scan", work, || scan(false), typed);
    pair("projection of recorded events beside a bare scan", work, || scan(false), raw);
}

fn main() {
    // Without `--bench` this is a test that it runs at all.
    if !std::env::args().any(|argument| argument == "--bench") {
        let store = Store::in_memory().unwrap();
        store.decide(account(1), |_| Ok::<_, String>([deposit()])).unwrap();
        return;
    }
    // Beside the build, because /tmp may be memory, where a sync costs nothing.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(folder.path().join("synced")).unwrap();
    decisions("synced", &store, 100);
    hot("synced", &store, 320);
    let options = Store::options().durability(Durability::Os);
    let store = options.open(folder.path().join("written")).unwrap();
    decisions("not synced", &store, 2000);
    let scanned = Store::options().durability(Durability::Os);
    let scanned = scanned.open(folder.path().join("scanned")).unwrap();
    for first in (0..SCANNED).step_by(1000) {
        let events = (first..first + 1000).map(|_| NewEvent::of(&deposit()).unwrap());
        scanned.append(format!("Account-{first}"), Expect::Any, events).unwrap();
    }
    scanned.sync().unwrap();
    projections(&scanned);
}
