//! Layer 6.1: one segment as readers see it: its bytes and its index together.
//!
//! Knows: how an ordinal becomes a checked event. Does not know: other segments, or watermarks.

use std::fmt;

use crate::disk::{Mapped, prefetch};
use crate::format::Source;
use crate::index::{SegmentLookup, Sidecar, TailIndex};
use crate::segment::{FileSource, SegmentBytes, read_event};
use crate::sync::{Arc, AtomicU64, OnceLock, Ordering, RwLock};
use crate::types::{Error, ErrorKind, EventRef, Position, Result, Timestamp};

/// Most events are no longer; of a longer one the processor notices that it is read in order.
const FORESEEN_BYTES: usize = 384;

/// Where a segment's index is.
#[derive(Debug)]
pub(crate) enum SegmentIndex {
    /// In memory, growing or waiting for its sidecar.
    Memory(RwLock<TailIndex>),
    /// In a sidecar, checked when it was opened.
    Sidecar(Sidecar<Mapped>),
    /// In a sidecar that is checked when it is first asked.
    Unchecked(Box<UncheckedSidecar>),
}

/// Makes the index of a segment from the log; it is told why.
pub(crate) type FromLog = Box<dyn Fn(&str) -> TailIndex + Send + Sync>;

/// A sidecar of which only the header was read yet.
pub(crate) struct UncheckedSidecar {
    sidecar: Sidecar<Mapped>,
    /// Set by the first question: what answers instead when the sidecar does not check.
    instead: OnceLock<Option<TailIndex>>,
    from_log: FromLog,
}

impl UncheckedSidecar {
    pub(crate) fn new(sidecar: Sidecar<Mapped>, from_log: FromLog) -> Self {
        Self { sidecar, instead: OnceLock::new(), from_log }
    }

    fn checked(&self) -> &dyn SegmentLookup {
        let judge = || self.sidecar.check().err().map(|why| (self.from_log)(&why));
        match self.instead.get_or_init(judge) {
            Some(index) => index,
            None => &self.sidecar,
        }
    }
}

impl fmt::Debug for UncheckedSidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UncheckedSidecar").field("instead", &self.instead).finish_non_exhaustive()
    }
}

/// A segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub name: String,
    pub seed: u32,
    pub first_position: Position,
    /// How often its file was rewritten.
    pub rewrite: u32,
    pub bytes: SegmentBytes,
    pub index: SegmentIndex,
    /// Nothing at or beyond this offset is read yet.
    pub readable: AtomicU64,
}

impl Segment {
    /// Asks the index; the answer must not outlive the question.
    pub(crate) fn ask<R>(&self, question: impl FnOnce(&dyn SegmentLookup) -> R) -> R {
        match &self.index {
            SegmentIndex::Memory(index) => question(&*index.read()),
            SegmentIndex::Sidecar(sidecar) => question(sidecar),
            SegmentIndex::Unchecked(sidecar) => question(sidecar.checked()),
        }
    }

    /// The sidecar that was checked when it was opened, if that is what answers.
    pub(crate) fn sealed_index(&self) -> Option<&dyn SegmentLookup> {
        match &self.index {
            SegmentIndex::Sidecar(sidecar) => Some(sidecar),
            SegmentIndex::Memory(_) | SegmentIndex::Unchecked(_) => None,
        }
    }

    /// Has the event at `ordinal` fetched into the processor's cache, which takes longer than
    /// reading and checking one that is there. Where it lies is read at once: it should have been
    /// fetched before, by [`Self::foresee_place`].
    pub(crate) fn foresee(&self, ordinal: u32) {
        if let (SegmentBytes::Mapped(bytes), Some(sidecar)) = (&self.bytes, self.mapped_index())
            && let Some(offset) = sidecar.offset(ordinal)
        {
            prefetch(bytes, offset as usize, FORESEEN_BYTES);
        }
    }

    /// Has the place of the event at `ordinal` fetched.
    pub(crate) fn foresee_place(&self, ordinal: u32) {
        if let Some(sidecar) = self.mapped_index() {
            let (offsets, at) = sidecar.offset_place(ordinal);
            prefetch(offsets, at, 1);
        }
    }

    /// The sidecar that answers, if it has been checked.
    fn mapped_index(&self) -> Option<&Sidecar<Mapped>> {
        match &self.index {
            SegmentIndex::Sidecar(sidecar) => Some(sidecar),
            SegmentIndex::Unchecked(unchecked) => {
                let checks = matches!(unchecked.instead.get(), Some(None));
                checks.then_some(&unchecked.sidecar)
            }
            SegmentIndex::Memory(_) => None,
        }
    }

