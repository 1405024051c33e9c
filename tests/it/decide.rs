//! Models that decide: the boundary, conflicts, snapshots, caches, commands sent twice.

use std::collections::BTreeSet;
use std::sync::Barrier;

use factlog::{
    DecideError, Emits, ErrorKind, Event, EventRef, Expect, Given, Metadata, Model, ModelCache,
    NewEvent, Query, Scope, Snapshots, Store, Timestamp, Version, tag,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
enum Bank {
    Opened { owner: String },
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    id: String,
    open: bool,
    balance: u64,
    /// How many events were folded by this value itself: snapshots and caches save them.
    #[serde(skip)]
    folded: u64,
}

impl Account {
    fn of(id: &str) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

impl Model for Account {
    type Event = Bank;

    fn scope(&self) -> Scope {
        Scope::stream("Account", &self.id)
    }

    fn apply(&mut self, event: Bank) {
        self.folded += 1;
        match event {
            Bank::Opened { .. } => self.open = true,
            Bank::Deposited { cents } => self.balance += cents,
            Bank::Withdrawn { cents } => self.balance -= cents,
        }
    }

    fn snapshots() -> Option<Snapshots<Self>> {
        Some(Snapshots::every(10, "account"))
    }
}

#[derive(Debug, PartialEq)]
enum No {
    Closed,
    Short(u64),
}

fn withdraw(account: &Account, cents: u64) -> Result<[Bank; 1], No> {
    match account.balance.checked_sub(cents) {
        _ if !account.open => Err(No::Closed),
        None => Err(No::Short(cents - account.balance)),
        Some(_) => Ok([Bank::Withdrawn { cents }]),
    }
}

fn opened() -> Bank {
    Bank::Opened { owner: "ada".into() }
}

/// What is left of a reclaimed event is not folded, but it counts: a decision on a stream that ends
/// with such events was refused again and again, because it expected the last version it had read.
#[test]
fn a_decision_goes_on_behind_reclaimed_events() {
    let store = Store::options().segment_bytes(16 << 10).background_threads(false);
    let store = store.in_memory().unwrap();
    store.decide(Account::of("7"), |_| Ok::<_, No>([opened()])).unwrap();
    deposit(&store, "7", 5);
    store.append("Fill", Expect::Any, [NewEvent::binary("Filled", vec![0; 12_000])]).unwrap();
    store.append("Fill", Expect::Any, [NewEvent::binary("Filled", vec![0; 12_000])]).unwrap();
    let gone = |event: &EventRef<'_>| {
        (event.position().get() == 2).then_some(factlog::HiddenReason::Expired)
    };
    assert_eq!(store.reclaim_where(gone).unwrap().events, 1);
    let decided = store.decide(Account::of("7"), |account| {
        assert_eq!((account.open, account.balance), (true, 0));
        Ok::<_, No>([Bank::Deposited { cents: 3 }])
    });
    let appended = decided.unwrap().appended.unwrap();
    assert_eq!(appended.streams[0].last, Version::new(3));
}

fn deposit(store: &Store, id: &str, cents: u64) {
    store.decide(Account::of(id), |_| Ok::<_, No>([Bank::Deposited { cents }])).unwrap();
}

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(category = "Course")]
enum Campus {
    Defined {
        #[tag]
        course: String,
        places: usize,
    },
    Enrolled {
        #[tag]
        course: String,
        #[tag]
        student: String,
    },
}

#[derive(Debug, Clone)]
struct Course {
    id: String,
    free: usize,
}

impl Model for Course {
    type Event = Campus;

    fn scope(&self) -> Scope {
        Query::tags([tag("course", &self.id)]).into()
    }

    fn apply(&mut self, event: Campus) {
        match event {
            Campus::Defined { places, .. } => self.free = places,
            Campus::Enrolled { .. } => self.free -= 1,
        }
    }
}

#[derive(Debug, Clone)]
struct Student {
    id: String,
    courses: BTreeSet<String>,
}

