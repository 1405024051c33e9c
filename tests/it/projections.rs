//! Projections and process managers: what is handled, how often, and what is told of it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use factlog::{
    Control, Durability, ErrorKind, Event, Expect, NewEvent, Poison, Position, RecordedEvent,
    Retry, RunState, Source, Store, disk::SimDisk,
};
use serde::{Deserialize, Serialize};

use crate::support::{ends, number, tick};

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(category = "Count")]
enum Count {
    Counted {
        #[tag]
        n: u64,
    },
}

fn counted(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
    let events = numbers.map(|n| NewEvent::of(&Count::Counted { n }).unwrap());
    store.append("Count-all", Expect::Any, events).unwrap();
}

fn n(event: &Count) -> u64 {
    let Count::Counted { n } = event;
    *n
}

const QUICK: Retry = Retry::times(3).wait(Duration::from_millis(1), Duration::from_millis(2));

fn until(what: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not happen");
}

fn state(control: &Control) -> RunState {
    control.status().state
}

#[test]
fn it_goes_on_where_it_was_also_after_a_restart() {
    let disk = SimDisk::new(1);
    let mut seen = Vec::new();
    for run in 0..4 {
        let store = Store::options().open_on(std::sync::Arc::new(disk.clone())).unwrap();
        counted(&store, run * 10 + 1..=run * 10 + 10);
        store.append("Clock-1", Expect::Any, [tick(1)]).unwrap(); // concerns it not
        let mut projection = store.projection::<Count>("seen").batch(3).start().unwrap();
        projection
            .catch_up(|events| {
                assert!(events.len() <= 3);
                seen.extend(events.iter().map(|event| n(&event.event)));
                Ok::<(), String>(())
            })
            .unwrap();
        let status = projection.control().status();
        assert_eq!((status.lag_events, status.handled, status.state), (0, 10, RunState::Idle));
        assert_eq!(store.checkpoint("seen").unwrap(), Some(store.last_position()));
    }
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
}

#[test]
fn what_comes_is_handled_as_it_comes_and_the_state_is_told() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        counted(&store, 1..=5);
        let mut projection = store.projection::<Count>("live").start().unwrap();
        let control = projection.control();
        assert_eq!(state(&control), RunState::Idle);
        assert_eq!(control.status().lag_events, 5);
        let sum = Mutex::new(0);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                projection.run(|events| {
                    *sum.lock().unwrap() += events.iter().map(|e| n(&e.event)).sum::<u64>();
                    Ok::<(), String>(())
                })
            });
            until(|| state(&control) == RunState::Live);
            assert_eq!(*sum.lock().unwrap(), 15);
            counted(&store, 6..=6);
            until(|| *sum.lock().unwrap() == 21);
            control.stop();
            run.join().unwrap().unwrap();
        });
        assert_eq!(state(&control), RunState::Stopped);
        counted(&store, 7..=9);
        let status = control.status();
        assert_eq!((status.lag_events, status.handled), (3, 6));
    });
}

#[test]
fn one_name_runs_once() {
    let store = Store::in_memory().unwrap();
    let first = store.projection::<Count>("one").start().unwrap();
    let second = store.projection::<Count>("one").start();
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Locked);
    drop(first);
    store.projection::<Count>("one").start().unwrap();
}

#[test]
fn an_event_that_fails_is_found_tried_again_and_ends_the_projection() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=9);
    let mut projection = store.projection::<Count>("p").retry(QUICK).start().unwrap();
    let (mut tries, mut seen, mut broken) = (0, Vec::new(), true);
    for expected in [false, true] {
        let outcome = projection.catch_up(|events| {
            if broken && events.iter().any(|event| n(&event.event) == 5) {
                tries += u32::from(events.len() == 1);
                return Err("five is out of order");
            }
            seen.extend(events.iter().map(|event| n(&event.event)));
            Ok(())
        });
        assert_eq!(outcome.is_ok(), expected);
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Failed);
            assert_eq!(error.position(), Some(Position::new(5)));
            assert!(error.to_string().contains("five is out of order"), "{error}");
            let RunState::Faulted { reason } = state(&projection.control()) else { panic!() };
            assert!(reason.contains("five is out of order"), "{reason}");
            assert_eq!(store.checkpoint("p").unwrap(), Some(Position::new(4)), "four are kept");
            assert_eq!(tries, 4);
            broken = false;
        }
    }
    assert_eq!(seen, (1..=9).collect::<Vec<_>>(), "nothing is passed over, nothing comes twice");
}

