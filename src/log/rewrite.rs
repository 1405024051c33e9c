//! Layer 4.4: a sealed segment again, with stubs in the place of events whose data is reclaimed.
//!
//! Knows: what of a frame stays as it was, and the order of steps that may each crash and be
//! repeated. Does not know: which events are reclaimed, or indexes. The old file is never touched:
//! the new one is whole, synced and read back before it takes the name.

use super::files::{create_temporary, failed};
use super::survey::{FIRST_FRAME, LogEnd, SegmentInfo};
use super::tail::CommitFailure;
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    FRAME_HEADER_BYTES, FileName, Frame, FrameHeader, FrameKind, Purpose, REWRITE_NOT_KNOWN,
    SegmentHeader, Source, Step, decode_event, name_of, patch_header, push_stub,
};
use crate::segment::FileSource;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, HiddenReason, Result};

/// Frames are written in pieces of about this size.
const PIECE_BYTES: usize = 4 << 20;

/// What a rewrite came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// How often the segment was rewritten by now.
    pub rewrite: u32,
    /// Where the log in it ended before, and where it ends now.
    pub before: u64,
    pub after: u64,
}

/// Makes a sealed segment anew without the data of the events that `verdicts` gives a reason for,
/// by their place in the segment. The caller sees to it that nobody else rewrites it, and that
/// nobody writes it any more.
///
/// # Errors
/// `Refused`: the segment is as it was. `Fatal`: whether the old or the new file has the name after
/// a power cut is not known; either is whole.
pub(crate) fn rewrite_segment(
    disk: &dyn Disk,
    info: &SegmentInfo,
    end: LogEnd,
    verdicts: &[Option<HiddenReason>],
) -> Result<Rewritten, CommitFailure> {
    let temporary = name_of(FileName::Temporary(Purpose::Rewrite));
    let made = make(disk, &temporary, info, end, verdicts).and_then(|done| {
        disk.rename(&temporary, &info.name()).map_err(failed("rename a file to", &info.name()))?;
        Ok(done)
    });
    let done = made.map_err(|error| {
        // If it cannot be removed, the next opening does it.
        let _ = disk.remove(&temporary);
        CommitFailure::Refused(error)
    })?;
    let synced = disk.sync_dir();
    synced.map_err(failed("sync the directory of", &info.name())).map_err(CommitFailure::Fatal)?;
    Ok(done)
}

/// The new file under its temporary name, whole and synced.
fn make(
    disk: &dyn Disk,
    temporary: &str,
    info: &SegmentInfo,
    end: LogEnd,
    verdicts: &[Option<HiddenReason>],
) -> Result<Rewritten> {
    let name = info.name();
    let rewrite = info.header.rewrite.checked_add(1).filter(|next| *next < REWRITE_NOT_KNOWN);
    let Some(rewrite) = rewrite else {
        let what = "the segment cannot be rewritten once more";
        return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, 0));
    };
    let old = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let mut source = FileSource::new(old, end.offset);
    let mut copy = Copy {
        into: create_temporary(disk, temporary)?,
        seed: info.seed,
        first_position: info.first_position(),
        verdicts,
        base: 0,
        buffer: SegmentHeader { rewrite, ..info.header }.encode(),
    };
    let opening = usize::try_from(info.start.offset - FIRST_FRAME).unwrap_or(0);
    let opening = source.bytes(FIRST_FRAME, opening).map_err(failed("read", &name))?;
    copy.buffer.extend_from_slice(opening);
    let before = each_frame(&mut source, info, end, |frame| {
        copy.frame(frame)?;
        copy.flush(PIECE_BYTES)
    })?;
    copy.flush(1)?;
    let (after, file) = (copy.base, copy.into);
    // Readers map a sealed segment up to the end that its successor names; the rest is a hole.
    file.set_size(end.offset).map_err(failed("extend", temporary))?;
    if !planted!(RewrittenUnsynced) {
        file.sync().map_err(failed("sync", temporary))?;
    }
    let mut again = FileSource::new(file, after);
    let read_back = each_frame(&mut again, info, end, |_| Ok(()))?;
    if read_back != after {
        return Err(Error::damaged(temporary, read_back, "a rewritten segment reads back shorter"));
    }
    Ok(Rewritten { rewrite, before, after })
}

/// Visits the frames behind the opening frame, up to the end that the successor names. Answers the
/// offset behind the last.
///
/// # Errors
/// `Damaged` where a frame does not check, or when they do not lead to that end: nothing is
/// rewritten around damage.
fn each_frame(
    source: &mut dyn Source,
    info: &SegmentInfo,
    end: LogEnd,
    mut visit: impl FnMut(&Frame<'_>) -> Result<()>,
) -> Result<u64> {
    let name = info.name();
    let mut walker = info.walker();
    while walker.expected.number <= end.frame {
        let offset = walker.offset;
        match walker.step(source).map_err(failed("read", &name))? {
            Step::Frame(frame) => visit(&frame)?,
            Step::Bad(bad) => {
                let number = walker.expected.number;
                let what = format!("frame {number}: {}", bad.in_words());
                return Err(Error::damaged(name, offset, what));
            }
            Step::Unsupported => {
                let what = "segment contains a frame of a newer format";
                return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, offset));
            }
        }
    }
    if (walker.expected.number, walker.expected.chain) != (end.frame + 1, end.chain) {
        let what = "segment does not end as its successor says";
        return Err(Error::damaged(name, walker.offset, what));
    }
    Ok(walker.offset)
}

/// Frames on their way into the new file.
struct Copy<'a> {
    into: Arc<dyn DiskFile>,
    seed: u32,
    first_position: u64,
    verdicts: &'a [Option<HiddenReason>],
    /// Where in the file the buffer begins.
    base: u64,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    /// Lays the frame out behind the last one: shorter, elsewhere, and the same in the chain.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        let (start, offset) = (self.buffer.len(), self.base + self.buffer.len() as u64);
        self.buffer.resize(start + FRAME_HEADER_BYTES, 0);
        if frame.header.kind != FrameKind::FILLER {
            self.records(frame)?;
        }
        let length = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
        let header = FrameHeader { length, ..frame.header };
        let bytes = self.buffer.get_mut(start..).unwrap_or_default();
        patch_header(bytes, &header, self.seed, offset);
        Ok(())
    }

    fn records(&mut self, frame: &Frame<'_>) -> Result<()> {
        for (offset, record) in frame.records() {
            let why = record.head.kind.is_event().then(|| self.verdict(record.head.position));
            if let Some(why) = why.flatten()
                && let Some(event) = decode_event(&record)
                && event.reclaimed().is_none()
            {
                push_stub(&mut self.buffer, (&record, &event), why, self.seed);
                continue;
            }
            let at = usize::try_from(offset - frame.offset).unwrap_or(usize::MAX);
            let bytes =
                frame.bytes.get(at..).and_then(|rest| rest.get(..record.head.record_bytes()));
            self.buffer.extend_from_slice(bytes.unwrap_or_default());
        }
        Ok(())
    }

    fn verdict(&self, position: u64) -> Option<HiddenReason> {
        let ordinal = usize::try_from(position.checked_sub(self.first_position)?).ok()?;
        self.verdicts.get(ordinal).copied().flatten()
    }

    /// Writes what has gathered, if that is so much.
    fn flush(&mut self, least: usize) -> Result<()> {
        if self.buffer.len() < least {
            return Ok(());
        }
        let name = name_of(FileName::Temporary(Purpose::Rewrite));
        self.into.write_at(&self.buffer, self.base).map_err(failed("write", &name))?;
        self.base += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