impl Model for Student {
    type Event = Campus;

    fn scope(&self) -> Scope {
        Query::tags([tag("student", &self.id)]).into()
    }

    fn apply(&mut self, event: Campus) {
        if let Campus::Enrolled { course, .. } = event {
            self.courses.insert(course);
        }
    }
}

fn course(id: &str) -> Course {
    Course { id: id.into(), free: 0 }
}

fn student(id: &str) -> Student {
    Student { id: id.into(), courses: BTreeSet::new() }
}

fn enrol((course, student): &(Course, Student)) -> Result<[Campus; 1], &'static str> {
    if course.free == 0 {
        return Err("course is full");
    }
    if student.courses.len() >= 2 {
        return Err("two courses already");
    }
    Ok([Campus::Enrolled { course: course.id.clone(), student: student.id.clone() }])
}

fn define(id: &str, places: usize) -> Campus {
    Campus::Defined { course: id.into(), places }
}

#[test]
fn a_rule_decides_on_what_was_recorded() {
    Given::events([opened(), Bank::Deposited { cents: 7 }])
        .when(Account::of("a"), |account| withdraw(account, 5))
        .then([Bank::Withdrawn { cents: 5 }]);
    Given::events([opened()])
        .when(Account::of("a"), |account| withdraw(account, 5))
        .then_refused(No::Short(5));
    Given::nothing().when(Account::of("a"), |a| withdraw(a, 5)).then_refused(No::Closed);
    Given::events([opened()])
        .when(Account::of("a"), |_| Ok::<Vec<Bank>, No>(vec![]))
        .then_nothing();
}

#[test]
#[should_panic(expected = "Withdrawn")]
fn given_when_then_notices_other_events() {
    Given::events([opened(), Bank::Deposited { cents: 7 }])
        .when(Account::of("a"), |account| withdraw(account, 5))
        .then([Bank::Withdrawn { cents: 6 }]);
}

#[test]
#[should_panic(expected = "expected a refusal")]
fn given_when_then_notices_a_missing_refusal() {
    Given::events([opened(), Bank::Deposited { cents: 7 }])
        .when(Account::of("a"), |account| withdraw(account, 5))
        .then_refused(No::Closed);
}

#[test]
fn a_boundary_of_two_queries_keeps_both_rules() {
    let given = || Given::events([define("c1", 1), define("c2", 9), define("c3", 9)]);
    let enrolled = |course: &str, student: &str| Campus::Enrolled {
        course: course.into(),
        student: student.into(),
    };
    given().when((course("c1"), student("s1")), enrol).then([enrolled("c1", "s1")]);
    given()
        .and([enrolled("c1", "s2")])
        .when((course("c1"), student("s1")), enrol)
        .then_refused("course is full");
    given()
        .and([enrolled("c2", "s1"), enrolled("c3", "s1")])
        .when((course("c1"), student("s1")), enrol)
        .then_refused("two courses already");
}

#[test]
fn decided_events_go_to_the_stream_of_their_model_or_their_own() {
    let store = Store::in_memory().unwrap();
    deposit(&store, "a", 5);
    assert_eq!(store.head("Account-a").unwrap().unwrap().version, Version::new(1));
    store.decide(course("c1"), |_| Ok::<_, No>([define("c1", 1)])).unwrap();
    assert_eq!(store.last_event("Course-c1").unwrap().unwrap().event_type(), "Defined");
    // With two streams, or none, each event says where it goes.
    let both = || (Account::of("a"), Account::of("b"));
    let error = store.decide(both(), |_| Ok::<_, No>([opened()])).unwrap_err();
    let DecideError::Store(error) = error else { panic!("{error:?}") };
    assert!(error.to_string().contains("event Opened has no stream"), "{error}");
    let transfer = || {
        Ok::<_, No>([
            Bank::Withdrawn { cents: 5 }.on("Account-a"),
            Bank::Deposited { cents: 5 }.on("Account-b"),
        ])
    };
    let decided = store.decide(both(), |_| transfer()).unwrap();
    assert_eq!(decided.appended.unwrap().streams.len(), 2);
    assert_eq!(store.load(Account::of("b")).unwrap().balance, 5);
}

