//! Layer 9.1: what a projection is made with.
//!
//! Knows: choices and their defaults. Does not know: who acts on them.

use std::marker::PhantomData;

use super::incoming::Incoming;
use super::retry::Retry;
use crate::api::{Source, Store};
use crate::types::Position;

/// What is done about an event that cannot be handled, after all [retries](Retry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Poison {
    /// The projection ends with the error: nothing is passed over.
    #[default]
    Stop,
    /// It is [parked](Store::parked) with the reason, and the projection goes on.
    Park,
}

/// How a projection is made; see [`Store::projection`].
#[derive(Debug)]
#[must_use = "a projection begins with `start`"]
pub struct ProjectionOptions<R> {
    pub(super) store: Store,
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) batch: usize,
    pub(super) retry: Retry,
    pub(super) poison: Poison,
    pub(super) refuse_unknown: bool,
    /// The handler keeps the position itself.
    pub(super) after: Option<Position>,
    pub(super) kind: PhantomData<fn() -> R>,
}

impl Store {
    /// Follows events under a name and hands them to a handler in batches: first what is there,
    /// then what comes. Its progress is a durable checkpoint of that name, saved after each batch,
    /// so that every event is handled at least once; see [`ProjectionOptions::after`] and
    /// [`Projection::run_emitting`](crate::Projection::run_emitting) for exactly once.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use factlog::{Event, Expect, Position, Store};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Clone, Event, Serialize, Deserialize)]
    /// enum Bank {
    ///     Deposited { cents: u64 },
    /// }
    ///
    /// let store = Store::in_memory()?;
    /// for account in ["Account-a", "Account-b", "Account-a"] {
    ///     store.append(account, Expect::Any, [Bank::Deposited { cents: 5 }])?;
    /// }
    ///
    /// let mut balances: BTreeMap<String, u64> = BTreeMap::new();
    /// // A table that outlives the process leaves out `after`, and goes on from its checkpoint.
    /// let options = store.projection::<Bank>("balances").after(Position::START);
    /// let mut projection = options.start()?;
    /// projection.catch_up(|events| {
    ///     for event in events {
    ///         let Bank::Deposited { cents } = event.event;
    ///         *balances.entry(event.stream().to_owned()).or_default() += cents;
    ///     }
    ///     Ok::<(), String>(())
    /// })?; // or `run`, which goes on until it is stopped
    /// assert_eq!(balances["Account-a"], 10);
    /// assert_eq!(projection.control().status().lag_events, 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn projection<R: Incoming>(&self, name: &str) -> ProjectionOptions<R> {
        ProjectionOptions {
            store: self.clone(),
            name: name.to_owned(),
            source: R::source(),
            batch: 500,
            retry: Retry::default(),
            poison: Poison::default(),
            refuse_unknown: false,
            after: None,
            kind: PhantomData,
        }
    }
}

impl<R: Incoming> ProjectionOptions<R> {
    /// Which events; unless said, all that `R` knows.
    pub fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// At most so many events at a time; 500 unless said.
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = events.max(1);
        self
    }

    /// How often an event is tried again that could not be handled.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What is done about an event that still cannot; [`Poison::Stop`] unless said.
    pub fn poison(mut self, poison: Poison) -> Self {
        self.poison = poison;
        self
    }

    /// Events of types that `R` does not know cannot be handled; unless said they are passed over.
    pub fn refuse_unknown(mut self) -> Self {
        self.refuse_unknown = true;
        self
    }

    /// The handler keeps its place itself, and this is it: the position that it stored last, in one
    /// transaction with what it made of the events. No checkpoint is saved, and every event takes
    /// effect exactly once, if an error of the handler means that it committed nothing. See the
    /// guide, [tables in SQLite](crate::guide::sqlite). What is made in memory is gone with the
    /// process: its place is always [`Position::START`].
    pub fn after(mut self, position: Position) -> Self {
        self.after = Some(position);
        self
    }
}
