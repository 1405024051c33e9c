//! Layer 0.3: what opening found and did, told to the caller instead of to a log line.
//!
//! Knows: plain values. Does not know: how they were found.

use std::time::Duration;

use uuid::Uuid;

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

/// What a salvage saved, and what it could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// The UUID of the store that was salvaged.
    pub from: Uuid,
    /// The UUID of the new store.
    pub store: Uuid,
    /// Events saved, each as it was, at the position and version it had.
    pub events: u64,
    /// Segment files of the new store.
    pub segments: u64,
    /// Every position that could not be saved: where its bytes were, and why. In ascending order,
    /// without overlaps; all positions up to the last one that are not in here were saved.
    pub missing: Vec<Damage>,
    /// All the damage that was found, also what cost nothing.
    pub damage: Vec<Damage>,
    /// Checkpoints that went along.
    pub checkpoints: u64,
    /// Checkpoints that did not, because the event at their position is lost: name and position.
    pub checkpoints_left: Vec<(String, Position)>,
    /// Snapshots that went along.
    pub snapshots: u64,
    /// Snapshots that did not, because the event at their version is lost.
    pub snapshots_left: u64,
    /// Anything else worth knowing: bytes that could not be read, an end that is not certain.
    pub notes: Vec<String>,
}

impl Salvaged {
    pub(crate) fn of(from: Uuid, store: Uuid) -> Self {
        Self { from, store, ..Self::default() }
    }

    /// How many positions could not be saved.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let count = |damage: &Damage| {
            let (first, last) = (damage.first_position?.get(), damage.last_position?.get());
            Some((last + 1).saturating_sub(first))
        };
        self.missing.iter().filter_map(count).sum()
    }

    /// Whether the position is one of those that could not be saved.
    pub(crate) fn lacks(&self, position: Position) -> bool {
        let after = self.missing.partition_point(|damage| damage.first_position <= Some(position));
        let before = after.checked_sub(1).and_then(|at| self.missing.get(at));
        before.is_some_and(|damage| damage.last_position >= Some(position))
    }
}

/// One thing that a repair mends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairStep {
    /// The file that is made anew.
    pub file: String,
    /// Why, and out of what.
    pub what: String,
    /// The file that keeps what is replaced; `None` when there is nothing to keep.
    pub kept_in: Option<String>,
}

/// What a repair found, and did or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// It was done; else it is what would be done.
    pub written: bool,
    /// Somebody has the store open for writing. What looks unfinished then is what he is doing now,
    /// so that of a dry run only [`Self::beyond`] is told.
    pub writer: bool,
    /// What is made anew out of what is known otherwise.
    pub steps: Vec<RepairStep>,
    /// An unfinished, unacknowledged end: its file, where it begins and how many bytes it has. It
    /// is set aside.
    pub torn: Option<(String, u64, u64)>,
    /// Torn bytes that were set aside, and where they are kept; only when it was done.
    pub set_aside: Vec<SetAside>,
    /// Valid frames that nothing certified as durable; they are copied into a fresh segment.
    pub frames_rescued: u64,
    /// Indexes that do not check, or say something else than the log; they are made anew.
    pub sidecars_rebuilt: Vec<SidecarRebuilt>,
    /// Damage to what nothing else tells. With any of it nothing at all is changed.
    pub beyond: Vec<Damage>,
    /// What else was found, such as indexes that are not there: an opening makes them.
    pub notes: Vec<String>,
}

impl Repaired {
    /// Whether there is nothing to do; beside a writer, whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let same = self.torn.is_none() && self.frames_rescued == 0;
        same && self.steps.is_empty() && self.sidecars_rebuilt.is_empty() && self.beyond.is_empty()
    }
}

/// What stands at one place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How many bytes it takes.
    pub bytes: u64,
    /// 1 for what is within the piece of depth 0 before it, such as a record in a frame.
    pub depth: u8,
    /// What it is, such as `batch frame`, `event`, `gap` or `zeros`.
    pub kind: &'static str,
    /// Why it is not what should stand there; `None` when it checks.
    pub problem: Option<String>,
    /// What it says of itself, in the order of the format.
    pub fields: Vec<(&'static str, PieceValue)>,
}

impl Piece {
    pub(crate) fn new(offset: u64, bytes: u64, kind: &'static str) -> Self {
        Self { offset, bytes, depth: 0, kind, problem: None, fields: Vec::new() }
    }
}

/// A value in a [`Piece`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PieceValue {
    /// A count, a size, a number.
    Number(u64),
    /// A checksum or chain value, usually shown in hexadecimal.
    Checksum(u32),
    /// A name or a UUID, never contents.
    Text(String),
}
