//! Layer 4.4: open a log for writing: judge its end, and carry the verdict out.
//!
//! Knows: the order of steps that may each crash and be repeated. Does not know: indexes. Nothing
//! that may have been acknowledged is ever overwritten or cut: what survives uncertified is copied
//! into a fresh segment, and only when that is durable under its name is anything cut off.

use uuid::Uuid;

use super::base::TrimBase;
use super::ending::TailEnd;
use super::files::{failed, is_ours, keep_copy, replace_file, wipe_leftover};
use super::fresh::{Fresh, Survivors};
use super::head::HeadFile;
use super::live::LiveFile;
use super::stage::{COMMIT_BLOCK, Cursor, Stage};
use super::survey::{Claim, FIRST_FRAME, LogEnd, SegmentInfo, Survey, survey};
use super::tail::{Tail, TailStart};
use super::trim::clear_trimmed;
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    FileName, FrameKind, Head, Opening, Predecessor, Purpose, SegmentHeader, Walker, name_of,
};
use crate::segment::{EndVerdict, Place, SegmentBytes};
use crate::sync::Arc;
use crate::types::{Error, OpenReport, Position, Recovery, Result, SetAside, Settings};

/// A log open for writing.
pub(crate) struct Recovered {
    pub store: Uuid,
    /// What is known of trimmed segments.
    pub base: Option<Arc<TrimBase>>,
    /// In order; the last is the tail's.
    pub segments: Vec<SegmentInfo>,
    pub tail: Tail,
}

/// Opens the log in `disk`, making it when there is none. The caller holds the lock. `claims` tells
/// what indexes of parts of the tail say, so that the walk may begin behind them.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    settings: &Settings,
    now: u64,
    claims: &dyn Fn(&SegmentInfo) -> Vec<Claim>,
    report: &mut OpenReport,
) -> Result<Recovered> {
    let mut found = match survey(&**disk)? {
        Some(found) => found,
        None => {
            report.created = true;
            create(&**disk, settings)?;
            survey(&**disk)?
                .ok_or_else(|| Error::invalid("the store vanished while it was made"))?
        }
    };
    if settings.recovery == Recovery::RebuildHead {
        found.accept_lost_head();
    }
    found.refuse_damage()?;
    refuse_backup(&**disk, &found.head)?;
    report.notes.extend(found.notes.iter().cloned());
    remove_temporaries(&**disk)?;
    let step = u32::from(!planted!(EpochStays));
    let epoch = found.epoch.checked_add(step).ok_or_else(|| {
        Error::damaged(name_of(FileName::Head(0)), 40, "there is no writer epoch left")
    })?;
    let recovering = Recovering { disk, settings, now, epoch, claims };
    if found.segments.is_empty() {
        recovering.begin(found, report)
    } else {
        recovering.go_on(found, report)
    }
}

/// Whoever appended to a backup would make it another store under the same name.
fn refuse_backup(disk: &dyn Disk, head: &Head) -> Result<()> {
    if !head.backup {
        return Ok(());
    }
    let text = format!(
        "{} is a backup: restore it into another directory, or open it read-only",
        disk.location()
    );
    Err(Error::invalid(text))
}

fn create(disk: &dyn Disk, settings: &Settings) -> Result<()> {
    let names = disk.list().map_err(|e| Error::io("cannot list the directory", e))?;
    let hidden = |name: &str| name.starts_with('.') || name == "lost+found";
    if let Some(name) = names.iter().find(|name| !is_ours(name) && !hidden(name)) {
        let place = disk.location();
        let text = format!("{place} holds {name:?} and no store: a store wants its own directory");
        return Err(Error::invalid(text));
    }
    let first = Head::first(Uuid::new_v4(), settings.id_scope);
    let head = Head { generation: 1, ..first };
    replace_file(disk, Purpose::Head, &name_of(FileName::Head(1)), &[&head.encode()])
}

