//! Layer 5.2: the questions that the index of a segment answers, in memory or as a sidecar.
//!
//! Knows: the words of the answers. Does not know: how they are found. Within a segment an event is
//! named by its ordinal: its position minus the segment's first. Terms and ids are answered with
//! candidates that the reader compares with the event itself; everything else is exact.

use uuid::Uuid;

use super::ids::IdCandidates;
use super::postings::Postings;
use crate::format::{Put, SettingsRecord, Take};
use crate::types::{Lifecycle, Position, Timestamp, Version};

/// Stands for an event of a stream that lies at a damaged position.
pub(super) const MISSING: u32 = u32::MAX;

/// What can be asked of a segment.
pub(crate) trait SegmentLookup {
    /// The position of ordinal 0.
    fn first_position(&self) -> Position;

    /// How many positions the segment has, damaged ones included.
    fn events(&self) -> u32;

    /// The time of the newest event; zero without events.
    fn last_recorded_at(&self) -> Timestamp;

    /// Where the event's record begins; `None` when it is damaged or not in this segment.
    fn offset(&self, ordinal: u32) -> Option<u32>;

    /// Ordinals whose events cannot be read, ascending. Whose they were is not known, so each may
    /// be the answer to any question. A sidecar is never made around damage and has none.
    fn damaged(&self) -> &[u32] {
        &[]
    }

    /// Ordinals whose events a salvage could not save, ascending. Whose they were is not known
    /// either, but nothing will bring them back: a sidecar lists them.
    fn lost(&self) -> &[u32] {
        &[]
    }

    /// The stream's events in this segment; `None` when it has none here.
    fn stream(&self, name: &str) -> Option<StreamRun<'_>>;

    /// Candidates for a term, by [`super::Term::hash`].
    fn term(&self, hash: u64) -> Postings<'_>;

    /// Candidates for an id.
    fn ids(&self, id: &Uuid) -> IdCandidates<'_>;

    /// Every stream with events here, in any order.
    fn for_each_stream<'a>(&'a self, f: &mut dyn FnMut(StreamPart<'a>));

    /// How many streams have events here, and how many of them have their first one here.
    fn stream_counts(&self) -> (u32, u32) {
        let (mut all, mut new) = (0, 0);
        self.for_each_stream(&mut |part| {
            all += 1;
            new += u32::from(part.first_version == Version::new(1));
        });
        (all, new)
    }

    /// The newest checkpoint of every name, sorted by name.
    fn for_each_checkpoint(&self, f: &mut dyn FnMut(&CheckpointEntry));

    /// The newest settings of every stream that got any here, sorted by name.
    fn for_each_settings(&self, f: &mut dyn FnMut(&SettingsEntry));
}

/// A stream's part in a segment, as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamPart<'a> {
    pub name: &'a str,
    pub first_version: Version,
    /// Versions from the first to the last one here.
    pub count: u32,
    pub last_ordinal: u32,
}

/// A stream's events in a segment: consecutive versions, each with its ordinal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamRun<'a> {
    pub(super) first_version: Version,
    pub(super) ordinals: Ordinals<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Ordinals<'a> {
    One(u32),
    Values(&'a [u32]),
    Bytes(&'a [[u8; 4]]),
}

impl StreamRun<'_> {
    pub(crate) fn first_version(&self) -> Version {
        self.first_version
    }

    /// How many versions, including any that are damaged.
    pub(crate) fn len(&self) -> u32 {
        let length = match self.ordinals {
            Ordinals::One(_) => 1,
            Ordinals::Values(values) => values.len(),
            Ordinals::Bytes(bytes) => bytes.len(),
        };
        u32::try_from(length).unwrap_or(u32::MAX)
    }

    /// The ordinal of version `first_version + i`; `None` beyond the end, or when it is damaged.
    pub(crate) fn ordinal(&self, i: u32) -> Option<u32> {
        let i = usize::try_from(i).ok()?;
        let ordinal = match self.ordinals {
            Ordinals::One(ordinal) => (i == 0).then_some(ordinal),
            Ordinals::Values(values) => values.get(i).copied(),
            Ordinals::Bytes(bytes) => bytes.get(i).copied().map(u32::from_le_bytes),
        };
        ordinal.filter(|ordinal| *ordinal != MISSING)
    }

    /// The ordinal of a version; `None` when it is not in this segment, or damaged.
    pub(crate) fn version(&self, version: Version) -> Option<u32> {
        let i = version.get().checked_sub(self.first_version.get())?;
        self.ordinal(u32::try_from(i).ok()?)
    }
}

/// The newest progress saved under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointEntry {
    pub name: String,
    pub position: Position,
    /// The id of the event at that position.
    pub id: Uuid,
    /// The frame it was first written in: the higher one is the newer.
    pub frame: u64,
}

impl CheckpointEntry {
    /// In a sidecar and in the heads file.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        // Names are at most 255 bytes long; a longer one would not be a checkpoint's.
        let Ok(length) = u16::try_from(self.name.len()) else { return };
        out.put_u64(self.position.get());
        out.put(self.id.as_bytes());
        out.put_u64(self.frame);
        out.put_u16(length);
        out.put(self.name.as_bytes());
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let (position, id, frame) = (Position::new(take.u64()?), take.uuid()?, take.u64()?);
        let length = take.u16()?;
        let name = std::str::from_utf8(take.slice(length.into())?).ok()?.to_owned();
        Some(Self { name, position, id, frame })
    }
}

/// The newest settings of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingsEntry {
    pub stream: String,
    pub lifecycle: Lifecycle,
    /// The frame they were first written in: the higher one is the newer.
    pub frame: u64,
}

impl SettingsEntry {
    /// In a sidecar and in the heads file.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.frame);
        SettingsRecord { stream: &self.stream, lifecycle: self.lifecycle }.encode(out);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let frame = take.u64()?;
        let SettingsRecord { stream, lifecycle } = SettingsRecord::take(take)?;
        Some(Self { stream: stream.to_owned(), lifecycle, frame })
    }
}
