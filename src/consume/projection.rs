//! Layer 9.3: projections: the ways to run one.
//!
//! Knows: what an application asks for. Does not know: the loop (`runner.rs`).

use super::incoming::Incoming;
use super::outbox::Outbox;
use super::runner::{Failed, Goal, Handle, Runner};
use super::settings::ProjectionOptions;
use super::status::Control;
use crate::types::{Error, ErrorKind, Position, Result};

impl<R: Incoming> ProjectionOptions<R> {
    /// Makes it ready to run, on the caller's thread.
    ///
    /// # Errors
    /// `Locked` while another runs under this name; `Invalid` for a checkpoint of another history;
    /// `Closed`.
    pub fn start(self) -> Result<Projection<R>> {
        Ok(Projection { runner: Runner::new(self)?, replaces: None })
    }

    /// Makes the projection a second time, beside the one that runs: from the beginning, under the
    /// name and `~rebuild`. Run it into a new table, with [`Projection::catch_up`], and then
    /// [`Projection::switch`]. It can be interrupted and goes on where it was: as long as it is at
    /// position 0, begin with an empty table; a table that does not outlive the process needs
    /// [`after`](Self::after)`(Position::START)`. Where the handler keeps its place itself, `after`
    /// is the place in the new table.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn rebuild(mut self) -> Result<Projection<R>> {
        let replaces = Some(self.name.clone());
        self.name.push_str("~rebuild");
        Ok(Projection { runner: Runner::new(self)?, replaces })
    }
}

/// A projection that is ready to run; see [`Store::projection`](crate::Store::projection).
#[derive(Debug)]
pub struct Projection<R: Incoming> {
    runner: Runner<R>,
    /// The name of the one it is to take the place of.
    replaces: Option<String>,
}

impl<R: Incoming> Projection<R> {
    /// To ask how it is doing, and to stop it, from other threads.
    #[must_use]
    pub fn control(&self) -> Control {
        self.runner.control().clone()
    }

    /// Hands events to `handle` until it is stopped or the store is closed. A batch that fails is
    /// handed over again event by event, each with [retries](ProjectionOptions::retry). A handler
    /// that panics ends the run with its panic: what it had not handled comes again.
    ///
    /// # Errors
    /// What could not be handled, with the handler's reason as the source, when that is not to be
    /// parked; `Damaged`, `Io`, `Poisoned`.
    pub fn run<H: Into<Failed>>(
        &mut self,
        mut handle: impl FnMut(&[R::Item]) -> Result<(), H>,
    ) -> Result<()> {
        self.runner.run(Goal::Stopped, &mut |runner, items| runner.deliver(&items, &mut handle))
    }

    /// As [`Self::run`], until everything that is there when it begins is handled.
    ///
    /// # Errors
    /// As [`Self::run`]; `Closed`.
    pub fn catch_up<H: Into<Failed>>(
        &mut self,
        mut handle: impl FnMut(&[R::Item]) -> Result<(), H>,
    ) -> Result<()> {
        self.runner.run(Goal::CaughtUp, &mut |runner, items| runner.deliver(&items, &mut handle))
    }

