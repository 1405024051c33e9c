//! redb: tables for events by position, positions by stream and version, heads, and ids.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::keys::{stream_key, value};
use crate::peer::{ManyAtOnce, OwnedPart, Part, Peer};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const STREAMS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("streams");
const HEADS: TableDefinition<'_, &str, u64> = TableDefinition::new("heads");
const IDS: TableDefinition<'_, u128, u64> = TableDefinition::new("ids");

pub struct Redb(Database);

impl Redb {
    pub fn open(folder: &Path) -> Self {
        let database = Database::create(folder.join("events.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(EVENTS).unwrap();
        transaction.open_table(STREAMS).unwrap();
        transaction.open_table(HEADS).unwrap();
        transaction.open_table(IDS).unwrap();
        transaction.commit().unwrap();
        Self(database)
    }

    fn put(transaction: &WriteTransaction, part: Part<'_>) {
        let mut events = transaction.open_table(EVENTS).unwrap();
        let mut streams = transaction.open_table(STREAMS).unwrap();
        let mut heads = transaction.open_table(HEADS).unwrap();
        let mut ids = transaction.open_table(IDS).unwrap();
        let actual = heads.get(part.stream).unwrap().map_or(0, |version| version.value());
        assert_eq!(actual, part.version, "the expected version");
        let last = events.last().unwrap().map_or(0, |(position, _)| position.value());
        let numbered = part.facts.iter().zip(part.version + 1..).zip(last + 1..);
        for ((fact, version), position) in numbered {
            let known = ids.insert(fact.id.as_u128(), position).unwrap();
            assert!(known.is_none(), "an id is stored once");
            events.insert(position, value(part.stream, fact).as_slice()).unwrap();
            streams.insert(stream_key(part.stream, version).as_slice(), position).unwrap();
        }
        heads.insert(part.stream, part.version + part.facts.len() as u64).unwrap();
    }
}

impl Peer for Redb {
    fn append(&self, part: Part<'_>) {
        let transaction = self.0.begin_write().unwrap();
        Self::put(&transaction, part);
        transaction.commit().unwrap();
    }

    fn scan(&self) -> (u64, u64) {
        let transaction = self.0.begin_read().unwrap();
        let events = transaction.open_table(EVENTS).unwrap();
        let lengths = events.iter().unwrap().map(|entry| entry.unwrap().1.value().len() as u64);
        lengths.fold((0, 0), |(bytes, events), length| (bytes + length, events + 1))
    }

    fn read_stream(&self, stream: &str) -> usize {
        let transaction = self.0.begin_read().unwrap();
        let streams = transaction.open_table(STREAMS).unwrap();
        let events = transaction.open_table(EVENTS).unwrap();
        let (from, to) = (stream_key(stream, 0), stream_key(stream, u64::MAX));
        let found = streams.range(from.as_slice()..=to.as_slice()).unwrap();
        let read = found.map(|entry| {
            let event = events.get(entry.unwrap().1.value()).unwrap().unwrap();
            std::hint::black_box(event.value().len());
        });
        read.count()
    }

    fn read_one(&self, stream: &str, version: u64) -> bool {
        let transaction = self.0.begin_read().unwrap();
        let streams = transaction.open_table(STREAMS).unwrap();
        let events = transaction.open_table(EVENTS).unwrap();
        let key = stream_key(stream, version);
        let position = streams.get(key.as_slice()).unwrap().unwrap().value();
        std::hint::black_box(events.get(position).unwrap().unwrap().value().to_vec());
        true
    }
}

impl ManyAtOnce for Redb {
    fn append_many(&self, parts: &[OwnedPart]) {
        let transaction = self.0.begin_write().unwrap();
        for OwnedPart { stream, version, facts } in parts {
            Self::put(&transaction, Part { stream, version: *version, facts });
        }
        transaction.commit().unwrap();
    }
}
