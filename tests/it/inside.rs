//! Decisions inside the writer: nobody comes between, and what goes wrong is the decider's own.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use factlog::{
    DecideError, Durability, ErrorKind, Event, Expect, Model, ModelCache, NewEvent, Query, Scope,
    Store,
    disk::{Fault, FaultCall, FaultKind, SimDisk},
    tag,
};
use serde::{Deserialize, Serialize};

use crate::support::{ends, tick};

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
enum Sale {
    Sold {
        #[tag]
        concert: u64,
        seat: u64,
    },
}

/// Counted by a stream, or by a tag.
#[derive(Debug, Clone)]
struct Seats {
    concert: u64,
    by_tag: bool,
    sold: Vec<u64>,
}

impl Model for Seats {
    type Event = Sale;

    fn scope(&self) -> Scope {
        match self.by_tag {
            true => Query::tags([tag("concert", self.concert)]).into(),
            false => Scope::stream("Concert", self.concert),
        }
    }

    fn apply(&mut self, Sale::Sold { seat, .. }: Sale) {
        self.sold.push(seat);
    }
}

fn seats(concert: u64, by_tag: bool) -> Seats {
    Seats { concert, by_tag, sold: Vec::new() }
}

fn sell(seats: &Seats, most: u64) -> Result<[factlog::Emit; 1], String> {
    let next = seats.sold.len() as u64 + 1;
    if next > most {
        return Err("sold out".into());
    }
    use factlog::Emits;
    let concert = seats.concert;
    Ok([Sale::Sold { concert, seat: next }.on(format!("Concert-{concert}").as_str())])
}

