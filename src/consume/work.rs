//! Layer 9.3: an event with its consumer, and what competing consumers share.
//!
//! Knows: the store, and what settling comes to. Does not know: who gets what (`group.rs` decides),
//! or how consumers wait (`consumers.rs`).

use std::ops::Deref;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::group::{Entry, Group};
use super::incoming::Incoming;
use super::park::{Parked, park, unpark};
use super::team::ConsumersOptions;
use crate::api::{Claim, Delivery, Start, Subscription, caught};
use crate::clock::monotonic;
use crate::sync::{Arc, Mutex};
use crate::types::{Durability, Error, ErrorKind, Position, Result};

/// A checkpoint is saved when so many events were settled, or
const CHECKPOINT_MOST: u64 = 1000;
/// when it is so long ago, or nothing is outstanding.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(2);

pub(super) struct State<I> {
    pub subscription: Subscription,
    pub group: Group<I>,
    /// Everything up to here has been given to the group.
    pub read_to: Position,
    pub saved: Position,
    pub saved_at: Instant,
    pub settled_since: u64,
    /// Why nobody is handed anything any more.
    pub stopped: Option<Error>,
}

pub(super) struct Shared<R: Incoming> {
    pub options: ConsumersOptions<R>,
    pub claim: Claim,
    pub state: Mutex<State<R::Item>>,
    /// Something may have been recorded; what takes the message passes it on with a nudge.
    pub arrived: Receiver<()>,
    pub nudge: Sender<()>,
    pub nudged: Receiver<()>,
}

/// An event that one consumer has: it settles it. Dropped without, it goes to another at once.
#[must_use = "an event that is not settled is handed out again"]
pub struct Work<R: Incoming> {
    shared: Arc<Shared<R>>,
    entry: Entry<R::Item>,
    position: Position,
    ticket: u64,
    settled: bool,
}

impl<R: Incoming> std::fmt::Debug for Work<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (position, attempts) = (self.position, self.entry.attempts);
        f.debug_struct("Work").field("position", &position).field("attempts", &attempts).finish()
    }
}

impl<R: Incoming> Deref for Work<R> {
    type Target = R::Item;

    fn deref(&self) -> &R::Item {
        &self.entry.item
    }
}

impl<R: Incoming> Work<R> {
    /// How often it was handed out, this time included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.entry.attempts
    }

    /// It is handled.
    ///
    /// # Errors
    /// `NotFound` when it took too long and is another's now: what was done may be done twice.
    /// What saving a checkpoint may answer; the event is settled nevertheless.
    pub fn ack(self) -> Result<()> {
        self.settle(|shared, state, position, entry| shared.done(state, position, &entry))
    }

    /// It is passed over, on purpose.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub fn skip(self) -> Result<()> {
        self.ack()
    }

    /// Somebody is to try again, [in a while](ConsumersOptions::retry); after too many attempts it
    /// is parked for this reason.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub fn retry(self, reason: &str) -> Result<()> {
        self.settle(|shared, state, position, mut entry| {
            let wait = shared.options.retry.after(entry.attempts);
            entry.not_before = wait.and_then(|wait| monotonic().checked_add(wait));
            shared.try_again(state, position, entry, reason)
        })
    }

    /// Something is wrong that neither another attempt nor another consumer mends: nobody is handed
    /// anything any more, and every consumer's `next` answers `Failed` with this reason. What
    /// others have they may settle. This event counts as not tried, and comes again when consumers
    /// are started anew under the name.
    ///
    /// ```
    /// # use factlog::{ErrorKind, Expect, NewEvent, RecordedEvent, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Mail-1", Expect::Any, [NewEvent::binary("Requested", "")])?;
    /// let mailers = store.consumers::<RecordedEvent>("mailers").start()?;
    /// mailers.next()?.stop("the password of the mail server has expired")?;
    /// let error = mailers.next().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Failed);
    /// assert!(error.to_string().contains("has expired"));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub fn stop(self, reason: &str) -> Result<()> {
        self.settle(|shared, state, position, mut entry| {
            entry.attempts -= 1;
            state.group.add(position, entry);
            let name = shared.claim.name();
            let text = format!("consumers {name:?} were stopped at event {position}: {reason}");
            state.stopped.get_or_insert(Error::new(ErrorKind::Failed, text).at(position));
            Ok(())
        })
    }

    /// It is [put aside](crate::Store::parked), for this reason.
    ///
    /// # Errors
    /// As [`Self::ack`]; what an append may answer, and then it is handed out again.
    pub fn park(self, reason: &str) -> Result<()> {
        self.settle(|shared, state, position, entry| shared.park(state, position, entry, reason))
    }

    fn settle(
        mut self,
        how: impl FnOnce(&Shared<R>, &mut State<R::Item>, Position, Entry<R::Item>) -> Result<()>,
    ) -> Result<()> {
        self.settled = true;
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        let Some(entry) = state.group.take_back(self.position, self.ticket) else {
            let text = format!("the event at position {} is another's now", self.position);
            return Err(Error::new(ErrorKind::NotFound, text).at(self.position));
        };
        let outcome = how(&shared, &mut state, self.position, entry);
        shared.nudge();
        outcome
    }
}

impl<R: Incoming> Drop for Work<R> {
    fn drop(&mut self) {
        if !self.settled {
            let mut state = self.shared.state.lock();
            if let Some(entry) = state.group.take_back(self.position, self.ticket) {
                // Nobody said that it failed; but what crashes its consumers must end some time.
                let why = "its consumer dropped it";
                let _ = self.shared.try_again(&mut state, self.position, entry, why);
            }
            self.shared.nudge();
        }
    }
}

