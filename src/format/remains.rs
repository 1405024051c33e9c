//! Layer 1.4: what still checks of a frame that does not, record by record.
//!
//! Knows: that a record has checksums of its own, and how to find the next one behind one whose
//! head does not check. Does not know: whether the frame is where it belongs.

use super::control::positions_of;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader};
use super::record::{Record, RecordHead, RecordKind};

/// Visits every record of the frame that checks, with where it begins in the frame.
pub(crate) fn each_whole_record(
    frame: &[u8],
    header: &FrameHeader,
    seed: u32,
    visit: &mut dyn FnMut(usize, &Record<'_>),
) {
    let mut at = FRAME_HEADER_BYTES;
    let end = header.first_position.saturating_add(header.events.into());
    while let Some(rest) = frame.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(head) = RecordHead::decode(rest, seed) else {
            // Nobody knows where the next record begins.
            let Some(next) = rest_of_frame(frame, at, seed, end) else { return };
            at = next;
            continue;
        };
        if let Some(record) = Record::decode(rest, seed) {
            visit(at, &record);
        }
        at += head.record_bytes();
    }
}

/// Where in a frame, after the record at `at` whose head does not check, records begin that fill
/// the rest of it and end with its last event. What only looks like a record may be data.
fn rest_of_frame(frame: &[u8], at: usize, seed: u32, end_position: u64) -> Option<usize> {
    let head = |at: usize| RecordHead::decode(frame.get(at..)?, seed);
    let mut from = at + 8;
    while from < frame.len() {
        let (mut to, mut next) = (from, None);
        while let Some(head) = head(to) {
            let rest = frame.get(to..).unwrap_or_default();
            let positions = match head.kind {
                kind if kind.is_event() => 1,
                RecordKind::Lost => {
                    Record::decode(rest, seed).and_then(|lost| positions_of(&lost)).unwrap_or(0)
                }
                _ => 0,
            };
            if positions > 0 {
                let follows = next.is_none_or(|next| next == head.position);
                next = follows.then(|| head.position.saturating_add(positions.into()));
            }
            to += head.record_bytes();
        }
        if to == frame.len() && next == Some(end_position) {
            return Some(from);
        }
        // Beginning later in the same row of records ends in the same place.
        from = to.max(from + 8);
    }
    None
}
