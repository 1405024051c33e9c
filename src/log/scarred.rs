//! Layer 4.3: a segment whose opening frame does not check, for readers that work around damage.
//!
//! Knows: what the frame behind it tells. Does not know: recovery; a writer refuses such a segment.

use super::files::failed;
use super::survey::{FIRST_FRAME, SegmentInfo, Survey};
use crate::disk::{Access, Disk};
use crate::format::{
    BatchPart, Expected, FRAME_HEADER_BYTES, FileName, FrameHeader, FrameKind, Head, Opening,
    Predecessor, RECORD_HEAD_BYTES, SegmentHeader, Source, name_of, segment_seed,
};
use crate::segment::{FileSource, Place};
use crate::types::{Damage, Result};

/// An opening frame has one record with a body of 40 bytes.
const SECOND_FRAME: u64 = FIRST_FRAME + (FRAME_HEADER_BYTES + RECORD_HEAD_BYTES + 40) as u64;

impl Survey {
    /// Puts segments in line whose opening frame does not check although the frame behind it does
    /// and names the lost one as durable. The loss stays reported.
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
            if let Some(info) = find_scarred(disk, &self.head, number)? {
                self.insert(info);
            }
        }
        Ok(())
    }

    fn insert(&mut self, mut info: SegmentInfo) {
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
        self.segments.insert(at, info);
        self.told(&name);
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

fn find_scarred(disk: &dyn Disk, head: &Head, number: u64) -> Result<Option<SegmentInfo>> {
    let name = name_of(FileName::Segment(number));
    let Ok(file) = disk.open(&name, Access::Read) else { return Ok(None) };
    let store = head.origin_of(number);
    let seed = segment_seed(store, number);
    let mut source = FileSource::sparing(file, u64::MAX);
    let bytes = source.bytes(SECOND_FRAME, FRAME_HEADER_BYTES).map_err(failed("read", &name))?;
    let second = FrameHeader::decode(bytes, seed, SECOND_FRAME)
        .filter(|second| second.number >= 2 && second.durable + 1 == second.number);
    let Some(second) = second else { return Ok(None) };
    let frame = second.number - 2;
    let opening = FrameHeader {
        number: second.number - 1,
        durable: frame,
        kind: FrameKind::Opening,
        part: BatchPart::default(),
        events: 0,
        batch_frames: 0,
        batch_events: 0,
        ..second
    };
    let expected = Expected {
        number: second.number,
        position: second.first_position,
        chain: second.chain,
        epoch_min: 0,
        epoch_max: u32::MAX,
    };
    let predecessor = Predecessor { number: number.saturating_sub(1), end: 0, frame, chain: 0 };
    Ok(Some(SegmentInfo {
        number,
        seed,
        header: SegmentHeader {
            store,
            number,
            id_scope: head.id_scope,
            capacity: 0,
            created_at: 0,
        },
        opening,
        opened: Opening { predecessor, last_recorded_at: 0 },
        start: Place { offset: SECOND_FRAME, expected, last_recorded_at: 0 },
        end: None,
    }))
}
