//! Layer 8.4: what the typed layer asks of a boundary: its models, one by one.
//!
//! Knows: the questions. Does not know: who answers them: models, tuples of them, a cache. Public
//! only in name: an application cannot reach these traits, so that they can grow.

use super::scope::{Place, Resumed};
use crate::api::Store;
use crate::types::{EventRef, Position, Result};

/// One model of a boundary.
pub trait Fold {
    /// The events it is folded from.
    fn place(&self) -> Result<Place>;

    /// Takes over what is known of it from elsewhere.
    fn resume(&mut self, store: &Store, place: &Place) -> Result<Resumed>;

    /// Takes one event in.
    fn fold(&mut self, event: &EventRef<'_>) -> Result<()>;

    /// Hands its state to where it may be taken over from.
    fn keep(&mut self, store: &Store, place: &Place, resumed: Resumed);

    /// Saves its state if that is due.
    fn snapshot(&self, store: &Store, place: &Place, resumed: Resumed) -> Option<Result<Position>>;
}

/// The models of a boundary, always in the same order.
pub trait Parts {
    /// Visits each.
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Fold));
}
