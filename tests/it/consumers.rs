//! Competing consumers: every event is settled once, none is missed, and order is kept by key.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use factlog::{
    Consumers, ErrorKind, Expect, NewEvent, Position, RecordedEvent, Source, Store, Work,
};

use crate::support::{ends, number, tick};

const SOON: Duration = Duration::from_millis(200);

fn ticks(count: u64) -> Store {
    let store = Store::in_memory().unwrap();
    if count > 0 {
        store.append("Clock-1", Expect::Any, (1..=count).map(tick)).unwrap();
    }
    store
}

fn clocks(store: &Store) -> factlog::ConsumersOptions<RecordedEvent> {
    store.consumers::<RecordedEvent>("clocks").from(Source::category("Clock"))
}

fn take(consumers: &Consumers<RecordedEvent>) -> Work<RecordedEvent> {
    consumers.next_timeout(SOON).unwrap().expect("there is one")
}

fn nothing(consumers: &Consumers<RecordedEvent>) {
    let next = consumers.next_timeout(Duration::from_millis(20)).unwrap();
    assert!(next.is_none(), "{next:?}");
}

#[test]
fn every_event_goes_to_one_consumer_and_none_is_missed() {
    ends(|| {
        let store = ticks(500);
        let consumers = clocks(&store).start().unwrap();
        let (seen, left) = (Mutex::new(Vec::new()), AtomicUsize::new(1000));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let (consumers, seen, left) = (consumers.clone(), &seen, &left);
                scope.spawn(move || {
                    while left.load(Ordering::SeqCst) > 0 {
                        let Some(work) = consumers.next_timeout(SOON).unwrap() else { continue };
                        // Every seventh is dropped once, every fifth given back once.
                        let n = number(&work);
                        match work.attempts() {
                            1 if n.is_multiple_of(7) => drop(work),
                            1 if n.is_multiple_of(5) => work.retry("later").unwrap(),
                            _ => {
                                seen.lock().unwrap().push(n);
                                work.ack().unwrap();
                                left.fetch_sub(1, Ordering::SeqCst);
                            }
                        }
                    }
                });
            }
            for n in 501..=1000 {
                store.append("Clock-1", Expect::Any, [tick(n)]).unwrap();
            }
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (1..=1000).collect::<Vec<_>>());
        drop(consumers);
        assert_eq!(store.checkpoint("clocks").unwrap(), Some(Position::new(1000)));
    });
}

