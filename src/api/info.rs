//! Layer 7.0: what a store tells about itself.
//!
//! Knows: plain values. Does not know: where they come from.

use crate::types::{Position, StreamName, StreamState, Timestamp, Version};

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamHead {
    /// The version of its last event: how many events it has, trimmed ones included.
    pub version: Version,
    /// The position of its last event.
    pub last_position: Position,
    /// Whether it lives; with the same version.
    pub state: StreamState,
}

/// A stream in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its name.
    pub name: StreamName,
    /// The version of its last event.
    pub version: Version,
    /// The position of its last event.
    pub last_position: Position,
    /// Whether it lives; with the same version.
    pub state: StreamState,
}

/// A category in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CategoryInfo {
    /// Its name.
    pub name: String,
    /// How many streams it has.
    pub streams: u64,
}

/// A checkpoint in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its name.
    pub name: String,
    /// The position of the last event its subscriber has done with.
    pub position: Position,
    /// When it was saved; `None` when a batch carried it.
    pub saved_at: Option<Timestamp>,
}

/// Counts and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Events in the log, without those that were trimmed.
    pub events: u64,
    /// Positions whose events a salvage could not save.
    pub lost: u64,
    /// Streams with events, also those whose events were all trimmed.
    pub streams: u64,
    /// Segment files of the log.
    pub segments: u64,
    /// Bytes of all segment files, prepared space included.
    pub log_bytes: u64,
    /// Bytes of all sidecars.
    pub sidecar_bytes: u64,
    /// Bytes the index holds in memory.
    pub index_memory_bytes: u64,
    /// Bytes of that for the streams' heads.
    pub heads_memory_bytes: u64,
}
