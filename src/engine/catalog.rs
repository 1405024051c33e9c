//! Layer 6.3: what is readable: segments, heads, what is carried and the watermark, together.
//!
//! Knows: committed state in memory. Does not know: how it got there. Readers take a [`View`]; the
//! writer changes the catalog for a few microseconds after each group.

use uuid::Uuid;

use super::heads::{Carried, Heads, take_in};
use super::segment::{EventReader, Segment, SegmentIndex, Segments, lost, segment_at};
use crate::format::FileName;
use crate::index::{CheckpointEntry, Head, SegmentLookup, SettingsEntry};
use crate::log::TrimBase;
use crate::sync::{Arc, Ordering};
use crate::types::{
    Error, ErrorKind, EventRef, Position, RecordedEvent, Result, Timestamp, Version,
};

/// Everything committed.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub segments: Segments,
    pub heads: Heads,
    pub carried: Carried,
    /// The last event that may be seen.
    pub last: Position,
    /// What is known of trimmed segments.
    pub base: Option<Arc<TrimBase>>,
    /// Readers step over what a salvage could not save.
    pub accept_lost: bool,
    /// How often something was set of a stream since it was opened.
    pub told: u64,
}

impl Catalog {
    /// Without segments: it knows what is known of those that were trimmed.
    pub(super) fn behind(base: Option<Arc<TrimBase>>) -> Self {
        let (heads, carried) = (Heads::of_base(base.clone()), Carried::of_base(base.as_ref()));
        Self { heads, carried, base, ..Self::default() }
    }

