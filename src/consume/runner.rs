//! Layer 9.2: the loop of a projection: collect, hand over, commit how far it is, wait.
//!
//! Knows: batches, retries, parking, checkpoints, stopping. Does not know: what handlers do. There
//! is one loop for what was recorded and for what comes, and one place where the checkpoint moves:
//! it never passes what is not handled or parked.

use std::error::Error as StdError;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::slice::from_ref;

use crossbeam_channel::{Receiver, select};

use super::incoming::{Incoming, Receives};
use super::outbox::Outbox;
use super::park::{Parked, park, unpark};
use super::settings::{Poison, ProjectionOptions};
use super::status::{Control, RunState};
use crate::api::{Claim, Delivery, Start, Store, Subscription};
use crate::clock::monotonic;
use crate::model::append_all;
use crate::types::{
    Durability, Error, ErrorKind, NewEvent, Position, RecordedEvent, Result, StreamName,
};

/// Why a handler could not handle what it was given.
pub type Failed = Box<dyn StdError + Send + Sync>;

/// Looking further without finding anything is saved this often, in events: each save is a sync.
const LOOKED_FURTHER: u64 = 1000;

/// Until when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Stopped,
    CaughtUp,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    emitted: Vec<(StreamName, NewEvent)>,
    parked: Vec<Parked>,
    handled: u64,
    ended: Option<Ended>,
}

/// A batch was not handled to its end.
#[derive(Debug)]
struct Ended {
    /// What was: up to here. Before the batch when it cannot be told.
    after: Position,
    /// Why; `None` when it was to stop.
    error: Option<Error>,
}

/// How a batch is handed over.
type Deliver<'a, R> = &'a mut dyn FnMut(&Runner<R>, Vec<<R as Receives>::Item>) -> Delivered;

/// What handles one event.
pub(super) type Handle<'a, I> = &'a mut dyn FnMut(&I, &mut Outbox) -> Result<(), Failed>;

/// What failing once more comes to.
enum Pause {
    Again,
    Enough,
    Stopped,
}

/// Events to be handed over together.
struct Batch<I> {
    items: Vec<I>,
    /// Everything up to here is in it, or does not concern it.
    position: Position,
    /// What comes next and can be handed to nobody.
    poison: Option<(Position, Error)>,
    /// There is nothing more for now.
    at_end: bool,
}

/// A projection without its handler.
#[derive(Debug)]
pub(super) struct Runner<R> {
    options: ProjectionOptions<R>,
    claim: Claim,
    control: Control,
    /// Something may have been recorded; disconnected when the store is closed.
    arrived: Receiver<()>,
    /// Everything up to here is handled, and that is saved up to `saved`.
    position: Position,
    saved: Position,
}

impl<R: Incoming> Runner<R> {
    pub(super) fn new(options: ProjectionOptions<R>) -> Result<Self> {
        let claim = options.store.claim(&options.name)?;
        let start = match options.after {
            Some(position) => Start::After(position),
            None => Start::Checkpoint(options.name.clone()),
        };
        let subscription = options.store.subscribe(options.source.clone()).start(start)?;
        let (arrived, position) = (subscription.signal(), subscription.position());
        let control = Control::new(&options.store, position, options.batch);
        Ok(Self { options, claim, control, arrived, position, saved: position })
    }

    pub(super) fn store(&self) -> &Store {
        &self.options.store
    }

    pub(super) fn name(&self) -> &str {
        self.claim.name()
    }

    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn keeps_own_place(&self) -> bool {
        self.options.after.is_some()
    }

    pub(super) fn run(&mut self, goal: Goal, deliver: Deliver<'_, R>) -> Result<()> {
        let unwinds = Unwinds(self.control.clone());
        self.control.set(RunState::CatchingUp);
        let outcome = self.follow(goal, deliver);
        let closed = |error: &Error| error.kind() == ErrorKind::Closed;
        self.control.set(match &outcome {
            Err(error) if closed(error) => RunState::Stopped,
            Err(error) => RunState::Faulted { reason: error.to_string() },
            Ok(()) if goal == Goal::CaughtUp && !self.control.is_stopped() => RunState::Idle,
            Ok(()) => RunState::Stopped,
        });
        drop(unwinds);
        match outcome {
            // What was to go on until then has; what was to catch up has not.
            Err(error) if closed(&error) && goal == Goal::Stopped => Ok(()),
            outcome => outcome,
        }
    }

