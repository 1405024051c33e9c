//! Layer 6.3: whether a batch is accepted, is a replay or is refused, and which numbers it gets.
//!
//! Knows: the states of streams, expectations, ids, conditions and checkpoints, committed or
//! staged, and the order of the verdicts: validation, tombstone, idempotency, expectations,
//! conditions. The first of these that fails decides, and reports everything that is violated in
//! it. Does not know: disk, clock, or how what is known is kept.
//!
//! | expect               | never existed    | live (v)    | soft-deleted (v) | tombstoned |
//! |----------------------|------------------|-------------|------------------|------------|
//! | `Any`                | ok               | ok          | ok               | Deleted    |
//! | `NoStream`           | ok               | Conflict(v) | ok               | Deleted *  |
//! | `StreamExists`       | Conflict(0)      | ok          | Deleted          | Deleted    |
//! | `Version(n)`, n = v  | ok (n = 0)       | ok          | ok               | Deleted    |
//! | `Version(n)`, n ≠ v  | Conflict(0)      | Conflict(v) | Conflict(v)      | Deleted    |
//!
//! `*` ok for a stream that is only checked.

use std::fmt::Write;

use hashbrown::HashSet;
use uuid::Uuid;

use super::batch::{Appended, Batch, BatchStream, FewOf, StreamAppended};
use super::knowledge::{Knowledge, StoredEvent};
use super::lifecycle::{SettingsWrite, changed};
pub(crate) use super::staged::{Accepted, CheckpointWrite, Staged};
use crate::types::{
    Conflict, Error, ErrorKind, Expect, Lifecycle, Position, Query, Result, StreamChange,
    StreamName, StreamState, Version,
};

/// Up to this many events are compared pair by pair instead of through a set.
const PAIRWISE_MAX: usize = 16;

/// What is to be done with a batch.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Write it with these numbers. Nothing is to be written when it has neither events nor a
    /// checkpoint.
    Accept(Accepted),
    /// It is stored already: the original answer, and the checkpoint to write because it is higher
    /// than the saved one.
    Replay(Appended, Option<CheckpointWrite>),
    /// Write nothing.
    Refuse(Error),
}

/// A decision and what it rests on.
#[derive(Debug)]
pub(crate) struct Judged {
    pub decision: Decision,
    /// Something staged was met on the way: if that is not committed, the batch must be judged
    /// again. False means that the same decision would be reached without anything staged (an
    /// accepted batch would get lower positions).
    pub depends_on_staged: bool,
}

/// The part of the validation that needs no knowledge of the store's contents: done on the caller's
/// thread.
///
/// # Errors
/// `Invalid`: nothing asked for, a check that checks nothing, an incomplete query.
/// `DuplicateIdInBatch`: an id twice, in the whole batch or in one stream, as ids are unique.
pub(crate) fn check_shape(batch: &Batch, ids_per_stream: bool) -> Result<()> {
    let queries = || batch.conditions.iter().map(|(query, _)| query).chain(&batch.none_exist);
    if batch.streams.is_empty()
        && batch.events.is_empty()
        && batch.checkpoint.is_none()
        && queries().next().is_none()
    {
        return Err(Error::invalid("batch has no events, checks, conditions or checkpoint"));
    }
    let idle = |(at, stream): &(usize, &BatchStream)| {
        stream.events == 0 && stream.expect == Expect::Any && !batch.changes_stream(*at)
    };
    if let Some((_, stream)) = batch.streams.iter().enumerate().find(idle) {
        let name = &stream.name;
        let what = format!("stream {name:?} gets no events and its check expects any state");
        return Err(Error::invalid(what).in_stream(name.as_str()));
    }
    queries().try_for_each(Query::check)?;
    match first_duplicate(batch, ids_per_stream) {
        None => Ok(()),
        Some(id) => {
            let what = format!("event id {id} is in the batch twice");
            Err(Error::new(ErrorKind::DuplicateIdInBatch, what).of_event(id))
        }
    }
}

fn first_duplicate(batch: &Batch, ids_per_stream: bool) -> Option<Uuid> {
    let scope = |stream| if ids_per_stream { stream } else { 0 };
    let mut keys = batch.events.iter().map(|event| (event.id, scope(event.stream)));
    if batch.events.len() <= PAIRWISE_MAX {
        let earlier = keys.clone();
        let mut numbered = keys.enumerate();
        let again = numbered.find(|(n, key)| earlier.clone().take(*n).any(|other| other == *key));
        return again.map(|(_, (id, _))| id);
    }
    let mut seen = HashSet::with_capacity(batch.events.len());
    keys.find(|key| !seen.insert(*key)).map(|(id, _)| id)
}