    /// Takes committed events of the newest segment in, each with its offset.
    pub(crate) fn push<'a>(
        &mut self,
        events: impl Iterator<Item = Option<(EventRef<'a>, u32)>>,
    ) -> Result<(), &'static str> {
        let Self { segments, heads, .. } = self;
        let Some(segment) = segments.last() else { return Err("there is no segment") };
        let SegmentIndex::Memory(index) = &segment.index else {
            return Err("the newest segment is sealed");
        };
        let mut index = index.write();
        let mut last: Option<EventRef<'_>> = None;
        for event in events {
            let (event, offset) = event.ok_or("it does not read back")?;
            index.push(&event, offset)?;
            // Of events of one stream in a row the last makes its head.
            if let Some(before) = last.replace(event)
                && before.stream() != event.stream()
            {
                set_head(heads, &before)?;
            }
        }
        last.map_or(Ok(()), |last| set_head(heads, &last))
    }

    /// Takes positions in whose events a salvage could not save.
    pub(crate) fn push_lost(&mut self, (position, count): (u64, u32)) -> Result<(), &'static str> {
        match self.segments.last().map(|segment| &segment.index) {
            Some(SegmentIndex::Memory(index)) => index.write().push_lost(position, count),
            _ => Err("the newest segment is sealed"),
        }
    }

    pub(crate) fn push_checkpoint(&mut self, entry: CheckpointEntry) {
        if let Some(SegmentIndex::Memory(index)) = self.segments.last().map(|s| &s.index) {
            let mut index = index.write();
            index.push_checkpoint(&entry.name, entry.position, entry.id, entry.frame);
        }
        self.carried.take_checkpoint(entry);
    }

    pub(crate) fn push_settings(&mut self, entry: SettingsEntry) {
        if let Some(SegmentIndex::Memory(index)) = self.segments.last().map(|s| &s.index) {
            index.write().push_settings(entry.clone());
        }
        self.carried.take_settings(entry);
        self.told += 1;
    }

    /// Adds a segment at the end, with everything its index knows of streams and what is carried;
    /// answers how many streams it lists.
    pub(crate) fn add(&mut self, segment: Arc<Segment>) -> u64 {
        let listed = take_in(&segment, &mut self.heads, &mut self.carried);
        self.add_known(segment);
        listed
    }

    /// Adds a segment at the end whose streams and checkpoints are known already.
    pub(crate) fn add_known(&mut self, segment: Arc<Segment>) {
        Arc::make_mut(&mut self.segments).push(segment);
    }

    /// Puts a segment in the place of the one, or the parts, with the same number.
    pub(crate) fn replace(&mut self, segment: Arc<Segment>) {
        self.heads.replace(&segment);
        let segments = Arc::make_mut(&mut self.segments);
        let range = parts_of(segments, segment.number);
        if !range.is_empty() {
            segments.splice(range, [segment]);
        }
    }

    /// Whether the segment is there as several parts.
    pub(crate) fn is_in_parts(&self, number: u64) -> bool {
        parts_of(&self.segments, number).len() > 1
    }

    /// How many segments there are, however many parts they are in.
    pub(crate) fn segment_count(&self) -> usize {
        self.segments.chunk_by(|one, other| one.number == other.number).count()
    }

    /// Lets readers of the newest segment read up to `offset`.
    pub(crate) fn make_readable(&self, offset: u64) {
        if let Some(segment) = self.segments.last() {
            segment.readable.store(offset, Ordering::Release);
        }
    }

    /// Where a stream stands among what may be seen.
    pub(crate) fn known_head(&self, stream: &str) -> Option<(Version, Position)> {
        let head = self.heads.get(stream)?;
        match head.last_position <= self.last {
            true => Some((head.version, head.last_position)),
            // A poisoned store serves less than it has indexed.
            false => self.view().head(stream),
        }
    }

    /// The last position whose event cannot be read, nor its stream known. Sidecars know them all.
    pub(crate) fn last_lost(&self) -> Option<Position> {
        self.segments.iter().rev().find_map(|segment| match &segment.index {
            SegmentIndex::Memory(index) => {
                let last = index.read().damaged().last().copied();
                last.map(|ordinal| segment.first_position.plus(ordinal.into()))
            }
            SegmentIndex::Sidecar(_) | SegmentIndex::Unchecked(_) => None,
        })
    }

    /// The last position that a salvage could not save.
    pub(crate) fn last_lost_by_salvage(&self) -> Option<Position> {
        self.segments.iter().rev().find_map(|segment| segment.last_lost())
    }

    /// Lets go of the segments before the base's first. Views go on with what they hold.
    pub(super) fn trim(&mut self, base: Arc<TrimBase>) {
        let first = base.end().first_segment;
        Arc::make_mut(&mut self.segments).retain(|segment| segment.number >= first);
        self.heads.trim(&base);
        self.base = Some(base);
    }

    /// Whether the segment in the file of this name has gone.
    pub(super) fn is_trimmed(&self, segment: &str) -> bool {
        let first = self.base.as_ref().map_or(0, |base| base.end().first_segment);
        let number = FileName::parse(segment);
        matches!(number, Some(FileName::Segment(number)) if number < first)
    }

    /// How many positions are there to be read.
    pub(crate) fn events(&self) -> u64 {
        let before = self.view().first_position().get().saturating_sub(1);
        self.last.get().saturating_sub(before)
    }

    pub(crate) fn view(&self) -> View {
        let (last, accept_lost) = (self.last, self.accept_lost);
        let (segments, base) = (self.segments.clone(), self.base.clone());
        View { segments, last, accept_lost, base }
    }
}

/// The first ordinal from this one on that was not lost by a salvage.
fn not_lost_from(index: &dyn SegmentLookup, ordinal: u32) -> u32 {
    let lost = index.lost();
    let from = lost.partition_point(|lost| *lost < ordinal);
    let rest = lost.get(from..).unwrap_or_default();
    let run = (ordinal..).zip(rest).take_while(|(here, lost)| *here == **lost).count();
    ordinal.saturating_add(u32::try_from(run).unwrap_or(u32::MAX))
}

