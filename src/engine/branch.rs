//! Layer 6.8: backups and branches of an open store: its log, and what is saved beside it.
//!
//! Knows: which checkpoints and snapshots belong to a prefix of the log. Does not know: how files
//! are brought along (`log/backup.rs`, `log/branch.rs`).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::catalog::View;
use super::follow::Follower;
use super::saved::{Checkpoint, Snapshot};
use super::shared::{Engine, Parts};
use crate::disk::Disk;
use crate::format::{FileName, Purpose, Take};
use crate::log::{Backup, Branch, Brought, KeyedCopy, KeyedFile, Prefix, last_id, prefix_of};
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Position, Result, Timestamp};

/// What is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BranchPlan {
    /// The last position that goes along; `None`: the watermark.
    pub through: Option<Position>,
    /// Reads back what is copied, and what an earlier backup left.
    pub verify: bool,
    /// A branch may share files.
    pub link: bool,
    /// Takes out of an earlier backup what the store has trimmed since.
    pub follow_trim: bool,
    /// Tells what would be done, and does nothing.
    pub dry_run: bool,
}

/// What was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Branched {
    pub store: Uuid,
    pub position: Position,
    pub last_recorded_at: Timestamp,
    pub segments: u64,
    pub bytes: u64,
    pub brought: Brought,
    /// The first and the last position that an earlier backup held and holds no more.
    pub let_go: Option<(Position, Position)>,
    pub checkpoints: u64,
    pub snapshots: u64,
}

type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Every value that a checkpoint was saved with and that is still in the file, oldest first.
type History = BTreeMap<String, Vec<Option<Checkpoint>>>;

impl Engine {
    /// Makes a backup in `to`, or carries on the one that is there.
    pub(crate) fn back_up(
        &self,
        to: &Arc<dyn Disk>,
        plan: BranchPlan,
        progress: Progress<'_>,
    ) -> Result<Branched> {
        let (history, prefix) = self.history_and_prefix(plan.through)?;
        let backup = Backup { from: &*self.disk, to, prefix: &prefix, verify: plan.verify };
        let mut done = self.told(&prefix, self.store);
        if backup.earlier()?.is_some_and(|head| !head.unfinished) {
            let last = self.refuse_other_history(to, &prefix)?;
            done.let_go = backup.let_go(last)?;
        }
        if plan.dry_run {
            done.brought = backup.plan()?;
            return Ok(done);
        }
        if let Some(gone) = done.let_go.filter(|_| !plan.follow_trim) {
            refuse_to_let_go(&to.location(), gone, &prefix)?;
        }
        let mut counts = (0, 0);
        let saved = || {
            counts = self.save_beside(&**to, self.store, &history, &prefix)?;
            Ok(())
        };
        done.brought = backup.run(saved, progress)?;
        (done.checkpoints, done.snapshots) = counts;
        Ok(done)
    }

    /// Makes a store of its own in `to` that begins as this one.
    pub(crate) fn branch(
        &self,
        to: &Arc<dyn Disk>,
        plan: BranchPlan,
        progress: Progress<'_>,
    ) -> Result<Branched> {
        let (history, prefix) = self.history_and_prefix(plan.through)?;
        let branch = Branch {
            from: &*self.disk,
            to,
            prefix: &prefix,
            settings: &self.settings,
            now: self.clock.now(),
            link: plan.link,
            verify: plan.verify,
        };
        let mut done = self.told(&prefix, self.store);
        branch.first_head()?;
        if plan.dry_run {
            return Ok(done);
        }
        let mut counts = (0, 0);
        let saved = |store| {
            counts = self.save_beside(&**to, store, &history, &prefix)?;
            Ok(())
        };
        (done.store, done.brought) = branch.make(saved, progress)?;
        (done.checkpoints, done.snapshots) = counts;
        Ok(done)
    }

    /// The checkpoints first: none of them is ahead of a log that is looked at afterwards.
    fn history_and_prefix(&self, through: Option<Position>) -> Result<(History, Prefix)> {
        self.refuse_closed()?;
        let file = self.keyed(FileName::Checkpoints, Purpose::Checkpoints)?;
        file.refuse_damage()?;
        let mut history = History::new();
        file.each(|key, value| {
            let name = String::from_utf8_lossy(key).into_owned();
            history.entry(name).or_default().push(value.and_then(Checkpoint::decode));
        })?;
        Ok((history, prefix_of(&*self.disk, through)?))
    }

    fn keyed(&self, file: FileName, purpose: Purpose) -> Result<KeyedFile> {
        KeyedFile::load(self.disk.clone(), self.store, file, purpose)
    }

    fn told(&self, prefix: &Prefix, store: Uuid) -> Branched {
        Branched {
            store,
            position: prefix.position(),
            last_recorded_at: Timestamp::from_micros(prefix.last_recorded_at),
            segments: prefix.spans.len() as u64,
            bytes: prefix.bytes(),
            brought: Brought::default(),
            let_go: None,
            checkpoints: 0,
            snapshots: 0,
        }
    }

