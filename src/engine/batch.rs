//! Layer 6.1: a batch on its way to the log, and the answer to it.
//!
//! Knows: what the caller asked, encoded and checked against the limits on the caller's thread.
//! Does not know: whether it will be accepted (`decide.rs`).

use std::fmt;

use smallvec::SmallVec;
use uuid::Uuid;

use super::inside::caught;
use crate::sync::{Arc, Mutex};
use crate::types::{
    Durability, EventRef, Expect, Position, Query, Result, StreamChange, StreamName, Version,
};

/// A list of which most batches need one element: that one is kept in place.
pub(crate) type FewOf<T> = SmallVec<[T; 1]>;

/// A stream that a batch appends to, or only checks.
#[derive(Debug, Clone)]
pub(crate) struct BatchStream {
    pub name: StreamName,
    pub expect: Expect,
    /// How many of the batch's events go to it; 0 for a check.
    pub events: u64,
}

/// An event of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchEvent {
    pub id: Uuid,
    /// Index into [`Batch::streams`].
    pub stream: usize,
}

/// Everything one append call asks for.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the order they were first named; each once.
    pub streams: FewOf<BatchStream>,
    pub events: FewOf<BatchEvent>,
    /// The events' records, laid out but not placed, and where each begins.
    pub records: Vec<u8>,
    pub starts: FewOf<usize>,
    /// No event that matches may have a position above this one.
    pub conditions: Vec<(Query, Position)>,
    /// No event that matches may exist.
    pub none_exist: Vec<Query>,
    pub checkpoint: Option<(String, Position)>,
    /// Changes to the settings of streams, each an index into `streams`, in the order they were
    /// asked for; they count after the batch's events.
    pub changes: Vec<(usize, StreamChange)>,
    pub durability: Option<Durability>,
    /// Everything else but `durability` is made by this when its turn comes.
    pub late: Option<Late>,
}

impl Batch {
    /// The most bytes that its records take in the log.
    pub(crate) fn record_bytes(&self) -> u64 {
        let named = |(at, _): &(usize, StreamChange)| {
            self.streams.get(*at).map_or(0, |stream| stream.name.as_str().len() as u64)
        };
        let changes: u64 = self.changes.iter().map(|change| 96 + named(change)).sum();
        self.records.len() as u64 + changes + 1024
    }

    /// Whether it changes the settings of a stream.
    pub(crate) fn changes_stream(&self, stream: usize) -> bool {
        self.changes.iter().any(|(at, _)| *at == stream)
    }
}

/// Makes a batch when its turn comes, from what is committed and from what the group being written
/// has accepted so far. It may be asked again when that group fails or has no room.
pub(crate) trait MakeBatch: Send {
    /// `None` when there is nothing to write after all.
    fn make(&mut self, staged: &mut dyn Iterator<Item = EventRef<'_>>) -> Result<Option<Batch>>;
}

/// What makes a batch; its caller keeps hold of it.
#[derive(Clone)]
pub(crate) struct Late(pub Arc<Mutex<dyn MakeBatch>>);

impl Late {
    pub(crate) fn make(
        &self,
        staged: &mut dyn Iterator<Item = EventRef<'_>>,
    ) -> Result<Option<Batch>> {
        let mut maker = self.0.lock();
        caught("the rule inside the writer", || maker.make(staged))
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Late")
    }
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The batch was stored before, by an earlier call with the same event ids; this is its
    /// original answer.
    pub already: bool,
    /// The position of the first event; 0 for a batch without events.
    pub first: Position,
    /// The position of the last event; 0 for a batch without events.
    pub last: Position,
    /// For every stream appended to, in the order of the batch.
    pub streams: Vec<StreamAppended>,
}

impl Appended {
    /// The answer to a batch that had nothing to write.
    pub(crate) fn nothing() -> Self {
        let (first, last) = (Position::START, Position::START);
        Self { already: false, first, last, streams: Vec::new() }
    }
}

/// What an append did to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamAppended {
    /// The stream.
    pub stream: StreamName,
    /// The version of the first event.
    pub first: Version,
    /// The version of the last event: what to expect next.
    pub last: Version,
}
