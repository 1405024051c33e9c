//! Snapshots of models scoped to a query: kept over a restart, and never trusted over the events.

use std::sync::Arc;

use factlog::{
    Durability, Event, Expect, Model, NewEvent, Query, QueryItem, Scope, Snapshots, Store,
    disk::SimDisk, tag,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(category = "Meter")]
enum Meter {
    Read {
        #[tag]
        meter: String,
        #[tag]
        house: String,
        wh: u64,
    },
}

/// What was read of a house, or of one of its meters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Total {
    tag: String,
    sum: u64,
    /// How many events this value folded itself.
    #[serde(skip)]
    folded: u64,
}

impl Model for Total {
    type Event = Meter;

    fn scope(&self) -> Scope {
        Query::tags([&self.tag]).into()
    }

    fn apply(&mut self, Meter::Read { wh, .. }: Meter) {
        self.sum += wh;
        self.folded += 1;
    }

    fn snapshots() -> Option<Snapshots<Self>> {
        Some(Snapshots::every(10, "total"))
    }
}

fn total(tag: String) -> Total {
    Total { tag, ..Total::default() }
}

fn read(wh: u64) -> Meter {
    Meter::Read { meter: format!("m{}", wh % 2), house: "h".into(), wh }
}

fn decide(store: &Store, of: &Total, wh: u64) -> Option<u64> {
    let decided = store.decide(of.clone(), |_| Ok::<_, String>([read(wh)])).unwrap();
    decided.snapshot.map(|saved| saved.unwrap().get())
}

#[test]
fn a_query_is_folded_on_from_its_snapshot_also_after_a_restart() {
    let disk = SimDisk::new(1);
    let open = || Store::options().open_on(Arc::new(disk.clone())).unwrap();
    let house = total(tag("house", "h"));
    let store = open();
    store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")]).unwrap();
    assert_eq!(store.load(house.clone()).unwrap(), house, "nothing is there yet");
    let saved: Vec<_> = (1..=25).filter_map(|wh| decide(&store, &house, wh)).collect();
    assert_eq!(saved, [11, 21], "positions: the tick was the first");
    store.close().unwrap();
    let store = open();
    let again = store.load(house.clone()).unwrap();
    assert_eq!((again.sum, again.folded), ((1..=25).sum(), 5));
    // Whoever decides on it is guarded from where it is, not from where the snapshot was.
    let mut runs = 0;
    let decided = store.decide(house.clone(), |state| {
        runs += 1;
        if runs == 1 {
            store.append("Meter-m0", Expect::Any, [NewEvent::of(&read(100)).unwrap()]).unwrap();
        }
        Ok::<_, String>([read(state.sum)])
    });
    assert_eq!((decided.unwrap().attempts, runs), (2, 2));
    assert_eq!(store.load(house).unwrap().sum, 2 * (325 + 100));
}

#[test]
fn every_query_has_a_snapshot_of_its_own() {
    let store = Store::in_memory().unwrap();
    // All of them find the same event first.
    let tags = [tag("house", "h"), tag("meter", "m1")];
    for wh in 1..=40 {
        for tag in &tags {
            decide(&store, &total(tag.clone()), 2 * wh + 1);
        }
    }
    let sum: u64 = (1..=40).map(|wh| 2 * wh + 1).sum();
    for tag in tags {
        let state = store.load(total(tag)).unwrap();
        assert_eq!(state.sum, 2 * sum);
        assert!(state.folded < 20, "{state:?}");
    }
    let even = store.load(total(tag("meter", "m0"))).unwrap();
    assert_eq!((even.sum, even.folded), (0, 0));
}

/// A snapshot is written at once, the events it was made of not: a power cut may take them, and
/// others come in their place.
#[test]
fn a_snapshot_of_events_that_were_lost_is_passed_over() {
    let mut outlived = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let open = |disk: &SimDisk| {
            let options = Store::options().durability(Durability::Os).background_threads(false);
            options.open_on(Arc::new(disk.clone())).unwrap()
        };
        let store = open(&disk);
        let house = total(tag("house", "h"));
        decide(&store, &house, 1);
        store.sync().unwrap();
        for wh in 2..=25 {
            decide(&store, &house, wh);
        }
        let store = open(&disk.after_power_cut(seed));
        let left = store.last_position().get();
        outlived += u64::from(left < 20);
        for _ in left..30 {
            store.append("Meter-m1", Expect::Any, [NewEvent::of(&read(1000)).unwrap()]).unwrap();
        }
        let values = store.read_all().typed::<Meter>().values().unwrap();
        let wanted: u64 = values.iter().map(|Meter::Read { wh, .. }| wh).sum();
        assert_eq!(store.load(house).unwrap().sum, wanted, "seed {seed}: {left} were left");
    }
    assert!(outlived > 5, "snapshots outlived their events {outlived} times");
}

#[test]
fn a_query_of_several_items_has_one_too() {
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    struct Both(u64, #[serde(skip)] u64);
    impl Model for Both {
        type Event = Meter;
        fn scope(&self) -> Scope {
            Query::tags(["meter:m0"]).or(QueryItem::new().tag("meter:m1")).into()
        }
        fn apply(&mut self, Meter::Read { wh, .. }: Meter) {
            self.0 += wh;
            self.1 += 1;
        }
        fn snapshots() -> Option<Snapshots<Self>> {
            Some(Snapshots::every(10, "both"))
        }
    }
    let store = Store::in_memory().unwrap();
    for wh in 1..=15 {
        store.decide(Both::default(), |_| Ok::<_, String>([read(wh)])).unwrap();
    }
    let both = store.load(Both::default()).unwrap();
    assert_eq!((both.0, both.1), (120, 5));
}
