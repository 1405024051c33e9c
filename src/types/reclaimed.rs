//! Layer 0.4: what taking the data of hidden events away came to.
//!
//! Knows: plain values. Does not know: which events are hidden, or how a segment is rewritten.

use super::report::Damage;

/// What a reclamation did: the receipt for what was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimReport {
    /// The segments that were rewritten, in order.
    pub rewritten: Vec<RewrittenSegment>,
    /// Sealed segments that were looked at.
    pub segments: u64,
    /// Sealed segments that have no index of their own yet, or were rewritten by another call, and
    /// are left for the next time.
    pub left: u64,
    /// Sealed segments that are damaged, and stay as they are.
    pub damage: Vec<Damage>,
    /// Events whose data was taken away.
    pub events: u64,
    /// What the log became shorter by, in bytes.
    pub bytes: u64,
    /// What all segments that were looked at occupied on the disk before, in bytes.
    pub allocated_before: u64,
    /// What they occupy now. Readers that still look at the old bytes keep these occupied too.
    pub allocated_after: u64,
}

/// One segment that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewrittenSegment {
    /// The file in the store's directory.
    pub file: String,
    /// How often it was rewritten, this time included.
    pub rewrite: u32,
    /// Events whose data was taken away this time.
    pub events: u64,
    /// Where the log in it ended before, in bytes.
    pub bytes_before: u64,
    /// Where the log in it ends now.
    pub bytes_after: u64,
}
