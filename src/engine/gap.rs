//! Layer 6.4: positions that no readable segment holds, in the place of the file that did.
//!
//! Knows: how to stand in for a segment. Does not know: why it cannot be read. Without it a reader
//! would be told that there is nothing at positions that were acknowledged.

use super::catalog::Catalog;
use super::segment::{Segment, SegmentIndex};
use crate::disk::Mapped;
use crate::format::{FileName, name_of};
use crate::index::TailIndex;
use crate::segment::SegmentBytes;
use crate::sync::{Arc, AtomicU64, RwLock};
use crate::types::Position;

/// More positions than this are not held in memory for the sake of telling that they are lost.
const MOST: u64 = 1 << 24;

/// The position after the last that the catalog holds; `first` when it holds none.
pub(super) fn next_position(catalog: &Catalog, first: u64) -> u64 {
    catalog.segments.last().map_or(first, |segment| {
        let events = segment.events();
        segment.first_position.plus(events.into()).get()
    })
}

/// Makes every position from `next` up to `until` a damaged one of segment `number`.
pub(super) fn add_gap(catalog: &mut Catalog, number: u64, next: u64, until: u64) {
    if next >= until {
        return;
    }
    let first_position = Position::new(next);
    let mut index = TailIndex::new(first_position);
    for _ in next..until.min(next.saturating_add(MOST)) {
        index.push_damaged();
    }
    catalog.add(Arc::new(Segment {
        number,
        name: name_of(FileName::Segment(number)),
        seed: 0,
        first_position,
        rewrite: 0,
        bytes: SegmentBytes::Mapped(Mapped::owned(Vec::new())),
        index: SegmentIndex::Memory(RwLock::new(index)),
        readable: AtomicU64::new(0),
    }));
}
