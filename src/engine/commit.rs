//! Layer 6.6: commit a group: decide, stage, write, sync, fold, publish, answer, in this order.
//!
//! Knows: the order, which is the promise: durable, then visible, then answered. Does not know: how
//! batches come in. One thread at a time leads; a panic while leading poisons the store and
//! releases everybody who waits.

use std::time::Duration;

use super::batch::{Appended, Batch};
use super::decide::{Decision, decide};
use super::desk::{Change, Desk, Verdict};
use super::keeper::Job;
use super::lifecycle::SettingsWrite;
use super::queue::{Queued, Slot, Turn};
use super::shared::Engine;
use super::sidecars::{begun, open_to_read};
use super::staged::{Accepted, CheckpointWrite};
use super::tell;
use super::watch::wake_each;
use crate::format::{CheckpointRecord, FileName, SettingsRecord, name_of, segment_seed};
use crate::index::{CheckpointEntry, SettingsEntry};
use crate::log::{BatchBytes, CommitFailure, LogEnd, Tail};
use crate::sync::{Arc, Ordering};
use crate::types::{Durability, Error, ErrorKind, Position, Result};

/// A group is written and synced as one; larger ones make everybody in it wait longer.
const GROUP_BYTES: usize = 8 << 20;
const GROUP_BATCHES: usize = 4096;
/// So many events are taken into the index before readers of it get a turn.
const FOLD_EVENTS: usize = 256;

/// The lead over the queue; given back when dropped, also by a panic.
pub(crate) struct Lead<'a> {
    engine: &'a Engine,
    taken: Vec<Arc<Slot>>,
}

/// Waits for the answer to a batch, committing as long as it is this thread's turn.
pub(crate) fn drive(engine: &Engine, slot: &Slot) -> Result<Appended> {
    loop {
        match engine.queue.turn(slot) {
            Turn::Done(outcome) => {
                if !engine.settings.background {
                    // A task that polled while this thread led is not asked to lead.
                    commit_inline(engine);
                }
                return outcome;
            }
            Turn::Lead => Lead::taken(engine).round(),
        }
    }
}

/// Commits whatever waits, on this thread: for stores without threads of their own.
pub(crate) fn commit_inline(engine: &Engine) {
    while engine.queue.try_lead() {
        Lead::taken(engine).round();
    }
}

impl<'a> Lead<'a> {
    /// The caller already leads: the queue said so.
    pub(crate) fn taken(engine: &'a Engine) -> Self {
        Self { engine, taken: Vec::new() }
    }

    /// Commits one group. The answers are given when nothing is locked and somebody else may lead:
    /// they run wakers, which are the callers' code.
    pub(crate) fn round(mut self) {
        let engine = self.engine;
        let mut desk = engine.desks.take();
        engine.queue.take(&mut desk.group, GROUP_BYTES, GROUP_BATCHES);
        self.taken = std::mem::take(&mut desk.taken);
        self.taken.extend(desk.group.iter().map(|queued| queued.slot.clone()));
        let mut tail = engine.tail.lock();
        let refused = engine.refuse_writing().err();
        match (&mut *tail, refused) {
            (Some(tail), None) => desk = Round::new(engine, tail, desk).run(),
            (_, refused) => {
                let error = refused.unwrap_or_else(super::queue::closed);
                let refused = |queued: Queued| (queued.slot, Err(error.clone()));
                desk.answers.extend(desk.group.drain(..).map(refused));
            }
        }
        drop(tail);
        desk.taken = std::mem::take(&mut self.taken);
        drop(self);
        // First everybody has his answer: a waker may take its time.
        let settled = desk.answers.drain(..).filter_map(|(slot, outcome)| slot.settle(outcome));
        let wakers: Vec<_> = settled.collect();
        engine.desks.give_back(desk);
        wake_each(wakers);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cause = Error::new(ErrorKind::InDoubt, "the committing thread panicked");
            self.engine.poison(&cause);
            for slot in self.taken.iter().filter(|slot| slot.outcome().is_none()) {
                slot.answer(Err(cause.clone()));
            }
        }
        self.engine.queue.stop_leading();
        self.engine.watch.wake();
    }
}

struct Round<'a> {
    engine: &'a Engine,
    tail: &'a mut Tail,
    desk: Desk,
    sync: bool,
    /// A batch asked to be synced sooner than the store would do it by itself.
    sync_within: Option<Duration>,
}

