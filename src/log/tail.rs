//! Layer 4.3: the segment that is written: stage a group, write it, sync it, roll to the next.
//!
//! Knows: offsets, prepared space, what a failure leaves behind. Does not know: streams or
//! versions; those are decided above. One thread at a time owns it.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::ahead::{Pace, Runway, Spares};
use super::files::failed;
use super::head::HeadFile;
use super::live::LiveFile;
use super::stage::{BatchBytes, COMMIT_BLOCK, Cursor, Stage, frame_overhead};
use super::survey::{FIRST_FRAME, LogEnd};
use crate::clock::monotonic;
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    FRAME_HEADER_BYTES, FileName, FrameKind, Head, LiveMark, Opening, Predecessor, Seal, name_of,
    segment_seed,
};
use crate::segment::Place;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, EventRef, IdScope, Result};

/// Room kept at the end of a segment for its seal and for the mark of a close.
const CLOSING_BYTES: u64 = 512;
/// The longest stretch that an opening has to scan, but for what was written while it was indexed.
const PART_MOST: u64 = 4 << 20;

/// Why a group could not be made durable.
#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// Nothing of it is or will become readable; the log goes on where it was.
    Refused(Error),
    /// Nobody knows what is on disk; only recovery can tell.
    Fatal(Error),
}

/// Everything needed to go on writing at the end of a recovered log.
pub(crate) struct TailStart {
    pub disk: Arc<dyn Disk>,
    pub head: Arc<HeadFile>,
    pub live: LiveFile,
    pub number: u64,
    pub cursor: Cursor,
    /// Up to here there are indexes of parts.
    pub indexed: Cursor,
    pub durable: u64,
    pub epoch: u32,
    pub first_position: u64,
    pub last_recorded_at: u64,
    /// The segment ends with its seal.
    pub sealed: bool,
    pub capacity: u64,
    pub align: bool,
}

/// A stretch of the segment that is written, durable and between batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub segment: u64,
    pub from: Place,
    pub to: LogEnd,
}

/// The end of the log, owned by whoever commits.
#[derive(Debug)]
pub(crate) struct Tail {
    disk: Arc<dyn Disk>,
    head: Arc<HeadFile>,
    store: Uuid,
    live: LiveFile,
    spares: Arc<Spares>,
    /// The next segment was asked for already.
    spare_wanted: bool,
    file: Arc<dyn DiskFile>,
    runway: Arc<Runway>,
    pace: Pace,
    stage: Stage,
    /// What is written and was not taken back.
    written: Cursor,
    /// Up to here there are indexes of parts, or will be.
    indexed: Cursor,
    /// The last frame that is synced.
    durable: u64,
    /// When the oldest frame that is not synced was written.
    unsynced_since: Option<Instant>,
    epoch: u32,
    number: u64,
    first_position: u64,
    last_recorded_at: u64,
    sealed: bool,
    capacity: u64,
    align: bool,
}

impl Tail {
    pub(crate) fn open(start: TailStart) -> Result<Self> {
        let name = name_of(FileName::Segment(start.number));
        let file = start.disk.open(&name, Access::Write).map_err(failed("open", &name))?;
        let ready = file.size().map_err(failed("read", &name))?.max(start.cursor.offset);
        let spare_size = start.capacity;
        let last = start.head.get().last_segment;
        let spares =
            Spares::new(start.disk.clone(), start.head.clone(), spare_size, last.max(start.number));
        let store = start.head.get().store;
        let seed = segment_seed(store, start.number);
        Ok(Self {
            runway: Arc::new(Runway::new(name, start.capacity, ready)),
            pace: Pace::default(),
            stage: Stage::new(seed, start.epoch, start.durable, start.cursor),
            spares: Arc::new(spares),
            store,
            spare_wanted: false,
            disk: start.disk,
            head: start.head,
            live: start.live,
            file,
            written: start.cursor,
            indexed: start.indexed,
            durable: start.durable,
            unsynced_since: None,
            epoch: start.epoch,
            number: start.number,
            first_position: start.first_position,
            last_recorded_at: start.last_recorded_at,
            sealed: start.sealed,
            capacity: start.capacity,
            align: start.align,
        })
    }

    pub(crate) fn segment(&self) -> u64 {
        self.number
    }

    /// The segment ends with its seal; the log goes on in the next.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }

    pub(crate) fn id_scope(&self) -> IdScope {
        self.head.get().id_scope
    }

    /// Makes what [`mark_live`](Self::mark_live) said durable.
    pub(crate) fn sync_live(&self) -> Result<()> {
        self.live.sync()
    }

    /// The live file, for a sync when nobody commits.
    pub(crate) fn idle_live_handle(&self) -> Arc<dyn DiskFile> {
        self.live.idle_handle()
    }

