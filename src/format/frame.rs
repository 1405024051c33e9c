//! Layer 1.2: the 64 bytes before the records of a frame.
//!
//! Knows: the header's layout, its checksum and the chain. Does not know: what the records mean, or
//! which frame should come next (`scan.rs`). The header has its own checksum, so that a length is
//! trusted only once proven; the checksum starts from the segment's seed and takes in the offset,
//! so that a frame in the wrong place does not check.
//!
//! ```text
//!  0  magic              u32  "FLFR"
//!  4  length             u32  header and records; a multiple of 8, never 0
//!  8  frame number       u64  gapless over all kinds
//! 16  first position     u64  of the next event at this frame's beginning
//! 24  durable frame      u64  the highest frame known synced when this one was built
//! 32  writer epoch       u32
//! 36  predecessor chain  u32
//! 40  kind               u8   below 128: refuse if unknown
//! 41  part               u8   bit 0: first of its batch, bit 1: last of its batch
//! 42  flags              u16  all "refuse if unknown"
//! 44  records checksum   u32  over the head checksums of the records, in order
//! 48  events             u32
//! 52  frames of batch    u32  in the last frame of a batch, else 0
//! 56  events of batch    u32  in the last frame of a batch, else 0
//! 60  header checksum    u32  over bytes 0 to 60 and the frame's offset (u64), from the seed
//! ```

use super::bytes::{Put, Take};
use super::checksum::crc_from;
use super::record::set;

pub(crate) const FRAME_HEADER_BYTES: usize = 64;
/// No frame is longer: one event of the largest kind, its names and a control record.
pub(crate) const FRAME_BYTES_MAX: u32 = 96 << 20;
pub(crate) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"FLFR");

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The first of a segment.
    Opening,
    /// Events and control records of a batch, or a part of one.
    Batch,
    /// The last of a segment.
    Seal,
    /// The store was closed here.
    Closed,
    /// Says only how far the log is durable.
    Mark,
    /// Fills a block when commits are aligned; also any unknown kind that may be skipped.
    Skipped(u8),
    /// A kind that must be understood and is not.
    Unknown(u8),
}

impl FrameKind {
    pub(crate) const FILLER: Self = Self::Skipped(128);

    fn code(self) -> u8 {
        match self {
            Self::Opening => 1,
            Self::Batch => 2,
            Self::Seal => 3,
            Self::Closed => 4,
            Self::Mark => 5,
            Self::Skipped(code) | Self::Unknown(code) => code,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            1 => Self::Opening,
            2 => Self::Batch,
            3 => Self::Seal,
            4 => Self::Closed,
            5 => Self::Mark,
            128.. => Self::Skipped(code),
            _ => Self::Unknown(code),
        }
    }
}

/// Where in its batch a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BatchPart {
    pub first: bool,
    pub last: bool,
}

/// The values of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub length: u32,
    pub number: u64,
    pub first_position: u64,
    pub durable: u64,
    pub epoch: u32,
    pub chain: u32,
    pub kind: FrameKind,
    pub part: BatchPart,
    pub flags: u16,
    /// Binds the records to this header: a whole record of another frame does not fit in here.
    pub records_crc: u32,
    pub events: u32,
    pub batch_frames: u32,
    pub batch_events: u32,
}

impl FrameHeader {
    /// All but the checksum.
    fn encode(&self) -> [u8; FRAME_HEADER_BYTES - 4] {
        let mut bytes = [0; FRAME_HEADER_BYTES - 4];
        let mut out = bytes.as_mut_slice();
        out.put_u32(FRAME_MAGIC);
        out.put_u32(self.length);
        out.put_u64(self.number);
        out.put_u64(self.first_position);
        out.put_u64(self.durable);
        out.put_u32(self.epoch);
        out.put_u32(self.chain);
        out.put_u8(self.kind.code());
        out.put_u8(u8::from(self.part.first) | u8::from(self.part.last) << 1);
        out.put_u16(self.flags);
        out.put_u32(self.records_crc);
        out.put_u32(self.events);
        out.put_u32(self.batch_frames);
        out.put_u32(self.batch_events);
        bytes
    }