#[test]
fn a_restart_begins_behind_what_is_settled() {
    let store = ticks(5);
    let consumers = clocks(&store).start().unwrap();
    let works: Vec<_> = (0..4).map(|_| take(&consumers)).collect();
    let [first, second, third, fourth] = works.try_into().unwrap();
    first.ack().unwrap();
    third.ack().unwrap();
    fourth.skip().unwrap();
    let status = consumers.status();
    assert_eq!((status.settled.get(), status.in_flight, status.lag_events), (1, 1, 1));
    consumers.save_checkpoint().unwrap();
    assert_eq!(store.checkpoint("clocks").unwrap(), Some(Position::new(1)));
    assert_eq!(clocks(&store).start().unwrap_err().kind(), ErrorKind::Locked);
    drop((second, consumers));
    let consumers = clocks(&store).start().unwrap();
    let again: Vec<_> = (0..4).map(|_| take(&consumers)).collect();
    assert_eq!(again.iter().map(|work| number(work)).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn what_is_given_back_goes_before_what_is_new_and_is_parked_in_the_end() {
    let store = ticks(2);
    let consumers = clocks(&store).attempts(3).start().unwrap();
    for attempt in 1..=3 {
        let work = take(&consumers);
        assert_eq!((number(&work), work.attempts()), (1, attempt));
        work.retry("no connection").unwrap();
    }
    assert_eq!(number(&take(&consumers)), 2);
    let parked = store.parked("clocks").unwrap();
    assert_eq!((parked.len(), parked[0].position.get(), parked[0].attempts), (1, 1, 3));
    assert_eq!(parked[0].reason, "no connection");
}

#[test]
fn what_takes_too_long_goes_to_another() {
    let store = ticks(1);
    let consumers = clocks(&store).timeout(Duration::from_millis(30)).start().unwrap();
    let slow = take(&consumers);
    let quick = take(&consumers);
    assert_eq!((number(&quick), quick.attempts()), (1, 2));
    assert_eq!(slow.ack().unwrap_err().kind(), ErrorKind::NotFound, "it is another's now");
    quick.ack().unwrap();
    nothing(&consumers);
    assert_eq!(store.checkpoint("clocks").unwrap(), Some(Position::new(1)), "saved when idle");
    let patient = clocks(&ticks(1)).no_timeout().start().unwrap();
    let held = take(&patient);
    nothing(&patient);
    held.ack().unwrap();
}

#[test]
fn parked_events_are_replayed_before_what_is_new_and_stay_parked_until_handled() {
    let store = ticks(3);
    let consumers = clocks(&store).start().unwrap();
    assert_eq!(consumers.replay_parked().unwrap(), 0, "and that leaves it replayable");
    take(&consumers).park("first").unwrap();
    take(&consumers).park("second").unwrap();
    assert_eq!(consumers.replay_parked().unwrap(), 2);
    assert_eq!(consumers.replay_parked().unwrap_err().kind(), ErrorKind::Invalid);
    let (first, second) = (take(&consumers), take(&consumers));
    assert_eq!((number(&first), number(&second)), (1, 2));
    assert_eq!(consumers.status().settled.get(), 2, "what is replayed is settled already");
    first.ack().unwrap();
    second.park("again").unwrap();
    let parked = store.parked("clocks").unwrap();
    assert_eq!((parked.len(), &*parked[0].reason), (1, "again"));
    assert_eq!(number(&take(&consumers)), 3);
    // Replayed and not handled before the process ended: still parked.
    consumers.replay_parked().unwrap();
    drop(consumers);
    assert_eq!(store.parked("clocks").unwrap().len(), 1);
}

#[test]
fn events_of_one_key_are_handled_in_order_by_many() {
    ends(|| {
        let store = ticks(0);
        for n in 0..600 {
            store.append(format!("Clock-{}", n % 5), Expect::Any, [tick(n)]).unwrap();
        }
        let by_stream = |event: &RecordedEvent| event.stream().to_owned();
        let consumers = clocks(&store).partition_by(by_stream).start().unwrap();
        let (seen, left) = (Mutex::new(BTreeMap::<_, Vec<u64>>::new()), AtomicUsize::new(600));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                let (consumers, seen, left) = (consumers.clone(), &seen, &left);
                scope.spawn(move || {
                    while left.load(Ordering::SeqCst) > 0 {
                        let Some(work) = consumers.next_timeout(SOON).unwrap() else { continue };
                        if work.attempts() == 1 && number(&work).is_multiple_of(11) {
                            work.retry("later").unwrap();
                            continue;
                        }
                        let mut seen = seen.lock().unwrap();
                        seen.entry(work.stream().to_owned()).or_default().push(number(&work));
                        drop(seen);
                        work.ack().unwrap();
                        left.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        for (stream, numbers) in seen.into_inner().unwrap() {
            assert!(numbers.is_sorted(), "{stream}: {numbers:?}");
        }
    });
}

#[test]
fn no_more_are_out_than_allowed() {
    let store = ticks(9);
    let consumers = clocks(&store).in_flight(3).start().unwrap();
    let mut out: Vec<_> = (0..3).map(|_| take(&consumers)).collect();
    nothing(&consumers);
    out.remove(1).ack().unwrap();
    assert_eq!(number(&take(&consumers)), 4);
}

#[test]
fn what_nobody_can_read_is_parked_at_once() {
    use factlog::Event;
    #[derive(Clone, Event, serde::Serialize, serde::Deserialize)]
    enum Beat {
        Beaten { n: u64 },
    }
    let store = Store::in_memory().unwrap();
    let events = [r#"{"n":"one"}"#, r#"{"n":2}"#].map(|data| NewEvent::json_text("Beaten", data));
    store.append("Heart-1", Expect::Any, events).unwrap();
    let consumers = store.consumers::<Beat>("hearts").start().unwrap();
    let work = consumers.next_timeout(SOON).unwrap().unwrap();
    let Beat::Beaten { n } = work.event;
    assert_eq!(n, 2);
    work.ack().unwrap();
    assert_eq!(store.parked("hearts").unwrap().len(), 1);
}

#[test]
fn a_closed_store_ends_the_waiting() {
    ends(|| {
        let store = ticks(0);
        let consumers = clocks(&store).start().unwrap();
        let waiting = std::thread::spawn(move || consumers.next().unwrap_err().kind());
        std::thread::sleep(Duration::from_millis(20));
        store.close().unwrap();
        assert_eq!(waiting.join().unwrap(), ErrorKind::Closed);
    });
}
