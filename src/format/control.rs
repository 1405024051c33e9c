//! Layer 1.3: the bodies of control records: opening, seal, checkpoint, lost range, settings.
//!
//! Knows: their layout. Does not know: when they are written.
//!
//! ```text
//! opening     predecessor segment u64, its end offset u64, its last frame u64, its chain u32,
//!             zeros u32, last recorded_at u64          (all zero in the first segment)
//! seal        events in the segment u64, last recorded_at u64
//! checkpoint  name length u8, name, position u64, id of the event at that position 16
//! lost range  positions u32, reason u8, zeros 3, segment u64 and offset u64 in the store that was
//!             salvaged
//! settings    truncate before u64, keep last u64, max age u64 (microseconds; 0 in these three:
//!             not set), deleted at u64 (0: never), tombstoned u8 (0 or 1), zero u8,
//!             stream length u16, stream
//! ```

use uuid::Uuid;

use super::bytes::{Put, Take};
use super::frame::FrameHeader;
use super::record::{Record, RecordKind, push_record};
use crate::types::{Lifecycle, Retention, Version};

/// Where the segment before this one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Predecessor {
    pub number: u64,
    pub end: u64,
    pub frame: u64,
    pub chain: u32,
}

/// The body of an opening record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Opening {
    pub predecessor: Predecessor,
    pub last_recorded_at: u64,
}

impl Opening {
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push_record(out, RecordKind::Opening, |out| {
            out.put_u64(self.predecessor.number);
            out.put_u64(self.predecessor.end);
            out.put_u64(self.predecessor.frame);
            out.put_u32(self.predecessor.chain);
            out.put_u32(0);
            out.put_u64(self.last_recorded_at);
        });
    }

    /// Whether the frame around it says the same: the one after the predecessor's last.
    pub(crate) fn agrees_with(&self, segment: u64, frame: &FrameHeader) -> bool {
        let before = self.predecessor;
        before.number.checked_add(1) == Some(segment)
            && before.frame.checked_add(1) == Some(frame.number)
            && before.chain == frame.chain
            && (before.frame > 0 || frame.first_position == 1)
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut take = Take(body);
        let (number, end, frame, chain) = (take.u64()?, take.u64()?, take.u64()?, take.u32()?);
        take.zeros(4)?;
        let last_recorded_at = take.u64()?;
        let predecessor = Predecessor { number, end, frame, chain };
        take.0.is_empty().then_some(Self { predecessor, last_recorded_at })
    }
}

/// The body of a seal record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub events: u64,
    pub last_recorded_at: u64,
}

impl Seal {
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push_record(out, RecordKind::Seal, |out| {
            out.put_u64(self.events);
            out.put_u64(self.last_recorded_at);
        });
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut take = Take(body);
        let seal = Self { events: take.u64()?, last_recorded_at: take.u64()? };
        take.0.is_empty().then_some(seal)
    }
}

/// The body of a checkpoint record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointRecord<'a> {
    pub name: &'a str,
    pub position: u64,
    pub id: Uuid,
}

impl<'a> CheckpointRecord<'a> {
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push_record(out, RecordKind::Checkpoint, |out| {
            out.put_u8(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
            out.put(self.name.as_bytes());
            out.put_u64(self.position);
            out.put(self.id.as_bytes());
        });
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        let mut take = Take(body);
        let length = usize::from(take.u8()?);
        let name = std::str::from_utf8(take.slice(length)?).ok()?;
        let record = Self { name, position: take.u64()?, id: take.uuid()? };
        take.0.is_empty().then_some(record)
    }
}

/// So many positions one lost range covers at most: what a few bytes make a reader hold is bounded.
pub(crate) const LOST_RANGE_MOST: u32 = 1 << 20;

/// So many a segment has at most, for the same reason.
pub(crate) const LOST_SEGMENT_MOST: u64 = 1 << 22;

/// Why events are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LostReason {
    /// Their bytes did not check.
    Damaged,
    /// Their file, or the end of it, was not there.
    Missing,
    /// They were lost by an earlier salvage.
    Earlier,
}

/// The body of a lost range: positions whose events a salvage could not save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostRange {
    pub positions: u32,
    pub reason: LostReason,
    /// Where they were in the store that was salvaged.
    pub segment: u64,
    pub offset: u64,
}

impl LostRange {
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push_record(out, RecordKind::Lost, |out| {
            out.put_u32(self.positions);
            out.put_u8(match self.reason {
                LostReason::Damaged => 1,
                LostReason::Missing => 2,
                LostReason::Earlier => 3,
            });
            out.put(&[0; 3]);
            out.put_u64(self.segment);
            out.put_u64(self.offset);
        });
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut take = Take(body);
        let positions = take.u32()?;
        let reason = match take.u8()? {
            1 => LostReason::Damaged,
            2 => LostReason::Missing,
            3 => LostReason::Earlier,
            _ => return None,
        };
        take.zeros(3)?;
        let range = Self { positions, reason, segment: take.u64()?, offset: take.u64()? };
        (take.0.is_empty() && (1..=LOST_RANGE_MOST).contains(&positions)).then_some(range)
    }
}

/// How many positions a record takes; `None` when it is a lost range that cannot be.
pub(crate) fn positions_of(record: &Record<'_>) -> Option<u32> {
    match record.head.kind {
        kind if kind.is_event() => Some(1),
        RecordKind::Lost => LostRange::decode(record.body).map(|range| range.positions),
        _ => Some(0),
    }
}

/// The body of a record of a stream's settings: all of them, as they are from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SettingsRecord<'a> {
    pub stream: &'a str,
    pub lifecycle: Lifecycle,
}

