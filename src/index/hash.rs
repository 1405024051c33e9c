//! Layer 5.0: the keyed hash of names and ids, for tables in memory and in sidecars.
//!
//! Knows: bytes and a secret key, chosen at random for each table and written into the sidecar made
//! from it. Does not know: what is hashed. The key keeps a caller who chooses names and ids from
//! choosing collisions; nothing outside the one table or sidecar depends on a value.
//!
//! ```text
//! fold(a, b)  = low half of a * b (128 bits wide) xor its high half
//! start       h = second xor length of the bytes
//! each 16 bytes, the last ones filled up with zeros, as little-endian u64 (lo, hi):
//!             h = fold(lo xor first, hi xor h)
//! end         h = mix(h)
//! mix(h)      h ^= h >> 33; h *= FF51AFD7ED558CCD; h ^= h >> 33; h *= C4CEB9FE1A85EC53;
//!             h ^= h >> 33                                    (the finalizer of MurmurHash3)
//! id          the hash of its 16 bytes with the 16 lowest bits zero: 48 bits are kept
//! ```

use std::hash::{BuildHasher, RandomState};

use uuid::Uuid;

use crate::format::Take;

/// The secret of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashKey {
    pub first: u64,
    pub second: u64,
}

/// 48 bits tell the ids of a segment apart: among 190,000 of them a new id meets an equal hash once
/// in a thousand million times, and six bytes each are kept in memory instead of sixteen.
const ID_BITS: u64 = !0xFFFF;

impl HashKey {
    pub(crate) fn random() -> Self {
        let state = RandomState::new();
        Self { first: state.hash_one(1_u8), second: state.hash_one(2_u8) }
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> u64 {
        // On every platform `usize` fits; the length only tells padding from zeros.
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (blocks, rest) = bytes.as_chunks::<16>();
        let mut h = self.second ^ length;
        for block in blocks {
            h = self.block(h, block);
        }
        if !rest.is_empty() {
            let mut last = [0; 16];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            h = self.block(h, &last);
        }
        mix(h)
    }

    pub(crate) fn id(self, id: &Uuid) -> u64 {
        self.bytes(id.as_bytes()) & ID_BITS
    }

    fn block(self, h: u64, block: &[u8; 16]) -> u64 {
        let mut take = Take(block);
        let (lo, hi) = (take.u64().unwrap_or_default(), take.u64().unwrap_or_default());
        fold(lo ^ self.first, hi ^ h)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = multiply(a, b);
    low ^ high
}

/// The two halves of the product.
fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default();
    (low, u64::try_from(product >> 64).unwrap_or_default())
}

/// `x` scaled from all of u64 to `0..range`: the high half of the product.
pub(super) fn scale(x: u64, range: u64) -> u64 {
    multiply(x, range).1
}

pub(super) fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    h ^= h >> 33;
    h = h.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_is_written_down() {
        // Computed by an independent implementation of the text above.
        let key = HashKey { first: 0x0123_4567_89AB_CDEF, second: 0xFEDC_BA98_7654_3210 };
        assert_eq!(key.bytes(b""), GOLDEN[0]);
        assert_eq!(key.bytes(b"Order-42"), GOLDEN[1]);
        assert_eq!(key.bytes(b"a name of more than 16 bytes"), GOLDEN[2]);
        assert_eq!(key.id(&Uuid::from_u128(7)) & 0xFFFF, 0);
    }

    const GOLDEN: [u64; 3] = [0x03EB_EBCC_1F4A_6FD7, 0x283F_C03B_346E_B184, 0xD31D_28C9_69CB_670E];

    #[test]
    fn zeros_at_the_end_and_another_key_make_another_hash() {
        let key = HashKey::random();
        assert_ne!(key.bytes(b"a"), key.bytes(b"a\0"));
        assert_ne!(key.bytes(b"a"), HashKey::random().bytes(b"a"));
    }
}
