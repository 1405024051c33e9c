//! Appending: tickets, threads, durability, and what closing does to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use factlog::{
    Delivery, Durability, ErrorKind, Expect, NewEvent, Position, Source, Start, Store, Ticket, Uuid,
};

use super::support::{block_on, ends, number, tick};

const HOUR: Duration = Duration::from_secs(3600);

fn submit(store: &Store, stream: &str, event: NewEvent) -> Ticket {
    store.batch().append(stream, Expect::Any, [event]).submit().unwrap()
}

fn stored(store: &Store) -> Vec<u64> {
    store.read_all().into_iter().map(|event| number(&event.unwrap())).collect()
}

#[test]
fn a_ticket_answers_to_waiting_and_to_awaiting() {
    for background in [true, false] {
        ends(move || {
            let store = Store::options().background_threads(background).in_memory().unwrap();
            let waited = submit(&store, "A-1", tick(1)).wait().unwrap();
            assert_eq!(waited.last, Position::new(1));
            let awaited = block_on(submit(&store, "A-1", tick(2))).unwrap();
            assert_eq!(awaited.last, Position::new(2));
            let refused = store.batch().append("A-1", Expect::NoStream, [tick(3)]).submit();
            assert_eq!(block_on(refused.unwrap()).unwrap_err().kind(), ErrorKind::Conflict);
            // In one task, several at once, answered in the order they were submitted.
            let tickets: Vec<_> = (0..50).map(|n| submit(&store, "B-1", tick(n))).collect();
            let answers = block_on(async {
                let mut answers = Vec::new();
                for ticket in tickets {
                    answers.push(ticket.await.unwrap().last.get());
                }
                answers
            });
            assert_eq!(answers, (3..53).collect::<Vec<_>>());
        });
    }
}

/// Closing said that it commits what waits, and answered `Closed` to it.
#[test]
fn a_dropped_ticket_still_commits_before_the_store_is_closed() {
    for background in [true, false] {
        for round in 0..30 {
            let dir = tempfile::tempdir().unwrap();
            let options = Store::options().background_threads(background);
            let store = options.clone().open(dir.path()).unwrap();
            for n in 0..20 {
                drop(submit(&store, "A-1", tick(n)));
            }
            let kept = submit(&store, "A-1", tick(20));
            match round % 2 {
                0 => store.close().unwrap(),
                _ => drop(store),
            }
            assert_eq!(kept.wait().unwrap().last, Position::new(21));
            let store = options.open(dir.path()).unwrap();
            assert!(store.open_report().clean);
            assert_eq!(stored(&store), (0..=20).collect::<Vec<_>>());
        }
    }
}

/// Threads that append, submit and await; each event's answer is collected.
fn crowd(store: &Store, threads: u64, each: u64) -> BTreeMap<u64, u64> {
    let mut acknowledged = BTreeMap::new();
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let stream = format!("Crowd-{}", thread % 5);
                    let mut answers = Vec::new();
                    for n in 0..each {
                        let number = thread * each + n;
                        let answer = match n % 4 {
                            0 => submit(store, &stream, tick(number)).wait(),
                            1 => block_on(submit(store, &stream, tick(number))),
                            _ => store.append(&stream, Expect::Any, [tick(number)]),
                        };
                        answers.push((answer.unwrap().first.get(), number));
                    }
                    answers
                })
            })
            .collect();
        for thread in working {
            acknowledged.extend(thread.join().unwrap());
        }
    });
    acknowledged
}

#[test]
fn what_many_threads_were_told_is_what_is_stored() {
    for background in [true, false] {
        ends(move || {
            let dir = tempfile::tempdir().unwrap();
            let options = Store::options().segment_bytes(16 << 10).queue(2000, 7);
            let options = options.background_threads(background);
            let store = options.clone().open(dir.path()).unwrap();
            let acknowledged = crowd(&store, 12, 60);
            assert_eq!(acknowledged.len(), 12 * 60);
            assert!(acknowledged.keys().copied().eq(1..=12 * 60), "gaps or doubles");
            let told: Vec<u64> = acknowledged.into_values().collect();
            assert_eq!(stored(&store), told);
            drop(store);
            assert_eq!(stored(&options.open(dir.path()).unwrap()), told);
        });
    }
}

/// Without threads of its own a store has only its callers. A batch submitted in front of an
/// append, by a thread that then went away, was nobody's to commit: the append slept for ever.
#[test]
fn without_background_threads_nobody_waits_for_a_batch_that_was_left_behind() {
    ends(|| {
        let store = Store::options().background_threads(false).in_memory().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..400 {
                        match thread % 2 {
                            0 => drop(submit(store, "A-1", tick(n))),
                            _ if n % 2 == 0 => drop(block_on(submit(store, "A-1", tick(n)))),
                            _ => drop(store.append("A-1", Expect::Any, [tick(n)]).unwrap()),
                        }
                    }
                });
            }
        });
        store.append("A-1", Expect::Any, [tick(1)]).unwrap();
        assert_eq!(store.last_position().get(), 8 * 400 + 1);
    });
}

