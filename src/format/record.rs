//! Layer 1.1: a record, the unit within a frame: a checked head and a checked body.
//!
//! Knows: the head's layout and both checksums. Does not know: what the bodies mean. The caller's
//! thread lays out a record with its body and the body's checksum; the writer later patches
//! position, version and time into the head and checksums those 36 bytes, never reading the body
//! again.
//!
//! ```text
//!  0  kind            u8   below 128: refuse if unknown; from 128: skip if unknown
//!  1  flags           u8   all "refuse if unknown" (reserved: compressed, encrypted, redacted)
//!  2  zeros           u16
//!  4  body length     u32  without padding
//!  8  position        u64  of the event; of a control record, the next event's
//! 16  version         u64  of the event; of checkpoint and settings, their first frame's number
//! 24  recorded at     u64  microseconds since the Unix epoch
//! 32  body checksum   u32  over body and padding, unseeded
//! 36  head checksum   u32  over bytes 0 to 36, from the segment's seed
//! 40  body, then zeros to a multiple of 8
//! ```

use super::bytes::Take;
use super::checksum::{crc, crc_from};

pub(crate) const RECORD_HEAD_BYTES: usize = 40;
pub(crate) const RECORD_ALIGN: usize = 8;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Event,
    Checkpoint,
    Opening,
    Seal,
    /// An event whose data was reclaimed (`stub.rs`).
    Stub,
    /// Positions whose events a salvage could not save.
    Lost,
    /// The settings of a stream from here on.
    Settings,
    /// Zeros that fill a block when commits are aligned; also any unknown kind that may be skipped.
    Skipped(u8),
    /// A kind that must be understood and is not.
    Unknown(u8),
}

impl RecordKind {
    pub(crate) const FILLER: Self = Self::Skipped(128);

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Checkpoint => 2,
            Self::Opening => 3,
            Self::Seal => 4,
            Self::Stub => 5,
            Self::Lost => 6,
            Self::Settings => 7,
            Self::Skipped(code) | Self::Unknown(code) => code,
        }
    }

    /// Whether it has a position of its own: an event, or what is left of one.
    pub(crate) fn is_event(self) -> bool {
        matches!(self, Self::Event | Self::Stub)
    }

    pub(crate) fn of(code: u8) -> Self {
        match code {
            1 => Self::Event,
            2 => Self::Checkpoint,
            3 => Self::Opening,
            4 => Self::Seal,
            5 => Self::Stub,
            6 => Self::Lost,
            7 => Self::Settings,
            128.. => Self::Skipped(code),
            _ => Self::Unknown(code),
        }
    }
}

/// The values of a record's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub kind: RecordKind,
    pub flags: u8,
    pub body_length: u32,
    pub position: u64,
    pub version: u64,
    pub recorded_at: u64,
    pub body_crc: u32,
    pub head_crc: u32,
}

/// A record whose two checksums hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub head: RecordHead,
    pub body: &'a [u8],
}

/// How many bytes a body of `length` takes with its padding.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(RECORD_ALIGN)
}

impl RecordHead {
    /// The head at the front of `bytes`, if it checks.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let checked = bytes.get(..RECORD_HEAD_BYTES - 4)?;
        let head = Self::read(bytes)?;
        let checks = crc_from(seed, checked) == head.head_crc;
        (checks || planted!(RecordHeadNotChecked)).then_some(head)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        let (kind, flags) = (take.u8()?, take.u8()?);
        take.zeros(2)?;
        Some(Self {
            kind: RecordKind::of(kind),
            flags,
            body_length: take.u32()?,
            position: take.u64()?,
            version: take.u64()?,
            recorded_at: take.u64()?,
            body_crc: take.u32()?,
            head_crc: take.u32()?,
        })
    }

    /// Head, body and padding together, in bytes.
    pub(crate) fn record_bytes(&self) -> usize {
        RECORD_HEAD_BYTES + padded(self.body_length as usize)
    }
}

