//! Layer 7.3: subscriptions: a read that does not end at the watermark.
//!
//! Knows: one loop: read up to the watermark, wait until it moves, again. Does not know: a
//! difference between catching up and live, so there is no seam to lose an event in. A subscription
//! is a small struct and no thread; a slow one costs the writer nothing.

use std::ops::ControlFlow;
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::read::{Events, Read};
use super::source::Source;
use crate::clock::monotonic;
use crate::engine::{Awaited, Engine, Mark, Woken};
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Hidden, Position, RecordedEvent, Result};

/// A subscription that was so many positions behind is told again when it has caught up.
const BEHIND: u64 = 1_000;

/// Where to begin.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Start {
    /// With the first event that is there.
    Beginning,
    /// With what comes from now on.
    End,
    /// With the first event above a position.
    After(Position),
    /// Where the checkpoint of this name was saved; at the beginning when there is none.
    Checkpoint(String),
}

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// The next event.
    Event(RecordedEvent),
    /// Everything up to this position has been delivered: what follows is live.
    CaughtUp(Position),
    /// Everything up to this position has been looked at; nothing more of it matches.
    Progress(Position),
}

/// How to follow; see [`Store::subscribe`](crate::Store::subscribe).
#[derive(Debug)]
#[must_use = "a subscription begins with `start`"]
pub struct SubscribeOptions {
    engine: Arc<Engine>,
    source: Source,
    mark: Mark,
    hidden: Option<Hidden>,
}

impl SubscribeOptions {
    pub(super) fn new(engine: Arc<Engine>, source: Source) -> Self {
        Self { engine, source, mark: Mark::Synced, hidden: None }
    }

    /// What to do with events that their streams' settings hide, as in
    /// [`Read::hidden`](crate::Read::hidden): a subscription to one stream leaves them out, all
    /// others deliver them, unless they are told otherwise here.
    pub fn hidden(mut self, hidden: Hidden) -> Self {
        self.hidden = Some(hidden);
        self
    }

    /// Delivers events that are written but not synced yet, which a crash may take back. Makes a
    /// difference only in a store that is not opened with [`Durability::Sync`](crate::Durability).
    pub fn include_unsynced(mut self) -> Self {
        self.mark = Mark::Visible;
        self
    }

    /// Begins.
    ///
    /// ```
    /// # use factlog::{Delivery, Expect, NewEvent, Position, Source, Start, Store, StreamName};
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let stream = Source::Stream(StreamName::new("Clock-1")?);
    /// let mut clock = store.subscribe(stream).start(Start::Checkpoint("mailer".into()))?;
    /// if let Delivery::Event(event) = clock.next()? {
    ///     store.save_checkpoint("mailer", event.position())?;
    /// }
    /// assert!(store.subscribe(Source::All).start(Start::After(Position::new(9))).is_err());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` for a query without items, or a position or checkpoint beyond the end of the log
    /// or of another history; `Trimmed` for one behind which events were trimmed; `Closed`.
    pub fn start(self, start: Start) -> Result<Subscription> {
        self.engine.refuse_closed()?;
        if let Source::Query(query) = &self.source {
            query.check()?;
        }
        let last = self.engine.watch.level(self.mark);
        let cursor = match start {
            Start::Beginning => Position::START,
            Start::End => last,
            Start::After(position) if position > last => {
                let text =
                    format!("cannot start after position {position}: the log ends at {last}");
                return Err(Error::invalid(text).at(position));
            }
            Start::After(position) => {
                self.engine.view()?.refuse_behind(position)?;
                position
            }
            Start::Checkpoint(name) => self.engine.resume_from(&name)?,
        };
        // Who sees what is hidden goes on whatever is set.
        let minds = !matches!(self.hidden, Some(Hidden::Include | Hidden::Mark));
        let told = matches!(self.source, Source::Stream(_)) && minds;
        Ok(Subscription {
            told: told.then_some(u64::MAX),
            source: self.source,
            mark: self.mark,
            hidden: self.hidden,
            cursor,
            reading: None,
            tell: true,
            name: self.engine.watch.name(),
            engine: self.engine,
        })
    }
}

