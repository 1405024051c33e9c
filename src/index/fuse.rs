//! Layer 5.1: a binary fuse filter: whether a key may be in a set.
//!
//! Knows: 64-bit keys and little-endian slots. Does not know: what the keys are. "No" is certain,
//! "yes" is wrong about once in 65,536 times, and 190,000 keys take some 2.3 bytes each. After
//! Thomas Mueller Graf and Daniel Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters",
//! ACM Journal of Experimental Algorithmics 27 (2022), <https://arxiv.org/abs/2201.01174>.
//!
//! ```text
//!  0  seed             u64
//!  8  segment bits     u32  a segment has 2 ^ bits slots, bits at most 18
//! 12  segments         u32  at least 1; two more follow them
//! 16  slots            u16  (segments + 2) << bits of them
//!
//! hash  = mix(key + seed)
//! place = (segments << bits) * hash >> 64, and in the next two segments, changed there by
//!         hash >> 18 and by hash, each cut to `bits` bits, with xor
//! a key is in when the xor of its three slots is the low 16 bits of hash ^ hash >> 32
//! ```

use super::hash::{mix, scale};
use crate::format::{Put, Take};

const BITS_MAX: u32 = 18;
/// An attempt succeeds nearly always; a set that defeats this many seeds gets no filter.
const ATTEMPTS: u64 = 32;

/// The shape of a filter; its slots stay where they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fuse {
    seed: u64,
    bits: u32,
    segments: u32,
}

/// Where the shape ends and the slots begin.
const SHAPE_BYTES: usize = 16;

impl Fuse {
    /// The filter in these bytes, if they have its size.
    pub(super) fn open(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        let shape = Self { seed: take.u64()?, bits: take.u32()?, segments: take.u32()? };
        let whole = shape.bits <= BITS_MAX
            && shape.segments > 0
            && u64::try_from(take.0.len()).ok()? == shape.slots() * 2;
        whole.then_some(shape)
    }

    /// Whether `key` may be in the filter of this shape in `bytes`.
    pub(super) fn may_contain(self, bytes: &[u8], key: u64) -> bool {
        let hash = self.hash(key);
        let slots = bytes.get(SHAPE_BYTES..).unwrap_or_default();
        let read = self.places(hash).map(|place| {
            Take(slots.get(place * 2..).unwrap_or_default()).u16().unwrap_or_default()
        });
        read.iter().fold(fingerprint(hash), |sum, slot| sum ^ slot) == 0
    }

    fn slots(self) -> u64 {
        (u64::from(self.segments) + 2) << self.bits
    }

    fn hash(self, key: u64) -> u64 {
        mix(key.wrapping_add(self.seed))
    }

    fn places(self, hash: u64) -> [usize; 3] {
        let length = 1_u64 << self.bits;
        let first = scale(hash, u64::from(self.segments) << self.bits);
        let mask = length - 1;
        let second = (first + length) ^ ((hash >> 18) & mask);
        let third = (first + 2 * length) ^ (hash & mask);
        // A place that does not fit is out of range, and reads as an empty slot.
        [first, second, third].map(|place| usize::try_from(place).unwrap_or(usize::MAX / 2))
    }

    /// The shape for this many keys: the paper's sizes, in whole numbers.
    fn sized(keys: u64) -> Option<Self> {
        // floor(log3.33(keys) + 2.25), where 3.33 ^ 2.25 is 15.
        let (mut bits, mut rest) = (0, keys.max(1).checked_mul(1500)?);
        while rest >= 333 {
            rest = rest * 100 / 333;
            bits += 1;
        }
        let bits = bits.min(BITS_MAX);
        // 0.875 + 0.25 * ln(1e6) / ln(keys), not below 1.125; rounding the logarithm down is on the
        // safe side.
        let log = u64::from(keys.max(2).ilog2());
        let room = (keys * 7 / 8 + keys * 5 / log).max(keys * 9 / 8) + 1;
        let segments = room.div_ceil(1 << bits).saturating_sub(2).max(1);
        Some(Self { seed: 0, bits, segments: u32::try_from(segments).ok()? })
    }
}

