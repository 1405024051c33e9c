//! Layer 4.0: frames being built in memory, before anything is written.
//!
//! Knows: numbering, splitting a batch into frames, the chain. Does not know: files. What it builds
//! is either written whole or forgotten.

use crate::format::{
    BatchPart, Expected, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Opening, RECORD_HEAD_BYTES,
    Record, RecordKind, Seal, chain_after, decode_event, head_in_frame, patch_header, patch_record,
    positions_of, push_record, records_crc,
};
use crate::segment::Place;
use crate::types::EventRef;

/// A batch is split into frames of about this size, so that a reader of one frame needs little
/// memory.
const FRAME_BYTES: usize = 1 << 20;

/// A commit block under `Options::align_commit`.
pub(crate) const COMMIT_BLOCK: u64 = 4096;

/// Where the next frame goes and what it must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub offset: u64,
    pub number: u64,
    pub position: u64,
    pub chain: u32,
}

impl Cursor {
    /// The same place, for a walk to begin at.
    pub(crate) fn place(&self) -> Place {
        let (number, position, chain) = (self.number, self.position, self.chain);
        let expected = Expected { number, position, chain, epoch_min: 0, epoch_max: u32::MAX };
        Place { offset: self.offset, expected, last_recorded_at: 0 }
    }
}

/// The encoded events of a batch, its decided versions, and its control record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchBytes<'a> {
    /// Event records, laid out but not placed.
    pub records: &'a [u8],
    /// Where each begins.
    pub starts: &'a [usize],
    /// The version of each.
    pub versions: &'a [u64],
    /// A checkpoint record, laid out but not placed; may be empty.
    pub control: &'a [u8],
    pub recorded_at: u64,
}

/// Frames to be written at `base` in one piece.
#[derive(Debug)]
pub(crate) struct Stage {
    seed: u32,
    epoch: u32,
    pub durable: u64,
    pub cursor: Cursor,
    pub base: u64,
    pub buffer: Vec<u8>,
}

/// The most bytes that framing adds to a batch with `bytes` of records.
pub(crate) fn frame_overhead(bytes: u64) -> u64 {
    (bytes / (FRAME_BYTES as u64 / 2) + 2) * FRAME_HEADER_BYTES as u64
}

impl Stage {
    pub(crate) fn new(seed: u32, epoch: u32, durable: u64, cursor: Cursor) -> Self {
        Self { seed, epoch, durable, cursor, base: cursor.offset, buffer: Vec::new() }
    }

    /// Forgets what was built and begins again at `cursor`.
    pub(crate) fn restart(&mut self, seed: u32, durable: u64, cursor: Cursor) {
        self.seed = seed;
        self.durable = durable;
        self.cursor = cursor;
        self.base = cursor.offset;
        self.buffer.clear();
    }