/// Nor was there anybody to make room: the caller of `submit` waited for himself.
#[test]
fn without_background_threads_submitting_past_the_bound_makes_its_own_room() {
    ends(|| {
        let store = Store::options().background_threads(false).queue(1 << 20, 3);
        let store = store.in_memory().unwrap();
        let tickets: Vec<_> = (0..50).map(|n| submit(&store, "A-1", tick(n))).collect();
        for (n, ticket) in (1..).zip(tickets) {
            assert_eq!(ticket.wait().unwrap().last.get(), n);
        }
    });
}

#[test]
fn an_id_retried_by_many_threads_at_once_is_stored_once_and_answered_alike() {
    let store = Store::in_memory().unwrap();
    for round in 0..100 {
        let id = Uuid::from_u128(1000 + round);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let append = || store.append("A-1", Expect::Any, [tick(0).id(id)]).unwrap();
            let all: Vec<_> = (0..4).map(|_| scope.spawn(append)).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|answer| !answer.already).count(), 1);
        let place = |answer: &factlog::Appended| (answer.first, answer.streams.clone());
        assert!(answers.iter().all(|answer| place(answer) == place(&answers[0])));
    }
    assert_eq!(store.last_position().get(), 100);
}

#[test]
fn whoever_sees_a_position_sees_every_one_below() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().segment_bytes(16 << 10).open(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let mut highest = Position::START;
            while !done.load(Ordering::Acquire) {
                let last = store.last_position();
                assert!(last >= highest, "the watermark went back");
                for position in highest.get() + 1..=last.get() {
                    let event = store.event_at(Position::new(position)).unwrap();
                    assert_eq!(event.expect("a gap").position().get(), position);
                }
                let newest = store.read_all().backward().limit(3).into_iter();
                let newest: Vec<_> = newest.map(|e| e.unwrap().position().get()).collect();
                assert!(newest.windows(2).all(|pair| pair[0] == pair[1] + 1), "{newest:?}");
                assert!(newest.first().is_none_or(|first| *first >= last.get()));
                highest = last;
            }
        };
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(reader)).collect();
        crowd(&store, 6, 150);
        done.store(true, Ordering::Release);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

fn events(deliveries: &mut factlog::Subscription) -> Vec<u64> {
    let next = std::iter::from_fn(|| deliveries.try_next().unwrap());
    next.filter_map(|delivery| match delivery {
        Delivery::Event(event) => Some(event.position().get()),
        _ => None,
    })
    .collect()
}

#[test]
fn in_the_weaker_modes_reads_run_ahead_of_what_is_synced() {
    {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options().durability(Durability::Os).open(dir.path()).unwrap();
        let mut synced = store.subscribe(Source::All).start(Start::Beginning).unwrap();
        let ahead = store.subscribe(Source::All).include_unsynced();
        let mut ahead = ahead.start(Start::Beginning).unwrap();
        let follower = Store::open_read_only(dir.path()).unwrap();
        store.append("A-1", Expect::Any, [tick(1)]).unwrap();
        assert_eq!(store.last_position(), Position::new(1));
        assert_eq!(stored(&store), [1]);
        assert_eq!(events(&mut ahead), [1]);
        assert!(events(&mut synced).is_empty());
        assert_eq!(follower.last_position(), Position::START);
        let early = store.save_checkpoint("mail", Position::new(1)).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::Invalid);
        // One append that asks for more takes everything before it along.
        let more = store.batch().append("A-1", Expect::Any, [tick(2)]);
        more.durability(Durability::Sync).commit().unwrap();
        assert_eq!(events(&mut synced), [1, 2]);
        assert_eq!(events(&mut ahead), [2]);
        store.save_checkpoint("mail", Position::new(1)).unwrap();
        // So does a retry that asks for more of what is stored already.
        let third = tick(3);
        store.append("A-1", Expect::Any, [third.clone()]).unwrap();
        assert!(events(&mut synced).is_empty());
        let again = store.batch().append("A-1", Expect::Any, [third]);
        assert!(again.durability(Durability::Sync).commit().unwrap().already);
        assert_eq!(events(&mut synced), [3]);
    }
}

#[test]
fn an_interval_syncs_by_itself() {
    let durability = Durability::Interval(Duration::from_millis(5));
    let store = Store::options().durability(durability).in_memory().unwrap();
    let mut synced = store.subscribe(Source::All).start(Start::End).unwrap();
    assert_eq!(synced.next().unwrap(), Delivery::CaughtUp(Position::START));
    for n in 1..4 {
        store.append("A-1", Expect::Any, [tick(n)]).unwrap();
        let next = synced.next_timeout(Duration::from_secs(60)).unwrap().unwrap();
        assert!(matches!(next, Delivery::Event(event) if number(&event) == n));
    }
}

