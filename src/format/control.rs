//! Layer 1.3: the bodies of control records: opening, seal, checkpoint.
//!
//! Knows: their layout. Does not know: when they are written.
//!
//! ```text
//! opening     predecessor segment u64, its end offset u64, its last frame u64, its chain u32,
//!             zeros u32, last recorded_at u64          (all zero in the first segment)
//! seal        events in the segment u64, last recorded_at u64
//! checkpoint  name length u8, name, position u64, id of the event at that position 16
//! ```

use uuid::Uuid;

use super::bytes::{Put, Take};
use super::frame::FrameHeader;
use super::record::{RecordKind, push_record};

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

#[cfg(test)]
mod tests {
    use super::super::record::{Record, patch_record};
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
    }

    #[test]
    fn bodies_of_another_length_are_refused() {
        let seal = body(|out| Seal { events: 8, last_recorded_at: 9 }.push(out));
        assert_eq!(Seal::decode(&seal[..8]), None);
        assert_eq!(Seal::decode(&[seal.clone(), vec![0]].concat()), None);
    }
}
