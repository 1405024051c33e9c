//! Layer 0.4: what may be trimmed, and what was.
//!
//! Knows: plain values. Does not know: segments, or how they go.

use std::time::Duration;

use super::position::Position;

/// What a trim may remove from the front of the log: whole old segments, never part of one, never
/// the newest. Made of one bound, or of several of which each must allow it.
///
/// ```
/// use factlog::Trim;
/// use std::time::Duration;
/// let month = Duration::from_secs(30 * 24 * 3600);
/// // What is older than a month, but the last thousand events whatever their age.
/// let trim = Trim::older_than(month).and(Trim::keep_events(1_000));
/// # let _ = trim;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "say it to `Store::trim`"]
pub struct Trim {
    pub(crate) before: Option<Position>,
    pub(crate) older_than: Option<Duration>,
    pub(crate) keep_bytes: Option<u64>,
    pub(crate) keep_events: Option<u64>,
    pub(crate) past_checkpoints: bool,
}

impl Trim {
    const NOTHING: Self = Self {
        before: None,
        older_than: None,
        keep_bytes: None,
        keep_events: None,
        past_checkpoints: false,
    };

    /// Events before this position.
    pub fn before(position: Position) -> Self {
        Self { before: Some(position), ..Self::NOTHING }
    }

    /// Events recorded longer ago than this.
    pub fn older_than(age: Duration) -> Self {
        Self { older_than: Some(age), ..Self::NOTHING }
    }

    /// Events before the newest segments that together have at least so many bytes.
    pub fn keep_bytes(bytes: u64) -> Self {
        Self { keep_bytes: Some(bytes), ..Self::NOTHING }
    }

    /// Events before the newest so many.
    pub fn keep_events(events: u64) -> Self {
        Self { keep_events: Some(events), ..Self::NOTHING }
    }

    /// Only what both allow.
    pub fn and(self, other: Self) -> Self {
        fn stricter<T: Copy>(a: Option<T>, b: Option<T>, pick: fn(T, T) -> T) -> Option<T> {
            a.zip(b).map(|(a, b)| pick(a, b)).or(a).or(b)
        }
        Self {
            before: stricter(self.before, other.before, Ord::min),
            older_than: stricter(self.older_than, other.older_than, Ord::max),
            keep_bytes: stricter(self.keep_bytes, other.keep_bytes, Ord::max),
            keep_events: stricter(self.keep_events, other.keep_events, Ord::max),
            past_checkpoints: self.past_checkpoints || other.past_checkpoints,
        }
    }

    /// Also what a saved checkpoint has not come to yet: its subscriber will be told `Trimmed`.
    pub fn past_checkpoints(mut self) -> Self {
        self.past_checkpoints = true;
        self
    }
}

/// What a trim removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Segment files.
    pub segments: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// The first position that is there afterwards.
    pub first_position: Position,
    /// The checkpoint that kept more from going, and where it is.
    pub held_by: Option<(String, Position)>,
}
