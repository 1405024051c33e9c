//! Layer 4.1: a head from what the segments say of themselves, when both generations are lost.
//!
//! Knows: segment headers, frame headers, trim bases. Does not know: whether a segment after the
//! last one present is missing; nothing here can prove that there was none.

use uuid::Uuid;

use super::files::{failed, read_small};
use crate::disk::{Access, Disk};
use crate::format::{
    ANCESTORS_MAX, Ancestor, BaseEnd, FileName, FrameHeader, FrameKind, Head, SEGMENT_HEADER_BYTES,
    SegmentHeader, chain_after, find_header, name_of, segment_seed,
};
use crate::segment::FileSource;
use crate::types::{ErrorKind, Result};

const FIRST_FRAME: u64 = SEGMENT_HEADER_BYTES as u64;

/// The head that the segments `numbers` (ascending) and the trim bases that check stand for; `None`
/// when no segment's header checks.
///
/// The store is the one that the newest segment names, if what carries other names before is its
/// past: a fork shares segments with its ancestors. Else it is the one whose name most segments
/// carry. Its generation is 0, below every written one.
///
/// # Errors
/// `Unsupported` when a segment is of a newer format.
pub(super) fn head_of_segments(
    disk: &dyn Disk,
    numbers: &[u64],
    bases: &[BaseEnd],
) -> Result<Option<Head>> {
    let mut headers = Vec::new();
    for number in numbers {
        headers.extend(own_header(disk, *number)?);
    }
    let ancestors = ancestors(disk, &headers)?;
    let named = |store: Uuid| headers.iter().filter(|header| header.store == store).count();
    let most = headers.iter().max_by_key(|header| (named(header.store), header.number));
    let newest = if ancestors.is_some() { headers.last() } else { most };
    let Some(newest) = newest else { return Ok(None) };
    let ancestors = ancestors.unwrap_or_default();
    let mine = headers.iter().filter(|header| header.store == newest.store);
    let mut epoch = 0;
    // A writer epoch begins in the segment that was the tail, or in the one it makes next.
    for header in mine.rev().take(2) {
        epoch = epoch.max(newest_epoch(disk, header)?);
    }
    let ours = |store: Uuid| store == newest.store || ancestors.iter().any(|a| a.store == store);
    let own = bases.iter().filter(|base| ours(base.store));
    let (first_segment, base) = beginning(numbers, newest.number, own);
    Ok(Some(Head {
        // An epoch may have begun without leaving a frame.
        epoch: epoch.saturating_add(1),
        first_segment,
        last_segment: newest.number,
        base,
        ancestors,
        ..Head::first(newest.store, newest.id_scope)
    }))
}

/// The stores that the newest segment's store descends from, the oldest first; `None` where the
/// names of segments, which are in order, do not tell of one line: a segment of another name goes
/// on from the one before, or it is foreign.
fn ancestors(disk: &dyn Disk, headers: &[SegmentHeader]) -> Result<Option<Vec<Ancestor>>> {
    let mut all: Vec<Ancestor> = Vec::new();
    for pair in headers.windows(2) {
        let [one, next] = pair else { continue };
        if one.store == next.store {
            continue;
        }
        let met = all.len() >= ANCESTORS_MAX || all.iter().any(|known| known.store == next.store);
        if met || !goes_on_from(disk, one, next)? {
            return Ok(None);
        }
        all.push(Ancestor { store: one.store, through: one.number });
    }
    Ok(Some(all))
}

/// Whether the opening frame of `next` names a frame of `one` as the one before it.
fn goes_on_from(disk: &dyn Disk, one: &SegmentHeader, next: &SegmentHeader) -> Result<bool> {
    if one.number + 1 != next.number {
        return Ok(false);
    }
    let opening = find_frame(disk, next, |_| true)?;
    let Some(opening) = opening.filter(|frame| frame.kind == FrameKind::Opening) else {
        return Ok(false);
    };
    let is_before = |frame: &FrameHeader| {
        frame.number + 1 == opening.number && chain_after(frame) == opening.chain
    };
    Ok(find_frame(disk, one, is_before)?.is_some())
}

/// Where the log begins, and the number of its base: at the lowest segment whose past is known
/// (nothing, or a base) and from which on none is missing up to `last`; if there is no such, at the
/// highest with a base. Two bases for one segment say the same.
fn beginning<'a>(
    numbers: &[u64],
    last: u64,
    bases: impl Iterator<Item = &'a BaseEnd>,
) -> (u64, u64) {
    let whole = |first: u64| {
        let there = numbers.iter().filter(|number| (first..=last).contains(number)).count();
        u64::try_from(there).ok() == last.checked_sub(first).map(|count| count + 1)
    };
    let based = bases.filter(|base| base.first_segment <= last);
    let mut known: Vec<(u64, u64)> =
        based.map(|base| (base.first_segment, base.number)).chain([(1, 0)]).collect();
    known.sort_unstable();
    let lowest = known.iter().find(|(first, _)| whole(*first));
    lowest.or(known.last()).copied().unwrap_or((1, 0))
}

/// The header of a segment file if it checks and is in its place.
fn own_header(disk: &dyn Disk, number: u64) -> Result<Option<SegmentHeader>> {
    let name = name_of(FileName::Segment(number));
    let block = match read_small(disk, &name, FIRST_FRAME) {
        Ok(block) => block.unwrap_or_default(),
        // It is looked at again as a segment, and judged there.
        Err(_) => return Ok(None),
    };
    match SegmentHeader::decode(&block, &name) {
        Ok(header) => Ok(Some(header).filter(|header| header.number == number)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
        Err(_) => Ok(None),
    }
}

/// The highest writer epoch that any frame header in the segment carries.
fn newest_epoch(disk: &dyn Disk, header: &SegmentHeader) -> Result<u32> {
    let mut epoch = 0;
    find_frame(disk, header, |frame| {
        epoch = epoch.max(frame.epoch);
        false
    })?;
    Ok(epoch)
}

/// The first frame header in the segment that is wanted.
fn find_frame(
    disk: &dyn Disk,
    header: &SegmentHeader,
    mut wanted: impl FnMut(&FrameHeader) -> bool,
) -> Result<Option<FrameHeader>> {
    let name = name_of(FileName::Segment(header.number));
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let end = file.size().map_err(failed("read", &name))?;
    let seed = segment_seed(header.store, header.number);
    let mut source = FileSource::new(file, u64::MAX);
    let mut at = FIRST_FRAME;
    while let Some((offset, frame)) =
        find_header(&mut source, at..end, seed).map_err(failed("read", &name))?
    {
        if wanted(&frame) {
            return Ok(Some(frame));
        }
        at = offset + 8;
    }
    Ok(None)
}
