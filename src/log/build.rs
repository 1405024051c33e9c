//! Layer 4.6: build a whole log out of records that are there already.
//!
//! Knows: how records become frames, frames segments, and segments a log that was closed. Does not
//! know: where the records come from. Until its last step the head says that the store is not
//! finished, so that there is none, and an interrupted try is begun anew.

use uuid::Uuid;

use super::base::TrimBase;
use super::bring::{bring_base, first_head, remove_all};
use super::files::{create_temporary, failed, put_in_place};
use super::head::HeadFile;
use super::stage::{Cursor, Stage, frame_overhead};
use super::survey::FIRST_FRAME;
use crate::disk::{Disk, DiskFile};
use crate::format::{
    Ancestor, BaseEnd, BatchPart, FileName, FrameKind, Head, LOST_SEGMENT_MOST, LostRange, Opening,
    Predecessor, Purpose, Seal, SegmentHeader, Take, name_of, patch_record, segment_seed,
};
use crate::sync::Arc;
use crate::types::{IdScope, Result};

/// The one writer epoch in which all of it is written.
const EPOCH: u32 = 1;
/// Records are laid into frames of about this size, as a writer does.
const FRAME_BYTES: usize = 1 << 20;

/// What a log is built for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewLog {
    pub id_scope: IdScope,
    pub encrypts: bool,
    pub capacity: u64,
    pub now: u64,
}

/// What comes before a log whose beginning was trimmed, or did not: the default.
#[derive(Debug, Default)]
pub(crate) struct Past<'a> {
    /// The disk it is on, and what is known of it.
    pub base: Option<(&'a dyn Disk, &'a TrimBase)>,
    /// Where the trimmed log ended.
    pub end: u64,
    /// Whose it was.
    pub ancestors: Vec<Ancestor>,
}

/// A log that is being built.
pub(crate) struct LogBuilder<'a> {
    disk: &'a dyn Disk,
    head: HeadFile,
    log: NewLog,
    first: Predecessor,
    base: u64,
    ancestors: Vec<Ancestor>,
    file: Arc<dyn DiskFile>,
    number: u64,
    stage: Stage,
    first_position: u64,
    /// Lost positions in the segment.
    lost: u64,
    last_recorded_at: u64,
}

/// The records of a batch, as they were, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Records {
    /// Adds one that checks, its head and padding included.
    pub(crate) fn push(&mut self, record: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(record);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    fn frames(&self) -> Vec<std::ops::Range<usize>> {
        let (mut all, mut from) = (Vec::new(), 0);
        for start in self.starts.iter().skip(1).chain([&self.bytes.len()]) {
            if start - from >= FRAME_BYTES || *start == self.bytes.len() {
                all.push(from..*start);
                from = *start;
            }
        }
        all
    }
}

impl<'a> LogBuilder<'a> {
    /// Begins in a directory that is empty, or holds what an interrupted try left. The caller holds
    /// its lock.
    ///
    /// # Errors
    /// `Invalid` when something else is there; `Damaged` when the past is, `DiskFull`, `Io`.
    pub(crate) fn new(disk: &'a Arc<dyn Disk>, log: NewLog, past: Past<'_>) -> Result<Self> {
        let head = HeadFile::new(disk.clone(), first_head(&**disk, log.id_scope)?);
        remove_all(&**disk, |file| !matches!(file, FileName::Lock | FileName::Head(_)))?;
        head.update(|head| head.unfinished = true)?;
        let mut first = Predecessor::default();
        let mut cursor = Cursor { offset: FIRST_FRAME, number: 1, position: 1, chain: 0 };
        let mut last_recorded_at = 0;
        if let Some((from, base)) = past.base {
            bring_base(from, base, &**disk, true)?;
            let BaseEnd { first_segment, frame, chain, first_position, .. } = *base.end();
            first = Predecessor { number: first_segment - 1, end: past.end, frame, chain };
            cursor = Cursor { number: frame + 1, position: first_position, chain, ..cursor };
            last_recorded_at = base.end().last_recorded_at;
        }
        let number = first.number + 1;
        let seed = segment_seed(head.get().store, number);
        let mut builder = Self {
            disk: &**disk,
            head,
            log,
            first,
            base: past.base.map_or(0, |(_, base)| base.end().number),
            ancestors: past.ancestors,
            file: create_temporary(&**disk, &temporary())?,
            number,
            stage: Stage::new(seed, EPOCH, first.frame, cursor),
            first_position: cursor.position,
            lost: 0,
            last_recorded_at,
        };
        builder.begin(first)?;
        Ok(builder)
    }

    /// The store's name.
    pub(crate) fn store(&self) -> Uuid {
        self.head.get().store
    }

    /// The position of the next event.
    pub(crate) fn next_position(&self) -> u64 {
        self.stage.cursor.position
    }

    /// The newest frame.
    pub(crate) fn last_frame(&self) -> u64 {
        self.stage.cursor.number - 1
    }

    pub(crate) fn segments(&self) -> u64 {
        self.number - self.first.number
    }