#[test]
fn what_comes_between_is_folded_in_and_the_rule_runs_again() {
    let store = Store::in_memory().unwrap();
    store.decide(Account::of("a"), |_| Ok::<_, No>([opened()])).unwrap();
    deposit(&store, "a", 7);
    let mut balances = Vec::new();
    let decided = store.decide(Account::of("a"), |account| {
        balances.push((account.balance, account.folded));
        if balances.len() == 1 {
            deposit(&store, "a", 1);
            deposit(&store, "b", 1); // outside the boundary
        }
        withdraw(account, 8)
    });
    // The first run refuses before anything conflicts: a refusal on old state is not judged again.
    assert_eq!(decided.unwrap_err().refused(), Some(No::Short(1)));
    balances.clear();
    let decided = store
        .decide(Account::of("a"), |account| {
            balances.push((account.balance, account.folded));
            if balances.len() == 1 {
                deposit(&store, "a", 1);
            }
            withdraw(account, 8)
        })
        .unwrap();
    assert_eq!(decided.attempts, 2);
    assert_eq!(balances, [(8, 3), (9, 4)], "only what was new was folded");
    assert_eq!(store.load(Account::of("a")).unwrap().balance, 1);
}

#[test]
fn only_what_is_within_the_boundary_conflicts() {
    let store = Store::in_memory().unwrap();
    for event in [define("c1", 5), define("c2", 5)] {
        store.decide(course("x"), |_| Ok::<_, No>([event.clone()])).unwrap();
    }
    let mut runs = 0;
    let decided = store.decide((course("c1"), student("s1")), |state| {
        runs += 1;
        if runs == 1 {
            store.decide((course("c2"), student("s2")), enrol).unwrap();
            // A tag of the boundary on an event the models cannot fold.
            let noise = NewEvent::binary("Painted", "").tag("course:c1");
            store.append("Wall-1", Expect::Any, [noise]).unwrap();
        }
        enrol(state)
    });
    assert_eq!(decided.unwrap().attempts, 1);
    let mut runs = 0;
    let decided = store.decide((course("c1"), student("s9")), |state| {
        runs += 1;
        if runs == 1 {
            store.decide((course("c1"), student("s3")), enrol).unwrap();
        }
        enrol(state)
    });
    assert_eq!(decided.unwrap().attempts, 2);
}

#[test]
fn a_stream_that_is_only_looked_at_is_part_of_the_boundary() {
    let store = Store::in_memory().unwrap();
    let mut runs = 0;
    let decided = store.decide((Account::of("a"), Account::of("b")), |_| {
        runs += 1;
        if runs == 1 {
            deposit(&store, "b", 1);
        }
        Ok::<_, No>([Bank::Deposited { cents: 1 }.on("Account-a")])
    });
    assert_eq!(decided.unwrap().attempts, 2);
}

#[test]
fn attempts_are_bounded() {
    let store = Store::in_memory().unwrap();
    let mut runs = 0;
    let error = store.decider().attempts(3).decide(Account::of("a"), |_| {
        runs += 1;
        deposit(&store, "a", 1);
        Ok::<_, No>([opened()])
    });
    let DecideError::Store(error) = error.unwrap_err() else { panic!() };
    assert_eq!((error.kind(), runs), (ErrorKind::Conflict, 3));
}

