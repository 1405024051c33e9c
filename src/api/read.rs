//! Layer 7.2: reads: what to read, and the iterator that serves it.
//!
//! Knows: bounds, direction, filters. Does not know: files. A read is lazy and goes over one view:
//! it ends at the watermark it began with, and every event is checked when it is served.

use std::ops::ControlFlow;

use super::hiding::Hiding;
use super::source::Source;
use super::walk::Walk;
use crate::engine::{Engine, EventReader, View, Wanted};
use crate::sync::Arc;
use crate::types::{
    Error, ErrorKind, EventRef, Hidden, Lifecycle, Position, Query, RecordedEvent, Result,
    StreamState, Timestamp, Version, category,
};

/// What to read; iterate over it, or visit it with [`Read::for_each`].
///
/// ```
/// use factlog::{Expect, NewEvent, Store, Version};
/// let store = Store::in_memory()?;
/// let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
/// store.append("Clock-1", Expect::NoStream, events)?;
/// let last_two: Vec<_> = store.read_stream("Clock-1").backward().limit(2).into_iter()
///     .collect::<Result<_, _>>()?;
/// assert_eq!(last_two[0].version(), Version::new(5));
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a read does nothing until it is iterated over"]
pub struct Read {
    engine: Arc<Engine>,
    source: Result<Source>,
    versions: (Version, Version),
    after: Position,
    through: Position,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    only: Option<Query>,
    limit: u64,
    backward: bool,
    hidden: Option<Hidden>,
}

impl Read {
    pub(super) fn new(engine: Arc<Engine>, source: Result<Source>) -> Self {
        Self {
            engine,
            source,
            versions: ALL_VERSIONS,
            after: Position::START,
            through: Position::new(u64::MAX - 1),
            since: None,
            until: None,
            only: None,
            limit: u64::MAX,
            backward: false,
            hidden: None,
        }
    }