#[test]
fn a_poison_event_is_parked_with_its_reason_and_replayed_later() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=6);
    let bad = NewEvent::json_text("Counted", r#"{"n":"seven"}"#);
    store.append("Count-all", Expect::Any, [bad]).unwrap();
    counted(&store, 8..=9);
    let options = || store.projection::<Count>("p").retry(QUICK).poison(Poison::Park);
    let mut projection = options().start().unwrap();
    let mut seen = Vec::new();
    projection
        .catch_up(|events| {
            if events.iter().any(|event| [2, 4].contains(&n(&event.event))) {
                return Err(format!("not {:?}", n(&events[0].event)));
            }
            seen.extend(events.iter().map(|event| n(&event.event)));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [1, 3, 5, 6, 8, 9]);
    let parked = store.parked("p").unwrap();
    let told: Vec<_> = parked.iter().map(|p| (p.position.get(), p.attempts)).collect();
    assert_eq!(told, [(2, 4), (4, 4), (7, 1)]);
    assert_eq!(parked[0].reason, "not 2");
    assert!(parked[2].reason.contains("does not decode"), "{}", parked[2].reason);
    let status = projection.control().status();
    assert_eq!((status.handled, status.parked), (9, 3));
    // What was parked stays so over a restart, and what is handled then is parked no longer.
    drop(projection);
    let mut projection = options().start().unwrap();
    let mut again = Vec::new();
    let replayed = projection.replay_parked(|events| match n(&events[0].event) {
        4 => Err("still not"),
        n => {
            again.push(n);
            Ok(())
        }
    });
    assert_eq!((replayed.unwrap(), again), (1, vec![2]));
    let left = store.parked("p").unwrap();
    let told: Vec<_> = left.iter().map(|p| (p.position.get(), p.attempts, &*p.reason)).collect();
    assert_eq!(told[0], (4, 5, "still not"));
    assert!(told[1].0 == 7 && told[1].2.contains("does not decode"), "7 can be read by nobody yet");
}

#[test]
fn an_outage_is_waited_for_and_told() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        counted(&store, 1..=3);
        let retry = Retry::forever().wait(Duration::from_millis(1), Duration::from_millis(5));
        let mut projection = store.projection::<Count>("p").retry(retry).start().unwrap();
        let control = projection.control();
        let (down, seen) = (AtomicBool::new(true), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                projection.run(|events| {
                    if down.load(Ordering::SeqCst) {
                        return Err("no connection");
                    }
                    seen.fetch_add(events.len() as u32, Ordering::SeqCst);
                    Ok(())
                })
            });
            until(|| matches!(state(&control), RunState::Retrying { failures: 3.., .. }));
            assert_eq!(control.status().position, Position::START);
            down.store(false, Ordering::SeqCst);
            until(|| state(&control) == RunState::Live);
            assert_eq!(seen.load(Ordering::SeqCst), 3);
            down.store(true, Ordering::SeqCst);
            counted(&store, 4..=4);
            until(|| matches!(state(&control), RunState::Retrying { .. }));
            control.stop(); // also out of a wait
            run.join().unwrap().unwrap();
        });
        assert_eq!(store.checkpoint("p").unwrap(), Some(Position::new(3)));
    });
}

#[test]
fn a_handler_that_panics_is_not_told_to_be_live() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=1);
    let mut projection = store.projection::<Count>("p").start().unwrap();
    let control = projection.control();
    let run = std::panic::AssertUnwindSafe(|| {
        projection.run(|_| -> Result<(), String> { panic!("a bug") })
    });
    assert!(std::panic::catch_unwind(run).is_err());
    assert_eq!(state(&control), RunState::Faulted { reason: "the handler panicked".into() });
}

