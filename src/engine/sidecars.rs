//! Layer 6.3: segments with their sidecars: opened, made again, or done without.
//!
//! Knows: when a sidecar may be trusted and when it may be written. Does not know: the catalog. A
//! sidecar is never made around damage: that would hide it.

use uuid::Uuid;

use super::fold::{FoldLimit, fold_segment};
use super::heads::map_file;
use super::segment::{Segment, SegmentIndex, UncheckedSidecar};
use crate::disk::{Access, Disk, DiskFile, Mapped};
use crate::format::{
    FileName, Purpose, REWRITE_NOT_KNOWN, SEGMENT_HEADER_BYTES, SegmentHeader, name_of,
};
use crate::index::{Binding, Sidecar, TailIndex, encode};
use crate::log::{AFTER_OPENING, LogEnd, SegmentInfo, replace_file};
use crate::segment::{Place, SegmentBytes, source_of};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock, on_threads, processors};
use crate::types::{Damage, Error, OpenReport, Position, Result, Settings, SidecarRebuilt};

/// What was found out after the opening about sidecars that it did not check.
#[derive(Debug, Default)]
pub(crate) struct FoundLater {
    pub rebuilt: Vec<SidecarRebuilt>,
    pub damage: Vec<Damage>,
}

/// How sealed segments are opened.
pub(crate) struct Opening<'a> {
    pub disk: &'a Arc<dyn Disk>,
    pub settings: &'a Settings,
    /// A reader may not write, and works around damage.
    pub read_only: bool,
}

