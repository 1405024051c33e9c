//! Layer 4.3: the end of a surveyed log, walked and judged; reads only.
//!
//! Knows: what certifies frames beyond a bad one. Does not know: what is done about the verdict.

use super::files::failed;
use super::survey::{Claim, FIRST_FRAME, SegmentInfo, Survey};
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    Expected, FRAME_HEADER_BYTES, FileName, FrameHeader, FrameKind, Head, Source, Walker, name_of,
    segment_seed,
};
use crate::segment::{
    EndFacts, EndVerdict, FileSource, Place, SegmentBytes, TailWalk, WalkEnd, certificates_after,
    judge_end, last_used_byte, source_of, walk_tail,
};
use crate::sync::Arc;
use crate::types::{Damage, Error, ErrorKind, Position, Result};

impl SegmentInfo {
    /// A walk through its frames from the start on, by whichever writer they are: what is walked
    /// was judged before.
    pub(crate) fn walker(&self) -> Walker {
        let mut expected = self.start.expected;
        expected.epoch_max = u32::MAX;
        Walker::new(self.seed, self.start.offset, expected)
    }
}

impl Survey {
    /// W of a log without a segment in line, with what its unopened segment claims.
    pub(crate) fn certified_beyond_unopened(&self, disk: &dyn Disk) -> Result<u64> {
        let Some(file) = self.unopened.filter(|file| !file.blank) else {
            return Ok(self.certified());
        };
        let before =
            Expected { number: 0, position: 1, chain: 0, epoch_min: 0, epoch_max: self.epoch };
        let (claim, _) = claims_in(disk, &self.head, file.number, &before)?;
        Ok(self.certified().max(claim))
    }

    /// What is wrong with a log without a segment in line of which frames were durable.
    pub(crate) fn lost_opening(&self, disk: &dyn Disk) -> Result<Option<Damage>> {
        let lost = self.damage.is_empty() && self.certified_beyond_unopened(disk)? > 0;
        Ok(lost.then(|| Damage {
            file: name_of(FileName::Segment(self.head.first_segment)),
            offset: FIRST_FRAME,
            first_position: Some(Position::new(1)),
            last_position: None,
            what: "segment has no opening frame though frames were durable".into(),
        }))
    }

    /// Lets the walk of the tail begin at the last of these ends, ascending as indexes of its parts
    /// claim them, that the log confirms: the frame behind it follows it, and what is before it is
    /// durable. Damage before it then shows when it is read, as in a sealed segment.
    pub(crate) fn settle_tail(&mut self, file: &Arc<dyn DiskFile>, claims: &[Claim]) -> Result<()> {
        let (certified, epoch_max) = (self.certified(), self.epoch);
        let Some(tail) = self.segments.last_mut() else { return Ok(()) };
        let mut source = FileSource::sparing(file.clone(), u64::MAX);
        for claim in claims.iter().rev() {
            let bytes = source.bytes(claim.offset, FRAME_HEADER_BYTES);
            let bytes = bytes.map_err(failed("read", &tail.name()))?;
            let Some(next) = FrameHeader::decode(bytes, tail.seed, claim.offset) else { continue };
            let follows = next.number == claim.frame + 1
                && next.chain == claim.chain
                && next.first_position == claim.next_position
                && (tail.opening.epoch..=epoch_max).contains(&next.epoch);
            if follows && certified.max(next.durable) >= claim.frame {
                tail.settled = Some(Place {
                    offset: claim.offset,
                    expected: Expected {
                        number: next.number,
                        position: next.first_position,
                        chain: next.chain,
                        epoch_min: tail.opening.epoch,
                        epoch_max,
                    },
                    last_recorded_at: claim.last_recorded_at,
                });
                break;
            }
        }
        Ok(())
    }

