//! Layer 5.4: the index of the segment that is still written, wholly in memory.
//!
//! Knows: every event pushed so far. Does not know: which of them are visible already; who asks
//! cuts the answers at the watermark (`Postings::up_to`, ordinals compared). A sealed segment is
//! indexed like this too until its sidecar is made, or for good where damage forbids one.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use uuid::Uuid;

use super::hash::{HashKey, mix};
use super::ids::{IdCandidates, IdTable};
use super::lookup::{CheckpointEntry, SegmentLookup, SettingsEntry, StreamPart, StreamRun};
use super::postings::{PostingList, Postings};
use super::streams::StreamTable;
use super::term::Term;
use crate::format::LOST_SEGMENT_MOST;
use crate::types::{EventRef, Position, Timestamp};

/// No record is at offset 0: a segment begins with its header.
pub(super) const DAMAGED: u32 = 0;

/// The index of a segment in memory.
#[derive(Debug)]
pub(crate) struct TailIndex {
    first_position: Position,
    last_recorded_at: Timestamp,
    key: HashKey,
    offsets: Vec<u32>,
    /// Ordinals of positions whose events cannot be read.
    damaged: Vec<u32>,
    /// Ordinals of positions whose events a salvage could not save.
    lost: Vec<u32>,
    streams: StreamTable,
    terms: TermTable,
    ids: IdTable,
    checkpoints: BTreeMap<String, CheckpointEntry>,
    settings: BTreeMap<String, SettingsEntry>,
}

impl TailIndex {
    pub(crate) fn new(first_position: Position) -> Self {
        Self::with_key(first_position, HashKey::random())
    }

    /// One that hashes as another does, to be compared with it.
    pub(super) fn with_key(first_position: Position, key: HashKey) -> Self {
        Self {
            first_position,
            last_recorded_at: Timestamp::default(),
            key,
            offsets: Vec::new(),
            damaged: Vec::new(),
            lost: Vec::new(),
            streams: StreamTable::new(key),
            terms: TermTable { key: key.first, ..TermTable::default() },
            ids: IdTable::default(),
            checkpoints: BTreeMap::new(),
            settings: BTreeMap::new(),
        }
    }

    /// Adds the next event, whose record begins at `offset`.
    ///
    /// # Errors
    /// Says which rule of the log the event breaks; the index is as it was.
    pub(crate) fn push(&mut self, event: &EventRef<'_>, offset: u32) -> Result<(), &'static str> {
        let ordinal = self.events();
        if event.position() != self.first_position.plus(ordinal.into()) {
            return Err("the event is not at the next position");
        }
        if offset == DAMAGED || ordinal == u32::MAX - 1 {
            return Err("the event's offset or ordinal is impossible");
        }
        if event.version().get() >> 62 != 0 {
            return Err("the event's version is impossible");
        }
        let stream = event.stream();
        self.streams.push(stream, event.version(), ordinal, self.missing())?;
        self.offsets.push(offset);
        self.ids.push(self.key.id(&event.id()), ordinal);
        for_each_term(event, |term| self.terms.push(term.hash(), ordinal));
        self.last_recorded_at = self.last_recorded_at.max(event.recorded_at());
        Ok(())
    }

    /// Adds a position whose event cannot be read.
    pub(crate) fn push_damaged(&mut self) {
        self.damaged.push(self.events());
        self.offsets.push(DAMAGED);
    }

    /// Adds positions whose events a salvage could not save.
    ///
    /// # Errors
    /// Says which rule of the log they break; the index is as it was.
    pub(crate) fn push_lost(&mut self, position: u64, count: u32) -> Result<(), &'static str> {
        let (first, have) = (self.events(), self.lost.len() as u64);
        if position != self.first_position.plus(first.into()).get() {
            return Err("lost positions are not the next ones");
        }
        if have + u64::from(count) > LOST_SEGMENT_MOST {
            return Err("a segment has too many lost positions");
        }
        for ordinal in (first..).take(count as usize) {
            self.lost.push(ordinal);
            self.offsets.push(DAMAGED);
        }
        Ok(())
    }

    /// Takes a checkpoint in; of one name the one first written in the highest frame stays, and of
    /// those the last.
    pub(crate) fn push_checkpoint(&mut self, name: &str, position: Position, id: Uuid, frame: u64) {
        let known = self.checkpoints.get(name);
        if known.is_none_or(|known| known.frame <= frame) {
            let entry = CheckpointEntry { name: name.to_owned(), position, id, frame };
            self.checkpoints.insert(name.to_owned(), entry);
        }
    }