    /// Asks what a sidecar's header says, which is always checked.
    fn ask_header<R>(&self, question: impl FnOnce(&dyn SegmentLookup) -> R) -> R {
        match &self.index {
            SegmentIndex::Unchecked(unchecked) => question(&unchecked.sidecar),
            _ => self.ask(question),
        }
    }

    /// The last position that a salvage could not save.
    pub(crate) fn last_lost(&self) -> Option<Position> {
        let last = self.ask_header(|index| index.lost().last().copied());
        last.map(|ordinal| self.position_of(ordinal))
    }

    /// How many positions a salvage could not save.
    pub(crate) fn count_lost(&self) -> u64 {
        self.ask_header(|index| index.lost().len() as u64)
    }

    /// How many positions the segment has, damaged ones included.
    pub(crate) fn events(&self) -> u32 {
        self.ask_header(|index| index.events())
    }

    /// The time of the newest event; zero without events.
    pub(crate) fn last_recorded_at(&self) -> Timestamp {
        self.ask_header(|index| index.last_recorded_at())
    }

    pub(crate) fn position_of(&self, ordinal: u32) -> Position {
        self.first_position.plus(ordinal.into())
    }

    /// The ordinal of a position; `None` before this segment.
    pub(crate) fn ordinal_of(&self, position: Position) -> Option<u32> {
        let distance = position.get().checked_sub(self.first_position.get())?;
        u32::try_from(distance).ok()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.index {
            SegmentIndex::Memory(index) => index.read().memory_bytes(),
            SegmentIndex::Sidecar(_) => 0,
            SegmentIndex::Unchecked(unchecked) => {
                unchecked.instead.get().and_then(Option::as_ref).map_or(0, TailIndex::memory_bytes)
            }
        }
    }
}

/// Reads events, one segment at a time; keeps what it read for the next one.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    window: Option<(u64, u64, FileSource)>,
    /// Read ahead: events will be asked for in order.
    in_order: bool,
}

impl EventReader {
    pub(crate) fn in_order() -> Self {
        Self { in_order: true, ..Self::default() }
    }

    /// The event at `ordinal`, checked, and checked to be the one that belongs there.
    ///
    /// # Errors
    /// `Damaged` with file, offset and position; `Io`.
    pub(crate) fn read<'a>(
        &'a mut self,
        segment: &'a Segment,
        ordinal: u32,
    ) -> Result<EventRef<'a>> {
        let position = segment.position_of(ordinal);
        let damaged = |offset: u64| {
            Error::damaged(&*segment.name, offset, "event does not check").at(position)
        };
        let offset = segment.ask(|index| index.offset(ordinal)).ok_or_else(|| {
            match segment.ask(|index| index.lost().binary_search(&ordinal).is_ok()) {
                true => lost_at(position).in_file(&*segment.name, 0),
                false => damaged(0),
            }
        })?;
        let offset = u64::from(offset);
        let unread = |error| Error::io(format!("cannot read {}", segment.name), error).at(position);
        let event = match &segment.bytes {
            SegmentBytes::Mapped(map) => {
                let mut bytes: &'a [u8] = map;
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                bytes = bytes.get(start..).unwrap_or_default();
                crate::format::Record::decode(bytes, segment.seed)
                    .and_then(|record| crate::format::decode_event(&record))
            }
            SegmentBytes::File(_) => {
                let source = self.source(segment)?;
                read_event(source, offset, segment.seed).map_err(unread)?
            }
        };
        event.filter(|event| event.position() == position).ok_or_else(|| damaged(offset))
    }

    /// The window over this segment; a new one when the segment changed or has grown since.
    fn source(&mut self, segment: &Segment) -> Result<&mut dyn Source> {
        let readable = segment.readable.load(Ordering::Acquire);
        let fits = |held: &(u64, u64, FileSource)| held.0 == segment.number && held.1 == readable;
        if !self.window.as_ref().is_some_and(fits) {
            let SegmentBytes::File(file) = &segment.bytes else {
                return Err(Error::invalid("a mapped segment has no window"));
            };
            let source = match self.in_order {
                true => FileSource::new(file.clone(), readable),
                false => FileSource::sparing(file.clone(), readable),
            };
            self.window = Some((segment.number, readable, source));
        }
        match &mut self.window {
            Some((_, _, source)) => Ok(source),
            None => Err(Error::invalid("there is no window")),
        }
    }
}

/// An event could not be saved when the store was salvaged.
pub(super) fn lost(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, what)
}

pub(super) fn lost_at(position: Position) -> Error {
    lost("event was lost by salvage").at(position)
}

/// The segments of a log in order.
pub(crate) type Segments = Arc<Vec<Arc<Segment>>>;

/// Which segment holds a position.
pub(crate) fn segment_at(segments: &[Arc<Segment>], position: Position) -> Option<usize> {
    segments.partition_point(|segment| segment.first_position <= position).checked_sub(1)
}
