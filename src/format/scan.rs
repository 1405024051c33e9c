//! Layer 1.4: the one frame walker: bytes to checked frames, used by recovery, reads and fuzzing.
//!
//! Knows: when a frame is whole and the one expected. Does not know: files, or what a bad frame
//! means (`segment/verdict.rs` judges that).

use std::io;

use super::control::positions_of;
use super::frame::{
    BatchPart, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, FrameKind, chain_after, records_crc,
};
use super::record::{Record, RecordKind};
use super::segment::SEGMENT_HEADER_BYTES;
use super::stub::head_in_frame;

/// Bytes of one segment, by offset. Answers fewer bytes than asked for only at the end.
pub(crate) trait Source {
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]>;
}

impl Source for &[u8] {
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let end = start.saturating_add(length).min(self.len());
        Ok(self.get(start..end).unwrap_or_default())
    }
}

/// What the next frame must say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub number: u64,
    pub position: u64,
    pub chain: u32,
    pub epoch_min: u32,
    pub epoch_max: u32,
}

/// Why the bytes at a place are not the frame expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Zeros, or the end of the file.
    Blank,
    /// The header does not check.
    Header,
    /// The frame reaches past the end of the file.
    Cut,
    /// It checks, but is not the one that belongs here.
    Misplaced,
    /// A record does not check, or the counts are wrong.
    Record,
    /// It does not continue, or wrongly continues, a batch.
    Batch,
}

impl Bad {
    /// What is wrong, for people.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Blank => "it is missing",
            Self::Header => "its header does not check",
            Self::Cut => "it reaches past the end of the file",
            Self::Misplaced => "another frame stands in its place",
            Self::Record => "a record in it does not check",
            Self::Batch => "it does not fit into its batch",
        }
    }
}

/// A frame all of whose checksums hold and which is the one expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub offset: u64,
    pub header: FrameHeader,
    pub bytes: &'a [u8],
    /// How many of its positions an earlier salvage could not save.
    pub lost: u32,
    seed: u32,
}

impl<'a> Frame<'a> {
    /// The offset after this frame.
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.header.length)
    }

    /// Its records with their offsets in the file.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, Record<'a>)> + use<'a> {
        let (bytes, seed, base) = (self.bytes, self.seed, self.offset);
        let mut at = FRAME_HEADER_BYTES;
        std::iter::from_fn(move || {
            let record = Record::decode(bytes.get(at..)?, seed)?;
            let offset = base + at as u64;
            at += record.head.record_bytes();
            Some((offset, record))
        })
    }
}

/// What stands at the walker's place.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Frame(Frame<'a>),
    Bad(Bad),
    /// It checks and belongs here, but needs a newer build.
    Unsupported,
}

/// An unfinished batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenBatch {
    /// Where its first frame begins.
    pub offset: u64,
    /// What was expected there.
    pub before: Expected,
    frames: u32,
    events: u32,
}

/// Walks the frames of one segment in order.
#[derive(Debug, Clone)]
pub(crate) struct Walker {
    seed: u32,
    pub offset: u64,
    pub expected: Expected,
    /// The batch whose last frame has not come yet.
    pub open: Option<OpenBatch>,
    /// Set after a jump over damage: the first frames may be the rest of a batch, whose sums nobody
    /// can check.
    lenient: bool,
    /// The last frame was a seal: nothing may follow in this segment.
    sealed: bool,
}

impl Walker {
    pub(crate) fn new(seed: u32, offset: u64, expected: Expected) -> Self {
        Self { seed, offset, expected, open: None, lenient: false, sealed: false }
    }

    /// Goes on at a frame beyond damage, taking its header's word for what is expected.
    pub(crate) fn jump(&mut self, offset: u64, header: &FrameHeader) {
        self.offset = offset;
        self.expected.number = header.number;
        self.expected.position = header.first_position;
        self.expected.chain = header.chain;
        self.expected.epoch_min = header.epoch;
        self.open = None;
        self.lenient = true;
        self.sealed = false;
    }

