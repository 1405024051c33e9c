//! Layer 4.4: check every checksum and every link of a log; reads only.
//!
//! Knows: the whole log. Does not know: indexes. It takes no lock and writes nothing, so it also
//! runs beside a writer: what that one has not made durable is not judged.

use std::ops::Range;

use super::ending::TailEnd;
use super::files::failed;
use super::survey::{FIRST_FRAME, LogEnd, SegmentInfo, Survey, survey};
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    Bad, FRAME_HEADER_BYTES, FileName, Frame, FrameHeader, FrameKind, RecordKind, Seal, Source,
    Step, Walker, each_whole_record, name_of, positions_of,
};
use crate::segment::{EndVerdict, FileSource, later_header};
use crate::sync::Arc;
use crate::types::{Damage, Error, ErrorKind, Position, Result, SidecarRebuilt};

/// Bytes at the end of the log that belong to no acknowledged batch, or bytes at the end of a file
/// beside it (`checkpoints`, `snapshots`, `keyring`) that do not check: of a save that was
/// interrupted, or, after a clean close, damage to the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The file.
    pub file: String,
    /// Where they begin, in bytes.
    pub offset: u64,
    /// How many bytes up to the last that is not zero.
    pub bytes: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Nothing is damaged and nothing is torn.
    pub clean: bool,
    /// Events that check, those included whose data was reclaimed.
    pub events: u64,
    /// Of these, events in whole batches at the end that nothing names as durable, such as one that
    /// was being written when the process was killed. Nobody is served them until the next opening
    /// for writing has made them durable.
    pub uncertified: u64,
    /// Of these, events whose data was reclaimed.
    pub reclaimed: u64,
    /// Positions whose events an earlier salvage could not save, and which say so.
    pub lost: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Frames that check.
    pub frames: u64,
    /// An unfinished, unacknowledged end, which the next opening for writing sets aside.
    pub torn: Option<TornTail>,
    /// Acknowledged bytes that no longer check.
    pub damage: Vec<Damage>,
    /// Indexes that do not check or say something else than the log, when that was asked for. They
    /// are no part of the log and no damage: the next opening for writing makes them anew, but for
    /// those that check and are wrong, which `repair` does.
    pub doubtful: Vec<SidecarRebuilt>,
    /// Indexes that are not there, or are not for this log, when that was asked for, such as those
    /// of a store that was just restored. It is no fault: the next opening for writing makes them.
    pub absent: Vec<SidecarRebuilt>,
}

/// How often what looks bad is looked at again.
const LOOKS: usize = 5;

type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Verifies the log in `disk`. What looks bad once may only have been read while it was written; it
/// counts when it is found again.
pub(crate) fn verify_log(disk: &dyn Disk, progress: Progress<'_>) -> Result<VerifyReport> {
    let mut report = verify_once(disk, progress)?;
    for _ in 0..LOOKS {
        if report.clean {
            break;
        }
        let again = verify_once(disk, &mut |_, _| ())?;
        let same = again.damage == report.damage && again.torn == report.torn;
        report = again;
        if same {
            break;
        }
    }
    Ok(report)
}

