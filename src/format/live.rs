//! Layer 1.2: the live file: how far the log is durable, for followers and as a certificate.
//!
//! Knows: the layout of a mark and of the file's two slots. Does not know: when marks are written.
//! Marks alternate between the slots, each in a block of its own, so that a torn mark leaves the
//! one before it.
//!
//! ```text
//!  0  magic "FLLV"     u32
//!  4  writer epoch     u32
//!  8  store            16   UUID
//! 24  sequence         u64  grows by one per mark; its lowest bit is the slot
//! 32  durable frame    u64  always the last of a whole batch
//! 40  next position    u64  after that frame
//! 48  segment          u64  in which that frame lies
//! 56  end              u64  the offset after that frame
//! 64  checksum         u32
//! ```

use uuid::Uuid;

use super::bytes::{Put, Take};
use super::checksum::crc;

const MAGIC: u32 = u32::from_le_bytes(*b"FLLV");
const MARK_BYTES: usize = 68;
/// Distance of the slots.
pub(crate) const LIVE_SLOT_BYTES: u64 = 4096;
/// Size of the file.
pub(crate) const LIVE_BYTES: usize = 2 * 4096;

/// One mark in the live file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveMark {
    pub store: Uuid,
    pub epoch: u32,
    pub sequence: u64,
    pub frame: u64,
    pub next_position: u64,
    pub segment: u64,
    pub end: u64,
}

impl LiveMark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MARK_BYTES);
        out.put_u32(MAGIC);
        out.put_u32(self.epoch);
        out.put(self.store.as_bytes());
        for value in [self.sequence, self.frame, self.next_position, self.segment, self.end] {
            out.put_u64(value);
        }
        out.put_u32(crc(&out));
        out
    }

    /// Where this mark belongs in the file.
    pub(crate) fn offset(&self) -> u64 {
        (self.sequence & 1) * LIVE_SLOT_BYTES
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(..MARK_BYTES - 4)?;
        let mut take = Take(bytes);
        if take.u32()? != MAGIC {
            return None;
        }
        let mark = Self {
            epoch: take.u32()?,
            store: take.uuid()?,
            sequence: take.u64()?,
            frame: take.u64()?,
            next_position: take.u64()?,
            segment: take.u64()?,
            end: take.u64()?,
        };
        // So that counting on from them cannot overflow.
        let counts = [mark.sequence, mark.frame, mark.next_position, mark.segment, mark.end];
        let sane = counts.iter().all(|count| count >> 62 == 0);
        (take.u32()? == crc(body) && sane).then_some(mark)
    }

    /// The newest mark of `store` in the whole file's bytes.
    pub(crate) fn newest(file: &[u8], store: Uuid) -> Option<Self> {
        let slot = |start: usize| Self::decode(file.get(start..)?);
        let marks = [slot(0), slot(LIVE_BYTES / 2)];
        let ours = marks.into_iter().flatten().filter(|mark| mark.store == store);
        ours.max_by_key(|mark| mark.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sequence: u64) -> LiveMark {
        LiveMark {
            store: Uuid::from_u128(1),
            epoch: 2,
            sequence,
            frame: 3,
            next_position: 4,
            segment: 5,
            end: 6,
        }
    }

    fn file(marks: [LiveMark; 2]) -> Vec<u8> {
        let mut file = vec![0; LIVE_BYTES];
        for mark in marks {
            let at = usize::try_from(mark.offset()).unwrap();
            file[at..at + MARK_BYTES].copy_from_slice(&mark.encode());
        }
        file
    }

    #[test]
    fn the_newest_mark_counts() {
        let bytes = file([mark(8), mark(9)]);
        assert_eq!(LiveMark::newest(&bytes, mark(8).store), Some(mark(9)));
        assert_eq!(LiveMark::newest(&bytes, Uuid::from_u128(2)), None);
        assert_eq!(LiveMark::newest(&[], mark(8).store), None);
    }

    #[test]
    fn a_torn_mark_leaves_the_one_before_it() {
        for bit in 0..MARK_BYTES * 8 {
            let mut bytes = file([mark(8), mark(9)]);
            bytes[4096 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(LiveMark::newest(&bytes, mark(8).store), Some(mark(8)), "bit {bit}");
        }
    }
}