impl Opening<'_> {
    pub(super) fn bytes_of(&self, name: &str, length: u64) -> Result<SegmentBytes> {
        bytes_of(&**self.disk, name, length, self.settings.map_segments)
    }

    /// A sealed segment whose streams are known from the heads file: its sidecar is checked when it
    /// is first asked, so that opening reads no more of it than the header.
    pub(crate) fn covered(
        &self,
        info: &SegmentInfo,
        end: LogEnd,
        report: &mut OpenReport,
        later: &Arc<Mutex<FoundLater>>,
    ) -> Result<Segment> {
        let binding = binding_of(info, end);
        let opened = self.map_sidecar(info.number);
        let opened = opened.and_then(|bytes| Sidecar::open_unchecked(bytes, &binding));
        let Ok(sidecar) = opened else { return self.sealed(info, end, report) };
        let bytes = self.bytes_of(&info.name(), end.offset)?;
        self.check_length(info, end, report)?;
        let (disk, info_there) = (self.disk.clone(), info.clone());
        let (map, later) = (self.settings.map_segments, later.clone());
        let from_log = Box::new(move |why: &str| {
            let name = info_there.name();
            let bytes = bytes_of(&*disk, &name, end.offset, map);
            make_later(&*disk, &info_there, end, bytes, (why, &later))
        });
        let index = SegmentIndex::Unchecked(Box::new(UncheckedSidecar::new(sidecar, from_log)));
        Ok(segment_of(info, bytes, index, end.offset))
    }

    /// A sealed segment with its sidecar, which is made again if it is missing or doubtful.
    pub(crate) fn sealed(
        &self,
        info: &SegmentInfo,
        end: LogEnd,
        report: &mut OpenReport,
    ) -> Result<Segment> {
        let (bytes, info) = self.sealed_bytes(info, end)?;
        let info = &info;
        self.check_length(info, end, report)?;
        let binding = binding_of(info, end);
        let doubt = match (self.settings.rebuild_index, self.open_sidecar(info.number, &binding)) {
            (true, _) => "the index is made from the log alone".to_owned(),
            (false, Ok(sidecar)) => {
                return Ok(segment_of(info, bytes, SegmentIndex::Sidecar(sidecar), end.offset));
            }
            (false, Err(why)) => why,
        };
        let limit = FoldLimit::named(end, self.read_only);
        let folded = fold_segment(&mut *source_of(&bytes, end.offset), info, limit)?;
        let file = name_of(FileName::Sidecar(info.number));
        report.sidecars_rebuilt.push(SidecarRebuilt { file, why: doubt });
        let sound = folded.damage.is_empty();
        report.damage.extend(folded.damage);
        let index = match sound && !self.read_only {
            true => self.write_sidecar(info.number, folded.index, &binding)?,
            false => SegmentIndex::Memory(RwLock::new(folded.index)),
        };
        Ok(segment_of(info, bytes, index, end.offset))
    }

    /// Sealed segments one after the other, each as [`Self::sealed`] opens it, on all processors: a
    /// sidecar that has to be made takes a tenth of a second. Without threads of the store's own,
    /// on the caller's alone.
    pub(super) fn all_sealed(
        &self,
        wanted: &[(&SegmentInfo, LogEnd)],
        report: &mut OpenReport,
    ) -> Result<Vec<Segment>> {
        let one = |(info, end): &(&SegmentInfo, LogEnd)| {
            let mut told = OpenReport::default();
            self.sealed(info, *end, &mut told).map(|segment| (segment, told))
        };
        let threads = match self.settings.background {
            true => processors().min(wanted.len()),
            false => 1,
        };
        let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        let work = || {
            let take = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok();
            while let Some(at) = take()
                && let Some(segment) = wanted.get(at)
            {
                let opened = one(segment);
                done.lock().push((at, opened));
            }
        };
        on_threads(threads, work);
        let mut done = std::mem::take(&mut *done.lock());
        done.sort_by_key(|(at, _)| *at);
        let mut segments = Vec::with_capacity(done.len());
        for (_, opened) in done {
            let (segment, told) = opened?;
            report.sidecars_rebuilt.extend(told.sidecars_rebuilt);
            report.damage.extend(told.damage);
            segments.push(segment);
        }
        Ok(segments)
    }

    /// The bytes of a segment, and what is known of the file that was opened: beside a writer the
    /// name may stand for the next rewrite by now, which the file says itself.
    fn sealed_bytes(&self, info: &SegmentInfo, end: LogEnd) -> Result<(SegmentBytes, SegmentInfo)> {
        let name = info.name();
        let bytes = self.bytes_of(&name, end.offset)?;
        let mut info = info.clone();
        if self.read_only && info.header.rewrite != REWRITE_NOT_KNOWN {
            let unread = |error| Error::io(format!("cannot read {name}"), error);
            let mut source = source_of(&bytes, end.offset);
            let block = source.bytes(0, SEGMENT_HEADER_BYTES).map_err(unread)?;
            info.header = SegmentHeader::decode(block, &name).unwrap_or(info.header);
        }
        Ok((bytes, info))
    }

    /// A sidecar answers also for a file that was cut below the end its successor names: nothing
    /// else would notice before the lost events are read.
    fn check_length(&self, info: &SegmentInfo, end: LogEnd, report: &mut OpenReport) -> Result<()> {
        let name = info.name();
        let unread = |error| Error::io(format!("cannot read {name}"), error);
        let file = self.disk.open(&name, Access::Read).map_err(unread)?;
        let size = file.size().map_err(unread)?;
        let what = "segment is shorter than its successor says";
        match size < end.offset && !planted!(ShortSegmentPassed) {
            false => Ok(()),
            true if !self.read_only => Err(Error::damaged(name, size, what)),
            true => {
                report.damage.push(Damage {
                    file: name,
                    offset: size,
                    first_position: None,
                    last_position: None,
                    what: what.into(),
                });
                Ok(())
            }
        }
    }

    /// A sealed segment with a sidecar that is there and checks.
    pub(crate) fn with_sidecar(&self, info: &SegmentInfo, end: LogEnd) -> Option<Segment> {
        let (bytes, info) = self.sealed_bytes(info, end).ok()?;
        let sidecar = self.open_sidecar(info.number, &binding_of(&info, end)).ok()?;
        Some(segment_of(&info, bytes, SegmentIndex::Sidecar(sidecar), end.offset))
    }

    fn open_sidecar(&self, number: u64, binding: &Binding) -> Result<Sidecar<Mapped>, String> {
        Sidecar::open(self.map_sidecar(number)?, binding)
    }

    fn map_sidecar(&self, number: u64) -> Result<Mapped, String> {
        map_file(&**self.disk, &name_of(FileName::Sidecar(number)))
    }

    /// Writes the sidecar and answers from it; a disk without room for it is served from memory.
    fn write_sidecar(
        &self,
        number: u64,
        index: TailIndex,
        binding: &Binding,
    ) -> Result<SegmentIndex> {
        let Ok(bytes) = encode(&index, binding) else {
            return Ok(SegmentIndex::Memory(RwLock::new(index)));
        };
        let name = name_of(FileName::Sidecar(number));
        let written = replace_file(&**self.disk, Purpose::Sidecar, &name, &[&bytes]);
        match written.ok().and_then(|()| self.open_sidecar(number, binding).ok()) {
            Some(sidecar) => Ok(SegmentIndex::Sidecar(sidecar)),
            None => Ok(SegmentIndex::Memory(RwLock::new(index))),
        }
    }

    /// A segment that was just sealed: its index in memory becomes a sidecar. `None` when that
    /// could not be done; then it stays in memory, and the next opening makes the sidecar.
    pub(crate) fn seal(&self, segment: &Segment, store: Uuid, end: LogEnd) -> Option<Segment> {
        let SegmentIndex::Memory(index) = &segment.index else { return None };
        let binding = binding(store, segment.number, segment.first_position.get(), end);
        let binding = Binding { rewrite: segment.rewrite, ..binding };
        let bytes = encode(&index.read(), &binding).ok()?;
        let name = name_of(FileName::Sidecar(segment.number));
        replace_file(&**self.disk, Purpose::Sidecar, &name, &[&bytes]).ok()?;
        let sidecar = self.open_sidecar(segment.number, &binding).ok()?;
        Some(Segment {
            number: segment.number,
            name: segment.name.clone(),
            seed: segment.seed,
            first_position: segment.first_position,
            rewrite: segment.rewrite,
            bytes: self.bytes_of(&segment.name, end.offset).ok()?,
            index: SegmentIndex::Sidecar(sidecar),
            readable: AtomicU64::new(end.offset),
        })
    }

    /// The segment that is written, indexed up to `limit`.
    pub(crate) fn tail(
        &self,
        info: &SegmentInfo,
        limit: FoldLimit,
        report: &mut OpenReport,
    ) -> Result<Segment> {
        let file = open_to_read(&**self.disk, &info.name())?;
        self.tail_in(file, info, limit, report)
    }

    /// The same for one whose file is open already: its name may have gone to a rewrite since.
    pub(crate) fn tail_in(
        &self,
        file: Arc<dyn DiskFile>,
        info: &SegmentInfo,
        limit: FoldLimit,
        report: &mut OpenReport,
    ) -> Result<Segment> {
        let bytes = SegmentBytes::File(file);
        let folded = fold_segment(&mut *source_of(&bytes, limit.offset), info, limit)?;
        report.damage.extend(folded.damage);
        let index = SegmentIndex::Memory(RwLock::new(folded.index));
        Ok(segment_of(info, bytes, index, limit.offset))
    }
}

