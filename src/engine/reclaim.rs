//! Layer 6.5: take the data of hidden events away, one sealed segment after the other.
//!
//! Knows: which segments may be rewritten now, and how readers get to the new file. Does not know:
//! which events are hidden: it is told, event by event; nor how a file is made (`log/rewrite.rs`).

use super::queue::closed;
use super::segment::{EventReader, Segment, SegmentIndex};
use super::shared::Engine;
use super::sidecars::Opening;
use crate::disk::Access;
use crate::format::{FileName, Head, name_of};
use crate::log::{CommitFailure, LogEnd, SegmentInfo, Tail, find_segment, rewrite_segment};
use crate::sync::Arc;
use crate::types::{
    Damage, Error, ErrorKind, EventRef, HiddenReason, OpenReport, ReclaimReport, Result,
    RewrittenSegment,
};

/// Says of an event why its data is to be taken away; `None`: it is kept.
pub(crate) type Verdict<'a> = &'a mut dyn FnMut(&EventRef<'_>) -> Option<HiddenReason>;

impl Engine {
    /// Rewrites every sealed segment that holds data of events for which there is a verdict. Never
    /// the newest segment; one that has no sidecar yet is left for the next time. What was
    /// rewritten before an error stays so, and the same call goes on from there. A segment with
    /// damage is left as it is, and reported.
    ///
    /// # Errors
    /// `DiskFull` or `Io`: the segment it came to is as it was, or its new file could not
    /// be read yet; `InDoubt`: either file may have the name after a power cut, and the store is
    /// poisoned; `Poisoned`, `Closed`, `Invalid`.
    pub(crate) fn reclaim(&self, verdict: Verdict<'_>) -> Result<ReclaimReport> {
        self.refuse_writing()?;
        // Not while a segment is locked: whoever rolls has the tail, and waits for that lock.
        let Some(head) = self.tail.lock().as_ref().map(Tail::head) else { return Err(closed()) };
        let mut report = ReclaimReport::default();
        let mut numbers: Vec<u64> = {
            let catalog = self.catalog.read();
            catalog.segments.iter().map(|segment| segment.number).collect()
        };
        numbers.dedup();
        numbers.pop(); // the one that is written
        for number in numbers {
            match self.reclaim_in(&head, number, verdict, &mut report) {
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    report.damage.push(damage_of(&error, number));
                }
                other => other?,
            }
        }
        Ok(report)
    }

    fn reclaim_in(
        &self,
        head: &Head,
        number: u64,
        verdict: Verdict<'_>,
        report: &mut ReclaimReport,
    ) -> Result<()> {
        let Some(segment) = self.segment_at_rest(number) else {
            report.left += 1;
            return Ok(());
        };
        report.segments += 1;
        let before = self.allocated(&segment.name);
        report.allocated_before += before;
        let (verdicts, events) = verdicts_on(&segment, verdict)?;
        if events > 0 {
            // In the weaker modes a power cut may take back what the verdicts rest on: not now.
            self.sync_now();
        }
        let _one_at_a_time = self.sealing.lock();
        self.refuse_writing()?;
        if !self.segment_at_rest(number).is_some_and(|now| Arc::ptr_eq(&now, &segment)) {
            // Somebody else has rewritten it.
            report.left += 1;
            report.allocated_after += self.allocated(&segment.name);
            return Ok(());
        }
        let place = self.place_of(head, number)?;
        let (Some((info, end)), true) = (place, events > 0) else {
            report.allocated_after += before;
            return Ok(());
        };
        let done = rewrite_segment(&*self.disk, &info, end, &verdicts);
        let done = done.map_err(|failure| match failure {
            CommitFailure::Refused(error) => error,
            CommitFailure::Fatal(error) => {
                self.poison(&error);
                let what = "whether a rewritten segment has its name is not known";
                Error::new(ErrorKind::InDoubt, what).because(error)
            }
        })?;
        report.allocated_after += self.allocated(&segment.name);
        report.events += events;
        report.bytes += done.before.saturating_sub(done.after);
        report.rewritten.push(RewrittenSegment {
            file: segment.name.clone(),
            rewrite: done.rewrite,
            events,
            bytes_before: done.before,
            bytes_after: done.after,
        });
        // Until here readers have read the old file, and who still has it goes on with that.
        if let Some((info, end)) = self.place_of(head, number)? {
            let opening = Opening { disk: &self.disk, settings: &self.settings, read_only: false };
            let rewritten = opening.sealed(&info, end, &mut OpenReport::default())?;
            self.catalog.write().replace(Arc::new(rewritten));
        }
        Ok(())
    }

    /// A segment that nobody has anything more to do with: it is sealed, and its sidecar is made,
    /// which is the last thing that its sealing has done.
    fn segment_at_rest(&self, number: u64) -> Option<Arc<Segment>> {
        let segments = self.catalog.read().segments.clone();
        let mut all = segments.iter().filter(|segment| segment.number == number);
        let segment = all.next()?;
        let in_memory = matches!(segment.index, SegmentIndex::Memory(_));
        (all.next().is_none() && !in_memory).then(|| segment.clone())
    }

    /// Has readers use the file and the sidecar that a segment has by now, if it has one.
    pub(super) fn take_sidecar(&self, head: &Head, segment: &Segment) -> Option<()> {
        let (info, end) = self.place_of(head, segment.number).ok()??;
        let opening = Opening { disk: &self.disk, settings: &self.settings, read_only: true };
        let sealed = opening.with_sidecar(&info, end)?;
        self.catalog.write().replace(Arc::new(sealed));
        Some(())
    }

    /// Where the segment begins, and where its successor says that it ends.
    fn place_of(&self, head: &Head, number: u64) -> Result<Option<(SegmentInfo, LogEnd)>> {
        let info = find_segment(&*self.disk, head, number)?;
        let next = find_segment(&*self.disk, head, number + 1)?;
        let end = next.as_ref().map(SegmentInfo::predecessor_end);
        Ok(info.zip(end))
    }

    /// What a file occupies; nothing when it cannot be told: it is for a report only.
    fn allocated(&self, name: &str) -> u64 {
        let file = self.disk.open(name, Access::Read);
        file.and_then(|file| file.allocated()).unwrap_or(0)
    }
}

fn damage_of(error: &Error, segment: u64) -> Damage {
    Damage {
        file: error.file().map_or_else(|| name_of(FileName::Segment(segment)), str::to_owned),
        offset: error.offset().unwrap_or(0),
        first_position: error.position(),
        last_position: error.last_position().or(error.position()),
        what: error.message().to_owned(),
    }
}

/// What becomes of each event in a segment, by its place in it, and of how many the data goes. An
/// event that has nothing but its names stays as it is.
fn verdicts_on(
    segment: &Segment,
    verdict: Verdict<'_>,
) -> Result<(Vec<Option<HiddenReason>>, u64)> {
    let mut reader = EventReader::in_order();
    let (mut verdicts, mut events) = (Vec::new(), 0);
    for ordinal in 0..segment.events() {
        let event = reader.read(segment, ordinal)?;
        let holds_data = event.reclaimed().is_none() && event.has_contents();
        let why = if holds_data { verdict(&event) } else { None };
        events += u64::from(why.is_some());
        verdicts.push(why);
    }
    Ok((verdicts, events))
}
