//! Layer 5.1: what an event can be found by besides stream and id, as a hash that can be stored.
//!
//! Knows: the kinds and the hash. Does not know: which events carry a term. Two terms may have the
//! same hash, so what is found by it are candidates: the reader compares the term with each event.
//!
//! ```text
//! FNV-1a, 64 bits, over the kind's byte and the text's bytes:
//!     h = CBF29CE484222325; for each byte: h ^= byte; h *= 100000001B3
//! then `mix` of hash.rs, because sidecars sort and cut by the upper bits.
//! ```

use super::hash::mix;

/// Something events are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Term<'a> {
    Category(&'a str),
    Type(&'a str),
    Tag(&'a str),
    Correlation(&'a str),
    Causation(&'a str),
}

impl Term<'_> {
    pub(crate) fn hash(&self) -> u64 {
        let (kind, text) = match self {
            Self::Category(text) => (1, text),
            Self::Type(text) => (2, text),
            Self::Tag(text) => (3, text),
            Self::Correlation(text) => (4, text),
            Self::Causation(text) => (5, text),
        };
        let start = fnv(0xCBF2_9CE4_8422_2325, kind);
        mix(text.bytes().fold(start, fnv))
    }
}

fn fnv(h: u64, byte: u8) -> u64 {
    (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_is_written_down() {
        // Computed by an independent implementation of the text above.
        assert_eq!(Term::Category("Order").hash(), GOLDEN[0]);
        assert_eq!(Term::Causation("").hash(), GOLDEN[1]);
    }

    const GOLDEN: [u64; 2] = [0x8CC4_DD44_D7A6_97E3, 0x07BA_D7FF_1B79_5B61];

    #[test]
    fn the_kind_is_part_of_the_hash() {
        let all = [
            Term::Category("x"),
            Term::Type("x"),
            Term::Tag("x"),
            Term::Correlation("x"),
            Term::Causation("x"),
        ];
        let mut hashes = all.map(|term| term.hash());
        hashes.sort_unstable();
        assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
