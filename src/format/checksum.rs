//! Layer 1.0: the checksum of the format: CRC-32 (IEEE 802.3), the one in zlib.
//!
//! Knows: how seeds are made. Does not know: what is checked with it. A seed ties bytes to one
//! segment of one store, so that a valid frame in the wrong place does not check.

use crc32fast::Hasher;
use uuid::Uuid;

pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc_from(0, bytes)
}

/// The checksum of `bytes` going on from `start`: `zlib.crc32(bytes, start)` in Python.
pub(crate) fn crc_from(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}

/// What every checksum in a segment starts from.
pub(crate) fn segment_seed(store: Uuid, segment: u64) -> u32 {
    if planted!(ChecksumsUnseeded) {
        return 0;
    }
    crc_from(crc(store.as_bytes()), &segment.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_crc_of_zlib() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc_from(crc(b"12345"), b"6789"), 0xCBF4_3926);
    }

    #[test]
    fn seeds_differ_by_store_and_segment() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_ne!(segment_seed(a, 1), segment_seed(a, 2));
        assert_ne!(segment_seed(a, 1), segment_seed(b, 1));
    }
}
