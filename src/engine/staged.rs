//! Layer 6.2: what the batches accepted into the group being written will have changed.
//!
//! Knows: their streams, ids, events and checkpoints, each to be asked for as if it were committed.
//! Does not know: what is committed, whether the group succeeds, or how a batch is judged. What has
//! become committed in the meantime does no harm here: both sides say the same of it.

use std::cell::Cell;
use std::fmt;
use std::hash::BuildHasher;

use hashbrown::HashMap;
use uuid::Uuid;

use super::batch::{Appended, Batch, FewOf};
use super::knowledge::{Knowledge, StoredEvent};
use super::lifecycle::SettingsWrite;
use crate::format::{Record, decode_event};
use crate::sync::Arc;
use crate::types::{EventRef, Lifecycle, Position, Query, QueryItem, StreamName, Version};

/// A checkpoint to be written with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointWrite {
    pub name: String,
    pub position: Position,
    /// The id of the event at that position; nil at position 0.
    pub id: Uuid,
}

/// What a batch that goes through becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The position of its first event; the next event's, when it has none.
    pub first_position: Position,
    /// The version of each event, in the order of the batch.
    pub versions: FewOf<u64>,
    pub answer: Appended,
    /// The checkpoint to write; none when the batch carries none or it is saved at that position.
    pub checkpoint: Option<CheckpointWrite>,
    /// Settings of streams to write; none that are as they were.
    pub settings: Vec<SettingsWrite>,
}

/// Everything accepted but not yet committed.
#[derive(Default)]
pub(crate) struct Staged {
    ids_per_stream: bool,
    last: Position,
    batches: Vec<Arc<Batch>>,
    slots: Vec<Slot>,
    streams: HashMap<StreamName, StagedStream>,
    /// By id and, where ids are unique per stream, the stream's number (else 0).
    ids: HashMap<(Uuid, usize), usize>,
    checkpoints: HashMap<String, Position>,
    lifecycles: HashMap<StreamName, Lifecycle>,
    /// Made when a condition asks for the first time; a `Cell` because asking changes no answer.
    terms: Cell<Terms>,
}

/// An event; its position follows from its place in the list.
#[derive(Debug, Clone, Copy)]
struct Slot {
    batch: usize,
    event: usize,
    version: u64,
}