/// A file, to be read.
pub(crate) fn open_to_read(disk: &dyn Disk, name: &str) -> Result<Arc<dyn DiskFile>> {
    let file = disk.open(name, Access::Read);
    file.map_err(|error| Error::io(format!("cannot open {name}"), error))
}

fn bytes_of(disk: &dyn Disk, name: &str, length: u64, map: bool) -> Result<SegmentBytes> {
    let file = open_to_read(disk, name)?;
    if map && let Ok(map) = file.map(length) {
        return Ok(SegmentBytes::Mapped(map));
    }
    Ok(SegmentBytes::File(file))
}

/// The index of a segment whose sidecar turned out not to check, made from the log. Readers are
/// waiting, so damage is worked around and answered where it is read. The bad sidecar is thrown
/// away for the next opening to make again, unless there is damage: then nothing is touched.
fn make_later(
    disk: &dyn Disk,
    info: &SegmentInfo,
    end: LogEnd,
    bytes: Result<SegmentBytes>,
    (why, later): (&str, &Mutex<FoundLater>),
) -> TailIndex {
    let limit = FoldLimit::named(end, true);
    let folded = bytes
        .and_then(|bytes| fold_segment(&mut *source_of(&bytes, end.offset), info, limit))
        .map(|folded| (folded.index, folded.damage));
    let first = info.first_position();
    let (index, damage) = folded.unwrap_or_else(|error| {
        // Nothing of it can be read: every position answers so.
        let mut index = TailIndex::new(Position::new(first));
        (first..end.next_position).for_each(|_| index.push_damaged());
        let damage = Damage {
            file: info.name(),
            offset: 0,
            first_position: Some(Position::new(first)),
            last_position: Some(Position::new(end.next_position.saturating_sub(1))),
            what: error.to_string(),
        };
        (index, vec![damage])
    });
    let file = name_of(FileName::Sidecar(info.number));
    if damage.is_empty() {
        let _ = disk.remove(&file);
    }
    let mut later = later.lock();
    later.rebuilt.push(SidecarRebuilt { file, why: why.to_owned() });
    later.damage.extend(damage);
    index
}