    /// The header at the front of `bytes`, if it checks for a frame at `offset`.
    pub(crate) fn decode(bytes: &[u8], seed: u32, offset: u64) -> Option<Self> {
        let checked = bytes.get(..FRAME_HEADER_BYTES - 4)?;
        let mut take = Take(bytes);
        if take.u32()? != FRAME_MAGIC {
            return None;
        }
        let mut header = Self {
            length: take.u32()?,
            number: take.u64()?,
            first_position: take.u64()?,
            durable: take.u64()?,
            epoch: take.u32()?,
            chain: take.u32()?,
            kind: FrameKind::of(take.u8()?),
            part: BatchPart::default(),
            flags: 0,
            records_crc: 0,
            events: 0,
            batch_frames: 0,
            batch_events: 0,
        };
        let part = take.u8()?;
        header.part = BatchPart { first: part & 1 != 0, last: part & 2 != 0 };
        header.flags = take.u16()? | u16::from(part >> 2) << 8;
        header.records_crc = take.u32()?;
        header.events = take.u32()?;
        header.batch_frames = take.u32()?;
        header.batch_events = take.u32()?;
        let sum = crc_from(crc_from(seed, checked), &place_of(offset));
        let fits = header.length as usize >= FRAME_HEADER_BYTES
            && header.length <= FRAME_BYTES_MAX
            && header.length.is_multiple_of(8);
        let checks = take.u32()? == sum || planted!(HeaderNotChecked);
        (checks && fits).then_some(header)
    }

    /// Whether every flag is one this build understands.
    pub(crate) fn understood(&self) -> bool {
        self.flags == 0 && !matches!(self.kind, FrameKind::Unknown(_))
    }
}

/// What ties a header's checksum to its place.
fn place_of(offset: u64) -> [u8; 8] {
    if planted!(PlaceNotInChecksum) {
        return [0; 8];
    }
    offset.to_le_bytes()
}

/// Writes the header over the first 64 bytes of `frame`, for a frame at `offset`.
pub(crate) fn patch_header(frame: &mut [u8], header: &FrameHeader, seed: u32, offset: u64) {
    let bytes = header.encode();
    let sum = crc_from(crc_from(seed, &bytes), &place_of(offset));
    set(frame, 0, &bytes);
    set(frame, FRAME_HEADER_BYTES - 4, &sum.to_le_bytes());
}

/// The records checksum of a frame after one record more, from the checksum of that one's head; 0
/// before the first.
pub(crate) fn records_crc(sum: u32, head: u32) -> u32 {
    crc_from(sum, &head.to_le_bytes())
}

/// The chain value after a frame: over what its header says (and through it the checksums of its
/// records), never over lengths or offsets, so that a segment rewritten with stubs keeps it.
pub(crate) fn chain_after(header: &FrameHeader) -> u32 {
    let bytes = header.encode();
    let said = bytes.get(8..36).unwrap_or_default();
    let counted = bytes.get(40..60).unwrap_or_default();
    crc_from(crc_from(header.chain, said), counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            length: 64,
            number: 9,
            first_position: 100,
            durable: 8,
            epoch: 2,
            chain: 0xABCD,
            kind: FrameKind::Batch,
            part: BatchPart { first: true, last: true },
            flags: 0,
            records_crc: 3,
            events: 2,
            batch_frames: 1,
            batch_events: 2,
        }
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = vec![0; 64];
        patch_header(&mut bytes, &header(), 5, 4096);
        bytes
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        assert_eq!(FrameHeader::decode(&bytes(), 5, 4096), Some(header()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..64 * 8 {
            let mut bad = bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&bad, 5, 4096), None, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_elsewhere_does_not_check() {
        assert_eq!(FrameHeader::decode(&bytes(), 5, 4104), None);
        assert_eq!(FrameHeader::decode(&bytes(), 6, 4096), None);
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(FrameHeader::decode(&[0; 64], 0, 0), None);
    }

    #[test]
    fn the_chain_takes_in_records_and_number_but_not_the_length() {
        let chain = chain_after(&header());
        assert_eq!(chain, chain_after(&FrameHeader { length: 640, ..header() }));
        assert_ne!(chain, chain_after(&FrameHeader { records_crc: 4, ..header() }));
        assert_ne!(chain, chain_after(&FrameHeader { number: 10, ..header() }));
        assert_ne!(records_crc(records_crc(0, 1), 2), records_crc(records_crc(0, 2), 1));
    }
}