    /// From this version on, inclusive. Versions belong to one stream: anything else is
    /// `Invalid`. A version that was trimmed is `Trimmed`.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store, Version};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let read = store.read_stream("Clock-1").from(Version::new(4));
    /// assert_eq!(read.into_iter().count(), 2);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn from(mut self, version: Version) -> Self {
        self.versions.0 = version;
        self
    }

    /// Up to this version, inclusive. Versions belong to one stream: anything else is
    /// `Invalid`.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store, Version};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let read = store.read_stream("Clock-1").to(Version::new(2));
    /// assert_eq!(read.into_iter().count(), 2);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn to(mut self, version: Version) -> Self {
        self.versions.1 = version;
        self
    }

    /// Only events above this position: the place to go on from. Where events above it were
    /// trimmed, the read answers `Trimmed`; only after position 0 it begins with what is there.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Position, Store};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let read = store.read_all().after(Position::new(4));
    /// assert_eq!(read.into_iter().count(), 1);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn after(mut self, position: Position) -> Self {
        self.after = position;
        self
    }

    /// Only events up to this position, inclusive.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Position, Store};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let read = store.read_all().through(Position::new(4));
    /// assert_eq!(read.into_iter().count(), 4);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn through(mut self, position: Position) -> Self {
        self.through = position;
        self
    }

    /// Only events recorded at this time or later.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # use std::time::{Duration, SystemTime};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    /// assert_eq!(store.read_all().since(an_hour_ago).into_iter().count(), 5);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn since(mut self, time: impl Into<Timestamp>) -> Self {
        self.since = Some(time.into());
        self
    }

    /// Only events recorded at this time or earlier.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store, Timestamp};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// assert_eq!(store.read_all().until(Timestamp::from_micros(0)).into_iter().count(), 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn until(mut self, time: impl Into<Timestamp>) -> Self {
        self.until = Some(time.into());
        self
    }

    /// Only events that also match a query.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Query, Store};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let read = store.read_category("Clock").only(Query::types(["Stopped"]));
    /// assert_eq!(read.into_iter().count(), 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn only(mut self, query: impl Into<Query>) -> Self {
        self.only = Some(query.into());
        self
    }

    /// At most so many events.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// assert_eq!(store.read_all().limit(3).into_iter().count(), 3);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn limit(mut self, events: u64) -> Self {
        self.limit = events;
        self
    }

    /// From the end to the beginning.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let newest = store.read_all().backward().into_iter().next();
    /// assert_eq!(newest.transpose()?.map(|event| event.position().get()), Some(5));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn backward(mut self) -> Self {
        self.backward = true;
        self
    }

    /// What to do with events that their streams' settings hide: deleted, truncated, too old. Reads
    /// of one stream leave them out, all others serve them, unless they are told otherwise here.
    ///
    /// ```
    /// # use factlog::{Expect, Hidden, HiddenReason, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// # store.append("Cart-1", Expect::Any, [NewEvent::binary("Filled", "")])?;
    /// store.delete_stream("Cart-1", Expect::Any)?;
    /// assert_eq!(store.read_all().count()?, 1);
    /// assert_eq!(store.read_all().hidden(Hidden::Exclude).count()?, 0);
    /// let marked = store.read_stream("Cart-1").hidden(Hidden::Mark).to_vec()?;
    /// assert_eq!(marked[0].hidden(), Some(HiddenReason::Deleted));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn hidden(mut self, hidden: Hidden) -> Self {
        self.hidden = Some(hidden);
        self
    }

    /// Visits every event where it lies, without copying it, until `visit` breaks.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # use std::ops::ControlFlow;
    /// # let store = Store::in_memory()?;
    /// # let events = (0..5).map(|n| NewEvent::binary("Ticked", vec![n]));
    /// # store.append("Clock-1", Expect::Any, events)?;
    /// let mut sum = 0;
    /// store.read_stream("Clock-1").for_each(|event| {
    ///     sum += event.data().iter().map(|byte| u64::from(*byte)).sum::<u64>();
    ///     if sum < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    /// })?;
    /// assert_eq!(sum, 3);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, `Trimmed`, `Damaged` (ends the visit; iterate to step over it), `Closed`, `Io`.
    pub fn for_each(self, mut visit: impl FnMut(EventRef<'_>) -> ControlFlow<()>) -> Result<()> {
        let mut events = Events::over(self)?;
        let mut scratch = Vec::new();
        while events.left > 0 {
            let Some((segment, ordinal)) = events.walk.next() else { break };
            let event = events.reader.read(segment, ordinal)?;
            let Some(event) = events.wants.take(event) else { continue };
            events.left -= 1;
            if visit(events.engine.subjects.open(event, &mut scratch)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// How many events there are; none of them is copied.
    ///
    /// # Errors
    /// As [`Self::for_each`].
    pub fn count(self) -> Result<u64> {
        let mut events = 0;
        self.for_each(|_| {
            events += 1;
            ControlFlow::Continue(())
        })?;
        Ok(events)
    }

    /// All the events, copied.
    ///
    /// # Errors
    /// As [`Self::for_each`].
    pub fn to_vec(self) -> Result<Vec<RecordedEvent>> {
        self.into_iter().collect()
    }
}

impl IntoIterator for Read {
    type Item = Result<RecordedEvent>;
    type IntoIter = Events;

    fn into_iter(self) -> Events {
        let engine = self.engine.clone();
        Events::over(self).unwrap_or_else(|error| Events::refused(engine, error))
    }
}

/// What an event must be, beyond being a candidate.
#[derive(Debug)]
struct Wants {
    wanted: Wanted,
    only: Option<Query>,
    /// What hides events, and whether they are marked and not left out.
    hiding: Option<(Hiding, bool)>,
}

impl Wants {
    /// The event as it is to be served, if it is.
    fn take<'a>(&mut self, event: EventRef<'a>) -> Option<EventRef<'a>> {
        if !self.matches(&event) {
            return None;
        }
        // The one place where it is decided whether what is left of a reclaimed event is served.
        if let hidden @ Some(_) = event.reclaimed() {
            let marks = matches!(self.hiding, Some((_, true)));
            return marks.then_some(EventRef { hidden, ..event });
        }
        let Some((hiding, mark)) = &mut self.hiding else { return Some(event) };
        let hidden = hiding.reason(event.stream(), (event.version(), event.recorded_at()));
        (hidden.is_none() || *mark).then_some(EventRef { hidden, ..event })
    }

    fn matches(&self, event: &EventRef<'_>) -> bool {
        let matches = match &self.wanted {
            Wanted::All => true,
            Wanted::Stream { name, .. } => event.stream() == name,
            Wanted::Category(name) => category(event.stream()) == Some(name),
            Wanted::Query(query) => query.matches(event),
        };
        matches && self.only.as_ref().is_none_or(|query| query.matches(event))
    }
}

/// The events of a read, in order. A damaged event is an `Err` with its place; going on steps over
/// it. Any other error ends the read.
#[derive(Debug)]
pub struct Events {
    walk: Walk,
    reader: EventReader,
    wants: Wants,
    left: u64,
    refused: Option<Error>,
    engine: Arc<Engine>,
}

impl Events {
    fn over(read: Read) -> Result<Self> {
        let view = read.engine.view()?;
        Self::over_view(read, view)
    }

    pub(super) fn over_view(read: Read, view: View) -> Result<Self> {
        let mut read = read;
        let asked = read.versions.0;
        let hiding = read.hide()?;
        let wanted = wanted(read.source?, read.versions)?;
        if let Some(query) = &read.only {
            query.check()?;
        }
        refuse_trimmed(&view, (&wanted, asked), (read.after, read.through))?;
        let mut low = read.after.next().max(view.first_position());
        let mut high = read.through.min(view.last);
        if let Some(since) = read.since {
            low = low.max(view.first_recorded_at_or_after(since)?);
        }
        if let Some(until) = read.until {
            let beyond = Timestamp::from_micros(until.micros().saturating_add(1));
            let first_beyond = view.first_recorded_at_or_after(beyond)?.get();
            high = high.min(Position::new(first_beyond - 1));
        }
        // Reading ahead pays where neighbours are asked for.
        let in_order = matches!(wanted, Wanted::All) && !read.backward;
        Ok(Self {
            walk: Walk::new(view, wanted.clone(), (low, high), read.backward),
            reader: if in_order { EventReader::in_order() } else { EventReader::default() },
            wants: Wants { wanted, only: read.only, hiding },
            left: read.limit,
            refused: None,
            engine: read.engine,
        })
    }

    fn refused(engine: Arc<Engine>, error: Error) -> Self {
        Self {
            walk: Walk::nowhere(),
            reader: EventReader::default(),
            wants: Wants { wanted: Wanted::All, only: None, hiding: None },
            left: 1,
            refused: Some(error),
            engine,
        }
    }
}

impl Iterator for Events {
    type Item = Result<RecordedEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.refused.take() {
            return Some(Err(error));
        }
        while self.left > 0 {
            let (segment, ordinal) = self.walk.next()?;
            let wants = &mut self.wants;
            let read = self.reader.read(segment, ordinal).and_then(|event| {
                wants.take(event).map(|event| self.engine.owned(event)).transpose()
            });
            match read {
                Ok(Some(event)) => {
                    self.left -= 1;
                    return Some(Ok(event));
                }
                Ok(None) => {}
                Err(error) => {
                    if error.kind() != ErrorKind::Damaged {
                        // The event may well be there: going on would skip it.
                        self.left = 0;
                    }
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// What begins at the very beginning begins with what there is; what names a position or a version
/// that was trimmed is told so, or it would miss events and not know.
fn refuse_trimmed(
    view: &View,
    (wanted, asked): (&Wanted, Version),
    (after, through): (Position, Position),
) -> Result<()> {
    view.refuse_behind(after)?;
    if through.next() < view.first_position() {
        view.refuse_trimmed(through)?;
    }
    match wanted {
        Wanted::Stream { name, from, to } => {
            if asked > Version::NONE {
                // Of what the stream hides nothing is missed.
                view.refuse_trimmed_version(name, *from)?;
            }
            // It ends before the first that is there.
            match *to {
                Version::NONE => Ok(()),
                to => view.refuse_trimmed_version(name, to.next()),
            }
        }
        _ => Ok(()),
    }
}

impl Read {
    pub(super) fn set_hidden(&mut self, hidden: Option<Hidden>) {
        self.hidden = hidden;
    }

    /// Narrows a read of one stream to what its settings show; answers what is left to be asked of
    /// every event.
    pub(super) fn hide(&mut self) -> Result<Option<(Hiding, bool)>> {
        let hiding = || Hiding::new(self.engine.clone());
        let (name, hidden) = match (&self.source, self.hidden) {
            (_, Some(Hidden::Mark)) => return Ok(Some((hiding(), true))),
            (_, Some(Hidden::Include)) => return Ok(None),
            (Ok(Source::Stream(name)), _) => (name.clone(), hiding()),
            (_, Some(Hidden::Exclude)) => return Ok(Some((hiding(), false))),
            (_, None) => return Ok(None),
        };
        let (lifecycle, last) = hidden.look_up(name.as_str());
        if lifecycle == Lifecycle::default() {
            return Ok(None);
        }
        if let StreamState::Tombstoned(_) = lifecycle.state(last) {
            let what = format!("stream {:?} was deleted for ever", name.as_str());
            return Err(Error::new(ErrorKind::Deleted, what).in_stream(name.as_str()));
        }
        // Bounds bind all versions of one stream: nothing need be asked of its events.
        self.versions.0 = self.versions.0.max(lifecycle.first_shown(last));
        self.since = self.since.max(lifecycle.oldest(hidden.now()));
        Ok(None)
    }
}

/// Every version there can be.
const ALL_VERSIONS: (Version, Version) = (Version::NONE, Version::new(u64::MAX - 1));

fn wanted(source: Source, versions: (Version, Version)) -> Result<Wanted> {
    if versions != ALL_VERSIONS && !matches!(source, Source::Stream(_)) {
        return Err(Error::invalid("versions belong to one stream; bound this read by positions"));
    }
    Ok(match source {
        Source::All => Wanted::All,
        Source::Stream(name) => {
            Wanted::Stream { name: name.as_str().to_owned(), from: versions.0, to: versions.1 }
        }
        Source::Category(name) => Wanted::Category(name),
        Source::Query(query) => {
            query.check()?;
            Wanted::Query(query)
        }
    })
}
