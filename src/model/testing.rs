//! Layer 8.8: given, when, then: tests of rules without a disk.
//!
//! Knows: a store in memory and what to compare. Does not know: test frameworks: it fails by
//! panicking, as `assert_eq!` does.

use std::fmt::Debug;

use super::decide::DecideError;
use super::emit::Emits;
use super::event::{Event, decode_known};
use super::load::Loaded;
use super::metadata::Metadata;
use super::traits::Boundary;
use crate::api::Store;
use crate::types::{Expect, Position, Result};

/// A test of a rule: given these events, when this is decided, then that follows. It runs on a
/// store in memory and on the code that decides in earnest, so that scopes, tags and schema
/// versions are tested with it.
///
/// ```
/// use factlog::Given;
/// # use factlog::{Event, Model, Scope};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
/// # enum Bank { Deposited { cents: u64 }, Withdrawn { cents: u64 } }
/// # #[derive(Default)]
/// # struct Account { balance: u64 }
/// # impl Model for Account {
/// #     type Event = Bank;
/// #     fn scope(&self) -> Scope { Scope::stream("Account", 1) }
/// #     fn apply(&mut self, event: Bank) {
/// #         match event {
/// #             Bank::Deposited { cents } => self.balance += cents,
/// #             Bank::Withdrawn { cents } => self.balance -= cents,
/// #         }
/// #     }
/// # }
/// fn withdraw(account: &Account, cents: u64) -> Result<[Bank; 1], &'static str> {
///     if account.balance < cents { Err("short") } else { Ok([Bank::Withdrawn { cents }]) }
/// }
///
/// Given::events([Bank::Deposited { cents: 5 }])
///     .when(Account::default(), |account| withdraw(account, 5))
///     .then([Bank::Withdrawn { cents: 5 }]);
/// Given::nothing()
///     .when(Account::default(), |account| withdraw(account, 5))
///     .then_refused("short");
/// ```
#[derive(Debug)]
#[must_use = "nothing is tested before `then`"]
pub struct Given {
    events: Vec<super::emit::Emit>,
}

/// What followed; see [`Given::when`].
#[derive(Debug)]
#[must_use = "nothing is tested before `then`"]
pub struct Outcome<X> {
    store: Store,
    given: Position,
    refused: Option<DecideError<X>>,
}

impl Given {
    /// No events yet.
    pub fn nothing() -> Self {
        Self { events: Vec::new() }
    }

    /// These events, in this order; placed as a decision's events are.
    pub fn events(events: impl IntoIterator<Item: Emits>) -> Self {
        Self::nothing().and(events)
    }

    /// And these, of another type perhaps.
    pub fn and(mut self, events: impl IntoIterator<Item: Emits>) -> Self {
        self.events.extend(events.into_iter().map(Emits::emit));
        self
    }

    /// Decides.
    ///
    /// # Panics
    /// When the given events cannot be recorded.
    pub fn when<B, I, X>(self, model: B, rule: impl FnMut(&B) -> Result<I, X>) -> Outcome<X>
    where
        B: Boundary,
        I: IntoIterator<Item: Emits>,
    {
        match self.try_when(model, rule) {
            Ok(outcome) => outcome,
            Err(error) => fails(&format!("the given events cannot be recorded: {error}")),
        }
    }

    fn try_when<B, I, X>(self, model: B, rule: impl FnMut(&B) -> Result<I, X>) -> Result<Outcome<X>>
    where
        B: Boundary,
        I: IntoIterator<Item: Emits>,
    {
        let store = Store::options().background_threads(false).in_memory()?;
        let loaded = Loaded::new(&store, model)?;
        for emit in self.events {
            let (stream, event) = emit.place(loaded.home(), &Metadata::new())?;
            store.append(&stream, Expect::Any, [event])?;
        }
        let given = store.last_position();
        let refused = store.decide(loaded.model, rule).err();
        Ok(Outcome { store, given, refused })
    }
}

impl<X: Debug> Outcome<X> {
    /// Exactly these events were appended.
    ///
    /// # Panics
    /// When others were, or the decision was refused.
    pub fn then<E: Event + PartialEq + Debug>(self, expected: impl IntoIterator<Item = E>) {
        if let Some(refused) = &self.refused {
            fails(&format!("expected events, but it was refused: {refused:?}"))
        }
        let decoded = self
            .store
            .read_all()
            .after(self.given)
            .into_iter()
            .map(|event| event.and_then(|event| decode_known::<E>(&event.as_ref())));
        match decoded.collect::<Result<Vec<E>>>() {
            Ok(emitted) => assert_eq!(emitted, expected.into_iter().collect::<Vec<E>>()),
            Err(error) => fails(&format!("what was appended does not decode: {error}")),
        }
    }

    /// Nothing was appended, and nothing refused.
    ///
    /// # Panics
    /// When something was.
    pub fn then_nothing(self) {
        if let Some(refused) = &self.refused {
            fails(&format!("expected nothing, but it was refused: {refused:?}"))
        }
        assert_eq!(self.given, self.store.last_position(), "something was appended");
    }

    /// The rule refused with this reason.
    ///
    /// # Panics
    /// When it did not, or the store did.
    pub fn then_refused(self, expected: X)
    where
        X: PartialEq,
    {
        match self.refused {
            Some(DecideError::Refused(reason)) => assert_eq!(reason, expected),
            Some(DecideError::Store(error)) => fails(&format!("the store refused: {error}")),
            None => fails("expected a refusal, but it was decided"),
        }
    }

    /// The store as it is afterwards, to look at more closely.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

#[expect(clippy::panic, reason = "a failed test is a panic")]
fn fails(why: &str) -> ! {
    panic!("{why}")
}
