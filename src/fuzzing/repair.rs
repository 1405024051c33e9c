//! Layer 7.5: makes the checksums in a changed file true again.
//!
//! Knows: where each checksum stands and what it covers. Does not know: what was changed. Without
//! it a fuzzer would get no further than the first checksum, and what stands behind it would be
//! tried with nothing but whole values.

use uuid::Uuid;

use crate::format::{
    BASE_HEADER_BYTES, FRAME_HEADER_BYTES, Put, RECORD_HEAD_BYTES, Take, crc, crc_from, keyed_seed,
};

/// Which checksums in a segment are made true.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth(pub u8);

impl Depth {
    const BODIES: u8 = 1;
    const HEADS: u8 = 2;
    const RECORDS: u8 = 4;
    const HEADERS: u8 = 8;
    /// Predecessor chains too, so that a changed frame keeps the frames behind it.
    const CHAIN: u8 = 16;
    pub(super) const ALL: Self = Self(31);

    fn has(self, part: u8) -> bool {
        self.0 & part != 0
    }
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Take(bytes.get(at..)?).u32()
}

fn set(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// The frames in `bytes`, which stand at `base` in their segment.
pub(super) fn frames(bytes: &mut [u8], base: u64, seed: u32, depth: Depth) {
    let (mut at, mut chain) = (0, None);
    while at + FRAME_HEADER_BYTES <= bytes.len() {
        let rest = bytes.get_mut(at..).unwrap_or_default();
        if !rest.starts_with(b"FLFR") {
            at += 8;
            continue;
        }
        let length = number32(rest, 4).map_or(0, |length| length as usize).min(rest.len());
        let frame = rest.get_mut(..length.max(FRAME_HEADER_BYTES)).unwrap_or_default();
        chain = Some(one_frame(frame, base + at as u64, seed, (depth, chain)));
        at += if length < FRAME_HEADER_BYTES { 8 } else { length.next_multiple_of(8) };
    }
}

/// Answers the chain value after it.
fn one_frame(frame: &mut [u8], offset: u64, seed: u32, how: (Depth, Option<u32>)) -> u32 {
    let (depth, chain) = how;
    let (mut at, mut heads) = (FRAME_HEADER_BYTES, 0);
    while let Some(length) = number32(frame, at + 4) {
        let size = (length as usize).saturating_add(RECORD_HEAD_BYTES).next_multiple_of(8);
        let Some(end) = at.checked_add(size).filter(|end| *end <= frame.len()) else { break };
        let record = frame.get_mut(at..end).unwrap_or_default();
        if depth.has(Depth::BODIES) {
            let sum = crc(record.get(RECORD_HEAD_BYTES..).unwrap_or_default());
            set(record, 32, sum);
        }
        if depth.has(Depth::HEADS) {
            let sum = crc_from(seed, record.get(..36).unwrap_or_default());
            set(record, 36, sum);
        }
        // A stub counts as the event whose head checksum it keeps.
        let head = if record.first() == Some(&5) { 64..68 } else { 36..40 };
        heads = crc_from(heads, record.get(head).unwrap_or_default());
        at = end;
    }
    if depth.has(Depth::RECORDS) {
        set(frame, 44, heads);
    }
    if let Some(chain) = chain.filter(|_| depth.has(Depth::CHAIN)) {
        set(frame, 36, chain);
    }
    if depth.has(Depth::HEADERS) {
        let sum = crc_from(seed, frame.get(..60).unwrap_or_default());
        set(frame, 60, crc_from(sum, &offset.to_le_bytes()));
    }
    let before = number32(frame, 36).unwrap_or_default();
    let said = crc_from(before, frame.get(8..36).unwrap_or_default());
    crc_from(said, frame.get(40..60).unwrap_or_default())
}

/// The checksum in the last four bytes, over all before them: head and heads files.
pub(super) fn whole(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(4) else { return };
    let sum = crc(bytes.get(..end).unwrap_or_default());
    set(bytes, end, sum);
}

/// A trim base: its sections, then its header.
pub(super) fn base(bytes: &mut [u8]) {
    let mut start = BASE_HEADER_BYTES;
    for place in (128..248).step_by(24) {
        let said = bytes.get(place + 8..).and_then(|bytes| Take(bytes).u64()).unwrap_or_default();
        let length = usize::try_from(said).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(length.next_multiple_of(8)).min(bytes.len());
        let sum = crc(bytes.get(start..end).unwrap_or_default());
        set(bytes, place + 16, sum);
        start = end;
    }
    let sum = crc(bytes.get(..252).unwrap_or_default());
    set(bytes, 252, sum);
}

/// The block before the frames of a segment.
pub(super) fn segment_header(bytes: &mut [u8]) {
    whole(bytes.get_mut(..4096).unwrap_or_default());
}

/// Both slots of a live file.
pub(super) fn live(bytes: &mut [u8]) {
    for start in [0, 4096] {
        whole(bytes.get_mut(start..start + 68).unwrap_or_default());
    }
}

/// The entries of a keyed file.
pub(super) fn keyed(bytes: &mut [u8], store: Uuid, kind: u8) {
    let (seed, mut at) = (keyed_seed(store, kind), 0);
    while at + 32 <= bytes.len() {
        let rest = bytes.get_mut(at..).unwrap_or_default();
        let length = |at| number32(rest, at).map_or(0, |length| length as usize);
        let size = 32_usize.saturating_add(length(4)).saturating_add(length(8));
        let end = size.min(rest.len()).next_multiple_of(8).min(rest.len());
        if !rest.starts_with(b"FLK0") {
            at += 8;
            continue;
        }
        let body = crc(rest.get(32..end).unwrap_or_default());
        set(rest, 24, body);
        let sum = crc_from(seed, rest.get(..28).unwrap_or_default());
        set(rest, 28, crc_from(sum, &(at as u64).to_le_bytes()));
        at += end.max(8);
    }
}

/// The sections of a sidecar and its header. Lengths are made to fit the file: the last section
/// takes what the others leave.
pub(super) fn sidecar(bytes: &mut [u8]) {
    const HEADER: usize = 336;
    let mut start = HEADER;
    for place in (104..328).step_by(16) {
        let left = bytes.len().saturating_sub(start);
        let last = place == 312;
        let said = bytes.get(place..).and_then(|bytes| Take(bytes).u64()).unwrap_or_default();
        let length = usize::try_from(said).unwrap_or(usize::MAX).min(left);
        let length = if last && length.next_multiple_of(8) != left { left } else { length };
        let end = start.saturating_add(length.next_multiple_of(8)).min(bytes.len());
        let sum = crc(bytes.get(start..end).unwrap_or_default());
        let mut entry = Vec::new();
        entry.put_u64(length as u64);
        entry.put_u32(sum);
        entry.put_u32(0);
        if let Some(to) = bytes.get_mut(place..place + 16) {
            to.copy_from_slice(&entry);
        }
        start = end;
    }
    let sum = crc(bytes.get(..332).unwrap_or_default());
    set(bytes, 332, sum);
}
