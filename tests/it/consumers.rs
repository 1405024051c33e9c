//! Competing consumers: every event is settled once, none is missed, and order is kept by key.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use factlog::{
    Consumers, Durability, ErrorKind, Event, Expect, NewEvent, Position, RecordedEvent, Retry,
    Source, Store, Work,
    disk::{Fault, FaultCall, FaultKind, SimDisk},
};

use crate::support::{ends, number, tick};

const AT_ONCE: Retry = Retry::times(2).wait(Duration::ZERO, Duration::ZERO);
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
    let consumers = clocks(&store).retry(AT_ONCE).start().unwrap();
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

#[derive(Clone, Event, serde::Serialize, serde::Deserialize)]
#[event(upcasts = &[factlog::Upcast::json("Beaten", 1, |mut data| {
    data["n"] = data["n"].as_u64().unwrap_or(0).into(); // panics when it is no object
    Ok(data)
})])]
enum Beat {
    #[event(version = 2)]
    Beaten { n: u64 },
}

fn beaten(data: &str) -> NewEvent {
    NewEvent::json_text("Beaten", data).schema_version(2)
}

#[test]
fn what_nobody_can_read_is_parked_at_once() {
    let store = Store::in_memory().unwrap();
    let events = [r#"{"n":"one"}"#, r#"{"n":2}"#].map(beaten);
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

#[test]
fn what_is_given_back_waits_longer_each_time_and_lets_others_by() {
    let store = ticks(2);
    let wait = Duration::from_millis(40);
    let consumers = clocks(&store).retry(Retry::times(5).wait(wait, wait * 2)).start().unwrap();
    take(&consumers).retry("not yet").unwrap();
    let began = std::time::Instant::now();
    let second = take(&consumers);
    assert_eq!(number(&second), 2, "others go by meanwhile");
    second.ack().unwrap();
    let again = take(&consumers);
    assert!(began.elapsed() >= wait - Duration::from_millis(5), "{:?}", began.elapsed());
    assert_eq!((number(&again), again.attempts()), (1, 2));
    again.retry("not yet").unwrap();
    let began = std::time::Instant::now();
    drop(take(&consumers)); // dropped, it goes to another at once
    assert!(began.elapsed() >= wait * 2 - Duration::from_millis(5), "{:?}", began.elapsed());
    assert_eq!(take(&consumers).attempts(), 4);
}

#[test]
fn a_stop_ends_all_consumers_and_loses_nothing() {
    ends(|| {
        let store = ticks(5);
        let consumers = clocks(&store).start().unwrap();
        let others = (take(&consumers), take(&consumers));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let consumers = consumers.clone();
                std::thread::spawn(move || {
                    let mut held = Vec::new();
                    loop {
                        match consumers.next() {
                            Ok(work) => held.push(work),
                            Err(error) => break (error, held),
                        }
                    }
                })
            })
            .collect();
        while consumers.status().in_flight < 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        others.1.stop("the disk of the mail server is full").unwrap();
        for thread in waiting {
            let (error, held) = thread.join().unwrap();
            assert_eq!(
                (error.kind(), error.position()),
                (ErrorKind::Failed, Some(Position::new(2)))
            );
            assert!(error.to_string().contains("mail server is full"), "{error}");
            held.into_iter().for_each(|work| work.ack().unwrap());
        }
        let status = consumers.status();
        assert!(status.stopped.is_some_and(|why| why.contains("mail server is full")));
        // What others had they may settle, and the one it was about comes again.
        others.0.ack().unwrap();
        assert!(consumers.next_timeout(SOON).is_err());
        drop(consumers);
        assert_eq!(store.checkpoint("clocks").unwrap(), Some(Position::new(1)));
        let again = take(&clocks(&store).start().unwrap());
        assert_eq!((number(&again), again.attempts()), (2, 1));
    });
}

