//! A small store to break, and everything there is to ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use factlog::disk::{FaultCall, SimDisk};
use factlog::{
    ErrorKind, Expect, Hidden, ManualClock, NewEvent, Options, Position, Query, RecordedEvent,
    Result, Retention, Store, StreamState, Uuid, Version,
};

/// The smallest segments there are, so that little is written before a roll.
pub const SEGMENT: u64 = 16 << 10;
pub const NOW: u64 = 1_700_000_000_000_000;

/// Every call that changes something.
pub const CHANGING_CALLS: [FaultCall; 8] = [
    FaultCall::Create,
    FaultCall::Link,
    FaultCall::Rename,
    FaultCall::Remove,
    FaultCall::SyncDir,
    FaultCall::Write,
    FaultCall::SetSize,
    FaultCall::Sync,
];

/// The same calls on the same disk do the same things.
pub fn options() -> Options {
    let clock = Arc::new(ManualClock::at(NOW));
    let options = Store::options().segment_bytes(SEGMENT).subjects_in_clear(true);
    options.background_threads(false).clock(clock)
}

/// What is printed, in a build with planted bugs, for every state that is opened.
#[cfg(factlog_planted)]
pub const LOOKED: &str = "[state]\n";

fn looked() {
    #[cfg(factlog_planted)]
    print!("{LOOKED}");
}

pub fn open(disk: &SimDisk) -> Result<Store> {
    looked();
    options().open_on(Arc::new(disk.clone()))
}

pub fn read_only(disk: &SimDisk) -> Result<Store> {
    looked();
    options().open_read_only_on(Arc::new(disk.clone()))
}

