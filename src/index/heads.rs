//! Layer 5.1: where streams stand, in memory.
//!
//! Knows: each stream's name, exactly, and its head. Does not know: its events, or the streams
//! whose heads lie in files. A store keeps this for every stream it has appended to since it was
//! opened, so an entry is 19 bytes beside its name, tables are not made larger all at once, and
//! growing moves little.

use hashbrown::HashTable;

use super::hash::HashKey;
use super::names::Names;
use crate::types::{Position, Version};

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub version: Version,
    /// The position of its last event.
    pub last_position: Position,
}

/// Versions and positions are kept in six bytes: 2^48 events at a million a second take nine years.
const NUMBER_MAX: u64 = (1 << 48) - 1;
const START_MAX: u64 = (1 << 40) - 1;
const LENGTH_MAX: usize = u16::MAX as usize;

const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Growing moves one shard: some hundred microseconds at a million streams.
const SHARDS: usize = 256;
const SHARDS_U64: u64 = 256;
const _: () = assert!(SHARDS as u64 == SHARDS_U64);

/// Start of the name (5 bytes), its length (2), version (6), last position (6).
#[derive(Debug, Clone, Copy)]
struct Entry([u8; 19]);

impl Entry {
    fn new(start: u64, length: u16, head: Head) -> Option<Self> {
        let (version, position) = (head.version.get(), head.last_position.get());
        if start > START_MAX || version > NUMBER_MAX || position > NUMBER_MAX {
            return None;
        }
        let [a, b, c, d, e, ..] = start.to_le_bytes();
        let [f, g] = length.to_le_bytes();
        let [h, i, j, k, l, m, ..] = version.to_le_bytes();
        let [n, o, p, q, r, s, ..] = position.to_le_bytes();
        Some(Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s]))
    }

    /// Start and length of the name.
    fn name(self) -> (u64, u16) {
        let [a, b, c, d, e, f, g, ..] = self.0;
        let length = u16::from_le_bytes([f, g]);
        (u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]), length)
    }

    fn head(self) -> Head {
        let [_, _, _, _, _, _, _, h, i, j, k, l, m, n, o, p, q, r, s] = self.0;
        Head {
            version: Version::new(u64::from_le_bytes([h, i, j, k, l, m, 0, 0])),
            last_position: Position::new(u64::from_le_bytes([n, o, p, q, r, s, 0, 0])),
        }
    }
}

/// Heads by the names of their streams.
#[derive(Debug)]
pub(crate) struct HeadTable {
    key: HashKey,
    names: Names,
    /// Chunks of 4096 entries that never move; an entry's number is its place in all of them.
    entries: Vec<Vec<Entry>>,
    shards: [HashTable<u32>; SHARDS],
    len: u32,
}

impl Default for HeadTable {
    fn default() -> Self {
        Self {
            key: HashKey::random(),
            names: Names::default(),
            entries: Vec::new(),
            shards: [const { HashTable::new() }; SHARDS],
            len: 0,
        }
    }
}

/// The shard of a hash. Shards are of unequal shares, the first twice that of the last, so that
/// they do not all double at the same append and are on average some two thirds full, whatever the
/// number of streams. Of `x` in 0..1, 32 bits of the hash, it is (x^2 + 2x) / 3. They are neither
/// the lowest, which name the place in the shard's table, nor the highest seven, by which the table
/// tells its entries apart before it asks for their names: all of a shard would share those.
fn shard_of(hash: u64) -> usize {
    let x = (hash >> 24) & 0xFFFF_FFFF;
    let place = (((x * x) >> 32) + 2 * x) / 3;
    usize::try_from((place * SHARDS_U64) >> 32).unwrap_or_default()
}

fn entry_at(entries: &[Vec<Entry>], number: u32) -> Option<Entry> {
    entries.get((number >> CHUNK_BITS) as usize)?.get(number as usize & (CHUNK - 1)).copied()
}

fn name_at<'a>(entries: &[Vec<Entry>], names: &'a Names, number: u32) -> &'a str {
    let (start, length) = entry_at(entries, number).map(Entry::name).unwrap_or_default();
    names.get(start, length)
}

impl HeadTable {
    fn find(&self, stream: &str) -> Option<u32> {
        let hash = self.key.bytes(stream.as_bytes());
        let same = |number: &u32| name_at(&self.entries, &self.names, *number) == stream;
        self.shards.get(shard_of(hash))?.find(hash, same).copied()
    }

    pub(crate) fn get(&self, stream: &str) -> Option<Head> {
        entry_at(&self.entries, self.find(stream)?).map(Entry::head)
    }

    /// Sets a stream's head; false, and nothing is changed, when it cannot be held: a number of
    /// 2^48 or more, more than 2^32 streams, a name that is too long.
    #[must_use]
    pub(crate) fn set(&mut self, stream: &str, head: Head) -> bool {
        match self.find(stream) {
            Some(number) => self.replace(number, head).is_some(),
            None => self.insert(stream, head).is_some(),
        }
    }

