//! Layer 7.5: the verbs of what is kept beside the events: checkpoints and snapshots.
//!
//! Knows: what each verb means. Does not know: where they are kept.

use super::info::CheckpointInfo;
use super::store::Store;
use crate::engine::Snapshot;
use crate::types::{Position, Result, StreamKey, Version};

impl Store {
    /// The position a checkpoint was saved at.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # let store = Store::in_memory()?;
    /// assert_eq!(store.checkpoint("mailer")?, None);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn checkpoint(&self, name: &str) -> Result<Option<Position>> {
        self.engine().refuse_closed()?;
        Ok(self.engine().checkpoint(name)?.map(|checkpoint| checkpoint.position))
    }

    /// Every checkpoint, sorted by name.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # let store = Store::in_memory()?;
    /// for checkpoint in store.checkpoints()? {
    ///     println!("{} at {}", checkpoint.name, checkpoint.position);
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointInfo>> {
        self.engine().refuse_closed()?;
        let all = self.engine().checkpoints()?;
        let info = all.into_iter().map(|(name, checkpoint)| CheckpointInfo {
            name,
            position: checkpoint.position,
            saved_at: Some(checkpoint.saved_at).filter(|at| at.micros() > 0),
        });
        Ok(info.collect())
    }

    /// Saves a subscriber's progress durably; it never goes back.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Position, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// store.save_checkpoint("mailer", Position::new(1))?;
    /// assert_eq!(store.checkpoint("mailer")?, Some(Position::new(1)));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` above the end of the log or below what is saved; `Trimmed` at an event that was
    /// trimmed, unless it is the last of them; `DiskFull`, `InDoubt`, `Poisoned`.
    pub fn save_checkpoint(&self, name: &str, position: Position) -> Result<()> {
        self.engine().save_checkpoint(name, position, false)
    }

    /// Sets a checkpoint to any position, also back.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Position, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// store.save_checkpoint("mailer", Position::new(1))?;
    /// store.reset_checkpoint("mailer", Position::START)?; // from the beginning again
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` above the end of the log; `Trimmed` at an event that was trimmed, unless it is the
    /// last of them; `DiskFull`, `InDoubt`, `Poisoned`.
    pub fn reset_checkpoint(&self, name: &str, position: Position) -> Result<()> {
        self.engine().save_checkpoint(name, position, true)
    }

    /// Removes a checkpoint durably, as if nothing had ever been saved under the name; answers
    /// whether there was one. It no longer keeps [`Store::trim`] from what it had not come to. A
    /// subscriber that is still running saves a new one.
    ///
    /// ```
    /// # use factlog::{Position, Store};
    /// # let store = Store::in_memory()?;
    /// store.save_checkpoint("mailer", Position::START)?;
    /// assert!(store.remove_checkpoint("mailer")?);
    /// assert_eq!(store.checkpoint("mailer")?, None);
    /// assert!(!store.remove_checkpoint("mailer")?); // there is none any more
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` name; `DiskFull`, `InDoubt`, `Poisoned`.
    pub fn remove_checkpoint(&self, name: &str) -> Result<bool> {
        self.engine().remove_checkpoint(name)
    }

    /// The newest snapshot of a stream under a name. One that cannot be read, or that belongs to
    /// another history, is answered as none.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # let store = Store::in_memory()?;
    /// assert!(store.snapshot("Account-1", "balance")?.is_none()); // then fold from the beginning
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` name, `Closed`.
    pub fn snapshot(&self, stream: impl StreamKey, name: &str) -> Result<Option<Snapshot>> {
        let stream = stream.stream_name()?;
        self.engine().snapshot(stream.as_str(), name)
    }

    /// Saves an aggregate's folded state at a version of its stream, in place of the one before.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store, Version};
    /// # let store = Store::in_memory()?;
    /// store.append("Account-1", Expect::Any, [NewEvent::binary("Deposited", "5")])?;
    /// let (version, schema_version) = (Version::new(1), 1);
    /// store.save_snapshot("Account-1", "balance", (version, schema_version), *b"5")?;
    /// let snapshot = store.snapshot("Account-1", "balance")?;
    /// assert_eq!(snapshot.map(|snapshot| snapshot.data), Some(b"5".to_vec()));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when the stream has no such version, `Trimmed` when it has it no more; `DiskFull`,
    /// `InDoubt`, `Poisoned`.
    pub fn save_snapshot(
        &self,
        stream: impl StreamKey,
        name: &str,
        (version, schema_version): (Version, u16),
        data: impl Into<Vec<u8>>,
    ) -> Result<()> {
        let stream = stream.stream_name()?;
        let snapshot = Snapshot::new(version, schema_version, data.into());
        self.engine().save_snapshot(stream.as_str(), name, snapshot)
    }
}