/// A subscription: every event once, in order, however slow it is read.
///
/// ```
/// use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};
/// let store = Store::in_memory()?;
/// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
/// let mut subscription = store.subscribe(Source::All).start(Start::Beginning)?;
/// assert!(matches!(subscription.next()?, Delivery::Event(_)));
/// assert!(matches!(subscription.next()?, Delivery::CaughtUp(_)));
/// assert!(subscription.try_next()?.is_none());
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug)]
pub struct Subscription {
    engine: Arc<Engine>,
    source: Source,
    mark: Mark,
    hidden: Option<Hidden>,
    /// Everything up to here was delivered or looked at.
    cursor: Position,
    reading: Option<(Events, Position)>,
    /// `CaughtUp` is owed when the watermark is reached.
    tell: bool,
    /// Of one stream: what was told of streams when it was last seen not to be deleted for ever.
    told: Option<u64>,
    /// Under which it waits when it is polled.
    name: u64,
}

impl Subscription {
    /// Everything up to here was delivered: what to save as a checkpoint.
    #[must_use]
    pub fn position(&self) -> Position {
        self.cursor
    }

    /// The next delivery, waiting for it.
    ///
    /// # Errors
    /// `Trimmed` when what comes next was trimmed, `Damaged` (calling again steps over it),
    /// `Deleted` when the one stream followed was deleted for ever, also while this waits; of one
    /// that was deleted otherwise it waits for the event that makes it live again. `Closed`, `Io`.
    #[expect(clippy::should_implement_trait, reason = "it never ends; `iter` is the iterator")]
    pub fn next(&mut self) -> Result<Delivery> {
        loop {
            if let Some(delivery) = self.try_next()? {
                return Ok(delivery);
            }
            self.wait(None)?;
        }
    }

    /// The next delivery, waiting for it at most so long.
    ///
    /// ```
    /// # use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let mut all = store.subscribe(Source::All).start(Start::Beginning)?;
    /// let mut events = 0;
    /// while let Some(delivery) = all.next_timeout(Duration::from_millis(5))? {
    ///     events += u32::from(matches!(delivery, Delivery::Event(_)));
    /// }
    /// assert_eq!(events, 1); // and nothing for 5 ms
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>> {
        // A moment too far off to have a name never comes.
        let deadline = monotonic().checked_add(timeout);
        loop {
            if let Some(delivery) = self.try_next()? {
                return Ok(Some(delivery));
            }
            let left = deadline.map(|at| at.saturating_duration_since(monotonic()));
            if left.is_some_and(|left| left.is_zero()) || self.wait(left)? == Woken::TimedOut {
                return self.try_next();
            }
        }
    }

