//! Layer 6.2: fold frames into an index, which can be made from the log alone.
//!
//! Knows: frames, records, and how to go on behind damage when asked to. Does not know: sidecar
//! files.

use crate::format::{
    Bad, CheckpointRecord, FRAME_HEADER_BYTES, Frame, FrameHeader, LostRange, Record, RecordKind,
    SettingsRecord, Source, Step, Walker, decode_event, each_whole_record, positions_of,
};
use crate::index::{SettingsEntry, TailIndex};
use crate::log::{LogEnd, SegmentInfo};
use crate::segment::later_header;
use crate::types::{Damage, Error, ErrorKind, Position, Result};

/// An index made from the log, and the damage that was worked around.
#[derive(Debug)]
pub(crate) struct Folded {
    pub index: TailIndex,
    pub damage: Vec<Damage>,
    pub walker: Walker,
    /// The positions after each whole batch that checks, when damage is worked around.
    pub batch_ends: Vec<u64>,
}

/// Where to stop, and whether damage ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoldLimit {
    pub offset: u64,
    /// The last frame, if it is named: a rewritten segment ends behind it, before `offset`.
    pub frame: u64,
    /// What the chain is behind that frame, if its successor says so: with another one the frames
    /// are those of another history of the store, such as a copied directory goes on to.
    pub chain: Option<u32>,
    /// The position after the last event, so far as anything certifies it.
    pub next_position: u64,
    /// Work around damage instead of refusing.
    pub tolerant: bool,
}

impl FoldLimit {
    /// Up to the end that a successor names.
    pub(crate) fn named(end: LogEnd, tolerant: bool) -> Self {
        let LogEnd { offset, frame, chain, next_position } = end;
        Self { offset, frame, chain: Some(chain), next_position, tolerant }
    }
}

/// Folds the segment from its opening frame up to the limit.
pub(crate) fn fold_segment(
    source: &mut dyn Source,
    info: &SegmentInfo,
    limit: FoldLimit,
) -> Result<Folded> {
    let index = TailIndex::new(Position::new(info.first_position()));
    fold_into(index, source, info, limit)
}

/// The same into an index that is still empty.
pub(crate) fn fold_into(
    index: TailIndex,
    source: &mut dyn Source,
    info: &SegmentInfo,
    limit: FoldLimit,
) -> Result<Folded> {
    let mut folded =
        Folded { index, damage: Vec::new(), walker: info.walker(), batch_ends: Vec::new() };
    while folded.walker.offset < limit.offset && folded.walker.expected.number <= limit.frame {
        let unread = |error| Error::io(format!("cannot read {}", info.name()), error);
        match folded.walker.step(source).map_err(unread)? {
            Step::Frame(frame) => {
                let offset = frame.offset;
                if limit.tolerant && frame.header.events > 0 && folded.walker.open.is_none() {
                    folded.batch_ends.push(folded.walker.expected.position);
                }
                if let Err(what) = fold_frame(&mut folded.index, &frame) {
                    folded.break_at(info, offset, what, limit)?;
                }
            }
            Step::Unsupported => {
                let what = "segment contains a frame of a newer format";
                let offset = folded.walker.offset;
                return Err(Error::new(ErrorKind::Unsupported, what).in_file(info.name(), offset));
            }
            Step::Bad(bad) => {
                let what = match bad {
                    Bad::Blank => "frames are missing",
                    _ => "frame does not check",
                };
                let offset = folded.walker.offset;
                folded.break_at(info, offset, what, limit)?;
                folded.go_on(source, info, (limit, bad))?;
            }
        }
    }
    if folded.is_of_another_history(limit) {
        folded.disown(info, limit)?;
    }
    let (from, until) = (folded.next_position(), limit.next_position);
    if limit.tolerant && from < until {
        folded.fill(until, limit);
        folded.extend_damage(until);
    }
    Ok(folded)
}