#[test]
fn threads_never_overbook() {
    let store = Store::in_memory().unwrap();
    store.decide(course("c1"), |_| Ok::<_, No>([define("c1", 20)])).unwrap();
    let barrier = Barrier::new(8);
    let enrolled: usize = std::thread::scope(|scope| {
        let run = |thread: usize| {
            barrier.wait();
            let one = |n| {
                let who = student(&format!("s{thread}-{n}"));
                store.decide((course("c1"), who), enrol).is_ok()
            };
            (0..10).filter(|n| one(*n)).count()
        };
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(enrolled, 20);
    assert_eq!(store.load(course("c1")).unwrap().free, 0);
}

#[test]
fn a_snapshot_is_taken_when_due_and_folded_on_from() {
    let store = Store::in_memory().unwrap();
    for n in 1..=25 {
        let decided = store
            .decide(Account::of("a"), |_| Ok::<_, No>([Bank::Deposited { cents: 1 }]))
            .unwrap();
        let due = decided.snapshot.map(|saved| saved.unwrap().get());
        assert_eq!(due, [11, 21].contains(&n).then_some(n - 1), "decision {n}");
    }
    let account = store.load(Account::of("a")).unwrap();
    assert_eq!((account.balance, account.folded), (25, 5), "20 came from the snapshot");
}

/// A cached state did not learn that its snapshot had been saved, and every decision after the
/// first that was due saved another: a sync each.
#[test]
fn a_cached_model_saves_a_snapshot_when_it_is_due_and_not_every_time() {
    let store = Store::in_memory().unwrap();
    let cache = ModelCache::new(10);
    let mut saved = Vec::new();
    for n in 1..=40_u64 {
        let account = cache.of(Account::of("a"));
        let rule = |_: &factlog::Cached<Account>| Ok::<_, No>([Bank::Deposited { cents: 1 }]);
        let decided = store.decide(account, rule).unwrap();
        saved.extend(decided.snapshot.map(|snapshot| (n, snapshot.unwrap().get())));
    }
    assert_eq!(saved, [(11, 10), (21, 20), (31, 30)]);
}

#[test]
fn a_snapshot_that_does_not_fit_is_passed_over() {
    let store = Store::in_memory().unwrap();
    for _ in 0..5 {
        deposit(&store, "a", 1);
    }
    let other = serde_json::to_vec(&Account { balance: 999, ..Account::of("b") }).unwrap();
    let wrong = serde_json::to_vec(&Account { balance: 999, ..Account::of("a") }).unwrap();
    for (schema_version, data) in [(1, b"not json".to_vec()), (1, other), (2, wrong)] {
        let at = (Version::new(5), schema_version);
        store.save_snapshot("Account-a", "account", at, data).unwrap();
        let account = store.load(Account::of("a")).unwrap();
        assert_eq!((account.balance, account.folded), (5, 5));
    }
}

#[test]
fn a_cache_saves_folding_and_is_never_behind() {
    let store = Store::in_memory().unwrap();
    let cache = ModelCache::new(100);
    for _ in 0..8 {
        deposit(&store, "a", 1);
    }
    assert_eq!(store.load(cache.of(Account::of("a"))).unwrap().folded, 8);
    deposit(&store, "a", 1); // past the cache
    let account = store.load(cache.of(Account::of("a"))).unwrap();
    assert_eq!((account.balance, account.folded), (9, 9), "8 of them came from the cache");
    // The cached value's own count shows that the others were not folded again.
    let decided =
        store.decide((cache.of(Account::of("a")), cache.of(Account::of("b"))), |(a, b)| {
            assert_eq!((a.balance, b.balance), (9, 0));
            Ok::<_, No>([Bank::Deposited { cents: 1 }.on("Account-b")])
        });
    assert_eq!(decided.unwrap().attempts, 1);
    assert_eq!(cache.len(), 2);
    // Another store with the same streams has other states.
    let other = Store::in_memory().unwrap();
    for _ in 0..20 {
        deposit(&other, "a", 100);
    }
    assert_eq!(other.load(cache.of(Account::of("a"))).unwrap().balance, 2000);
}

#[test]
fn a_cache_keeps_what_was_used_last() {
    let store = Store::in_memory().unwrap();
    let cache = ModelCache::new(10);
    for n in 0..100 {
        store.load(cache.of(Account::of(&n.to_string()))).unwrap();
        store.load(cache.of(Account::of("hot"))).unwrap();
        assert!((1..=10).contains(&cache.len()));
    }
    deposit(&store, "hot", 1);
    let before = cache.len();
    store.load(cache.of(Account::of("hot"))).unwrap();
    assert_eq!(cache.len(), before, "it was still there");
}

#[test]
fn a_command_is_decided_once() {
    let store = Store::in_memory().unwrap();
    let mut runs = 0;
    let mut open = || {
        let decided = store.decider().once("k1").decide(Account::of("a"), |account| {
            runs += 1;
            if account.open { Err(No::Closed) } else { Ok([opened(), opened()]) }
        });
        decided.unwrap().appended.unwrap()
    };
    let (first, again) = (open(), open());
    assert!(!first.already && again.already);
    assert_eq!((first.first, first.last, first.streams), (again.first, again.last, again.streams));
    assert_eq!(runs, 1);
}

#[test]
fn a_command_that_is_answered_while_it_is_decided_gets_that_answer() {
    let store = Store::in_memory().unwrap();
    let send = |who: &str, meanwhile: &dyn Fn()| {
        let decided = store.decider().once("k1").decide(Account::of(who), |_| {
            meanwhile();
            Ok::<_, No>([opened()])
        });
        decided.unwrap().appended.unwrap()
    };
    // Nothing in the boundary of the one comes from the other, except that it is the same command.
    let late = send("left", &|| assert!(!send("right", &|| ()).already));
    assert!(late.already);
    assert_eq!(late.streams[0].stream.as_str(), "Account-right");
    assert_eq!(store.last_position().get(), 1);
}

#[test]
fn a_command_sent_by_two_threads_is_decided_once() {
    let store = Store::in_memory().unwrap();
    for round in 0..50 {
        let barrier = Barrier::new(2);
        let send = |who: &str| {
            barrier.wait();
            let rule = |_: &Account| Ok::<_, No>([opened()]);
            let decided = store.decider().once(round).decide(Account::of(who), rule).unwrap();
            decided.appended.unwrap().already
        };
        let (left, right) = std::thread::scope(|scope| {
            let (left, right) = (scope.spawn(|| send("left")), scope.spawn(|| send("right")));
            (left.join().unwrap(), right.join().unwrap())
        });
        assert!(left != right, "one of them was first");
    }
    assert_eq!(store.last_position().get(), 50);
}

#[test]
fn metadata_is_said_once_and_put_on_everything() {
    let store = Store::in_memory().unwrap();
    let request = Metadata::new().correlation("r1").causation("c1").set("user", "ada").unwrap();
    let decider = store.decider().metadata(request);
    let rule = |_: &Account| Ok::<_, No>([opened().emit(), opened().tag_it()]);
    decider.decide(Account::of("a"), rule).unwrap();
    for event in store.read_all() {
        let event = event.unwrap();
        assert_eq!((event.correlation(), event.causation()), (Some("r1"), Some("c1")));
        assert!(event.metadata().windows(5).any(|part| part == b"\"ada\""));
    }
    assert_eq!(store.read(Query::tags(["x:1"])).count().unwrap(), 1);
}

trait TagIt: Emits {
    fn tag_it(self) -> factlog::Emit {
        self.emit().tag("x:1")
    }
}

impl TagIt for Bank {}

#[test]
fn an_unknown_type_in_a_stream_is_refused_unless_skipped() {
    #[derive(Default)]
    struct Lenient(u64);
    impl Model for Lenient {
        type Event = Bank;
        const SKIP_UNKNOWN: bool = true;
        fn scope(&self) -> Scope {
            Scope::stream("Account", "a")
        }
        fn apply(&mut self, _: Bank) {
            self.0 += 1;
        }
    }
    let store = Store::in_memory().unwrap();
    deposit(&store, "a", 1);
    store.append("Account-a", Expect::Any, [NewEvent::binary("Frozen", "")]).unwrap();
    assert_eq!(store.load(Account::of("a")).unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(store.load(Lenient::default()).unwrap().0, 1);
    let decided = store.decide(Lenient::default(), |_| Ok::<_, No>([opened()])).unwrap();
    assert_eq!(decided.attempts, 1, "what is skipped is part of the stream all the same");
}

#[test]
fn a_model_may_look_at_where_an_event_is_stored() {
    #[derive(Default)]
    struct Newest(Timestamp);
    impl Model for Newest {
        type Event = Bank;
        fn scope(&self) -> Scope {
            Scope::stream("Account", "a")
        }
        fn apply(&mut self, _: Bank) {}
        fn apply_recorded(&mut self, _: Bank, recorded: &EventRef<'_>) {
            self.0 = recorded.recorded_at();
        }
    }
    let store = Store::in_memory().unwrap();
    deposit(&store, "a", 1);
    let newest = store.load(Newest::default()).unwrap();
    assert_eq!(Some(newest.0), store.last_event("Account-a").unwrap().map(|e| e.recorded_at()));
}

#[test]
fn an_illegal_scope_is_told_when_the_model_is_used() {
    let store = Store::in_memory().unwrap();
    let error = store.load(Account::of("a\nb")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// The bound was 100 attempts; one decision of 16 threads was seen to need 80.
#[test]
fn on_a_hot_stream_everybody_gets_a_turn() {
    let store = Store::in_memory().unwrap();
    let barrier = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                barrier.wait();
                (0..100).for_each(|_| deposit(&store, "a", 1));
            });
        }
    });
    assert_eq!(store.load(Account::of("a")).unwrap().balance, 1600);
}