impl<'a> SettingsRecord<'a> {
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push_record(out, RecordKind::Settings, |out| self.encode(out));
    }

    /// The body alone, as an index keeps it too.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Lifecycle { retention, deleted_at, tombstoned } = self.lifecycle;
        let age = retention.max_age.map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        out.put_u64(retention.truncate_before.unwrap_or_default().get());
        out.put_u64(retention.keep_last.unwrap_or_default());
        out.put_u64(age.unwrap_or_default());
        out.put_u64(deleted_at.get());
        out.put_u8(u8::from(tombstoned));
        out.put_u8(0);
        out.put_u16(u16::try_from(self.stream.len()).unwrap_or(u16::MAX));
        out.put(self.stream.as_bytes());
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        let mut take = Take(body);
        let record = Self::take(&mut take)?;
        take.0.is_empty().then_some(record)
    }

    pub(crate) fn take(take: &mut Take<'a>) -> Option<Self> {
        let (truncate_before, keep_last, max_age) = (take.u64()?, take.u64()?, take.u64()?);
        let (deleted_at, tombstoned) = (Version::new(take.u64()?), take.u8()?);
        take.zeros(1)?;
        let length = usize::from(take.u16()?);
        let stream = std::str::from_utf8(take.slice(length)?).ok()?;
        let set = |value: u64| (value > 0).then_some(value);
        let retention = Retention {
            truncate_before: set(truncate_before).map(Version::new),
            keep_last: set(keep_last),
            max_age: set(max_age).map(std::time::Duration::from_micros),
        };
        let lifecycle = Lifecycle { retention, deleted_at, tombstoned: tombstoned == 1 };
        (tombstoned <= 1).then_some(Self { stream, lifecycle })
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{BatchPart, FrameKind};
    use super::super::record::patch_record;
    use super::*;

    fn body(push: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out);
        patch_record(&mut out, 0, (0, 0, 0));
        Record::decode(&out, 0).unwrap().body.to_vec()
    }

    #[test]
    fn control_records_come_back_as_they_were() {
        let predecessor = Predecessor { number: 1, end: 2, frame: 3, chain: 4 };
        let opening = Opening { predecessor, last_recorded_at: 5 };
        assert_eq!(Opening::decode(&body(|out| opening.push(out))), Some(opening));
        let seal = Seal { events: 8, last_recorded_at: 9 };
        assert_eq!(Seal::decode(&body(|out| seal.push(out))), Some(seal));
        let checkpoint = CheckpointRecord { name: "view", position: 7, id: Uuid::from_u128(3) };
        let bytes = body(|out| checkpoint.push(out));
        assert_eq!(CheckpointRecord::decode(&bytes), Some(checkpoint));
        for reason in [LostReason::Damaged, LostReason::Missing, LostReason::Earlier] {
            let lost = LostRange { positions: LOST_RANGE_MOST, reason, segment: 3, offset: 4096 };
            assert_eq!(LostRange::decode(&body(|out| lost.push(out))), Some(lost));
        }
    }

    #[test]
    fn settings_come_back_as_they_were() {
        let all = Retention::default();
        let some = all.keep_last(7).max_age(std::time::Duration::from_micros(8));
        for (retention, deleted, tombstoned) in
            [(all, 0, false), (some, 3, false), (some.truncate_before(Version::new(9)), 0, true)]
        {
            let deleted_at = Version::new(deleted);
            let lifecycle = Lifecycle { retention, deleted_at, tombstoned };
            let settings = SettingsRecord { stream: "Sensor-1", lifecycle };
            let bytes = body(|out| settings.push(out));
            assert_eq!(SettingsRecord::decode(&bytes), Some(settings));
            assert_eq!(SettingsRecord::decode(&bytes[1..]), None);
            assert_eq!(SettingsRecord::decode(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn bodies_of_another_length_are_refused() {
        let seal = body(|out| Seal { events: 8, last_recorded_at: 9 }.push(out));
        assert_eq!(Seal::decode(&seal[..8]), None);
        assert_eq!(Seal::decode(&[seal.clone(), vec![0]].concat()), None);
    }

    #[test]
    fn a_lost_range_of_none_or_too_many_positions_is_refused() {
        let (reason, segment, offset) = (LostReason::Damaged, 1, 4096);
        for positions in [0, LOST_RANGE_MOST + 1, u32::MAX] {
            let lost = LostRange { positions, reason, segment, offset };
            assert_eq!(LostRange::decode(&body(|out| lost.push(out))), None, "{positions}");
        }
        let lost = LostRange { positions: 1, reason, segment, offset };
        let longer = [body(|out| lost.push(out)), vec![0]].concat();
        assert_eq!(LostRange::decode(&longer), None);
    }

    #[test]
    fn an_opening_that_does_not_follow_its_predecessor_agrees_with_nothing() {
        let predecessor = Predecessor { number: 1, end: 2, frame: 3, chain: 4 };
        let opening = Opening { predecessor, last_recorded_at: 5 };
        let frame = FrameHeader {
            length: 0,
            number: 4,
            first_position: 9,
            durable: 3,
            epoch: 1,
            chain: 4,
            kind: FrameKind::Opening,
            part: BatchPart::default(),
            flags: 0,
            records_crc: 0,
            events: 0,
            batch_frames: 0,
            batch_events: 0,
        };
        assert!(opening.agrees_with(2, &frame));
        let most = Predecessor { number: u64::MAX, ..predecessor };
        let others = [
            (opening, 3, frame),
            (Opening { predecessor: most, ..opening }, 2, frame),
            (opening, 2, FrameHeader { number: 5, ..frame }),
            (opening, 2, FrameHeader { chain: 5, ..frame }),
        ];
        for (opening, segment, frame) in others {
            assert!(!opening.agrees_with(segment, &frame), "{opening:?} {segment} {frame:?}");
        }
    }
}