/// What the application is asked about an event may panic. It was read by then and was nowhere yet:
/// the next event moved the checkpoint past it.
#[test]
fn an_event_whose_key_or_upcaster_panics_is_parked_and_not_passed_over() {
    let store = ticks(3);
    let by_number = |event: &RecordedEvent| match number(event) {
        2 => panic!("no key for two"),
        n => n,
    };
    let consumers = clocks(&store).partition_by(by_number).start().unwrap();
    let numbers: Vec<_> = [take(&consumers), take(&consumers)].iter().map(|w| number(w)).collect();
    assert_eq!(numbers, [1, 3]);
    let parked = store.parked("clocks").unwrap();
    assert_eq!((parked.len(), parked[0].position.get()), (1, 2));
    assert!(parked[0].reason.contains("the key panicked: no key for two"), "{parked:?}");

    let store = Store::in_memory().unwrap();
    let old = NewEvent::json_text("Beaten", "[1]");
    store.append("Heart-1", Expect::Any, [old, beaten(r#"{"n":2}"#)]).unwrap();
    let consumers = store.consumers::<Beat>("hearts").start().unwrap();
    let Beat::Beaten { n } = consumers.next_timeout(SOON).unwrap().unwrap().event;
    assert_eq!(n, 2);
    let parked = store.parked("hearts").unwrap();
    assert!(parked[0].reason.contains("the upcaster panicked"), "{parked:?}");
}

/// When the park of an unreadable event failed, the event had been read and was not read again.
#[test]
fn an_event_that_could_not_even_be_parked_is_not_passed_over() {
    let disk = SimDisk::new(5);
    let options = Store::options().background_threads(false);
    let store = options.open_on(std::sync::Arc::new(disk.clone())).unwrap();
    let events = [r#"{"n":1}"#, r#"{"n":"two"}"#, r#"{"n":3}"#].map(beaten);
    store.append("Heart-1", Expect::Any, events).unwrap();
    let consumers = store.consumers::<Beat>("hearts").start().unwrap();
    consumers.next_timeout(SOON).unwrap().unwrap().ack().unwrap();
    disk.inject(Fault::once(FaultCall::Write, 0, FaultKind::Os(28)));
    let full = consumers.next_timeout(SOON).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::DiskFull);
    let Beat::Beaten { n } = consumers.next_timeout(SOON).unwrap().unwrap().event;
    assert_eq!(n, 3);
    let parked = store.parked("hearts").unwrap();
    assert_eq!(parked.iter().map(|p| p.position.get()).collect::<Vec<_>>(), [2]);
}

#[test]
fn one_parked_event_that_cannot_be_read_keeps_no_other_from_being_replayed() {
    let store = Store::in_memory().unwrap();
    store.append("Heart-1", Expect::Any, [r#"{"n":"x"}"#, r#"{"n":2}"#].map(beaten)).unwrap();
    let consumers = store.consumers::<Beat>("hearts").start().unwrap();
    consumers.next_timeout(SOON).unwrap().unwrap().park("later").unwrap();
    assert_eq!(store.parked("hearts").unwrap().len(), 2);
    assert_eq!(consumers.replay_parked().unwrap(), 1);
    consumers.next_timeout(SOON).unwrap().unwrap().ack().unwrap();
    let left: Vec<_> = store.parked("hearts").unwrap().iter().map(|p| p.position).collect();
    assert_eq!(left, [Position::new(1)]);
    store.discard_parked("hearts", left[0]).unwrap();
    assert_eq!(store.parked("hearts").unwrap(), []);
    let twice = store.discard_parked("hearts", left[0]).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::NotFound);
}

/// The power is cut at every operation while events are settled and parked: after a restart every
/// one comes again or was settled, and what was parked is parked still.
#[test]
fn no_event_is_missed_wherever_the_power_is_cut() {
    for durability in [Durability::Sync, Durability::Os] {
        let mut crash = 0;
        loop {
            let disk = SimDisk::new(crash);
            let open = |disk: &SimDisk| {
                let options = Store::options().background_threads(false).durability(durability);
                options.open_on(std::sync::Arc::new(disk.clone())).unwrap()
            };
            let store = open(&disk);
            store.append("Clock-1", Expect::Any, (1..=6).map(tick)).unwrap();
            store.sync().unwrap();
            let mut settled = Vec::new();
            let mut run = |store: &Store| -> factlog::Result<()> {
                let consumers = clocks(store).start()?;
                while let Some(work) = consumers.next_timeout(Duration::ZERO)? {
                    let n = number(&work);
                    match n {
                        3 => work.park("odd")?,
                        _ => {
                            settled.push(n);
                            work.ack()?;
                        }
                    }
                    consumers.save_checkpoint()?;
                }
                Ok(())
            };
            disk.crash_at(disk.operations() + crash);
            let finished = run(&store).is_ok();
            drop(store);
            let store = open(&disk.after_power_cut(crash));
            run(&store).unwrap();
            settled.sort_unstable();
            settled.dedup();
            assert_eq!(settled, [1, 2, 4, 5, 6], "crash {crash}");
            let parked = store.parked("clocks").unwrap();
            assert_eq!(parked.iter().map(|p| p.position.get()).collect::<Vec<_>>(), [3]);
            if finished {
                break;
            }
            crash += 1;
        }
        assert!(crash > 2, "{crash} operations");
    }
}