/// An append may ask for more than its store gives, also for an interval; nobody kept it.
#[test]
fn an_interval_asked_for_by_one_append_is_kept() {
    let soon = Durability::Interval(Duration::from_millis(5));
    for durability in [Durability::Os, Durability::Interval(HOUR)] {
        for background in [true, false] {
            let options = Store::options().durability(durability);
            let store = options.background_threads(background).in_memory().unwrap();
            let mut synced = store.subscribe(Source::All).start(Start::Beginning).unwrap();
            store.append("A-1", Expect::Any, [tick(1)]).unwrap();
            let asking = store.batch().append("A-1", Expect::Any, [tick(2)]);
            asking.durability(soon).commit().unwrap();
            for n in 1..3 {
                let mut next = synced.next_timeout(Duration::from_secs(5)).unwrap();
                if let Some(Delivery::CaughtUp(_)) = next {
                    next = synced.next_timeout(Duration::from_secs(5)).unwrap();
                }
                assert!(
                    matches!(&next, Some(Delivery::Event(event)) if number(event) == n),
                    "{durability:?} {background} {next:?}"
                );
            }
        }
    }
}

#[test]
fn durability_is_never_for_less() {
    let interval = Durability::Interval;
    let short = Duration::from_millis(1);
    let refused = [
        (Durability::Sync, interval(short)),
        (Durability::Sync, Durability::Os),
        (interval(short), interval(HOUR)),
        (interval(HOUR), Durability::Os),
    ];
    for (store_gives, asked) in refused {
        let store = Store::options().durability(store_gives).in_memory().unwrap();
        let batch = store.batch().append("A-1", Expect::Any, [tick(1)]).durability(asked);
        assert_eq!(batch.commit().unwrap_err().kind(), ErrorKind::Invalid, "{asked:?}");
        assert_eq!(store.last_position(), Position::START);
        let same = store.batch().append("A-1", Expect::Any, [tick(1)]).durability(store_gives);
        same.commit().unwrap();
    }
}

#[test]
fn a_store_can_be_dropped_with_everything_still_in_hand() {
    for background in [true, false] {
        ends(move || {
            let dir = tempfile::tempdir().unwrap();
            let options = Store::options().segment_bytes(16 << 10);
            let options = options.background_threads(background);
            let store = options.clone().open(dir.path()).unwrap();
            crowd(&store, 2, 100);
            let reading = store.read_all().into_iter();
            let waiting: Vec<_> = (0..10).map(|n| submit(&store, "A-1", tick(n))).collect();
            let mut subscription = store.subscribe(Source::All).start(Start::Beginning).unwrap();
            drop(store);
            // The lock is free, and what the old handles hold goes on or says that it ended.
            let again = options.open(dir.path()).unwrap();
            assert_eq!(again.last_position().get(), 210);
            assert_eq!(reading.map(Result::unwrap).count(), 200);
            assert_eq!(subscription.next().unwrap_err().kind(), ErrorKind::Closed);
            waiting.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
        });
    }
}

#[test]
fn every_verb_of_a_closed_store_answers_closed() {
    let store = Store::in_memory().unwrap();
    store.append("A-1", Expect::Any, [tick(1)]).unwrap();
    let other = store.clone();
    let subscription = other.subscribe(Source::All);
    store.close().unwrap();
    let one = Position::new(1);
    let version = factlog::Version::new(1);
    let answers = [
        other.append("A-1", Expect::Any, [tick(2)]).map(drop),
        other.batch().check("A-1", Expect::StreamExists).submit().map(drop),
        other.batch().check("A-1", Expect::StreamExists).try_submit().map(drop),
        other.read_all().for_each(|_| std::ops::ControlFlow::Continue(())),
        other.read_stream("A-1").into_iter().next().unwrap().map(drop),
        other.event(Uuid::nil()).map(drop),
        other.event_at(one).map(drop),
        other.stream_event("A-1", version).map(drop),
        other.head("A-1").map(drop),
        other.last_event("A-1").map(drop),
        other.streams("").map(drop),
        other.categories("").map(drop),
        other.checkpoint("mail").map(drop),
        other.checkpoints().map(drop),
        other.save_checkpoint("mail", one),
        other.reset_checkpoint("mail", one),
        other.snapshot("A-1", "state").map(drop),
        other.save_snapshot("A-1", "state", (version, 1), ""),
        subscription.start(Start::End).map(drop),
        other.verify().map(drop),
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Closed, "answer {at}");
    }
    other.close().unwrap();
}

#[test]
fn closing_while_others_append_answers_each_of_them_truly() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let path = Arc::new(dir);
        let acknowledged = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let store = store.clone();
                    scope.spawn(move || {
                        for n in 0.. {
                            let stream = format!("T-{thread}");
                            if let Err(error) = store.append(&stream, Expect::Any, [tick(n)]) {
                                assert_eq!(error.kind(), ErrorKind::Closed);
                                return n;
                            }
                        }
                        0
                    })
                })
                .collect();
            while store.last_position().get() < 20 {
                std::thread::yield_now();
            }
            store.close().unwrap();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
        });
        assert_eq!(Store::open(path.path()).unwrap().last_position().get(), acknowledged);
    }
}
