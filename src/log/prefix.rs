//! Layer 4.4: what holds the log of a directory up to a position, whole batches only; reads only.
//!
//! Knows: where segments end, and what is durable. Does not know: why somebody asks. Whatever is
//! named here is never cut or written again by the store it belongs to, as long as it is `settled`.

use uuid::Uuid;

use super::base::TrimBase;
use super::files::failed;
use super::survey::{FIRST_FRAME, LogEnd, SegmentInfo, Survey, survey};
use crate::disk::{Access, Disk};
use crate::format::{FileName, Head, Step, Walker, decode_event, name_of};
use crate::segment::{EndVerdict, FileSource, Place, last_time};
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Position, Result};

/// How often what looks damaged is looked at again: it may only have been read while it was
/// written.
const LOOKS: usize = 5;

/// A segment, and how far it belongs to a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub info: SegmentInfo,
    pub end: LogEnd,
    /// The next segment names this end, and that is durable: not even a recovery cuts the file
    /// before it any more.
    pub settled: bool,
}

/// The beginning of a log, up to the end of a batch.
#[derive(Debug)]
pub(crate) struct Prefix {
    pub head: Head,
    /// What is known of trimmed segments, which it does not have either.
    pub base: Option<Arc<TrimBase>>,
    /// The newest writer epoch that anything names.
    pub epoch: u32,
    pub spans: Vec<Span>,
    /// Of its last event.
    pub last_recorded_at: u64,
}

impl Prefix {
    /// Its last event.
    pub(crate) fn position(&self) -> Position {
        Position::new(self.spans.last().map_or(0, |span| span.end.next_position - 1))
    }

    /// Its last frame.
    pub(crate) fn frame(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.end.frame)
    }

    /// The number of its last segment; the one before the first when there is none.
    pub(crate) fn last_segment(&self) -> u64 {
        self.spans.last().map_or(self.head.first_segment - 1, |span| span.info.number)
    }

    /// All bytes of its segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.spans.iter().map(|span| span.end.offset).sum()
    }
}

/// The longest prefix of the log in `disk` that is durable and has nothing after `through`.
///
/// # Errors
/// `NotFound`, `Damaged`, `Unsupported`, `Io`; `Invalid` when the log ends before `through`,
/// `Trimmed` when an event after `through` was trimmed.
pub(crate) fn prefix_of(disk: &dyn Disk, through: Option<Position>) -> Result<Prefix> {
    let mut outcome = look(disk, through);
    for _ in 0..LOOKS {
        match &outcome {
            Err(error) if error.kind() == ErrorKind::Damaged => outcome = look(disk, through),
            _ => break,
        }
    }
    outcome
}

