//! Layer 5.3: in a tail: the streams, with the ordinals of their events.
//!
//! Knows: names, exactly, and that versions are consecutive. Does not know: other segments. A
//! stream with one event, of which a store may have millions, takes no list of its own.

use hashbrown::HashTable;

use super::hash::HashKey;
use super::lookup::{MISSING, Ordinals, StreamPart, StreamRun};
use super::names::Names;
use crate::types::Version;

#[derive(Debug, Clone, Copy)]
struct Entry {
    first_version: u64,
    name_start: u32,
    name_length: u16,
    first: u32,
    /// One more than the number of the list of all its ordinals; 0 while there is but the first.
    list: u32,
}

/// The streams of the tail.
#[derive(Debug)]
pub(super) struct StreamTable {
    key: HashKey,
    names: Names,
    entries: Vec<Entry>,
    by_name: HashTable<u32>,
    lists: Vec<Vec<u32>>,
}

fn at(entries: &[Entry], number: u32) -> Option<&Entry> {
    entries.get(number as usize)
}

fn name<'a>(names: &'a Names, entry: &Entry) -> &'a str {
    names.get(entry.name_start.into(), entry.name_length)
}

/// For indexes that are one too high so that 0 can say none.
fn list_of(lists: &[Vec<u32>], number: u32) -> Option<&Vec<u32>> {
    lists.get((number as usize).checked_sub(1)?)
}

impl StreamTable {
    pub(super) fn new(key: HashKey) -> Self {
        let by_name = HashTable::new();
        Self { key, names: Names::default(), entries: Vec::new(), by_name, lists: Vec::new() }
    }

    fn find(&self, wanted: &str) -> Option<&Entry> {
        let same = |number: &u32| {
            at(&self.entries, *number).is_some_and(|entry| name(&self.names, entry) == wanted)
        };
        let number = self.by_name.find(self.key.bytes(wanted.as_bytes()), same)?;
        at(&self.entries, *number)
    }

    /// Adds the stream's next event. Of the versions before it, `damaged` may be missing.
    ///
    /// # Errors
    /// Says what is wrong; nothing was changed.
    pub(super) fn push(
        &mut self,
        stream: &str,
        version: Version,
        ordinal: u32,
        damaged: u32,
    ) -> Result<(), &'static str> {
        let hash = self.key.bytes(stream.as_bytes());
        let Self { key, names, entries, by_name, lists } = self;
        let same = |number: &u32| at(entries, *number).is_some_and(|e| name(names, e) == stream);
        if let Some(number) = by_name.find(hash, same).copied() {
            let entry = entries.get_mut(number as usize).ok_or("a stream's number is wrong")?;
            return extend(entry, lists, version, ordinal, damaged);
        }
        let number = u32::try_from(entries.len()).map_err(|_| "too many streams")?;
        let name_length = u16::try_from(stream.len()).map_err(|_| "a stream's name is too long")?;
        let start = names.push(stream).and_then(|start| u32::try_from(start).ok());
        let name_start = start.ok_or("too many stream names")?;
        let first_version = version.get();
        entries.push(Entry { first_version, name_start, name_length, first: ordinal, list: 0 });
        let rehash = |number: &u32| {
            at(entries, *number).map_or(0, |entry| key.bytes(name(names, entry).as_bytes()))
        };
        by_name.insert_unique(hash, number, rehash);
        Ok(())
    }

    pub(super) fn get(&self, wanted: &str) -> Option<StreamRun<'_>> {
        self.find(wanted).map(|entry| self.run(entry))
    }

    fn run(&self, entry: &Entry) -> StreamRun<'_> {
        let ordinals = match list_of(&self.lists, entry.list) {
            Some(list) => Ordinals::Values(list),
            None => Ordinals::One(entry.first),
        };
        StreamRun { first_version: Version::new(entry.first_version), ordinals }
    }

    /// Every stream in the order they came, with its events.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, StreamRun<'_>)> {
        self.entries.iter().map(|entry| (name(&self.names, entry), self.run(entry)))
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = StreamPart<'_>> {
        self.iter().map(|(name, run)| {
            let count = run.len();
            let last_ordinal = run.ordinal(count.saturating_sub(1)).unwrap_or_default();
            StreamPart { name, first_version: run.first_version, count, last_ordinal }
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lists = self.lists.iter().map(|list| list.capacity() * size_of::<u32>()).sum::<usize>();
        self.names.memory_bytes()
            + self.entries.capacity() * size_of::<Entry>()
            + self.by_name.allocation_size()
            + self.lists.capacity() * size_of::<Vec<u32>>()
            + lists
    }
}

fn extend(
    entry: &mut Entry,
    lists: &mut Vec<Vec<u32>>,
    version: Version,
    ordinal: u32,
    damaged: u32,
) -> Result<(), &'static str> {
    let have = list_of(lists, entry.list).map_or(1, Vec::len);
    let next = u64::try_from(have).ok().and_then(|have| entry.first_version.checked_add(have));
    let next = next.ok_or("a stream's version is too high")?;
    let missing = version.get().checked_sub(next).ok_or("a stream has a version twice")?;
    // Only a damaged event can leave a gap, so a wrong version cannot make this list long.
    if missing > u64::from(damaged) {
        return Err("a stream lacks a version");
    }
    if entry.list == 0 {
        entry.list = u32::try_from(lists.len() + 1).map_err(|_| "too many streams")?;
        lists.push(vec![entry.first]);
    }
    let list = (entry.list as usize).checked_sub(1).and_then(|number| lists.get_mut(number));
    let list = list.ok_or("a stream's list is missing")?;
    (0..missing).for_each(|_| list.push(MISSING));
    list.push(ordinal);
    Ok(())
}