fn store_error<B: std::fmt::Debug, X: std::fmt::Debug>(
    decided: Result<factlog::Decided<B>, DecideError<X>>,
) -> factlog::Error {
    match decided {
        Err(DecideError::Store(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn sold_once_each(store: &Store, concert: u64, most: u64) {
    let sold = store.load(seats(concert, true)).unwrap().sold;
    assert_eq!(sold, (1..=most).collect::<Vec<_>>());
}

#[test]
fn a_hot_boundary_never_conflicts() {
    ends(|| {
        for by_tag in [false, true] {
            let store = Store::in_memory().unwrap();
            let (threads, each) = (8, 50);
            let barrier = Arc::new(Barrier::new(threads));
            let refused: usize = std::thread::scope(|scope| {
                let run = || {
                    barrier.wait();
                    let one = |_: &u64| {
                        match store.decide_inside(seats(1, by_tag), |s| sell(s, 300)) {
                            Ok(decided) => assert_eq!(decided.attempts, 1),
                            Err(error) => {
                                assert_eq!(error.refused().as_deref(), Some("sold out"));
                                return true;
                            }
                        }
                        false
                    };
                    (0..each).filter(one).count()
                };
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(refused, 100);
            sold_once_each(&store, 1, 300);
        }
    });
}

#[test]
fn it_sees_what_its_own_group_has_accepted() {
    // Without threads of its own the store commits both in one group when the second waits.
    let store = Store::options().background_threads(false).in_memory().unwrap();
    let seat = NewEvent::of(&Sale::Sold { concert: 1, seat: 1 }).unwrap();
    let ticket = store.batch().append("Concert-1", Expect::NoStream, [seat]).submit().unwrap();
    assert!(ticket.outcome().is_none(), "it is only queued");
    let decided = store.decide_inside(seats(1, false), |s| sell(s, 9)).unwrap();
    assert_eq!(decided.state.sold, [1]);
    assert_eq!(ticket.wait().unwrap().last.get(), 1);
    sold_once_each(&store, 1, 2);
}

#[test]
fn a_refusal_waits_for_what_it_rests_on() {
    let store = Store::options().background_threads(false).in_memory().unwrap();
    let seat = NewEvent::of(&Sale::Sold { concert: 1, seat: 1 }).unwrap();
    let ticket = store.batch().append("Concert-1", Expect::NoStream, [seat]).submit().unwrap();
    let refused = store.decide_inside(seats(1, false), |s| sell(s, 1)).unwrap_err().refused();
    assert_eq!(refused.as_deref(), Some("sold out"));
    assert!(ticket.outcome().is_some(), "what it was refused for is durable");
}

#[test]
fn a_panic_fails_only_its_own_decision() {
    let store = Store::options().background_threads(false).in_memory().unwrap();
    let other = store.batch().append("Clock-1", Expect::Any, [tick(1)]).submit().unwrap();
    let panics = store.decide_inside(seats(1, false), |_| -> Result<[Sale; 1], String> {
        panic!("a bug of the application's")
    });
    let error = store_error(panics);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("a bug of the application's"), "{error}");
    assert_eq!(other.wait().unwrap().last.get(), 1);
    store.decide_inside(seats(1, false), |s| sell(s, 1)).unwrap();
    store.append("Clock-1", Expect::Any, [tick(2)]).unwrap();
}

#[test]
fn a_rule_inside_cannot_call_the_store() {
    ends(|| {
        type Call = fn(&Store) -> factlog::Result<()>;
        let calls: [Call; 9] = [
            |store| store.append("Clock-1", Expect::Any, [tick(1)]).map(drop),
            |store| store.batch().check("A-1", Expect::NoStream).submit().map(drop),
            |store| store.read_all().count().map(drop),
            |store| store.head("Clock-1").map(drop),
            |store| store.sync(),
            |store| store.clone().close(),
            |store| store.save_checkpoint("c", factlog::Position::START),
            |store| store.subscribe(factlog::Source::All).start(factlog::Start::End).map(drop),
            |store| store.load(seats(1, true)).map(drop),
        ];
        let store = Store::in_memory().unwrap();
        store.append("Clock-1", Expect::Any, [tick(1)]).unwrap();
        for (number, call) in calls.into_iter().enumerate() {
            let inside = store.clone();
            let decided = store.decide_inside(seats(1, false), move |_| {
                let error = call(&inside).unwrap_err();
                assert!(error.to_string().contains("cannot call the store"), "{error}");
                Err::<[Sale; 1], _>(number)
            });
            assert_eq!(decided.unwrap_err().refused(), Some(number));
        }
        // And afterwards everything can be called again.
        calls
            .into_iter()
            .enumerate()
            .filter(|(at, _)| *at != 5)
            .for_each(|(_, call)| call(&store).unwrap());
    });
}

/// The budget was 10 ms once, and on a busy machine rules of microseconds failed now and then:
/// their thread had not been running.
#[test]
fn a_rule_that_was_kept_waiting_does_not_fail() {
    let store = Store::in_memory().unwrap();
    let decided = store.decide_inside(seats(1, false), |s| {
        std::thread::sleep(Duration::from_millis(60)); // as the scheduler does it
        sell(s, 1)
    });
    decided.unwrap();
}

#[test]
fn a_rule_that_takes_too_long_fails() {
    let store = Store::in_memory().unwrap();
    let decider = store.decider().budget(Duration::from_millis(1));
    let error = store_error(decider.decide_inside(seats(1, false), |s| {
        std::thread::sleep(Duration::from_millis(20));
        sell(s, 1)
    }));
    assert!(error.to_string().contains("inside the writer, allowed are 1ms"), "{error}");
    assert_eq!(store.last_position().get(), 0);
}

#[test]
fn a_command_is_decided_once_inside_too() {
    ends(|| {
        let store = Store::in_memory().unwrap();
        let barrier = Barrier::new(4);
        let answers: Vec<bool> = std::thread::scope(|scope| {
            let send = || {
                barrier.wait();
                let decider = store.decider().once("k1");
                let decided = decider.decide_inside(seats(1, false), |s| sell(s, 9)).unwrap();
                decided.appended.unwrap().already
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|already| !**already).count(), 1);
        sold_once_each(&store, 1, 1);
    });
}

#[test]
fn a_command_that_its_own_group_has_answered_is_not_decided_again() {
    let store = Store::options().background_threads(false).in_memory().unwrap();
    let sold = NewEvent::of(&Sale::Sold { concert: 9, seat: 1 }).unwrap().tag("command:k1");
    let ticket = store.batch().append("Concert-9", Expect::NoStream, [sold]).submit().unwrap();
    let decider = store.decider().once("k1");
    let decided = decider.decide_inside(seats(1, false), |s| sell(s, 9)).unwrap();
    let (first, again) = (ticket.wait().unwrap(), decided.appended.unwrap());
    assert!(again.already);
    assert_eq!(first.streams, again.streams);
    assert_eq!(store.last_position().get(), 1);
}

#[test]
fn a_cached_model_is_decided_on_inside() {
    let store = Store::in_memory().unwrap();
    let cache = ModelCache::new(10);
    for _ in 0..5 {
        store.decide_inside(cache.of(seats(1, false)), |s| sell(s, 9)).unwrap();
    }
    assert_eq!(store.load(cache.of(seats(1, false))).unwrap().sold.len(), 5);
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_refusal_is_taken_back_when_what_it_rests_on_fails() {
    // The last seat is sold in the group that the disk has no room for.
    let run = |durability| {
        let disk = SimDisk::new(3);
        let options = Store::options().background_threads(false).durability(durability);
        let store = options.open_on(Arc::new(disk.clone())).unwrap();
        let seat = NewEvent::of(&Sale::Sold { concert: 1, seat: 7 }).unwrap();
        let ticket = store.batch().append("Concert-1", Expect::NoStream, [seat]).submit().unwrap();
        disk.inject(Fault::once(FaultCall::Write, 0, FaultKind::Os(28)));
        let decided = store.decide_inside(seats(1, false), |s| sell(s, 1)).unwrap();
        assert_eq!(decided.state.sold, [] as [u64; 0], "the rule ran again on what is there");
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::DiskFull);
        sold_once_each(&store, 1, 1);
        store.sync().unwrap();
        for seed in 0..20 {
            let store = Store::options().open_on(Arc::new(disk.after_power_cut(seed))).unwrap();
            sold_once_each(&store, 1, 1);
        }
    };
    // Where nothing is synced either, an answer still waits for what it rests on to be written.
    ends(move || [Durability::Sync, Durability::Os].map(run));
}

#[test]
fn it_is_made_again_when_it_has_no_room_in_its_segment() {
    let options = Store::options().background_threads(false).segment_bytes(16 << 10);
    let store = options.in_memory().unwrap();
    for _ in 0..20 {
        let large = NewEvent::binary("Large", vec![0; 3000]);
        let other = store.batch().append("Other-1", Expect::Any, [large]).submit().unwrap();
        store.decide_inside(seats(1, false), |s| sell(s, 20)).unwrap();
        other.wait().unwrap();
    }
    sold_once_each(&store, 1, 20);
}

/// A model that called the store while it was folded hung the writer, which waited for itself.
#[test]
fn a_model_cannot_call_the_store_while_it_is_folded() {
    #[derive(Clone)]
    struct Meddling(Store, Option<ErrorKind>);
    impl Model for Meddling {
        type Event = Sale;
        fn scope(&self) -> Scope {
            Scope::stream("Concert", 1)
        }
        fn apply(&mut self, _: Sale) {
            let told = self.0.append("Clock-1", Expect::Any, [tick(1)]);
            self.1 = told.err().map(|error| error.kind());
        }
    }
    ends(|| {
        let store = Store::options().background_threads(false).in_memory().unwrap();
        let seat = NewEvent::of(&Sale::Sold { concert: 1, seat: 1 }).unwrap();
        let ticket = store.batch().append("Concert-1", Expect::Any, [seat]).submit().unwrap();
        let decided = store.decide_inside(Meddling(store.clone(), None), |meddling| {
            Err::<[Sale; 1], _>(meddling.1)
        });
        assert_eq!(decided.err().unwrap().refused(), Some(Some(ErrorKind::Invalid)));
        ticket.wait().unwrap();
        let state = store.load(Meddling(store.clone(), None)).unwrap();
        assert_eq!(state.1, Some(ErrorKind::Invalid), "there is one rule for all ways to fold");
    });
}
