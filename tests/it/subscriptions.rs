//! Following: every event once, in order, without a gap, from wherever, however slowly.

#[path = "subscriptions/checkpoints.rs"]
mod checkpoints;
#[path = "subscriptions/processes.rs"]
mod processes;
#[path = "subscriptions/waking.rs"]
mod waking;

use std::time::Duration;

use factlog::{
    Delivery, Expect, NewEvent, Position, Query, Source, Start, Store, StreamName, Subscription,
};

use super::support::{ends, number, tick};

const LONG: Duration = Duration::from_secs(60);

fn sources() -> [Source; 4] {
    [
        Source::All,
        Source::Stream(StreamName::new("Fan-1").unwrap()),
        Source::Category("Fan".into()),
        Source::Query(Query::tags(["third"])),
    ]
}

/// Whether the n-th event of `event` belongs to the source.
fn belongs(source: &Source, n: u64) -> bool {
    match source {
        Source::All => true,
        Source::Stream(_) => n % 4 == 1,
        Source::Category(_) => n % 4 < 2,
        _ => n.is_multiple_of(3),
    }
}

fn stream(n: u64) -> &'static str {
    ["Fan-0", "Fan-1", "Other-1", "plain"][(n % 4) as usize]
}

fn event(n: u64) -> NewEvent {
    let event = tick(n);
    if n.is_multiple_of(3) { event.tag("third") } else { event }
}

fn append(store: &Store, numbers: std::ops::Range<u64>) {
    for n in numbers {
        store.append(stream(n), Expect::Any, [event(n)]).unwrap();
    }
}

fn next_event(subscription: &mut Subscription) -> Option<u64> {
    while let Some(delivery) = subscription.next_timeout(LONG).unwrap() {
        if let Delivery::Event(event) = delivery {
            return Some(number(&event));
        }
    }
    None
}

#[test]
fn four_sources_from_four_starts() {
    for options in [Store::options(), Store::options().segment_bytes(16 << 10).map_segments(false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = options.open(dir.path()).unwrap();
        append(&store, 1..201);
        store.save_checkpoint("mail", Position::new(120)).unwrap();
        let starts = [
            (Start::Beginning, 0),
            (Start::End, 200),
            (Start::After(Position::new(77)), 77),
            (Start::After(Position::START), 0),
            (Start::After(Position::new(200)), 200),
            (Start::Checkpoint("mail".into()), 120),
            (Start::Checkpoint("nobody".into()), 0),
        ];
        let mut all = Vec::new();
        for source in sources() {
            for (start, from) in &starts {
                let subscription = store.subscribe(source.clone()).start(start.clone()).unwrap();
                assert_eq!(subscription.position().get(), *from);
                all.push((source.clone(), *from, subscription));
            }
        }
        append(&store, 201..301);
        for (source, from, mut subscription) in all {
            for n in (from + 1..301).filter(|n| belongs(&source, *n)) {
                assert_eq!(next_event(&mut subscription), Some(n), "{source:?} from {from}");
                assert_eq!(subscription.position().get(), n);
            }
            while let Some(rest) = subscription.try_next().unwrap() {
                assert!(!matches!(rest, Delivery::Event(_)), "{source:?} from {from}: {rest:?}");
            }
            assert_eq!(subscription.position().get(), 300);
        }
    }
}

#[test]
fn a_start_beyond_the_end_is_refused() {
    let store = Store::in_memory().unwrap();
    append(&store, 1..4);
    let start = Start::After(Position::new(4));
    let error = store.subscribe(Source::All).start(start).unwrap_err();
    assert_eq!(error.kind(), factlog::ErrorKind::Invalid);
    assert_eq!(error.position(), Some(Position::new(4)));
    let query = store.subscribe(Source::Query(Query::default())).start(Start::End);
    assert_eq!(query.unwrap_err().kind(), factlog::ErrorKind::Invalid);
}

/// Several threads that append, submit and send batches over two streams; each event's number is
/// told by its thread and its place.
fn writers(store: &Store, threads: u64, each: u64) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut tickets = Vec::new();
                for n in 0..each {
                    let event = event(n * threads + thread);
                    let batch = store.batch().append(stream(n), Expect::Any, [event]);
                    match n % 3 {
                        0 => tickets.push(batch.submit().unwrap()),
                        1 => drop(batch.submit().unwrap()),
                        _ => drop(batch.commit().unwrap()),
                    }
                }
                tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
            });
        }
    });
}

