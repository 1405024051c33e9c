//! Layer 6.3: what a leader works with: lists that are used again for the next group.
//!
//! Knows: what a group consists of while it is committed. Does not know: the order of the steps
//! (`commit.rs`). Without it every append of one event would ask for ten lists of one element.

use super::batch::Appended;
use super::queue::{Queued, Slot};
use super::staged::Staged;
use crate::index::{CheckpointEntry, SettingsEntry};
use crate::sync::{Arc, Mutex};
use crate::types::Result;

/// Who answers a group may still be at it while the next is committed.
const DESKS: usize = 2;
/// Lists that have become longer are not kept.
const KEPT_MOST: usize = 8192;

/// A batch of the group that will change the log.
#[derive(Debug)]
pub(super) struct Change {
    pub queued: Queued,
    pub answer: Appended,
    pub checkpoint: Option<CheckpointEntry>,
    pub settings: Vec<SettingsEntry>,
}

/// A batch of the group that changes nothing, with its answer.
#[derive(Debug)]
pub(super) struct Verdict {
    pub queued: Queued,
    pub outcome: Result<Appended>,
    /// The answer would be another if the group fails: it was judged by the group's changes, or is
    /// only as durable as asked once the group is synced.
    pub depends: bool,
}

/// The lists of one group.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub group: Vec<Queued>,
    pub taken: Vec<Arc<Slot>>,
    pub staged: Staged,
    /// The offset in the file of every event of the changes, in their order.
    pub placed: Vec<u32>,
    pub changes: Vec<Change>,
    pub verdicts: Vec<Verdict>,
    pub answers: Vec<(Arc<Slot>, Result<Appended>)>,
}

/// Desks that nobody sits at.
#[derive(Debug, Default)]
pub(crate) struct Desks(Mutex<Vec<Desk>>);

impl Desks {
    pub(super) fn take(&self) -> Desk {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Keeps a desk for the next group; what lies on it is thrown away.
    pub(super) fn give_back(&self, mut desk: Desk) {
        let longest = desk.placed.capacity().max(desk.group.capacity());
        if longest > KEPT_MOST {
            return;
        }
        desk.group.clear();
        desk.taken.clear();
        desk.staged.clear();
        desk.placed.clear();
        desk.changes.clear();
        desk.verdicts.clear();
        desk.answers.clear();
        let mut desks = self.0.lock();
        if desks.len() < DESKS {
            desks.push(desk);
        }
    }
}