#[test]
fn partitions_keep_the_order_of_each_key() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        for n in 0..1000 {
            store.append(format!("Clock-{}", n % 7), Expect::Any, [tick(n)]).unwrap();
        }
        let mut projection = store.projection::<RecordedEvent>("p").batch(100).start().unwrap();
        let control = projection.control();
        let seen: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::default();
        let most = AtomicU32::new(0);
        projection
            .run_partitioned(
                4,
                |event| event.stream().to_owned(),
                |events| {
                    let mut seen = seen.lock().unwrap();
                    for event in events {
                        seen.entry(event.stream().into()).or_default().push(number(event));
                    }
                    let all = seen.values().map(Vec::len).sum::<usize>();
                    most.fetch_max(all as u32, Ordering::SeqCst);
                    if all == 1000 {
                        control.stop();
                    }
                    Ok::<(), String>(())
                },
            )
            .unwrap();
        for (stream, numbers) in seen.into_inner().unwrap() {
            let first: u64 = stream.trim_start_matches("Clock-").parse().unwrap();
            let wanted: Vec<_> = (0..1000).filter(|n| n % 7 == first).collect();
            assert_eq!(numbers, wanted, "{stream}");
        }
        assert_eq!(store.checkpoint("p").unwrap(), Some(Position::new(1000)));
    });
}

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(category = "Answer")]
enum Answer {
    Given {
        #[tag]
        n: u64,
    },
}

/// The power is cut at every operation of `run`, and from every disk that may be left it is run
/// again; `check` looks at what there is then. `T` is what a database would hold: durable at once.
fn power_cuts<T: Clone>(
    durability: Durability,
    prepare: impl Fn(&Store) -> T,
    run: impl Fn(&Store, &mut T) -> factlog::Result<()>,
    check: impl Fn(&Store, &T, u64),
) {
    let open = |disk: &SimDisk| {
        let options = Store::options().background_threads(false).durability(durability);
        options.open_on(std::sync::Arc::new(disk.clone())).unwrap()
    };
    let mut crash = 0;
    loop {
        let disk = SimDisk::new(crash);
        let store = open(&disk);
        let mut table = prepare(&store);
        store.sync().unwrap();
        disk.crash_at(disk.operations() + crash);
        let finished = run(&store, &mut table).is_ok();
        for cut in 0..4 {
            let (store, mut table) = (open(&disk.after_power_cut(4 * crash + cut)), table.clone());
            run(&store, &mut table).unwrap();
            check(&store, &table, crash);
        }
        if finished {
            break;
        }
        crash += 1;
    }
    assert!(crash > 1, "{crash} operations");
}

fn answers(store: &Store) -> Vec<u64> {
    let answers = store.read_category("Answer").typed::<Answer>().values().unwrap();
    answers.into_iter().map(|Answer::Given { n }| n).collect()
}

#[test]
fn what_is_emitted_and_how_far_it_is_are_one_commit() {
    let answer = |store: &Store, _: &mut ()| {
        let mut process = store.projection::<Count>("answers").batch(2).start()?;
        process.catch_up_emitting(|question, outbox| {
            outbox.emit(Answer::Given { n: n(&question.event) });
            Ok::<(), String>(())
        })
    };
    for durability in [Durability::Sync, Durability::Os] {
        power_cuts(
            durability,
            |store| counted(store, 1..=4),
            answer,
            |store, (), crash| {
                assert_eq!(answers(store), [1, 2, 3, 4], "crash {crash}");
                let given = store.last_event("Answer-4").unwrap().unwrap();
                let question = store.stream_event("Count-all", factlog::Version::new(4));
                let id = question.unwrap().unwrap().id().to_string();
                assert_eq!((given.causation(), given.correlation()), (Some(&*id), Some(&*id)));
            },
        );
    }
}

/// In a store that is not synced at every append, the checkpoint of a later batch that emitted
/// nothing was on disk before what an earlier one had emitted.
#[test]
fn an_answer_is_not_lost_behind_a_later_checkpoint() {
    let answer = |store: &Store, _: &mut ()| {
        let mut process = store.projection::<Count>("answers").batch(1).start()?;
        process.catch_up_emitting(|question, outbox| {
            let n = n(&question.event);
            if n == 1 {
                outbox.emit(Answer::Given { n });
            }
            Ok::<(), String>(())
        })
    };
    for durability in [Durability::Sync, Durability::Os] {
        power_cuts(
            durability,
            |store| counted(store, 1..=3),
            answer,
            |store, (), crash| {
                assert_eq!(answers(store), [1], "crash {crash}");
            },
        );
    }
}