fn verify_once(disk: &dyn Disk, progress: Progress<'_>) -> Result<VerifyReport> {
    let Some(found) = survey(disk)? else {
        let text = format!("there is no store in {}", disk.location());
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    let mut report = VerifyReport {
        damage: found.damage.clone(),
        segments: found.segments.len() as u64,
        ..VerifyReport::default()
    };
    if let Some(base) = &found.base
        && let Err(error) = base.check_ids()
    {
        push_damage(&mut report, base.name(), error.offset().unwrap_or(0), error.message());
    }
    let sealed = |segment: &SegmentInfo| segment.end.map_or(0, |end| end.offset);
    let mut total: u64 = found.segments.iter().map(sealed).sum();
    total += found.segments.last().map_or(Ok(0), |tail| tail_bytes(disk, tail))?;
    let mut done = 0;
    for (segment, next) in found.segments.iter().zip(found.segments.iter().skip(1)) {
        match segment.end {
            Some(end) => verify_sealed(disk, segment, end, &mut report)?,
            None => verify_severed(disk, segment, next, &mut report)?,
        }
        done += sealed(segment);
        progress(done, total);
    }
    verify_tail(disk, &found, &mut report)?;
    progress(total, total);
    Ok(finished(report))
}

/// Verifies one segment of the log.
pub(crate) fn verify_segment(disk: &dyn Disk, number: u64) -> Result<VerifyReport> {
    let missing = || {
        let text = format!("there is no segment {number} in {}", disk.location());
        Error::new(ErrorKind::NotFound, text)
    };
    let found = survey(disk)?.ok_or_else(missing)?;
    let name = name_of(FileName::Segment(number));
    let mut report = VerifyReport { segments: 1, ..VerifyReport::default() };
    report.damage.extend(found.damage.iter().filter(|damage| damage.file == name).cloned());
    let mut rest = found.segments.iter().skip_while(|segment| segment.number != number);
    match (rest.next(), rest.next()) {
        (Some(segment), Some(next)) => match segment.end {
            Some(end) => verify_sealed(disk, segment, end, &mut report)?,
            None => verify_severed(disk, segment, next, &mut report)?,
        },
        (Some(_), None) => verify_tail(disk, &found, &mut report)?,
        // A spare, or one that cannot be read at all.
        (None, _) if found.unopened.is_some_and(|file| file.number == number) => {}
        (None, _) if report.damage.is_empty() => return Err(missing()),
        (None, _) => {}
    }
    Ok(finished(report))
}

fn finished(mut report: VerifyReport) -> VerifyReport {
    report.clean = report.damage.is_empty() && report.torn.is_none();
    report
}

fn tail_bytes(disk: &dyn Disk, tail: &SegmentInfo) -> Result<u64> {
    let name = tail.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    file.size().map_err(failed("read", &name))
}

/// How far a segment is walked.
struct Bounds {
    offset: u64,
    /// The last frame, if it is named: a rewritten segment ends behind it, before `offset`.
    frame: u64,
    /// The position after its last event.
    next_position: u64,
    /// It may end before `offset`: nobody says where.
    open_ended: bool,
}

fn verify_sealed(
    disk: &dyn Disk,
    segment: &SegmentInfo,
    end: LogEnd,
    report: &mut VerifyReport,
) -> Result<()> {
    let name = segment.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let mut source = FileSource::new(file, end.offset);
    let LogEnd { offset, frame, next_position, .. } = end;
    let bounds = Bounds { offset, frame, next_position, open_ended: false };
    let (before, counted) = (report.damage.len(), (report.events, report.lost, report.reclaimed));
    let walker = verify_frames(&mut source, segment, &bounds, report)?;
    let at_end = walker.offset == end.offset || segment.header.rewrite > 0;
    let follows = match walker.expected.number == end.frame + 1 {
        true => at_end && walker.expected.chain == end.chain,
        false => report.damage.len() > before,
    };
    if !follows {
        // Nothing tells which of its frames are the log's: none is served.
        report.damage.truncate(before);
        (report.events, report.lost, report.reclaimed) = counted;
        let (first, next) = (segment.first_position(), end.next_position);
        report.damage.push(Damage {
            file: name,
            offset: end.offset,
            first_position: (first < next).then(|| Position::new(first)),
            last_position: (first < next).then(|| Position::new(next - 1)),
            what: "segment does not end as its successor says".into(),
        });
    }
    Ok(())
}

/// A segment whose successor is lost, so that nobody says where it ends: what stands between its
/// last good frame and the next segment that is there is gone.
fn verify_severed(
    disk: &dyn Disk,
    segment: &SegmentInfo,
    next: &SegmentInfo,
    report: &mut VerifyReport,
) -> Result<()> {
    let name = segment.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let offset = file.size().map_err(failed("read", &name))?;
    let mut source = FileSource::new(file, offset);
    let frame = u64::MAX;
    let next_position = next.first_position();
    let bounds = Bounds { offset, frame, next_position, open_ended: true };
    let walker = verify_frames(&mut source, segment, &bounds, report)?;
    let (first, end) = (walker.expected.position, next.first_position());
    let lost = |number: u64| (segment.number + 1..=next.number).contains(&number);
    for damage in &mut report.damage {
        let of_gap = match FileName::parse(&damage.file) {
            Some(FileName::Segment(number)) => lost(number) && damage.offset <= FIRST_FRAME,
            _ => false,
        };
        if of_gap && first < end {
            damage.first_position = Some(Position::new(first));
            damage.last_position = Some(Position::new(end - 1));
        }
    }
    Ok(())
}

/// Walks a segment's frames, going on behind every bad one.
fn verify_frames(
    source: &mut dyn Source,
    segment: &SegmentInfo,
    bounds: &Bounds,
    report: &mut VerifyReport,
) -> Result<Walker> {
    let name = segment.name();
    let mut walker = segment.walker();
    report.frames += 1;
    while walker.offset < bounds.offset && walker.expected.number <= bounds.frame {
        let bad = match walker.step(source).map_err(failed("read", &name))? {
            Step::Frame(frame) => {
                report.frames += 1;
                report.events += u64::from(frame.header.events - frame.lost);
                report.lost += u64::from(frame.lost);
                if segment.header.rewrite > 0 {
                    report.reclaimed += stubs_in(&frame);
                }
                let events = walker.expected.position.saturating_sub(segment.first_position());
                let sealed = frame.header.kind == FrameKind::Seal;
                if sealed && !seal_is_true(&frame, events) {
                    push_damage(report, &name, frame.offset, "seal says something else");
                }
                if sealed && bounds.open_ended {
                    break;
                }
                continue;
            }
            Step::Unsupported => {
                let what = "segment contains a frame of a newer format";
                return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, walker.offset));
            }
            Step::Bad(Bad::Blank) if bounds.open_ended => break,
            Step::Bad(bad) => bad,
        };
        let (from, first) = (walker.offset, walker.expected.position);
        let range = from + 8..bounds.offset;
        let next = later_header(source, range, segment.seed, &walker.expected)
            .map_err(failed("read", &name))?;
        let following = next.map_or(bounds.next_position, |(_, header)| header.first_position);
        let what = format!("frame {}: {}", walker.expected.number, bad.in_words());
        let whole = match bad {
            Bad::Misplaced => Whole::default(),
            _ => whole_in(source, segment, (from, bounds.offset), first..following.max(first))?,
        };
        report.events += whole.events;
        report.lost += whole.lost;
        whole.push_others(report, (&name, from, &what));
        match next {
            Some((offset, header)) => walker.jump(offset, &header),
            None => break,
        }
    }
    Ok(walker)
}

