//! Layer 7.1: batches, and the answer to one that was submitted.
//!
//! Knows: checking and encoding on the caller's thread. Does not know: how batches are committed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use uuid::Uuid;

use crate::engine::{
    Appended, Batch, BatchEvent, BatchStream, Engine, Slot, check_shape, commit_inline, drive,
};
use crate::format::encode_event_with;
use crate::sync::Arc;
use crate::types::{
    BATCH_BYTES_MAX, Durability, Error, Expect, IdScope, IntoEvent, NewEvent, Position, Query,
    Result, Retention, StreamChange, StreamKey, StreamName,
};

/// Up to this many streams of a batch are looked through one by one.
const LOOKED_THROUGH: usize = 16;

/// The most room made at once for events that are announced.
const ROOM_MOST: usize = 4 << 20;

/// Events and checks for one atomic commit: all or none; see [`Store::batch`](crate::Store::batch).
///
/// ```
/// use factlog::{Expect, NewEvent, Store};
/// let store = Store::in_memory()?;
/// let appended = store
///     .batch()
///     .append("Account-1", Expect::NoStream, [NewEvent::binary("Opened", "1")])
///     .append("Account-2", Expect::NoStream, [NewEvent::binary("Opened", "2")])
///     .commit()?;
/// assert_eq!(appended.streams.len(), 2);
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a batch does nothing until it is committed or submitted"]
pub struct BatchBuilder<'a> {
    engine: &'a Arc<Engine>,
    batch: Batch,
    /// Where each stream is, once there are too many to look through.
    known: HashMap<StreamName, usize>,
    refused: Option<Error>,
    /// Keys of subjects with which events were encrypted, and that are not durable yet.
    keys: Vec<Uuid>,
    /// Streams that begin with `$` may be written.
    own: bool,
}

impl<'a> BatchBuilder<'a> {
    pub(super) fn new(engine: &'a Arc<Engine>) -> Self {
        Self {
            engine,
            batch: Batch::default(),
            known: HashMap::new(),
            refused: None,
            keys: Vec::new(),
            own: false,
        }
    }

    fn and(mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Self {
        if self.refused.is_none() {
            self.refused = act(&mut self).err();
        }
        self
    }

    /// Appends events to a stream, in this order. A stream may be named again with
    /// [`Expect::Any`] to interleave its events with those of another.
    pub fn append(
        self,
        stream: impl StreamKey,
        expect: Expect,
        events: impl IntoIterator<Item: IntoEvent>,
    ) -> Self {
        self.and(|builder| {
            let name = stream.stream_name()?;
            let at = builder.stream(&name, expect)?;
            let mut events = events.into_iter();
            if let Some(first) = events.next() {
                builder.event(&name, at, &first.into_event()?)?;
                builder.make_room(events.size_hint().0);
            }
            for event in events {
                builder.event(&name, at, &event.into_event()?)?;
            }
            if builder.batch.streams.get(at).is_some_and(|stream| stream.events == 0) {
                return Err(Error::invalid("append without events").in_stream(name.as_str()));
            }
            Ok(())
        })
    }

    /// Checks a stream without appending to it.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// let event = NewEvent::binary("Withdrawn", "");
    /// let batch = store.batch().append("Account-1", Expect::Any, [event]);
    /// assert!(batch.check("Bank-1", Expect::StreamExists).commit().is_err());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn check(self, stream: impl StreamKey, expect: Expect) -> Self {
        self.and(|builder| {
            let name = stream.stream_name()?;
            if expect == Expect::Any {
                let text = "a check that expects anything checks nothing";
                return Err(Error::invalid(text).in_stream(name.as_str()));
            }
            builder.stream(&name, expect).map(|_| ())
        })
    }