impl<'a> Record<'a> {
    /// The record at the front of `bytes`, if both checksums hold.
    pub(crate) fn decode(bytes: &'a [u8], seed: u32) -> Option<Self> {
        let head = RecordHead::decode(bytes, seed)?;
        let rest = bytes.get(RECORD_HEAD_BYTES..)?;
        let stored = rest.get(..padded(head.body_length as usize))?;
        let (body, padding) = stored.split_at_checked(head.body_length as usize)?;
        let checks = crc(stored) == head.body_crc || planted!(BodyNotChecked);
        let whole = checks && padding.iter().all(|byte| *byte == 0);
        whole.then_some(Self { head, body })
    }

    /// The record at the front of `bytes` as [`patch_record`] left it. Its checksums are not looked
    /// at: the bytes are still where they were laid out.
    pub(crate) fn laid_out(bytes: &'a [u8]) -> Option<Self> {
        let head = RecordHead::read(bytes)?;
        let body = bytes.get(RECORD_HEAD_BYTES..)?.get(..head.body_length as usize)?;
        Some(Self { head, body })
    }

    /// The same for one that [`push_record`] has left, with the place it is to get.
    pub(crate) fn unplaced(bytes: &'a [u8], place: (u64, u64, u64)) -> Option<Self> {
        let Self { head, body } = Self::laid_out(bytes)?;
        let (position, version, recorded_at) = place;
        Some(Self { head: RecordHead { position, version, recorded_at, ..head }, body })
    }
}

/// Lays a record out at the end of `out`, its body written by `write`. Position, version, time and
/// head checksum are still zero: [`patch_record`] sets them.
pub(crate) fn push_record(out: &mut Vec<u8>, kind: RecordKind, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + RECORD_HEAD_BYTES, 0);
    write(out);
    let length = out.len() - start - RECORD_HEAD_BYTES;
    out.resize(start + RECORD_HEAD_BYTES + padded(length), 0);
    let Some((head, body)) =
        out.get_mut(start..).and_then(|record| record.split_at_mut_checked(RECORD_HEAD_BYTES))
    else {
        return;
    };
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    set(head, 0, &[kind.code()]);
    set(head, 4, &length.to_le_bytes());
    set(head, 32, &crc(body).to_le_bytes());
}

/// Gives the record at the front of `record` its place and checksums its head. Answers the head's
/// checksum (for the chain) and the record's size.
pub(crate) fn patch_record(record: &mut [u8], seed: u32, place: (u64, u64, u64)) -> (u32, usize) {
    let (position, version, recorded_at) = place;
    set(record, 8, &position.to_le_bytes());
    set(record, 16, &version.to_le_bytes());
    set(record, 24, &recorded_at.to_le_bytes());
    let sum = crc_from(seed, record.get(..RECORD_HEAD_BYTES - 4).unwrap_or_default());
    set(record, 36, &sum.to_le_bytes());
    let length = record.get(4..8).and_then(|bytes| Take(bytes).u32()).unwrap_or_default();
    (sum, RECORD_HEAD_BYTES + padded(length as usize))
}

pub(super) fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Put;

    fn record() -> Vec<u8> {
        let mut out = Vec::new();
        push_record(&mut out, RecordKind::Event, |out| out.put(b"hello world"));
        patch_record(&mut out, 77, (5, 6, 7));
        out
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let bytes = record();
        assert_eq!(bytes.len() % RECORD_ALIGN, 0);
        let record = Record::decode(&bytes, 77).unwrap();
        assert_eq!(record.body, b"hello world");
        let head = record.head;
        assert_eq!((head.position, head.version, head.recorded_at), (5, 6, 7));
        assert_eq!(head.record_bytes(), bytes.len());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = record();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&bad, 77).is_none(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(Record::decode(&good[..cut], 77).is_none(), "cut {cut}");
        }
        assert!(Record::decode(&good, 78).is_none(), "another segment's seed");
    }
}