#[test]
fn a_model_that_was_not_told_whose_it_is_has_no_stream() {
    let store = Store::in_memory().unwrap();
    let error = store.load(Account::default()).unwrap_err();
    assert!(error.to_string().contains("needs an id"), "{error}");
}

/// A deleted stream is as good as a new one for whoever decides on it: nothing of the life that has
/// ended is gone on from, neither out of a cache nor out of a snapshot.
#[test]
fn a_decision_on_a_deleted_stream_begins_from_nothing() {
    let store = Store::in_memory().unwrap();
    let cache = ModelCache::new(10);
    let load = || store.load(cache.of(Account::of("ada"))).unwrap();
    store.append("Account-ada", Expect::NoStream, [opened()]).unwrap();
    (0..12).for_each(|_| deposit(&store, "ada", 5));
    assert!(store.snapshot("Account-ada", "account").unwrap().is_some());
    assert_eq!((load().open, load().balance), (true, 60));
    store.delete_stream("Account-ada", Expect::Any).unwrap();
    assert_eq!(*load(), Account::of("ada"), "the cache has forgotten");
    assert_eq!(store.load(Account::of("ada")).unwrap(), Account::of("ada"), "so has the snapshot");
    let refused = store.decide(cache.of(Account::of("ada")), |account| withdraw(account, 1));
    assert!(matches!(refused, Err(DecideError::Refused(No::Closed))), "{refused:?}");
    store.decide(cache.of(Account::of("ada")), |_| Ok::<_, No>([opened()])).unwrap();
    deposit(&store, "ada", 7);
    assert_eq!((load().open, load().balance), (true, 7));
    let head = store.head("Account-ada").unwrap().unwrap();
    assert_eq!(head.version, Version::new(15));
}

#[test]
fn a_truncated_stream_is_folded_from_a_snapshot_that_reaches_it() {
    let store = Store::in_memory().unwrap();
    store.append("Account-ada", Expect::NoStream, [opened()]).unwrap();
    (0..12).for_each(|_| deposit(&store, "ada", 5));
    let saved = store.snapshot("Account-ada", "account").unwrap().unwrap().version;
    let bound = |first: Version| {
        let retention = factlog::Retention::default().truncate_before(first);
        store.retain("Account-ada", retention).unwrap();
        store.load(Account::of("ada")).unwrap().balance
    };
    assert_eq!(bound(saved.next()), 60);
    assert_eq!(bound(saved.next().next()), 5 * (13 - saved.next().get()), "it ends too early");
}
