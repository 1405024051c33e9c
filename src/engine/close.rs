//! Layer 6.7: the store's own threads, and how a store ends.
//!
//! Knows: when background work is due. Does not know: requests. A store without background threads
//! (`Options::background_threads(false)`) does the same work on its callers' threads.

use std::time::{Duration, Instant};

use super::commit::Lead;
use super::keeper::Job;
use super::parts::{make_part, remove_parts};
use super::segment::Segment;
use super::shared::Engine;
use super::sidecars::{Opening, binding};
use crate::clock::monotonic;
use crate::disk::Access;
use crate::format::Head;
use crate::log::{CommitFailure, LogEnd, Part, Tail, find_segment};
use crate::sync::{Arc, Ordering, Receiver, RecvTimeoutError};
use crate::types::{Durability, Error, ErrorKind, OpenReport, Position, Result};

/// The live file is synced when nothing was committed for so long.
const IDLE: Duration = Duration::from_millis(50);

impl Engine {
    /// Makes the sidecar of a segment that was just sealed, in the background if there is one.
    pub(crate) fn seal(&self, segment: Arc<Segment>, end: LogEnd) {
        match &self.jobs {
            Some(_) => self.hand(Job::Seal(segment, end)),
            None => self.make_sidecar(&segment, end),
        }
    }

    fn make_sidecar(&self, segment: &Segment, end: LogEnd) {
        let _one_at_a_time = self.sealing.lock();
        if self.catalog.read().is_trimmed(&segment.name) {
            return;
        }
        let opening = Opening { disk: &self.disk, settings: &self.settings, read_only: false };
        // Bytes beyond a named end are dead: give prepared space back. Failing that costs space
        // only.
        if let Ok(file) = self.disk.open(&segment.name, Access::Write) {
            let _ = file.set_size(end.offset);
        }
        let in_parts = self.catalog.read().is_in_parts(segment.number);
        let sealed = match in_parts {
            true => self.seal_parts(&opening, segment.number, end),
            false => opening.seal(segment, self.store, end),
        };
        if let Some(sealed) = sealed {
            let sealed = Arc::new(sealed);
            self.catalog.write().replace(sealed.clone());
            self.keep_heads(&sealed, end);
            remove_parts(&*self.disk, segment.number + 1);
        }
    }

    /// The index of a segment that was indexed in parts, from the log.
    fn seal_parts(&self, opening: &Opening<'_>, number: u64, end: LogEnd) -> Option<Segment> {
        let head = Head::first(self.store, self.id_scope);
        let info = find_segment(&*self.disk, &head, number).ok()??;
        opening.sealed(&info, end, &mut OpenReport::default()).ok()
    }

    /// Hands a part of the segment that is written to be indexed, when it is long enough.
    pub(crate) fn index_part(&self, tail: &mut Tail, least: u64) {
        let Some(part) = tail.part(least) else { return };
        match &self.jobs {
            Some(_) if !self.closed.load(Ordering::Acquire) => {
                self.hand(Job::Part(tail.head(), part));
            }
            _ => self.make_part(&tail.head(), &part),
        }
    }

    fn make_part(&self, head: &Head, part: &Part) {
        let _one_at_a_time = self.part_lock.lock();
        let _ = make_part(&*self.disk, head, part);
    }

    /// After a sidecar: the heads up to its segment, when the sidecars since outweigh the file.
    fn keep_heads(&self, sealed: &Segment, end: LogEnd) {
        let (listed, _) = sealed.ask(|index| index.stream_counts());
        let mut mark = self.heads_mark.lock();
        mark.sealed(listed.into());
        if mark.is_due() {
            let (base, segments) = {
                let catalog = self.catalog.read();
                (catalog.base.clone(), catalog.segments.clone())
            };
            let first = sealed.first_position.get();
            let binding = binding(self.store, sealed.number, first, end);
            // Without the file an opening reads more sidecars; the next seal tries again.
            let _ = mark.renew(&*self.disk, (base.as_ref(), &segments), &binding);
        }
    }

    /// Syncs what the weaker modes have left unsynced.
    pub(crate) fn sync_now(&self) {
        self.queue.lead_alone();
        let _lead = Lead::taken(self);
        let mut tail = self.tail.lock();
        let sound = self.is_poisoned().is_none();
        let due = tail.as_mut().filter(|tail| sound && tail.has_unsynced());
        let due = due.filter(|_| !planted!(IntervalForgotten));
        let Some(tail) = due else { return };
        match tail.sync() {
            Ok(()) => {
                self.durable_frame.store(tail.durable(), Ordering::Release);
                let told = tail.mark_live();
                let visible = Position::new(tail.written().position - 1);
                self.publish(visible, Some(visible));
                if let Err(error) = told {
                    self.poison(&error);
                }
            }
            Err(CommitFailure::Fatal(error) | CommitFailure::Refused(error)) => self.poison(&error),
        }
    }

    fn sync_live(&self) {
        let handle = self.tail.lock().as_ref().map(|tail| tail.idle_live_handle());
        if let Some(handle) = handle
            && let Err(error) = handle.sync()
        {
            self.poison(&Error::io("cannot sync the live file", error));
        }
    }

