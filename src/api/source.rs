//! Layer 7.0: which events a read or a subscription is about.
//!
//! Knows: the four sources. Does not know: how their events are found.

use crate::types::{Query, StreamName};

/// What to follow.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Source {
    /// Every event.
    All,
    /// One stream; it need not exist yet.
    Stream(StreamName),
    /// The streams of a category.
    Category(String),
    /// What matches a query.
    Query(Query),
}
