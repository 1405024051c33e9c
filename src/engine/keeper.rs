//! Layer 6.2: work that must not stand in an append's way.
//!
//! Knows: what there is to do. Does not know: how (`close.rs` runs it on the store's thread).

use std::time::Duration;

use super::segment::Segment;
use crate::format::Head;
use crate::log::{LogEnd, Part, Runway, Spares};
use crate::sync::Arc;

/// A piece of work.
#[derive(Debug)]
pub(crate) enum Job {
    /// Prepare space ahead of the writer, a piece towards an end.
    Prepare(Arc<Runway>, u64),
    /// Have the next segment ready.
    Spare(Arc<Spares>, u64),
    /// Index a part of the segment that is written.
    Part(Head, Part),
    /// Turn a sealed segment's index into a sidecar.
    Seal(Arc<Segment>, LogEnd),
    /// Something was committed after a time of rest: sync what is due later.
    Tend,
    /// A batch asked for more than the store's own mode: sync it no later than that.
    SyncWithin(Duration),
    /// Stop after this.
    Stop,
}