/// What still checks of a frame that does not: it is read and salvaged as ever.
#[derive(Debug, Default)]
struct Whole {
    events: u64,
    /// Positions of events that an earlier salvage could not save.
    lost: u64,
    /// Where positions are that cannot be served.
    others: Vec<Range<u64>>,
}

fn whole_in(
    source: &mut dyn Source,
    segment: &SegmentInfo,
    (at, end): (u64, u64),
    positions: Range<u64>,
) -> Result<Whole> {
    let name = segment.name();
    let unread = || failed("read", &name);
    let (mut whole, mut next) = (Whole::default(), positions.start);
    let head = source.bytes(at, FRAME_HEADER_BYTES).map_err(unread())?;
    if let Some(header) = FrameHeader::decode(head, segment.seed, at) {
        let length = u64::from(header.length).min(end - at);
        let frame = source.bytes(at, usize::try_from(length).unwrap_or(0)).map_err(unread())?;
        each_whole_record(frame, &header, segment.seed, &mut |_, record| {
            let (here, count) = (record.head.position, positions_of(record).unwrap_or(0));
            if count == 0 || here < next || here >= positions.end {
                return;
            }
            match record.head.kind {
                RecordKind::Lost => whole.lost += u64::from(count),
                _ => whole.events += 1,
            }
            whole.others.extend((next < here).then_some(next..here));
            next = here + u64::from(count);
        });
    }
    whole.others.extend((next < positions.end).then_some(next..positions.end));
    Ok(whole)
}

