//! Layer 4.3: a segment whose opening frame does not check, for readers that work around damage.
//!
//! Knows: what the frames behind it tell. Does not know: recovery; a writer refuses such a segment.

use super::files::failed;
use super::survey::{AFTER_OPENING, FIRST_FRAME, LogEnd, SegmentInfo, Survey};
use crate::disk::{Access, Disk};
use crate::format::{
    BatchPart, Expected, FileName, FrameHeader, FrameKind, Head, Opening, Predecessor,
    SegmentHeader, chain_after, name_of, segment_seed,
};
use crate::segment::{FileSource, Place, certificates_after, later_header};
use crate::types::{Damage, Result};

impl Survey {
    /// Puts segments in line whose opening frame does not check although a frame behind it does
    /// and something names what is before that one as durable. The loss stays reported.
    pub(crate) fn read_behind_openings(&mut self, disk: &dyn Disk) -> Result<()> {
        let named = |damage: &Damage| match FileName::parse(&damage.file) {
            Some(FileName::Segment(number)) => Some(number),
            _ => None,
        };
        let mut numbers: Vec<u64> = self.damage.iter().filter_map(named).collect();
        numbers.extend(self.unopened.filter(|file| !file.blank).map(|file| file.number));
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| self.segments.iter().all(|segment| segment.number != *number));
        for number in numbers {
            if let Some(info) = find_scarred(disk, &self.head, number, self.certified())? {
                self.insert(disk, info)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, disk: &dyn Disk, mut info: SegmentInfo) -> Result<()> {
        let name = info.name();
        let at = self.segments.partition_point(|segment| segment.number < info.number);
        let next = self.segments.get(at);
        let next = next.filter(|next| next.opened.predecessor.number == info.number);
        info.end = next.map(SegmentInfo::predecessor_end);
        if let Some(next) = next.map(SegmentInfo::name) {
            // It does follow the one that is in line now.
            self.damage.retain(|damage| damage.file != next || damage.offset != FIRST_FRAME);
        }
        if self.unopened.is_some_and(|file| file.number == info.number) {
            self.unopened = None;
        }
        let before = at.checked_sub(1).and_then(|at| self.segments.get_mut(at));
        if let Some(before) = before
            && before.number + 1 == info.number
            && info.start.offset == AFTER_OPENING
        {
            before.end = find_end(disk, before, &info)?;
        }
        self.segments.insert(at, info);
        self.told(&name);
        Ok(())
    }

    fn told(&mut self, file: &str) {
        if self.damage.iter().any(|damage| damage.file == file) {
            return;
        }
        self.damage.push(Damage {
            file: file.into(),
            offset: FIRST_FRAME,
            first_position: None,
            last_position: None,
            what: "the opening frame does not check".into(),
        });
    }
}

/// The segment from its first frame on that checks, if what is before that frame was durable:
/// otherwise its beginning is torn, not damaged.
fn find_scarred(
    disk: &dyn Disk,
    head: &Head,
    number: u64,
    certified: u64,
) -> Result<Option<SegmentInfo>> {
    let name = name_of(FileName::Segment(number));
    let Ok(file) = disk.open(&name, Access::Read) else { return Ok(None) };
    let end = file.size().map_err(failed("read", &name))?;
    let store = head.origin_of(number);
    let seed = segment_seed(store, number);
    let mut source = FileSource::new(file, u64::MAX);
    let opening = Expected { number: 1, position: 1, chain: 0, epoch_min: 0, epoch_max: u32::MAX };
    let range = FIRST_FRAME + 8..end;
    let found = later_header(&mut source, range, seed, &opening).map_err(failed("read", &name))?;
    let Some((offset, first)) = found else { return Ok(None) };
    let (claim, _) = certificates_after(&mut source, offset..end, seed, &opening)
        .map_err(failed("read", &name))?;
    if certified.max(claim) < first.number - 1 {
        return Ok(None);
    }
    Ok(Some(scarred(SegmentHeader::lost(store, number, head.id_scope), seed, offset, &first)))
}

/// What stands for the lost opening frame before `first`.
fn scarred(header: SegmentHeader, seed: u32, offset: u64, first: &FrameHeader) -> SegmentInfo {
    let frame = first.number - 2;
    let opening = FrameHeader {
        number: first.number - 1,
        durable: frame,
        kind: FrameKind::Opening,
        part: BatchPart::default(),
        events: 0,
        batch_frames: 0,
        batch_events: 0,
        ..*first
    };
    let expected = Expected {
        number: first.number,
        position: first.first_position,
        chain: first.chain,
        epoch_min: 0,
        epoch_max: u32::MAX,
    };
    let number = header.number.saturating_sub(1);
    let predecessor = Predecessor { number, end: 0, frame, chain: 0 };
    SegmentInfo {
        number: header.number,
        seed,
        header,
        opening,
        opened: Opening { predecessor, last_recorded_at: 0 },
        start: Place { offset, expected, last_recorded_at: 0 },
        settled: None,
        end: None,
    }
}

/// The end of the segment before one whose opening frame is lost: after the frame before that one.
fn find_end(disk: &dyn Disk, before: &SegmentInfo, next: &SegmentInfo) -> Result<Option<LogEnd>> {
    let (frame, next_position) = (next.opened.predecessor.frame, next.first_position());
    let name = before.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let size = file.size().map_err(failed("read", &name))?;
    let mut source = FileSource::new(file, u64::MAX);
    let expected = Expected { number: frame.saturating_sub(1), ..before.start.expected };
    let expected = Expected { epoch_max: u32::MAX, ..expected };
    let found = later_header(&mut source, FIRST_FRAME..size, before.seed, &expected)
        .map_err(failed("read", &name))?;
    let is_last = |header: &FrameHeader| {
        let after = header.first_position.saturating_add(header.events.into());
        header.number == frame && after == next_position
    };
    Ok(found.filter(|(_, header)| is_last(header)).map(|(offset, header)| LogEnd {
        offset: offset + u64::from(header.length),
        frame,
        chain: chain_after(&header),
        next_position,
    }))
}
