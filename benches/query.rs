//! What an append is judged by, and selective reads: ids, retries, conditions over tags, queries.
//!
//! Knows: a store of a million tagged events. Does not know: how it is judged. The limit of a
//! judgement is a batch that checks one stream's version and writes nothing: the same way through
//! the store without what is measured. The limit of a selective read is the same events, read at
//! places known beforehand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, clippy::cast_sign_loss, reason = "a benchmark")]
#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "a benchmark")]

mod bare;
mod workload;

use std::hint::black_box;
use std::ops::ControlFlow;

use bare::Bare;
use criterion::Criterion;
use factlog::{
    Durability, ErrorKind, Expect, NewEvent, Position, Query, QueryItem, Read, Store, Uuid, Version,
};
use workload::{Fact, Random, Unit, Work, compare, criterion, folder, size, timed};

const CATEGORIES: [&str; 10] =
    ["Order", "Stock", "Buyer", "Claim", "Truck", "Depot", "Offer", "Staff", "Quote", "Trade"];
const TYPES: usize = 20;
/// A category that holds a thousandth of the events.
const RARE: &str = "Audit";

const KNOWN: &str = "Order-000001";

fn customers() -> usize {
    size(10_000, 200)
}

/// What an event of the store is: its stream, its type, its tag.
fn labels(random: &mut Random) -> (String, String, String) {
    let category = match random.below(1_000) {
        0 => RARE,
        other => CATEGORIES[other % 10],
    };
    let stream = format!("{category}-{:06}", random.below(1_000));
    let event_type = format!("Happened{:02}", random.below(TYPES));
    (stream, event_type, customer(random.below(customers())))
}

fn customer(number: usize) -> String {
    format!("customer:{number}")
}

struct Pair {
    store: Store,
    bare: Bare,
    events: usize,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let events = size(1_000_000, 20_000);
        let folder = folder();
        let place = folder.path().join("store");
        let store = Store::options().durability(Durability::Os).open(&place).unwrap();
        let bare = Bare::create(folder.path(), events as u64 * 448, false);
        let mut versions = hashbrown::HashMap::<String, u64>::new();
        let mut random = Random(1);
        for _ in 0..events / 1_000 {
            let mut batch = store.batch();
            for _ in 0..1_000 {
                let (stream, event_type, tag) = labels(&mut random);
                let fact = Fact::new(&mut random);
                let event = NewEvent::binary(event_type, fact.data.clone()).id(fact.id).tag(tag);
                let version = versions.entry(stream.clone()).or_default();
                bare.append(&stream, *version, &[fact]).unwrap();
                *version += 1;
                batch = batch.append(stream.as_str(), Expect::Any, [event]);
            }
            drop(batch.submit().unwrap());
        }
        store.close().unwrap();
        let store = Store::options().durability(Durability::Os).open(&place).unwrap();
        assert_eq!(store.last_position().get(), events as u64);
        Self { store, bare, events, _folder: folder }
    }

    /// A batch that only checks one version.
    fn check(&self, stream: &str, version: Version) {
        let batch = self.store.batch().check(stream, Expect::Version(version));
        batch.commit().unwrap();
    }
}

fn judgements(criterion: &mut Criterion, pair: &Pair) {
    let store = &pair.store;
    let head = store.head(KNOWN).unwrap().unwrap().version;
    let mut plain = |times| timed(times, || pair.check(KNOWN, head));
    let times = size(20_000, 200) as u64;
    let work = |name| Work { name, unit: Unit::Time, times };

    // A new id is looked up before the expectation refuses it: encoding one event and its id check.
    let mut random = Random(3);
    let mut new_ids = |times| {
        let events: Vec<NewEvent> = (0..times).map(|_| Fact::new(&mut random).event()).collect();
        let mut events = events.into_iter();
        timed(times, || {
            let refused = store.append(KNOWN, Expect::NoStream, [events.next().unwrap()]);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        })
    };
    let mut refused = |times| {
        timed(times, || {
            let refused = store.batch().check(KNOWN, Expect::NoStream).commit();
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        })
    };
    compare(criterion, &work("id_check_of_a_new_event"), &mut new_ids, &mut refused);

    let mut random = Random(4);
    let mut retries = |times| {
        let stored = |_| {
            let position = Position::new(random.below(pair.events) as u64 + 1);
            let event = store.event_at(position).unwrap().unwrap();
            (event.stream().to_owned(), event.event_type().to_owned(), event.id())
        };
        let stored: Vec<(String, String, Uuid)> = (0..times).map(stored).collect();
        let mut again = stored.into_iter();
        timed(times, || {
            let (stream, event_type, id) = again.next().unwrap();
            let event = NewEvent::binary(event_type, "").id(id);
            assert!(store.append(stream.as_str(), Expect::Any, [event]).unwrap().already);
        })
    };
    compare(criterion, &work("retry_of_a_stored_event"), &mut retries, &mut plain);
}