    /// As [`Self::run`], on several threads: events of one key are handled in order, events of
    /// different keys at the same time. The checkpoint moves when a batch is handled whole.
    ///
    /// ```
    /// # use factlog::{RecordedEvent, Store};
    /// # let store = Store::in_memory()?;
    /// # let mut projection = store.projection::<RecordedEvent>("mirror").start()?;
    /// # projection.control().stop();
    /// projection.run_partitioned(4, |event| event.stream().to_owned(), |events| {
    ///     println!("{} events, of each stream in order", events.len());
    ///     Ok::<(), String>(())
    /// })?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_partitioned<K: std::hash::Hash, H: Into<Failed>>(
        &mut self,
        threads: usize,
        key: impl Fn(&R::Item) -> K,
        handle: impl Fn(&[R::Item]) -> Result<(), H> + Sync,
    ) -> Result<()> {
        self.runner.run(Goal::Stopped, &mut |runner, items| {
            runner.deliver_partitioned(threads.max(1), items, &key, &handle)
        })
    }

    /// As [`Self::run`], for process managers: what the handler emits becomes durable together with
    /// the checkpoint, in one commit, so that every event is answered exactly once. Metadata says
    /// what caused what.
    ///
    /// ```
    /// # use factlog::{Emits, Event, Expect, NewEvent, Store};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Clone, Event, Serialize, Deserialize)]
    /// # enum Order { Placed { #[tag] order: u64 } }
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # #[event(category = "Parcel")]
    /// # enum Parcel { Requested { #[tag] order: u64 } }
    /// # let store = Store::in_memory()?;
    /// store.append("Order-7", Expect::Any, [NewEvent::of(&Order::Placed { order: 7 })?])?;
    /// let mut shipping = store.projection::<Order>("shipping").start()?;
    /// shipping.catch_up_emitting(|placed, outbox| {
    ///     let Order::Placed { order } = placed.event;
    ///     outbox.emit(Parcel::Requested { order });
    ///     Ok::<(), String>(())
    /// })?;
    /// let requested = store.last_event("Parcel-7")?.expect("it was emitted");
    /// assert_eq!(store.checkpoint("shipping")?.map(|at| at.get()), Some(1));
    /// # assert!(requested.causation().is_some());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::run`]; `Invalid` when the handler keeps its place itself.
    pub fn run_emitting<H: Into<Failed>>(
        &mut self,
        mut handle: impl FnMut(&R::Item, &mut Outbox) -> Result<(), H>,
    ) -> Result<()> {
        self.refuse_own_place()?;
        self.runner.run(Goal::Stopped, &mut |runner, items| runner.answer(&items, &mut handle))
    }

    /// As [`Self::run_emitting`], until everything that is there when it begins is answered.
    ///
    /// # Errors
    /// As [`Self::run_emitting`]; `Closed`.
    pub fn catch_up_emitting<H: Into<Failed>>(
        &mut self,
        mut handle: impl FnMut(&R::Item, &mut Outbox) -> Result<(), H>,
    ) -> Result<()> {
        self.refuse_own_place()?;
        self.runner.run(Goal::CaughtUp, &mut |runner, items| runner.answer(&items, &mut handle))
    }

    fn refuse_own_place(&self) -> Result<()> {
        match self.runner.keeps_own_place() {
            true => {
                Err(Error::invalid("what is emitted carries the checkpoint: leave out `after`"))
            }
            false => Ok(()),
        }
    }

    /// Hands every parked event to `handle`, in the order of their positions. What it handles is
    /// parked no longer; what fails once more stays, with the new reason, and so does what still
    /// cannot be read. Answers how many were handled.
    ///
    /// # Errors
    /// What a read or an append may answer.
    pub fn replay_parked<H: Into<Failed>>(
        &mut self,
        mut handle: impl FnMut(&[R::Item]) -> Result<(), H>,
    ) -> Result<u64> {
        self.replay(&mut |item, _| handle(std::slice::from_ref(item)).map_err(Into::into))
    }

    /// As [`Self::replay_parked`], for process managers: what the handler emits becomes durable
    /// together with the event being parked no longer.
    ///
    /// # Errors
    /// As [`Self::replay_parked`].
    pub fn replay_parked_emitting<H: Into<Failed>>(
        &mut self,
        mut handle: impl FnMut(&R::Item, &mut Outbox) -> Result<(), H>,
    ) -> Result<u64> {
        self.replay(&mut |item, outbox| handle(item, outbox).map_err(Into::into))
    }

    fn replay(&mut self, handle: Handle<'_, R::Item>) -> Result<u64> {
        let mut handled = 0;
        for parked in self.runner.store().parked(self.runner.name())? {
            handled += u64::from(self.runner.replay(&parked, handle)?);
        }
        Ok(handled)
    }

    /// Puts a [rebuilt](ProjectionOptions::rebuild) projection in the place of the one it was built
    /// beside, which must have been stopped and dropped: handles what is left, runs `swap` (which
    /// renames tables, say), and moves the other's checkpoint to where this one is. Should the
    /// process end between the two, the new table is handed the events since the old checkpoint
    /// once more.
    ///
    /// # Errors
    /// `Invalid` when it was not made by `rebuild`; `Locked` while the other still runs; what
    /// `handle` or `swap` answered, as the source.
    pub fn switch<H: Into<Failed>, S: Into<Failed>>(
        mut self,
        handle: impl FnMut(&[R::Item]) -> Result<(), H>,
        swap: impl FnOnce() -> Result<(), S>,
    ) -> Result<()> {
        let Some(name) = self.replaces.clone() else {
            return Err(Error::invalid("only what `rebuild` made can take the place of another"));
        };
        let store = self.runner.store().clone();
        let _other = store.claim(&name)?;
        self.catch_up(handle)?;
        let at = self.runner.position();
        // Before the tables change: should the process end in between, the next rebuild must not
        // go on in a new table from where this one was.
        self.set_place(self.runner.name(), Position::START)?;
        if let Err(why) = swap() {
            self.set_place(self.runner.name(), at)?;
            let text = format!("projection {name:?} was not switched");
            return Err(Error::new(ErrorKind::Failed, text).because_of(why.into()));
        }
        self.set_place(&name, at)
    }

    fn set_place(&self, name: &str, position: Position) -> Result<()> {
        match self.runner.keeps_own_place() {
            true => Ok(()),
            false => self.runner.store().reset_checkpoint(name, position),
        }
    }
}
