//! Layer 1.1: the first 4096 bytes of a segment file.
//!
//! Knows: what is fixed when the file is prepared. Does not know: anything that becomes known
//! later; that stands in the first frame (`control.rs`). The block is never written again.
//!
//! ```text
//!    0  magic "FACTLOG\0"           8
//!    8  format version              u16
//!   10  checksum algorithm          u8   1 = CRC-32 (IEEE)
//!   11  id scope                    u8   1 = store, 2 = stream, 3 = reserved (not unique)
//!   12  flags                       u32  bit 0: rewritten; all others "refuse if unknown"
//!   16  origin store                16   UUID
//!   32  segment number              u64
//!   40  size it was prepared for    u64
//!   48  made at                     u64  microseconds since the Unix epoch
//!   56  pipeline depth              u8   syncs in flight, at most 2
//!   57  zeros                       3
//!   60  rewrite number              u32  how often it was rewritten; 0 = as it was first written
//!   64  zeros                       to 4092
//! 4092  checksum of all before      u32
//! ```

use uuid::Uuid;

use super::bytes::{Put, Take};
use super::checksum::crc;
use crate::types::{Error, ErrorKind, IdScope};

pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;
/// 0 may still change; 1 will be kept for ever.
pub(crate) const FORMAT_VERSION: u16 = 0;
pub(crate) const STORE_MAGIC: &[u8; 8] = b"FACTLOG\0";
const CHECKSUM_CRC32: u8 = 1;
const PIPELINE_DEPTH: u8 = 1;
const PIPELINE_DEPTH_MAX: u8 = 2;
/// The flag of a segment that was rewritten: the log in it may end before the end that its
/// successor names.
const REWRITTEN: u32 = 1;
/// Stands for the rewrite number of a segment whose header block does not check.
pub(crate) const REWRITE_NOT_KNOWN: u32 = u32::MAX;

/// The values of a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub store: Uuid,
    pub number: u64,
    pub id_scope: IdScope,
    pub capacity: u64,
    pub created_at: u64,
    /// How often it was rewritten.
    pub rewrite: u32,
}

pub(super) fn id_scope_code(scope: IdScope) -> u8 {
    match scope {
        IdScope::Store => 1,
        IdScope::Stream => 2,
    }
}

pub(super) fn id_scope_of(code: u8) -> Option<IdScope> {
    match code {
        1 => Some(IdScope::Store),
        2 => Some(IdScope::Stream),
        _ => None,
    }
}

impl SegmentHeader {
    /// What is known of a block that does not check: everything but sizes, times and rewrites.
    pub(crate) fn lost(store: Uuid, number: u64, id_scope: IdScope) -> Self {
        let rewrite = REWRITE_NOT_KNOWN;
        Self { store, number, id_scope, capacity: 0, created_at: 0, rewrite }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.put(STORE_MAGIC);
        out.put_u16(FORMAT_VERSION);
        out.put_u8(CHECKSUM_CRC32);
        out.put_u8(id_scope_code(self.id_scope));
        out.put_u32(if self.rewrite > 0 { REWRITTEN } else { 0 });
        out.put(self.store.as_bytes());
        out.put_u64(self.number);
        out.put_u64(self.capacity);
        out.put_u64(self.created_at);
        out.put_u8(PIPELINE_DEPTH);
        out.put(&[0; 3]);
        out.put_u32(self.rewrite);
        out.resize(SEGMENT_HEADER_BYTES - 4, 0);
        out.put_u32(crc(&out));
        out
    }

    /// # Errors
    /// `Damaged` when it does not check, `Unsupported` when it checks but is newer than this code.
    pub(crate) fn decode(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let damaged = |what| Error::damaged(file, 0, what);
        let mut take = Take(bytes);
        let block = take.slice(SEGMENT_HEADER_BYTES - 4);
        let (Some(block), Some(sum)) = (block, take.u32()) else {
            return Err(damaged("segment is shorter than its header"));
        };
        if crc(block) != sum {
            return Err(damaged("segment header does not check"));
        }
        Self::fields(block, file)?.ok_or_else(|| damaged("segment header has impossible values"))
    }

    fn fields(block: &[u8], file: &str) -> Result<Option<Self>, Error> {
        let mut take = Take(block);
        if take.slice(8) != Some(STORE_MAGIC) {
            return Ok(None);
        }
        let (version, algorithm, scope, flags) = (take.u16(), take.u8(), take.u8(), take.u32());
        let known = version == Some(FORMAT_VERSION)
            && algorithm == Some(CHECKSUM_CRC32)
            && flags.is_some_and(|flags| flags & !REWRITTEN == 0);
        let (true, Some(id_scope)) = (known, scope.and_then(id_scope_of)) else {
            let text = format!(
                "segment has format version {}, flags {:#x}; \
                 this build reads version {FORMAT_VERSION}",
                version.unwrap_or_default(),
                flags.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Unsupported, text).in_file(file, 8));
        };
        Ok((|| {
            let mut header = Self {
                store: take.uuid()?,
                number: take.u64()?,
                capacity: take.u64()?,
                created_at: take.u64()?,
                id_scope,
                rewrite: 0,
            };
            let depth = take.u8()?;
            take.zeros(3)?;
            header.rewrite = take.u32()?;
            take.zeros(take.0.len())?;
            let told = (flags == Some(REWRITTEN)) == (header.rewrite > 0)
                && header.rewrite < REWRITE_NOT_KNOWN;
            (told && (1..=PIPELINE_DEPTH_MAX).contains(&depth)).then_some(header)
        })())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            store: Uuid::from_u128(7),
            number: 3,
            id_scope: IdScope::Stream,
            capacity: 1 << 20,
            created_at: 99,
            rewrite: 0,
        }
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        assert_eq!(SegmentHeader::decode(&header().encode(), "f").unwrap(), header());
        let rewritten = SegmentHeader { rewrite: 7, ..header() };
        assert_eq!(SegmentHeader::decode(&rewritten.encode(), "f").unwrap(), rewritten);
    }

    #[test]
    fn the_flag_and_the_number_of_a_rewrite_go_together() {
        for (flags, number) in [(1, 0_u32), (0, 1), (1, u32::MAX), (3, 1), (2, 0)] {
            let mut bytes = header().encode();
            bytes[12] = flags;
            bytes[60..64].copy_from_slice(&number.to_le_bytes());
            let sum = crc(&bytes[..4092]).to_le_bytes();
            bytes[4092..].copy_from_slice(&sum);
            assert!(SegmentHeader::decode(&bytes, "f").is_err(), "{flags} {number}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad, "f").is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_unsupported_and_not_damaged() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        let sum = crc(&bytes[..4092]).to_le_bytes();
        bytes[4092..].copy_from_slice(&sum);
        assert_eq!(SegmentHeader::decode(&bytes, "f").unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
