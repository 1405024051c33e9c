//! Layer 9.4: competing consumers in one process: each event to one of them, until it is settled.
//!
//! Knows: threads and waiting. Does not know: what is whose. The checkpoint is durable and never
//! passes what is not settled: after a restart some events may come again, none is missed.

use std::time::Duration;

use crossbeam_channel::{bounded, select};

use super::group::{Entry, Group};
use super::incoming::Incoming;
use super::team::ConsumersOptions;
use super::work::{Shared, State, Work};
use crate::api::Start;
use crate::clock::monotonic;
use crate::sync::{Arc, Mutex};
use crate::types::{Error, ErrorKind, Position, Result};

impl<R: Incoming> ConsumersOptions<R> {
    /// Begins behind the checkpoint, at the beginning when there is none.
    ///
    /// # Errors
    /// `Locked` while others run under this name; `Invalid` for a checkpoint of another history;
    /// `Closed`.
    pub fn start(self) -> Result<Consumers<R>> {
        let claim = self.store.claim(&self.name)?;
        let start = Start::Checkpoint(self.name.clone());
        let subscription = self.store.subscribe(self.source.clone()).start(start)?;
        let (arrived, saved) = (subscription.signal(), subscription.position());
        let (nudge, nudged) = bounded(1);
        let state = State {
            subscription,
            group: Group::new(),
            saved,
            saved_at: monotonic(),
            settled_since: 0,
            read_to: saved,
        };
        let shared =
            Shared { options: self, claim, state: Mutex::new(state), arrived, nudge, nudged };
        Ok(Consumers(Arc::new(shared)))
    }
}

/// Competing consumers: see [`Store::consumers`](crate::Store::consumers). A clone for each; when
/// the last is dropped, the checkpoint is saved.
pub struct Consumers<R: Incoming>(Arc<Shared<R>>);

impl<R: Incoming> Clone for Consumers<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Incoming> std::fmt::Debug for Consumers<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumers").field("name", &self.0.claim.name()).finish_non_exhaustive()
    }
}

/// How the consumers of a name are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumersStatus {
    /// Everything up to here is settled or parked.
    pub settled: Position,
    /// What is durable of that: where a restart begins.
    pub checkpoint: Position,
    /// Events that are with consumers.
    pub in_flight: usize,
    /// Events that wait to be handed out again.
    pub waiting: usize,
    /// Events of the log that were not looked at yet.
    pub lag_events: u64,
}

impl<R: Incoming> Consumers<R> {
    /// The next event for this consumer, waiting for it.
    ///
    /// # Errors
    /// `Closed`, `Damaged` (calling again steps over it), `Io`; what parking may answer.
    pub fn next(&self) -> Result<Work<R>> {
        loop {
            if let Some(work) = self.next_timeout(Duration::from_secs(3600))? {
                return Ok(work);
            }
        }
    }

    /// The next event for this consumer, waiting for it at most so long.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_timeout(&self, timeout: Duration) -> Result<Option<Work<R>>> {
        let shared = &self.0;
        let until = monotonic().checked_add(timeout);
        loop {
            let deadline = {
                let mut state = shared.state.lock();
                if let Some(work) = shared.try_next(&mut state)? {
                    drop(state);
                    // There may be more, and others may wait for it.
                    shared.nudge();
                    return Ok(Some(work));
                }
                shared.save_if_due(&mut state)?;
                state.group.next_deadline()
            };
            let now = monotonic();
            if until.is_some_and(|until| until <= now) {
                return Ok(None);
            }
            let wake = until.into_iter().chain(deadline).min();
            let wait = wake.map_or(timeout, |at| at.saturating_duration_since(now));
            select! {
                recv(shared.arrived) -> message => {
                    if message.is_err() {
                        return Err(Error::new(ErrorKind::Closed, "the store is closed"));
                    }
                    shared.nudge();
                }
                recv(shared.nudged) -> _ => {}
                default(wait) => {}
            }
        }
    }

    /// Hands the parked events out again, before what is new. Each stays parked until it is
    /// handled. Answers how many they are.
    ///
    /// # Errors
    /// `Invalid` while they are being handed out already; `Decode` when one of them still cannot be
    /// read; what a read may answer.
    pub fn replay_parked(&self) -> Result<usize> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        if state.group.replays() {
            return Err(Error::invalid("the parked events are being handed out again already"));
        }
        let mut all = Vec::new();
        for parked in shared.options.store.parked(shared.claim.name())? {
            let event = shared.options.store.event_at(parked.position)?;
            let item = event.map(R::receive).transpose()?.flatten();
            all.extend(item.map(|item| (parked.position, item)));
        }
        let replayed = all.len();
        for (position, item) in all {
            let key = shared.options.key.as_ref().map(|key| key(&item));
            state.group.add(position, Entry { item, attempts: 0, replayed: true, key });
        }
        shared.nudge();
        Ok(replayed)
    }

    /// Saves the checkpoint now.
    ///
    /// # Errors
    /// What saving may answer.
    pub fn save_checkpoint(&self) -> Result<()> {
        self.0.save(&mut self.0.state.lock())
    }

    /// How they are doing.
    #[must_use]
    pub fn status(&self) -> ConsumersStatus {
        let state = self.0.state.lock();
        let (in_flight, last) = (state.group.in_flight(), self.0.options.store.last_position());
        ConsumersStatus {
            settled: state.group.settled(state.read_to),
            checkpoint: state.saved,
            in_flight,
            waiting: state.group.outstanding() - in_flight,
            lag_events: last.get().saturating_sub(state.read_to.get()),
        }
    }
}
