//! tephra: a stream is a tag, an expected version is a condition after the stream's last position.
//! It keeps no ids: the id goes into the payload.

use std::path::Path;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tephra::{
    AppendCondition, Event, EventType, Position, Query, QueryItem, SegmentConfig, SegmentSet, Tag,
    Tags, WriteCoordinator, WriteHandle, WriterConfig,
};

use crate::keys::value;
use crate::peer::{Part, Peer};
use crate::workload::EVENT_TYPE;

pub struct Tephra {
    handle: WriteHandle,
    last: Mutex<HashMap<String, Position>>,
    coordinator: Option<WriteCoordinator>,
}

fn tags(stream: &str) -> Tags {
    Tags::new([Tag::new(stream).unwrap()]).unwrap()
}

fn query(stream: &str) -> Query {
    Query::item(QueryItem::with_tags(tags(stream)))
}

impl Tephra {
    pub fn open(folder: &Path) -> Self {
        let config = SegmentConfig::new(256 << 20);
        let set = SegmentSet::open(folder.join("tephra"), config).unwrap();
        let (coordinator, handle) = WriteCoordinator::start(set, WriterConfig::default()).unwrap();
        Self { handle, last: Mutex::default(), coordinator: Some(coordinator) }
    }
}

impl Drop for Tephra {
    fn drop(&mut self) {
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.shutdown();
        }
    }
}

impl Peer for Tephra {
    fn append(&self, part: Part<'_>) {
        let (event_type, tags) = (EventType::new(EVENT_TYPE).unwrap(), tags(part.stream));
        let encode = |fact| Event::new(&event_type, &tags, &value(part.stream, fact)).unwrap();
        let events = part.facts.iter().map(encode).collect();
        let after = self.last.lock().get(part.stream).copied().unwrap_or(Position::ZERO);
        let condition = AppendCondition::new(query(part.stream)).after(after);
        let stored = self.handle.append(events, Some(condition)).unwrap();
        self.last.lock().insert(part.stream.to_owned(), stored.last);
    }

    fn scan(&self) -> (u64, u64) {
        let mut read = self.handle.read(&Query::all(), Position::ZERO, None);
        let (mut bytes, mut events) = (0, 0);
        while let Some(found) = read.next() {
            bytes += found.unwrap().event.data().len() as u64;
            events += 1;
        }
        (bytes, events)
    }

    fn read_stream(&self, stream: &str) -> usize {
        let mut read = self.handle.read(&query(stream), Position::ZERO, None);
        let mut events = 0;
        while let Some(found) = read.next() {
            std::hint::black_box(found.unwrap().event.data());
            events += 1;
        }
        events
    }

    fn read_one(&self, _: &str, _: u64) -> bool {
        false
    }

    fn subscriber(&self) -> Option<Box<dyn FnMut() -> usize + Send>> {
        let mut subscription = self.handle.subscribe(Query::all(), self.handle.head());
        Some(Box::new(move || subscription.next_batch().map_or(0, |batch| batch.unwrap().len())))
    }
}
