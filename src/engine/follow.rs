//! Layer 6.7: follow a log that another process writes: no lock, no write.
//!
//! Knows: the live file, and that nothing beyond what it certifies is served. Does not know:
//! readers. Nothing once served ever disappears: only certified frames are, and recovery keeps
//! those.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::catalog::Catalog;
use super::fold::{FoldLimit, fold_segment, settings_of};
use super::gap::{add_gap, next_position};
use super::segment::{Segment, SegmentIndex};
use super::shared::{Engine, Parts};
use super::sidecars::{Opening, begun, open_to_read};
use crate::clock::monotonic;
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    CheckpointRecord, Frame, Head, LiveMark, LostRange, RecordKind, Step, Walker, decode_event,
};
use crate::index::CheckpointEntry;
use crate::log::{
    SegmentInfo, Survey, TailEnd, TrimBase, find_segment, read_heads, read_live, survey,
};
use crate::segment::{EndVerdict, FileSource, certified_extent};
use crate::sync::{Arc, Ordering, park_timeout};
use crate::types::{Error, ErrorKind, IdScope, OpenReport, Position, Result};

/// A place that stays unreadable for so long, although it is certified, is damage.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often what looks damaged is looked at again.
const LOOKS: usize = 5;
/// How often segments held in memory are looked up as sidecars.
const SIDECARS_EVERY: Duration = Duration::from_secs(1);
/// So many segments are then looked at for whether they were rewritten.
const LOOKED_AT: usize = 16;

/// How far a follower has come.
pub(super) struct Follower {
    head: Head,
    /// The segment it is in, and its file: a rewrite may take the name, and has other offsets.
    number: u64,
    file: Option<Arc<dyn DiskFile>>,
    walker: Walker,
    /// It worked around damage in the newest segment, whose positions may not be known to the end.
    stopped: bool,
    /// Something is damaged, and nothing says where the log ends.
    open_ended: bool,
}

impl Follower {
    /// Looks at the directory and indexes what is certified now.
    pub(super) fn open(parts: &Parts) -> Result<(Self, Catalog, OpenReport)> {
        let mut opened = Self::open_once(parts)?;
        for _ in 0..LOOKS {
            if opened.2.damage.is_empty() {
                break;
            }
            // What was read while a writer wrote it may look bad once; damage is found again.
            let again = Self::open_once(parts)?;
            let same = again.2.damage == opened.2.damage;
            opened = again;
            if same {
                break;
            }
        }
        Ok(opened)
    }