fn fingerprint(hash: u64) -> u16 {
    let [a, b, ..] = (hash ^ (hash >> 32)).to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The filter of these keys in bytes; `None` when no seed works. Sorts the keys and drops repeated
/// ones, which no seed could tell apart.
pub(super) fn build(keys: &mut Vec<u64>) -> Option<Vec<u8>> {
    keys.sort_unstable();
    keys.dedup();
    let mut shape = Fuse::sized(u64::try_from(keys.len()).ok()?)?;
    for attempt in 1..=ATTEMPTS {
        shape.seed = mix(attempt);
        let Some(order) = peel(shape, keys) else { continue };
        let mut slots = vec![0_u16; usize::try_from(shape.slots()).ok()?];
        // Backwards: each slot is set once, after the others of its key are final.
        for (hash, place) in order.into_iter().rev() {
            let read = shape.places(hash).map(|at| slots.get(at).copied().unwrap_or_default());
            let value = read.iter().fold(fingerprint(hash), |sum, slot| sum ^ slot);
            *slots.get_mut(place)? = value;
        }
        let mut out = Vec::with_capacity(SHAPE_BYTES + slots.len() * 2);
        out.put_u64(shape.seed);
        out.put_u32(shape.bits);
        out.put_u32(shape.segments);
        slots.into_iter().for_each(|slot| out.put_u16(slot));
        return Some(out);
    }
    None
}

/// An order of the keys' hashes, each with a place that no later one uses, if there is one.
fn peel(shape: Fuse, keys: &[u64]) -> Option<Vec<(u64, usize)>> {
    let slots = usize::try_from(shape.slots()).ok()?;
    // In each slot, how many keys have a place there, and the xor of their hashes.
    let mut used = vec![(0_u32, 0_u64); slots];
    for key in keys {
        let hash = shape.hash(*key);
        for place in shape.places(hash) {
            let (count, sum) = used.get_mut(place)?;
            *count += 1;
            *sum ^= hash;
        }
    }
    let alone = used.iter().enumerate().filter(|(_, (count, _))| *count == 1);
    let mut queue: Vec<usize> = alone.map(|(place, _)| place).collect();
    let mut order = Vec::with_capacity(keys.len());
    while let Some(place) = queue.pop() {
        let (count, hash) = *used.get(place)?;
        if count != 1 {
            continue;
        }
        order.push((hash, place));
        for other in shape.places(hash) {
            let (count, sum) = used.get_mut(other)?;
            *count -= 1;
            *sum ^= hash;
            if *count == 1 {
                queue.push(other);
            }
        }
    }
    (order.len() == keys.len()).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_missed_and_few_others_pass() {
        for count in [0_u64, 1, 2, 3, 10, 100, 1000, 190_000] {
            let mut keys: Vec<u64> = (0..count).map(|n| mix(n) & !0xFFFF).collect();
            let bytes = build(&mut keys).unwrap();
            let fuse = Fuse::open(&bytes).unwrap();
            assert!(keys.iter().all(|key| fuse.may_contain(&bytes, *key)), "{count}");
            let others = 1 << 20;
            let wrong =
                (0..others).filter(|n| fuse.may_contain(&bytes, mix(n + (1 << 40)))).count();
            // 16 are expected; an empty filter passes fingerprint 0, as often.
            assert!((1..=40).contains(&wrong), "{count}: {wrong}");
            if count == 190_000 {
                assert!(bytes.len() < 190_000 * 25 / 10, "{}", bytes.len());
            }
        }
    }

    #[test]
    fn repeated_keys_do_no_harm() {
        let mut keys = vec![7; 1000];
        assert!(build(&mut keys).is_some());
        assert_eq!(keys, [7]);
    }

    #[test]
    fn a_shape_of_another_size_is_refused() {
        let bytes = build(&mut (0..500).collect()).unwrap();
        assert!(Fuse::open(&bytes).is_some());
        assert!(Fuse::open(&bytes[..bytes.len() - 2]).is_none());
        assert!(Fuse::open(&bytes[..10]).is_none());
        let mut bad = bytes.clone();
        bad[8] = 200;
        assert!(Fuse::open(&bad).is_none());
    }
}