fn conditions(criterion: &mut Criterion, pair: &Pair) {
    let store = &pair.store;
    let head = store.head(KNOWN).unwrap().unwrap().version;
    let mut plain = |times| timed(times, || pair.check(KNOWN, head));
    let times = size(20_000, 200) as u64;
    let work = |name| Work { name, unit: Unit::Time, times };

    let (mut random, last) = (Random(5), store.last_position());
    let mut condition = |times| {
        timed(times, || {
            let query = Query::tags([customer(random.below(customers()))]);
            store.batch().condition(query, last).commit().unwrap();
        })
    };
    compare(criterion, &work("condition_after_the_last_position"), &mut condition, &mut plain);

    // As a decision does: nothing of this customer since the last event of his that was read.
    let mut random = Random(6);
    let mut newest = |times| {
        let read = |_| {
            let query = Query::tags([customer(random.below(customers()))]);
            let newest = store.read(query.clone()).backward().limit(1).into_iter().next();
            (query, newest.map_or(Position::START, |event| event.unwrap().position()))
        };
        let read: Vec<(Query, Position)> = (0..times).map(read).collect();
        let mut read = read.into_iter();
        timed(times, || {
            let (query, after) = read.next().unwrap();
            store.batch().condition(query, after).commit().unwrap();
        })
    };
    compare(criterion, &work("condition_after_the_newest_of_a_tag"), &mut newest, &mut plain);

    let mut number = 0;
    let mut absent = |times| {
        timed(times, || {
            number += 1;
            let query = Query::tags([format!("nobody:{number}")]);
            store.batch().fails_if_exists(query).commit().unwrap();
        })
    };
    compare(criterion, &work("fails_if_exists_over_all"), &mut absent, &mut plain);
}

fn visit(read: Read) -> usize {
    let mut events = 0;
    read.for_each(|event| {
        black_box(event.data());
        events += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    events
}

/// A read that finds `offsets.len()` events, beside reading them at their places.
fn selective(criterion: &mut Criterion, pair: &Pair, name: &str, read: impl Fn() -> Read) {
    let mut wanted = hashbrown::HashSet::new();
    for event in read() {
        wanted.insert(event.unwrap().data().to_vec());
    }
    let offsets = pair.bare.offsets(|record| wanted.contains(record.data));
    assert!(!offsets.is_empty(), "{name} finds nothing");
    let mut factlog = |times| timed(times, || assert_eq!(visit(read()), offsets.len()));
    let mut limit = |times| {
        timed(times, || {
            pair.bare.read_offsets(&offsets, &mut |record| {
                black_box(record.data);
            })
        })
    };
    let times = (size(200_000, 2_000) / offsets.len()).max(1) as u64;
    let work = Work { name, unit: Unit::Events(offsets.len()), times };
    compare(criterion, &work, &mut factlog, &mut limit);
}

fn main() {
    let mut criterion = criterion();
    let pair = Pair::new();
    judgements(&mut criterion, &pair);
    conditions(&mut criterion, &pair);
    let store = &pair.store;
    let tag = || customer(7);
    selective(&mut criterion, &pair, "category_of_a_tenth", || store.read_category("Stock"));
    selective(&mut criterion, &pair, "category_of_a_thousandth", || store.read_category(RARE));
    selective(&mut criterion, &pair, "type_of_a_twentieth", || {
        store.read(Query::types(["Happened07"]))
    });
    selective(&mut criterion, &pair, "tag_of_one_customer", || store.read(Query::tags([tag()])));
    selective(&mut criterion, &pair, "tag_and_type", || {
        let types = (0..TYPES / 2).map(|at| format!("Happened{at:02}"));
        store.read(QueryItem::new().of_types(types).tag(tag()))
    });
    pair.store.close().unwrap();
    criterion.final_summary();
}
