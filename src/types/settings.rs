//! Layer 0.4: what a store is opened with: plain data, checked once.
//!
//! Knows: choices and their defaults. Does not know: who acts on them.

use std::time::Duration;

use super::error::{Error, Result};
#[cfg(feature = "forget")]
use super::keyring::Keyring;
use super::limits::{
    EVENT_DATA_CEILING, Limits, SEGMENT_BYTES_CEILING, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN,
};

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on disk: survives a power cut.
    #[default]
    Sync,
    /// When it is written; synced at most this much later. A power cut or crash of the operating
    /// system may lose that much.
    Interval(Duration),
    /// When it is written; the operating system syncs when it likes.
    Os,
}

impl Durability {
    /// Whether `self` promises at least as much as `other`.
    pub(crate) fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Sync, _) | (_, Self::Os) => true,
            (Self::Interval(mine), Self::Interval(theirs)) => mine <= theirs,
            _ => false,
        }
    }
}

/// Within what an event id is unique; chosen when the store is created, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdScope {
    /// In the whole store.
    #[default]
    Store,
    /// In each stream, as in KurrentDB.
    Stream,
}

/// What opening for writing does about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Recovery {
    /// Refuse with `Damaged`; opening read-only works around it.
    #[default]
    Refuse,
    /// As `Refuse`, but when nothing is wrong but that both generations of the head file are lost,
    /// make the head anew from what the segments say of themselves. What the lost head alone could
    /// prove, that no segment is missing after the last one present, stays unproved; the report
    /// says so.
    RebuildHead,
}

/// Everything a store is opened with.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) durability: Durability,
    pub(crate) id_scope: IdScope,
    pub(crate) recovery: Recovery,
    pub(crate) limits: Limits,
    pub(crate) segment_bytes: u64,
    pub(crate) rebuild_index: bool,
    pub(crate) map_segments: bool,
    pub(crate) align_commit: bool,
    pub(crate) background: bool,
    pub(crate) accept_lost: bool,
    pub(crate) subjects_in_clear: bool,
    pub(crate) poll_interval: Duration,
    #[cfg(feature = "forget")]
    pub(crate) keyring: Option<Keyring>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            id_scope: IdScope::Store,
            recovery: Recovery::Refuse,
            limits: Limits::default(),
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            rebuild_index: false,
            map_segments: true,
            align_commit: false,
            background: true,
            accept_lost: false,
            subjects_in_clear: false,
            poll_interval: Duration::from_millis(1),
            #[cfg(feature = "forget")]
            keyring: None,
        }
    }
}

impl Settings {
    /// An event that names a subject, in a store that would not encrypt its data: stored in the
    /// clear if the caller said so, refused otherwise.
    pub(crate) fn check_in_clear(&self) -> Result<()> {
        if self.subjects_in_clear {
            return Ok(());
        }
        Err(Error::invalid(
            "the event names a subject, and this store has no keyring to encrypt its data with: \
             give it one (`Options::keyring`, `factlog init --encrypt`), or allow what cannot be \
             forgotten (`Options::subjects_in_clear`, `--in-clear`)",
        ))
    }

    pub(crate) fn check(&self) -> Result<()> {
        let segment = self.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_CEILING).contains(&segment) {
            return Err(Error::invalid(format!(
                "segment_bytes is {segment}, \
                 allowed are {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_CEILING}"
            )));
        }
        let data = self.limits.event_data_max;
        if data > EVENT_DATA_CEILING {
            return Err(Error::invalid(format!(
                "event_data_max is {data}, allowed are up to {EVENT_DATA_CEILING}"
            )));
        }
        if self.limits.queue_batches == 0 || self.limits.queue_bytes == 0 {
            return Err(Error::invalid(
                "the append queue must hold at least one batch and one byte",
            ));
        }
        if self.poll_interval.is_zero() {
            return Err(Error::invalid("poll_interval must not be zero"));
        }
        Ok(())
    }
}
