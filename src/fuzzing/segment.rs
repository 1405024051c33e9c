//! Layer 7.6: frames and records out of any bytes, and the verdict about their end.
//!
//! Knows: what must hold for every input. Does not know: which inputs there are.

use std::io;

use super::input::Input;
use super::repair::{Depth, frames};
use crate::format::{
    Expected, Frame, FrameKind, Source, Step, Walker, crc_from, decode_event, find_header,
    head_in_frame, segment_seed,
};
use crate::segment::{
    EndFacts, EndVerdict, Place, TailWalk, WalkEnd, certificates_after, judge_end, last_used_byte,
    walk_tail,
};
use uuid::Uuid;

/// Where the first frame of a segment stands.
pub(super) const BASE: u64 = 4096;
/// Seeds of the corpus are of this store.
pub(super) const STORE: Uuid = Uuid::from_u128(1);
const BYTES_MAX: usize = 1 << 16;

/// Bytes that stand at [`BASE`].
struct Behind<'a>(&'a [u8]);

impl Source for Behind<'_> {
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let at = offset.checked_sub(BASE).unwrap_or(u64::MAX);
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(length).min(self.0.len());
        Ok(self.0.get(start..end).unwrap_or_default())
    }
}

/// What is compared of a good frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    offset: u64,
    end: u64,
    number: u64,
    events: u64,
    ends_batch: bool,
}

fn from(number: u64, position: u64, chain: u32) -> Expected {
    Expected { number, position, chain, epoch_min: 0, epoch_max: u32::MAX }
}

/// Any bytes as frames: from every header that checks, the walk serves only what checks.
pub fn scan(bytes: &[u8]) {
    let mut source = Behind(bytes);
    let end = BASE + bytes.len() as u64;
    let seed = segment_seed(STORE, 1);
    let mut at = BASE;
    while let Ok(Some((offset, header))) = find_header(&mut source, at..end, seed) {
        assert!(offset >= at && offset.is_multiple_of(8), "a header found where none was sought");
        let mut walker = Walker::new(seed, offset, from(0, 0, 0));
        walker.jump(offset, &header);
        while let Ok(Step::Frame(frame)) = walker.step(&mut source) {
            check_frame(&frame, bytes);
        }
        at = offset + 8;
    }
}

/// The frames of a segment, changed and then with some or all of their checksums made true: the
/// walk, the search and the verdict about the end. Input: which checksums (5 bits), a place to cut
/// at and one to flip a bit at (u16 each), the bytes from 4096 on.
pub fn segment(bytes: &[u8]) {
    let mut input = Input(bytes);
    let depth = Depth(input.byte());
    let (cut, flip) = (usize::from(input.number16()), input.number16());
    let seed = segment_seed(STORE, 1);
    let mut body = input.0.get(..input.0.len().min(BYTES_MAX)).unwrap_or_default().to_vec();
    frames(&mut body, BASE, seed, depth);
    let seen = walk(&body, seed);
    judge(&body, seed, &seen);
    // Less of the same bytes is never more of the log.
    let short = body.get(..cut.min(body.len())).unwrap_or_default();
    let fewer = walk(short, seed);
    assert!(seen.starts_with(&fewer), "a cut made frames appear");
    // One flipped bit is always noticed, and nothing before it suffers.
    let place = usize::from(flip >> 3);
    if let Some(byte) = body.get_mut(place) {
        *byte ^= 1 << (flip & 7);
        let place = BASE + place as u64;
        let whole = seen.iter().take_while(|frame| frame.end <= place).count();
        let left = walk(&body, seed);
        assert_eq!(left.get(..whole), seen.get(..whole), "a bit behind a frame changed it");
        assert!(left.len() == whole || whole == seen.len(), "a flipped bit was not noticed");
    }
}

/// The good frames in a line from the first on.
fn walk(bytes: &[u8], seed: u32) -> Vec<Seen> {
    let mut source = Behind(bytes);
    let mut walker = Walker::new(seed, BASE, from(1, 1, 0));
    let mut seen: Vec<Seen> = Vec::new();
    loop {
        let before = walker.expected;
        let Ok(Step::Frame(frame)) = walker.step(&mut source) else { return seen };
        check_frame(&frame, bytes);
        let header = frame.header;
        assert_eq!((header.number, header.first_position), (before.number, before.position));
        assert_eq!(frame.offset, seen.last().map_or(BASE, |last| last.end), "frames have no gaps");
        assert_eq!(header.kind == FrameKind::Opening, seen.is_empty());
        seen.push(Seen {
            offset: frame.offset,
            end: frame.end(),
            number: header.number,
            events: header.events.into(),
            ends_batch: header.kind != FrameKind::Batch || header.part.last,
        });
        assert_eq!(walker.open.is_none(), seen.last().is_some_and(|frame| frame.ends_batch));
        assert_eq!(walker.expected.number, header.number + 1);
        assert_eq!(walker.expected.position, before.position + u64::from(header.events));
    }
}

