//! Layer 4.5: the pieces of one file of a store, whole or damaged, one after the other; reads only.
//!
//! Knows: what stands at each place and whether it checks. Does not know: verdicts; it shows what
//! `verify` judges. Never more than one frame is in memory.

use uuid::Uuid;

use super::files::{failed, read_small};
use super::head::read_heads;
use super::pieces::{frame_piece, number, record_piece, text};
use super::survey::{FIRST_FRAME, find_segment};
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    Bad, Base, Expected, FRAME_HEADER_BYTES, FileName, FrameHeader, Head, KEYED_ALIGN, KeyedStep,
    LIVE_BYTES, LiveMark, RECORD_HEAD_BYTES, RecordHead, SegmentHeader, Source, Step, Walker,
    chain_after, find_header, keyed_seed, keyed_step, name_of, segment_seed,
};
use crate::segment::FileSource;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Piece, Result};

/// How far a dump goes, and what it leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DumpBounds {
    pub from: u64,
    pub headers_only: bool,
    pub store: Option<Uuid>,
}

type Visit<'a> = &'a mut dyn FnMut(Piece) -> bool;

/// Tells `visit` every piece of the file until it answers false.
pub(crate) fn dump_file(
    disk: &dyn Disk,
    name: &str,
    bounds: DumpBounds,
    visit: Visit<'_>,
) -> Result<()> {
    let file = disk.open(name, Access::Read).map_err(failed("open", name))?;
    let size = file.size().map_err(failed("read", name))?;
    // Of a head that is of another format nothing is taken.
    let head = read_heads(disk).ok().and_then(|read| read.newest);
    let mut from_here = |piece: Piece| {
        let before = piece.bytes > 0 && piece.offset + piece.bytes <= bounds.from;
        before || visit(piece)
    };
    let dump = Dump { disk, name, file, size, head, bounds };
    match FileName::parse(name) {
        Some(FileName::Segment(number)) => dump.segment(number, &mut from_here),
        Some(FileName::Head(_)) => dump.head(&mut from_here),
        Some(FileName::Live) => dump.live(&mut from_here),
        Some(FileName::Base(_)) => dump.base(&mut from_here),
        Some(FileName::Checkpoints) => dump.keyed(1, &mut from_here),
        Some(FileName::Snapshots) => dump.keyed(2, &mut from_here),
        Some(FileName::SetAside(..) | FileName::Kept(..)) => {
            dump.whole("set aside", &mut from_here);
            Ok(())
        }
        Some(FileName::Sidecar(_) | FileName::Part(..) | FileName::Heads) => {
            dump.whole("index", &mut from_here);
            Ok(())
        }
        _ if SegmentHeader::decode(&dump.block()?, name).is_ok() => dump.segment(0, &mut from_here),
        _ => {
            dump.whole("bytes", &mut from_here);
            Ok(())
        }
    }
}

struct Dump<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    file: Arc<dyn DiskFile>,
    size: u64,
    head: Option<Head>,
    bounds: DumpBounds,
}