    /// The next delivery if there is one already.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Source, Start, Store};
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let mut all = store.subscribe(Source::All).start(Start::Beginning)?;
    /// while let Some(delivery) = all.try_next()? {
    ///     println!("{delivery:?}");
    /// }
    /// assert_eq!(all.position(), store.last_position());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn try_next(&mut self) -> Result<Option<Delivery>> {
        loop {
            if let Some((events, until)) = &mut self.reading {
                if let Some(event) = events.next() {
                    let event = event.inspect_err(|error| {
                        if error.kind() != ErrorKind::Damaged {
                            // Begin again behind the last delivery: the event may well be there.
                            self.reading = None;
                        }
                    })?;
                    self.cursor = event.position();
                    return Ok(Some(Delivery::Event(event)));
                }
                let looked_further = self.cursor < *until;
                self.cursor = *until;
                self.reading = None;
                if looked_further {
                    return Ok(Some(Delivery::Progress(self.cursor)));
                }
            }
            let view = self.engine.view_at(self.mark)?;
            if view.last > self.cursor {
                self.tell |= view.last.get() - self.cursor.get() > BEHIND;
                let last = view.last;
                let mut read = Read::new(self.engine.clone(), Ok(self.source.clone()));
                read.set_hidden(self.hidden);
                let events = Events::over_view(read.after(self.cursor), view)?;
                self.reading = Some((events, last));
                continue;
            }
            self.refuse_tombstoned()?;
            let caught_up = Delivery::CaughtUp(self.cursor);
            return Ok(std::mem::take(&mut self.tell).then_some(caught_up));
        }
    }

    /// Nothing will ever come of a stream that was deleted for ever.
    fn refuse_tombstoned(&mut self) -> Result<()> {
        let told = self.engine.watch.told();
        if self.told.is_some_and(|before| before != told) {
            let mut read = Read::new(self.engine.clone(), Ok(self.source.clone()));
            read.set_hidden(self.hidden);
            read.hide()?;
            self.told = Some(told);
        }
        Ok(())
    }

    fn awaited(&self) -> Awaited {
        Awaited { past: self.cursor, mark: self.mark, told: self.told }
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Woken> {
        match self.engine.watch.wait_for(self.awaited(), timeout) {
            Woken::Ended => Err(self.ended()),
            woken => Ok(woken),
        }
    }

    fn ended(&self) -> Error {
        let closed = || Error::new(ErrorKind::Closed, "the store is closed");
        self.engine.refuse_closed().err().or(self.engine.is_poisoned()).unwrap_or_else(closed)
    }

    /// The next delivery for a task, which is woken when there may be one.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Source, Start, Store};
    /// # use std::future;
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let mut all = store.subscribe(Source::All).start(Start::Beginning)?;
    /// // To be awaited, in any runtime.
    /// let next = future::poll_fn(|context| all.poll_next(context));
    /// # drop(next);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Delivery>> {
        loop {
            match self.try_next() {
                Ok(Some(delivery)) => return Poll::Ready(Ok(delivery)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => {}
            }
            let (name, waker) = (self.name, context.waker());
            if !self.engine.watch.wake_for(name, self.awaited(), waker) {
                return Poll::Pending;
            }
            if self.engine.watch.ended() {
                return Poll::Ready(Err(self.ended()));
            }
        }
    }

    /// A channel that holds a wake-up when there may be something to read, to `select!` over; read
    /// with [`Self::try_next`] until it answers `None`. It never carries events, and is
    /// disconnected when the store closes.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Source, Start, Store};
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let mut all = store.subscribe(Source::All).start(Start::Beginning)?;
    /// while all.try_next()?.is_some() {} // first what is there
    /// let signal = all.signal();
    /// while all.try_next()?.is_some() {} // and what came before there was a signal
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// assert!(signal.recv().is_ok()); // or in `select!`, with other channels
    /// assert!(all.try_next()?.is_some());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    #[must_use]
    pub fn signal(&self) -> Receiver<()> {
        self.engine.watch.signal()
    }

    /// The deliveries as a blocking iterator; it ends when the store is closed.
    ///
    /// ```
    /// # use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let mut all = store.subscribe(Source::All).start(Start::Beginning)?;
    /// for delivery in all.iter() {
    ///     match delivery? {
    ///         Delivery::Event(event) => println!("{}", event.event_type()),
    ///         _ => break, // caught up
    ///     }
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn iter(&mut self) -> impl Iterator<Item = Result<Delivery>> {
        std::iter::from_fn(move || match self.next() {
            Err(error) if error.kind() == ErrorKind::Closed => None,
            delivery => Some(delivery),
        })
    }

    /// Hands events to `handle` in batches of at most `batch` events, as they come, until it breaks
    /// or the store is closed.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Source, Start, Store};
    /// # use std::ops::ControlFlow;
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let mut all = store.subscribe(Source::All).start(Start::Beginning)?;
    /// all.run(100, |events| {
    ///     println!("{} events to write into a table", events.len());
    ///     ControlFlow::Break(()) // enough; `Continue` to go on
    /// })?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn run(
        &mut self,
        batch: usize,
        mut handle: impl FnMut(&[RecordedEvent]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut events = Vec::new();
        loop {
            match self.try_next() {
                Ok(Some(Delivery::Event(event))) => events.push(event),
                Ok(Some(_)) => continue,
                Ok(None) if events.is_empty() => match self.wait(None) {
                    Err(error) if error.kind() == ErrorKind::Closed => return Ok(()),
                    waited => {
                        waited?;
                        continue;
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    // What was delivered before counts, and must not be passed over.
                    let broke = !events.is_empty() && handle(&events).is_break();
                    let ended = error.kind() == ErrorKind::Closed;
                    return if broke || ended { Ok(()) } else { Err(error) };
                }
            }
            let more = events.len() < batch.max(1) && self.reading.is_some();
            if !more {
                if handle(&events).is_break() {
                    return Ok(());
                }
                events.clear();
            }
        }
    }
}
