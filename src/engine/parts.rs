//! Layer 6.4: indexes of parts of the newest segment, so that opening scans only the last of it.
//!
//! Knows: how a part is indexed from the log, and which parts follow each other. Does not know:
//! whether what they claim of the log is so; the log itself confirms that (`log/ending.rs`). Like a
//! sidecar, a part can be deleted at any time; when its segment has a sidecar, it is.

use super::fold::{FoldLimit, fold_segment};
use super::heads::map_file;
use super::segment::{Segment, SegmentIndex};
use super::sidecars::{Opening, binding_between};
use crate::disk::{Access, Disk, Mapped};
use crate::format::{FileName, Head, Purpose, name_of};
use crate::index::{SegmentLookup, Sidecar, encode};
use crate::log::{Claim, Part, SegmentInfo, find_segment, replace_file};
use crate::segment::{Place, SegmentBytes, source_of};
use crate::sync::AtomicU64;
use crate::types::{Error, OpenReport, Position, Result};

/// What the parts of a segment claim of the log, one after the other.
pub(super) fn claims(disk: &dyn Disk, info: &SegmentInfo) -> Vec<Claim> {
    let mut last_recorded_at = info.opened.last_recorded_at;
    let headers = each_part(disk, info, |sidecar, claim| {
        last_recorded_at = last_recorded_at.max(sidecar.last_recorded_at().micros());
        Some(Claim { last_recorded_at, ..claim })
    });
    headers.unwrap_or_default()
}

/// Opens one part after the other, as far as there are any that follow.
fn each_part<T>(
    disk: &dyn Disk,
    info: &SegmentInfo,
    mut take: impl FnMut(Sidecar<Mapped>, Claim) -> Option<T>,
) -> Option<Vec<T>> {
    let mut all = Vec::new();
    let (mut start, mut first) = (info.start.offset, info.first_position());
    while let Ok(bytes) = map_file(disk, &name_of(FileName::Part(info.number, start))) {
        let Ok(sidecar) = Sidecar::open_as_it_is(bytes) else { break };
        let found = *sidecar.binding();
        let follows = found.store == info.header.store
            && found.segment == info.number
            && found.start_offset == start
            && found.end_offset > start
            && found.first_position == Position::new(first);
        if !follows {
            break;
        }
        start = found.end_offset;
        first += u64::from(found.events);
        let claim = Claim {
            offset: start,
            frame: found.end_frame,
            chain: found.chain,
            next_position: first,
            last_recorded_at: 0,
        };
        all.push(take(sidecar, claim)?);
    }
    Some(all)
}

impl Opening<'_> {
    /// The segment that is written, up to `limit`: parts that are indexed, and the rest.
    pub(super) fn tail_in_parts(
        &self,
        info: &SegmentInfo,
        limit: FoldLimit,
        report: &mut OpenReport,
    ) -> Result<Vec<Segment>> {
        let parts = info.settled.and_then(|place| Some((place, self.parts(info, place)?)));
        let Some((place, mut parts)) = parts else {
            return Ok(vec![self.tail(info, limit, report)?]);
        };
        parts.push(self.tail(&info.beginning_at(place), limit, report)?);
        Ok(parts)
    }

    /// The parts up to `until`, if all of them check.
    fn parts(&self, info: &SegmentInfo, until: Place) -> Option<Vec<Segment>> {
        let name = info.name();
        let mut done = info.start.offset == until.offset;
        let segments = each_part(&**self.disk, info, |sidecar, claim| {
            if done {
                return Some(None);
            }
            done = claim.offset == until.offset;
            sidecar.check().ok()?;
            // Confirmed by the log and certified, so nobody writes it any more, as in a sealed one.
            let bytes = self.bytes_of(&name, claim.offset).ok()?;
            Some(Some(Segment {
                number: info.number,
                name: name.clone(),
                seed: info.seed,
                first_position: sidecar.first_position(),
                rewrite: info.header.rewrite,
                bytes,
                index: SegmentIndex::Sidecar(sidecar),
                readable: AtomicU64::new(claim.offset),
            }))
        })?;
        done.then(|| segments.into_iter().flatten().collect())
    }
}

/// Indexes a part of the newest segment from the log. What fails here is made up for at the next
/// opening, by a longer scan.
pub(super) fn make_part(disk: &dyn Disk, head: &Head, part: &Part) -> Result<()> {
    let Some(info) = find_segment(disk, head, part.segment)? else { return Ok(()) };
    let info = info.beginning_at(part.from);
    let name = info.name();
    let file = disk.open(&name, Access::Read);
    let file = file.map_err(|error| Error::io(format!("cannot open {name}"), error))?;
    let bytes = SegmentBytes::File(file);
    let limit = FoldLimit::named(part.to, false);
    let folded = fold_segment(&mut *source_of(&bytes, limit.offset), &info, limit)?;
    let binding = binding_between(head.store, part.segment, part.from, part.to);
    // Too large to be indexed is as good as not indexed.
    let Ok(encoded) = encode(&folded.index, &binding) else { return Ok(()) };
    let name = name_of(FileName::Part(part.segment, part.from.offset));
    replace_file(disk, Purpose::Part, &name, &[&encoded])
}

/// Throws away the parts of every segment but `keep`: those have sidecars.
pub(super) fn remove_parts(disk: &dyn Disk, keep: u64) {
    let Ok(names) = disk.list() else { return };
    for name in names {
        if matches!(FileName::parse(&name), Some(FileName::Part(number, _)) if number != keep) {
            let _ = disk.remove(&name);
        }
    }
}
