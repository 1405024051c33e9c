//! Layer 5.1: in a tail: which ordinals have an id with this hash.
//!
//! Knows: 48 bits of each id's hash. Does not know: the ids. What is found are candidates; the
//! reader compares the sixteen bytes in the record. Ten bytes an entry, because this table holds
//! one for every event of the tail.

use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};

/// The six upper bytes of the hash, the four bytes of the ordinal: unaligned on purpose.
#[derive(Debug, Clone, Copy)]
struct IdEntry([u8; 10]);

impl IdEntry {
    fn new(hash: u64, ordinal: u32) -> Self {
        let ([_, _, a, b, c, d, e, f], [g, h, i, j]) = (hash.to_le_bytes(), ordinal.to_le_bytes());
        Self([a, b, c, d, e, f, g, h, i, j])
    }

    fn hash(self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_le_bytes([0, 0, a, b, c, d, e, f])
    }

    fn ordinal(self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// Every id of the tail.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    first: HashTable<IdEntry>,
    /// All but the first ordinal of an id that came again (ids unique within a stream may), apart
    /// from the table, where equal entries would make each other slow to find.
    again: HashMap<u64, Vec<u32>>,
}

/// The table looks at the lowest and the highest bits, and the lowest ones here are zero.
fn spread(hash: u64) -> u64 {
    (hash >> 16).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl IdTable {
    pub(super) fn push(&mut self, hash: u64, ordinal: u32) {
        let same = |entry: &IdEntry| entry.hash() == hash;
        match self.first.entry(spread(hash), same, |entry| spread(entry.hash())) {
            Entry::Vacant(place) => {
                place.insert(IdEntry::new(hash, ordinal));
            }
            Entry::Occupied(_) => self.again.entry(hash).or_default().push(ordinal),
        }
    }

    pub(super) fn get(&self, hash: u64) -> IdCandidates<'_> {
        let Some(first) = self.first.find(spread(hash), |entry| entry.hash() == hash) else {
            return IdCandidates::default();
        };
        let again = match self.again.is_empty() {
            true => &[],
            false => self.again.get(&hash).map(Vec::as_slice).unwrap_or_default(),
        };
        IdCandidates { first: Some(first.ordinal()), again, packed: &[] }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let first = self.first.iter().map(|entry| (entry.hash(), entry.ordinal()));
        let again = self.again.iter();
        first.chain(again.flat_map(|(hash, all)| all.iter().map(|ordinal| (*hash, *ordinal))))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let again = self.again.values().map(|all| all.capacity() * size_of::<u32>()).sum::<usize>();
        self.first.allocation_size() + self.again.allocation_size() + again
    }
}

/// Ascending ordinals of events that may have an id.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdCandidates<'a> {
    first: Option<u32>,
    again: &'a [u32],
    /// Entries of a sidecar: fingerprint and ordinal.
    packed: &'a [[u8; 8]],
}

impl<'a> IdCandidates<'a> {
    pub(super) fn packed(packed: &'a [[u8; 8]]) -> Self {
        Self { packed, ..Self::default() }
    }
}

impl Iterator for IdCandidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if let Some((next, rest)) = self.again.split_first() {
            self.again = rest;
            return Some(*next);
        }
        let ([.., a, b, c, d], rest) = self.packed.split_first()?;
        self.packed = rest;
        Some(u32::from_le_bytes([*a, *b, *c, *d]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::mix;
    use super::*;

    #[test]
    fn every_ordinal_of_a_hash_is_found_in_order() {
        let mut table = IdTable::default();
        let hash = |n: u32| mix(u64::from(n)) & !0xFFFF;
        for n in 0..10_000 {
            table.push(hash(n % 3000), n);
        }
        for n in 0..3000 {
            let all: Vec<_> = (n..10_000).step_by(3000).collect();
            assert_eq!(table.get(hash(n)).collect::<Vec<_>>(), all);
        }
        assert_eq!(table.get(hash(3000)).next(), None);
        assert_eq!(table.iter().count(), 10_000);
    }

    #[test]
    fn one_id_for_every_event_stays_fast() {
        let mut table = IdTable::default();
        (0..200_000).for_each(|n| table.push(1 << 20, n));
        assert_eq!(table.get(1 << 20).count(), 200_000);
        assert!(table.memory_bytes() < 2_000_000);
    }
}