/// Judges a batch that has passed [`check_shape`], as if everything staged were committed.
pub(crate) fn decide(known: &dyn Knowledge, staged: &Staged, batch: &Batch) -> Judged {
    let mut view = Overlay { known, staged, met_staged: false };
    let decision = judge(&mut view, batch).unwrap_or_else(Decision::Refuse);
    Judged { decision, depends_on_staged: view.met_staged }
}

fn judge(view: &mut Overlay<'_>, batch: &Batch) -> Result<Decision> {
    check_bounds(view, batch)?;
    let survey = Survey::of(view, batch);
    if survey.tombstone_written {
        survey.check_tombstones()?;
    }
    let stored = find_stored(view, batch)?;
    let saved = match &batch.checkpoint {
        Some((name, _)) => view.checkpoint(name)?,
        None => None,
    };
    if let Stored::Whole(original) = stored {
        return Ok(Decision::Replay(original, moved_checkpoint(view, batch, saved)?));
    }
    survey.check_tombstones()?;
    if let Stored::Partly(error) = stored {
        return Err(error);
    }
    check_not_back(batch, saved)?;
    survey.check_expectations()?;
    check_conditions(view, batch)?;
    let settings = changed_settings(view, batch, &survey.placed)?;
    let checkpoint = moved_checkpoint(view, batch, saved)?;
    let last = view.staged.last_position();
    Ok(Decision::Accept(number(last, batch, survey.placed, (checkpoint, settings))))
}

/// What is committed, with what is staged on top.
struct Overlay<'a> {
    known: &'a dyn Knowledge,
    staged: &'a Staged,
    met_staged: bool,
}

impl Overlay<'_> {
    fn note<T>(&mut self, staged: Option<T>) -> Option<T> {
        self.met_staged |= staged.is_some();
        staged
    }

    fn stream(&mut self, name: &StreamName) -> (Version, Lifecycle) {
        let last = self.note(self.staged.stream(name));
        let lifecycle = self.note(self.staged.lifecycle(name));
        match (last, lifecycle) {
            (Some(last), Some(lifecycle)) => (last, lifecycle),
            (last, lifecycle) => {
                let known = self.known.stream(name.as_str());
                (last.unwrap_or(known.0), lifecycle.unwrap_or(known.1))
            }
        }
    }

    fn event_with_id(&mut self, id: &Uuid, stream: &StreamName) -> Result<Option<StoredEvent>> {
        match self.note(self.staged.event_with_id(id, stream)) {
            None => self.known.event_with_id(id, stream.as_str()),
            found => Ok(found),
        }
    }

    fn first_match(&mut self, query: &Query, after: Position) -> Result<Option<Position>> {
        match self.known.first_match(query, after)? {
            None => Ok(self.note(self.staged.first_match(query, after))),
            found => Ok(found),
        }
    }

    fn checkpoint(&mut self, name: &str) -> Result<Option<Position>> {
        match self.note(self.staged.checkpoint(name)) {
            None => self.known.checkpoint(name),
            found => Ok(found),
        }
    }

    fn id_at(&mut self, position: Position) -> Result<Option<Uuid>> {
        match self.note(self.staged.id_at(position)) {
            None => self.known.id_at(position),
            found => Ok(found),
        }
    }
}

/// The rest of the validation: nobody can have seen what is not there.
fn check_bounds(view: &mut Overlay<'_>, batch: &Batch) -> Result<()> {
    let last = view.known.last_position();
    if let Some((_, after)) = batch.conditions.iter().find(|(_, after)| *after > last) {
        let what = format!("condition is after position {after}, the last event is at {last}");
        return Err(Error::invalid(what).at(*after));
    }
    let Some((name, position)) = &batch.checkpoint else { return Ok(()) };
    let staged = view.staged.last_position();
    view.met_staged |= *position > last && staged > last;
    match staged {
        last if *position > last => {
            let what = format!(
                "checkpoint {name:?} is at position {position}, the last event is at {last}"
            );
            Err(Error::invalid(what).at(*position))
        }
        _ => Ok(()),
    }
}

/// The streams of a batch, each looked up once: what is wrong with them, and where they go on.
#[derive(Default)]
struct Survey {
    /// Every stream, those only checked included; `last` is its version before the batch.
    placed: Vec<StreamAppended>,
    tombstoned: Vec<Conflict>,
    /// One of the tombstoned streams was to be written.
    tombstone_written: bool,
    violated: Vec<Conflict>,
    /// One of the violated expectations is a conflict and not only about a deleted stream.
    conflict: bool,
}

impl Survey {
    fn of(view: &mut Overlay<'_>, batch: &Batch) -> Self {
        let placed = Vec::with_capacity(batch.streams.len());
        let mut survey = Self { placed, ..Self::default() };
        for (at, stream) in batch.streams.iter().enumerate() {
            let mut changes = batch.changes.iter().filter(|(changed, _)| *changed == at);
            let changed = batch.changes_stream(at);
            let buried = changed && changes.all(|(_, change)| *change == StreamChange::Tombstone);
            let (last, lifecycle) = view.stream(&stream.name);
            let written = stream.events > 0 || changed && !buried;
            survey.add(stream, (last, lifecycle.state(last)), (written, buried));
        }
        survey
    }