/// As with answers, the park of an event was lost behind the place that the handler keeps.
#[test]
fn a_parked_event_is_not_lost_behind_a_place_of_the_handlers_own() {
    let run = |store: &Store, place: &mut Position| {
        let options = store.projection::<Count>("sql").after(*place).batch(1);
        let mut projection = options.retry(Retry::never()).poison(Poison::Park).start()?;
        projection.catch_up(|events| {
            if n(&events[0].event) == 1 {
                return Err("not one");
            }
            *place = events[0].position();
            Ok(())
        })
    };
    let prepare = |store: &Store| {
        counted(store, 1..=3);
        Position::START
    };
    for durability in [Durability::Sync, Durability::Os] {
        power_cuts(durability, prepare, run, |store, _, crash| {
            let parked = store.parked("sql").unwrap();
            assert_eq!(parked.len(), 1, "crash {crash}: {parked:?}");
        });
    }
}

#[test]
fn what_a_failed_handler_emitted_is_forgotten() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=3);
    let options = store.projection::<Count>("p").retry(QUICK).poison(Poison::Park);
    let mut process = options.start().unwrap();
    process
        .catch_up_emitting(|question, outbox| {
            let n = n(&question.event);
            outbox.emit(Answer::Given { n });
            if n == 2 { Err("not two") } else { Ok(()) }
        })
        .unwrap();
    let answers = store.read_category("Answer").typed::<Answer>().values().unwrap();
    assert_eq!(answers, [Answer::Given { n: 1 }, Answer::Given { n: 3 }]);
    assert_eq!(store.parked("p").unwrap().len(), 1);
    assert_eq!(store.checkpoint("p").unwrap(), Some(Position::new(3)));
}

#[test]
fn a_handler_that_keeps_its_own_place_saves_no_checkpoint() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=5);
    let mut table: (u64, Position) = (0, Position::START); // as a database would hold both
    for last in [5, 8] {
        let mut projection = store.projection::<Count>("sql").after(table.1).start().unwrap();
        projection
            .catch_up(|events| {
                table.0 += events.iter().map(|event| n(&event.event)).sum::<u64>();
                table.1 = events.last().map_or(table.1, |event| event.position());
                Ok::<(), String>(())
            })
            .unwrap();
        assert_eq!(table, ((1..=last).sum(), Position::new(last)));
        counted(&store, last + 1..=last + 3);
    }
    assert_eq!(store.checkpoint("sql").unwrap(), None);
    let mut projection = store.projection::<Count>("sql").after(table.1).start().unwrap();
    let refused = projection.catch_up_emitting(|_, _| Ok::<(), String>(()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_projection_is_rebuilt_beside_the_old_one_and_takes_its_place() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=5);
    let sum = |events: &[factlog::Typed<Count>]| events.iter().map(|e| n(&e.event)).sum::<u64>();
    let mut old = 0;
    let mut running = store.projection::<Count>("sum").start().unwrap();
    let mut fold = |events: &[_]| {
        old += sum(events);
        Ok::<(), String>(())
    };
    running.catch_up(&mut fold).unwrap();
    let mut new = 0;
    let mut beside = store.projection::<Count>("sum").rebuild().unwrap();
    beside
        .catch_up(|events| {
            new += 10 * sum(events);
            Ok::<(), String>(())
        })
        .unwrap();
    counted(&store, 6..=6);
    running.catch_up(&mut fold).unwrap();
    let beside = {
        let handle = |_: &[_]| Ok::<(), String>(());
        let refused = beside.switch(handle, || Ok::<(), String>(()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Locked, "the old one still runs");
        drop(running);
        store.projection::<Count>("sum").rebuild().unwrap()
    };
    let mut active = old;
    let rest = |events: &[_]| {
        new += 10 * sum(events);
        Ok::<(), String>(())
    };
    beside
        .switch(rest, || {
            active = 0;
            Ok::<(), String>(())
        })
        .unwrap();
    if active == 0 {
        active = new;
    }
    assert_eq!((old, active), (21, 210), "and nothing was missed or handled twice");
    assert_eq!(store.checkpoint("sum").unwrap(), Some(store.last_position()));
    assert_eq!(store.checkpoint("sum~rebuild").unwrap(), Some(Position::START));
}

#[test]
fn types_that_are_not_known_are_passed_over_or_refused() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=1);
    store.append("Count-all", Expect::Any, [NewEvent::binary("Other", "")]).unwrap();
    counted(&store, 2..=2);
    let options = || store.projection::<Count>("p").from(Source::category("Count"));
    let mut seen = 0;
    let mut see = |events: &[_]| {
        seen += events.len();
        Ok::<(), String>(())
    };
    let error = options().refuse_unknown().start().unwrap().catch_up(&mut see).unwrap_err();
    assert_eq!((error.kind(), error.position()), (ErrorKind::Decode, Some(Position::new(2))));
    options().start().unwrap().catch_up(&mut see).unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn lag_is_told_in_events_and_in_age() {
    let clock = std::sync::Arc::new(factlog::ManualClock::at(1_000_000));
    let store = Store::options().clock(clock.clone()).in_memory().unwrap();
    let mut projection = store.projection::<Count>("p").start().unwrap();
    let lag = |projection: &factlog::Projection<Count>| {
        let status = projection.control().status();
        (status.lag_events, status.lag.unwrap().as_secs())
    };
    assert_eq!(lag(&projection), (0, 0));
    counted(&store, 1..=1);
    clock.set(4_000_000);
    counted(&store, 2..=3);
    clock.set(9_000_000);
    assert_eq!(lag(&projection), (3, 8), "since the first that waits was recorded");
    projection.catch_up(|_| Ok::<(), String>(())).unwrap();
    assert_eq!(lag(&projection), (0, 0));
}

