//! Layer 6.3: saved checkpoints and snapshots as values in keyed files.
//!
//! Knows: their layout and which of two checkpoints counts. Does not know: the files.
//!
//! ```text
//! checkpoint  key: the name    value: position u64, id 16, frame u64, saved at u64
//!                              removed: position of 2^64 - 1, id of zeros
//! snapshot    key: stream length u16, stream, name
//!             value: version u64, schema version u16, id 16, saved at u64, data
//! ```

use uuid::Uuid;

use crate::format::{Put, Take};
use crate::index::CheckpointEntry;
use crate::types::{Position, Timestamp, Version};

/// Beyond every log.
const REMOVED: Position = Position::new(u64::MAX);

/// A subscriber's durable progress, or that it was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub position: Position,
    /// Of the event at that position; nil at position 0.
    pub id: Uuid,
    /// The newest durable frame when it was saved.
    pub frame: u64,
    /// 0 when it is known only from the log.
    pub saved_at: Timestamp,
}

impl Checkpoint {
    /// That there is none, which overrules what a batch carried up to this frame.
    pub(crate) fn removed(frame: u64, saved_at: Timestamp) -> Self {
        Self { position: REMOVED, id: Uuid::nil(), frame, saved_at }
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.position == REMOVED
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.position.get());
        out.put(self.id.as_bytes());
        out.put_u64(self.frame);
        out.put_u64(self.saved_at.micros());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        let checkpoint = Self {
            position: Position::new(take.u64()?),
            id: take.uuid()?,
            frame: take.u64()?,
            saved_at: Timestamp::from_micros(take.u64()?),
        };
        take.0.is_empty().then_some(checkpoint)
    }

    pub(crate) fn of_log(entry: &CheckpointEntry) -> Self {
        let CheckpointEntry { position, id, frame, .. } = entry;
        Self { position: *position, id: *id, frame: *frame, saved_at: Timestamp::default() }
    }

    /// Of one saved apart and one carried by a batch, the later: a batch's frame is durable before
    /// anything can be saved at it, so at equal frames the saved one is the later. A batch carries
    /// nothing below what is saved, so a lower one was judged before the other was saved. A removal
    /// has no position to compare. `None` also when the later one is a removal.
    pub(crate) fn later(saved: Option<Self>, carried: Option<Self>) -> Option<Self> {
        let later = match (saved, carried) {
            (Some(saved), Some(carried))
                if saved.frame >= carried.frame && !planted!(ResetForgotten)
                    || saved.position >= carried.position && !saved.is_removed() =>
            {
                Some(saved)
            }
            (saved, None) => saved,
            (_, carried) => carried,
        };
        later.filter(|later| !later.is_removed())
    }
}

/// An aggregate's folded state at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The version of the stream whose events are folded in.
    pub version: Version,
    /// The version of the state's shape, given when it was saved.
    pub schema_version: u16,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// The state as it was given.
    pub data: Vec<u8>,
    pub(crate) id: Uuid,
}

impl Snapshot {
    pub(crate) fn new(version: Version, schema_version: u16, data: Vec<u8>) -> Self {
        Self { version, schema_version, saved_at: Timestamp::default(), data, id: Uuid::nil() }
    }

    pub(crate) fn key(stream: &str, name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u16(u16::try_from(stream.len()).unwrap_or(u16::MAX));
        out.put(stream.as_bytes());
        out.put(name.as_bytes());
        out
    }

    /// The stream that a key is of.
    pub(crate) fn stream_of(key: &[u8]) -> Option<&str> {
        let mut take = Take(key);
        let length = take.u16()?;
        std::str::from_utf8(take.slice(length.into())?).ok()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(34 + self.data.len());
        out.put_u64(self.version.get());
        out.put_u16(self.schema_version);
        out.put(self.id.as_bytes());
        out.put_u64(self.saved_at.micros());
        out.put(&self.data);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        Some(Self {
            version: Version::new(take.u64()?),
            schema_version: take.u16()?,
            id: take.uuid()?,
            saved_at: Timestamp::from_micros(take.u64()?),
            data: take.0.to_vec(),
        })
    }
}
