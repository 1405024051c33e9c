//! Layer 4.4: check every checksum and every link of a log; reads only.
//!
//! Knows: the whole log. Does not know: indexes. It takes no lock and writes nothing, so it also
//! runs beside a writer: what that one has not made durable is not judged.

use super::files::failed;
use super::survey::{FIRST_FRAME, SegmentInfo, Survey, survey};
use crate::disk::{Access, Disk};
use crate::format::{FileName, Frame, FrameKind, RecordKind, Seal, Step, Walker, name_of};
use crate::segment::{EndVerdict, FileSource, later_header};
use crate::types::{Damage, Error, ErrorKind, Position, Result};

/// Bytes at the end of the log that belong to no acknowledged batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment file.
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
    /// Events that check.
    pub events: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Frames that check.
    pub frames: u64,
    /// An unfinished, unacknowledged end, which the next opening for writing sets aside.
    pub torn: Option<TornTail>,
    /// Acknowledged bytes that no longer check.
    pub damage: Vec<Damage>,
}

type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Verifies the log in `disk`.
pub(crate) fn verify_log(disk: &dyn Disk, progress: Progress<'_>) -> Result<VerifyReport> {
    let Some(found) = survey(disk)? else {
        let text = format!("there is no store in {}", disk.location());
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    let mut report = VerifyReport {
        damage: found.damage.clone(),
        segments: found.segments.len() as u64,
        ..VerifyReport::default()
    };
    let sealed = |segment: &SegmentInfo| segment.end.map_or(0, |end| end.offset);
    let mut total: u64 = found.segments.iter().map(sealed).sum();
    total += found.segments.last().map_or(Ok(0), |tail| tail_bytes(disk, tail))?;
    let mut done = 0;
    for segment in found.segments.iter().filter(|segment| segment.end.is_some()) {
        verify_sealed(disk, segment, found.epoch, &mut report)?;
        done += sealed(segment);
        progress(done, total);
    }
    verify_tail(disk, &found, &mut report)?;
    progress(total, total);
    report.clean = report.damage.is_empty() && report.torn.is_none();
    Ok(report)
}

fn tail_bytes(disk: &dyn Disk, tail: &SegmentInfo) -> Result<u64> {
    let name = tail.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    file.size().map_err(failed("read", &name))
}

fn verify_sealed(
    disk: &dyn Disk,
    segment: &SegmentInfo,
    epoch: u32,
    report: &mut VerifyReport,
) -> Result<()> {
    let Some(end) = segment.end else { return Ok(()) };
    let name = segment.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let mut source = FileSource::new(file, end.offset);
    let mut start = segment.start;
    start.expected.epoch_max = epoch;
    let mut walker = Walker::new(segment.seed, start.offset, start.expected);
    report.frames += 1;
    while walker.offset < end.offset {
        let unread = failed("read", &name);
        let bad = match walker.step(&mut source).map_err(unread)? {
            Step::Frame(frame) => {
                report.frames += 1;
                report.events += u64::from(frame.header.events);
                let events = walker.expected.position - segment.first_position();
                if frame.header.kind == FrameKind::Seal && !seal_is_true(&frame, events) {
                    push_damage(report, &name, frame.offset, "seal says something else");
                }
                continue;
            }
            Step::Unsupported => {
                let what = "segment contains a frame of a newer format";
                return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, walker.offset));
            }
            Step::Bad(bad) => bad,
        };
        let (from, first) = (walker.offset, walker.expected.position);
        let range = from + 8..end.offset;
        let next = later_header(&mut source, range, segment.seed, &walker.expected)
            .map_err(failed("read", &name))?;
        let following = next.map_or(end.next_position, |(_, header)| header.first_position);
        let last = following.max(first).saturating_sub(1);
        let known = first <= last;
        report.damage.push(Damage {
            file: name.clone(),
            offset: from,
            first_position: known.then(|| Position::new(first)),
            last_position: known.then(|| Position::new(last)),
            what: format!("frame {} does not check ({bad:?})", walker.expected.number),
        });
        match next {
            Some((offset, header)) => walker.jump(offset, &header),
            None => return Ok(()),
        }
    }
    let ends = walker.offset == end.offset
        && walker.expected.number == end.frame + 1
        && walker.expected.chain == end.chain;
    if !ends {
        let what = "segment does not end as its successor says";
        push_damage(report, &name, end.offset, what);
    }
    Ok(())
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
        if found.certified_beyond_unopened(disk)? > 0 && report.damage.is_empty() {
            let name = name_of(FileName::Segment(found.head.first_segment));
            push_damage(report, &name, FIRST_FRAME, "segment has no opening frame");
        }
        return Ok(());
    };
    let name = tail.name();
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let end = found.judge_tail(&file, disk)?;
    let good = end.walk.good;
    report.frames += end.walk.frames + 1;
    report.events += good.expected.position - tail.start.expected.position;
    match end.verdict {
        EndVerdict::Clean | EndVerdict::Rescue => {}
        EndVerdict::Unsupported => {
            let what = "the log contains a frame of a newer format";
            return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, end.walk.stop));
        }
        EndVerdict::Torn => {
            let bytes = end.used.saturating_sub(good.offset);
            report.torn = Some(TornTail { file: name, offset: good.offset, bytes });
        }
        EndVerdict::Damaged => {
            let last = found.live.map_or(0, |mark| mark.next_position.saturating_sub(1));
            let first = good.expected.position;
            let (file, offset) = end.place(tail.number);
            report.damage.push(Damage {
                file,
                offset,
                first_position: Some(Position::new(first)),
                last_position: Some(Position::new(last.max(first))),
                what: format!(
                    "frame {} does not check though frames up to {} were durable",
                    end.walk.stop_number, end.certified
                ),
            });
        }
    }
    Ok(())
}