/// A process manager's parked events could only be replayed apart from what they emit.
#[test]
fn a_parked_event_is_answered_exactly_once_wherever_the_power_is_cut() {
    let options = |store: &Store| {
        store.projection::<Count>("answers").retry(Retry::never()).poison(Poison::Park)
    };
    let prepare = |store: &Store| {
        counted(store, 1..=3);
        let failing = |_: &_, _: &mut factlog::Outbox| Err::<(), _>("not now");
        store.sync().unwrap();
        options(store).start().unwrap().catch_up_emitting(failing).unwrap();
        assert_eq!(store.parked("answers").unwrap().len(), 3);
    };
    let replay = |store: &Store, _: &mut ()| {
        let answered = options(store).start()?.replay_parked_emitting(|question, outbox| {
            outbox.emit(Answer::Given { n: n(&question.event) });
            Ok::<(), String>(())
        });
        answered.map(drop)
    };
    for durability in [Durability::Sync, Durability::Os] {
        power_cuts(durability, prepare, replay, |store, (), crash| {
            assert_eq!(answers(store), [1, 2, 3], "crash {crash}");
            assert_eq!(store.parked("answers").unwrap(), []);
        });
    }
}

/// The rebuilt one's checkpoint was put back last: a process that ended before left it where it
/// was, and the next rebuild began in the middle, in an empty table.
#[test]
fn a_switch_that_is_interrupted_leaves_no_place_for_the_next_rebuild() {
    type Tables = (bool, Vec<u64>); // swapped, and the new one
    let run = |store: &Store, (swapped, table): &mut Tables| {
        let beside = store.projection::<Count>("sum").batch(2).rebuild()?;
        if *swapped || beside.control().status().position == Position::START {
            (*swapped, *table) = (false, Vec::new()); // another rebuild, or this one anew
        }
        let handle = |events: &[factlog::Typed<Count>]| {
            table.extend(events.iter().map(|event| n(&event.event)));
            Ok::<(), String>(())
        };
        beside.switch(handle, || {
            *swapped = true;
            Ok::<(), String>(())
        })
    };
    let prepare = |store: &Store| {
        counted(store, 1..=5);
        (false, Vec::new())
    };
    power_cuts(Durability::Sync, prepare, run, |store, (swapped, table), crash| {
        let all: std::collections::BTreeSet<_> = table.iter().copied().collect();
        assert!(*swapped && all == (1..=5).collect(), "crash {crash}: {table:?}");
        assert_eq!(store.checkpoint("sum").unwrap(), Some(Position::new(5)));
        assert_eq!(store.checkpoint("sum~rebuild").unwrap(), Some(Position::START));
    });
}