    fn replace(&mut self, number: u32, head: Head) -> Option<()> {
        let chunk = self.entries.get_mut((number >> CHUNK_BITS) as usize)?;
        let entry = chunk.get_mut(number as usize & (CHUNK - 1))?;
        let (start, length) = entry.name();
        *entry = Entry::new(start, length, head)?;
        Some(())
    }

    fn insert(&mut self, stream: &str, head: Head) -> Option<()> {
        // Tried with any start before the name is stored, so that failing changes nothing.
        Entry::new(0, 0, head)?;
        let length =
            u16::try_from(Some(stream.len()).filter(|length| *length <= LENGTH_MAX)?).ok()?;
        let (number, after) = (self.len, self.len.checked_add(1)?);
        let entry = Entry::new(self.names.push(stream)?, length, head)?;
        if self.entries.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // The first chunk grows as it is filled: most stores are small.
            let capacity = if self.entries.is_empty() { 0 } else { CHUNK };
            self.entries.push(Vec::with_capacity(capacity));
        }
        self.entries.last_mut()?.push(entry);
        let Self { key, names, entries, shards, .. } = self;
        let rehash = |number: &u32| key.bytes(name_at(entries, names, *number).as_bytes());
        let hash = key.bytes(stream.as_bytes());
        shards.get_mut(shard_of(hash))?.insert_unique(hash, number, rehash);
        self.len = after;
        Some(())
    }

    /// How many streams, deleted ones included.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Every stream, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Head)> {
        self.entries.iter().flatten().map(|entry| {
            let (start, length) = entry.name();
            (self.names.get(start, length), entry.head())
        })
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let entries = self.entries.iter().map(|chunk| chunk.capacity() * size_of::<Entry>());
        size_of::<Self>()
            + self.names.memory_bytes()
            + self.entries.capacity() * size_of::<Vec<Entry>>()
            + entries.sum::<usize>()
            + self.shards.iter().map(HashTable::allocation_size).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn head(version: u64, last_position: u64) -> Head {
        let last_position = Position::new(last_position);
        Head { version: Version::new(version), last_position }
    }

    proptest! {
        #[test]
        fn heads_are_a_map(sets in proptest::collection::vec(
            ("[AB]{0,2}-?[a-cü]{0,3}", 0..=NUMBER_MAX, 0..=NUMBER_MAX), 0..200,
        )) {
            let (mut heads, mut model) = (HeadTable::default(), BTreeMap::new());
            for (name, version, position) in sets {
                let head = head(version, position);
                prop_assert!(heads.set(&name, head));
                model.insert(name, head);
            }
            prop_assert_eq!(heads.len() as usize, model.len());
            prop_assert!(model.iter().all(|(name, head)| heads.get(name) == Some(*head)));
            prop_assert_eq!(heads.get("C"), None);
            let all: BTreeMap<_, _> =
                heads.iter().map(|(name, head)| (name.to_owned(), head)).collect();
            prop_assert_eq!(all, model);
        }
    }

    #[test]
    fn what_cannot_be_held_is_refused_and_changes_nothing() {
        let mut heads = HeadTable::default();
        assert!(heads.set("a", head(1, 2)));
        for bad in [head(NUMBER_MAX + 1, 1), head(1, u64::MAX)] {
            assert!(!heads.set("a", bad) && !heads.set("b", bad));
        }
        assert!(!heads.set(&"x".repeat(LENGTH_MAX + 1), head(1, 1)));
        assert_eq!(heads.get("a"), Some(head(1, 2)));
        assert_eq!((heads.get("b"), heads.len()), (None, 1));
    }

    /// Shards were chosen by the highest bits of the hash, and so every stream of a shard had the
    /// same seven bits by which its table tells entries apart: each look-up compared the names of
    /// all streams nearby, each a miss of the cache, and opening a million streams took seconds.
    #[test]
    fn streams_of_a_shard_are_told_apart_without_their_names() {
        let key = HashKey { first: 1, second: 2 };
        let mut tags = vec![std::collections::BTreeSet::new(); SHARDS];
        for n in 0..100_000 {
            let hash = key.bytes(format!("Stream-{n}").as_bytes());
            tags[shard_of(hash)].insert(hash >> 57);
        }
        assert!(tags.iter().all(|tags| tags.len() > 96), "{:?}", tags.first());
    }

    #[test]
    fn streams_take_no_more_memory_than_is_said() {
        for count in [100_u64, 10_000, 100_000, 140_000] {
            let mut heads = HeadTable::default();
            for n in 0..count {
                assert!(heads.set(&format!("Stream-{n:013}"), head(n, n)));
            }
            for n in 0..count {
                let found = heads.get(&format!("Stream-{n:013}"));
                assert_eq!(found, Some(head(n, n)));
            }
            let each = heads.memory_bytes() as f64 / count as f64;
            // Of the last chunks of names and entries a part is empty, which few streams feel.
            let most = 50.0 + 150_000.0 / count as f64;
            assert!(each < most, "{count}: {each}");
        }
    }
}
