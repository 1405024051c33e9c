//! Layer 9.0: what handlers are given: typed events, or events as they are stored.
//!
//! Knows: which events there are of a kind. Does not know: how they are delivered.

use crate::api::Source;
use crate::model::{Event, Typed};
use crate::types::{Query, RecordedEvent, Result};

/// What a projection or a consumer can be of: an [`Event`] that can be cloned, whose values
/// handlers get as [`Typed`] events, or [`RecordedEvent`], which is any.
pub trait Incoming: Receives {}

impl<R: Receives> Incoming for R {}

/// What the rooms of this layer ask of it; an application cannot reach this trait.
pub trait Receives {
    type Item: Clone + Send + Sync;

    /// Every event of the kind.
    fn source() -> Source;

    /// `None` when it is not of the kind.
    fn receive(event: RecordedEvent) -> Result<Option<Self::Item>>;
    fn recorded(item: &Self::Item) -> &RecordedEvent;
}

impl<E: Event + Clone + Send + Sync> Receives for E {
    type Item = Typed<E>;

    fn source() -> Source {
        Source::Query(Query::of::<E>())
    }

    fn receive(recorded: RecordedEvent) -> Result<Option<Typed<E>>> {
        Ok(recorded.decode()?.map(|event| Typed { event, recorded }))
    }

    fn recorded(item: &Typed<E>) -> &RecordedEvent {
        &item.recorded
    }
}

impl Receives for RecordedEvent {
    type Item = Self;

    fn source() -> Source {
        Source::All
    }

    /// What the store keeps for itself is of no kind.
    fn receive(event: RecordedEvent) -> Result<Option<Self>> {
        Ok(Some(event).filter(|event| !event.stream().starts_with('$')))
    }

    fn recorded(item: &Self) -> &RecordedEvent {
        item
    }
}