    fn follow(&mut self, goal: Goal, deliver: Deliver<'_, R>) -> Result<()> {
        // Anew from what is handled: a run that failed had read further.
        let source = self.options.source.clone();
        let start = Start::After(self.position);
        let mut subscription = self.options.store.subscribe(source).start(start)?;
        // What comes while it catches up may never end.
        let last = self.options.store.last_position();
        while !self.control.is_stopped() {
            let batch = self.collect(&mut subscription)?;
            if batch.position > self.position {
                let mut delivered = match batch.items.is_empty() {
                    true => Delivered::default(),
                    false => deliver(self, batch.items),
                };
                if let Some(Ended { after, error }) = delivered.ended.take() {
                    // What was handled is kept.
                    self.commit(after.max(self.position), delivered)?;
                    self.save(self.position)?;
                    return error.map_or(Ok(()), Err);
                }
                self.commit(batch.position, delivered)?;
            }
            if let Some((position, error)) = batch.poison {
                self.poisoned(position, error)?;
            } else if batch.at_end {
                self.control.set(RunState::Live);
            }
            if goal == Goal::CaughtUp && (batch.at_end || self.position >= last) {
                break;
            }
            if batch.at_end {
                select! {
                    // Disconnected, reading on tells that the store is closed.
                    recv(self.arrived) -> _ => {}
                    recv(self.control.stopped()) -> _ => {}
                }
            }
        }
        self.save(self.position)
    }

    fn collect(&self, subscription: &mut Subscription) -> Result<Batch<R::Item>> {
        let mut batch =
            Batch { items: Vec::new(), position: self.position, poison: None, at_end: false };
        while batch.items.len() < self.options.batch {
            let event = match subscription.try_next() {
                Ok(Some(Delivery::Event(event))) => event,
                Ok(Some(_)) => continue,
                Ok(None) => {
                    batch.at_end = true;
                    break;
                }
                // Reading on steps over it.
                Err(error) if error.kind() == ErrorKind::Damaged && error.position().is_some() => {
                    batch.poison = error.position().map(|at| (at, error));
                    break;
                }
                Err(error) => return Err(error),
            };
            let position = event.position();
            match self.receive(event) {
                Ok(item) => batch.items.extend(item),
                Err(error) => {
                    batch.poison = Some((position, error));
                    break;
                }
            }
        }
        batch.position = match &batch.poison {
            Some((at, _)) => Position::new(at.get() - 1),
            None => subscription.position(),
        };
        Ok(batch)
    }

    fn receive(&self, event: RecordedEvent) -> Result<Option<R::Item>> {
        if !self.options.refuse_unknown {
            return R::receive(event);
        }
        let (position, event_type) = (event.position(), event.event_type().to_owned());
        let unknown = || {
            let text = format!("event {position} is of the unknown type {event_type}");
            Error::new(ErrorKind::Decode, text).at(position)
        };
        R::receive(event)?.ok_or_else(unknown).map(Some)
    }

    /// Hands a parked event over once more, if it can be read by now. What is emitted and that it
    /// is parked no longer become durable together. Answers whether it was handled.
    pub(super) fn replay(&self, parked: &Parked, handle: Handle<'_, R::Item>) -> Result<bool> {
        let Some(item) = parked.receive::<R>(self.store())? else { return Ok(false) };
        let mut outbox = Outbox::answering(R::recorded(&item));
        let (batch, name) = (self.store().batch(), self.name());
        match handle(&item, &mut outbox).and_then(|()| Ok(outbox.take()?)) {
            Ok(emitted) => {
                unpark(append_all(batch, emitted), name, parked.position)?.commit()?;
                Ok(true)
            }
            Err(why) => {
                let attempts = parked.attempts.saturating_add(1);
                let again = Parked::new(parked.position, why.to_string(), attempts);
                park(batch, name, &[again])?.commit()?;
                Ok(false)
            }
        }
    }