    /// Closes: commits what waits and marks the end. The first caller does it, and gives the lock
    /// back with [`Self::release`] when the store's threads have ended.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.queue.close();
        let lead = self.lead_when_all_is_committed();
        self.closed.store(true, Ordering::Release);
        // One that is under way comes to its end, and no other begins.
        let no_trim = self.trim_lock.lock();
        let outcome = match self.tail.lock().take() {
            Some(mut tail) if self.poison.lock().is_none() => {
                let least = tail.part_bytes() / 4;
                self.index_part(&mut tail, least);
                tail.close().map_err(|failure| match failure {
                    CommitFailure::Refused(error) | CommitFailure::Fatal(error) => error,
                })
            }
            // What was answered before the failure may not be durable: closing must not say it is.
            _ if !self.read_only => self.is_poisoned().map_or(Ok(()), Err),
            _ => Ok(()),
        };
        drop(no_trim);
        drop(lead);
        if planted!(LockGivenBackEarly) {
            self.release();
        }
        self.watch.end();
        self.hand(Job::Stop);
        outcome
    }

    /// Gives the lock back, once no thread of the store can write any more, and no caller's rewrite
    /// of a segment is under way.
    pub(crate) fn release(&self) {
        let _no_rewrite = self.sealing.lock();
        *self.lock.lock() = None;
    }

    /// Batches that were admitted before the close are committed, also those nobody waits for.
    fn lead_when_all_is_committed(&self) -> Lead<'_> {
        loop {
            self.queue.lead_alone();
            let lead = Lead::taken(self);
            if self.queue.is_empty() {
                return lead;
            }
            lead.round();
        }
    }
}

/// Commits batches that nobody waits for, until the store is closed.
pub(crate) fn commit_in_background(engine: &Engine) {
    while engine.queue.lead_in_background() {
        Lead::taken(engine).round();
    }
}

/// Does the store's background work until it is closed.
pub(crate) fn keep(engine: &Engine, jobs: &Receiver<Job>) {
    let _guard = PoisonOnPanic(engine);
    let interval = match engine.settings.durability {
        Durability::Interval(interval) => Some(interval),
        _ => None,
    };
    let mut keeper = Keeper { engine, interval, rounds: 0, sync_due: None, idle_due: None };
    loop {
        let due = [keeper.sync_due, keeper.idle_due].into_iter().flatten().min();
        let job = match due {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => jobs.recv_timeout(due.saturating_duration_since(monotonic())),
        };
        match job {
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(job) => keeper.work(job),
            Err(RecvTimeoutError::Timeout) => {}
        }
        keeper.what_is_due(monotonic());
    }
}

/// A panic in a thread of the store ends writing: nobody would do its work any more.
pub(super) struct PoisonOnPanic<'a>(pub &'a Engine);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = "a thread of the store panicked";
            self.0.poison(&Error::new(ErrorKind::InDoubt, text));
        }
    }
}

/// A moment further on; `None` when it is too far off to come.
fn later(now: Instant, by: Duration) -> Option<Instant> {
    now.checked_add(by)
}

struct Keeper<'a> {
    engine: &'a Engine,
    interval: Option<Duration>,
    /// How many groups there were when it last looked.
    rounds: u64,
    sync_due: Option<Instant>,
    idle_due: Option<Instant>,
}

impl Keeper<'_> {
    fn work(&mut self, job: Job) {
        if self.engine.closed.load(Ordering::Acquire) {
            // Another writer may have the directory soon; what is left undone is done when opening.
            return;
        }
        match job {
            Job::Prepare(runway, end) => {
                let outcome = runway.prepare(&*self.engine.disk, end);
                // A segment may be full, sealed and trimmed before anybody gets to prepare it.
                if !self.engine.catalog.read().is_trimmed(runway.segment()) {
                    self.judge(outcome);
                }
            }
            Job::Spare(spares, number) => {
                self.judge(spares.ensure(number, self.engine.clock.now()));
            }
            Job::Part(head, part) => self.engine.make_part(&head, &part),
            Job::Seal(segment, end) => self.engine.make_sidecar(&segment, end),
            Job::Tend => {
                let now = monotonic();
                self.idle_due = later(now, IDLE);
                self.sync_due =
                    self.sync_due.or(self.interval.and_then(|interval| later(now, interval)));
            }
            Job::SyncWithin(wish) => {
                let wish = later(monotonic(), wish);
                self.sync_due = self.sync_due.into_iter().chain(wish).min();
            }
            Job::Stop => {}
        }
    }

    /// A full disk will show again where it matters; any other failure of a sync is final.
    fn judge(&self, outcome: Result<()>) {
        if let Err(error) = outcome
            && error.kind() != ErrorKind::DiskFull
            && !planted!(KeeperFailureIgnored)
        {
            self.engine.poison(&error);
        }
    }

    fn what_is_due(&mut self, now: Instant) {
        if self.sync_due.is_some_and(|due| due <= now) {
            self.sync_due = self.interval.and_then(|interval| later(now, interval));
            self.engine.sync_now();
        }
        if self.idle_due.is_some_and(|due| due <= now) {
            let rounds = self.engine.rounds.load(Ordering::SeqCst);
            if std::mem::replace(&mut self.rounds, rounds) != rounds {
                self.idle_due = later(now, IDLE);
                return;
            }
            self.rest(rounds);
        }
    }

    /// Nothing was committed for a while: everything due is done, and the next commit says so
    /// again.
    fn rest(&mut self, rounds: u64) {
        if self.sync_due.take().is_some() {
            self.engine.sync_now();
        }
        self.engine.sync_live();
        self.idle_due = None;
        self.engine.tended.store(false, Ordering::SeqCst);
        if self.engine.rounds.load(Ordering::SeqCst) != rounds {
            // A commit came in between and may not have said so.
            self.engine.tended.store(true, Ordering::SeqCst);
            self.work(Job::Tend);
        }
    }
}
