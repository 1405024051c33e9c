//! Layer 0.4: why an event's data was taken away, and what taking it away came to.
//!
//! Knows: plain values. Does not know: which events are hidden, or how a segment is rewritten.

use super::report::Damage;

/// Why an event's data was reclaimed: the rule that had hidden the event before.
///
/// What is left of it keeps position, version, time, id, stream and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reclaimed {
    /// Its stream was truncated before a later version.
    Truncated,
    /// Its stream keeps only so many events, and these are newer.
    BeyondKeepLast,
    /// It was older than its stream keeps events.
    Expired,
    /// Its stream was deleted.
    Deleted,
    /// Its stream was deleted for good.
    Tombstoned,
}

impl Reclaimed {
    /// As it stands in a stub.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Truncated => 1,
            Self::BeyondKeepLast => 2,
            Self::Expired => 3,
            Self::Deleted => 4,
            Self::Tombstoned => 5,
        }
    }

    pub(crate) fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Truncated,
            2 => Self::BeyondKeepLast,
            3 => Self::Expired,
            4 => Self::Deleted,
            5 => Self::Tombstoned,
            _ => return None,
        })
    }

    /// Why, for people: the end of a sentence about an event.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Truncated => "its stream was truncated",
            Self::BeyondKeepLast => "its stream keeps only newer ones",
            Self::Expired => "it was older than its stream keeps events",
            Self::Deleted => "its stream was deleted",
            Self::Tombstoned => "its stream was deleted for good",
        }
    }
}

/// What a reclamation did: the receipt for what was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimReport {
    /// The segments that were rewritten, in order.
    pub rewritten: Vec<RewrittenSegment>,
    /// Sealed segments that were looked at.
    pub segments: u64,
    /// Sealed segments that have no index of their own yet, and are left for the next time.
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