#[test]
fn a_switch_whose_swap_fails_can_be_tried_again_where_it_was() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=5);
    let beside = || store.projection::<Count>("sum").rebuild().unwrap();
    let none = |_: &[factlog::Typed<Count>]| Ok::<(), String>(());
    let error = beside().switch(none, || Err("the database is locked")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("the database is locked"), "{error}");
    assert_eq!(beside().control().status().position, Position::new(5));
    assert_eq!(store.checkpoint("sum").unwrap(), None);
}

/// A rebuild passed over the place that was given and began at a checkpoint that nobody saves.
#[test]
fn a_rebuild_that_keeps_its_own_place_goes_on_from_it() {
    let store = Store::in_memory().unwrap();
    counted(&store, 1..=5);
    let place = Position::new(3); // as the new table holds it, after an interruption
    let beside = store.projection::<Count>("sql").after(place).rebuild().unwrap();
    let mut seen = Vec::new();
    let rest = |events: &[factlog::Typed<Count>]| {
        seen.extend(events.iter().map(|event| n(&event.event)));
        Ok::<(), String>(())
    };
    beside.switch(rest, || Ok::<(), String>(())).unwrap();
    assert_eq!(seen, [4, 5]);
    assert_eq!(store.checkpoints().unwrap().len(), 0, "the places are the tables' own");
}

/// With writers that do not pause, it never came to an end.
#[test]
fn catching_up_ends_with_what_was_there_when_it_began() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        counted(&store, 1..=5);
        let mut seen = 0;
        let mut projection = store.projection::<Count>("p").batch(2).start().unwrap();
        projection
            .catch_up(|events| {
                seen += events.len() as u64;
                counted(&store, 6..=7);
                Ok::<(), String>(())
            })
            .unwrap();
        assert!((5..8).contains(&seen), "{seen}");
    });
}

/// A handler that needs the store fails once it is closed, and was tried again for minutes.
#[test]
fn a_store_that_is_closed_ends_its_projections_also_those_that_retry() {
    ends(|| {
        for retrying in [false, true] {
            let store = Store::in_memory().unwrap();
            counted(&store, 1..=3);
            let retry = Retry::forever().wait(Duration::from_secs(3600), Duration::MAX);
            let mut projection = store.projection::<Count>("p").retry(retry).start().unwrap();
            let control = projection.control();
            std::thread::scope(|scope| {
                let run = scope.spawn(|| {
                    projection.run(|_| if retrying { Err("no connection") } else { Ok(()) })
                });
                until(|| match state(&control) {
                    RunState::Retrying { .. } => retrying,
                    RunState::Live => !retrying,
                    _ => false,
                });
                store.clone().close().unwrap();
                run.join().unwrap().unwrap();
            });
            let status = control.status();
            assert_eq!(status.state, RunState::Stopped);
            assert_eq!(status.lag.is_none(), retrying, "what cannot be read is not told");
            // What was to catch up has not.
            let mut projection = projection;
            let error = projection.catch_up(|_| Ok::<(), String>(())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed);
        }
    });
}

/// An upcaster that panicked took the projection with it, every time it was started again.
#[test]
fn an_event_whose_upcaster_panics_is_poison_like_any_other() {
    #[derive(Clone, Event, Serialize, Deserialize)]
    #[event(upcasts = &[factlog::Upcast::json("Paid", 1, |mut data| {
        data["currency"] = "EUR".into(); // panics when the data is no object
        Ok(data)
    })])]
    enum Order {
        #[event(version = 2)]
        Paid { currency: String },
    }
    let store = Store::in_memory().unwrap();
    let old = ["[]", "{}"].map(|data| NewEvent::json_text("Paid", data));
    store.append("Order-1", Expect::Any, old).unwrap();
    let mut seen = Vec::new();
    let options = store.projection::<Order>("p").poison(Poison::Park);
    options
        .start()
        .unwrap()
        .catch_up(|events| {
            let currency = |event: &factlog::Typed<Order>| {
                let Order::Paid { currency } = &event.event;
                currency.clone()
            };
            seen.extend(events.iter().map(currency));
            Ok::<(), String>(())
        })
        .unwrap();
    assert_eq!(seen, ["EUR"]);
    let parked = store.parked("p").unwrap();
    assert!(parked[0].reason.contains("the upcaster panicked"), "{}", parked[0].reason);
    let diagnosis = store.doctor().knows::<Order>().decode_all().examine().unwrap();
    assert!(diagnosis.to_string().contains("1 do not decode"), "{diagnosis}");
}
