//! Layer 6.4: every index compared with the log.
//!
//! Knows: that an index made from the same events with the same hash key has the same bytes, and
//! that heads are those of the last event. Does not know: what is done about one that differs. An
//! index that is not there is no fault: whoever opens the store makes it. Reads only.

use super::fold::{FoldLimit, Folded, fold_into};
use super::heads::{Carried, head_of, head_of_trimmed, map_file};
use super::sidecars::{binding, binding_between, binding_of};
use crate::disk::{Access, Disk, Mapped};
use crate::format::{FileName, name_of};
use crate::index::{Binding, Head, HeadsFile, SegmentLookup, Sidecar, TailIndex, encode};
use crate::log::{LogEnd, SegmentInfo, Survey, survey};
use crate::segment::{FileSource, Place};
use crate::types::{Error, Position, Result, SidecarRebuilt};

const DIFFERS: &str = "it checks, but says something else than the log";

/// What a comparison of the indexes with the log found.
#[derive(Debug, Default)]
pub(crate) struct IndexCheck {
    /// Those that do not check, or say something else than the log, and why.
    pub doubtful: Vec<SidecarRebuilt>,
    /// Those that are not there, or are not for this log.
    pub absent: Vec<SidecarRebuilt>,
}

impl IndexCheck {
    fn doubt(&mut self, file: String, why: impl Into<String>) {
        self.doubtful.push(SidecarRebuilt { file, why: why.into() });
    }

    fn miss(&mut self, file: String, why: &str) {
        self.absent.push(SidecarRebuilt { file, why: why.into() });
    }
}

/// Compares the indexes with what the log would make today: those of one segment, or all. What is
/// damaged in the log has none to compare with.
pub(crate) fn check_indexes(
    disk: &dyn Disk,
    only: Option<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<IndexCheck> {
    let mut check = IndexCheck::default();
    let Some(found) = survey(disk)? else { return Ok(check) };
    let wanted = |info: &SegmentInfo| only.is_none_or(|number| number == info.number);
    let sealed: Vec<(&SegmentInfo, LogEnd)> = found
        .segments
        .iter()
        .filter(|info| wanted(info))
        .filter_map(|info| Some((info, info.end?)))
        .collect();
    let (mut done, total) = (0, sealed.iter().map(|(_, end)| end.offset).sum());
    let mut heads = match only {
        None => HeadsCheck::of(disk, &found, &mut check)?,
        Some(_) => None,
    };
    for (info, end) in sealed {
        let folded = check_sidecar(disk, (info, end), &mut check)?;
        if let Some(heads) = &mut heads {
            heads.take(info.number, &folded);
        }
        done += end.offset;
        progress(done, total);
    }
    if heads.is_some_and(|heads| !heads.agrees()) {
        check.doubt(name_of(FileName::Heads), DIFFERS);
    }
    match found.segments.last() {
        Some(tail) if tail.end.is_none() && wanted(tail) => check_parts(disk, tail, &mut check)?,
        _ => {}
    }
    Ok(check)
}

/// Answers the segment folded from the log.
fn check_sidecar(
    disk: &dyn Disk,
    (info, end): (&SegmentInfo, LogEnd),
    check: &mut IndexCheck,
) -> Result<Folded> {
    let (file, binding) = (name_of(FileName::Sidecar(info.number)), binding_of(info, end));
    let limit = FoldLimit::named(end, true);
    let plain = || TailIndex::new(Position::new(info.first_position()));
    if is_absent(disk, &file) {
        check.miss(file, "it is missing");
        return fold(disk, plain(), info, limit);
    }
    let bytes = map_file(disk, &file);
    let opened = bytes.as_deref().map_err(Clone::clone);
    let opened = opened.and_then(|bytes| Ok((Sidecar::open(bytes, &binding)?, bytes)));
    let (sidecar, bytes) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            check.doubt(file, why);
            return fold(disk, plain(), info, limit);
        }
    };
    let folded = fold(disk, sidecar.like_this(), info, limit)?;
    if folded.damage.is_empty() && !is_made(&folded, &binding, bytes) {
        check.doubt(file, DIFFERS);
    }
    Ok(folded)
}

