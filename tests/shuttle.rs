//! The whole store under shuttle: its locks and its threads are those of a scheduler that tries
//! orders of threads, and a lost wake-up is a deadlock that it reports.
//!
//! `RUSTFLAGS="--cfg factlog_shuttle" cargo test --test shuttle --target-dir target/shuttle`, with
//! `FACTLOG_SCHEDULES` for how many orders of each model. A failure prints the schedule; give
//! it to `shuttle::replay` in the place of `check`. Time does not pass in these models.
#![cfg(factlog_shuttle)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{
    Appended, Delivery, Durability, ErrorKind, Expect, ManualClock, NewEvent, Options, Position,
    RecordedEvent, Result, Source, Start, Store, Uuid,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread;
use shuttle::{Config, Runner};

/// Runs a model in so many orders: half of them random, half with few changes of thread at bad
/// moments.
fn check(name: &str, model: fn()) {
    let orders: usize =
        std::env::var("FACTLOG_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 20;
        config
    };
    let begun = Arc::new(AtomicU64::new(0));
    let counted = |begun: &Arc<AtomicU64>| {
        let begun = begun.clone();
        move || {
            begun.fetch_add(1, Ordering::Relaxed);
            model();
        }
    };
    let half = orders.div_ceil(2);
    Runner::new(RandomScheduler::new(half), config()).run(counted(&begun));
    Runner::new(PctScheduler::new(3, half), config()).run(counted(&begun));
    println!("shuttle {name}: {} schedules", begun.load(Ordering::Relaxed));
}

fn options(background: bool) -> Options {
    Store::options()
        .segment_bytes(16 << 10)
        .background_threads(background)
        .clock(Arc::new(ManualClock::at(1_000)))
}

fn open(disk: &SimDisk, background: bool) -> Store {
    options(background).open_on(Arc::new(disk.clone())).unwrap()
}

fn event(number: u64) -> NewEvent {
    NewEvent::binary("Noted", number.to_le_bytes()).id(Uuid::from_u128(u128::from(number)))
}

fn append(store: &Store, number: u64) -> Result<Appended> {
    store.append(format!("S-{}", number % 2), Expect::Any, [event(number)])
}

fn number(event: &RecordedEvent) -> u64 {
    u64::from_le_bytes(event.data().try_into().unwrap())
}

/// What is stored is what was acknowledged, once, where it was answered.
fn agree(store: &Store, acknowledged: &BTreeMap<u64, Position>) {
    let all = store.read_all().to_vec().unwrap();
    let stored: BTreeMap<u64, Position> =
        all.iter().map(|event| (number(event), event.position())).collect();
    assert_eq!(stored.len(), all.len(), "stored twice");
    assert_eq!(&stored, acknowledged, "acknowledged and stored differ");
    let places = all.iter().map(|event| event.position().get());
    assert!(places.eq(1..=all.len() as u64), "positions have gaps");
}

/// Many threads, each sending ids that others send too.
fn retried(background: bool) {
    let disk = SimDisk::new(1);
    let store = open(&disk, background);
    let senders: Vec<_> = (0..3_u64)
        .map(|sender| {
            let store = store.clone();
            thread::spawn(move || {
                let mine = [sender, (sender + 1) % 3, 3 + sender];
                mine.map(|number| (number, append(&store, number).unwrap().first))
            })
        })
        .collect();
    let mut acknowledged = BTreeMap::new();
    for sender in senders {
        for (number, position) in sender.join().unwrap() {
            let before = acknowledged.insert(number, position);
            assert!(before.is_none_or(|before| before == position), "two answers to one id");
        }
    }
    agree(&store, &acknowledged);
    store.close().unwrap();
    agree(&open(&disk.after_power_cut(1), false), &acknowledged);
}

#[test]
fn acknowledged_is_stored_with_ids_retried() {
    check("retried, callers lead", || retried(false));
    check("retried, store's threads", || retried(true));
}

