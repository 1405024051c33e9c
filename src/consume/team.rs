//! Layer 9.2: what competing consumers are made with.
//!
//! Knows: choices and their defaults. Does not know: who acts on them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::incoming::{Incoming, Receives};
use super::retry::Retry;
use crate::api::{Source, Store};

/// What events of one key are recognised by.
pub(super) type Key<R> = dyn Fn(&<R as Receives>::Item) -> u64 + Send + Sync;

/// How competing consumers are made; see [`Store::consumers`].
#[must_use = "consumers begin with `start`"]
pub struct ConsumersOptions<R: Incoming> {
    pub(super) store: Store,
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Retry,
    pub(super) in_flight: usize,
    pub(super) key: Option<Box<Key<R>>>,
}

impl<R: Incoming> std::fmt::Debug for ConsumersOptions<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumersOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Store {
    /// Several consumers in this process that share the events of a source: each event goes to one
    /// of them, which settles it. Their progress is a durable checkpoint of this name.
    ///
    /// ```
    /// # use factlog::{Event, Expect, NewEvent, Store};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(Clone, Event, Serialize, Deserialize)]
    /// # enum Mail { Requested { to: String } }
    /// # fn send(to: &str) -> Result<(), String> { Ok(()) }
    /// # let store = Store::in_memory()?;
    /// store.append("Mail-1", Expect::Any,
    ///     [NewEvent::of(&Mail::Requested { to: "ada@example.org".into() })?])?;
    /// let mailers = store.consumers::<Mail>("mailers").timeout(Duration::from_secs(30)).start()?;
    /// // On as many threads as are wanted, each with a clone of `mailers`:
    /// while let Some(work) = mailers.next_timeout(Duration::from_millis(10))? {
    ///     let Mail::Requested { to } = &work.event;
    ///     match send(to) {
    ///         Ok(()) => work.ack()?,
    ///         Err(why) => work.retry(&why)?, // by anybody, in a while; parked in the end
    ///     }
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn consumers<R: Incoming>(&self, name: &str) -> ConsumersOptions<R> {
        ConsumersOptions {
            store: self.clone(),
            name: name.to_owned(),
            source: R::source(),
            timeout: Some(Duration::from_secs(30)),
            retry: Retry::default(),
            in_flight: 500,
            key: None,
        }
    }
}

impl<R: Incoming> ConsumersOptions<R> {
    /// Which events; unless said, all that `R` knows.
    pub fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// An event that is not settled for so long goes to another consumer; 30 s unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whoever has an event may take all the time he wants.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// How often an event that was given back, was dropped or took too long is handed out again
    /// before it is parked, and after how long when it was given [back](crate::Work::retry).
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// At most so many events are handed out or wait to be handed out again; 500 unless said.
    pub fn in_flight(mut self, events: usize) -> Self {
        self.in_flight = events.max(1);
        self
    }

    /// Events of one key are handed out one after the other, in order; those of different keys at
    /// the same time. Unless said, nothing keeps an order.
    pub fn partition_by<K: Hash>(
        mut self,
        key: impl Fn(&R::Item) -> K + Send + Sync + 'static,
    ) -> Self {
        self.key = Some(Box::new(move |item| {
            let mut hasher = DefaultHasher::new();
            key(item).hash(&mut hasher);
            hasher.finish()
        }));
        self
    }
}
