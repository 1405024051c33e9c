//! Layer 6.4: an open store: what its callers and its threads share.
//!
//! Knows: the parts and the two ways it can end: closed or poisoned. Does not know: how batches are
//! committed (`commit.rs`).

use uuid::Uuid;

use super::catalog::{Catalog, View};
use super::desk::Desks;
use super::heads::HeadsMark;
use super::inside::refuse_inside;
use super::keeper::Job;
#[cfg(not(feature = "forget"))]
use super::no_subjects::Subjects;
use super::queue::{Queue, closed};
use super::saved::{Checkpoint, Snapshot};
use super::segment::lost_at;
use super::sidecars::FoundLater;
#[cfg(feature = "forget")]
use super::subjects::Subjects;
use super::tell;
use super::watch::{Mark, Watch};
use crate::clock::Clock;
use crate::disk::{Disk, DiskLock};
use crate::format::{FileName, Purpose, name_of};
use crate::log::{KeyedFile, Tail, damage_error};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, RwLock, Sender};
use crate::types::{
    Damage, Error, ErrorKind, IdScope, NAME_MAX, OpenReport, Position, Result, Settings, Timestamp,
};

/// Everything an engine is made of besides what was found in the directory.
pub(super) struct Parts {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub settings: Settings,
}

/// An open store.
#[derive(Debug)]
pub(crate) struct Engine {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub settings: Settings,
    pub store: Uuid,
    pub id_scope: IdScope,
    pub report: OpenReport,
    /// Up to here, in a store opened around damage, there are events that nothing else tells of.
    pub lost_through: Position,
    pub found_later: Arc<Mutex<FoundLater>>,
    pub queue: Queue,
    pub desks: Desks,
    pub watch: Watch,
    pub catalog: RwLock<Catalog>,
    /// `None` in a store opened read-only, and after closing.
    pub tail: Mutex<Option<Tail>>,
    /// The newest durable frame.
    pub durable_frame: AtomicU64,
    pub jobs: Option<Sender<Job>>,
    /// How many groups were committed, for telling whether the store is idle.
    pub rounds: AtomicU64,
    /// The keeper knows that something was committed and looks after it.
    pub tended: AtomicBool,
    pub read_only: bool,
    /// Somebody is closing; what is in the queue is still committed.
    pub closing: AtomicBool,
    pub closed: AtomicBool,
    pub poison: Mutex<Option<Error>>,
    /// The process that opened the store.
    pub(crate) owner: u32,
    pub lock: Mutex<Option<Box<dyn DiskLock>>>,
    pub checkpoints: Mutex<Option<KeyedFile>>,
    pub snapshots: Mutex<Option<KeyedFile>>,
    pub subjects: Subjects,
    /// Held while the index of a part is written.
    pub part_lock: Mutex<()>,
    /// Held while the log is trimmed, and asked for before `sealing`.
    pub(super) trim_lock: Mutex<()>,
    /// Held while a sidecar is made, while a sealed segment is rewritten, and while segments are
    /// trimmed.
    pub sealing: Mutex<()>,
    /// Held while the heads file is written.
    pub(super) heads_mark: Mutex<HeadsMark>,
}

impl Engine {
    /// What opening found, and what was found since in what it did not read.
    pub(crate) fn report(&self) -> OpenReport {
        let (mut report, later) = (self.report.clone(), self.found_later.lock());
        report.sidecars_rebuilt.extend(later.rebuilt.iter().cloned());
        report.damage.extend(later.damage.iter().cloned());
        report
    }

    /// # Errors
    /// `Damaged` when an event after this position may be lost without anything telling whose it
    /// was.
    pub(crate) fn refuse_doubt_after(&self, position: Position) -> Result<()> {
        if position >= self.lost_through {
            return Ok(());
        }
        let beyond = |damage: &&Damage| damage.last_position.is_none_or(|last| last > position);
        let damage = self.report.damage.iter().find(beyond).or(self.report.damage.first());
        Err(damage.map_or_else(|| lost_at(self.lost_through), damage_error))
    }

    /// # Errors
    /// `Damaged` when damage was found since the opening, in what that did not read.
    pub(crate) fn refuse_found_later(&self) -> Result<()> {
        let later = self.found_later.lock();
        later.damage.first().map_or(Ok(()), |damage| Err(damage_error(damage)))
    }

