//! Layer 6.1: what a decision may ask about the log.
//!
//! Knows: the questions. Does not know: where the answers come from; in tests it is a plain list.

use uuid::Uuid;

use crate::types::{Lifecycle, Position, Query, Result, Version};

/// A stored event that has the id asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    pub stream: String,
    pub version: Version,
    pub position: Position,
}

/// Everything that is committed.
pub(crate) trait Knowledge {
    /// The last version of a stream, 0 without events, and its settings.
    fn stream(&self, name: &str) -> (Version, Lifecycle);

    /// The stored event with this id: in the whole store, or in the one stream when ids are unique
    /// per stream.
    fn event_with_id(&self, id: &Uuid, stream: &str) -> Result<Option<StoredEvent>>;

    /// The first event above `after` that matches.
    fn first_match(&self, query: &Query, after: Position) -> Result<Option<Position>>;

    /// The id of the event at a position.
    fn id_at(&self, position: Position) -> Result<Option<Uuid>>;

    /// The position of the last event.
    fn last_position(&self) -> Position;

    /// The saved position of a checkpoint.
    fn checkpoint(&self, name: &str) -> Result<Option<Position>>;

    /// Whether ids are unique in each stream only.
    fn ids_per_stream(&self) -> bool;
}