/// Tickets waited for elsewhere, polled, or dropped: each is answered.
fn tickets(background: bool) {
    let disk = SimDisk::new(1);
    let store = open(&disk, background);
    let submit = |store: &Store, number: u64| {
        store.batch().append("T-1", Expect::Any, [event(number)]).submit().unwrap()
    };
    drop(submit(&store, 0));
    let waited = submit(&store, 1);
    let waiter = thread::spawn(move || waited.wait().unwrap());
    let other = store.clone();
    let poller = thread::spawn(move || shuttle::future::block_on(submit(&other, 2)).unwrap());
    let lead = append(&store, 3).unwrap();
    let answers = [waiter.join().unwrap(), poller.join().unwrap(), lead];
    assert!(answers.iter().all(|answer| answer.last <= store.synced_position()));
    store.close().unwrap();
    let found = open(&disk, false).read_all().to_vec().unwrap();
    let mut numbers: Vec<u64> = found.iter().map(number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3], "a dropped ticket is an append all the same");
}

#[test]
fn no_ticket_is_left_unanswered() {
    check("tickets, callers lead", || tickets(false));
    check("tickets, store's threads", || tickets(true));
}

/// A queue with room for one: whoever waits for room gets it.
#[test]
fn whoever_waits_for_room_gets_it() {
    check("backpressure", || {
        let disk = SimDisk::new(1);
        let narrow = options(true).queue(1, 1);
        let store = narrow.open_on(Arc::new(disk)).unwrap();
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let store = store.clone();
                thread::spawn(move || {
                    let ticket = store.batch().append("Q-1", Expect::Any, [event(sender)]);
                    let ticket = ticket.submit().unwrap();
                    append(&store, 10 + sender).unwrap();
                    ticket.wait().unwrap()
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| drop(sender.join().unwrap()));
        assert_eq!(store.last_position().get(), 6);
    });
}

/// Subscribers of both marks see every event once and in order, and never one that a power cut
/// could still take away.
#[test]
fn subscribers_wake_and_see_only_what_is_durable() {
    check("subscribers", || {
        let disk = SimDisk::new(1);
        let store = open(&disk, false);
        let readers: Vec<_> = (0..2)
            .map(|reader| {
                let (store, disk) = (store.clone(), disk.clone());
                thread::spawn(move || {
                    let mut all = store.subscribe(Source::All).start(Start::Beginning).unwrap();
                    let mut next = 1;
                    while next <= 4 {
                        let Delivery::Event(event) = all.next().unwrap() else { continue };
                        assert_eq!(event.position().get(), next, "a gap, or out of order");
                        next += 1;
                        if reader == 0 {
                            // Nothing that is pending happened.
                            let left = disk.after_power_cut_exact(0);
                            let kept = open(&left, false).last_position();
                            assert!(kept >= event.position(), "seen before it was durable");
                        }
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..2_u64)
            .map(|writer| {
                let store = store.clone();
                thread::spawn(move || {
                    append(&store, 2 * writer).unwrap();
                    append(&store, 2 * writer + 1).unwrap();
                })
            })
            .collect();
        writers.into_iter().chain(readers).for_each(|thread| thread.join().unwrap());
    });
}

/// The same for a task that is woken, and for a signal that is asked.
#[test]
fn a_signal_follows_every_move_of_the_watermark() {
    check("signals", || {
        let store = open(&SimDisk::new(1), false);
        let mut all = store.subscribe(Source::All).start(Start::Beginning).unwrap();
        let signal = all.signal();
        let writer = {
            let store = store.clone();
            thread::spawn(move || (0..2).for_each(|number| drop(append(&store, number).unwrap())))
        };
        let mut seen = 0;
        while seen < 2 {
            if signal.try_recv().is_err() {
                thread::yield_now();
                continue;
            }
            while let Some(delivery) = all.try_next().unwrap() {
                seen += u64::from(matches!(delivery, Delivery::Event(_)));
            }
        }
        writer.join().unwrap();
    });
}

/// Closing while others append and wait: everybody gets an answer, and what was acknowledged is
/// there.
fn closing(background: bool) {
    let disk = SimDisk::new(1);
    let store = open(&disk, background);
    let writers: Vec<_> = (0..2_u64)
        .map(|writer| {
            let store = store.clone();
            thread::spawn(move || {
                let numbers = [2 * writer, 2 * writer + 1];
                numbers.map(|number| (number, append(&store, number)))
            })
        })
        .collect();
    let reader = {
        let store = store.clone();
        thread::spawn(move || {
            let Ok(mut all) = store.subscribe(Source::All).start(Start::Beginning) else { return };
            while all.next().is_ok() {}
        })
    };
    let ticket = store.batch().append("T-1", Expect::Any, [event(9)]).submit();
    store.close().unwrap();
    let mut acknowledged = BTreeMap::new();
    for writer in writers {
        for (number, answer) in writer.join().unwrap() {
            match answer {
                Ok(answer) => drop(acknowledged.insert(number, answer.first)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
            }
        }
    }
    if let Ok(answer) = ticket.and_then(factlog::Ticket::wait) {
        acknowledged.insert(9, answer.first);
    }
    reader.join().unwrap();
    agree(&open(&disk, false), &acknowledged);
}

#[test]
fn closing_answers_everybody() {
    check("closing, callers lead", || closing(false));
    check("closing, store's threads", || closing(true));
}

/// A failed sync beside others: nobody hangs, nothing acknowledged is lost, nothing unsynced stays
/// visible.
fn failing(background: bool) {
    let disk = SimDisk::new(1);
    let store = open(&disk, background);
    append(&store, 100).unwrap();
    disk.inject(Fault::from(FaultCall::Sync, 1, FaultKind::FailedSyncDropsPages));
    let writers: Vec<_> = (0..3_u64)
        .map(|number| {
            let store = store.clone();
            thread::spawn(move || (number, append(&store, number)))
        })
        .collect();
    let mut acknowledged = vec![100];
    for writer in writers {
        let (number, answer) = writer.join().unwrap();
        match answer {
            Ok(_) => acknowledged.push(number),
            Err(error) => {
                let kinds = [ErrorKind::InDoubt, ErrorKind::Poisoned];
                assert!(kinds.contains(&error.kind()), "{error:?}");
            }
        }
    }
    assert_eq!(store.last_position(), store.synced_position());
    let left = open(&disk.after_power_cut_exact(0), false).read_all().to_vec().unwrap();
    let left: Vec<u64> = left.iter().map(number).collect();
    assert!(acknowledged.iter().all(|number| left.contains(number)), "an acknowledged one is gone");
}

#[test]
fn a_failed_sync_answers_everybody() {
    check("failing, callers lead", || failing(false));
    check("failing, store's threads", || failing(true));
}

/// A follower beside the writer: never ahead of what is durable, and it gets there.
#[test]
fn a_follower_never_sees_beyond_what_is_durable() {
    check("follower", || {
        let disk = SimDisk::new(1);
        let store = open(&disk, false);
        append(&store, 0).unwrap();
        let follower = options(true).open_read_only_on(Arc::new(disk.clone())).unwrap();
        let reader = {
            let disk = disk.clone();
            thread::spawn(move || {
                let mut all = follower.subscribe(Source::All).start(Start::Beginning).unwrap();
                let mut next = 1;
                while next <= 3 {
                    let Delivery::Event(event) = all.next().unwrap() else { continue };
                    assert_eq!(event.position().get(), next);
                    let kept = open(&disk.after_power_cut_exact(0), false).last_position();
                    assert!(kept >= event.position(), "followed beyond what is durable");
                    next += 1;
                }
                drop(all);
                follower.close().unwrap();
            })
        };
        append(&store, 1).unwrap();
        append(&store, 2).unwrap();
        reader.join().unwrap();
    });
}

/// In a weaker mode what is visible runs ahead of what is synced, never the other way.
#[test]
fn synced_is_never_ahead_of_visible() {
    check("weaker mode", || {
        let disk = SimDisk::new(1);
        let store = options(false).durability(Durability::Os);
        let store = store.open_on(Arc::new(disk.clone())).unwrap();
        let syncer = {
            let store = store.clone();
            thread::spawn(move || store.sync().unwrap())
        };
        let looker = {
            let store = store.clone();
            thread::spawn(move || {
                let (synced, disk) = (store.synced_position(), disk.after_power_cut_exact(0));
                assert!(open(&disk, false).last_position() >= synced, "synced before it was");
                assert!(store.last_position() >= synced, "synced ahead of visible");
            })
        };
        append(&store, 0).unwrap();
        append(&store, 1).unwrap();
        syncer.join().unwrap();
        looker.join().unwrap();
        assert_eq!(store.last_position().get(), 2);
    });
}
