//! Layer 8.8: decisions made inside the writer, where nobody can come between.
//!
//! Knows: how a rule becomes a batch when its turn comes. Does not know: how a group is written.
//! The rule sees everything that is recorded and everything that the group being written has
//! accepted, so that hot boundaries do not conflict, and those who decide on one may share a sync.

use super::decide::{DecideError, Decided, Decider, append_all};
use super::emit::Emits;
use super::load::Loaded;
use super::traits::Boundary;
use crate::api::{Batch, Late, MakeBatch, Store, inside};
use crate::clock::monotonic;
use crate::sync::{Arc, Mutex};
use crate::types::{Error, ErrorKind, EventRef, Position, Result};

/// A rule on its way through the writer.
struct Inside<B, F, X> {
    decider: Decider,
    /// Folded with what is recorded; never with what is staged, which may fail yet.
    loaded: Loaded<B>,
    rule: F,
    decided: Decision<B, X>,
}

/// What the rule's last run came to.
struct Decision<B, X> {
    runs: u32,
    /// What it ran on, when that is more than what is recorded.
    state: Option<Loaded<B>>,
    refused: Option<X>,
}

impl Store {
    /// As [`Store::decide`], but the rule runs inside the writer, when its turn comes: nobody can
    /// come between, so a hot boundary never conflicts, and those who decide on it may share a
    /// sync. The rule makes everybody who appends wait: it must be short. It cannot call the store.
    ///
    /// ```
    /// # use factlog::{Event, Model, Scope, Store};
    /// # #[derive(Event, serde::Serialize, serde::Deserialize)]
    /// # enum Sale { Sold { seat: u64 } }
    /// #[derive(Clone, Default)]
    /// struct Seats {
    ///     sold: u64,
    /// }
    /// # impl Model for Seats {
    /// #     type Event = Sale;
    /// #     fn scope(&self) -> Scope { Scope::stream("Concert", 1) }
    /// #     fn apply(&mut self, _: Sale) { self.sold += 1; }
    /// # }
    /// let store = Store::in_memory()?;
    /// let decided = store.decide_inside(Seats::default(), |seats| {
    ///     match seats.sold {
    ///         500 => Err("sold out"),
    ///         sold => Ok([Sale::Sold { seat: sold + 1 }]),
    ///     }
    /// })?;
    /// assert_eq!(decided.attempts, 1); // always
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::decide`], without `Conflict`. `Invalid` when the rule calls a store, takes
    /// longer than its [budget](Decider::budget), or panics; then only this decision fails.
    pub fn decide_inside<B, I, X>(
        &self,
        model: B,
        rule: impl FnMut(&B) -> Result<I, X> + Send + 'static,
    ) -> Result<Decided<B>, DecideError<X>>
    where
        B: Boundary + Clone + Send + 'static,
        I: IntoIterator<Item: Emits>,
        X: Send + 'static,
    {
        self.decider().decide_inside(model, rule)
    }
}

impl Decider {
    /// As [`Store::decide_inside`].
    ///
    /// # Errors
    /// As [`Store::decide_inside`].
    pub fn decide_inside<B, I, X>(
        &self,
        model: B,
        rule: impl FnMut(&B) -> Result<I, X> + Send + 'static,
    ) -> Result<Decided<B>, DecideError<X>>
    where
        B: Boundary + Clone + Send + 'static,
        I: IntoIterator<Item: Emits>,
        X: Send + 'static,
    {
        let mut loaded = Loaded::new(&self.store, model)?;
        // As much as can be done before its turn.
        loaded.advance(&self.store)?;
        if let Some(appended) = self.decided_before()? {
            return Ok(Decided::before(loaded.model, appended, 0));
        }
        let decided = Decision { runs: 0, state: None, refused: None };
        let inside = Inside { decider: self.clone(), loaded, rule, decided };
        let inside = Arc::new(Mutex::new(inside));
        let committed = self.batch().commit_late(Late(inside.clone()));
        let mut inside = inside.lock();
        let inside = &mut *inside;
        let (appended, attempts) = match committed {
            Ok(appended) => (appended, inside.decided.runs),
            // Decided meanwhile, by somebody who sent the same command.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (self.decided_before()?.ok_or(error)?, 0)
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(reason) = inside.decided.refused.take() {
            return Err(DecideError::Refused(reason));
        }
        let snapshot = inside.loaded.snapshot(&self.store);
        inside.loaded.keep(&self.store);
        let state = inside.decided.state.take().unwrap_or_else(|| inside.loaded.clone()).model;
        let appended = (appended.first > Position::START).then_some(appended);
        Ok(Decided { state, appended, attempts, snapshot })
    }
}

impl<B, F, X, I> MakeBatch for Inside<B, F, X>
where
    B: Boundary + Clone + Send,
    F: FnMut(&B) -> Result<I, X> + Send,
    I: IntoIterator<Item: Emits>,
    X: Send,
{
    fn make(&mut self, staged: &mut dyn Iterator<Item = EventRef<'_>>) -> Result<Option<Batch>> {
        self.loaded.advance(&self.decider.store)?;
        // Staged events go into a copy: they may fail yet, and the rule runs again.
        self.decided = Decision { runs: 1, state: None, refused: None };
        let mut staged = staged.peekable();
        if staged.peek().is_some() {
            let state = self.decided.state.insert(self.loaded.clone());
            let mut scratch = Vec::new();
            for event in staged {
                state.take(&self.decider.store.opened(event, &mut scratch)?)?;
            }
        }
        let state = self.decided.state.as_ref().unwrap_or(&self.loaded);
        let began = monotonic();
        // What a rule emits may be lazy: it is run to its end before the clock is read.
        let (rule, decider) = (&mut self.rule, &self.decider);
        let ran = inside(|| rule(&state.model).map(|emitted| decider.place(state, emitted)));
        let took = began.elapsed();
        let budget = decider.budget;
        if took > budget {
            let text = format!("the rule took {took:?} inside the writer, allowed are {budget:?}");
            return Err(Error::invalid(text));
        }
        let placed = match ran {
            Ok(placed) => placed?,
            Err(reason) => {
                self.decided.refused = Some(reason);
                return Ok(None);
            }
        };
        if placed.is_empty() {
            return Ok(None);
        }
        append_all(self.decider.batch(), placed).into_batch().map(Some)
    }
}
