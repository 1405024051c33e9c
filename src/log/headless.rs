//! Layer 4.1: a head from what the segments say of themselves, when both generations are lost.
//!
//! Knows: segment headers, frame headers, trim bases. Does not know: whether a segment after the
//! last one present is missing; nothing here can prove that there was none.

use uuid::Uuid;

use super::files::{failed, read_small};
use crate::disk::{Access, Disk};
use crate::format::{
    BaseEnd, FileName, Head, SEGMENT_HEADER_BYTES, SegmentHeader, find_header, name_of,
    segment_seed,
};
use crate::segment::FileSource;
use crate::types::{ErrorKind, Result};

const FIRST_FRAME: u64 = SEGMENT_HEADER_BYTES as u64;

/// The head that the segments `numbers` (ascending) and the trim bases that check stand for; `None`
/// when no segment's header checks.
///
/// The store is the one whose name most segments carry. Its generation is 0, below every written
/// one.
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
    let named = |store: Uuid| headers.iter().filter(|header| header.store == store).count();
    let Some(newest) = headers.iter().max_by_key(|header| (named(header.store), header.number))
    else {
        return Ok(None);
    };
    let mine = headers.iter().filter(|header| header.store == newest.store);
    let mut epoch = 0;
    // A writer epoch begins in the segment that was the tail, or in the one it makes next.
    for header in mine.rev().take(2) {
        epoch = epoch.max(newest_epoch(disk, header)?);
    }
    let own = bases.iter().filter(|base| base.store == newest.store);
    let (first_segment, base) = beginning(numbers, newest.number, own);
    Ok(Some(Head {
        // An epoch may have begun without leaving a frame.
        epoch: epoch.saturating_add(1),
        first_segment,
        last_segment: newest.number,
        base,
        ..Head::first(newest.store, newest.id_scope)
    }))
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
    let name = name_of(FileName::Segment(header.number));
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let end = file.size().map_err(failed("read", &name))?;
    let seed = segment_seed(header.store, header.number);
    let mut source = FileSource::new(file, u64::MAX);
    let (mut epoch, mut at) = (0, FIRST_FRAME);
    while let Some((offset, frame)) =
        find_header(&mut source, at..end, seed).map_err(failed("read", &name))?
    {
        epoch = epoch.max(frame.epoch);
        at = offset + 8;
    }
    Ok(epoch)
}
