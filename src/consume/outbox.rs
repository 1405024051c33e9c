//! Layer 9.1: what the handler of a process manager emits.
//!
//! Knows: events and their streams. Does not know: when they are committed.

use crate::model::{Emits, Metadata};
use crate::types::{NewEvent, RecordedEvent, Result, StreamName};

/// Where a handler puts what it emits; see
/// [`Projection::run_emitting`](crate::Projection::run_emitting). What it emitted before it failed
/// is forgotten.
#[derive(Debug)]
pub struct Outbox {
    metadata: Metadata,
    events: Vec<Result<(StreamName, NewEvent)>>,
}

impl Outbox {
    pub(super) fn answering(event: &RecordedEvent) -> Self {
        Self { metadata: Metadata::caused_by(event), events: Vec::new() }
    }

    /// Emits an event, to where it is placed [`on`](Emits::on) or to [its own
    /// stream](crate::Event::stream).
    pub fn emit(&mut self, event: impl Emits) {
        self.events.push(event.emit().place(None, &self.metadata));
    }

    pub(super) fn take(self) -> Result<Vec<(StreamName, NewEvent)>> {
        self.events.into_iter().collect()
    }
}
