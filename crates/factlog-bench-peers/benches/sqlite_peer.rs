//! SQLite: one table with the constraints an event store needs, WAL, `synchronous=FULL`.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, params};

use crate::peer::{ManyAtOnce, OwnedPart, Part, Peer};
use crate::workload::{EVENT_TYPE, METADATA};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        stream TEXT NOT NULL,
        version INTEGER NOT NULL,
        type TEXT NOT NULL,
        metadata BLOB NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (stream, version)
    )";

/// Its integers are signed.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap()
}

pub struct Sqlite {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Sqlite {
    pub fn open(folder: &Path) -> Self {
        let connect = || {
            let connection = Connection::open(folder.join("events.sqlite")).unwrap();
            connection.pragma_update(None, "journal_mode", "WAL").unwrap();
            connection.pragma_update(None, "synchronous", "FULL").unwrap();
            connection.pragma_update(None, "mmap_size", 8_i64 << 30).unwrap();
            connection.execute_batch(SCHEMA).unwrap();
            Mutex::new(connection)
        };
        Self { writer: connect(), reader: connect() }
    }

    fn put(transaction: &Transaction<'_>, part: Part<'_>) {
        let mut head = transaction
            .prepare_cached("SELECT COALESCE(MAX(version), 0) FROM events WHERE stream = ?")
            .unwrap();
        let actual: i64 = head.query_row([part.stream], |row| row.get(0)).unwrap();
        assert_eq!(actual, number(part.version), "the expected version");
        let mut insert = transaction
            .prepare_cached(
                "INSERT INTO events (id, stream, version, type, metadata, data) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .unwrap();
        for (fact, version) in part.facts.iter().zip(part.version + 1..) {
            let id = fact.id.as_bytes();
            let version = number(version);
            let row = params![id, part.stream, version, EVENT_TYPE, METADATA, fact.data];
            insert.execute(row).unwrap();
        }
    }
}

impl Peer for Sqlite {
    fn append(&self, part: Part<'_>) {
        let mut writer = self.writer.lock();
        let transaction = writer.transaction().unwrap();
        Self::put(&transaction, part);
        transaction.commit().unwrap();
    }

    fn scan(&self) -> (u64, u64) {
        let reader = self.reader.lock();
        let text = "SELECT position, id, stream, version, type, metadata, data FROM events \
                    ORDER BY position";
        let mut select = reader.prepare_cached(text).unwrap();
        let mut rows = select.query([]).unwrap();
        let (mut bytes, mut events) = (0, 0);
        while let Some(row) = rows.next().unwrap() {
            bytes += row.get_ref(6).unwrap().as_blob().unwrap().len() as u64;
            events += 1;
        }
        (bytes, events)
    }

    fn read_stream(&self, stream: &str) -> usize {
        let reader = self.reader.lock();
        let text = "SELECT id, version, type, metadata, data FROM events \
                    WHERE stream = ? ORDER BY version";
        let mut select = reader.prepare_cached(text).unwrap();
        let mut rows = select.query([stream]).unwrap();
        let mut events = 0;
        while let Some(row) = rows.next().unwrap() {
            std::hint::black_box(row.get_ref(4).unwrap().as_blob().unwrap());
            events += 1;
        }
        events
    }

    fn read_one(&self, stream: &str, version: u64) -> bool {
        let reader = self.reader.lock();
        let text = "SELECT data FROM events WHERE stream = ? AND version = ?";
        let mut select = reader.prepare_cached(text).unwrap();
        let data: Vec<u8> =
            select.query_row(params![stream, number(version)], |row| row.get(0)).unwrap();
        std::hint::black_box(data);
        true
    }
}

impl ManyAtOnce for Sqlite {
    fn append_many(&self, parts: &[OwnedPart]) {
        let mut writer = self.writer.lock();
        let transaction = writer.transaction().unwrap();
        for OwnedPart { stream, version, facts } in parts {
            Self::put(&transaction, Part { stream, version: *version, facts });
        }
        transaction.commit().unwrap();
    }
}