impl<R: Incoming> Shared<R> {
    pub(super) fn nudge(&self) {
        // A full channel holds a nudge already.
        let _ = self.nudge.try_send(());
    }

    pub(super) fn try_next(
        self: &Arc<Self>,
        state: &mut State<R::Item>,
    ) -> Result<Option<Work<R>>> {
        let now = monotonic();
        while let Some((position, entry)) = state.group.expired(now) {
            self.try_again(state, position, entry, "it took its consumer too long")?;
        }
        if let Some(error) = &state.stopped {
            return Err(error.clone());
        }
        loop {
            if let Some(position) = state.group.next(now) {
                let deadline = self.options.timeout.and_then(|timeout| now.checked_add(timeout));
                let handed = state.group.hand_out(position, deadline);
                return Ok(handed.map(|(entry, ticket)| {
                    let shared = self.clone();
                    Work { shared, entry, position, ticket, settled: false }
                }));
            }
            if state.group.outstanding() >= self.options.in_flight || !self.read_on(state)? {
                return Ok(None);
            }
        }
    }

    /// Takes one more event into the group; false when there is none for now.
    fn read_on(&self, state: &mut State<R::Item>) -> Result<bool> {
        loop {
            let (position, entry) = match state.subscription.try_next() {
                Ok(None) => {
                    state.read_to = state.subscription.position();
                    return Ok(false);
                }
                Ok(Some(Delivery::Event(event))) => {
                    let position = event.position();
                    (position, R::receive(event).and_then(|item| self.entry(item, false)))
                }
                Ok(Some(_)) => continue,
                Err(error) => match error.position() {
                    Some(at) if error.kind() == ErrorKind::Damaged => (at, Err(error)),
                    _ => return Err(error),
                },
            };
            let parked = match entry {
                Ok(None) => continue,
                Ok(Some(entry)) => {
                    state.group.add(position, entry);
                    Ok(())
                }
                // What nobody can read is put aside at once.
                Err(error) => self.park_position(position, &error.to_string(), 1),
            };
            if parked.is_err() {
                // It was read, but it is nowhere yet: it is read again.
                let source = self.options.source.clone();
                let anew = self.options.store.subscribe(source).start(Start::After(state.read_to));
                state.subscription = anew?;
            }
            parked?;
            state.read_to = position;
            return Ok(true);
        }
    }

    /// What waits to be handed out.
    pub(super) fn entry(
        &self,
        item: Option<R::Item>,
        replayed: bool,
    ) -> Result<Option<Entry<R::Item>>> {
        let Some(item) = item else { return Ok(None) };
        let key = self.options.key.as_ref();
        let key = key.map(|key| caught("the key", || Ok(key(&item)))).transpose()?;
        Ok(Some(Entry { item, attempts: 0, replayed, key, not_before: None }))
    }

    fn try_again(
        &self,
        state: &mut State<R::Item>,
        position: Position,
        entry: Entry<R::Item>,
        reason: &str,
    ) -> Result<()> {
        if self.options.retry.after(entry.attempts).is_some() {
            state.group.add(position, entry);
            return Ok(());
        }
        self.park(state, position, entry, reason)
    }

    fn park(
        &self,
        state: &mut State<R::Item>,
        position: Position,
        entry: Entry<R::Item>,
        reason: &str,
    ) -> Result<()> {
        if let Err(error) = self.park_position(position, reason, entry.attempts) {
            state.group.add(position, entry);
            return Err(error);
        }
        self.count_settled(state)
    }

    fn park_position(&self, position: Position, reason: &str, attempts: u32) -> Result<()> {
        let parked = [Parked::new(position, reason.to_owned(), attempts)];
        // Synced in every store: the checkpoint that passes it must not outlive it.
        let batch = self.options.store.batch().durability(Durability::Sync);
        park(batch, self.claim.name(), &parked)?.commit().map(drop)
    }

    fn done(
        &self,
        state: &mut State<R::Item>,
        position: Position,
        entry: &Entry<R::Item>,
    ) -> Result<()> {
        if entry.replayed {
            unpark(self.options.store.batch(), self.claim.name(), position)?.commit()?;
        }
        self.count_settled(state)
    }

    fn count_settled(&self, state: &mut State<R::Item>) -> Result<()> {
        state.settled_since += 1;
        match state.settled_since >= CHECKPOINT_MOST {
            true => self.save(state),
            false => Ok(()),
        }
    }

    pub(super) fn save_if_due(&self, state: &mut State<R::Item>) -> Result<()> {
        let due = monotonic().saturating_duration_since(state.saved_at) >= CHECKPOINT_AFTER;
        match state.settled_since > 0 && (due || state.group.outstanding() == 0) {
            true => self.save(state),
            false => Ok(()),
        }
    }

    pub(super) fn save(&self, state: &mut State<R::Item>) -> Result<()> {
        let settled = state.group.settled(state.read_to);
        if settled > state.saved {
            self.options.store.save_checkpoint(self.claim.name(), settled)?;
            state.saved = settled;
        }
        state.settled_since = 0;
        state.saved_at = monotonic();
        Ok(())
    }
}

impl<R: Incoming> Drop for Shared<R> {
    fn drop(&mut self) {
        // What is lost with it comes again.
        let _ = self.save(&mut self.state.lock());
    }
}