    /// Takes the settings of a stream in; those first written in the highest frame stay, and of
    /// those the last.
    pub(crate) fn push_settings(&mut self, entry: SettingsEntry) {
        let known = self.settings.get(&entry.stream);
        if known.is_none_or(|known| known.frame <= entry.frame) {
            self.settings.insert(entry.stream.clone(), entry);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        // A checkpoint's name is held twice, and the map has some room beside it.
        let entry = size_of::<CheckpointEntry>() + 2 * size_of::<String>();
        let checkpoints = self.checkpoints.keys().map(|name| entry + 2 * name.len()).sum::<usize>();
        let entry = size_of::<SettingsEntry>() + 2 * size_of::<String>();
        let settings = self.settings.keys().map(|name| entry + 2 * name.len()).sum::<usize>();
        size_of::<Self>()
            + (self.offsets.capacity() + self.damaged.capacity() + self.lost.capacity())
                * size_of::<u32>()
            + self.streams.memory_bytes()
            + self.terms.memory_bytes()
            + self.ids.memory_bytes()
            + checkpoints
            + settings
    }

    pub(super) fn key(&self) -> HashKey {
        self.key
    }

    pub(super) fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// How many events there are that nobody can read.
    fn missing(&self) -> u32 {
        u32::try_from(self.damaged.len() + self.lost.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = (&str, StreamRun<'_>)> {
        self.streams.iter()
    }

    pub(super) fn id_hashes(&self) -> impl Iterator<Item = (u64, u32)> {
        self.ids.iter()
    }

    /// Every term's hash with its ordinal when it has one, or with its list.
    pub(super) fn terms(&self) -> impl Iterator<Item = (u64, u32, Option<&PostingList>)> {
        let terms = self.terms.entries.iter();
        terms.map(|entry| (entry.hash, entry.first, self.terms.list(entry)))
    }
}

fn for_each_term(event: &EventRef<'_>, mut f: impl FnMut(Term<'_>)) {
    if let Some(category) = event.category() {
        f(Term::Category(category));
    }
    f(Term::Type(event.event_type()));
    event.tags().for_each(|tag| f(Term::Tag(tag)));
    // Both names begin with `$`, or with an escape that stands for it. Most metadata has neither,
    // and reading it as JSON twice was a fifth of making an index from the log.
    if event.metadata().iter().any(|byte| matches!(byte, b'$' | b'\\')) {
        event.correlation().into_iter().for_each(|id| f(Term::Correlation(id)));
        event.causation().into_iter().for_each(|id| f(Term::Causation(id)));
    }
}

impl SegmentLookup for TailIndex {
    fn first_position(&self) -> Position {
        self.first_position
    }

    fn events(&self) -> u32 {
        u32::try_from(self.offsets.len()).unwrap_or(u32::MAX)
    }

    fn last_recorded_at(&self) -> Timestamp {
        self.last_recorded_at
    }

    fn offset(&self, ordinal: u32) -> Option<u32> {
        self.offsets.get(ordinal as usize).copied().filter(|offset| *offset != DAMAGED)
    }

    fn damaged(&self) -> &[u32] {
        &self.damaged
    }

    fn lost(&self) -> &[u32] {
        &self.lost
    }

    fn stream(&self, name: &str) -> Option<StreamRun<'_>> {
        self.streams.get(name)
    }

    fn term(&self, hash: u64) -> Postings<'_> {
        self.terms.get(hash)
    }

    fn ids(&self, id: &Uuid) -> IdCandidates<'_> {
        self.ids.get(self.key.id(id))
    }

    fn for_each_stream<'a>(&'a self, f: &mut dyn FnMut(StreamPart<'a>)) {
        self.streams.parts().for_each(f);
    }

    fn for_each_checkpoint(&self, f: &mut dyn FnMut(&CheckpointEntry)) {
        self.checkpoints.values().for_each(f);
    }

    fn for_each_settings(&self, f: &mut dyn FnMut(&SettingsEntry)) {
        self.settings.values().for_each(f);
    }
}

/// The ordinals of each term; one ordinal, as with ids of correlations, takes no list.
#[derive(Debug, Default)]
struct TermTable {
    /// A term's hash is public; this keeps a caller from choosing where in the table it comes.
    key: u64,
    entries: HashTable<TermEntry>,
    lists: Vec<PostingList>,
}

#[derive(Debug, Clone, Copy)]
struct TermEntry {
    hash: u64,
    first: u32,
    /// One more than the number of the list; 0 while there is but the first.
    list: u32,
}

impl TermTable {
    fn push(&mut self, hash: u64, ordinal: u32) {
        let Self { key, entries, lists } = self;
        let place = |hash: u64| mix(hash ^ *key);
        let slot =
            entries.entry(place(hash), |entry| entry.hash == hash, |entry| place(entry.hash));
        let entry = match slot {
            Entry::Vacant(slot) => {
                slot.insert(TermEntry { hash, first: ordinal, list: 0 });
                return;
            }
            Entry::Occupied(slot) => slot.into_mut(),
        };
        if entry.list == 0 {
            // An event may name a tag twice.
            if entry.first == ordinal {
                return;
            }
            let mut list = PostingList::default();
            list.push(entry.first);
            lists.push(list);
            // Memory ends before there are 2^32 lists of more than 50 bytes each.
            entry.list = u32::try_from(lists.len()).unwrap_or(u32::MAX);
        }
        if let Some(list) = (entry.list as usize).checked_sub(1).and_then(|at| lists.get_mut(at)) {
            list.push(ordinal);
        }
    }

    fn list(&self, entry: &TermEntry) -> Option<&PostingList> {
        self.lists.get((entry.list as usize).checked_sub(1)?)
    }

    fn get(&self, hash: u64) -> Postings<'_> {
        match self.entries.find(mix(hash ^ self.key), |entry| entry.hash == hash) {
            Some(entry) => {
                self.list(entry).map_or_else(|| Postings::one(entry.first), PostingList::read)
            }
            None => Postings::default(),
        }
    }

    fn memory_bytes(&self) -> usize {
        let room = self.lists.capacity() - self.lists.len();
        self.entries.allocation_size()
            + room * size_of::<PostingList>()
            + self.lists.iter().map(PostingList::memory_bytes).sum::<usize>()
    }
}
