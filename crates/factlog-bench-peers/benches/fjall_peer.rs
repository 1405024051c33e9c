//! fjall: keyspaces for events by position, positions by stream and version, heads, and ids.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;

use crate::keys::{stream_key, value};
use crate::peer::{Part, Peer};

pub struct Fjall {
    database: Database,
    events: Keyspace,
    streams: Keyspace,
    heads: Keyspace,
    ids: Keyspace,
    /// The last position; whoever holds it writes.
    last: Mutex<u64>,
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

impl Fjall {
    pub fn open(folder: &Path) -> Self {
        let database = Database::builder(folder.join("fjall")).open().unwrap();
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default).unwrap();
        let [events, streams, heads, ids] = ["events", "streams", "heads", "ids"].map(keyspace);
        let newest = events.last_key_value().map(|entry| number(&entry.key().unwrap()));
        Self { database, events, streams, heads, ids, last: Mutex::new(newest.unwrap_or(0)) }
    }
}

impl Peer for Fjall {
    fn append(&self, part: Part<'_>) {
        let mut last = self.last.lock();
        let actual = self.heads.get(part.stream).unwrap().map_or(0, |version| number(&version));
        assert_eq!(actual, part.version, "the expected version");
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (fact, version) in part.facts.iter().zip(part.version + 1..) {
            *last += 1;
            let position = last.to_be_bytes();
            assert!(!self.ids.contains_key(fact.id.as_bytes()).unwrap(), "an id is stored once");
            batch.insert(&self.ids, fact.id.as_bytes().as_slice(), position);
            batch.insert(&self.events, position, value(part.stream, fact));
            batch.insert(&self.streams, stream_key(part.stream, version), position);
        }
        let version = part.version + part.facts.len() as u64;
        batch.insert(&self.heads, part.stream, version.to_be_bytes());
        batch.commit().unwrap();
    }

    fn scan(&self) -> (u64, u64) {
        let lengths = self.events.iter().map(|entry| entry.value().unwrap().len() as u64);
        lengths.fold((0, 0), |(bytes, events), length| (bytes + length, events + 1))
    }

    fn read_stream(&self, stream: &str) -> usize {
        let range = stream_key(stream, 0)..=stream_key(stream, u64::MAX);
        let read = self.streams.range(range).map(|entry| {
            let event = self.events.get(entry.value().unwrap()).unwrap().unwrap();
            std::hint::black_box(event.len());
        });
        read.count()
    }

    fn read_one(&self, stream: &str, version: u64) -> bool {
        let position = self.streams.get(stream_key(stream, version)).unwrap().unwrap();
        std::hint::black_box(self.events.get(position).unwrap().unwrap());
        true
    }
}
