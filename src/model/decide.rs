//! Layer 8.7: decisions: load, fold, decide, append under the exact boundary, again on conflict.
//!
//! Knows: the loop. Does not know: how the writer judges conditions. On a conflict only what is new
//! is folded, and conflicts are found in memory before anything is written, so that deciding again
//! costs microseconds.

use std::fmt;
use std::time::Duration;

use super::emit::Emits;
use super::load::Loaded;
use super::metadata::Metadata;
use super::traits::Boundary;
use crate::api::{Appended, BatchBuilder, Store, StreamAppended};
use crate::types::{
    Durability, Error, ErrorKind, Expect, NewEvent, Position, Query, RecordedEvent, Result,
    StreamName,
};

/// Decisions are made this often unless said. Of n that compete for one boundary, one goes through
/// at a time, whichever it is: of 16 equal ones, one in 600 loses a hundred times in a row.
const ATTEMPTS: u32 = 1000;
/// A rule inside the writer may take so long unless said. Far more than any needs: with four busy
/// threads per processor, rules of 0.1 µs were kept from running for up to 132 ms, and that is not
/// the rule's fault.
const BUDGET: Duration = Duration::from_secs(1);

/// How decisions are made: see [`Store::decider`]. Cheap to clone; made once per request or once
/// for all.
#[derive(Debug, Clone)]
#[must_use]
pub struct Decider {
    pub(super) store: Store,
    metadata: Metadata,
    pub(super) budget: Duration,
    durability: Option<Durability>,
    attempts: u32,
    once: Option<String>,
}

/// A decision that was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Decided<B> {
    /// The state it was made on; what it appended is not folded in.
    pub state: B,
    /// What was appended; `None` when the rule emitted nothing.
    pub appended: Option<Appended>,
    /// How often the rule ran: 1 when nobody came between.
    pub attempts: u32,
    /// The snapshot that was due, if one was: everything up to this position is in it; or why it
    /// was not saved. The decision stands in either case.
    pub snapshot: Option<Result<Position>>,
}

impl<B> Decided<B> {
    /// By somebody who sent the same command.
    pub(super) fn before(state: B, appended: Appended, attempts: u32) -> Self {
        Self { state, appended: Some(appended), attempts, snapshot: None }
    }
}

/// Why there is no decision.
#[derive(Debug, Clone)]
pub enum DecideError<X> {
    /// The rule refused, for a reason of the application's.
    Refused(X),
    /// The store did: `Conflict` when others came between too often, `Decode` when an event in the
    /// boundary cannot be folded, or what an append may answer.
    Store(Error),
}

impl<X> DecideError<X> {
    /// The reason of the application's, if that is what it is.
    pub fn refused(self) -> Option<X> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::Store(_) => None,
        }
    }
}

impl<X> From<Error> for DecideError<X> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl<X: fmt::Display> fmt::Display for DecideError<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "{reason}"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl<X: fmt::Debug + fmt::Display> std::error::Error for DecideError<X> {}

impl Store {
    /// Loads a model, or a tuple of them, runs the rule on its state, and appends what it emits:
    /// durable when this returns. If anything within the boundary was recorded meanwhile, that is
    /// folded in and the rule runs again.
    ///
    /// ```
    /// # use factlog::{Event, Model, Scope, Store};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # enum Bank { Deposited { cents: u64 }, Withdrawn { cents: u64 } }
    /// # #[derive(Debug)]
    /// # struct Account { id: &'static str, balance: u64 }
    /// # impl Model for Account {
    /// #     type Event = Bank;
    /// #     fn scope(&self) -> Scope { Scope::stream("Account", self.id) }
    /// #     fn apply(&mut self, event: Bank) {
    /// #         match event {
    /// #             Bank::Deposited { cents } => self.balance += cents,
    /// #             Bank::Withdrawn { cents } => self.balance -= cents,
    /// #         }
    /// #     }
    /// # }
    /// let store = Store::in_memory()?;
    /// let account = || Account { id: "alice", balance: 0 };
    /// store.decide(account(), |_| Ok::<_, String>([Bank::Deposited { cents: 100 }]))?;
    ///
    /// let withdraw = |cents| {
    ///     store.decide(account(), |account| match account.balance.checked_sub(cents) {
    ///         None => Err(format!("{} cents are missing", cents - account.balance)),
    ///         Some(_) => Ok([Bank::Withdrawn { cents }]),
    ///     })
    /// };
    /// withdraw(70)?;
    /// assert_eq!(withdraw(70).unwrap_err().to_string(), "40 cents are missing");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Events go to the stream of the one model that is scoped to a stream; when none or several
    /// are, to the stream they were placed [`on`](Emits::on), or to [their
    /// own](crate::Event::stream).
    ///
    /// # Errors
    /// [`DecideError::Refused`] with the rule's reason; [`DecideError::Store`] with what the store
    /// says.
    pub fn decide<B, I, X>(
        &self,
        model: B,
        rule: impl FnMut(&B) -> Result<I, X>,
    ) -> Result<Decided<B>, DecideError<X>>
    where
        B: Boundary,
        I: IntoIterator<Item: Emits>,
    {
        self.decider().decide(model, rule)
    }

