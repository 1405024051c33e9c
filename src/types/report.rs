//! Layer 0.4: what opening found and did, told to the caller instead of to a log line.
//!
//! Knows: plain values. Does not know: how they were found.

use std::time::Duration;

use super::position::Position;

/// Acknowledged bytes that no longer check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file in the store's directory.
    pub file: String,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The first position that cannot be served, if events are concerned.
    pub first_position: Option<Position>,
    /// The last position that cannot be served.
    pub last_position: Option<Position>,
    /// What is wrong, in one sentence.
    pub what: String,
}

/// Torn bytes that were taken out of the log and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// The file they were in.
    pub file: String,
    /// Where they began, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The file that keeps them.
    pub kept_in: String,
}

/// A sidecar that was missing or doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SidecarRebuilt {
    /// The sidecar.
    pub file: String,
    /// Why.
    pub why: String,
}

/// How the in-memory index came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IndexOrigin {
    /// From checked sidecars and a scan of the tail.
    #[default]
    Sidecars,
    /// From the log alone.
    Log,
}

/// What opening found and did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// The store was made by this opening.
    pub created: bool,
    /// The log ended with the mark of a clean close.
    pub clean: bool,
    /// The name of the row of the verdict table that decided about the end of the log.
    pub verdict: &'static str,
    /// Segment files in the log.
    pub segments: u64,
    /// Events in the log, without those that were trimmed.
    pub events: u64,
    /// Valid frames that nothing certified as durable and that were copied into a fresh segment.
    pub frames_rescued: u64,
    /// Valid frames of an unfinished batch that were set aside.
    pub frames_set_aside: u64,
    /// Torn bytes that were set aside, and where they are kept.
    pub set_aside: Vec<SetAside>,
    /// Damage found (only a read-only store opens with any).
    pub damage: Vec<Damage>,
    /// Sidecars that were rebuilt, and why.
    pub sidecars_rebuilt: Vec<SidecarRebuilt>,
    /// How the index was built.
    pub index: IndexOrigin,
    /// Anything else worth knowing: a clock behind the log, a head generation that did not check.
    pub notes: Vec<String>,
    /// How long opening took.
    pub elapsed: Duration,
}
