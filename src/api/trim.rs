//! Layer 7.5: the verbs of retention.
//!
//! Knows: what each verb means. Does not know: how segments go.

use super::store::Store;
use crate::types::{Position, Result, Trim, Trimmed};

impl Store {
    /// Removes whole old segments from the front of the log, as far as `trim` allows; never one
    /// that holds what a saved checkpoint has not come to, unless told to, and never the newest.
    ///
    /// Positions and versions stay what they are, and numbering goes on. What is asked for by a
    /// trimmed position, version or id is answered `Trimmed`, with the first position that is still
    /// there; who reads or subscribes from the beginning begins with it. Heads of streams are
    /// answered as before, a batch sent again gets its first answer, and a snapshot stays good.
    /// Conditions and queries see the events that are there. Readers go on with what they hold.
    ///
    /// When this returns, what is left is durable and the files are gone. After a crash on the way
    /// the log begins where it did, or where it was to begin.
    ///
    /// ```
    /// # use factlog::{ErrorKind, Expect, NewEvent, Position, Store, Trim};
    /// # let store = Store::options().segment_bytes(16 << 10).in_memory()?;
    /// for _ in 0..100 {
    ///     store.append("Meter-7", Expect::Any, [NewEvent::binary("Read", vec![0; 1000])])?;
    /// }
    /// let trimmed = store.trim(Trim::keep_events(50))?;
    /// assert!(trimmed.events > 0 && store.first_position() == trimmed.first_position);
    ///
    /// let gone = store.event_at(Position::new(1)).unwrap_err();
    /// assert_eq!(gone.kind(), ErrorKind::Trimmed);
    /// assert_eq!(gone.position(), Some(store.first_position()));
    /// assert_eq!(store.head("Meter-7")?.map(|head| head.version.get()), Some(100));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Damaged` when an event that would go does not check; `DiskFull`, `Io`: call again;
    /// `Poisoned`, `Closed`; `Invalid` in a store opened read-only.
    pub fn trim(&self, trim: Trim) -> Result<Trimmed> {
        self.engine().trim(&trim)
    }

    /// What [`Self::trim`] would remove now; removes nothing.
    ///
    /// ```
    /// # use factlog::{Store, Trim};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// let old = store.plan_trim(&Trim::older_than(Duration::from_secs(86_400)))?;
    /// println!("{} bytes in {} segments could go", old.bytes, old.segments);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Damaged`, `Closed`, `Io`.
    pub fn plan_trim(&self, trim: &Trim) -> Result<Trimmed> {
        self.engine().plan_trim(trim)
    }

    /// Of the first event that was not trimmed, also when none came since.
    ///
    /// ```
    /// # use factlog::{Position, Store};
    /// # let store = Store::in_memory()?;
    /// assert_eq!(store.first_position(), Position::new(1));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    #[must_use]
    pub fn first_position(&self) -> Position {
        self.engine().catalog.read().view().first_position()
    }
}
