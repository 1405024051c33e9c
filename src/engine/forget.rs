//! Layer 6.5: what an open store does about subjects: read, keep keys, forget.
//!
//! Knows: in which order log, head and keyring change. Does not know: keys, or how they are kept.

use uuid::Uuid;

use super::catalog::whole;
use super::shared::Engine;
#[cfg(feature = "forget")]
use super::watch::Mark;
#[cfg(feature = "forget")]
use crate::log::Keys;
use crate::types::{ErrorKind, EventRef, Position, RecordedEvent, Result};

impl Engine {
    /// A copy of the event with its data, if that can be had.
    pub(crate) fn owned(&self, event: EventRef<'_>) -> Result<RecordedEvent> {
        self.subjects.open(event, &mut Vec::new()).map(|event| event.to_owned())
    }

    /// The event at a position; `None` where there is none yet, or none any more.
    pub(crate) fn event_at(&self, position: Position) -> Result<Option<RecordedEvent>> {
        whole(self.view()?.with_event(position, |event| self.owned(event))?.transpose()?)
    }

    /// Makes durable what a batch was encrypted with, so that it may be queued.
    pub(crate) fn keep_keys(&self, used: &[Uuid]) -> Result<()> {
        self.final_for_all(self.subjects.settle(used))
    }

    /// A failed sync is final for the whole store, whichever file it was of.
    fn final_for_all<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome
            && error.kind() == ErrorKind::InDoubt
        {
            self.poison(error);
        }
        outcome
    }
}

#[cfg(feature = "forget")]
impl Engine {
    /// Destroys the keys of a subject. Answers when, which keys, whether their bytes were
    /// overwritten, and the last position there was.
    pub(crate) fn forget(&self, subject: &str) -> Result<(u64, Vec<Uuid>, bool, Position)> {
        self.refuse_writing()?;
        let now = self.clock.now();
        let (keys, overwritten) = self.final_for_all(self.subjects.forget(subject, now))?;
        Ok((now, keys, overwritten, self.watch.level(Mark::Visible)))
    }

    /// Whether what was encrypted may be there still, because nobody knows the keys.
    pub(crate) fn lacks_keyring(&self) -> bool {
        self.subjects.lacks_keyring()
    }

    /// Every key that is or was there.
    pub(crate) fn keys(&self) -> Result<Keys> {
        self.refuse_closed()?;
        self.subjects.keys()
    }

    /// Takes keys in. A store that had none encrypts from now on.
    pub(crate) fn import_keys(&self, keys: Keys) -> Result<(u64, u64)> {
        self.refuse_writing()?;
        let counts = self.final_for_all(self.subjects.import(keys))?;
        if !self.subjects.encrypts()
            && let Some(tail) = &*self.tail.lock()
        {
            tail.encrypt_subjects()?;
            self.subjects.begin();
        }
        Ok(counts)
    }
}