    /// An earlier backup that goes on otherwise than this log is not carried on: it may be all that
    /// is left of what it holds. Answers the last position of the one that is.
    fn refuse_other_history(&self, to: &Arc<dyn Disk>, prefix: &Prefix) -> Result<Position> {
        let (place, (last, theirs)) = (to.location(), self.end_of(to)?);
        if last > prefix.position() {
            let text = format!(
                "{place} is a backup up to position {last}, and this would end at {}",
                prefix.position()
            );
            return Err(Error::invalid(text).at(last));
        }
        let Some(theirs) = theirs else { return Ok(last) };
        let mut ours = self.view()?.id_at(last)?;
        if ours.is_none() && self.read_only {
            ours = self.read_anew(&self.disk)?.id_at(last)?;
        }
        if ours != Some(theirs) && !planted!(OtherHistoryCarriedOn) {
            let text = format!(
                "{place} is a backup of another history: its event at position {last} is another"
            );
            return Err(Error::invalid(text).at(last));
        }
        Ok(last)
    }

    /// The last event in a directory, as far as it can be read: what cannot is copied again.
    fn end_of(&self, disk: &Arc<dyn Disk>) -> Result<(Position, Option<Uuid>)> {
        match prefix_of(&**disk, None) {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let there = self.read_anew(disk)?;
                let id = there.id_at(there.last);
                Ok((there.last, id.unwrap_or(None)))
            }
            there => there.and_then(|there| Ok((there.position(), last_id(&**disk, &there)?))),
        }
    }

    /// What a reader that looks now would see.
    fn read_anew(&self, disk: &Arc<dyn Disk>) -> Result<View> {
        let settings = self.settings.clone();
        let parts = Parts { disk: disk.clone(), clock: self.clock.clone(), settings };
        let (_, catalog, _) = Follower::open(&parts)?;
        Ok(catalog.view())
    }

    /// Writes the checkpoints and snapshots that belong to the prefix; answers how many of each.
    fn save_beside(
        &self,
        to: &dyn Disk,
        store: Uuid,
        history: &History,
        prefix: &Prefix,
    ) -> Result<(u64, u64)> {
        let mut copy = KeyedCopy::new(to, store, FileName::Checkpoints, Purpose::Checkpoints);
        for (name, entries) in history {
            if let Some(checkpoint) = self.checkpoint_within(name, entries, prefix)? {
                copy.put(name.as_bytes(), &checkpoint.encode())?;
            }
        }
        Ok((copy.finish()?, self.save_snapshots(to, store, prefix)?))
    }

    /// What a checkpoint stood at when the log ended with the prefix.
    fn checkpoint_within(
        &self,
        name: &str,
        entries: &[Option<Checkpoint>],
        prefix: &Prefix,
    ) -> Result<Option<Checkpoint>> {
        let carried = self.catalog.read().carried.checkpoints.contains_key(name);
        if carried {
            // Batches move it together with what they append, so that only what was saved by then
            // fits what is there; after that, the one carried last in the prefix counts.
            let by_then = |saved: &&Option<Checkpoint>| {
                saved.is_none_or(|saved| saved.frame <= prefix.frame())
            };
            return Ok(entries.iter().rev().find(by_then).copied().flatten());
        }
        // Whoever has done more than there is has done all of it.
        let Some(mut saved) = entries.last().copied().flatten() else { return Ok(None) };
        saved.frame = saved.frame.min(prefix.frame());
        if saved.position > prefix.position() {
            saved.position = prefix.position();
            let id = match saved.position {
                Position::START => Some(Uuid::nil()),
                last => self.view()?.id_at(last)?,
            };
            let Some(id) = id else { return Ok(None) };
            saved.id = id;
        }
        Ok(Some(saved))
    }

    /// A snapshot is a convenience: one that does not check stays behind.
    fn save_snapshots(&self, to: &dyn Disk, store: Uuid, prefix: &Prefix) -> Result<u64> {
        let file = self.keyed(FileName::Snapshots, Purpose::Snapshots)?;
        let mut copy = KeyedCopy::new(to, store, FileName::Snapshots, Purpose::Snapshots);
        let view = self.view()?;
        let mut keys: Vec<&[u8]> = file.keys().collect();
        keys.sort_unstable();
        for key in keys {
            let value = match file.get(key) {
                Err(error) if error.kind() == ErrorKind::Damaged => continue,
                found => found?.unwrap_or_default(),
            };
            let (Some(stream), Some(snapshot)) = (stream_of(key), Snapshot::decode(&value)) else {
                continue;
            };
            // What was trimmed is before every prefix that there is.
            let trimmed = view.trimmed_version(stream) >= Some(snapshot.version);
            let position = view.position_of(stream, snapshot.version);
            if trimmed || position.is_some_and(|position| position <= prefix.position()) {
                copy.put(key, &value)?;
            }
        }
        copy.finish()
    }
}

/// The backup may be all that is left of what was trimmed: it goes only when told to.
fn refuse_to_let_go(
    place: &str,
    (first, last): (Position, Position),
    prefix: &Prefix,
) -> Result<()> {
    if planted!(TrimFollowedUnasked) {
        return Ok(());
    }
    let begins = prefix.base.as_ref().map_or(1, |base| base.end().first_position);
    let text = format!(
        "positions {first} to {last}, trimmed from the store, are in the backup in {place}, and \
         would go from it; it was left as it is"
    );
    Err(Error::new(ErrorKind::Trimmed, text).at(Position::new(begins)))
}

/// The stream that a snapshot's key names.
fn stream_of(key: &[u8]) -> Option<&str> {
    let mut take = Take(key);
    let length = take.u16()?;
    std::str::from_utf8(take.slice(length.into())?).ok()
}
