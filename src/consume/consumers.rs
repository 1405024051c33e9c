//! Layer 9.4: competing consumers in one process: each event to one of them, until it is settled.
//!
//! Knows: threads and waiting. Does not know: what is whose. The checkpoint is durable and never
//! passes what is not settled: after a restart some events may come again, none is missed.

use std::time::Duration;

use crossbeam_channel::{bounded, select};

use super::group::Group;
use super::incoming::Incoming;
use super::status::lag;
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
            stopped: None,
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// How long ago the first of them was recorded, zero when there is none; `None` when that
    /// cannot be read.
    pub lag: Option<Duration>,
    /// Why they were [stopped](Work::stop), if they were.
    pub stopped: Option<String>,
}

impl<R: Incoming> Consumers<R> {
    /// The next event for this consumer, waiting for it.
    ///
    /// # Errors
    /// `Failed` once they were [stopped](Work::stop); `Closed`, `Io`; what parking may answer.
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
                let next = shared.try_next(&mut state);
                if !matches!(next, Ok(None)) {
                    drop(state);
                    // There may be more, or the same error, and others may wait for it.
                    shared.nudge();
                    return next;
                }
                shared.save_if_due(&mut state)?;
                state.group.next_deadline(monotonic())
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
    /// handled, and those that still cannot be read are not handed out. Answers how many are.
    ///
    /// # Errors
    /// `Invalid` while they are being handed out already; what a read may answer.
    pub fn replay_parked(&self) -> Result<usize> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        if state.group.replays() {
            return Err(Error::invalid("the parked events are being handed out again already"));
        }
        let mut all = Vec::new();
        for parked in shared.options.store.parked(shared.claim.name())? {
            let item = parked.receive::<R>(&shared.options.store)?;
            let entry = shared.entry(item, true).ok().flatten();
            all.extend(entry.map(|entry| (parked.position, entry)));
        }
        let replayed = all.len();
        all.into_iter().for_each(|(position, entry)| state.group.add(position, entry));
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
        let in_flight = state.group.in_flight();
        let (lag_events, lag) = lag(&self.0.options.store, state.read_to);
        ConsumersStatus {
            settled: state.group.settled(state.read_to),
            checkpoint: state.saved,
            in_flight,
            waiting: state.group.outstanding() - in_flight,
            lag_events,
            lag,
            stopped: state.stopped.as_ref().map(ToString::to_string),
        }
    }
}
