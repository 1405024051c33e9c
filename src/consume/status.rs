//! Layer 9.1: what a runner tells of itself, and how it is stopped.
//!
//! Knows: states and lag. Does not know: what runs. Whoever asks gets what is true now: lag is
//! computed when asked, and a runner that ended, by a panic too, does not go on being live.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::api::Store;
use crate::sync::{Arc, Mutex};
use crate::types::{Position, RecordedEvent};

/// What a runner is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunState {
    /// Nobody runs it.
    Idle,
    /// It reads what was recorded before; see [`Status::lag_events`].
    CatchingUp,
    /// It has handled everything, or is about to: what comes is handled as it comes.
    Live,
    /// Something failed and is tried again.
    Retrying {
        /// How often it failed by now.
        failures: u32,
        /// Why, the last time.
        reason: String,
    },
    /// It gave up; what it had handled is kept.
    Faulted {
        /// Why.
        reason: String,
    },
    /// It was stopped.
    Stopped,
}

/// How a runner is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub state: RunState,
    /// Everything up to here is handled.
    pub position: Position,
    /// How many events of the log it has not looked at yet.
    pub lag_events: u64,
    /// How long ago the first of them was recorded, zero when there is none; `None` when that
    /// cannot be read, in a store that is closed or damaged there.
    pub lag: Option<Duration>,
    /// How many events were handled since it was made.
    pub handled: u64,
    /// How many of these were parked.
    pub parked: u64,
}

/// Asks and stops a runner from elsewhere; see [`Projection::control`](crate::Projection::control).
#[derive(Debug, Clone)]
pub struct Control {
    store: Store,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    facts: Mutex<Facts>,
    /// Dropped to stop.
    running: Mutex<Option<Sender<()>>>,
    stopped: Receiver<()>,
    /// Within so many events of the end it counts as live once it has caught up.
    batch: u64,
}

#[derive(Debug)]
struct Facts {
    state: RunState,
    position: Position,
    handled: u64,
    parked: u64,
}

/// How many events whoever is at `position` has not looked at, and how long ago the first of them
/// was recorded.
pub(super) fn lag(store: &Store, position: Position) -> (u64, Option<Duration>) {
    let events = store.last_position().get().saturating_sub(position.get());
    if events == 0 {
        return (0, Some(Duration::ZERO));
    }
    let first = store.event_at(position.next()).ok().flatten();
    let since = |first: RecordedEvent| {
        let micros = store.now().micros().saturating_sub(first.recorded_at().micros());
        Duration::from_micros(micros)
    };
    (events, first.map(since))
}

impl Control {
    pub(super) fn new(store: &Store, position: Position, batch: usize) -> Self {
        let (sender, stopped) = bounded(0);
        let facts = Facts { state: RunState::Idle, position, handled: 0, parked: 0 };
        let batch = batch.try_into().unwrap_or(u64::MAX);
        let running = Mutex::new(Some(sender));
        let shared = Shared { facts: Mutex::new(facts), running, stopped, batch };
        Self { store: store.clone(), shared: Arc::new(shared) }
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let (mut state, position, handled, parked) = {
            let facts = self.shared.facts.lock();
            (facts.state.clone(), facts.position, facts.handled, facts.parked)
        };
        let (lag_events, lag) = lag(&self.store, position);
        if state == RunState::Live && lag_events > self.shared.batch {
            state = RunState::CatchingUp;
        }
        Status { state, position, lag_events, lag, handled, parked }
    }

    /// Has it end after what it is handling now. It can be made anew under its name once it is
    /// dropped.
    pub fn stop(&self) {
        self.shared.running.lock().take();
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.running.lock().is_none()
    }

    /// Disconnected when it is to stop.
    pub(super) fn stopped(&self) -> &Receiver<()> {
        &self.shared.stopped
    }

    pub(super) fn set(&self, state: RunState) {
        self.shared.facts.lock().state = state;
    }

    pub(super) fn state(&self) -> RunState {
        self.shared.facts.lock().state.clone()
    }

    pub(super) fn done(&self, position: Position, handled: u64, parked: u64) {
        let mut facts = self.shared.facts.lock();
        facts.position = position;
        facts.handled += handled;
        facts.parked += parked;
    }
}