    /// Walks the tail and judges its end.
    pub(crate) fn judge_tail(&self, file: &Arc<dyn DiskFile>, disk: &dyn Disk) -> Result<TailEnd> {
        let Some(tail) = self.segments.last() else {
            return Err(Error::damaged(disk.location(), 0, "there is no segment to walk"));
        };
        let name = tail.name();
        let unread = |error| Error::io(format!("cannot read {name}"), error);
        let bytes = SegmentBytes::File(file.clone());
        let mut source = source_of(&bytes, u64::MAX);
        let mut start = tail.settled.unwrap_or(tail.start);
        start.expected.epoch_max = self.epoch;
        let walk = walk_tail(&mut *source, tail.seed, start).map_err(unread)?;
        let mut certified = walk.certified.max(self.certified());
        let used = last_used_byte(&mut *source, walk.stop).map_err(unread)?;
        let sealed = walk.last_kind == FrameKind::Seal;
        let mut following = 0;
        if used > walk.stop && !sealed {
            let expected = Expected { number: walk.stop_number, ..walk.good.expected };
            let range = walk.stop..used;
            let (claim, found) =
                certificates_after(&mut *source, range, tail.seed, &expected).map_err(unread)?;
            certified = certified.max(claim);
            following += found;
        }
        let next_blank = match self.unopened.filter(|next| next.number == tail.number + 1) {
            Some(next) if !next.blank => {
                let number = walk.stop_number.saturating_sub(1);
                let before = Expected { number, ..walk.good.expected };
                let (claim, found) = claims_in(disk, &self.head, next.number, &before)?;
                certified = certified.max(claim);
                following += found;
                false
            }
            _ => true,
        };
        let facts = EndFacts {
            bad: match walk.end {
                WalkEnd::Bad(bad) => Some(bad),
                WalkEnd::Unsupported => None,
            },
            number: walk.stop_number,
            certified: certified.saturating_sub(u64::from(planted!(CertifiedOneShort))),
            open_batch: walk.open_batch,
            blank_to_end: (sealed || used <= walk.stop) && next_blank,
            survivors: walk.good.expected.number > certified + 1,
        };
        let (row, verdict) = judge_end(&facts);
        Ok(TailEnd { walk, certified, row, verdict, used, sealed, following })
    }
}

/// The end of the log, judged.
#[derive(Debug)]
pub(crate) struct TailEnd {
    pub walk: TailWalk,
    pub certified: u64,
    pub row: &'static str,
    pub verdict: EndVerdict,
    /// After the last byte of the tail that is not zero.
    pub used: u64,
    /// The tail ends with a seal.
    pub sealed: bool,
    /// Frame headers that check after the place where the walk stopped.
    pub following: u64,
}

impl TailEnd {
    /// The file and the offset of the first bad frame: behind a seal that is the next opening.
    pub(crate) fn place(&self, tail: u64) -> (String, u64) {
        match self.sealed {
            true => (name_of(FileName::Segment(tail + 1)), FIRST_FRAME),
            false => (name_of(FileName::Segment(tail)), self.walk.stop),
        }
    }

    /// The error of a log whose end is damaged.
    pub(crate) fn damage(&self, found: &Survey, tail: u64) -> Error {
        let (name, offset) = self.place(tail);
        let first = self.walk.good.expected.position;
        let text = format!(
            "frame {} does not check though frames up to {} were durable",
            self.walk.stop_number, self.certified
        );
        let mut error = Error::damaged(name, offset, text).at(Position::new(first));
        if let Some(mark) = found.live.filter(|mark| mark.next_position > first) {
            error = error.through(Position::new(mark.next_position - 1));
        }
        error
    }

    /// The error of a log that goes on with frames of a newer format.
    pub(crate) fn unsupported(&self, name: String) -> Error {
        let what = "the log contains a frame of a newer format";
        Error::new(ErrorKind::Unsupported, what).in_file(name, self.walk.stop)
    }
}

/// What the headers in a whole segment claim that check and come after the frame `before`.
fn claims_in(disk: &dyn Disk, head: &Head, number: u64, before: &Expected) -> Result<(u64, u64)> {
    let name = name_of(FileName::Segment(number));
    let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
    let end = file.size().map_err(failed("read", &name))?;
    let seed = segment_seed(head.origin_of(number), number);
    let mut source = FileSource::new(file, u64::MAX);
    certificates_after(&mut source, FIRST_FRAME..end, seed, before).map_err(failed("read", &name))
}