/// Of the newest segment: the parts that follow each other, each compared with what it is of.
fn check_parts(disk: &dyn Disk, tail: &SegmentInfo, check: &mut IndexCheck) -> Result<()> {
    let mut place = tail.start;
    loop {
        let file = name_of(FileName::Part(tail.number, place.offset));
        if is_absent(disk, &file) {
            return Ok(());
        }
        let bytes = map_file(disk, &file);
        let opened = bytes.as_deref().map_err(Clone::clone).and_then(|bytes| {
            let part = Sidecar::open_as_it_is(bytes)?;
            part.check()?;
            Ok((part, bytes))
        });
        let (part, bytes) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                check.doubt(file, why);
                return Ok(());
            }
        };
        let claimed = *part.binding();
        let limit = FoldLimit {
            offset: claimed.end_offset,
            frame: claimed.end_frame,
            chain: None,
            next_position: 0,
            tolerant: true,
        };
        let folded = fold(disk, part.like_this(), &tail.beginning_at(place), limit)?;
        let (offset, expected) = (folded.walker.offset, folded.walker.expected);
        let end = LogEnd {
            offset,
            frame: expected.number - 1,
            chain: expected.chain,
            next_position: expected.position,
        };
        let binding = binding_between(tail.header.store, tail.number, place, end);
        if !folded.damage.is_empty() || offset == place.offset {
            // What is damaged has no index to compare with; what is not there has none at all.
            return Ok(());
        }
        if claimed != binding || !is_made(&folded, &binding, bytes) {
            check.doubt(file, DIFFERS);
            return Ok(());
        }
        place = Place { offset, expected, last_recorded_at: place.last_recorded_at };
    }
}

fn is_absent(disk: &dyn Disk, file: &str) -> bool {
    let gone = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    disk.open(file, Access::Read).is_err_and(gone)
}

fn fold(disk: &dyn Disk, index: TailIndex, info: &SegmentInfo, limit: FoldLimit) -> Result<Folded> {
    let name = info.name();
    let file = disk.open(&name, Access::Read);
    let file = file.map_err(|error| Error::io(format!("cannot open {name}"), error))?;
    fold_into(index, &mut FileSource::new(file, limit.offset), info, limit)
}

fn is_made(folded: &Folded, binding: &Binding, there: &[u8]) -> bool {
    encode(&folded.index, binding).is_ok_and(|made| made == there)
}

/// The heads file, and what of it the log has confirmed so far.
struct HeadsCheck {
    file: HeadsFile<Mapped>,
    /// Streams whose head in the file is that after a segment, which it is after one at most.
    confirmed: u32,
    carried: Carried,
    differs: bool,
    /// The log before the file's end is all there.
    whole: bool,
}

impl HeadsCheck {
    /// `None` when there is nothing to compare with.
    fn of(disk: &dyn Disk, found: &Survey, check: &mut IndexCheck) -> Result<Option<Self>> {
        let name = name_of(FileName::Heads);
        if is_absent(disk, &name) {
            return Ok(None);
        }
        let opened = map_file(disk, &name).and_then(|bytes| HeadsFile::open(bytes, |_| true));
        let file = match opened {
            Ok(file) => file,
            Err(why) => {
                check.doubt(name, why);
                return Ok(None);
            }
        };
        let of_end = |info: &SegmentInfo| {
            let end = info.end?;
            Some(binding(info.header.store, info.number, info.first_position(), end))
        };
        if !found.segments.iter().any(|info| of_end(info).as_ref() == Some(file.binding())) {
            check.miss(name, "it was made for another end of the log");
            return Ok(None);
        }
        let whole = found.damage.is_empty();
        let carried = Carried::of_base(found.base.as_ref());
        let mut heads = Self { file, confirmed: 0, carried, differs: false, whole };
        if let Some(base) = &found.base {
            base.known()
                .streams()
                .for_each(|stream| heads.compare(stream.name, head_of_trimmed(&stream)));
        }
        Ok(Some(heads))
    }

    fn take(&mut self, number: u64, folded: &Folded) {
        if number > self.file.binding().segment {
            return;
        }
        self.whole &= folded.damage.is_empty();
        let (index, first) = (&folded.index, folded.index.first_position());
        index.for_each_stream(&mut |part| self.compare(part.name, head_of(first, &part)));
        index.for_each_checkpoint(&mut |entry| self.carried.take_checkpoint(entry.clone()));
        index.for_each_settings(&mut |entry| self.carried.take_settings(entry.clone()));
    }

    fn compare(&mut self, stream: &str, head: Head) {
        match self.file.get(stream) {
            Some(there) if there == head => self.confirmed += 1,
            Some(there) if there.version > head.version => {}
            _ => self.differs = true,
        }
    }

    fn agrees(&self) -> bool {
        let Carried { checkpoints, settings } = &self.carried;
        let (listed, set) = (self.file.checkpoints(), self.file.settings());
        let carried = checkpoints.values().all(|entry| listed.contains(entry))
            && settings.values().all(|entry| set.contains(entry));
        !self.whole || carried && !self.differs && self.confirmed == self.file.len()
    }
}