impl Whole {
    fn push_others(&self, report: &mut VerifyReport, (file, offset, what): (&str, u64, &str)) {
        if self.others.is_empty() {
            push_damage(report, file, offset, what);
        }
        for others in &self.others {
            report.damage.push(Damage {
                file: file.into(),
                offset,
                first_position: Some(Position::new(others.start)),
                last_position: Some(Position::new(others.end - 1)),
                what: what.into(),
            });
        }
    }
}

fn stubs_in(frame: &Frame<'_>) -> u64 {
    frame.records().filter(|(_, record)| record.head.kind == RecordKind::Stub).count() as u64
}

/// Whether a seal frame holds one seal record and nothing else, with the segment's count of events.
fn seal_is_true(frame: &Frame<'_>, events: u64) -> bool {
    let mut records = frame.records().map(|(_, record)| record);
    let first = records.next().filter(|record| record.head.kind == RecordKind::Seal);
    let seal = first.and_then(|record| Seal::decode(record.body));
    seal.is_some_and(|seal| seal.events == events) && records.next().is_none()
}

fn push_damage(report: &mut VerifyReport, file: &str, offset: u64, what: &str) {
    report.damage.push(Damage {
        file: file.into(),
        offset,
        first_position: None,
        last_position: None,
        what: what.into(),
    });
}

fn verify_tail(disk: &dyn Disk, found: &Survey, report: &mut VerifyReport) -> Result<()> {
    let Some(tail) = found.segments.last() else {
        if report.damage.is_empty() {
            report.damage.extend(found.lost_opening(disk)?);
        }
        return Ok(());
    };
    let name = tail.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let end = found.judge_tail(&file, disk)?;
    let good = end.walk.good;
    if end.verdict == EndVerdict::Damaged {
        return verify_damaged_tail(found, tail, &end, (file, report));
    }
    report.frames += end.walk.frames + 1;
    report.events += good.expected.position - tail.start.expected.position - end.walk.lost;
    report.lost += end.walk.lost;
    let certified = end.walk.certified_end(end.certified).expected.position;
    report.uncertified = good.expected.position.saturating_sub(certified);
    match end.verdict {
        EndVerdict::Clean | EndVerdict::Rescue | EndVerdict::Damaged => {}
        EndVerdict::Unsupported => {
            let what = "the log contains a frame of a newer format";
            return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, end.walk.stop));
        }
        EndVerdict::Torn => {
            let bytes = end.used.saturating_sub(good.offset);
            report.torn = Some(TornTail { file: name, offset: good.offset, bytes });
        }
    }
    Ok(())
}

/// What of a damaged tail still checks, and which positions do not.
fn verify_damaged_tail(
    found: &Survey,
    tail: &SegmentInfo,
    end: &TailEnd,
    (file, report): (Arc<dyn DiskFile>, &mut VerifyReport),
) -> Result<()> {
    let mark = found.live.filter(|mark| mark.frame >= end.walk.stop_number);
    let within = mark.filter(|mark| mark.segment == tail.number);
    let offset = within.map_or(end.used.max(end.walk.stop), |mark| mark.end);
    let next_position = mark.map_or(0, |mark| mark.next_position);
    let bounds = Bounds { offset, frame: u64::MAX, next_position, open_ended: false };
    let before = report.damage.len();
    let walker = verify_frames(&mut FileSource::new(file, offset), tail, &bounds, report)?;
    if report.damage.len() > before {
        return Ok(());
    }
    // Everything here checks; what is missing was behind it.
    let first = walker.expected.position;
    let (file, offset) = end.place(tail.number);
    report.damage.push(Damage {
        file,
        offset,
        first_position: (first < next_position).then(|| Position::new(first)),
        last_position: (first < next_position).then(|| Position::new(next_position - 1)),
        what: format!(
            "frame {} is missing though frames up to {} were durable",
            end.walk.stop_number, end.certified
        ),
    });
    Ok(())
}