/// How many cases a campaign runs: `FACTLOG_CASES`, or few.
pub fn cases(few: u64) -> u64 {
    std::env::var("FACTLOG_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// Xorshift; the seed is printed by whoever fails.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The data of that event.
pub fn data(number: u64, size: usize) -> Vec<u8> {
    let mut data = format!("{{\"n\":{number},\"fill\":\"").into_bytes();
    data.extend((0..size).map(|at| b'a' + u8::try_from((number as usize + at) % 26).unwrap()));
    data.extend(b"\"}");
    data
}

/// The id of that event.
pub fn id(number: u64) -> Uuid {
    Uuid::from_u128(0x5EED_0000 + u128::from(number))
}

/// The type, the tag and the correlation of that event.
pub fn marks(number: u64) -> (&'static str, String, String) {
    let kind = ["Placed", "Paid", "Sent"][number as usize % 3];
    (kind, format!("mod:{}", number % 4), format!("flow-{}", number % 2))
}

/// An event that can be told from every other by its number.
pub fn event(number: u64, size: usize) -> NewEvent {
    let (kind, tag, flow) = marks(number);
    NewEvent::json_text(kind, data(number, size)).id(id(number)).tag(tag).correlation(flow)
}

/// Everything a reader can ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    pub all: Vec<RecordedEvent>,
    pub streams: BTreeMap<String, (u64, u64, Vec<Position>)>,
    pub categories: BTreeMap<String, Vec<Position>>,
    pub queries: Vec<Vec<Position>>,
    pub checkpoints: Result<Vec<(String, u64)>, ErrorKind>,
    pub snapshots: BTreeMap<String, (u64, Vec<u8>)>,
    /// What is said of the life of each stream, where anything is.
    pub lives: BTreeMap<String, (StreamState, Retention)>,
}

fn positions(read: factlog::Read) -> Result<Vec<Position>> {
    read.into_iter().map(|event| event.map(|event| event.position())).collect()
}

/// The event under each of its names; what was reclaimed is refused under each.
fn named(store: &Store, event: &RecordedEvent) -> Result<()> {
    let by_version = store.stream_event(event.stream(), event.version());
    let named = [store.event(event.id()), store.event_at(event.position())];
    if event.reclaimed().is_some() {
        let kinds = named.into_iter().chain([by_version]).map(|gone| gone.unwrap_err().kind());
        assert!(kinds.into_iter().all(|kind| kind == ErrorKind::Deleted), "{event:?}");
        return Ok(());
    }
    for found in named {
        assert_eq!(found?.as_ref(), Some(event), "found by its id, found at its position");
    }
    assert_eq!(by_version?, shown(store, event)?, "found by stream and version");
    Ok(())
}

/// Asks everything, and checks that the answers agree with each other.
pub fn answers(store: &Store) -> Result<Answers> {
    let all = store.read_all().hidden(Hidden::Mark).to_vec()?;
    let before = store.first_position().get() - 1;
    let last = store.last_position().get();
    assert_eq!(last, before + all.len() as u64, "the watermark is the last event");
    for (at, event) in all.iter().enumerate() {
        assert_eq!(event.position().get(), before + at as u64 + 1, "positions have no gaps");
        named(store, event)?;
    }
    let mut streams = BTreeMap::new();
    let (mut snapshots, mut trimmed) = (BTreeMap::new(), BTreeMap::new());
    let mut lives = BTreeMap::new();
    for info in store.streams("")? {
        let name = info.name.as_str().to_owned();
        let read = || store.read_stream(&*name).hidden(Hidden::Mark);
        let found = positions(read())?;
        let mut backward = positions(read().backward())?;
        backward.reverse();
        assert_eq!(found, backward, "{name} reads the same backward");
        let known = all.iter().filter(|event| event.stream() == name);
        assert_eq!(found, known.map(RecordedEvent::position).collect::<Vec<_>>(), "{name}");
        let head = store.head(&*name)?.unwrap();
        let gone = head.version.get() - found.len() as u64;
        trimmed.insert(name.clone(), gone);
        assert!(gone == 0 || before > 0, "{name} has lost {gone} events");
        if let Some(snapshot) = store.snapshot(&*name, "state")? {
            snapshots.insert(name.clone(), (snapshot.version.get(), snapshot.data.clone()));
        }
        if (info.state, store.retention(&*name)?) != (live(info.version), Retention::default()) {
            lives.insert(name.clone(), (info.state, store.retention(&*name)?));
        }
        streams.insert(name, (head.version.get(), head.last_position.get(), found));
    }
    let mut versions = trimmed;
    for event in &all {
        let version = versions.entry(event.stream().to_owned()).or_default();
        *version += 1;
        assert_eq!(event.version(), Version::new(*version), "versions have no gaps");
    }
    assert_eq!(versions.len(), streams.len());
    let mut categories = BTreeMap::new();
    for info in store.categories("")? {
        categories.insert(info.name.clone(), positions(store.read_category(&info.name))?);
    }
    let asked = [
        Query::tags(["mod:1"]),
        Query::types(["Paid", "Sent"]).tag("mod:2"),
        Query::correlation("flow-1"),
    ];
    let queries = asked.into_iter().map(|query| positions(store.read(query)));
    let checkpoints = store.checkpoints().map_err(|error| error.kind());
    Ok(Answers {
        queries: queries.collect::<Result<_>>()?,
        checkpoints: checkpoints
            .map(|all| all.into_iter().map(|c| (c.name, c.position.get())).collect()),
        all,
        streams,
        categories,
        snapshots,
        lives,
    })
}

fn live(version: Version) -> StreamState {
    StreamState::Live(version)
}

/// The event as a reader of its stream gets it: not at all where it is hidden.
fn shown(store: &Store, event: &RecordedEvent) -> Result<Option<RecordedEvent>> {
    let marked = store.read_stream(event.stream()).hidden(Hidden::Mark);
    let found = marked.from(event.version()).to(event.version()).to_vec()?;
    assert_eq!(found, std::slice::from_ref(event), "in its stream at its version");
    Ok(found.into_iter().find(|event| event.hidden().is_none()))
}

/// Several streams, batches over several of them, a reopening, two rolls, checkpoints of both
/// kinds, snapshots. The caller closes it, or does not.
pub fn sample(disk: &SimDisk) -> Store {
    let store = open(disk).unwrap();
    for number in 0..3 {
        store.append("A-1", Expect::Any, [event(number, 10)]).unwrap();
    }
    store
        .batch()
        .append("A-1", Expect::Version(Version::new(3)), [event(3, 5), event(4, 5)])
        .append("A-2", Expect::NoStream, [event(5, 5)])
        .append("B-1", Expect::NoStream, [event(6, 5)])
        .checkpoint("carried", Position::new(3))
        .commit()
        .unwrap();
    store.save_checkpoint("reader", Position::new(2)).unwrap();
    save_snapshot(&store, "A-1", 2);
    store.retain("A-2", Retention::default().keep_last(2)).unwrap();
    store.close().unwrap();
    let store = open(disk).unwrap();
    store.append("B-1", Expect::Any, [event(7, 10_600)]).unwrap();
    store.append("C-1", Expect::Any, [event(8, 20)]).unwrap();
    store.append("B-1", Expect::Any, [event(9, 1500)]).unwrap();
    store.delete_stream("B-1", Expect::Version(Version::new(3))).unwrap();
    store.save_checkpoint("reader", Position::new(5)).unwrap();
    for number in 10..13 {
        store.append(format!("A-{}", number % 2), Expect::Any, [event(number, 10)]).unwrap();
    }
    let late = [event(13, 5), event(14, 5)];
    store
        .batch()
        .append("C-1", Expect::Any, late)
        .append("D", Expect::Any, [event(15, 5)])
        .commit()
        .unwrap();
    store.save_checkpoint("reader", Position::new(9)).unwrap();
    save_snapshot(&store, "A-1", 5);
    assert_eq!(store.stats().segments, 3, "the sample rolls twice");
    store
}

pub fn save_snapshot(store: &Store, stream: &str, version: u64) {
    let data = format!("{stream} folded up to {version}");
    store.save_snapshot(stream, "state", (Version::new(version), 1), data).unwrap();
}
