//! Layer 3.1: walk the tail segment from its opening frame and say where and why it ends.
//!
//! Knows: frames, batches and certificates of one segment. Does not know: other files, or what to
//! do.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use crate::format::{
    Bad, Expected, Frame, FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, Source, Step, Walker,
    find_header,
};

/// A place between two frames, with what the next frame must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub offset: u64,
    pub expected: Expected,
    /// `recorded_at` of the last event before it.
    pub last_recorded_at: u64,
}

/// Why a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkEnd {
    Bad(Bad),
    Unsupported,
}

/// What a walk of the tail saw.
#[derive(Debug)]
pub(crate) struct TailWalk {
    /// After the last frame that ends a batch (or stands alone).
    pub good: Place,
    /// After the last such frame at or below W, so far as the walk itself shows W.
    pub certified: u64,
    /// Places after whole batches above W, oldest first: where the certified part may end.
    boundaries: VecDeque<Place>,
    /// Where the walk stopped, and why.
    pub stop: u64,
    pub stop_number: u64,
    pub end: WalkEnd,
    /// The first frame of an unfinished batch.
    pub open_batch: Option<u64>,
    /// The kind of the last good frame that is not skipped.
    pub last_kind: FrameKind,
    pub frames: u64,
    /// Positions in whole batches that an earlier salvage could not save.
    pub lost: u64,
}

impl TailWalk {
    /// The place after the last frame that is certified, once W is known; the start of the walk
    /// when none is.
    pub(crate) fn certified_end(&self, certified: u64) -> Place {
        let within =
            self.boundaries.iter().rev().find(|place| place.expected.number <= certified + 1);
        within.or(self.boundaries.front()).copied().unwrap_or(self.good)
    }
}

/// Walks from the opening frame, which has been checked by the caller to be a good one.
pub(crate) fn walk_tail(source: &mut dyn Source, seed: u32, start: Place) -> io::Result<TailWalk> {
    let mut walker = Walker::new(seed, start.offset, start.expected);
    let mut walk = TailWalk {
        good: start,
        certified: 0,
        boundaries: VecDeque::from([start]),
        stop: start.offset,
        stop_number: start.expected.number,
        end: WalkEnd::Bad(Bad::Blank),
        open_batch: None,
        last_kind: FrameKind::Opening,
        frames: 0,
        lost: 0,
    };
    let (mut latest, mut lost) = (start.last_recorded_at, 0);
    loop {
        let (kind, durable) = match walker.step(source)? {
            Step::Frame(frame) => {
                latest = last_time(&frame).unwrap_or(latest);
                lost += u64::from(frame.lost);
                (frame.header.kind, frame.header.durable)
            }
            Step::Bad(bad) => {
                walk.end = WalkEnd::Bad(bad);
                break;
            }
            Step::Unsupported => {
                walk.end = WalkEnd::Unsupported;
                break;
            }
        };
        walk.frames += 1;
        walk.certified = walk.certified.max(durable);
        if walker.open.is_none() || planted!(HalfBatchKept) {
            if !matches!(kind, FrameKind::Skipped(_)) {
                walk.last_kind = kind;
            }
            let offset = walker.offset;
            walk.lost = lost;
            walk.good = Place { offset, expected: walker.expected, last_recorded_at: latest };
            walk.boundaries.push_back(walk.good);
            while walk.boundaries.get(1).is_some_and(|p| p.expected.number <= walk.certified + 1) {
                walk.boundaries.pop_front();
            }
            if kind == FrameKind::Seal {
                // What follows a seal is in the next segment.
                break;
            }
        }
    }
    walk.stop = walker.offset;
    walk.stop_number = walker.expected.number;
    walk.open_batch = walker.open.map(|batch| batch.before.number);
    Ok(walk)
}

/// When the last event in the frame was recorded.
pub(crate) fn last_time(frame: &Frame<'_>) -> Option<u64> {
    (frame.header.events > 0).then(|| frame.records().last().map(|(_, r)| r.head.recorded_at))?
}

/// After a bad frame: the claims of every later header that checks and could be of this log.
/// Answers the highest durable frame claimed and how many such headers there are.
pub(crate) fn certificates_after(
    source: &mut dyn Source,
    range: Range<u64>,
    seed: u32,
    expected: &Expected,
) -> io::Result<(u64, u64)> {
    let (mut certified, mut found, mut at) = (0, 0, range.start);
    while let Some((offset, header)) = later_header(source, at..range.end, seed, expected)? {
        if !planted!(LaterClaimsIgnored) {
            certified = certified.max(header.durable);
        }
        found += 1;
        at = offset + 8;
    }
    Ok((certified, found))
}

/// The offset after the last frame in `range` that a later one in `range` names as durable; the
/// beginning of the range when none is. What follows may be dead: torn, or copied elsewhere.
pub(crate) fn certified_extent(
    source: &mut dyn Source,
    range: Range<u64>,
    seed: u32,
) -> io::Result<u64> {
    let (mut certified, mut extent) = (0, range.start);
    for pass in 0..2 {
        let mut at = range.start;
        while let Some((offset, header)) = find_header(source, at..range.end, seed)? {
            if pass == 0 && header.durable < header.number {
                certified = certified.max(header.durable);
            }
            if pass == 1 && header.number <= certified {
                extent = extent.max(offset.saturating_add(header.length.into()));
            }
            at = offset + 8;
        }
    }
    Ok(extent.min(range.end))
}

/// The next header that checks and could be of this log, after the frame `expected`.
pub(crate) fn later_header(
    source: &mut dyn Source,
    range: Range<u64>,
    seed: u32,
    expected: &Expected,
) -> io::Result<Option<(u64, FrameHeader)>> {
    let mut at = range.start;
    while let Some((offset, header)) = find_header(source, at..range.end, seed)? {
        let could_be = header.number > expected.number
            && header.epoch <= expected.epoch_max
            && header.durable < header.number;
        if could_be {
            return Ok(Some((offset, header)));
        }
        at = offset + 8;
    }
    Ok(None)
}

/// The offset after the last byte at or beyond `from` that is not zero; `from` when all are.
pub(crate) fn last_used_byte(source: &mut dyn Source, from: u64) -> io::Result<u64> {
    const STEP: usize = 64 << 10;
    let (mut at, mut last) = (from, from);
    loop {
        let bytes = source.bytes(at, STEP)?;
        if bytes.is_empty() {
            return Ok(last);
        }
        if let Some(place) = bytes.iter().rposition(|byte| *byte != 0) {
            last = at + place as u64 + 1;
        }
        at += bytes.len() as u64;
    }
}

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(8));