    /// Fails if an event that matches has a position above `after`.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Query, Store};
    /// # let store = Store::in_memory()?;
    /// let course = || Query::types(["Enrolled"]).tag("course:c1");
    /// let event = || NewEvent::binary("Enrolled", "").tag("course:c1");
    /// let decided_at = store.last_position(); // read and decide up to here
    /// let enrol = |student| {
    ///     let batch = store.batch().append(student, Expect::Any, [event()]);
    ///     batch.condition(course(), decided_at).commit()
    /// };
    /// enrol("Student-ada")?;
    /// assert!(enrol("Student-ben").unwrap_err().is_conflict()); // decided on what is out of date
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn condition(self, query: impl Into<Query>, after: Position) -> Self {
        self.and(|builder| {
            builder.batch.conditions.push((query.into(), after));
            Ok(())
        })
    }

    /// Fails if an event that matches exists anywhere in the log.
    ///
    /// ```
    /// # use factlog::{ErrorKind, Expect, NewEvent, Query, Store};
    /// # let store = Store::in_memory()?;
    /// let register = |stream| {
    ///     let event = NewEvent::binary("Registered", "").tag("email:ada@example.org");
    ///     let batch = store.batch().append(stream, Expect::NoStream, [event]);
    ///     batch.fails_if_exists(Query::tags(["email:ada@example.org"])).commit()
    /// };
    /// register("User-1")?;
    /// assert_eq!(register("User-2").unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn fails_if_exists(self, query: impl Into<Query>) -> Self {
        self.and(|builder| {
            builder.batch.none_exist.push(query.into());
            Ok(())
        })
    }

    /// Moves a checkpoint in the same commit.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// let command = store.append("Command-1", Expect::Any, [NewEvent::binary("Do", "")])?;
    /// store.batch()
    ///     .append("Answer-1", Expect::Any, [NewEvent::binary("Done", "")])
    ///     .checkpoint("worker", command.last) // emitted and read up to there in one commit
    ///     .commit()?;
    /// assert_eq!(store.checkpoint("worker")?, Some(command.last));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn checkpoint(self, name: impl Into<String>, position: Position) -> Self {
        self.and(|builder| {
            let name = name.into();
            crate::engine::check_name(&name)?;
            if builder.batch.checkpoint.replace((name, position)).is_some() {
                return Err(Error::invalid("a batch carries at most one checkpoint"));
            }
            Ok(())
        })
    }

    /// Deletes a stream in the same commit, after the batch's events; see
    /// [`Store::delete_stream`](crate::Store::delete_stream).
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store, StreamState, Version};
    /// # let store = Store::in_memory()?;
    /// store.batch()
    ///     .append("Cart-1", Expect::Any, [NewEvent::binary("CheckedOut", "")])
    ///     .delete("Cart-1", Expect::Any)
    ///     .commit()?;
    /// assert_eq!(store.stream_state("Cart-1")?, StreamState::SoftDeleted(Version::new(1)));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn delete(self, stream: impl StreamKey, expect: Expect) -> Self {
        self.change(stream, expect, StreamChange::Delete)
    }

    /// Deletes a stream for ever in the same commit, after the batch's events; see
    /// [`Store::tombstone_stream`](crate::Store::tombstone_stream).
    pub fn tombstone(self, stream: impl StreamKey, expect: Expect) -> Self {
        self.change(stream, expect, StreamChange::Tombstone)
    }

    /// Says in the same commit how much of a stream is shown; see
    /// [`Store::retain`](crate::Store::retain).
    pub fn retain(self, stream: impl StreamKey, retention: Retention) -> Self {
        self.and(|_| retention.check()).change(stream, Expect::Any, StreamChange::Retain(retention))
    }

    fn change(self, stream: impl StreamKey, expect: Expect, change: StreamChange) -> Self {
        self.and(|builder| {
            let name = stream.stream_name()?;
            let at = builder.stream(&name, expect)?;
            builder.batch.changes.push((at, change));
            Ok(())
        })
    }

    /// Asks for more durability than the store's own; never for less.
    ///
    /// ```
    /// # use factlog::{Durability, Expect, NewEvent, Store};
    /// let store = Store::options().durability(Durability::Os).in_memory()?;
    /// let event = NewEvent::binary("Paid", "");
    /// let batch = store.batch().append("Order-1", Expect::Any, [event]);
    /// batch.durability(Durability::Sync).commit()?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn durability(self, durability: Durability) -> Self {
        self.and(|builder| {
            if !durability.covers(builder.engine.settings.durability) {
                return Err(Error::invalid("an append cannot ask for less than its store gives"));
            }
            builder.batch.durability = Some(durability);
            Ok(())
        })
    }

    fn stream(&mut self, name: &StreamName, expect: Expect) -> Result<usize> {
        if name.as_str().starts_with('$') && !self.own {
            let text = "streams that begin with $ are the store's own";
            return Err(Error::invalid(text).in_stream(name.as_str()));
        }
        let Some(at) = self.find(name) else {
            let at = self.batch.streams.len();
            self.batch.streams.push(BatchStream { name: name.clone(), expect, events: 0 });
            if at == LOOKED_THROUGH {
                let all = self.batch.streams.iter().enumerate();
                self.known = all.map(|(at, stream)| (stream.name.clone(), at)).collect();
            } else if at > LOOKED_THROUGH {
                self.known.insert(name.clone(), at);
            }
            return Ok(at);
        };
        let Some(stream) = self.batch.streams.get_mut(at) else { return Ok(at) };
        if stream.expect == Expect::Any {
            stream.expect = expect;
        } else if expect != Expect::Any {
            let text = "a stream is checked twice in one batch";
            return Err(Error::invalid(text).in_stream(name.as_str()));
        }
        Ok(at)
    }

    fn find(&self, name: &StreamName) -> Option<usize> {
        if self.batch.streams.len() > LOOKED_THROUGH {
            return self.known.get(name).copied();
        }
        self.batch.streams.iter().position(|stream| stream.name == *name)
    }

    /// Makes room for more events like the first, so that a large batch is not copied as it grows.
    fn make_room(&mut self, events: usize) {
        let batch = &mut self.batch;
        let events = events.min(ROOM_MOST / batch.records.len().max(1));
        let each = batch.starts.last().map_or(0, |start| batch.records.len() - start);
        batch.records.reserve(events * each);
        batch.starts.reserve(events);
        batch.events.reserve(events);
    }

    fn event(&mut self, name: &StreamName, stream: usize, event: &NewEvent) -> Result<()> {
        let Engine { settings, subjects, clock, .. } = &**self.engine;
        let sealer = subjects.sealer(&event.subject, &**clock);
        let sealer = sealer.map_err(|error| error.in_stream(name.as_str()))?;
        let seal =
            sealer.as_ref().map(|sealer| |binding: &[u8], data: &[u8]| sealer.seal(binding, data));
        let seal = seal.as_ref().map(|seal| seal as _);
        let records = &mut self.batch.records;
        let part = encode_event_with(records, name, event, &settings.limits, seal)
            .map_err(|error| error.in_stream(name.as_str()))?;
        if sealer.is_none() && !event.subject.is_empty() {
            settings.check_in_clear().map_err(|error| error.in_stream(name.as_str()))?;
        }
        self.keys.extend(sealer.and_then(|sealer| sealer.pending()));
        if self.batch.records.len() as u64 > BATCH_BYTES_MAX {
            let text = format!("batch is larger than {BATCH_BYTES_MAX} bytes");
            return Err(Error::invalid(text));
        }
        self.batch.starts.push(part.start);
        self.batch.events.push(BatchEvent { id: part.id, stream });
        if let Some(stream) = self.batch.streams.get_mut(stream) {
            stream.events += 1;
        }
        Ok(())
    }

    fn finish(self) -> Result<(&'a Arc<Engine>, Batch)> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        self.engine.refuse_writing()?;
        check_shape(&self.batch, self.engine.id_scope == IdScope::Stream)?;
        // Last: what is refused keeps no key.
        self.engine.keep_keys(&self.keys)?;
        Ok((self.engine, self.batch))
    }

    /// A batch of the store's own, which may write its own streams.
    #[cfg(feature = "model")]
    pub(crate) fn own(mut self) -> Self {
        self.own = true;
        self
    }

    /// What it asks for, for a batch that is made late.
    #[cfg(feature = "model")]
    pub(crate) fn into_batch(self) -> Result<Batch> {
        self.finish().map(|(_, batch)| batch)
    }

    /// Commits what `late` makes of it when its turn comes.
    #[cfg(feature = "model")]
    pub(crate) fn commit_late(mut self, late: crate::engine::Late) -> Result<Appended> {
        self.batch.late = Some(late);
        if let Some(error) = self.refused {
            return Err(error);
        }
        self.engine.refuse_writing()?;
        let slot = self.engine.queue.push(self.batch, || commit_inline(self.engine))?;
        drive(self.engine, &slot)
    }

    /// Commits; returns when the batch is as durable as asked.
    ///
    /// # Errors
    /// `Conflict`, `AlreadyExists`, `Deleted`, `IdConflict`, `DuplicateIdInBatch`, `Invalid`,
    /// `DiskFull`, `Damaged`, `Io` (what the batch is judged by could not be read): nothing was
    /// written. `InDoubt`: open again and retry with the same ids. `Poisoned`, `Closed`.
    pub fn commit(self) -> Result<Appended> {
        let (engine, batch) = self.finish()?;
        let slot = engine.queue.push(batch, || commit_inline(engine))?;
        drive(engine, &slot)
    }

    /// Queues it, waiting while the queue is full, and answers with a ticket.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// let ticked = || [NewEvent::binary("Ticked", "")];
    /// let tick = || store.batch().append("Clock-1", Expect::Any, ticked());
    /// let tickets = [tick().submit()?, tick().submit()?]; // both may share one sync
    /// for ticket in tickets {
    ///     ticket.wait()?; // or `.await`
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, `Poisoned`, `Closed`.
    pub fn submit(self) -> Result<Ticket> {
        let (engine, batch) = self.finish()?;
        let slot = engine.queue.push(batch, || commit_inline(engine))?;
        engine.queue.nudge();
        Ok(Ticket { engine: engine.clone(), slot })
    }

    /// Queues it if there is room.
    ///
    /// ```
    /// # use factlog::{ErrorKind, Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// let event = NewEvent::binary("Ticked", "");
    /// match store.batch().append("Clock-1", Expect::Any, [event]).try_submit() {
    ///     Ok(ticket) => println!("position {}", ticket.wait()?.last),
    ///     Err(error) if error.kind() == ErrorKind::QueueFull => println!("later"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `QueueFull`; otherwise as [`Self::submit`].
    pub fn try_submit(self) -> Result<Ticket> {
        let (engine, batch) = self.finish()?;
        let slot = engine.queue.try_push(batch)?;
        engine.queue.nudge();
        Ok(Ticket { engine: engine.clone(), slot })
    }
}

/// The answer to a submitted batch, to be waited for or awaited (in any runtime, or none). Dropping
/// it does not undo the append.
#[derive(Debug)]
#[must_use = "the batch is committed anyway, but only the ticket tells whether it was accepted"]
pub struct Ticket {
    engine: Arc<Engine>,
    slot: Arc<Slot>,
}

impl Ticket {
    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`BatchBuilder::commit`].
    pub fn wait(self) -> Result<Appended> {
        drive(&self.engine, &self.slot)
    }

    /// The answer, if there is one already.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<Appended>> {
        self.slot.outcome()
    }
}

impl Future for Ticket {
    type Output = Result<Appended>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.engine.settings.background {
            commit_inline(&self.engine);
        }
        self.slot.poll(context.waker())
    }
}