fn segment_of(info: &SegmentInfo, bytes: SegmentBytes, index: SegmentIndex, end: u64) -> Segment {
    Segment {
        number: info.number,
        name: info.name(),
        seed: info.seed,
        first_position: Position::new(info.first_position()),
        rewrite: info.header.rewrite,
        bytes,
        index,
        readable: AtomicU64::new(end),
    }
}

/// What the sidecar of a segment is made for: offsets are those of one file, not of the log.
pub(super) fn binding_of(info: &SegmentInfo, end: LogEnd) -> Binding {
    let rewrite = if planted!(SidecarNotRebound) { 0 } else { info.header.rewrite };
    let of_log = binding(info.header.store, info.number, info.first_position(), end);
    Binding { rewrite, ..of_log }
}

/// Which segment of the log, whatever file holds it.
pub(super) fn binding(store: Uuid, number: u64, first_position: u64, end: LogEnd) -> Binding {
    bind((store, number), (AFTER_OPENING, first_position), end)
}

/// What the index of a part of a segment is made for.
pub(super) fn binding_between(store: Uuid, number: u64, from: Place, to: LogEnd) -> Binding {
    bind((store, number), (from.offset, from.expected.position), to)
}

fn bind((store, number): (Uuid, u64), (start, first_position): (u64, u64), end: LogEnd) -> Binding {
    Binding {
        store,
        segment: number,
        start_offset: start,
        end_offset: end.offset,
        end_frame: end.frame,
        chain: end.chain,
        first_position: Position::new(first_position),
        rewrite: 0,
        events: u32::try_from(end.next_position.saturating_sub(first_position)).unwrap_or(u32::MAX),
    }
}

/// An empty segment that was just begun, in this file.
pub(crate) fn begun(
    file: Arc<dyn DiskFile>,
    number: u64,
    seed: u32,
    first_position: Position,
    readable: u64,
) -> Arc<Segment> {
    Arc::new(Segment {
        number,
        name: name_of(FileName::Segment(number)),
        seed,
        first_position,
        rewrite: 0,
        bytes: SegmentBytes::File(file),
        index: SegmentIndex::Memory(RwLock::new(TailIndex::new(first_position))),
        readable: AtomicU64::new(readable),
    })
}
