//! Many threads on one store, ids retried by all: what was acknowledged is what is stored.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use factlog::disk::MemDisk;
use factlog::{Delivery, Durability, Expect, Options, Position, Source, Start, Store, Uuid};

use crate::rig::{Random, cases};
use crate::support::{ends, number, tick};

const THREADS: u64 = 8;

/// Every thread sends numbers out of one small range, so that each is sent by several: some by
/// `append`, some by a ticket that is waited for later.
fn storm(options: Options, seed: u64, sends: u64) {
    let options = options.segment_bytes(64 << 10);
    let disk = Arc::new(MemDisk::new());
    let store = options.clone().open_on(disk.clone()).unwrap();
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let follower = follow(&store, last.clone());
    let senders: Vec<_> = (0..THREADS)
        .map(|sender| {
            let (store, mut random) = (store.clone(), Random::new(seed * 100 + sender));
            thread::spawn(move || send(&store, &mut random, sends))
        })
        .collect();
    let mut acknowledged: BTreeMap<u64, Position> = BTreeMap::new();
    for sender in senders {
        for (number, position) in sender.join().unwrap() {
            let before = acknowledged.insert(number, position);
            assert!(before.is_none_or(|before| before == position), "two answers to one id");
        }
    }
    store.sync().unwrap();
    last.store(store.last_position().get(), Ordering::SeqCst);
    follower.join().unwrap();
    stored(&store, &acknowledged);
    store.close().unwrap();
    stored(&options.open_on(disk).unwrap(), &acknowledged);
}

fn send(store: &Store, random: &mut Random, sends: u64) -> Vec<(u64, Position)> {
    let (mut answers, mut tickets) = (Vec::new(), Vec::new());
    for _ in 0..sends {
        let number = random.below(THREADS * sends / 3 + 1);
        let event = tick(number).id(Uuid::from_u128(u128::from(number)));
        // An id belongs to one stream, whoever sends it.
        let batch = store.batch().append(format!("S-{}", number % 5), Expect::Any, [event]);
        match random.below(3) {
            0 => tickets.push((number, batch.submit().unwrap())),
            _ => answers.push((number, batch.commit().unwrap().first)),
        }
    }
    let waited = tickets.into_iter().map(|(number, ticket)| (number, ticket.wait().unwrap().first));
    answers.extend(waited);
    answers
}

/// Every event once and in order, until the last.
fn follow(store: &Store, last: Arc<AtomicU64>) -> thread::JoinHandle<()> {
    let mut all = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    thread::spawn(move || {
        let mut seen = 0;
        while seen != last.load(Ordering::SeqCst) {
            let delivery = all.next_timeout(Duration::from_millis(20)).unwrap();
            if let Some(Delivery::Event(event)) = delivery {
                seen += 1;
                assert_eq!(event.position().get(), seen, "a gap, or out of order");
            }
        }
    })
}

fn stored(store: &Store, acknowledged: &BTreeMap<u64, Position>) {
    let all = store.read_all().to_vec().unwrap();
    let found: BTreeMap<u64, Position> =
        all.iter().map(|event| (number(event), event.position())).collect();
    assert_eq!(found.len(), all.len(), "stored twice");
    assert_eq!(&found, acknowledged, "acknowledged and stored differ");
}

fn storms(seed: u64, sends: u64) {
    for durability in
        [Durability::Sync, Durability::Interval(Duration::from_millis(1)), Durability::Os]
    {
        for background in [true, false] {
            let options = Store::options().durability(durability).background_threads(background);
            ends(move || storm(options.queue(4 << 10, 5), seed, sends));
        }
    }
}

#[test]
fn acknowledged_is_stored_under_many_threads() {
    storms(1, 60);
}

/// `FACTLOG_CASES=1500 cargo test --release --test it campaign_storms`
#[test]
fn campaign_storms() {
    for seed in 0..cases(100).div_ceil(100) {
        storms(seed + 2, 300);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the caller's");
    }
}

/// Found beside a schedule: a waker that panicked did so between the commit and the answers, so
/// that whoever waited for one waited for ever, and an append that was stored panicked.
#[test]
fn a_waker_that_panics_takes_nobodys_answer() {
    for background in [true, false] {
        let store = Store::options().background_threads(background).in_memory().unwrap();
        let waker = Waker::from(Arc::new(Panics));
        let mut context = Context::from_waker(&waker);
        let mut all = store.subscribe(Source::All).start(Start::End).unwrap();
        while all.poll_next(&mut context).is_ready() {}
        let submit = |n: u64| store.batch().append("S-1", Expect::Any, [tick(n)]).submit().unwrap();
        let (mut polled, waited) = (submit(1), submit(2));
        let _ = Pin::new(&mut polled).poll(&mut context);
        ends(move || waited.wait()).unwrap();
        while all.poll_next(&mut context).is_ready() {}
        let other = store.clone();
        let appended = ends(move || other.append("S-1", Expect::Any, [tick(3)]));
        assert_eq!(appended.unwrap().last.get(), 3);
        // The store's own thread, if it ran the waker, is still there for what nobody waits for.
        drop(submit(4));
        store.clone().close().unwrap();
        assert!(matches!(polled.outcome(), Some(Ok(_))));
    }
}
