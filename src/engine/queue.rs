//! Layer 6.2: batches waiting to be committed; the one place where backpressure is felt.
//!
//! Knows: order, bounds, and that one thread leads at a time. Does not know: what committing is. A
//! caller who waits for his own batch leads the commit himself, so a lone caller pays no hop
//! between threads; batches that nobody waits for are committed by a thread of the store.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use super::batch::{Appended, Batch};
use super::watch::wake_each;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::types::{Error, ErrorKind, Limits, Result};

/// The answer to one batch, filled in by whoever commits it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SlotState {
    outcome: Option<Result<Appended>>,
    /// A thread sleeps on `changed`.
    waited: bool,
    /// That thread is to lead.
    lead: bool,
    waker: Option<Waker>,
}

impl Slot {
    pub(crate) fn answer(&self, outcome: Result<Appended>) {
        wake_each(self.settle(outcome));
    }

    /// Answers, but leaves it to the caller to wake the task that polls.
    pub(crate) fn settle(&self, outcome: Result<Appended>) -> Option<Waker> {
        let mut state = self.state.lock();
        state.outcome = Some(outcome);
        if state.waited {
            self.changed.notify_all();
        }
        state.waker.take()
    }

    pub(crate) fn outcome(&self) -> Option<Result<Appended>> {
        self.state.lock().outcome.clone()
    }

    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<Appended>> {
        let mut state = self.state.lock();
        match &state.outcome {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                state.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Sleeps until there is an answer or this thread is to lead.
    fn sleep(&self) {
        let mut state = self.state.lock();
        while state.outcome.is_none() && !state.lead {
            self.changed.wait(&mut state);
        }
        state.lead = false;
        state.waited = false;
    }

    /// Makes the thread that sleeps here lead; answers false when none does.
    fn hand_over(&self) -> bool {
        let mut state = self.state.lock();
        if state.waited {
            state.lead = true;
            self.changed.notify_all();
        }
        state.waited
    }
}

/// A batch and where its answer goes.
#[derive(Debug)]
pub(crate) struct Queued {
    pub batch: Arc<Batch>,
    pub slot: Arc<Slot>,
}

impl Queued {
    pub(crate) fn bytes(&self) -> usize {
        self.batch.records.len()
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    /// The store has a thread that commits what nobody waits for.
    background: bool,
    state: Mutex<QueueState>,
    room: Condvar,
    work: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Queued>,
    bytes: usize,
    leading: bool,
    closed: bool,
}

/// What a caller does next about a batch of his.
pub(crate) enum Turn {
    Done(Result<Appended>),
    Lead,
}

impl Queue {
    pub(crate) fn new(limits: Limits, background: bool) -> Self {
        Self {
            limits,
            background,
            state: Mutex::new(QueueState::default()),
            room: Condvar::new(),
            work: Condvar::new(),
        }
    }

    fn is_full(&self, state: &QueueState, bytes: usize) -> bool {
        // A batch larger than the bound is admitted alone.
        !state.waiting.is_empty()
            && (state.waiting.len() >= self.limits.queue_batches
                || state.bytes.saturating_add(bytes) > self.limits.queue_bytes)
    }

    /// Puts a batch in line, waiting for room. Where nobody else would make any, `commit` does.
    pub(crate) fn push(&self, batch: Batch, commit: impl Fn()) -> Result<Arc<Slot>> {
        let mut state = self.state.lock();
        while self.is_full(&state, batch.records.len()) && !state.closed {
            if self.background || state.leading {
                self.room.wait(&mut state);
            } else {
                drop(state);
                commit();
                state = self.state.lock();
            }
        }
        self.admit(state, batch)
    }

    /// Puts a batch in line if there is room.
    pub(crate) fn try_push(&self, batch: Batch) -> Result<Arc<Slot>> {
        let state = self.state.lock();
        if self.is_full(&state, batch.records.len()) && !state.closed {
            let text = format!(
                "{} batches with {} bytes wait to be committed",
                state.waiting.len(),
                state.bytes
            );
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        self.admit(state, batch)
    }

    fn admit(&self, mut state: MutexGuard<'_, QueueState>, batch: Batch) -> Result<Arc<Slot>> {
        if state.closed {
            return Err(closed());
        }
        let slot = Arc::new(Slot::default());
        state.bytes += batch.records.len();
        state.waiting.push_back(Queued { batch: Arc::new(batch), slot: slot.clone() });
        Ok(slot)
    }

    /// Tells the store's thread that there may be a batch nobody waits for.
    pub(crate) fn nudge(&self) {
        self.work.notify_one();
    }

    /// Waits until the batch is answered or this thread is to lead.
    pub(crate) fn turn(&self, slot: &Slot) -> Turn {
        loop {
            {
                let mut state = self.state.lock();
                // Nobody else asks: whoever waits owns the batch.
                if let Some(outcome) = slot.state.lock().outcome.take() {
                    return Turn::Done(outcome);
                }
                // With nothing in line the batch was taken: whoever led is about to answer it.
                if !state.leading && !state.waiting.is_empty() {
                    state.leading = true;
                    return Turn::Lead;
                }
                slot.state.lock().waited = true;
            }
            slot.sleep();
        }
    }

    /// Takes the lead if nobody has it and something waits.
    pub(crate) fn try_lead(&self) -> bool {
        let mut state = self.state.lock();
        let lead = !state.leading && !state.waiting.is_empty();
        state.leading |= lead;
        lead
    }

    /// For the store's thread: waits until it is to lead; false when the queue is closed and empty.
    pub(crate) fn lead_in_background(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if !state.leading && !state.waiting.is_empty() {
                state.leading = true;
                return true;
            }
            if state.closed && state.waiting.is_empty() {
                return false;
            }
            self.work.wait(&mut state);
        }
    }

    /// Takes the lead for something that is not a batch (closing, a background sync).
    pub(crate) fn lead_alone(&self) {
        let mut state = self.state.lock();
        while state.leading {
            self.room.wait(&mut state);
        }
        state.leading = true;
    }

    /// For the leader: the next batches, in order, up to so many bytes and batches; at least one.
    pub(crate) fn take(&self, taken: &mut Vec<Queued>, bytes_most: usize, batches_most: usize) {
        let mut state = self.state.lock();
        let mut bytes = 0;
        while let Some(next) = state.waiting.front() {
            bytes += next.bytes();
            if !taken.is_empty() && (bytes > bytes_most || taken.len() == batches_most) {
                break;
            }
            taken.extend(state.waiting.pop_front());
        }
        let gone: usize = taken.iter().map(Queued::bytes).sum();
        state.bytes -= gone;
        self.room.notify_all();
    }

    /// For the leader: puts batches back in front of the line.
    pub(crate) fn put_back(&self, batches: Vec<Queued>) {
        let mut state = self.state.lock();
        for queued in batches.into_iter().rev() {
            state.bytes += queued.bytes();
            state.waiting.push_front(queued);
        }
    }

    /// Gives the lead to whoever waits for the next batch, or to the store's thread.
    pub(crate) fn stop_leading(&self) {
        let mut state = self.state.lock();
        state.leading = false;
        self.room.notify_all();
        // Without a thread of the store's own, somebody who sleeps further back must lead.
        let asked = if self.background { 1 } else { usize::MAX };
        let handed = state.waiting.iter().take(asked).any(|next| next.slot.hand_over());
        if !handed && (!state.waiting.is_empty() || state.closed) {
            self.work.notify_one();
        }
    }

    /// Admits no more batches; answers those that still wait for room.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.room.notify_all();
        self.work.notify_all();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().waiting.is_empty()
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}

#[cfg(all(test, not(factlog_shuttle)))]
mod tests {
    use super::*;

    /// Found by a schedule: between giving the lead back and answering, the one who waited took the
    /// lead over an empty line, again and again, until the answer came; a slow waker made him burn
    /// a core.
    #[test]
    fn who_waits_for_an_answer_being_given_does_not_lead() {
        let queue = Queue::new(Limits::default(), true);
        let slot = queue.try_push(Batch::default()).unwrap();
        assert!(queue.try_lead());
        let mut taken = Vec::new();
        queue.take(&mut taken, 1, 1);
        queue.stop_leading();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| matches!(queue.turn(&slot), Turn::Done(_)));
            while !slot.state.lock().waited && !waiter.is_finished() {
                std::thread::yield_now();
            }
            for queued in taken {
                queued.slot.answer(Err(closed()));
            }
            assert!(waiter.join().unwrap(), "he was to lead, with nothing in line");
        });
    }
}
