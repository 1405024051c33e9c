//! UmaDB's core with its writer thread, which commits in groups: a stream is a tag, an expected
//! version is a condition after the stream's last position.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem};

use crate::peer::{Part, Peer};
use crate::workload::{EVENT_TYPE, METADATA};

/// As its server does.
const REQUESTS: usize = 1_000;
const BATCH_EVENTS: usize = 2_000;

pub struct Umadb {
    database: UmaDb,
    requests: mpsc::Sender<WriterThreadRequest>,
    last: Mutex<HashMap<String, u64>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

fn query(stream: &str) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([stream]))
}

impl Umadb {
    pub fn open(folder: &Path) -> Self {
        let options = StorageOptions::default().db_path(folder.join("uma.db"));
        let storage = Arc::new(Mvcc::new(false, options).unwrap());
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let for_writer = storage.clone();
        let writer = std::thread::spawn(move || {
            let (head, _kept) = watch::channel(None);
            writer_thread_blocking(for_writer, receiver, head, BATCH_EVENTS);
        });
        let database = UmaDb::from_arc(storage);
        Self { database, requests, last: Mutex::default(), writer: Some(writer) }
    }
}

impl Drop for Umadb {
    fn drop(&mut self) {
        let _ = self.requests.blocking_send(WriterThreadRequest::Shutdown);
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

impl Peer for Umadb {
    fn append(&self, part: Part<'_>) {
        let metadata = str::from_utf8(METADATA).unwrap();
        let event = |fact: &crate::workload::Fact| {
            let event = DcbEvent::new().event_type(EVENT_TYPE).tags([part.stream]);
            event.uuid(fact.id).metadata([("json", metadata)]).data(fact.data.clone())
        };
        let after = self.last.lock().get(part.stream).copied();
        let (response_tx, response) = oneshot::channel();
        let request = WriterThreadRequest::Append {
            events: part.facts.iter().map(event).collect(),
            condition: Some(DcbAppendCondition::new(query(part.stream)).after(after)),
            tracking_info: None,
            response_tx,
            cancel: None,
        };
        self.requests.blocking_send(request).ok().unwrap();
        let last = response.blocking_recv().unwrap().unwrap();
        self.last.lock().insert(part.stream.to_owned(), last);
    }

    fn scan(&self) -> (u64, u64) {
        let (mut bytes, mut events, mut start) = (0, 0, None);
        // In parts, as its server does: a response holds all it will answer.
        loop {
            let read = self.database.read(None, start, false, Some(10_000)).unwrap();
            let before = events;
            for found in read {
                let found = found.unwrap();
                bytes += found.event.data.len() as u64;
                events += 1;
                start = Some(found.position + 1);
            }
            if events == before {
                return (bytes, events);
            }
        }
    }

    fn read_stream(&self, stream: &str) -> usize {
        let read = self.database.read(Some(query(stream)), None, false, None).unwrap();
        read.map(|found| std::hint::black_box(found.unwrap())).count()
    }

    fn read_one(&self, _: &str, _: u64) -> bool {
        false
    }
}