    /// # Errors
    /// `Closed` after closing; `Invalid` inside a rule that decides in the writer.
    pub(crate) fn refuse_closed(&self) -> Result<()> {
        refuse_inside()?;
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// # Errors
    /// `Locked` in a child that the process which opened the store has forked: it shares the lock
    /// and the files, has none of the threads, and whatever it wrote the parent would write over.
    pub(crate) fn refuse_in_fork(&self) -> Result<()> {
        if self.owner == std::process::id() {
            return Ok(());
        }
        let text = format!("process {} has opened the store, and this is a fork of it", self.owner);
        Err(Error::new(ErrorKind::Locked, text))
    }

    /// # Errors
    /// `Closed`, `Poisoned`, `Locked` in a forked child, or `Invalid` in a store opened read-only.
    pub(crate) fn refuse_writing(&self) -> Result<()> {
        self.refuse_in_fork()?;
        self.refuse_closed()?;
        if self.read_only {
            return Err(Error::invalid("the store was opened read-only"));
        }
        match &*self.poison.lock() {
            Some(cause) if !planted!(PoisonForgotten) => Err(poisoned(cause)),
            _ => Ok(()),
        }
    }

    /// No further writing: somebody must open the store again and recover.
    pub(crate) fn poison(&self, cause: &Error) {
        let mut poison = self.poison.lock();
        if poison.is_none() {
            tell::poisoned(&self.disk.location(), cause);
            *poison = Some(cause.clone());
        }
        drop(poison);
        // What was visible ahead of a sync may not survive; it is served no longer.
        self.publish(Position::START, None);
        self.watch.wake();
    }

    /// Raises what can be read to `visible`, and what is synced if that was just done. The one
    /// place where the marks move: what is synced never goes back, and in a poisoned store nothing
    /// beyond it is served, whichever of a commit and a poisoning comes first. Who waits is woken
    /// later, when nothing is locked.
    pub(crate) fn publish(&self, visible: Position, synced: Option<Position>) {
        let mut catalog = self.catalog.write();
        let before = self.watch.level(Mark::Synced);
        let synced = synced.map_or(before, |synced| synced.max(before));
        catalog.last = catalog.last.max(visible).max(synced);
        if self.poison.lock().is_some() && !self.read_only {
            catalog.last = synced;
        }
        let visible = catalog.last;
        // The marks move under the catalog's lock, so that they move in order.
        self.watch.raise(visible, synced);
        self.watch.tell(catalog.told);
    }

    pub(crate) fn is_poisoned(&self) -> Option<Error> {
        self.poison.lock().as_ref().map(poisoned)
    }

    pub(crate) fn view(&self) -> Result<View> {
        self.refuse_closed()?;
        Ok(self.catalog.read().view())
    }

    /// A view that ends at a mark: what a subscription may see.
    pub(crate) fn view_at(&self, mark: Mark) -> Result<View> {
        let level = self.watch.level(mark);
        let mut view = self.view()?;
        view.last = view.last.min(level);
        Ok(view)
    }

    fn with_keyed<R>(
        &self,
        slot: &Mutex<Option<KeyedFile>>,
        (file, purpose): (FileName, Purpose),
        act: impl FnOnce(&mut KeyedFile) -> Result<R>,
    ) -> Result<R> {
        let mut slot = slot.lock();
        if self.read_only {
            // Another process may have written it since.
            *slot = None;
        }
        let keyed = match &mut *slot {
            Some(keyed) => keyed,
            empty => {
                let disk = self.disk.clone();
                let mut keyed = KeyedFile::load(disk, self.store, file, purpose)?;
                if !self.read_only {
                    // A failed sync is final here as well: a second one would answer success.
                    let settled = keyed.settle(!self.report.clean);
                    settled.inspect_err(|error| {
                        // A disk without room for a copy refuses cleanly.
                        if error.kind() != ErrorKind::DiskFull {
                            self.poison(error);
                        }
                    })?;
                }
                empty.insert(keyed)
            }
        };
        let outcome = act(keyed);
        if let Err(error) = &outcome
            && error.kind() == ErrorKind::InDoubt
        {
            // A failed sync is final for the whole store, whichever file it was of.
            self.poison(error);
        }
        outcome
    }

    /// After a crash, before a clean close could hide that there was one. Damage, and a disk
    /// without room, are told when a checkpoint is asked for.
    pub(super) fn settle_checkpoints(&self) -> Result<()> {
        match self.with_checkpoints(|_| Ok(())) {
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::DiskFull) => {
                Ok(())
            }
            // Nothing was sent yet that could be in doubt.
            Err(error) if error.kind() == ErrorKind::InDoubt => {
                let text = "cannot make sure of saved checkpoints";
                Err(Error::new(ErrorKind::Io, text).because(error))
            }
            settled => settled,
        }
    }