impl<'a> Round<'a> {
    fn new(engine: &'a Engine, tail: &'a mut Tail, mut desk: Desk) -> Self {
        tail.begin();
        desk.staged.begin(engine);
        Self { engine, tail, desk, sync: false, sync_within: None }
    }

    /// Commits the group that lies on the desk; afterwards the answers lie there.
    fn run(mut self) -> Desk {
        let mut group = std::mem::take(&mut self.desk.group);
        self.commit(group.drain(..));
        self.desk.group = group;
        self.desk
    }

    fn commit(&mut self, mut waiting: impl Iterator<Item = Queued>) {
        while let Some(queued) = waiting.next() {
            match self.take(queued) {
                Ok(()) => {}
                Err(Stop::NoRoom(queued)) => {
                    // It goes into the next segment, with the next group.
                    let rest = std::iter::once(*queued).chain(waiting.by_ref()).collect();
                    self.engine.queue.put_back(rest);
                    break;
                }
                Err(Stop::Failed(queued, failure)) => {
                    let rest = waiting.by_ref().collect();
                    self.fail_rolling(*queued, rest, failure);
                    return;
                }
            }
        }
        match self.make_durable() {
            Ok(()) => self.finish(),
            Err(failure) => self.fail(failure),
        }
        self.look_ahead();
    }

    /// Judges one batch and stages what it changes.
    fn take(&mut self, queued: Queued) -> Result<(), Stop> {
        let batch = match self.batch_of(&queued.batch) {
            Ok(Some(batch)) => batch,
            // It was made from what is staged: the answer waits for that.
            Ok(None) => {
                self.settle(queued, Ok(Appended::nothing()), self.tail.has_staged());
                return Ok(());
            }
            Err(error) => {
                self.settle(queued, Err(error), self.tail.has_staged());
                return Ok(());
            }
        };
        let late = queued.batch.late.is_some();
        if !self.tail.fits(batch.record_bytes()) {
            if self.tail.has_staged() {
                return Err(Stop::NoRoom(Box::new(queued)));
            }
            if let Err(failure) = self.roll() {
                return Err(Stop::Failed(Box::new(queued), failure));
            }
        }
        let judged = decide(self.engine, &self.desk.staged, &batch);
        let depends = judged.depends_on_staged || (late && self.tail.has_staged());
        match judged.decision {
            Decision::Refuse(error) => self.settle(queued, Err(error), depends),
            Decision::Replay(answer, None) => self.settle(queued, Ok(answer), depends),
            Decision::Replay(answer, Some(checkpoint)) => {
                self.desk.staged.set_checkpoint(&checkpoint);
                let bare = Batch { durability: batch.durability, ..Batch::default() };
                self.stage(queued, &bare, (&[], answer), (Some(checkpoint), Vec::new()));
            }
            Decision::Accept(accepted) => self.accept((queued, depends), &batch, accepted),
        }
        Ok(())
    }

    /// The batch itself, made now if it is a late one.
    fn batch_of(&self, batch: &Arc<Batch>) -> Result<Option<Arc<Batch>>> {
        let Some(late) = &batch.late else { return Ok(Some(batch.clone())) };
        let mut staged =
            self.desk.placed.iter().filter_map(|offset| self.tail.staged_event(*offset));
        let made = late.make(&mut staged)?;
        Ok(made.map(|made| Arc::new(Batch { durability: batch.durability, ..made })))
    }

    fn settle(&mut self, queued: Queued, outcome: Result<Appended>, depends: bool) {
        // A replay must be as durable as this caller asked, however the first one was stored.
        let unsynced = self.tail.has_unsynced() || self.tail.has_staged();
        let waits = outcome.is_ok() && unsynced && !planted!(ReplayOfUnsyncedAnswered);
        if waits {
            self.take_wish(&queued.batch);
        }
        // Answered only if the sync it waits for succeeds.
        let depends = depends || (waits && self.sync);
        self.desk.verdicts.push(Verdict { queued, outcome, depends });
    }

    fn accept(
        &mut self,
        (queued, depends): (Queued, bool),
        batch: &Arc<Batch>,
        accepted: Accepted,
    ) {
        let (checkpoint, settings) = (accepted.checkpoint.clone(), accepted.settings.clone());
        if batch.events.is_empty() && checkpoint.is_none() && settings.is_empty() {
            // Only checks: nothing to write, but what they were judged by must become durable
            // first.
            return self.settle(queued, Ok(accepted.answer), depends);
        }
        self.desk.staged.accept(batch, &accepted);
        self.stage(queued, batch, (&accepted.versions, accepted.answer), (checkpoint, settings));
    }