    /// `written`: by events or to its settings; `buried`: it is to be tombstoned, and nothing else.
    fn add(
        &mut self,
        stream: &BatchStream,
        (last, state): (Version, StreamState),
        (written, buried): (bool, bool),
    ) {
        let part = StreamAppended { stream: stream.name.clone(), first: last.next(), last };
        self.placed.push(part);
        let violated = || Conflict {
            stream: stream.name.as_str().into(),
            expected: stream.expect,
            actual: last,
        };
        let holds = match (stream.expect, state) {
            (Expect::NoStream, StreamState::Tombstoned(_)) if !written => true,
            // It is so already.
            (Expect::Any, StreamState::Tombstoned(_)) if buried && !written => true,
            (_, StreamState::Tombstoned(_)) => {
                self.tombstoned.push(violated());
                self.tombstone_written |= written;
                return;
            }
            (Expect::Any, _) => true,
            (Expect::NoStream, state) => !matches!(state, StreamState::Live(_)),
            (Expect::StreamExists, StreamState::SoftDeleted(_)) => {
                self.violated.push(violated());
                return;
            }
            (Expect::StreamExists, state) => matches!(state, StreamState::Live(_)),
            (Expect::Version(expected), _) => expected == last,
        };
        if !holds {
            self.violated.push(violated());
            self.conflict = true;
        }
    }