    /// The frame at the walker's place; moves past it if it is good.
    pub(crate) fn step<'s>(&mut self, source: &'s mut dyn Source) -> io::Result<Step<'s>> {
        let head = source.bytes(self.offset, FRAME_HEADER_BYTES)?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(Step::Bad(Bad::Blank));
        }
        let Some(header) = FrameHeader::decode(head, self.seed, self.offset) else {
            return Ok(Step::Bad(Bad::Header));
        };
        if !self.belongs(&header) {
            return Ok(Step::Bad(Bad::Misplaced));
        }
        if !header.understood() {
            return Ok(Step::Unsupported);
        }
        let length = header.length as usize;
        let bytes = source.bytes(self.offset, length)?;
        if bytes.len() < length {
            return Ok(Step::Bad(Bad::Cut));
        }
        let (chain, lost) = match check_records(&header, bytes, self.seed) {
            Records::Good { chain, lost } => (chain, lost),
            Records::Bad => return Ok(Step::Bad(Bad::Record)),
            Records::Unsupported => return Ok(Step::Unsupported),
        };
        if !self.continues_batch(&header) {
            return Ok(Step::Bad(Bad::Batch));
        }
        let frame = Frame { offset: self.offset, header, bytes, lost, seed: self.seed };
        self.offset = frame.end();
        self.sealed = header.kind == FrameKind::Seal;
        self.expected = Expected {
            number: header.number + 1,
            position: header.first_position + u64::from(header.events),
            chain,
            epoch_min: header.epoch,
            epoch_max: self.expected.epoch_max,
        };
        Ok(Step::Frame(frame))
    }

    fn belongs(&self, header: &FrameHeader) -> bool {
        let expected = &self.expected;
        let opens = header.kind == FrameKind::Opening;
        !self.sealed
            && opens == (self.offset == SEGMENT_HEADER_BYTES as u64)
            && header.number == expected.number
            && header.first_position == expected.position
            && (header.chain == expected.chain || planted!(ChainNotChecked))
            && (expected.epoch_min..=expected.epoch_max).contains(&header.epoch)
            && header.durable < header.number
            && header.number < u64::MAX / 2
            && header.first_position < u64::MAX / 2
    }

    /// Keeps track of batches; answers whether the frame fits. An unfinished batch stays open when
    /// it does not: recovery cuts where the batch began.
    fn continues_batch(&mut self, header: &FrameHeader) -> bool {
        if header.kind != FrameKind::Batch {
            let plain = header.part == BatchPart::default() && header.events == 0;
            let counted = header.batch_frames != 0 || header.batch_events != 0;
            let fits = self.open.is_none() && plain && !counted;
            self.lenient = self.lenient && !fits;
            return fits;
        }
        let rest = self.lenient && !header.part.first;
        if header.part.first == self.open.is_some() && !(rest && self.open.is_none()) {
            return false;
        }
        let (offset, before) = (self.offset, self.expected);
        let fresh = OpenBatch { offset, before, frames: 0, events: 0 };
        let mut batch = self.open.unwrap_or(fresh);
        batch.frames += 1;
        batch.events = batch.events.saturating_add(header.events);
        let (frames, events) = match header.part.last {
            true => (batch.frames, batch.events),
            false => (0, 0),
        };
        let unknown = rest && header.part.last;
        if (frames, events) != (header.batch_frames, header.batch_events) && !unknown {
            return false;
        }
        self.open = (!header.part.last).then_some(batch);
        self.lenient = rest && !header.part.last;
        true
    }
}

enum Records {
    Good { chain: u32, lost: u32 },
    Bad,
    Unsupported,
}

/// Checks that the records fill the frame exactly, and answers the chain value after it.
fn check_records(header: &FrameHeader, frame: &[u8], seed: u32) -> Records {
    let mut heads = 0;
    let mut rest = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
    let (mut events, mut lost): (u32, u32) = (0, 0);
    while !rest.is_empty() {
        let Some(record) = Record::decode(rest, seed) else { return Records::Bad };
        if matches!(record.head.kind, RecordKind::Unknown(_)) || record.head.flags != 0 {
            return Records::Unsupported;
        }
        let Some(positions) = positions_of(&record) else { return Records::Bad };
        if positions > 0 {
            if record.head.position != header.first_position + u64::from(events) {
                return Records::Bad;
            }
            events = events.saturating_add(positions);
            if record.head.kind == RecordKind::Lost {
                lost = lost.saturating_add(positions);
            }
        }
        let Some(head) = head_in_frame(&record) else { return Records::Bad };
        heads = records_crc(heads, head);
        rest = rest.get(record.head.record_bytes()..).unwrap_or_default();
    }
    // A rewrite empties fillers and keeps what they were in the chain.
    let emptied = header.kind == FrameKind::FILLER && header.length as usize == FRAME_HEADER_BYTES;
    if (heads != header.records_crc && !emptied) || events != header.events {
        return Records::Bad;
    }
    Records::Good { chain: chain_after(header), lost }
}

/// The next place at or after `from` (a multiple of 8), before `end`, where a header checks.
pub(crate) fn find_header(
    source: &mut dyn Source,
    range: std::ops::Range<u64>,
    seed: u32,
) -> io::Result<Option<(u64, FrameHeader)>> {
    const WINDOW: usize = 1 << 16;
    let mut at = range.start.next_multiple_of(8);
    while at < range.end {
        let window = source.bytes(at, WINDOW + FRAME_HEADER_BYTES)?;
        if window.len() < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let places = (window.len() - FRAME_HEADER_BYTES + 1).min(WINDOW);
        for place in (0..places).step_by(8) {
            let bytes = window.get(place..).unwrap_or_default();
            if !bytes.starts_with(&FRAME_MAGIC.to_le_bytes()) {
                continue;
            }
            let offset = at + place as u64;
            if let Some(header) = FrameHeader::decode(bytes, seed, offset) {
                return Ok((offset < range.end).then_some((offset, header)));
            }
        }
        at += places.next_multiple_of(8) as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