    fn open_once(parts: &Parts) -> Result<(Self, Catalog, OpenReport)> {
        let disk = &*parts.disk;
        let Some(mut found) = survey(disk)? else {
            let text = format!("there is no store in {}", disk.location());
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        found.read_behind_openings(disk)?;
        let mut report = OpenReport { damage: found.damage.clone(), ..OpenReport::default() };
        report.notes.extend(found.notes.iter().cloned());
        let mut catalog = Catalog::behind(found.base.clone());
        let opening = Opening { disk: &parts.disk, settings: &parts.settings, read_only: true };
        let first = found.head.first_segment;
        // Nothing is trimmed from a log that begins with segment 1.
        let begin = |info: &SegmentInfo| match &found.base {
            Some(base) => base.end().first_position,
            None if first == 1 => 1,
            None => info.first_position(),
        };
        let last = found.segments.len().saturating_sub(1);
        for (at, info) in found.segments.iter().enumerate() {
            let next = next_position(&catalog, begin(info));
            let number = catalog.segments.last().map_or(first, |segment| segment.number + 1);
            add_gap(&mut catalog, number, next, info.first_position());
            match info.end {
                _ if at == last => {}
                Some(end) => {
                    catalog.add(Arc::new(opening.sealed(info, end, &mut report)?));
                }
                None => {
                    catalog.add(Arc::new(open_ended(&opening, info, &mut report)?));
                }
            }
        }
        let mut follower = match found.segments.last() {
            Some(tail) => Self::open_tail(&opening, &found, tail, &mut catalog, &mut report)?,
            None => {
                let walker = Walker::new(0, 0, no_frame());
                report.damage.extend(found.lost_opening(disk)?);
                let stopped = !report.damage.is_empty();
                let head = found.head.clone();
                Self { head, number: first - 1, file: None, walker, stopped, open_ended: false }
            }
        };
        follower.lose_the_end(&found, &mut catalog);
        follower.open_ended = found.live.is_none() && !report.damage.is_empty();
        Ok((follower, catalog, report))
    }

    /// Segments after the last readable one are lost, up to where the log is certified to go.
    fn lose_the_end(&mut self, found: &Survey, catalog: &mut Catalog) {
        let beyond = found.live.filter(|mark| mark.segment > self.number);
        let damaged = self.stopped || !found.damage.is_empty();
        let Some(mark) = beyond.filter(|_| damaged) else { return };
        let next = next_position(catalog, 1);
        add_gap(catalog, self.number + 1, next, mark.next_position);
        catalog.last = Position::new(next_position(catalog, 1) - 1);
        self.stopped = true;
    }

    fn open_tail(
        opening: &Opening<'_>,
        found: &Survey,
        tail: &SegmentInfo,
        catalog: &mut Catalog,
        report: &mut OpenReport,
    ) -> Result<Self> {
        let name = tail.name();
        let file = open_to_read(&**opening.disk, &name)?;
        let end = found.judge_tail(&file, &**opening.disk)?;
        report.verdict = end.row;
        report.clean = end.walk.last_kind == crate::format::FrameKind::Closed
            && end.verdict == EndVerdict::Clean;
        if end.verdict == EndVerdict::Unsupported {
            let what = "the log contains a frame of a newer format";
            return Err(Error::new(ErrorKind::Unsupported, what).in_file(name, end.walk.stop));
        }
        let damaged = end.verdict == EndVerdict::Damaged;
        let limit = if damaged {
            limit_of_damaged(opening, found, tail, &end)?
        } else {
            let place = match planted!(FollowerBeyondDurable) {
                true => end.walk.good,
                false => end.walk.certified_end(end.certified),
            };
            let next_position = place.expected.position;
            let (offset, frame) = (place.offset, u64::MAX);
            FoldLimit { offset, frame, chain: None, next_position, tolerant: false }
        };
        let before = report.damage.len();
        let segment = opening.tail_in(file.clone(), tail, limit, report)?;
        if damaged && report.damage.len() == before {
            report.damage.push(crate::types::Damage {
                file: tail.name(),
                offset: end.walk.stop,
                first_position: None,
                last_position: None,
                what: "certified frames are missing".into(),
            });
        }
        let events = segment.events();
        catalog.add(Arc::new(segment));
        let next = tail.first_position() + u64::from(events);
        catalog.last = Position::new(next - 1);
        let place = end.walk.certified_end(end.certified);
        let mut expected = place.expected;
        expected.epoch_max = u32::MAX;
        Ok(Self {
            head: found.head.clone(),
            number: tail.number,
            file: Some(file),
            walker: Walker::new(tail.seed, place.offset, expected),
            stopped: damaged,
            open_ended: false,
        })
    }

    /// The last position at which there may be an event that nothing else tells of.
    pub(super) fn lost_through(&self, catalog: &Catalog) -> Position {
        if self.open_ended {
            return Position::new(u64::MAX);
        }
        let first = catalog.view().first_position();
        let unknown = match self.head.base != 0 && catalog.base.is_none() {
            true => Position::new(first.get().saturating_sub(1)),
            false => Position::START,
        };
        catalog.last_lost().unwrap_or(Position::START).max(unknown)
    }

    pub(super) fn identity(&self) -> (Uuid, IdScope) {
        (self.head.store, self.head.id_scope)
    }

    /// Takes in everything that the live file certifies.
    pub(super) fn catch_up(&mut self, parts: &Parts, catalog: &mut Catalog) -> Result<()> {
        let Some(mark) = read_live(&*parts.disk, self.head.store)? else { return Ok(()) };
        self.advance(&*parts.disk, &mark, |change| apply(catalog, change))
    }

    /// Walks on to the mark, telling `apply` about every segment and frame.
    fn advance(
        &mut self,
        disk: &dyn Disk,
        mark: &LiveMark,
        mut apply: impl FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.stopped {
            return Ok(());
        }
        while self.walker.expected.number <= mark.frame || self.number < mark.segment {
            let next = match self.number < mark.segment {
                true => find_segment(disk, &self.head, self.number + 1)?,
                false => None,
            };
            let end = next.as_ref().map(SegmentInfo::predecessor_end);
            let limit = match (self.number == mark.segment, end) {
                (true, _) => (mark.end, mark.frame),
                (false, Some(end)) => (end.offset, end.frame),
                // The next segment is not there yet although the mark is in it: look again later.
                (false, None) => return Ok(()),
            };
            if let Some(file) = self.file.clone()
                && self.walker.offset < limit.0
            {
                self.walk(file, limit, &mut apply)?;
            }
            match next {
                Some(info) => {
                    let start = info.start;
                    let mut expected = start.expected;
                    expected.epoch_max = u32::MAX;
                    self.walker = Walker::new(info.seed, start.offset, expected);
                    let file = open_to_read(disk, &info.name())?;
                    (self.number, self.file) = (info.number, Some(file.clone()));
                    apply(Change::Segment(file, &info))?;
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn walk(
        &mut self,
        file: Arc<dyn DiskFile>,
        (limit, last): (u64, u64),
        apply: &mut impl FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()> {
        let name = crate::format::name_of(crate::format::FileName::Segment(self.number));
        let unread = |error| Error::io(format!("cannot read {name}"), error);
        let mut source = FileSource::new(file, limit);
        while self.walker.offset < limit && self.walker.expected.number <= last {
            match self.walker.step(&mut source).map_err(unread)? {
                Step::Frame(frame) => apply(Change::Frame(&frame))?,
                Step::Unsupported => {
                    let what = "the log contains a frame of a newer format";
                    let error = Error::new(ErrorKind::Unsupported, what);
                    return Err(error.in_file(name, self.walker.offset));
                }
                Step::Bad(_) => {
                    let what = "certified frame does not check";
                    let at = Position::new(self.walker.expected.position);
                    return Err(Error::damaged(name, self.walker.offset, what).at(at));
                }
            }
        }
        apply(Change::Readable(limit))
    }
}

/// Something new in the log.
enum Change<'a> {
    Segment(Arc<dyn DiskFile>, &'a SegmentInfo),
    Frame(&'a Frame<'a>),
    Readable(u64),
}

fn no_frame() -> crate::format::Expected {
    crate::format::Expected { number: 0, position: 1, chain: 0, epoch_min: 0, epoch_max: u32::MAX }
}

/// How far a damaged tail is read.
pub(super) fn limit_of_damaged(
    opening: &Opening<'_>,
    found: &Survey,
    tail: &SegmentInfo,
    end: &TailEnd,
) -> Result<FoldLimit> {
    let live = found.live.filter(|mark| mark.segment == tail.number);
    let next_position = live.map_or(u64::MAX / 4, |mark| mark.next_position);
    // The last byte of a frame may be zero, so the walk may have come further.
    let seen = end.used.max(end.walk.stop);
    let offset = live.map_or(seen, |mark| mark.end.max(seen));
    let frame = u64::MAX;
    bounded(opening, tail, FoldLimit { offset, frame, chain: None, next_position, tolerant: true })
}

/// A segment whose successor is lost, and with it the word where this one ends. Recovery may have
/// ended it before its last frames and used their positions again, so only what the segment itself
/// names as durable is served.
fn open_ended(
    opening: &Opening<'_>,
    info: &SegmentInfo,
    report: &mut OpenReport,
) -> Result<Segment> {
    opening.tail(info, limit_of_severed(opening, info)?, report)
}

/// How far such a segment is read.
pub(super) fn limit_of_severed(opening: &Opening<'_>, info: &SegmentInfo) -> Result<FoldLimit> {
    let name = info.name();
    let unread = |error| Error::io(format!("cannot read {name}"), error);
    let file = opening.disk.open(&name, Access::Read).map_err(unread)?;
    let size = file.size().map_err(unread)?;
    let mut source = FileSource::new(file, u64::MAX);
    let range = info.start.offset..size;
    let offset = certified_extent(&mut source, range, info.seed).map_err(unread)?;
    let (frame, next_position) = (u64::MAX, u64::MAX / 4);
    let limit = FoldLimit { offset, frame, chain: None, next_position, tolerant: true };
    bounded(opening, info, limit)
}

/// For a damaged tail: how many positions there are, as its own frames tell.
fn bounded(opening: &Opening<'_>, tail: &SegmentInfo, limit: FoldLimit) -> Result<FoldLimit> {
    let name = tail.name();
    let file = opening.disk.open(&name, Access::Read);
    let file = file.map_err(|error| Error::io(format!("cannot open {name}"), error))?;
    let mut source = FileSource::new(file, limit.offset);
    let open_ended = FoldLimit { next_position: u64::MAX / 4, tolerant: true, ..limit };
    let folded = fold_segment(&mut source, tail, FoldLimit { next_position: 0, ..open_ended });
    let known = folded.map(|folded| folded.walker.expected.position).unwrap_or(0);
    let next_position = match limit.next_position {
        certain if certain < u64::MAX / 4 => certain,
        _ => known,
    };
    Ok(FoldLimit { next_position, ..limit })
}

fn apply(catalog: &mut Catalog, change: Change<'_>) -> Result<()> {
    let broken = |what: &str| Error::new(ErrorKind::Damaged, what);
    match change {
        Change::Segment(file, info) => {
            let first = Position::new(info.first_position());
            catalog.add(begun(file, info.number, info.seed, first, info.start.offset));
        }
        Change::Frame(frame) => {
            catalog.make_readable(frame.end());
            for (offset, record) in frame.records() {
                match record.head.kind {
                    RecordKind::Event | RecordKind::Stub => {
                        let event = decode_event(&record).ok_or_else(|| broken("bad event"))?;
                        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                        catalog.push(std::iter::once(Some((event, offset)))).map_err(broken)?;
                    }
                    RecordKind::Lost => {
                        let found = LostRange::decode(record.body);
                        let found = found.ok_or_else(|| broken("bad lost range"))?;
                        let lost = (record.head.position, found.positions);
                        catalog.push_lost(lost).map_err(broken)?;
                    }
                    RecordKind::Checkpoint => {
                        let found = CheckpointRecord::decode(record.body);
                        let found = found.ok_or_else(|| broken("bad checkpoint"))?;
                        catalog.push_checkpoint(CheckpointEntry {
                            name: found.name.to_owned(),
                            position: Position::new(found.position),
                            id: found.id,
                            frame: record.head.version,
                        });
                    }
                    RecordKind::Settings => {
                        let found = settings_of(&record).ok_or_else(|| broken("bad settings"))?;
                        catalog.push_settings(found);
                    }
                    _ => {}
                }
            }
        }
        Change::Readable(offset) => {
            catalog.make_readable(offset);
            // Only now: a mark is always after a whole batch, a frame may be a part of one.
            if let Some(segment) = catalog.segments.last() {
                let events = segment.events();
                catalog.last = Position::new(segment.first_position.get() + u64::from(events) - 1);
            }
        }
    }
    Ok(())
}

/// Follows until the store is closed.
pub(super) fn follow(engine: &Engine, mut follower: Follower) {
    let mut seen = 0;
    let mut trouble: Option<Instant> = None;
    let (mut sidecars, mut looked) = (monotonic(), 0);
    while !engine.closed.load(Ordering::Acquire) {
        // Closing unparks this thread.
        park_timeout(engine.settings.poll_interval);
        let mark = read_live(&*engine.disk, follower.head.store);
        let outcome = mark.and_then(|mark| match mark {
            Some(mark) if mark.sequence != seen || trouble.is_some() => {
                follower.follow_once(engine, &mark)?;
                seen = mark.sequence;
                Ok(())
            }
            _ => Ok(()),
        });
        if (outcome.is_err() || sidecars.elapsed() > SIDECARS_EVERY)
            && let Some(anew) = see_trim(engine, &mut follower)
        {
            follower = anew;
            seen = 0;
            continue;
        }
        match outcome {
            Ok(()) => trouble = None,
            Err(error) => {
                let since = *trouble.get_or_insert_with(monotonic);
                if since.elapsed() > PATIENCE {
                    *engine.poison.lock() = Some(error);
                    engine.watch.end();
                    return;
                }
            }
        }
        if sidecars.elapsed() > SIDECARS_EVERY {
            sidecars = monotonic();
            take_sidecars(engine, &follower.head, &mut looked);
        }
    }
}

impl Follower {
    fn follow_once(&mut self, engine: &Engine, mark: &LiveMark) -> Result<()> {
        let moved =
            self.advance(&*engine.disk, mark, |change| apply(&mut engine.catalog.write(), change));
        let last = engine.catalog.read().last;
        engine.publish(last, Some(last));
        engine.watch.wake();
        moved
    }
}

/// Lets go of what the writer has trimmed. Who has not come so far as the log begins now looks at
/// the directory anew: the follower that does is answered.
fn see_trim(engine: &Engine, follower: &mut Follower) -> Option<Follower> {
    let head = read_heads(&*engine.disk).ok()?.newest?;
    if head.first_segment <= follower.head.first_segment || head.store != follower.head.store {
        return None;
    }
    if head.first_segment <= follower.number {
        let base = TrimBase::open(&*engine.disk, head.base).ok()?;
        // A later trim may have come between.
        (base.end().first_segment == head.first_segment).then_some(())?;
        engine.catalog.write().trim(Arc::new(base));
        follower.head = head;
        return None;
    }
    let (disk, clock) = (engine.disk.clone(), engine.clock.clone());
    let parts = Parts { disk, clock, settings: engine.settings.clone() };
    let (anew, catalog, report) = Follower::open(&parts).ok()?;
    report.damage.is_empty().then_some(())?;
    let last = catalog.last;
    let mut there = engine.catalog.write();
    // What is set of streams may be something else.
    let (accept_lost, told) = (engine.settings.accept_lost, there.told + 1);
    *there = Catalog { accept_lost, told, ..catalog };
    drop(there);
    engine.publish(last, Some(last));
    engine.watch.wake();
    Some(anew)
}

/// Lets go of indexes in memory for which the writer has made a sidecar since; and, a few at a time
/// and all in turn, of files in whose place there is a rewritten one: they would stay on the disk.
fn take_sidecars(engine: &Engine, head: &Head, looked: &mut usize) {
    let segments = engine.catalog.read().segments.clone();
    let Some((_newest, sealed)) = segments.split_last() else { return };
    for segment in sealed.iter().filter(|segment| matches!(segment.index, SegmentIndex::Memory(_)))
    {
        let _ = engine.take_sidecar(head, segment);
    }
    for segment in sealed.iter().cycle().skip(*looked).take(LOOKED_AT.min(sealed.len())) {
        let found = find_segment(&*engine.disk, head, segment.number).ok().flatten();
        if found.is_some_and(|info| info.header.rewrite != segment.rewrite) {
            let _ = engine.take_sidecar(head, segment);
        }
    }
    *looked = (*looked + LOOKED_AT) % sealed.len().max(1);
}