    fn with_checkpoints<R>(&self, act: impl FnOnce(&mut KeyedFile) -> Result<R>) -> Result<R> {
        let file = (FileName::Checkpoints, Purpose::Checkpoints);
        self.with_keyed(&self.checkpoints, file, |keyed| {
            keyed.refuse_damage()?;
            act(keyed)
        })
    }

    /// After a clean close nothing is torn: what does not check at the end of the saved checkpoints
    /// was one, and nobody knows what it would have held back.
    pub(crate) fn refuse_torn_checkpoints(&self) -> Result<()> {
        match self.with_checkpoints(|keyed| Ok(keyed.torn_end()))? {
            Some((offset, _)) if self.report.clean => {
                let file = name_of(FileName::Checkpoints);
                let what = "the last saved checkpoint does not check, and may hold back a trim";
                Err(Error::damaged(file, offset, what))
            }
            _ => Ok(()),
        }
    }

    /// The checkpoint that counts.
    pub(crate) fn checkpoint(&self, name: &str) -> Result<Option<Checkpoint>> {
        let saved = self.with_checkpoints(|keyed| saved_in(keyed, name))?;
        Ok(Checkpoint::later(saved, self.carried_checkpoint(name)))
    }

    /// Every checkpoint by name, sorted.
    pub(crate) fn checkpoints(&self) -> Result<Vec<(String, Checkpoint)>> {
        let mut names: Vec<String> = self.with_checkpoints(|keyed| {
            Ok(keyed.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect())
        })?;
        names.extend(self.catalog.read().carried.checkpoints.keys().cloned());
        names.sort();
        names.dedup();
        let mut all = Vec::new();
        for name in names {
            if let Some(checkpoint) = self.checkpoint(&name)? {
                all.push((name, checkpoint));
            }
        }
        Ok(all)
    }

    /// Saves a checkpoint; going back needs `reset`.
    pub(crate) fn save_checkpoint(&self, name: &str, to: Position, reset: bool) -> Result<()> {
        self.refuse_writing()?;
        check_name(name)?;
        let mark = if planted!(CheckpointBeforeEvents) { Mark::Visible } else { Mark::Synced };
        let synced = self.watch.level(mark);
        if to > synced {
            return Err(Error::invalid(format!(
                "checkpoint {name:?} cannot be at position {to}: the log ends at {synced}"
            ))
            .at(to));
        }
        let id = self.id_at(to)?;
        let (frame, carried) = self.frame_to_save_at(name, reset)?;
        let saved_at = Timestamp::from_micros(self.clock.now());
        self.with_checkpoints(|keyed| {
            let saved = saved_in(keyed, name)?;
            let now = Checkpoint::later(saved, carried).map_or(Position::START, |c| c.position);
            if to < now && !reset {
                return Err(goes_back(name, to, now));
            }
            // What a removal overruled stays overruled.
            let removed = saved.filter(Checkpoint::is_removed).map_or(0, |removed| removed.frame);
            let next = Checkpoint { position: to, id, frame: frame.max(removed), saved_at };
            keyed.put(name.as_bytes(), Some(&next.encode()))
        })
    }

    /// Removes a checkpoint; answers whether there was one.
    pub(crate) fn remove_checkpoint(&self, name: &str) -> Result<bool> {
        self.refuse_writing()?;
        check_name(name)?;
        let (frame, carried) = self.frame_to_save_at(name, true)?;
        let removed = Checkpoint::removed(frame, Timestamp::from_micros(self.clock.now())).encode();
        self.with_checkpoints(|keyed| {
            if Checkpoint::later(saved_in(keyed, name)?, carried).is_none() {
                return Ok(false);
            }
            // Only what a batch carried has to be overruled for ever.
            let overrules = carried.is_some() && !planted!(RemovedComesBack);
            keyed.put(name.as_bytes(), overrules.then_some(&*removed))?;
            Ok(true)
        })
    }

    fn carried_checkpoint(&self, name: &str) -> Option<Checkpoint> {
        self.catalog.read().carried.checkpoints.get(name).map(Checkpoint::of_log)
    }

    /// What is saved now counts from this frame on; with it what a batch carried last. If it is to
    /// `overrule` that, it is the later of the two, also after a crash.
    fn frame_to_save_at(&self, name: &str, overrule: bool) -> Result<(u64, Option<Checkpoint>)> {
        let durable_now = || self.durable_frame.load(Ordering::Acquire);
        let ahead = || self.carried_checkpoint(name).is_some_and(|c| c.frame > durable_now());
        if overrule && ahead() {
            self.sync_now();
            self.refuse_writing()?;
        }
        // In this order: what is carried at the frame or below it is seen and judged.
        let frame = durable_now();
        let carried = self.carried_checkpoint(name);
        // A carried one keeps the frame it was first written in, which a recovery may have passed.
        let passed = carried.filter(|_| overrule).map_or(0, |carried| carried.frame);
        Ok((frame.max(passed), carried))
    }