    /// The space to be prepared next and up to where, when there is soon not enough ahead: first
    /// what is left of this segment, then the next one, whose syncs are no part of this one's. Says
    /// so once.
    pub(crate) fn short_of_space(&self) -> Option<(Arc<Runway>, u64)> {
        let horizon = self.pace.horizon()?;
        let (soon, end) = (self.written.offset + horizon / 2, self.written.offset + horizon);
        if self.runway.asks_for(soon) {
            return Some((self.runway.clone(), end));
        }
        let beyond = |offset: u64| offset.saturating_sub(self.capacity);
        let next = self.spares.runway(self.number + 1)?;
        next.asks_for(beyond(soon)).then(|| (next, beyond(end)))
    }

    pub(crate) fn spares(&self) -> Arc<Spares> {
        self.spares.clone()
    }

    /// The end of what is written.
    pub(crate) fn written(&self) -> Cursor {
        self.written
    }

    /// Whether something written so long ago is not synced.
    pub(crate) fn owes_sync(&self, within: Duration) -> bool {
        self.unsynced_since.is_some_and(|since| since.elapsed() >= within)
    }

    pub(crate) fn has_unsynced(&self) -> bool {
        self.durable + 1 < self.written.number
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// The number the next batch's first frame will have, so far as is staged.
    pub(crate) fn next_frame(&self) -> u64 {
        self.stage.cursor.number
    }

    /// `recorded_at` for a batch decided at `now`: never before the last.
    pub(crate) fn stamp(&mut self, now: u64) -> u64 {
        let least = if planted!(TimeGoesBack) { 0 } else { self.last_recorded_at };
        self.last_recorded_at = least.max(now);
        self.last_recorded_at
    }

    pub(crate) fn last_recorded_at(&self) -> u64 {
        self.last_recorded_at
    }

    /// Whether more than half of the segment is used, so that the next should be prepared; says so
    /// once per segment.
    pub(crate) fn wants_spare(&mut self) -> bool {
        let wants = !self.spare_wanted && self.written.offset > self.capacity / 2;
        self.spare_wanted |= wants;
        wants
    }

    /// The part of the segment since the last one, when it has grown to at least so many bytes and
    /// is durable; says so once.
    pub(crate) fn part(&mut self, least: u64) -> Option<Part> {
        let grown = self.written.offset - self.indexed.offset;
        if grown < least || self.has_unsynced() || self.sealed {
            return None;
        }
        let from = std::mem::replace(&mut self.indexed, self.written);
        Some(Part { segment: self.number, from: from.place(), to: self.end() })
    }

    /// How much of a segment is indexed as one part: little to scan when opening, and few parts.
    pub(crate) fn part_bytes(&self) -> u64 {
        (self.capacity / 4).min(PART_MOST)
    }

    pub(crate) fn head(&self) -> Head {
        self.head.get()
    }

    /// Has the head say, durably, that data of subjects is encrypted.
    pub(crate) fn encrypt_subjects(&self) -> Result<()> {
        self.head.update(|head| head.encrypts = true)
    }

    pub(crate) fn head_file(&self) -> Arc<HeadFile> {
        self.head.clone()
    }

    fn end(&self) -> LogEnd {
        LogEnd {
            offset: self.written.offset,
            frame: self.written.number - 1,
            chain: self.written.chain,
            next_position: self.written.position,
        }
    }

    /// Whether a batch with so many bytes of records goes into this segment after what is staged.
    /// An empty segment takes a batch of any size.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        if self.sealed {
            return false;
        }
        let closing = if self.align { CLOSING_BYTES + 3 * COMMIT_BLOCK } else { CLOSING_BYTES };
        let end = self.stage.cursor.offset + bytes + frame_overhead(bytes) + closing;
        let used = self.stage.cursor.position > self.first_position
            || self.stage.cursor.offset > FIRST_FRAME + closing;
        end <= self.capacity || !used
    }

    /// Begins a group: nothing is staged.
    pub(crate) fn begin(&mut self) {
        let seed = segment_seed(self.store, self.number);
        self.stage.restart(seed, self.durable, self.written);
    }

    pub(crate) fn has_staged(&self) -> bool {
        !self.stage.buffer.is_empty()
    }

    pub(crate) fn stage_batch(&mut self, batch: &BatchBytes<'_>, placed: &mut Vec<u32>) {
        self.stage.batch(batch, placed);
    }

    pub(crate) fn staged_event(&self, offset: u32) -> Option<EventRef<'_>> {
        self.stage.event(offset)
    }

    /// Writes what is staged, in one piece.
    pub(crate) fn write(&mut self) -> Result<(), CommitFailure> {
        if self.stage.buffer.is_empty() {
            return Ok(());
        }
        if self.align {
            self.stage.fill_block(COMMIT_BLOCK, 0);
        }
        self.write_as_it_is()
    }

    /// A seal and a closed frame are the last of their segment, and nothing may stand behind them.
    fn write_as_it_is(&mut self) -> Result<(), CommitFailure> {
        self.runway.claim(self.stage.cursor.offset);
        let written = self.file.write_at(&self.stage.buffer, self.stage.base);
        if let Err(error) = written
            && !planted!(ShortWriteBelieved)
        {
            return Err(self.take_back(Error::io("cannot write to the log", error)));
        }
        self.pace.wrote(self.stage.buffer.len() as u64);
        self.written = self.stage.cursor;
        self.unsynced_since.get_or_insert_with(monotonic);
        Ok(())
    }

    /// After a failed write: a full disk is refused cleanly if the rejected bytes can be cut off
    /// and the cut synced, so that no later crash brings them back. Cutting needs no space.
    fn take_back(&mut self, error: Error) -> CommitFailure {
        if error.kind() != ErrorKind::DiskFull {
            return CommitFailure::Fatal(error);
        }
        let cut = match planted!(RefusedBytesLeft) {
            true => Ok(()),
            false => self.file.set_size(self.written.offset).and_then(|()| self.file.sync()),
        };
        match cut {
            Ok(()) => {
                if planted!(PositionsSkipped) {
                    self.written.position = self.stage.cursor.position;
                }
                self.begin();
                CommitFailure::Refused(error)
            }
            Err(source) => {
                CommitFailure::Fatal(Error::io("cannot cut a refused write off", source))
            }
        }
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), CommitFailure> {
        if planted!(LiveMarkBeforeSync) {
            self.durable = self.written.number - 1;
            let _ = self.mark_live();
        }
        let other = planted!(AnotherFileSynced).then(|| self.live.idle_handle());
        let mut synced = other.as_ref().unwrap_or(&self.file).sync();
        if planted!(FailedSyncRetried) && synced.is_err() {
            synced = self.file.sync();
        }
        synced.map_err(|e| CommitFailure::Fatal(Error::io("cannot sync the log", e)))?;
        self.durable = self.written.number - 1;
        self.unsynced_since = None;
        Ok(())
    }

    /// Tells followers and a later recovery how far the log is durable.
    pub(crate) fn mark_live(&mut self) -> Result<()> {
        self.live.write(LiveMark {
            store: self.store,
            epoch: self.epoch,
            sequence: 0,
            frame: self.durable,
            next_position: self.written.position,
            segment: self.number,
            end: self.written.offset,
        })
    }

    /// Seals this segment and goes on in the next. Answers where this one ends. Nothing may be
    /// staged.
    pub(crate) fn roll(&mut self, now: u64) -> Result<LogEnd, CommitFailure> {
        // A full disk shows here, before the log is touched.
        self.spares.ensure(self.number + 1, now).map_err(|error| match error.kind() {
            ErrorKind::DiskFull => CommitFailure::Refused(error),
            _ => CommitFailure::Fatal(error),
        })?;
        self.begin();
        if !self.sealed {
            let events = self.written.position - self.first_position;
            self.stage.seal(Seal { events, last_recorded_at: self.last_recorded_at });
            self.write_as_it_is()?;
            if !planted!(SealNotSynced) {
                self.sync()?;
            }
            self.sealed = true;
        }
        let end = self.end();
        self.open_next(end).map_err(CommitFailure::Fatal)?;
        Ok(end)
    }

    /// Moves to the next segment and stages its opening frame.
    fn open_next(&mut self, end: LogEnd) -> Result<()> {
        let name = name_of(FileName::Segment(self.number + 1));
        let file = self.disk.open(&name, Access::Write).map_err(failed("open", &name))?;
        let runway = match self.spares.runway(self.number + 1) {
            Some(runway) => runway,
            None => {
                let ready = file.size().map_err(failed("read", &name))?;
                Arc::new(Runway::new(name, self.capacity, ready))
            }
        };
        let predecessor = Predecessor {
            number: self.number,
            end: end.offset,
            frame: end.frame,
            chain: end.chain,
        };
        self.file = file;
        self.runway = runway;
        self.number += 1;
        self.spare_wanted = false;
        self.sealed = false;
        self.first_position = end.next_position;
        self.written.offset = FIRST_FRAME;
        self.begin();
        self.stage.opening(&Opening { predecessor, last_recorded_at: self.last_recorded_at });
        // The opening is synced by itself: rolling is rare, and nothing then depends on it riding
        // along.
        let wrote = self.write().and_then(|()| self.sync());
        wrote.map_err(|failure| match failure {
            CommitFailure::Refused(error) | CommitFailure::Fatal(error) => error,
        })?;
        self.indexed = self.written;
        self.begin();
        Ok(())
    }

    /// Writes the mark of a clean close, and gives prepared space back. Nothing may be staged.
    pub(crate) fn close(&mut self) -> Result<(), CommitFailure> {
        self.begin();
        self.sync()?;
        self.stage.durable = self.durable;
        if self.align {
            // The next opening goes on behind the closed frame, in a block of its own.
            self.stage.fill_block(COMMIT_BLOCK, FRAME_HEADER_BYTES as u64);
        }
        self.stage.control(FrameKind::Closed, &[], self.last_recorded_at);
        self.write_as_it_is()?;
        self.runway.claim(u64::MAX);
        let cut = self.file.set_size(self.written.offset);
        cut.map_err(|e| CommitFailure::Fatal(Error::io("cannot give prepared space back", e)))?;
        self.sync()?;
        self.spares.give_back(self.number + 1);
        self.mark_live().map_err(CommitFailure::Fatal)?;
        self.sync_live().map_err(CommitFailure::Fatal)
    }
}