    fn stage(
        &mut self,
        queued: Queued,
        batch: &Batch,
        (versions, answer): (&[u64], Appended),
        (checkpoint, settings): (Option<CheckpointWrite>, Vec<SettingsWrite>),
    ) {
        let mut control = Vec::new();
        let frame = self.tail.next_frame();
        let checkpoint = checkpoint.map(|write| {
            let record = CheckpointRecord {
                name: &write.name,
                position: write.position.get(),
                id: write.id,
            };
            record.push(&mut control);
            CheckpointEntry { position: write.position, id: write.id, frame, name: write.name }
        });
        let settings = settings.into_iter().map(|SettingsWrite { stream, lifecycle }| {
            SettingsRecord { stream: stream.as_str(), lifecycle }.push(&mut control);
            SettingsEntry { stream: stream.as_str().to_owned(), lifecycle, frame }
        });
        let settings = settings.collect();
        let recorded_at = self.tail.stamp(self.engine.clock.now());
        let bytes = BatchBytes {
            records: &batch.records,
            starts: &batch.starts,
            versions,
            control: &control,
            recorded_at,
        };
        self.tail.stage_batch(&bytes, &mut self.desk.placed);
        self.take_wish(batch);
        self.desk.changes.push(Change { queued, answer, checkpoint, settings });
    }

    fn take_wish(&mut self, batch: &Batch) {
        let settings = &self.engine.settings;
        match batch.durability.unwrap_or(settings.durability) {
            Durability::Sync => self.sync = true,
            // Nobody will come back to it.
            Durability::Interval(_) if !settings.background => self.sync = true,
            Durability::Interval(wish) if batch.durability.is_some() => {
                self.sync_within = Some(self.sync_within.map_or(wish, |known| known.min(wish)));
            }
            _ => {}
        }
    }

    fn make_durable(&mut self) -> Result<(), CommitFailure> {
        if let Durability::Interval(within) = self.engine.settings.durability {
            // Beside busy appenders the keeper may not get its turn in time.
            self.sync |= self.tail.owes_sync(within);
        }
        self.tail.write()?;
        if planted!(ShownBeforeSync) {
            let _ = self.fold();
            self.publish();
        }
        if self.sync && !planted!(AnsweredBeforeSync) {
            self.tail.sync()?;
        }
        Ok(())
    }

    /// Everything is written (and synced if asked): visible, then answered.
    fn finish(&mut self) {
        if !self.desk.changes.is_empty()
            && !planted!(ShownBeforeSync)
            && let Err(what) = self.fold()
        {
            let cause = Error::new(ErrorKind::InDoubt, format!("cannot index a batch: {what}"));
            return self.fail(CommitFailure::Fatal(cause));
        }
        if self.sync || !self.desk.changes.is_empty() {
            self.publish();
        }
        for change in self.desk.changes.drain(..) {
            self.desk.answers.push((change.queued.slot, Ok(change.answer)));
        }
        for verdict in self.desk.verdicts.drain(..) {
            self.desk.answers.push((verdict.queued.slot, verdict.outcome));
        }
    }