    fn poisoned(&mut self, position: Position, error: Error) -> Result<()> {
        if self.options.poison == Poison::Stop {
            return Err(error);
        }
        let parked = vec![Parked::new(position, error.to_string(), 1)];
        self.commit(position, Delivered { parked, handled: 1, ..Delivered::default() })
    }

    /// Records how far it is, together with what the handlers emitted and what was parked.
    fn commit(&mut self, position: Position, delivered: Delivered) -> Result<()> {
        let (handled, parked) = (delivered.handled, count(&delivered.parked));
        if !delivered.emitted.is_empty() || parked > 0 {
            self.insist(|| self.commit_batch(position, &delivered))?;
            self.saved = position;
        } else if handled > 0 || position.get() - self.saved.get() >= LOOKED_FURTHER {
            self.save(position)?;
        }
        self.position = position;
        self.control.done(position, handled, parked);
        Ok(())
    }

    fn commit_batch(&self, position: Position, delivered: &Delivered) -> Result<()> {
        // Synced in every store: what is saved later, here or in a table, must not outlive it.
        let batch = self.store().batch().durability(Durability::Sync);
        let batch = append_all(batch, delivered.emitted.clone());
        let mut batch = park(batch, self.name(), &delivered.parked)?;
        if !self.keeps_own_place() {
            batch = batch.checkpoint(self.name(), position);
        }
        batch.commit().map(drop)
    }

    fn save(&mut self, position: Position) -> Result<()> {
        if position > self.saved && !self.keeps_own_place() {
            self.insist(|| self.store().save_checkpoint(self.name(), position))?;
            self.saved = position;
        }
        Ok(())
    }

