//! Layer 4.3: a segment made whole under a temporary name: opening frame, whole batches, a mark.
//!
//! Knows: the order that leaves no name on anything half made. Does not know: why it is made, or
//! the head.

use super::files::{COPY_BYTES, failed, make_file};
use super::stage::{COMMIT_BLOCK, Cursor, Stage};
use crate::disk::{Disk, DiskFile};
use crate::format::{
    FRAME_HEADER_BYTES, FileName, FrameKind, Opening, Purpose, SegmentHeader, Step, Take, Walker,
    name_of, segment_seed,
};
use crate::segment::{SegmentBytes, source_of};
use crate::sync::Arc;
use crate::types::{Error, Result};

/// Where a segment is made, and what its header and its frames say.
pub(super) struct Fresh<'a> {
    pub disk: &'a dyn Disk,
    pub header: SegmentHeader,
    pub epoch: u32,
    /// Whether the first commit after it begins on a block of its own.
    pub align: bool,
}

impl Fresh<'_> {
    /// Builds the segment and puts it in place: whatever has the name afterwards is whole and
    /// durable.
    pub(super) fn make(
        &self,
        cursor: Cursor,
        opening: &Opening,
        survivors: Option<Survivors>,
    ) -> Result<Stage> {
        let temporary = name_of(FileName::Temporary(Purpose::Recovery));
        let name = name_of(FileName::Segment(self.header.number));
        let write = |file: &_| self.write(file, cursor, opening, survivors);
        make_file(self.disk, &temporary, &name, write)
    }

    fn write(
        &self,
        file: &Arc<dyn DiskFile>,
        cursor: Cursor,
        opening: &Opening,
        survivors: Option<Survivors>,
    ) -> Result<Stage> {
        file.write_at(&self.header.encode(), 0).map_err(failed("write", "a fresh segment"))?;
        let SegmentHeader { store, number, .. } = self.header;
        let seed = segment_seed(store, number);
        let mut stage = Stage::new(seed, self.epoch, opening.predecessor.frame, cursor);
        stage.opening(opening);
        if let Some(survivors) = survivors.filter(|_| !planted!(SurvivorsDropped)) {
            survivors.copy(&mut stage, file)?;
        }
        // The file gets its name only when all of it is synced, so this claim is true when it is
        // seen.
        stage.durable = stage.cursor.number - 1;
        stage.control(FrameKind::Mark, &[], opening.last_recorded_at);
        if self.align {
            stage.fill_block(COMMIT_BLOCK, 0);
        }
        flush(&mut stage, file)?;
        if !planted!(FreshSegmentNotSynced) {
            file.sync().map_err(failed("sync", "a fresh segment"))?;
        }
        Ok(stage)
    }
}

/// Whole batches of another segment, up to an offset.
pub(super) struct Survivors {
    pub file: SegmentBytes,
    pub walker: Walker,
    pub until: u64,
    pub name: String,
}

impl Survivors {
    /// Copies whole batches, under new frame numbers, with their records as they were.
    fn copy(mut self, stage: &mut Stage, into: &Arc<dyn DiskFile>) -> Result<()> {
        let mut source = source_of(&self.file, self.until);
        self.walker.expected.epoch_max = u32::MAX;
        while self.walker.offset < self.until {
            let step = self.walker.step(&mut *source).map_err(failed("read", &self.name))?;
            let Step::Frame(frame) = step else {
                return Err(Error::damaged(&*self.name, self.walker.offset, "frame changed"));
            };
            if frame.header.kind != FrameKind::Batch {
                continue;
            }
            let header = frame.header;
            let totals = (header.part, header.batch_frames, header.batch_events);
            let records = frame.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
            stage.frame(FrameKind::Batch, totals, &[records], kept_place);
            if stage.buffer.len() >= COPY_BYTES {
                flush(stage, into)?;
            }
        }
        Ok(())
    }
}

/// Position, version and time of a copied record are those it had.
fn kept_place(head: &[u8]) -> (u64, u64, u64) {
    let mut take = Take(head.get(8..).unwrap_or_default());
    let mut next = || take.u64().unwrap_or_default();
    (next(), next(), next())
}

fn flush(stage: &mut Stage, file: &Arc<dyn DiskFile>) -> Result<()> {
    file.write_at(&stage.buffer, stage.base).map_err(failed("write", "a fresh segment"))?;
    stage.base = stage.cursor.offset;
    stage.buffer.clear();
    Ok(())
}