    /// How decisions are made, to be changed: with metadata, once per command, more durable.
    ///
    /// ```
    /// # use factlog::{Metadata, Store};
    /// # let store = Store::in_memory()?;
    /// let request = Metadata::new().correlation("request-7").set("user", "ada")?;
    /// let decider = store.decider().metadata(request).attempts(5);
    /// // decider.decide(model, rule)?;
    /// # let _ = decider;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn decider(&self) -> Decider {
        let (metadata, attempts, budget) = (Metadata::new(), ATTEMPTS, BUDGET);
        Decider { store: self.clone(), metadata, budget, durability: None, attempts, once: None }
    }

    /// Folds a model, or a tuple of them, to look at.
    ///
    /// # Errors
    /// `Decode` when an event in its scope cannot be folded; what a read may answer.
    pub fn load<B: Boundary>(&self, model: B) -> Result<B> {
        let mut loaded = Loaded::new(self, model)?;
        loaded.advance(self)?;
        loaded.keep(self);
        Ok(loaded.model)
    }
}

impl Decider {
    /// Put on every event that is emitted.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// How often the rule runs at most before the conflict is answered; 1000 unless said. Each
    /// repetition waits for the commit that came between. Where many decide on one boundary all the
    /// time, [inside](Store::decide_inside) the writer they need not.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Asks for more durability than the store's own.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// How long a rule may take that is run [inside](Store::decide_inside) the writer, everybody
    /// waiting for it; one second unless said. What takes longer fails. It is measured by the wall
    /// clock, because that is what the others wait: on a busy machine a rule of microseconds may be
    /// kept waiting for a hundred milliseconds. A rule that does not end cannot be ended.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Decides at most once for this command, however often it is sent: what it emits is tagged
    /// `command:` and the id, and when that is there already, it is the answer and the rule does
    /// not run. A rule that emits nothing leaves nothing to recognise the command by.
    ///
    /// ```
    /// # use factlog::{Event, Model, Scope, Store};
    /// # #[derive(Event, serde::Serialize, serde::Deserialize)]
    /// # enum Clock { Ticked }
    /// # #[derive(Default)]
    /// # struct Ticks { count: u64 }
    /// # impl Model for Ticks {
    /// #     type Event = Clock;
    /// #     fn scope(&self) -> Scope { Scope::stream("Clock", 1) }
    /// #     fn apply(&mut self, _: Clock) { self.count += 1; }
    /// # }
    /// # let store = Store::in_memory()?;
    /// let tick = || {
    ///     let decider = store.decider().once("request-7");
    ///     decider.decide(Ticks::default(), |_| Ok::<_, String>([Clock::Ticked]))
    /// };
    /// tick()?;
    /// assert!(tick()?.appended.is_some_and(|appended| appended.already));
    /// assert_eq!(store.load(Ticks::default())?.count, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn once(mut self, command: impl fmt::Display) -> Self {
        self.once = Some(super::event::tag("command", command));
        self
    }

    /// As [`Store::decide`].
    ///
    /// # Errors
    /// As [`Store::decide`].
    pub fn decide<B, I, X>(
        &self,
        model: B,
        mut rule: impl FnMut(&B) -> Result<I, X>,
    ) -> Result<Decided<B>, DecideError<X>>
    where
        B: Boundary,
        I: IntoIterator<Item: Emits>,
    {
        let mut loaded = Loaded::new(&self.store, model)?;
        let mut attempts = 0;
        loop {
            loaded.advance(&self.store)?;
            if let Some(appended) = self.decided_before()? {
                return Ok(Decided::before(loaded.model, appended, attempts));
            }
            attempts += 1;
            let emitted = rule(&loaded.model).map_err(DecideError::Refused)?;
            let placed = self.place(&loaded, emitted)?;
            match self.commit(&loaded, placed) {
                Ok(appended) => {
                    let snapshot = loaded.snapshot(&self.store);
                    loaded.keep(&self.store);
                    return Ok(Decided { state: loaded.model, appended, attempts, snapshot });
                }
                Err(error) if !may_decide_again(&error, self.once.is_some()) => {
                    return Err(error.into());
                }
                Err(error) if attempts >= self.attempts => {
                    let text = format!("others came between {attempts} times");
                    let error = Error::new(ErrorKind::Conflict, text).because(error);
                    return Err(error.into());
                }
                Err(_) => {}
            }
        }
    }

    pub(super) fn place<B: Boundary, I>(
        &self,
        loaded: &Loaded<B>,
        emitted: I,
    ) -> Result<Vec<(StreamName, NewEvent)>>
    where
        I: IntoIterator<Item: Emits>,
    {
        let home = loaded.home();
        let place = |emits: I::Item| {
            let mut emit = emits.emit();
            if let Some(tag) = &self.once {
                emit = emit.tag(tag.clone());
            }
            emit.place(home, &self.metadata)
        };
        emitted.into_iter().map(place).collect()
    }

    fn commit<B: Boundary>(
        &self,
        loaded: &Loaded<B>,
        placed: Vec<(StreamName, NewEvent)>,
    ) -> Result<Option<Appended>> {
        if placed.is_empty() {
            return Ok(None);
        }
        append_all(loaded.guard(self.batch()), placed).commit().map(Some)
    }

    /// A batch as every decision of this decider begins it.
    pub(super) fn batch(&self) -> BatchBuilder<'_> {
        let mut batch = self.store.batch();
        if let Some(tag) = &self.once {
            batch = batch.fails_if_exists(Query::tags([tag]));
        }
        if let Some(durability) = self.durability {
            batch = batch.durability(durability);
        }
        batch
    }

    /// What the command appended when it was decided before.
    pub(super) fn decided_before(&self) -> Result<Option<Appended>> {
        let Some(tag) = &self.once else { return Ok(None) };
        let events = self.store.read(Query::tags([tag])).to_vec()?;
        Ok(answer_again(&events))
    }
}

/// Whether a decision on newer state may go through. That a command was decided meanwhile is told
/// by the events it left.
fn may_decide_again(error: &Error, once: bool) -> bool {
    error.is_conflict() || (once && error.kind() == ErrorKind::AlreadyExists)
}

/// All events in their order, whichever streams they go to.
pub(crate) fn append_all(
    mut batch: BatchBuilder<'_>,
    events: Vec<(StreamName, NewEvent)>,
) -> BatchBuilder<'_> {
    for (stream, event) in events {
        batch = batch.append(&stream, Expect::Any, [event]);
    }
    batch
}

/// The answer that the append of these events was given.
fn answer_again(events: &[RecordedEvent]) -> Option<Appended> {
    let (first, last) = (events.first()?.position(), events.last()?.position());
    let mut streams: Vec<StreamAppended> = Vec::new();
    for event in events {
        let version = event.version();
        match streams.iter_mut().find(|part| part.stream.as_str() == event.stream()) {
            Some(part) => part.last = version,
            None => {
                let stream = event.stream_name()?;
                streams.push(StreamAppended { stream, first: version, last: version });
            }
        }
    }
    Some(Appended { already: true, first, last, streams })
}