    fn id_at(&self, position: Position) -> Result<Uuid> {
        if position == Position::START {
            return Ok(Uuid::nil());
        }
        let id = self.view()?.id_at(position)?;
        id.ok_or_else(|| Error::invalid(format!("there is no position {position}")).at(position))
    }

    /// The position to go on from, checked to be in the history it was saved in.
    pub(crate) fn resume_from(&self, name: &str) -> Result<Position> {
        let Some(checkpoint) = self.checkpoint(name)? else { return Ok(Position::START) };
        let (position, last) = (checkpoint.position, self.watch.level(Mark::Synced));
        if position > last {
            return Err(Error::invalid(format!(
                "checkpoint {name:?} is at position {position}, the log ends at {last}: \
                 was an older copy restored?"
            ))
            .at(position));
        }
        self.view()?.refuse_behind(position)?;
        let here = || self.id_at(position).map(|id| id == checkpoint.id);
        if position > Position::START && !planted!(HistoryNotCompared) && !here()? {
            return Err(Error::invalid(format!(
                "checkpoint {name:?} was saved in another history: \
                 the event at position {position} is a different one"
            ))
            .at(position));
        }
        Ok(position)
    }

    pub(crate) fn snapshot(&self, stream: &str, name: &str) -> Result<Option<Snapshot>> {
        self.refuse_closed()?;
        let key = Snapshot::key(stream, name);
        let file = (FileName::Snapshots, Purpose::Snapshots);
        let found = self.with_keyed(&self.snapshots, file, |keyed| Ok(keyed.get(&key)));
        // A snapshot is a convenience: one that cannot be read is as good as none.
        let Ok(Ok(Some(bytes))) = found else { return Ok(None) };
        let Some(snapshot) = Snapshot::decode(&bytes) else { return Ok(None) };
        if !self.catalog.read().carried.lifecycle(stream).is_reached_by(snapshot.version) {
            return Ok(None);
        }
        let view = self.view()?;
        let same = match view.position_of(stream, snapshot.version) {
            Some(position) => view.with_event(position, |event| event.id())? == Some(snapshot.id),
            // Of trimmed events it is known which id has which version.
            None => view
                .trimmed_event(&snapshot.id, Some(stream))?
                .is_some_and(|found| found.version == snapshot.version),
        };
        let same = same || planted!(SnapshotNotChecked);
        Ok(same.then_some(snapshot))
    }

    pub(crate) fn save_snapshot(&self, stream: &str, name: &str, mut s: Snapshot) -> Result<()> {
        self.refuse_writing()?;
        check_name(name)?;
        let view = self.view_at(Mark::Synced)?;
        view.refuse_trimmed_version(stream, s.version)?;
        let missing = || {
            let text = format!("stream {stream:?} has no version {}", s.version);
            Error::invalid(text).in_stream(stream).at_version(s.version)
        };
        let position = view.position_of(stream, s.version).ok_or_else(missing)?;
        s.id = view.with_event(position, |event| event.id())?.ok_or_else(missing)?;
        s.saved_at = Timestamp::from_micros(self.clock.now());
        let key = Snapshot::key(stream, name);
        let file = (FileName::Snapshots, Purpose::Snapshots);
        self.with_keyed(&self.snapshots, file, |keyed| keyed.put(&key, Some(&s.encode())))
    }

    /// Hands work to the store's thread; without one, the caller does it himself.
    pub(crate) fn hand(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

fn saved_in(keyed: &KeyedFile, name: &str) -> Result<Option<Checkpoint>> {
    Ok(keyed.get(name.as_bytes())?.and_then(|bytes| Checkpoint::decode(&bytes)))
}

pub(crate) fn goes_back(name: &str, to: Position, now: Position) -> Error {
    Error::invalid(format!(
        "checkpoint {name:?} is at position {now} and cannot go back to {to}; reset it instead"
    ))
    .at(now)
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        let text = format!("name has {} bytes, allowed are 1 to {NAME_MAX}", name.len());
        return Err(Error::invalid(text));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid("name has a control character"));
    }
    Ok(())
}

fn poisoned(cause: &Error) -> Error {
    Error::new(ErrorKind::Poisoned, "an earlier write failed").because(cause.clone())
}
