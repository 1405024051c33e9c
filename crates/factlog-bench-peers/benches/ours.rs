//! This store, and the bare limit, as contestants.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use factlog::{Delivery, Expect, Read, Source, Start, Store, Version};

use crate::bare::Bare;
use crate::peer::{Part, Peer};
use crate::workload::{Fact, quick};

pub struct Factlog(Store);

impl Factlog {
    pub fn open(folder: &Path) -> Self {
        Self(Store::open(folder.join("factlog")).unwrap())
    }
}

fn lengths(read: Read) -> (u64, u64) {
    let (mut bytes, mut events) = (0, 0);
    read.for_each(|event| {
        bytes += event.data().len() as u64;
        events += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    (bytes, events)
}

impl Peer for Factlog {
    fn append(&self, part: Part<'_>) {
        let events = part.facts.iter().cloned().map(Fact::event);
        let expect = Expect::Version(Version::new(part.version));
        self.0.append(part.stream, expect, events).unwrap();
    }

    fn scan(&self) -> (u64, u64) {
        lengths(self.0.read_all())
    }

    fn read_stream(&self, stream: &str) -> usize {
        usize::try_from(lengths(self.0.read_stream(stream)).1).unwrap()
    }

    fn read_one(&self, stream: &str, version: u64) -> bool {
        self.0.stream_event(stream, Version::new(version)).unwrap().is_some()
    }

    fn subscriber(&self) -> Option<Box<dyn FnMut() -> usize + Send>> {
        let mut subscription = self.0.subscribe(Source::All).start(Start::End).unwrap();
        Some(Box::new(move || usize::from(matches!(subscription.next(), Ok(Delivery::Event(_))))))
    }
}

pub struct Limit(std::sync::Arc<Bare>);

impl Limit {
    pub fn open(folder: &Path) -> Self {
        let there = folder.join("bare");
        let space = if quick() { 64 << 20 } else { 512 << 20 };
        let log = match there.exists() {
            true => Bare::open(&there, true),
            false => Bare::create(folder, space, true),
        };
        Self(log.into())
    }
}

impl Peer for Limit {
    fn append(&self, part: Part<'_>) {
        self.0.append(part.stream, part.version, part.facts).unwrap();
    }

    fn scan(&self) -> (u64, u64) {
        let mut bytes = 0;
        let events = self.0.scan(|record| bytes += record.data.len() as u64);
        (bytes, events)
    }

    fn read_stream(&self, stream: &str) -> usize {
        self.0.read_stream(stream, |record| {
            std::hint::black_box(record.data);
        })
    }

    fn read_one(&self, stream: &str, version: u64) -> bool {
        self.0.read_one(stream, version, |record| {
            std::hint::black_box(record.data);
        })
    }

    fn subscriber(&self) -> Option<Box<dyn FnMut() -> usize + Send>> {
        let (log, mut seen) = (self.0.clone(), self.0.end());
        Some(Box::new(move || {
            let mut events = 0;
            seen = log.follow(seen, Duration::from_secs(1), |_| events += 1);
            events
        }))
    }
}