fn set_head(heads: &mut Heads, event: &EventRef<'_>) -> Result<(), &'static str> {
    let (version, last_position) = (event.version(), event.position());
    let head = Head { version, last_position };
    match heads.set(event.stream(), head) {
        true => Ok(()),
        false => Err("the stream's numbers are too large"),
    }
}

fn parts_of(segments: &[Arc<Segment>], number: u64) -> std::ops::Range<usize> {
    let from = segments.partition_point(|segment| segment.number < number);
    from..segments.partition_point(|segment| segment.number <= number)
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// An event that was asked for by its name, if its data is there.
///
/// # Errors
/// `Deleted` when it was reclaimed, and why.
pub(crate) fn whole(found: Option<RecordedEvent>) -> Result<Option<RecordedEvent>> {
    let Some(event) = found else { return Ok(None) };
    let Some(why) = event.reclaimed() else { return Ok(Some(event)) };
    let position = event.position();
    let text = format!("the data of event {position} was reclaimed: {why}");
    let error = Error::new(ErrorKind::Deleted, text).at(position).of_event(event.id());
    Err(error.in_stream(event.stream()).at_version(event.version()))
}

/// Where a version lies as seen from a run of a stream's events: before the version it begins with,
/// after the one it ends with, or in it, if it is not damaged.
enum Run {
    Before(u64),
    After(u64),
    Here(Option<Position>),
}

/// What one reader holds: segments with their indexes up to a watermark; it does not change.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub segments: Segments,
    pub last: Position,
    pub base: Option<Arc<TrimBase>>,
    /// Its reader steps over what a salvage could not save.
    pub accept_lost: bool,
}

impl View {
    /// Of the first event that was not trimmed, also when there is none yet.
    pub(crate) fn first_position(&self) -> Position {
        let trimmed = || self.base.as_ref().map_or(1, |base| base.end().first_position);
        let first = self.segments.first().map(|segment| segment.first_position);
        first.unwrap_or_else(|| Position::new(trimmed()))
    }

    /// Whether the position is one this view can serve.
    pub(crate) fn has(&self, position: Position) -> bool {
        position <= self.last && position >= self.first_position()
    }

    fn place(&self, position: Position) -> Option<(&Arc<Segment>, u32)> {
        let segment = self.segments.get(segment_at(&self.segments, position)?)?;
        Some((segment, segment.ordinal_of(position)?))
    }

    /// What `take` makes of the event at a position; `None` where there is none yet, or none any
    /// more.
    pub(crate) fn with_event<R>(
        &self,
        position: Position,
        take: impl FnOnce(EventRef<'_>) -> R,
    ) -> Result<Option<R>> {
        self.refuse_trimmed(position)?;
        if !self.has(position) {
            return Ok(None);
        }
        let Some((segment, ordinal)) = self.place(position) else { return Ok(None) };
        EventReader::default().read(segment, ordinal).map(|event| Some(take(event)))
    }

    /// The position of a stream's event. Versions ascend with the segments, so each run that is
    /// found says on which side the wanted one lies, and how far about: few segments are asked,
    /// however many there are.
    pub(crate) fn position_of(&self, stream: &str, version: Version) -> Option<Position> {
        let (mut low, mut high) = (0, self.segments.len());
        // Versions below this one are before `low`; the newest segments come first.
        let mut first = 1;
        let mut next = high.checked_sub(1)?;
        while low < high {
            let asked = next.min(high - 1);
            let mut down = (low..=asked).rev();
            let found = down.find_map(|at| self.run_in(at, stream, version).map(|run| (at, run)));
            let Some((at, run)) = found else {
                // Not in any up to the one asked for first.
                low = asked + 1;
                next = high;
                continue;
            };
            match run {
                Run::Here(position) => return position.filter(|position| self.has(*position)),
                Run::Before(end) => {
                    high = at;
                    let share = version.get().saturating_sub(first).checked_mul(to_u64(high - low));
                    let share = share.unwrap_or(0) / end.saturating_sub(first).max(1);
                    next = low + usize::try_from(share).unwrap_or(0);
                }
                Run::After(end) => {
                    first = end;
                    low = asked.max(at) + 1;
                    next = low;
                }
            }
        }
        None
    }

    /// # Errors
    /// `Damaged` when the version is one that the stream has had and a salvage could not save.
    pub(crate) fn refuse_lost(&self, stream: &str, version: Version) -> Result<()> {
        let salvaged = self.segments.iter().any(|segment| segment.last_lost().is_some());
        let had = || self.head(stream).is_some_and(|(last, _)| version <= last);
        if !salvaged || version == Version::NONE || !had() {
            return Ok(());
        }
        Err(lost(format!("version {version} of stream {stream:?} was lost by salvage"))
            .in_stream(stream)
            .at_version(version))
    }

    /// Where a version lies as seen from the stream's events in one segment.
    fn run_in(&self, at: usize, stream: &str, version: Version) -> Option<Run> {
        let segment = self.segments.get(at)?;
        segment.ask(|index| {
            let run = index.stream(stream)?;
            let first = run.first_version().get();
            let end = first.saturating_add(run.len().into());
            Some(match version.get() {
                wanted if wanted < first => Run::Before(first),
                wanted if wanted >= end => Run::After(end),
                _ => Run::Here(run.version(version).map(|ordinal| segment.position_of(ordinal))),
            })
        })
    }

    /// Where a stream stands in this view; `None` without events.
    pub(crate) fn head(&self, stream: &str) -> Option<(Version, Position)> {
        let retained = self.segments.iter().rev().find_map(|segment| {
            segment.ask(|index| {
                let run = index.stream(stream)?;
                let last = (0..run.len()).rev().find_map(|at| {
                    let position = segment.position_of(run.ordinal(at)?);
                    self.has(position).then_some((at, position))
                })?;
                Some((run.first_version().plus(last.0.into()), last.1))
            })
        });
        let trimmed = || {
            let found = self.base.as_ref()?.known().stream(stream)?;
            Some((Version::new(found.version), Position::new(found.last_position)))
        };
        retained.or_else(trimmed)
    }

    /// The first position whose event was recorded at `time` or later; the one after the last when
    /// there is none. Times never decrease with the position.
    pub(crate) fn first_recorded_at_or_after(&self, time: Timestamp) -> Result<Position> {
        // A segment may have no events (checkpoints alone fill one): ask the one that has its
        // first position.
        let asked = |segment: &Arc<Segment>| Some(self.place(segment.first_position)?.0);
        let past = |segment: &Arc<Segment>| {
            segment.first_position <= self.last
                && asked(segment).is_some_and(|s| s.last_recorded_at() < time)
        };
        let at = self.segments.partition_point(past);
        let found = self.segments.get(at).filter(|segment| segment.first_position <= self.last);
        let Some(segment) = found.and_then(asked) else { return Ok(self.last.next()) };
        let mut reader = EventReader::default();
        let (mut low, mut high) = (0, segment.events());
        while low < high {
            let middle = low + (high - low) / 2;
            // A lost event has no time: the next one that is there speaks for it.
            let there = segment.ask(|index| not_lost_from(index, middle)).min(high);
            if there < high && reader.read(segment, there)?.recorded_at() < time {
                low = there + 1;
            } else {
                high = middle;
            }
        }
        Ok(segment.position_of(low).min(self.last.next()))
    }

    /// What `take` makes of the newest event with this id for which it makes anything.
    pub(crate) fn with_event_of_id<R>(
        &self,
        id: &Uuid,
        take: impl Fn(EventRef<'_>) -> Option<R>,
    ) -> Result<Option<R>> {
        let asked = if planted!(IdsForgotten) { 1 } else { usize::MAX };
        for segment in self.segments.iter().rev().take(asked) {
            let ordinals: Vec<u32> = segment.ask(|index| index.ids(id).collect());
            for ordinal in ordinals.into_iter().rev() {
                if !self.has(segment.position_of(ordinal)) {
                    continue;
                }
                let mut reader = EventReader::default();
                let event = reader.read(segment, ordinal)?;
                if event.id() == *id
                    && let Some(taken) = take(event)
                {
                    return Ok(Some(taken));
                }
            }
        }
        Ok(None)
    }
}