    fn fold(&mut self) -> Result<(), &'static str> {
        let mut catalog = self.engine.catalog.write();
        catalog.make_readable(self.tail.written().offset);
        let event = |offset: &u32| Some((self.tail.staged_event(*offset)?, *offset));
        for placed in self.desk.placed.chunks(FOLD_EVENTS) {
            catalog.push(placed.iter().map(event))?;
        }
        for change in &mut self.desk.changes {
            if let Some(entry) = change.checkpoint.take() {
                catalog.push_checkpoint(entry);
            }
            for entry in change.settings.drain(..) {
                catalog.push_settings(entry);
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        let engine = self.engine;
        let visible = Position::new(self.tail.written().position - 1);
        let mut told = Ok(());
        if self.sync {
            engine.durable_frame.store(self.tail.durable(), Ordering::Release);
            told = self.tail.mark_live();
        }
        engine.publish(visible, self.sync.then_some(visible));
        if let Err(error) = told {
            // The group is durable, but nobody will be told how far: stop here.
            engine.poison(&error);
        }
    }

    fn fail(&mut self, failure: CommitFailure) {
        let (error, kind) = match failure {
            CommitFailure::Refused(error) => (error, None),
            CommitFailure::Fatal(error) => (error, Some(ErrorKind::InDoubt)),
        };
        if kind.is_some() {
            self.engine.poison(&error);
        }
        let answer = match kind {
            Some(kind) => {
                Error::new(kind, "whether the batch is stored is not known").because(error.clone())
            }
            None => error.clone(),
        };
        for (at, change) in self.desk.changes.drain(..).enumerate() {
            let lie = at == 0 && planted!(FailedGroupPartlyAnswered);
            let outcome = if lie { Ok(change.answer) } else { Err(answer.clone()) };
            self.desk.answers.push((change.queued.slot, outcome));
        }
        let mut again = Vec::new();
        for verdict in self.desk.verdicts.drain(..) {
            match (verdict.depends, kind) {
                (false, _) => self.desk.answers.push((verdict.queued.slot, verdict.outcome)),
                (true, Some(_)) => {
                    self.desk.answers.push((verdict.queued.slot, Err(answer.clone())))
                }
                // Judged against what is not there after all.
                (true, None) => again.push(verdict.queued),
            }
        }
        self.engine.queue.put_back(again);
    }

    /// The next segment could not be begun: nothing of this batch was written.
    fn fail_rolling(&mut self, queued: Queued, rest: Vec<Queued>, failure: CommitFailure) {
        let outcome = match &failure {
            CommitFailure::Refused(error) => Err(error.clone()),
            CommitFailure::Fatal(error) => {
                self.engine.poison(error);
                Err(Error::new(ErrorKind::Poisoned, "the next segment cannot be begun")
                    .because(error.clone()))
            }
        };
        self.desk.answers.push((queued.slot, outcome));
        self.engine.queue.put_back(rest);
        self.fail(failure);
    }

    /// Seals the segment and begins the next, for readers too.
    fn roll(&mut self) -> Result<(), CommitFailure> {
        let engine = self.engine;
        let end = self.tail.roll(engine.clock.now())?;
        engine.durable_frame.store(self.tail.durable(), Ordering::Release);
        begin_segment(engine, self.tail, end).map_err(CommitFailure::Fatal)?;
        // Sealing synced everything before it.
        let visible = Position::new(self.tail.written().position - 1);
        engine.publish(visible, Some(visible));
        let told = self.tail.mark_live().and_then(|()| self.tail.sync_live());
        told.map_err(CommitFailure::Fatal)?;
        tell::rolled(self.tail.segment(), end.next_position);
        self.tail.begin();
        Ok(())
    }

    /// Has prepared what the next groups will need.
    fn look_ahead(&mut self) {
        if let Some((runway, end)) = self.tail.short_of_space() {
            self.engine.hand(Job::Prepare(runway, end));
        }
        let least = self.tail.part_bytes();
        self.engine.index_part(self.tail, least);
        if self.tail.wants_spare() {
            self.engine.hand(Job::Spare(self.tail.spares(), self.tail.segment() + 1));
        }
        self.engine.rounds.fetch_add(1, Ordering::SeqCst);
        if !self.engine.tended.swap(true, Ordering::SeqCst) {
            self.engine.hand(Job::Tend);
        }
        if let Some(wish) = self.sync_within.filter(|_| !self.sync) {
            self.engine.hand(Job::SyncWithin(wish));
        }
    }
}

enum Stop {
    NoRoom(Box<Queued>),
    Failed(Box<Queued>, CommitFailure),
}

/// Adds the segment that the tail has just begun to the catalog; the one before it is sealed.
pub(crate) fn begin_segment(engine: &Engine, tail: &Tail, end: LogEnd) -> Result<()> {
    let number = tail.segment();
    let first = Position::new(end.next_position);
    let seed = segment_seed(engine.store, number);
    let file = open_to_read(&*engine.disk, &name_of(FileName::Segment(number)))?;
    let segment = begun(file, number, seed, first, tail.written().offset);
    let sealed = {
        let mut catalog = engine.catalog.write();
        let sealed = catalog.segments.last().cloned();
        catalog.add(segment);
        sealed
    };
    if let Some(sealed) = sealed {
        engine.seal(sealed, end);
    }
    Ok(())
}