fn look(disk: &dyn Disk, through: Option<Position>) -> Result<Prefix> {
    let Some(found) = survey(disk)? else {
        let text = format!("there is no store in {}", disk.location());
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    found.refuse_damage()?;
    let mut prefix = Prefix {
        head: found.head.clone(),
        base: found.base.clone(),
        epoch: found.epoch,
        spans: Vec::new(),
        last_recorded_at: 0,
    };
    let Some((certified, watermark)) = watermark(&found, disk)? else {
        refuse_beyond(through, Position::START)?;
        return Ok(prefix);
    };
    refuse_beyond(through, Position::new(watermark.expected.position - 1))?;
    refuse_trimmed(through, prefix.base.as_deref())?;
    for (at, info) in found.segments.iter().enumerate() {
        // Of a trimmed log, at least the opening of its first segment: what is made goes on there.
        let needed = at == 0 && prefix.base.is_some();
        let after = through.is_some_and(|last| info.first_position() > last.get());
        if after && !needed || info.opening.number > certified {
            break;
        }
        let next = found.segments.get(at + 1);
        let within = |end: &LogEnd| {
            end.frame <= certified && through.is_none_or(|last| end.next_position <= last.get() + 1)
        };
        if let (Some(next), Some(end)) = (next, info.end.filter(within)) {
            let settled = next.opening.number <= certified;
            prefix.spans.push(Span { info: info.clone(), end, settled });
            prefix.last_recorded_at = next.opened.last_recorded_at;
            continue;
        }
        let place = match (next, through) {
            (None, None) => watermark,
            _ => last_place(disk, info, certified, through)?,
        };
        let end = LogEnd {
            offset: place.offset,
            frame: place.expected.number - 1,
            chain: place.expected.chain,
            next_position: place.expected.position,
        };
        prefix.spans.push(Span { info: info.clone(), end, settled: false });
        prefix.last_recorded_at = place.last_recorded_at;
        break;
    }
    Ok(prefix)
}

/// The id of the last event of a prefix, also when it was trimmed; `None` when there never was one.
pub(crate) fn last_id(disk: &dyn Disk, prefix: &Prefix) -> Result<Option<Uuid>> {
    for span in prefix.spans.iter().rev() {
        let name = span.info.name();
        let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
        let mut source = FileSource::new(file, span.end.offset);
        let mut walker = span.info.walker();
        let mut last = None;
        while let Step::Frame(frame) = walker.step(&mut source).map_err(failed("read", &name))? {
            let ids = frame.records().filter_map(|(_, record)| Some(decode_event(&record)?.id()));
            last = ids.last().or(last);
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(prefix.base.as_ref().map(|base| base.end().last_id))
}

fn refuse_trimmed(through: Option<Position>, base: Option<&TrimBase>) -> Result<()> {
    let Some((asked, base)) = through.zip(base) else { return Ok(()) };
    let first = Position::new(base.end().first_position);
    if asked.next() >= first {
        return Ok(());
    }
    let text = format!("what follows position {asked} was trimmed: the log begins at {first}");
    Err(Error::new(ErrorKind::Trimmed, text).at(first))
}

fn refuse_beyond(through: Option<Position>, last: Position) -> Result<()> {
    let Some(asked) = through.filter(|asked| *asked > last) else { return Ok(()) };
    let text = format!("position {asked} is not in the log, which ends at {last}");
    Err(Error::invalid(text).at(asked))
}

/// The highest certified frame, and the place after it; `None` for a log without events or frames.
fn watermark(found: &Survey, disk: &dyn Disk) -> Result<Option<(u64, Place)>> {
    let Some(tail) = found.segments.last() else {
        if found.certified_beyond_unopened(disk)? > 0 {
            let name = name_of(FileName::Segment(found.head.first_segment));
            return Err(Error::damaged(name, FIRST_FRAME, "segment has no opening frame"));
        }
        return Ok(None);
    };
    let name = tail.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let end = found.judge_tail(&file, disk)?;
    match end.verdict {
        EndVerdict::Unsupported => Err(end.unsupported(name)),
        EndVerdict::Damaged => Err(end.damage(found, tail.number)),
        _ => Ok(Some((end.certified, end.walk.certified_end(end.certified)))),
    }
}

/// The last place between the batches of a segment with no frame above `certified` and no event
/// after `through` before it.
fn last_place(
    disk: &dyn Disk,
    info: &SegmentInfo,
    certified: u64,
    through: Option<Position>,
) -> Result<Place> {
    let name = info.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let limit = info.end.map_or(u64::MAX, |end| end.offset);
    // A rewritten segment ends behind its last frame, before the end that is named.
    let last_frame = info.end.map_or(certified, |end| end.frame.min(certified));
    let mut source = FileSource::new(file, limit);
    let mut place = info.start;
    place.expected.epoch_max = u32::MAX;
    let mut walker = Walker::new(info.seed, place.offset, place.expected);
    let mut last_recorded_at = place.last_recorded_at;
    while walker.offset < limit && walker.expected.number <= last_frame {
        match walker.step(&mut source).map_err(failed("read", &name))? {
            Step::Frame(frame) => last_recorded_at = last_time(&frame).unwrap_or(last_recorded_at),
            Step::Unsupported => {
                let what = "segment contains a frame of a newer format";
                return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, walker.offset));
            }
            Step::Bad(bad) => {
                let what = format!("frame {}: {}", walker.expected.number, bad.in_words());
                let at = Position::new(walker.expected.position);
                return Err(Error::damaged(name, walker.offset, what).at(at));
            }
        }
        if through.is_some_and(|last| walker.expected.position > last.get() + 1) {
            break;
        }
        if walker.open.is_none() {
            place = Place { offset: walker.offset, expected: walker.expected, last_recorded_at };
        }
    }
    Ok(place)
}