/// Throws away what an interrupted preparation left; such a file was never anything.
fn remove_temporaries(disk: &dyn Disk) -> Result<()> {
    let names = disk.list().map_err(|e| Error::io("cannot list the directory", e))?;
    for name in names {
        if let Some(FileName::Temporary(purpose)) = FileName::parse(&name) {
            if purpose == Purpose::Keyring {
                wipe_leftover(disk, &name);
            }
            disk.remove(&name).map_err(failed("remove", &name))?;
        }
    }
    Ok(())
}

struct Recovering<'a> {
    disk: &'a Arc<dyn Disk>,
    settings: &'a Settings,
    now: u64,
    epoch: u32,
    claims: &'a dyn Fn(&SegmentInfo) -> Vec<Claim>,
}

impl Recovering<'_> {
    /// There is no segment with an opening frame: the log is empty.
    fn begin(&self, found: Survey, report: &mut OpenReport) -> Result<Recovered> {
        let certified = found.certified_beyond_unopened(&**self.disk)?;
        if certified > 0 && !planted!(LostOpeningTakenForNone) {
            let what = "the log's first segment has no opening frame though frames were durable";
            let name = name_of(FileName::Segment(found.head.first_segment));
            return Err(Error::damaged(name, FIRST_FRAME, what).at(Position::new(1)));
        }
        let head = self.next_epoch(&found, 0)?;
        let number = found.head.first_segment;
        if let Some(torn) = found.unopened.filter(|file| !file.blank) {
            self.set_aside(torn.number, FIRST_FRAME, u64::MAX, report)?;
        }
        report.verdict = "the log is empty";
        report.clean = report.created;
        let cursor = Cursor { offset: FIRST_FRAME, number: 1, position: 1, chain: 0 };
        let nothing = Opening { predecessor: Predecessor::default(), last_recorded_at: 0 };
        let stage = self.fresh(number, &head, cursor, nothing, None)?;
        self.finish(found, head, number, stage, 0)
    }

    fn go_on(&self, mut found: Survey, report: &mut OpenReport) -> Result<Recovered> {
        let Some(tail) = found.segments.last().cloned() else {
            return Err(Error::invalid("a log without segments cannot go on"));
        };
        let name = tail.name();
        let file = self.disk.open(&name, Access::Write).map_err(failed("open", &name))?;
        // A writer that was killed may have left bytes that only the page cache holds.
        file.sync().map_err(failed("sync", &name))?;
        self.disk.sync_dir().map_err(failed("sync the directory of", &name))?;
        found.settle_tail(&file, &(self.claims)(&tail))?;
        let end = found.judge_tail(&file, &**self.disk)?;
        report.verdict = end.row;
        report.clean = end.walk.last_kind == FrameKind::Closed && end.verdict == EndVerdict::Clean;
        match end.verdict {
            EndVerdict::Unsupported => Err(end.unsupported(name)),
            EndVerdict::Damaged => Err(end.damage(&found, tail.number)),
            EndVerdict::Clean if !self.shares_block(&end) => self.continue_here(found, &end),
            EndVerdict::Clean | EndVerdict::Rescue | EndVerdict::Torn => {
                if planted!(CutBeforeSetAside) {
                    file.set_size(end.walk.good.offset).map_err(failed("cut", &name))?;
                }
                if end.verdict == EndVerdict::Torn {
                    self.set_torn_aside(&found, &end, tail.number, report)?;
                }
                if tail.opening.number > end.certified {
                    return self.again(found, &tail, &file, &end, report);
                }
                let from = end.walk.certified_end(end.certified);
                report.frames_rescued = end.walk.good.expected.number - from.expected.number;
                let head = self.next_epoch(&found, from.expected.number - 1)?;
                if planted!(CutBeforeCopied) {
                    file.set_size(from.offset).map_err(failed("cut", &name))?;
                }
                let stage = self.fresh_after(&tail, &head, &file, from, &end)?;
                let number = tail.number + 1;
                let log_end = end_at(from);
                if let Some(last) = found.segments.last_mut() {
                    last.end = Some(log_end);
                }
                let done =
                    self.finish(found, head, number, stage, end.walk.good.last_recorded_at)?;
                // Bytes beyond the named end are dead now; give their space back.
                file.set_size(from.offset).map_err(failed("cut", &name))?;
                Ok(done)
            }
        }
    }

    /// Nothing says that even the opening frame of the tail is on disk: it may be only in the page
    /// cache, and a successor that named it would stand on nothing after a power cut. The segment
    /// is made again under its own number.
    fn again(
        &self,
        mut found: Survey,
        tail: &SegmentInfo,
        file: &Arc<dyn DiskFile>,
        end: &TailEnd,
        report: &mut OpenReport,
    ) -> Result<Recovered> {
        let (good, opening) = (end.walk.good, tail.opening);
        report.frames_rescued = good.expected.number - opening.number - 1;
        let head = self.next_epoch(&found, opening.number - 1)?;
        let cursor = Cursor {
            offset: FIRST_FRAME,
            number: opening.number,
            position: opening.first_position,
            chain: opening.chain,
        };
        let survivors = Survivors {
            file: SegmentBytes::File(file.clone()),
            walker: Walker::new(tail.seed, tail.start.offset, tail.start.expected),
            until: good.offset,
            name: tail.name(),
        };
        let stage = self.fresh(tail.number, &head, cursor, tail.opened, Some(survivors))?;
        found.segments.pop();
        self.finish(found, head, tail.number, stage, good.last_recorded_at)
    }

    /// Whether the next commit would share a block with synced bytes though it may not: the end was
    /// written by a store that did not mind.
    fn shares_block(&self, end: &TailEnd) -> bool {
        let aligned = end.walk.good.offset.is_multiple_of(COMMIT_BLOCK);
        self.settings.align_commit && !end.sealed && !aligned
    }

    /// Everything is certified and nothing follows: write on in the same segment.
    fn continue_here(&self, found: Survey, end: &TailEnd) -> Result<Recovered> {
        let place = end.walk.good;
        let head = self.next_epoch(&found, place.expected.number - 1)?;
        self.write_on(found, head, cursor_at(place), (place.last_recorded_at, end.sealed))
    }

    /// The last segment found is the tail; everything before `cursor` is durable.
    fn write_on(
        &self,
        found: Survey,
        head: Arc<HeadFile>,
        cursor: Cursor,
        (last_recorded_at, sealed): (u64, bool),
    ) -> Result<Recovered> {
        let Some(info) = found.segments.last() else {
            return Err(Error::invalid("a log without segments cannot go on"));
        };
        let tail = Tail::open(TailStart {
            disk: self.disk.clone(),
            head: head.clone(),
            live: LiveFile::open(&**self.disk, found.live.as_ref())?,
            number: info.number,
            cursor,
            indexed: cursor_at(info.settled.unwrap_or(info.start)),
            durable: cursor.number - 1,
            epoch: self.epoch,
            first_position: info.first_position(),
            last_recorded_at,
            sealed,
            capacity: self.settings.segment_bytes,
            align: self.settings.align_commit,
        })?;
        let now = head.get();
        // Both generations of the head say by now where the log begins.
        clear_trimmed(&**self.disk, &now)?;
        Ok(Recovered { store: now.store, base: found.base, segments: found.segments, tail })
    }

    /// The new writer epoch is durable before the first frame that carries it.
    fn next_epoch(&self, found: &Survey, durable: u64) -> Result<Arc<HeadFile>> {
        let head = Arc::new(HeadFile::new(self.disk.clone(), found.head.clone()));
        head.update(|head| {
            head.epoch = self.epoch;
            head.durable = head.durable.max(durable);
        })?;
        Ok(head)
    }

    fn set_torn_aside(
        &self,
        found: &Survey,
        end: &TailEnd,
        number: u64,
        report: &mut OpenReport,
    ) -> Result<()> {
        let good = end.walk.good;
        report.frames_set_aside = end.walk.stop_number - good.expected.number + end.following;
        if end.used > good.offset && !end.sealed && !planted!(TornBytesThrownAway) {
            self.set_aside(number, good.offset, end.used, report)?;
        }
        match found.unopened.filter(|file| !file.blank) {
            Some(file) => self.set_aside(file.number, FIRST_FRAME, u64::MAX, report),
            None => Ok(()),
        }
    }

    /// Copies bytes into a file of their own; the originals stay for now.
    fn set_aside(&self, number: u64, from: u64, to: u64, report: &mut OpenReport) -> Result<()> {
        let name = name_of(FileName::Segment(number));
        let kept = name_of(FileName::SetAside(number, from, self.epoch));
        let bytes = keep_copy(&**self.disk, &name, (from, to), &kept)?;
        report.set_aside.push(SetAside { file: name, offset: from, bytes, kept_in: kept });
        Ok(())
    }

    /// A fresh segment after `tail`, holding the whole batches between `from` and the walk's end.
    fn fresh_after(
        &self,
        tail: &SegmentInfo,
        head: &Arc<HeadFile>,
        file: &Arc<dyn DiskFile>,
        from: Place,
        end: &TailEnd,
    ) -> Result<Stage> {
        let predecessor = Predecessor {
            number: tail.number,
            end: from.offset,
            frame: from.expected.number - 1,
            chain: from.expected.chain,
        };
        let cursor = Cursor { offset: FIRST_FRAME, ..cursor_at(from) };
        let survivors = Survivors {
            file: SegmentBytes::File(file.clone()),
            walker: Walker::new(tail.seed, from.offset, from.expected),
            until: end.walk.good.offset,
            name: tail.name(),
        };
        let opening = Opening { predecessor, last_recorded_at: from.last_recorded_at };
        self.fresh(tail.number + 1, head, cursor, opening, Some(survivors))
    }

    /// Builds a segment with its opening frame, the survivors and a mark, puts it in place and
    /// lists it.
    fn fresh(
        &self,
        number: u64,
        head: &Arc<HeadFile>,
        cursor: Cursor,
        opening: Opening,
        survivors: Option<Survivors>,
    ) -> Result<Stage> {
        let Head { store, id_scope, .. } = head.get();
        let fresh = Fresh {
            disk: &**self.disk,
            header: SegmentHeader {
                store,
                number,
                id_scope,
                capacity: self.settings.segment_bytes,
                created_at: self.now,
                rewrite: 0,
            },
            epoch: self.epoch,
            align: self.settings.align_commit,
        };
        let stage = fresh.make(cursor, &opening, survivors)?;
        head.update(|head| {
            head.last_segment = head.last_segment.max(number);
            head.durable = stage.cursor.number - 1;
        })?;
        Ok(stage)
    }

    fn finish(
        &self,
        mut found: Survey,
        head: Arc<HeadFile>,
        number: u64,
        stage: Stage,
        last_recorded_at: u64,
    ) -> Result<Recovered> {
        let again = survey(&**self.disk)?;
        let fresh = again.and_then(|s| s.segments.into_iter().find(|s| s.number == number));
        let Some(fresh) = fresh else {
            let name = name_of(FileName::Segment(number));
            return Err(Error::damaged(name, FIRST_FRAME, "fresh segment does not read back"));
        };
        found.segments.push(fresh);
        self.write_on(found, head, stage.cursor, (last_recorded_at, false))
    }
}

fn cursor_at(place: Place) -> Cursor {
    let expected = place.expected;
    let (number, position, chain) = (expected.number, expected.position, expected.chain);
    Cursor { offset: place.offset, number, position, chain }
}

fn end_at(place: Place) -> LogEnd {
    LogEnd {
        offset: place.offset,
        frame: place.expected.number - 1,
        chain: place.expected.chain,
        next_position: place.expected.position,
    }
}