    /// Adds a batch, whose first record is of the next position.
    pub(crate) fn batch(&mut self, records: &Records) -> Result<()> {
        let bytes = records.bytes.len() as u64;
        self.make_room(bytes + frame_overhead(bytes))?;
        let cuts = records.frames();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let totals = (count(cuts.len()), count(records.starts.len()));
        let last_cut = cuts.len().saturating_sub(1);
        self.stage.durable = self.last_frame();
        for (at, range) in cuts.into_iter().enumerate() {
            let (first, last) = (at == 0, at == last_cut);
            // Only the last frame says how many there are in all.
            let (frames, events) = if last { totals } else { (0, 0) };
            let part = (BatchPart { first, last }, frames, events);
            let (piece, mut newest) = (records.bytes.get(range).unwrap_or_default(), 0);
            self.stage.frame(FrameKind::Batch, part, &[piece], |head| {
                let place = place_in(head);
                newest = place.2;
                place
            });
            self.last_recorded_at = self.last_recorded_at.max(newest);
            self.flush()?;
        }
        Ok(())
    }

    /// Adds a batch of control records alone, laid out but not placed, less than a frame's worth.
    pub(crate) fn control(&mut self, records: &[u8]) -> Result<()> {
        let bytes = records.len() as u64;
        self.make_room(bytes + frame_overhead(bytes))?;
        let Cursor { position, number, .. } = self.stage.cursor;
        let place = (position, number, self.last_recorded_at);
        self.stage.durable = self.last_frame();
        let part = (BatchPart { first: true, last: true }, 1, 0);
        self.stage.frame(FrameKind::Batch, part, &[records], |_| place);
        self.flush()
    }

    /// Says of the next positions that their events are lost.
    pub(crate) fn lost(&mut self, range: LostRange) -> Result<()> {
        if self.lost + u64::from(range.positions) > LOST_SEGMENT_MOST {
            self.roll()?;
        }
        self.make_room(frame_overhead(256))?;
        let place = (self.stage.cursor.position, 0, self.last_recorded_at);
        let mut record = Vec::new();
        range.push(&mut record);
        patch_record(&mut record, 0, place);
        self.stage.durable = self.last_frame();
        let part = (BatchPart { first: true, last: true }, 1, range.positions);
        self.stage.frame(FrameKind::Batch, part, &[&record], |_| place);
        self.lost += u64::from(range.positions);
        self.flush()
    }

    /// Ends the log as a close does, and makes it a store: before this there is none.
    pub(crate) fn finish(mut self, before_head: impl FnOnce(u64) -> Result<()>) -> Result<()> {
        self.stage.durable = self.last_frame();
        self.stage.control(FrameKind::Closed, &[], self.last_recorded_at);
        self.flush()?;
        self.put_in_place()?;
        let durable = self.last_frame();
        before_head(durable)?;
        let change = |head: &mut Head| {
            (head.epoch, head.last_segment, head.durable) = (EPOCH, self.number, durable);
            (head.base, head.first_segment) = (self.base, self.first.number + 1);
            head.ancestors = self.ancestors;
            head.encrypts = self.log.encrypts;
            head.unfinished = false;
        };
        self.head.update(change)?;
        // No generation is left that says otherwise, should the newest ever rot.
        self.head.update(|_| ())
    }

    /// Begins the next segment if this one has no room for so many bytes, unless it is empty.
    fn make_room(&mut self, bytes: u64) -> Result<()> {
        let begun = self.stage.cursor.position > self.first_position;
        match begun && self.stage.cursor.offset + bytes > self.log.capacity {
            true => self.roll(),
            false => Ok(()),
        }
    }

    fn roll(&mut self) -> Result<()> {
        let events = self.stage.cursor.position - self.first_position;
        self.stage.durable = self.last_frame();
        self.stage.seal(Seal { events, last_recorded_at: self.last_recorded_at });
        self.flush()?;
        self.put_in_place()?;
        let end = self.stage.cursor;
        let predecessor = Predecessor {
            number: self.number,
            end: end.offset,
            frame: end.number - 1,
            chain: end.chain,
        };
        self.number += 1;
        self.first_position = end.position;
        self.lost = 0;
        self.file = create_temporary(self.disk, &temporary())?;
        let seed = segment_seed(self.store(), self.number);
        self.stage.restart(seed, end.number - 1, Cursor { offset: FIRST_FRAME, ..end });
        self.begin(predecessor)
    }

    /// The header block and the opening frame.
    fn begin(&mut self, predecessor: Predecessor) -> Result<()> {
        let header = SegmentHeader {
            store: self.store(),
            number: self.number,
            id_scope: self.log.id_scope,
            capacity: self.log.capacity,
            created_at: self.log.now,
            rewrite: 0,
        };
        self.file.write_at(&header.encode(), 0).map_err(failed("write", &temporary()))?;
        self.stage.opening(&Opening { predecessor, last_recorded_at: self.last_recorded_at });
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.write_at(&self.stage.buffer, self.stage.base);
        written.map_err(failed("write", &temporary()))?;
        self.stage.base = self.stage.cursor.offset;
        self.stage.buffer.clear();
        Ok(())
    }

    fn put_in_place(&self) -> Result<()> {
        self.file.sync().map_err(failed("sync", &temporary()))?;
        put_in_place(self.disk, &temporary(), &name_of(FileName::Segment(self.number)))
    }
}

fn temporary() -> String {
    name_of(FileName::Temporary(Purpose::Recovery))
}

/// Position, version and time of a record are those it had.
fn place_in(head: &[u8]) -> (u64, u64, u64) {
    let mut take = Take(head.get(8..).unwrap_or_default());
    let mut next = || take.u64().unwrap_or_default();
    (next(), next(), next())
}