    fn check_tombstones(&self) -> Result<()> {
        match deleted(&self.tombstoned, "can never be written again") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn check_expectations(&self) -> Result<()> {
        if self.conflict {
            return Err(Error::conflict(self.violated.clone()));
        }
        match deleted(&self.violated, "was deleted") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The error that these streams are deleted; names the first.
fn deleted(streams: &[Conflict], how: &str) -> Option<Error> {
    let first = streams.first()?;
    let one =
        |of: &Conflict| format!("stream {:?} {how} (it ended at version {})", of.stream, of.actual);
    let what = streams.iter().map(one).collect::<Vec<_>>().join("; ");
    let error = Error::new(ErrorKind::Deleted, what);
    Some(error.in_stream(first.stream.as_str()).at_version(first.actual))
}

/// What is stored of a batch.
enum Stored {
    Nothing,
    /// All of it, each stream's part in one piece and in this order.
    Whole(Appended),
    /// Something, but not like that.
    Partly(Error),
}

/// Walks the batch up to the first event with which it can no longer be a replay nor all new.
fn find_stored(view: &mut Overlay<'_>, batch: &Batch) -> Result<Stored> {
    let mut parts: Vec<Option<StreamAppended>> = Vec::new();
    let mut first_stored: Option<(Uuid, StoredEvent)> = None;
    let mut any_new = false;
    let (mut first, mut last) = (Position::new(u64::MAX), Position::START);
    for event in &batch.events {
        let Some(BatchStream { name, .. }) = batch.streams.get(event.stream) else { continue };
        let found = view.event_with_id(&event.id, name)?;
        any_new |= found.is_none();
        if let (true, Some((id, stored))) = (any_new, &first_stored) {
            return Ok(Stored::Partly(id_conflict(*id, stored, "others of the batch are new")));
        }
        let Some(found) = found else { continue };
        if any_new {
            let error = id_conflict(event.id, &found, "others of the batch are new");
            return Ok(Stored::Partly(error));
        }
        if found.stream != name.as_str() {
            let why = format!("the batch has it in stream {:?}", name.as_str());
            return Ok(Stored::Partly(id_conflict(event.id, &found, &why)));
        }
        parts.resize(batch.streams.len(), None);
        if let Some(part) = parts.get_mut(event.stream) {
            let before = part.get_or_insert_with(|| StreamAppended {
                stream: name.clone(),
                first: found.version,
                last: Version::new(found.version.get().saturating_sub(1)),
            });
            if before.last.next() != found.version {
                let why = format!("the batch has it right after version {}", before.last);
                return Ok(Stored::Partly(id_conflict(event.id, &found, &why)));
            }
            before.last = found.version;
        }
        (first, last) = (first.min(found.position), last.max(found.position));
        first_stored.get_or_insert((event.id, found));
    }
    if first_stored.is_none() {
        return Ok(Stored::Nothing);
    }
    let streams = parts.into_iter().flatten().collect();
    Ok(Stored::Whole(Appended { already: true, first, last, streams }))
}

fn id_conflict(id: Uuid, stored: &StoredEvent, why: &str) -> Error {
    let StoredEvent { stream, version, position } = stored;
    let what =
        format!("event id {id} is stored at version {version} of stream {stream:?}, but {why}");
    Error::new(ErrorKind::IdConflict, what)
        .of_event(id)
        .in_stream(stream.as_str())
        .at_version(*version)
        .at(*position)
}

fn check_not_back(batch: &Batch, saved: Option<Position>) -> Result<()> {
    match (&batch.checkpoint, saved) {
        (Some((name, position)), Some(saved)) if *position < saved => {
            let what = format!(
                "checkpoint {name:?} would go back from position {saved} to {position}, \
                 which only a reset does"
            );
            Err(Error::invalid(what).at(saved))
        }
        _ => Ok(()),
    }
}

/// The batch's checkpoint, if it is higher than the saved one.
fn moved_checkpoint(
    view: &mut Overlay<'_>,
    batch: &Batch,
    saved: Option<Position>,
) -> Result<Option<CheckpointWrite>> {
    let Some((name, position)) = &batch.checkpoint else { return Ok(None) };
    if Some(*position) <= saved {
        return Ok(None);
    }
    let id = match *position {
        Position::START => Uuid::nil(),
        position => view.id_at(position)?.ok_or_else(|| {
            let what = format!("checkpoint {name:?} is at position {position}, which is trimmed");
            Error::new(ErrorKind::Trimmed, what).at(position)
        })?,
    };
    Ok(Some(CheckpointWrite { name: name.clone(), position: *position, id }))
}

/// The settings that the batch changes, as they are afterwards.
fn changed_settings(
    view: &mut Overlay<'_>,
    batch: &Batch,
    placed: &[StreamAppended],
) -> Result<Vec<SettingsWrite>> {
    let mut writes: Vec<SettingsWrite> = Vec::new();
    for (at, change) in &batch.changes {
        let (Some(stream), Some(part)) = (batch.streams.get(*at), placed.get(*at)) else {
            continue;
        };
        let last = part.last.plus(stream.events);
        let name = &stream.name;
        let asked_before = writes.iter_mut().find(|write| write.stream == *name);
        if let Some(write) = asked_before {
            write.lifecycle = changed(name, (write.lifecycle, last), *change)?;
            continue;
        }
        let (_, now) = view.stream(name);
        let lifecycle = changed(name, (now, last), *change)?;
        writes.push(SettingsWrite { stream: name.clone(), lifecycle });
    }
    writes.retain(|write| view.stream(&write.stream).1 != write.lifecycle);
    Ok(writes)
}

fn check_conditions(view: &mut Overlay<'_>, batch: &Batch) -> Result<()> {
    let mut violated = Violated::default();
    for (number, (query, after)) in (1_usize..).zip(&batch.conditions) {
        if let Some(position) = view.first_match(query, *after)? {
            let which = format_args!("condition {number}, which allows none after {after}");
            violated.add(position, which);
        }
    }
    violated.check(ErrorKind::Conflict)?;
    let mut violated = Violated::default();
    for (number, query) in (1_usize..).zip(&batch.none_exist) {
        if let Some(position) = view.first_match(query, Position::START)? {
            violated.add(position, format_args!("query {number} of those that must find nothing"));
        }
    }
    violated.check(ErrorKind::AlreadyExists)
}

/// Conditions that do not hold: the lowest position, and all of them in words.
#[derive(Default)]
struct Violated {
    first: Option<Position>,
    what: String,
}

impl Violated {
    fn add(&mut self, position: Position, which: std::fmt::Arguments<'_>) {
        let separator = if self.what.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(self.what, "{separator}the event at position {position} matches {which}");
        self.first = Some(self.first.map_or(position, |first| first.min(position)));
    }

    fn check(self, kind: ErrorKind) -> Result<()> {
        match self.first {
            Some(position) => Err(Error::new(kind, self.what).at(position)),
            None => Ok(()),
        }
    }
}

/// Gives every event its version, in the order of the batch.
fn number(
    before: Position,
    batch: &Batch,
    mut placed: Vec<StreamAppended>,
    (checkpoint, settings): (Option<CheckpointWrite>, Vec<SettingsWrite>),
) -> Accepted {
    let mut versions = FewOf::with_capacity(batch.events.len());
    for event in &batch.events {
        if let Some(part) = placed.get_mut(event.stream) {
            part.last = part.last.next();
            versions.push(part.last.get());
        }
    }
    placed.retain(|part| part.first <= part.last);
    let (first, last) = match u64::try_from(versions.len()) {
        Ok(0) | Err(_) => (Position::START, Position::START),
        Ok(count) => (before.next(), before.plus(count)),
    };
    let answer = Appended { already: false, first, last, streams: placed };
    Accepted { first_position: before.next(), versions, answer, checkpoint, settings }
}

#[cfg(test)]
mod tests;