    /// Lays one frame around `records`; `place` says position, version and time of each from the
    /// first bytes of its head.
    pub(crate) fn frame(
        &mut self,
        kind: FrameKind,
        (part, batch_frames, batch_events): (BatchPart, u32, u32),
        records: &[&[u8]],
        mut place: impl FnMut(&[u8]) -> (u64, u64, u64),
    ) {
        let start = self.buffer.len();
        self.buffer.resize(start + FRAME_HEADER_BYTES, 0);
        for bytes in records {
            self.buffer.extend_from_slice(bytes);
        }
        let mut sum = 0;
        let mut events: u32 = 0;
        let mut at = start + FRAME_HEADER_BYTES;
        while let Some(record) = self.buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let kind = record.first().map(|code| RecordKind::of(*code));
            events += match kind {
                Some(RecordKind::Lost) => {
                    Record::laid_out(record).and_then(|lost| positions_of(&lost)).unwrap_or(0)
                }
                kind => u32::from(kind.is_some_and(RecordKind::is_event)),
            };
            let placed = place(record.get(..RECORD_HEAD_BYTES).unwrap_or_default());
            let (head, size) = patch_record(record, self.seed, placed);
            let stub = Record::laid_out(record).filter(|_| kind == Some(RecordKind::Stub));
            let stands_for = stub.and_then(|stub| head_in_frame(&stub));
            sum = records_crc(sum, stands_for.unwrap_or(head));
            at += size;
        }
        let header = FrameHeader {
            length: u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX),
            number: self.cursor.number,
            first_position: self.cursor.position,
            durable: self.durable,
            epoch: self.epoch,
            chain: self.cursor.chain,
            kind,
            part,
            flags: 0,
            records_crc: sum,
            events,
            batch_frames,
            batch_events,
        };
        let offset = self.cursor.offset;
        if let Some(frame) = self.buffer.get_mut(start..) {
            patch_header(frame, &header, self.seed, offset);
        }
        self.cursor = Cursor {
            offset: offset + u64::from(header.length),
            number: header.number + 1,
            position: header.first_position + u64::from(events),
            chain: chain_after(&header),
        };
    }

    /// A frame with at most one control record.
    pub(crate) fn control(&mut self, kind: FrameKind, record: &[u8], recorded_at: u64) {
        let position = self.cursor.position;
        let alone = (BatchPart::default(), 0, 0);
        self.frame(kind, alone, &[record], |_| (position, 0, recorded_at));
    }

    pub(crate) fn opening(&mut self, opening: &Opening) {
        let mut record = Vec::new();
        opening.push(&mut record);
        self.control(FrameKind::Opening, &record, opening.last_recorded_at);
    }

    pub(crate) fn seal(&mut self, seal: Seal) {
        let mut record = Vec::new();
        seal.push(&mut record);
        self.control(FrameKind::Seal, &record, seal.last_recorded_at);
    }

    /// Fills up to `room` bytes before a multiple of `block`, so that the next group shares no
    /// block with this.
    pub(crate) fn fill_block(&mut self, block: u64, room: u64) {
        let least = (FRAME_HEADER_BYTES + RECORD_HEAD_BYTES) as u64;
        let end = self.cursor.offset + room;
        let mut gap = end.next_multiple_of(block) - end;
        if gap == 0 {
            return;
        }
        while gap < least {
            gap += block;
        }
        let body = usize::try_from(gap - least).unwrap_or(0);
        let mut record = Vec::new();
        push_record(&mut record, RecordKind::FILLER, |out| out.resize(out.len() + body, 0));
        self.control(FrameKind::FILLER, &record, 0);
    }

    /// Lays a batch into one frame or several. Tells `placed` the file offset of each event's
    /// record.
    pub(crate) fn batch(&mut self, batch: &BatchBytes<'_>, placed: &mut Vec<u32>) {
        let cuts = split(batch).count();
        let frames = u32::try_from(cuts).unwrap_or(u32::MAX);
        let count = u32::try_from(batch.starts.len()).unwrap_or(u32::MAX);
        let mut versions = batch.versions.iter();
        let mut position = self.cursor.position;
        let number = self.cursor.number;
        for (at, range) in split(batch).enumerate() {
            let (first, last) = (at == 0, at + 1 == cuts);
            let totals = if last { (frames, count) } else { (0, 0) };
            let bytes = batch.records.get(range.clone()).unwrap_or_default();
            let control = if last { batch.control } else { &[] };
            let part = (BatchPart { first, last }, totals.0, totals.1);
            let shift = self.cursor.offset + FRAME_HEADER_BYTES as u64;
            let starts = batch.starts;
            let from = starts.partition_point(|start| *start < range.start);
            let to = starts.partition_point(|start| *start < range.end);
            let within = starts.get(from..to).unwrap_or_default();
            placed.extend(within.iter().map(|start| {
                u32::try_from(shift + (start - range.start) as u64).unwrap_or(u32::MAX)
            }));
            self.frame(FrameKind::Batch, part, &[bytes, control], |head| {
                if head.first() != Some(&RecordKind::Event.code()) {
                    return (position, number, batch.recorded_at);
                }
                let version = versions.next().copied().unwrap_or_default();
                let place = (position, version, batch.recorded_at);
                position += 1;
                place
            });
        }
    }

    /// A staged event, by its offset in the file.
    pub(crate) fn event(&self, offset: u32) -> Option<EventRef<'_>> {
        let at = usize::try_from(u64::from(offset).checked_sub(self.base)?).ok()?;
        decode_event(&Record::laid_out(self.buffer.get(at..)?)?)
    }
}

/// The byte ranges of `records` that go into one frame each.
fn split<'a>(batch: &BatchBytes<'a>) -> impl Iterator<Item = std::ops::Range<usize>> + use<'a> {
    let mut starts = batch.starts.iter().copied().skip(1);
    let (mut from, end) = (Some(0), batch.records.len());
    std::iter::from_fn(move || {
        let begin = from?;
        from = starts.find(|start| start - begin >= FRAME_BYTES);
        Some(begin..from.unwrap_or(end))
    })
}

#[cfg(test)]
mod tests;