#[derive(Debug, Clone, Copy)]
struct StagedStream {
    number: usize,
    last: Version,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("events", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Staged {
    /// Nothing staged on top of what is committed now.
    #[cfg(test)]
    pub(crate) fn new(known: &dyn Knowledge) -> Self {
        let mut staged = Self::default();
        staged.begin(known);
        staged
    }

    /// Nothing staged on top of what is committed now; the room of the group before is used again.
    pub(crate) fn begin(&mut self, known: &dyn Knowledge) {
        self.clear();
        self.ids_per_stream = known.ids_per_stream();
        self.last = known.last_position();
    }

    /// Lets go of what was staged.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
        self.slots.clear();
        self.streams.clear();
        self.ids.clear();
        self.checkpoints.clear();
        self.lifecycles.clear();
        self.terms.take();
    }

    /// Adds a batch that was decided to go through, on top of everything added before.
    pub(crate) fn accept(&mut self, batch: &Arc<Batch>, accepted: &Accepted) {
        if let Some(write) = &accepted.checkpoint {
            self.set_checkpoint(write);
        }
        for write in &accepted.settings {
            self.lifecycles.insert(write.stream.clone(), write.lifecycle);
        }
        if accepted.versions.is_empty() {
            return;
        }
        for part in &accepted.answer.streams {
            let number = self.streams.len();
            let new = || StagedStream { number, last: part.last };
            self.streams.entry_ref(&part.stream).or_insert_with(new).last = part.last;
        }
        for (index, (event, version)) in batch.events.iter().zip(&accepted.versions).enumerate() {
            let stream = batch.streams.get(event.stream);
            if let Some(scope) = stream.and_then(|stream| self.scope(&stream.name)) {
                self.ids.insert((event.id, scope), self.slots.len());
            }
            let batch = self.batches.len();
            self.slots.push(Slot { batch, event: index, version: *version });
        }
        self.batches.push(Arc::clone(batch));
        self.last = accepted.answer.last;
    }

    /// Adds a checkpoint that is written apart from an accepted batch: with a replay, or by a verb
    /// of its own.
    pub(crate) fn set_checkpoint(&mut self, write: &CheckpointWrite) {
        self.checkpoints.insert(write.name.clone(), write.position);
    }

    /// The position of the last event, staged or else committed.
    pub(crate) fn last_position(&self) -> Position {
        self.last
    }

    /// The last version of a stream that staged events go to.
    pub(crate) fn stream(&self, name: &StreamName) -> Option<Version> {
        self.streams.get(name).map(|stream| stream.last)
    }

    /// The settings of a stream that a staged batch changes.
    pub(crate) fn lifecycle(&self, name: &StreamName) -> Option<Lifecycle> {
        self.lifecycles.get(name).copied()
    }

    pub(crate) fn checkpoint(&self, name: &str) -> Option<Position> {
        self.checkpoints.get(name).copied()
    }

    /// The staged event with this id, in the store's id scope.
    pub(crate) fn event_with_id(&self, id: &Uuid, stream: &StreamName) -> Option<StoredEvent> {
        if self.slots.is_empty() {
            return None;
        }
        let index = *self.ids.get(&(*id, self.scope(stream)?))?;
        let slot = self.slots.get(index)?;
        let batch = self.batches.get(slot.batch)?;
        let stream = batch.streams.get(batch.events.get(slot.event)?.stream)?;
        Some(StoredEvent {
            stream: stream.name.as_str().into(),
            version: Version::new(slot.version),
            position: self.position_of(index),
        })
    }

    /// The id of the staged event at a position.
    pub(crate) fn id_at(&self, position: Position) -> Option<Uuid> {
        let index = position.get().checked_sub(self.position_of(0).get())?;
        let slot = self.slots.get(usize::try_from(index).ok()?)?;
        Some(self.batches.get(slot.batch)?.events.get(slot.event)?.id)
    }

    /// The first staged event above `after` that matches.
    pub(crate) fn first_match(&self, query: &Query, after: Position) -> Option<Position> {
        if self.slots.is_empty() {
            return None;
        }
        let mut terms = self.terms.take();
        terms.catch_up(self);
        let of_item = |item| self.first_of_item(item, &terms, after);
        let first = query.items.iter().filter_map(of_item).min();
        self.terms.set(terms);
        first
    }

    /// Looks through the fewest events: those of the rarest label that a match must carry, or those
    /// of each type, of which the first one fits already.
    fn first_of_item(&self, item: &QueryItem, terms: &Terms, after: Position) -> Option<Position> {
        let tags = item.tags.iter().map(|tag| terms.list(Term::Tag(tag)));
        let correlation = item.correlation.iter().map(|id| terms.list(Term::Correlation(id)));
        let first_in = |list: &[usize]| {
            let above = list.iter().filter(|index| self.position_of(**index) > after);
            let mut events = above.filter_map(|index| self.event(*index));
            events.find(|event| item.matches(event)).map(|event| event.position())
        };
        match tags.chain(correlation).min_by_key(|list| list.len()) {
            Some(list) => first_in(list),
            None => item.types.iter().filter_map(|t| first_in(terms.list(Term::Type(t)))).min(),
        }
    }

    fn event(&self, index: usize) -> Option<EventRef<'_>> {
        let slot = self.slots.get(index)?;
        let batch = self.batches.get(slot.batch)?;
        let record = batch.records.get(*batch.starts.get(slot.event)?..)?;
        let place = (self.position_of(index).get(), slot.version, 0);
        decode_event(&Record::unplaced(record, place)?)
    }

    fn position_of(&self, index: usize) -> Position {
        let behind = u64::try_from(self.slots.len().saturating_sub(index)).unwrap_or(u64::MAX);
        Position::new(self.last.get().saturating_add(1).saturating_sub(behind))
    }

    /// What an id is unique within; `None` for a stream without staged events.
    fn scope(&self, stream: &StreamName) -> Option<usize> {
        if !self.ids_per_stream {
            return Some(0);
        }
        self.streams.get(stream).map(|stream| stream.number)
    }
}

/// What a query can ask of an event.
#[derive(Debug, Clone, Copy, Hash)]
enum Term<'a> {
    Type(&'a str),
    Tag(&'a str),
    Correlation(&'a str),
}

/// Which staged events carry a term, by its hash: equal hashes only add candidates.
#[derive(Default)]
struct Terms {
    events: usize,
    lists: HashMap<u64, Vec<usize>>,
}

impl Terms {
    fn catch_up(&mut self, staged: &Staged) {
        for index in self.events..staged.slots.len() {
            if let Some(event) = staged.event(index) {
                self.push(Term::Type(event.event_type()), index);
                event.tags().for_each(|tag| self.push(Term::Tag(tag), index));
                event.correlation().into_iter().for_each(|id| {
                    self.push(Term::Correlation(id), index);
                });
            }
        }
        self.events = staged.slots.len();
    }

    fn push(&mut self, term: Term<'_>, index: usize) {
        let hash = self.lists.hasher().hash_one(term);
        self.lists.entry(hash).or_default().push(index);
    }

    fn list(&self, term: Term<'_>) -> &[usize] {
        let hash = self.lists.hasher().hash_one(term);
        self.lists.get(&hash).map(Vec::as_slice).unwrap_or_default()
    }
}
