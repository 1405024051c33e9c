//! Layer 7.4: the store and its verbs.
//!
//! Knows: what each verb means. Does not know: how it is done.

use uuid::Uuid;

use super::append::BatchBuilder;
use super::hiding::Hiding;
use super::info::Stats;
use super::read::Read;
use super::source::Source;
use super::subscribe::SubscribeOptions;
use crate::engine::{Appended, Engine, Mark, whole};
use crate::log::{VerifyReport, is_segment, is_sidecar, verify_log};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Mutex};
use crate::types::{
    Error, ErrorKind, Expect, IntoEvent, OpenReport, Position, Query, RecordedEvent, Result,
    StreamKey, Version,
};

/// An open store. Cheap to clone and to share between threads; the last handle that is dropped
/// closes it.
///
/// ```
/// use factlog::{Expect, NewEvent, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("orders");
/// let store = Store::open(path)?;
/// store.append("Order-42", Expect::NoStream, [NewEvent::binary("OrderPlaced", "…")])?;
/// for event in store.read_stream("Order-42") {
///     println!("{:?}", event?);
/// }
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Store(pub(super) Arc<Handle>);

#[derive(Debug)]
pub(super) struct Handle {
    engine: Arc<Engine>,
    #[cfg_attr(not(feature = "model"), expect(dead_code, reason = "nobody runs anything"))]
    pub(super) claims: super::claims::Claims,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Handle {
    fn close(&self) -> Result<()> {
        self.engine.refuse_in_fork()?; // there is no thread to wait for
        let outcome = self.engine.close();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            thread.thread().unpark();
            if thread.thread().id() == thread::current().id() {
                // The last handle was dropped by a waker that this thread ran; it ends by itself.
                continue;
            }
            // A panic there has poisoned the store already.
            let _ = thread.join();
        }
        self.engine.release();
        outcome
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl Store {
    pub(super) fn of(engine: Arc<Engine>, threads: Vec<JoinHandle<()>>) -> Self {
        let (threads, claims) = (Mutex::new(threads), Arc::default());
        Self(Arc::new(Handle { engine, claims, threads }))
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    /// What opening found and did, and what was found since in sidecars that it did not read.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # let store = Store::in_memory()?;
    /// let report = store.open_report();
    /// assert!(report.created && report.damage.is_empty());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    #[must_use]
    pub fn open_report(&self) -> OpenReport {
        self.engine().report()
    }

    /// Commits what waits, marks the log as closed and gives the lock back. Other handles to the
    /// store answer `Closed` from then on. Dropping the last handle does the same, without the
    /// answer.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # let store = Store::in_memory()?;
    /// let other = store.clone();
    /// store.close()?;
    /// assert!(other.event_at(factlog::Position::new(1)).is_err());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io`: nothing acknowledged is lost, but the next opening will find an unclean end.
    pub fn close(self) -> Result<()> {
        crate::engine::refuse_inside()?;
        self.0.close()
    }

    /// Appends events to one stream; returns when they are as durable as the store's mode says. A
    /// retry with the same event ids gets the original answer.
    ///
    /// ```
    /// # use factlog::{ErrorKind, Expect, NewEvent, Store, Version};
    /// # let store = Store::in_memory()?;
    /// let placed = NewEvent::binary("OrderPlaced", "…");
    /// let first = store.append("Order-42", Expect::NoStream, [placed.clone()])?;
    /// let again = store.append("Order-42", Expect::NoStream, [placed])?;
    /// assert!(again.already && again.first == first.first);
    /// let late = store.append("Order-42", Expect::NoStream, [NewEvent::binary("Late", "")]);
    /// assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`BatchBuilder::commit`].
    pub fn append(
        &self,
        stream: impl StreamKey,
        expect: Expect,
        events: impl IntoIterator<Item: IntoEvent>,
    ) -> Result<Appended> {
        self.batch().append(stream, expect, events).commit()
    }

    /// Begins a batch over several streams, with checks, conditions or a checkpoint.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// let opened = || [NewEvent::binary("Opened", "")];
    /// store.batch()
    ///     .append("Account-1", Expect::NoStream, opened())
    ///     .append("Account-2", Expect::NoStream, opened())
    ///     .commit()?;
    /// assert_eq!(store.last_position().get(), 2);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn batch(&self) -> BatchBuilder<'_> {
        BatchBuilder::new(self.engine())
    }

    /// Reads one stream, from its first event on.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "1")])?;
    /// for event in store.read_stream("Clock-1") {
    ///     assert_eq!(event?.event_type(), "Ticked");
    /// }
    /// assert_eq!(store.read_stream("Clock-2").into_iter().count(), 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn read_stream(&self, stream: impl StreamKey) -> Read {
        let name = stream.stream_name().map(|name| Source::Stream(name.into_owned()));
        Read::new(self.engine().clone(), name)
    }

    /// Reads all events in the order of their positions.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "1")])?;
    /// let mut bytes = 0;
    /// store.read_all().for_each(|event| {
    ///     bytes += event.data().len();
    ///     std::ops::ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(bytes, 1);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn read_all(&self) -> Read {
        Read::new(self.engine().clone(), Ok(Source::All))
    }