    /// A full disk is waited for; that nothing can be written any more is not.
    fn insist(&self, mut run: impl FnMut() -> Result<()>) -> Result<()> {
        let mut failures = 0;
        loop {
            match run() {
                Err(error) if error.is_retryable() => {
                    failures += 1;
                    if !matches!(self.pause(failures, &error.to_string()), Pause::Again) {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits before something is tried again, unless it is to stop or it was enough.
    fn pause(&self, failures: u32, reason: &str) -> Pause {
        let Some(wait) = self.options.retry.after(failures) else { return Pause::Enough };
        let before = self.control.state();
        self.control.set(RunState::Retrying { failures, reason: reason.to_owned() });
        let until = monotonic().checked_add(wait);
        loop {
            let left = until.map_or(wait, |until| until.saturating_duration_since(monotonic()));
            select! {
                recv(self.control.stopped()) -> _ => return Pause::Stopped,
                // What comes is read later; that the store is closed ends it.
                recv(self.arrived) -> woken => if woken.is_err() { return Pause::Stopped },
                default(left) => break,
            }
        }
        if !matches!(before, RunState::Retrying { .. }) {
            self.control.set(before);
        }
        Pause::Again
    }

    /// Hands over a batch; when it fails, event by event, to find the one it fails for.
    pub(super) fn deliver<H: Into<Failed>>(
        &self,
        items: &[R::Item],
        handle: &mut impl FnMut(&[R::Item]) -> Result<(), H>,
    ) -> Delivered {
        if handle(items).is_ok() {
            return Delivered { handled: count(items), ..Delivered::default() };
        }
        self.one_by_one(items, &mut |item, _| handle(from_ref(item)).map_err(Into::into))
    }

    /// Has every event of a batch answered.
    pub(super) fn answer<H: Into<Failed>>(
        &self,
        items: &[R::Item],
        handle: &mut impl FnMut(&R::Item, &mut Outbox) -> Result<(), H>,
    ) -> Delivered {
        self.one_by_one(items, &mut |item, outbox| handle(item, outbox).map_err(Into::into))
    }

    fn one_by_one(&self, items: &[R::Item], handle: Handle<'_, R::Item>) -> Delivered {
        let (mut delivered, mut after) = (Delivered::default(), Position::START);
        for item in items {
            let event = R::recorded(item);
            match self.attempt(event, &mut |outbox| handle(item, outbox)) {
                Attempted::Done(emitted) => delivered.emitted.extend(emitted),
                Attempted::Park(parked) => delivered.parked.push(parked),
                Attempted::Ended(error) => {
                    delivered.ended = Some(Ended { after, error });
                    break;
                }
            }
            delivered.handled += 1;
            after = event.position();
        }
        delivered
    }

    /// Hands over the lanes of a batch at the same time; events of one key are in one lane.
    pub(super) fn deliver_partitioned<K: Hash, H: Into<Failed>>(
        &self,
        lanes: usize,
        items: Vec<R::Item>,
        key: &dyn Fn(&R::Item) -> K,
        handle: &(impl Fn(&[R::Item]) -> Result<(), H> + Sync),
    ) -> Delivered {
        let mut partitions: Vec<Vec<R::Item>> = Vec::new();
        partitions.resize_with(lanes, Vec::new);
        let modulus = lanes.try_into().unwrap_or(u64::MAX);
        for item in items {
            let mut hasher = DefaultHasher::new();
            key(&item).hash(&mut hasher);
            let lane = usize::try_from(hasher.finish() % modulus).unwrap_or(0);
            if let Some(partition) = partitions.get_mut(lane) {
                partition.push(item);
            }
        }
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let run = |items: Vec<R::Item>| {
                scope.spawn(move || self.deliver(&items, &mut |items: &[R::Item]| handle(items)))
            };
            let busy = partitions.into_iter().filter(|items| !items.is_empty());
            let threads: Vec<_> = busy.map(run).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut all = Delivered::default();
        for outcome in outcomes {
            // A handler's panic goes on where `run` was called.
            let lane = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if let Some(Ended { error, .. }) = lane.ended {
                // Between the lanes there is no order: what was handled cannot be told as a
                // position.
                let ended = Some(Ended { after: Position::START, error });
                return Delivered { ended, ..Delivered::default() };
            }
            all.parked.extend(lane.parked);
            all.handled += lane.handled;
        }
        all.parked.sort_by_key(|parked| parked.position);
        all
    }

    /// Tries one event until it is handled, it was enough, or it is to stop.
    fn attempt(
        &self,
        event: &RecordedEvent,
        one: &mut dyn FnMut(&mut Outbox) -> Result<(), Failed>,
    ) -> Attempted {
        let mut failures = 0;
        loop {
            let mut outbox = Outbox::answering(event);
            let done = one(&mut outbox).and_then(|()| outbox.take().map_err(Failed::from));
            let why = match done {
                Ok(emitted) => return Attempted::Done(emitted),
                Err(why) => why,
            };
            failures += 1;
            match self.pause(failures, &why.to_string()) {
                Pause::Again => {}
                Pause::Stopped => return Attempted::Ended(None),
                Pause::Enough => return self.give_up(event, failures, why),
            }
        }
    }

    fn give_up(&self, event: &RecordedEvent, failures: u32, why: Failed) -> Attempted {
        let position = event.position();
        if self.options.poison == Poison::Park {
            return Attempted::Park(Parked::new(position, why.to_string(), failures));
        }
        let text = format!(
            "event {position} ({}) could not be handled in {failures} attempts",
            event.event_type()
        );
        let error = Error::new(ErrorKind::Failed, text).in_stream(event.stream());
        Attempted::Ended(Some(error.at(position).because_of(why)))
    }
}

/// What trying an event came to.
enum Attempted {
    Done(Vec<(StreamName, NewEvent)>),
    Park(Parked),
    Ended(Option<Error>),
}

fn count<T>(all: &[T]) -> u64 {
    all.len().try_into().unwrap_or(u64::MAX)
}

/// A run that unwinds is not going on.
struct Unwinds(Control);

impl Drop for Unwinds {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(RunState::Faulted { reason: "the handler panicked".to_owned() });
        }
    }
}