impl Dump<'_> {
    fn source(&self) -> FileSource {
        FileSource::new(self.file.clone(), u64::MAX)
    }

    fn block(&self) -> Result<Vec<u8>> {
        Ok(read_small(self.disk, self.name, FIRST_FRAME)?.unwrap_or_default())
    }

    fn whole(&self, kind: &'static str, visit: Visit<'_>) {
        visit(Piece::new(0, self.size, kind));
    }

    fn head(&self, visit: Visit<'_>) -> Result<()> {
        let bytes = read_small(self.disk, self.name, 64 << 10)?.unwrap_or_default();
        let mut piece = Piece::new(0, self.size, "head");
        match Head::decode(&bytes, self.name) {
            Ok(head) => {
                piece.fields = vec![
                    ("store", text(head.store.to_string())),
                    ("generation", number(head.generation)),
                    ("epoch", number(head.epoch)),
                    ("first_segment", number(head.first_segment)),
                    ("last_segment", number(head.last_segment)),
                    ("durable", number(head.durable)),
                    ("base", number(head.base)),
                    ("ancestors", number(head.ancestors.len() as u64)),
                ];
            }
            Err(error) => piece.problem = Some(error.message().to_owned()),
        }
        visit(piece);
        Ok(())
    }

    fn base(&self, visit: Visit<'_>) -> Result<()> {
        let bytes = self.file.map(self.size).map_err(failed("read", self.name))?;
        let mut piece = Piece::new(0, self.size, "trim base");
        match Base::open(bytes, self.name) {
            Ok(base) => {
                let end = base.end();
                piece.fields = vec![
                    ("store", text(end.store.to_string())),
                    ("number", number(end.number)),
                    ("first_segment", number(end.first_segment)),
                    ("frame", number(end.frame)),
                    ("first_position", number(end.first_position)),
                    ("last_recorded_at", number(end.last_recorded_at)),
                    ("last_id", text(end.last_id.to_string())),
                    ("streams", number(base.len() as u64)),
                    ("checkpoints", number(base.checkpoints().count() as u64)),
                    ("settings", number(base.settings().count() as u64)),
                    ("ids", number(base.ids().count() as u64)),
                ];
                let ids = base.ids_check();
                piece.problem = (!ids).then(|| "ids of trimmed events do not check".to_owned());
            }
            Err(error) => piece.problem = Some(error.message().to_owned()),
        }
        visit(piece);
        Ok(())
    }

    fn live(&self, visit: Visit<'_>) -> Result<()> {
        let bytes = read_small(self.disk, self.name, LIVE_BYTES as u64)?.unwrap_or_default();
        for slot in [0, LIVE_BYTES / 2].into_iter().filter(|slot| *slot == 0 || *slot < bytes.len())
        {
            let half = bytes.get(slot..).unwrap_or_default();
            let half = half.get(..LIVE_BYTES / 2).unwrap_or(half);
            let mut piece = Piece::new(slot as u64, half.len() as u64, "mark");
            match LiveMark::decode(half) {
                Some(mark) => {
                    piece.fields = vec![
                        ("store", text(mark.store.to_string())),
                        ("epoch", number(mark.epoch)),
                        ("sequence", number(mark.sequence)),
                        ("durable", number(mark.frame)),
                        ("next_position", number(mark.next_position)),
                        ("segment", number(mark.segment)),
                        ("end", number(mark.end)),
                    ];
                }
                None if half.iter().all(|byte| *byte == 0) => piece.kind = "zeros",
                None => piece.problem = Some("the mark does not check".into()),
            }
            if !visit(piece) {
                break;
            }
        }
        Ok(())
    }

    fn keyed(&self, kind: u8, visit: Visit<'_>) -> Result<()> {
        let Some(store) = self.bounds.store.or(self.head.as_ref().map(|head| head.store)) else {
            return Err(self.no_store());
        };
        let (seed, mut source) = (keyed_seed(store, kind), self.source());
        let (mut at, mut bad) = (0, None);
        while at < self.size {
            let step = keyed_step(&mut source, seed, at).map_err(failed("read", self.name))?;
            let (KeyedStep::Entry(entry), from) = (step, bad) else {
                bad = bad.or(Some(at));
                at += KEYED_ALIGN;
                continue;
            };
            if let Some(from) = from {
                let mut piece = Piece::new(from, at - from, "gap");
                piece.problem = Some("no entry checks here".into());
                if !visit(piece) {
                    return Ok(());
                }
                bad = None;
            }
            let mut piece = Piece::new(at, entry.end - at, "entry");
            let key = entry.key.iter().copied().filter(|byte| *byte >= 32).collect::<Vec<u8>>();
            piece.fields = vec![
                ("sequence", number(entry.sequence)),
                ("key", text(String::from_utf8_lossy(&key).into_owned())),
                ("value_bytes", number(entry.value.map_or(0, <[u8]>::len) as u64)),
                ("removed", number(entry.value.is_none())),
            ];
            at = entry.end;
            if !visit(piece) {
                return Ok(());
            }
        }
        if let Some(from) = bad {
            let mut piece = Piece::new(from, self.size.saturating_sub(from), "gap");
            piece.problem = Some("no entry checks up to the end".into());
            visit(piece);
        }
        Ok(())
    }

    fn no_store(&self) -> Error {
        let what = "nothing here says which store it is of; name its UUID";
        Error::invalid(what).in_file(self.name, 0)
    }

    fn segment(&self, named: u64, visit: Visit<'_>) -> Result<()> {
        let mut piece = Piece::new(0, FIRST_FRAME.min(self.size), "header");
        let decoded = SegmentHeader::decode(&self.block()?, self.name);
        let (store, of) = match decoded {
            Ok(header) => {
                piece.fields = vec![
                    ("store", text(header.store.to_string())),
                    ("segment", number(header.number)),
                    ("prepared_bytes", number(header.capacity)),
                    ("made_at", number(header.created_at)),
                ];
                if named > 0 && header.number != named {
                    piece.problem = Some("it is of another segment than its name says".into());
                }
                (header.store, header.number)
            }
            Err(error) => {
                piece.problem = Some(error.message().to_owned());
                let origin = self.head.as_ref().map(|head| head.origin_of(named));
                let known = self.bounds.store.or(origin).filter(|_| named > 0);
                let Some(store) = known else {
                    visit(piece);
                    return Err(self.no_store());
                };
                (store, named)
            }
        };
        let store = self.bounds.store.unwrap_or(store);
        if !visit(piece) {
            return Ok(());
        }
        self.frames(segment_seed(store, of), self.named_end(of), visit)
    }

    /// Where the next segment says that this one ends.
    fn named_end(&self, of: u64) -> Option<u64> {
        let next = find_segment(self.disk, self.head.as_ref()?, of.checked_add(1)?).ok()??;
        Some(next.predecessor_end().offset)
    }

    fn frames(&self, seed: u32, end: Option<u64>, visit: Visit<'_>) -> Result<()> {
        let unread = || failed("read", self.name);
        let mut source = self.source();
        let mut at = FIRST_FRAME;
        let mut expected: Option<Expected> = None;
        let mut told_end = end.is_none();
        while at < self.size {
            if !told_end && end.is_some_and(|end| at >= end) {
                told_end = true;
                let mut piece = Piece::new(at, 0, "end");
                let what = "the next segment says that this one ends here; what follows is dead";
                piece.fields = vec![("says", text(what))];
                if !visit(piece) {
                    return Ok(());
                }
            }
            let dead = end.is_some_and(|end| at >= end);
            // Of what ends before the first offset asked for, nothing but its length is looked at.
            let before = |end: u64| end <= self.bounds.from;
            let bytes = source.bytes(at, FRAME_HEADER_BYTES).map_err(unread())?;
            let Some(header) = FrameHeader::decode(bytes, seed, at) else {
                let found = find_header(&mut source, at + 8..self.size, seed).map_err(unread())?;
                let mut next = found.map_or(self.size, |(offset, _)| offset);
                if let Some(end) = end.filter(|end| at < *end) {
                    next = next.min(end);
                }
                if !before(next) && !self.gap(&mut source, (at, next), dead, visit)? {
                    return Ok(());
                }
                (at, expected) = (next, None);
                continue;
            };
            let next = at + u64::from(header.length);
            if before(next) {
                (at, expected) = (next, Some(expected_after(&header)));
                continue;
            }
            let problem = self.problem_of(&mut source, (seed, at, &header), expected)?;
            let mut piece = frame_piece(at, &header, dead);
            // It may say that it is longer than what is left of the file.
            piece.bytes = piece.bytes.min(self.size - at);
            piece.problem = problem.map(str::to_owned);
            if !visit(piece) {
                return Ok(());
            }
            if !self.bounds.headers_only
                && !self.records(&mut source, (seed, at, &header), visit)?
            {
                return Ok(());
            }
            (at, expected) = (next, Some(expected_after(&header)));
        }
        Ok(())
    }

    /// Why the frame is not good where it stands; the first after a gap follows nothing.
    fn problem_of(
        &self,
        source: &mut FileSource,
        (seed, at, header): (u32, u64, &FrameHeader),
        expected: Option<Expected>,
    ) -> Result<Option<&'static str>> {
        let own = Expected {
            number: header.number,
            position: header.first_position,
            chain: header.chain,
            epoch_min: 0,
            epoch_max: u32::MAX,
        };
        let mut walker = Walker::new(seed, at, expected.unwrap_or(own));
        // A frame alone cannot say whether it fits its batch.
        Ok(match walker.step(source).map_err(failed("read", self.name))? {
            Step::Frame(_) | Step::Bad(Bad::Batch) => None,
            Step::Bad(bad) => Some(bad.in_words()),
            Step::Unsupported => Some("it is of a newer format"),
        })
    }

    fn gap(
        &self,
        source: &mut FileSource,
        (from, to): (u64, u64),
        dead: bool,
        visit: Visit<'_>,
    ) -> Result<bool> {
        let (mut at, mut blank) = (from, true);
        while at < to && blank {
            let want = usize::try_from((to - at).min(64 << 10)).unwrap_or(0);
            let bytes = source.bytes(at, want).map_err(failed("read", self.name))?;
            let bytes = bytes.get(..want).unwrap_or(bytes);
            if bytes.is_empty() {
                break;
            }
            blank = bytes.iter().all(|byte| *byte == 0);
            at += bytes.len() as u64;
        }
        let mut piece = Piece::new(from, to - from, if blank { "zeros" } else { "gap" });
        piece.fields = vec![("dead", number(dead))];
        piece.problem = (!blank).then(|| "no frame header checks here".into());
        Ok(visit(piece))
    }

    /// The records of a frame, as far as their heads check.
    fn records(
        &self,
        source: &mut FileSource,
        (seed, frame, header): (u32, u64, &FrameHeader),
        visit: Visit<'_>,
    ) -> Result<bool> {
        let end = (frame + u64::from(header.length)).min(self.size);
        let mut at = frame + FRAME_HEADER_BYTES as u64;
        while at < end {
            let head = source.bytes(at, RECORD_HEAD_BYTES).map_err(failed("read", self.name))?;
            let Some(head) = RecordHead::decode(head, seed) else {
                let mut piece = Piece::new(at, end - at, "gap");
                piece.depth = 1;
                piece.problem = Some("no record head checks here".into());
                return Ok(visit(piece));
            };
            let length = head.record_bytes().min(usize::try_from(end - at).unwrap_or(0));
            let bytes = source.bytes(at, length).map_err(failed("read", self.name))?;
            let mut piece = record_piece(at, &head, bytes, seed);
            piece.bytes = piece.bytes.min(end - at);
            if !visit(piece) {
                return Ok(false);
            }
            at += head.record_bytes() as u64;
        }
        Ok(true)
    }
}

/// What the frame after this one says, if it belongs there.
fn expected_after(header: &FrameHeader) -> Expected {
    Expected {
        number: header.number.saturating_add(1),
        position: header.first_position.saturating_add(header.events.into()),
        chain: chain_after(header),
        epoch_min: header.epoch,
        epoch_max: u32::MAX,
    }
}

/// The names of the files of a store that have a format, segments last.
pub(crate) fn dumpable(disk: &dyn Disk) -> Result<Vec<String>> {
    let names = disk.list().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("there is no {}", disk.location()))
        }
        _ => Error::io(format!("cannot list {}", disk.location()), error),
    })?;
    let mut known: Vec<FileName> = names.iter().filter_map(|name| FileName::parse(name)).collect();
    known.retain(|file| !matches!(file, FileName::Lock | FileName::Temporary(_)));
    known.sort();
    Ok(known.into_iter().map(name_of).collect())
}