/// Reads until the log's last event; what came is compared with a read.
fn follow(mut subscription: Subscription, last: u64, slow: bool) -> Vec<u64> {
    let mut seen = Vec::new();
    while subscription.position().get() < last {
        let Some(delivery) = subscription.next_timeout(LONG).unwrap() else { panic!("it hangs") };
        match delivery {
            Delivery::Event(event) => seen.push(event.position().get()),
            Delivery::CaughtUp(at) | Delivery::Progress(at) => {
                assert_eq!(at, subscription.position());
                assert!(seen.last().is_none_or(|last| *last <= at.get()));
            }
            _ => {}
        }
        if slow && seen.len() % 50 == 0 {
            std::thread::yield_now();
        }
    }
    seen
}

#[test]
fn whoever_follows_live_gets_every_event_once_and_in_order() {
    ends(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options().segment_bytes(16 << 10).open(dir.path()).unwrap();
        append(&store, 0..100);
        let last = 100 + 4 * 250;
        let follower = Store::open_read_only(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let mut following = Vec::new();
            for source in sources() {
                for (from, slow) in [(&store, false), (&store, true), (&follower, false)] {
                    let subscription = from.subscribe(source.clone());
                    let subscription = subscription.start(Start::Beginning).unwrap();
                    let thread = scope.spawn(move || follow(subscription, last, slow));
                    following.push((source.clone(), thread));
                }
            }
            writers(&store, 4, 250);
            for (source, thread) in following {
                let read = match &source {
                    Source::Stream(name) => store.read_stream(name),
                    Source::Category(name) => store.read_category(name),
                    Source::Query(query) => store.read(query.clone()),
                    _ => store.read_all(),
                };
                let wanted: Vec<_> =
                    read.into_iter().map(|e| e.unwrap().position().get()).collect();
                assert_eq!(thread.join().unwrap(), wanted, "{source:?}");
            }
        });
    });
}

#[test]
fn a_subscriber_that_goes_on_by_its_checkpoint_misses_nothing_over_reopenings() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for round in 0..8_u64 {
        let store = Store::options().segment_bytes(16 << 10).open(dir.path()).unwrap();
        let start = Start::Checkpoint("mail".into());
        let mut subscription =
            store.subscribe(Source::Category("Fan".into())).start(start).unwrap();
        append(&store, round * 100..round * 100 + 100);
        // It stops in the middle, once by closing and once by being dropped.
        for _ in 0..40 {
            seen.push(next_event(&mut subscription).unwrap());
            store.save_checkpoint("mail", subscription.position()).unwrap();
        }
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
    let fans: Vec<_> = (0..800).filter(|n| n % 4 < 2).take(seen.len()).collect();
    assert_eq!(seen, fans);
}

#[test]
fn it_tells_when_it_has_caught_up_and_how_far_it_has_looked() {
    let at = |n| Position::new(n);
    let store = Store::in_memory().unwrap();
    let mut all = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    assert_eq!(all.try_next().unwrap(), Some(Delivery::CaughtUp(at(0))));
    assert_eq!(all.try_next().unwrap(), None);
    let red = Source::Query(Query::tags(["red"]));
    let mut filtered = store.subscribe(red.clone()).start(Start::Beginning).unwrap();
    assert_eq!(filtered.try_next().unwrap(), Some(Delivery::CaughtUp(at(0))));
    store.append("A-1", Expect::Any, [tick(1), tick(2)]).unwrap();
    // What follows is live: nobody is told again at every event.
    assert_eq!(next_event(&mut all), Some(1));
    assert_eq!(next_event(&mut all), Some(2));
    assert_eq!(all.try_next().unwrap(), None);
    // Nothing matched, and that is worth a word: it is a place to save.
    assert_eq!(filtered.try_next().unwrap(), Some(Delivery::Progress(at(2))));
    assert_eq!(filtered.try_next().unwrap(), None);
    assert_eq!(filtered.position(), at(2));
    // Something matched, and then nothing any more.
    store.append("A-1", Expect::Any, [tick(3).tag("red"), tick(4), tick(5)]).unwrap();
    assert_eq!(next_event(&mut filtered), Some(3));
    assert_eq!(filtered.try_next().unwrap(), Some(Delivery::Progress(at(5))));
    assert_eq!(filtered.try_next().unwrap(), None);
    // A match at the very end says all there is to say.
    store.append("A-1", Expect::Any, [tick(6).tag("red")]).unwrap();
    assert_eq!(next_event(&mut filtered), Some(6));
    assert_eq!(filtered.try_next().unwrap(), None);
    // Far behind, it is told once more.
    store.append("A-1", Expect::Any, (0..1500).map(tick)).unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| all.try_next().unwrap()).collect();
    assert_eq!(rest.len(), 4 + 1500 + 1);
    assert_eq!(rest.last(), Some(&Delivery::CaughtUp(at(1506))));
    let mut late = store.subscribe(red).start(Start::End).unwrap();
    assert_eq!(late.try_next().unwrap(), Some(Delivery::CaughtUp(at(1506))));
}