    /// Reads the streams of a category, in the order of positions.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Order-1", Expect::Any, [NewEvent::binary("Placed", "")])?;
    /// store.append("Order-2", Expect::Any, [NewEvent::binary("Placed", "")])?;
    /// assert_eq!(store.read_category("Order").into_iter().count(), 2);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn read_category(&self, category: &str) -> Read {
        Read::new(self.engine().clone(), Ok(Source::Category(category.into())))
    }

    /// Reads what matches a query, in the order of positions.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Query, Store};
    /// # let store = Store::in_memory()?;
    /// let placed = NewEvent::binary("Placed", "").tag("customer:7");
    /// store.append("Order-1", Expect::Any, [placed, NewEvent::binary("Paid", "")])?;
    /// let query = Query::types(["Placed", "Cancelled"]).tag("customer:7");
    /// assert_eq!(store.read(query).into_iter().count(), 1);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn read(&self, query: impl Into<Query>) -> Read {
        Read::new(self.engine().clone(), Ok(Source::Query(query.into())))
    }

    /// The event with this id; with ids unique per stream, the newest.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// let event = NewEvent::binary("Ticked", "");
    /// let id = event.event_id();
    /// store.append("Clock-1", Expect::Any, [event])?;
    /// assert_eq!(store.event(id)?.map(|event| event.position().get()), Some(1));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Trimmed`, `Damaged`, `Closed`, `Io`.
    pub fn event(&self, id: Uuid) -> Result<Option<RecordedEvent>> {
        let engine = self.engine();
        let found = engine.view()?.event_of_id(&id, |event| engine.owned(event))?;
        self.sure(whole(found)?)
    }

    /// The event at a position.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Position, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// assert!(store.event_at(Position::new(1))?.is_some());
    /// assert!(store.event_at(Position::new(2))?.is_none());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Trimmed`, `Damaged`, `Closed`, `Io`.
    pub fn event_at(&self, position: Position) -> Result<Option<RecordedEvent>> {
        self.engine().event_at(position)
    }

    /// The event with this version of a stream.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store, Version};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// assert!(store.stream_event("Clock-1", Version::new(1))?.is_some());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` name, `Trimmed`, `Damaged`, `Closed`, `Io`.
    pub fn stream_event(
        &self,
        stream: impl StreamKey,
        version: Version,
    ) -> Result<Option<RecordedEvent>> {
        let name = stream.stream_name()?;
        let view = self.engine().view()?;
        match view.retained(name.as_str(), version)? {
            Some(position) => self.shown(name.as_str(), self.engine().event_at(position)?),
            None => {
                view.refuse_lost(name.as_str(), version)?;
                self.sure(None)
            }
        }
    }

    /// The event, if its stream's settings do not hide it.
    pub(super) fn shown(
        &self,
        stream: &str,
        event: Option<RecordedEvent>,
    ) -> Result<Option<RecordedEvent>> {
        let Some(event) = event else { return Ok(None) };
        let mut hiding = Hiding::new(self.engine().clone());
        Ok(hiding.reason(stream, (event.version(), event.recorded_at())).is_none().then_some(event))
    }

    /// In a store in which damage was found, at its opening or since, what is not found may be what
    /// was lost.
    fn sure<T>(&self, found: Option<T>) -> Result<Option<T>> {
        if found.is_none() {
            self.engine().refuse_doubt_after(Position::START)?;
            self.engine().refuse_found_later()?;
        }
        Ok(found)
    }

    /// The watermark: everything up to here can be read.
    ///
    /// ```
    /// # use factlog::{Position, Store};
    /// # let store = Store::in_memory()?;
    /// assert_eq!(store.last_position(), Position::START);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    #[must_use]
    pub fn last_position(&self) -> Position {
        self.engine().watch.level(Mark::Visible)
    }

    /// Up to here everything survives a power cut. Behind [`Self::last_position`] only in a store
    /// that is not opened with [`Durability::Sync`](crate::Durability::Sync).
    #[must_use]
    pub fn synced_position(&self) -> Position {
        self.engine().watch.level(Mark::Synced)
    }

    /// Makes everything appended so far durable: what a store opened with a weaker durability would
    /// do later.
    ///
    /// ```
    /// # use factlog::{Durability, Expect, NewEvent, Store};
    /// let store = Store::options().durability(Durability::Os).in_memory()?;
    /// let appended = store.append("Meter-7", Expect::Any, [NewEvent::binary("Read", "42")])?;
    /// store.sync()?;
    /// assert_eq!(store.synced_position(), appended.last);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InDoubt` when the sync fails, which poisons the store; `Poisoned`, `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.engine().refuse_writing()?;
        self.engine().sync_now();
        match self.engine().is_poisoned() {
            Some(cause) => Err(Error::new(ErrorKind::InDoubt, "the sync failed").because(cause)),
            None => Ok(()),
        }
    }

    /// Follows a source: first what is there, then what comes, without a seam between the two.
    ///
    /// ```
    /// # use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let orders = Source::Category("Order".into());
    /// let mut orders = store.subscribe(orders).start(Start::Beginning)?;
    /// assert!(matches!(orders.next()?, Delivery::Progress(_))); // nothing there matched
    /// assert!(matches!(orders.next()?, Delivery::CaughtUp(_)));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn subscribe(&self, source: Source) -> SubscribeOptions {
        SubscribeOptions::new(self.engine().clone(), source)
    }

    /// Counts and sizes.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # let store = Store::in_memory()?;
    /// assert_eq!(store.stats().events, 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let engine = self.engine();
        let mut stats = Stats::default();
        {
            let catalog = engine.catalog.read();
            stats.lost = catalog.segments.iter().map(|segment| segment.count_lost()).sum();
            stats.events = catalog.events().saturating_sub(stats.lost);
            stats.streams = catalog.heads.len().into();
            stats.segments = catalog.segment_count() as u64;
            stats.heads_memory_bytes = catalog.heads.memory_bytes() as u64;
            let segments: usize = catalog.segments.iter().map(|s| s.memory_bytes()).sum();
            stats.index_memory_bytes = stats.heads_memory_bytes + segments as u64;
        }
        for name in engine.disk.list().unwrap_or_default() {
            let size = || {
                let file = engine.disk.open(&name, crate::disk::Access::Read);
                file.and_then(|file| file.size()).unwrap_or(0)
            };
            if is_segment(&name) {
                stats.log_bytes += size();
            } else if is_sidecar(&name) {
                stats.sidecar_bytes += size();
            }
        }
        stats
    }

    /// Checks every checksum and every link of the log.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # let store = Store::in_memory()?;
    /// assert!(store.verify()?.damage.is_empty());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported`, `Io`.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.engine().refuse_closed()?;
        verify_log(&*self.engine().disk, &mut |_, _| ())
    }
}

#[cfg(test)]
mod tests;