/// Takes one checked frame in.
///
/// # Errors
/// Says which rule of the log its events break.
pub(crate) fn fold_frame(index: &mut TailIndex, frame: &Frame<'_>) -> Result<(), &'static str> {
    for (offset, record) in frame.records() {
        fold_record(index, offset, &record)?;
    }
    Ok(())
}

fn fold_record(
    index: &mut TailIndex,
    offset: u64,
    record: &Record<'_>,
) -> Result<(), &'static str> {
    match record.head.kind {
        RecordKind::Event | RecordKind::Stub => {
            let event = decode_event(record).ok_or("event is malformed")?;
            let offset = u32::try_from(offset).map_err(|_| "event lies beyond 4 GiB")?;
            index.push(&event, offset)
        }
        RecordKind::Lost => {
            let lost = LostRange::decode(record.body).ok_or("lost range is malformed")?;
            index.push_lost(record.head.position, lost.positions)
        }
        RecordKind::Checkpoint => {
            let found = CheckpointRecord::decode(record.body).ok_or("checkpoint is malformed")?;
            let position = Position::new(found.position);
            index.push_checkpoint(found.name, position, found.id, record.head.version);
            Ok(())
        }
        RecordKind::Settings => {
            index.push_settings(settings_of(record).ok_or("settings are malformed")?);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a settings record says.
pub(super) fn settings_of(record: &Record<'_>) -> Option<SettingsEntry> {
    let SettingsRecord { stream, lifecycle } = SettingsRecord::decode(record.body)?;
    Some(SettingsEntry { stream: stream.to_owned(), lifecycle, frame: record.head.version })
}

impl Folded {
    fn next_position(&self) -> u64 {
        use crate::index::SegmentLookup;
        self.index.first_position().plus(self.index.events().into()).get()
    }

    /// The last frame is not the one that the successor follows.
    fn is_of_another_history(&self, limit: FoldLimit) -> bool {
        let Some(chain) = limit.chain.filter(|_| !planted!(EndNotCompared)) else { return false };
        let expected = &self.walker.expected;
        match expected.number == limit.frame.saturating_add(1) {
            true => expected.chain != chain,
            false => self.damage.is_empty(),
        }
    }

    /// Nothing tells which of its frames are the log's: none is served.
    fn disown(&mut self, info: &SegmentInfo, limit: FoldLimit) -> Result<()> {
        self.index = TailIndex::new(Position::new(info.first_position()));
        self.damage.clear();
        self.batch_ends.clear();
        self.break_at(info, limit.offset, "segment does not end as its successor says", limit)
    }

    /// Damage at `offset`: refuses, or notes it down.
    fn break_at(
        &mut self,
        info: &SegmentInfo,
        offset: u64,
        what: &str,
        limit: FoldLimit,
    ) -> Result<()> {
        let first = Position::new(self.next_position());
        if !limit.tolerant {
            return Err(Error::damaged(info.name(), offset, what).at(first));
        }
        self.damage.push(Damage {
            file: info.name(),
            offset,
            first_position: Some(first),
            last_position: Some(first),
            what: what.into(),
        });
        Ok(())
    }

    /// Behind a bad frame: takes in what still checks of it, and goes on at the next frame. Of a
    /// frame that checks and belongs elsewhere nothing is taken: it is another history's.
    fn go_on(
        &mut self,
        source: &mut dyn Source,
        info: &SegmentInfo,
        (limit, bad): (FoldLimit, Bad),
    ) -> Result<()> {
        let unread = |error| Error::io(format!("cannot read {}", info.name()), error);
        let at = self.walker.offset;
        let head = source.bytes(at, FRAME_HEADER_BYTES).map_err(unread)?;
        let mut from = at + 8;
        if let Some(header) = FrameHeader::decode(head, info.seed, at) {
            let length =
                usize::try_from(u64::from(header.length).min(limit.offset - at)).unwrap_or(0);
            let bytes = source.bytes(at, length).map_err(unread)?;
            if bad != Bad::Misplaced {
                self.salvage(bytes, (at, &header), info.seed, limit);
            }
            from = at + u64::from(header.length);
        }
        let range = from..limit.offset;
        let next = later_header(source, range, info.seed, &self.walker.expected).map_err(unread)?;
        match next {
            Some((offset, header)) => {
                self.fill(header.first_position.min(limit.next_position), limit);
                self.walker.jump(offset, &header);
            }
            None => self.walker.offset = limit.offset,
        }
        self.extend_damage(self.next_position());
        Ok(())
    }

    /// Takes in every event of a damaged frame that still checks.
    fn salvage(
        &mut self,
        frame: &[u8],
        (base, header): (u64, &FrameHeader),
        seed: u32,
        limit: FoldLimit,
    ) {
        each_whole_record(frame, header, seed, &mut |at, record| {
            let takes = positions_of(record).is_some_and(|positions| positions > 0);
            if takes && record.head.position < limit.next_position {
                self.fill(record.head.position, limit);
            }
            // What does not follow is left out: its place is filled as damaged later.
            let _ = fold_record(&mut self.index, base + at as u64, record);
        });
    }

    /// Marks positions up to `until` as damaged, never more than the log can hold.
    fn fill(&mut self, until: u64, limit: FoldLimit) {
        let most = self.next_position() + limit.offset / 64;
        while self.next_position() < until.min(most) {
            self.index.push_damaged();
        }
    }

    fn extend_damage(&mut self, next: u64) {
        if let Some(damage) = self.damage.last_mut() {
            let first = damage.first_position.map_or(0, Position::get);
            damage.last_position = Some(Position::new(next.saturating_sub(1).max(first)));
        }
    }
}