/// Everything a good frame must be, worked out from its bytes once more.
fn check_frame(frame: &Frame<'_>, bytes: &[u8]) {
    let end = BASE + bytes.len() as u64;
    assert!(frame.end() <= end && frame.offset.is_multiple_of(8), "a frame beyond the bytes");
    let header = frame.header;
    assert!(header.durable < header.number && header.understood());
    let (mut heads, mut size, mut events) = (0, 64, 0);
    for (offset, record) in frame.records() {
        assert_eq!(offset, frame.offset + size as u64);
        assert!(record.body.len() <= bytes.len());
        size += record.head.record_bytes();
        let stands_for = head_in_frame(&record).unwrap_or_default();
        heads = crc_from(heads, &stands_for.to_le_bytes());
        if record.head.kind.is_event() {
            assert_eq!(record.head.position, header.first_position + events);
            events += 1;
        }
        if let Some(event) = decode_event(&record) {
            let parts = event.stream().len() + event.event_type().len() + event.data().len();
            assert!(parts + event.metadata().len() <= record.body.len());
            assert!(event.tags().count() <= usize::from(u8::MAX));
            let _ = (event.correlation(), event.causation(), event.text(), event.category());
        }
    }
    let emptied = header.kind == FrameKind::FILLER && size == 64;
    let heads = if emptied { header.records_crc } else { heads };
    let whole = (size, heads) == (frame.bytes.len(), header.records_crc);
    assert!(whole && u64::from(header.events) == events, "a frame whose records do not fill it");
}

/// The end of these frames, judged, and the verdict compared with what was seen.
fn judge(bytes: &[u8], seed: u32, seen: &[Seen]) {
    let Some((opening, rest)) = seen.split_first() else { return };
    let mut walker = Walker::new(seed, BASE, from(1, 1, 0));
    let mut source = Behind(bytes);
    if !matches!(walker.step(&mut source), Ok(Step::Frame(_))) {
        return;
    }
    let expected = Expected { epoch_max: 1 << 16, ..walker.expected };
    let start = Place { offset: opening.end, expected, last_recorded_at: 0 };
    let Ok(walk) = walk_tail(&mut source, seed, start) else { return };
    let known = rest.get(..usize::try_from(walk.frames).unwrap_or(usize::MAX));
    let known = known.unwrap_or_default();
    assert_eq!(known.len() as u64, walk.frames, "the walk of the tail saw other frames");
    let good = known.iter().rev().find(|frame| frame.ends_batch).map_or(opening.end, |f| f.end);
    assert_eq!(walk.good.offset, good, "whole batches end there");
    let last = known.last().unwrap_or(opening);
    assert_eq!((walk.stop, walk.stop_number), (last.end, last.number + 1));
    check_verdict(bytes, seed, &walk, known);
}

fn check_verdict(bytes: &[u8], seed: u32, walk: &TailWalk, known: &[Seen]) {
    let mut source = Behind(bytes);
    let end = BASE + bytes.len() as u64;
    let stop = Expected { number: walk.stop_number, ..walk.good.expected };
    let Ok((claimed, _)) = certificates_after(&mut source, walk.stop..end, seed, &stop) else {
        return;
    };
    let certified = walk.certified.max(claimed);
    let Ok(used) = last_used_byte(&mut source, walk.stop) else { return };
    let place = walk.certified_end(certified);
    // What follows a seal is in the next segment.
    let sealed = walk.last_kind == FrameKind::Seal;
    let facts = EndFacts {
        bad: match walk.end {
            WalkEnd::Bad(bad) => Some(bad),
            WalkEnd::Unsupported => None,
        },
        number: walk.stop_number,
        certified,
        open_batch: walk.open_batch,
        blank_to_end: sealed || used <= walk.stop,
        survivors: walk.good.expected.number > certified + 1,
    };
    let (row, verdict) = judge_end(&facts);
    let lost =
        certified >= walk.stop_number || walk.open_batch.is_some_and(|first| first <= certified);
    let tail = usize::try_from(walk.stop - BASE).unwrap_or(usize::MAX);
    let zeros = bytes.get(tail..).unwrap_or_default().iter().all(|byte| *byte == 0);
    let blank = sealed || zeros;
    match verdict {
        EndVerdict::Unsupported => assert!(facts.bad.is_none()),
        EndVerdict::Damaged => assert!(lost, "{row}: nothing acknowledged is missing"),
        EndVerdict::Torn => assert!(!lost && (!blank || walk.open_batch.is_some()), "{row}"),
        EndVerdict::Rescue => assert!(!lost && blank && walk.good.expected.number > certified + 1),
        EndVerdict::Clean => {
            assert!(!lost && blank && walk.open_batch.is_none(), "{row}: bytes follow");
            assert_eq!(place.offset, walk.good.offset, "all of a clean log is certified");
        }
    }
    // What is kept as certified is never less than what is, nor a part of a batch.
    let below = known.iter().filter(|frame| frame.number <= certified && frame.ends_batch);
    let least = below.map(|frame| frame.end).max().unwrap_or(0);
    assert!(lost || place.offset >= least, "{row}: a certified frame would be copied or lost");
}
