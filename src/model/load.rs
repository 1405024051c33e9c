//! Layer 8.6: a boundary on its way: its models, and how far each is folded.
//!
//! Knows: reading what is new and folding it. Does not know: what is decided.

use std::ops::ControlFlow;

use super::parts::Fold;
use super::scope::{Place, Resumed};
use super::traits::Boundary;
use crate::api::{BatchBuilder, Read, Store, inside};
use crate::types::{EventRef, Expect, Position, Result, StreamName};

/// A model or a tuple of them.
#[derive(Clone)]
pub(super) struct Loaded<B> {
    pub model: B,
    parts: Vec<Part>,
}

/// One of its models.
#[derive(Clone)]
struct Part {
    place: Place,
    resumed: Resumed,
}

impl<B: Boundary> Loaded<B> {
    /// Nothing folded yet but what a cache or a snapshot knows.
    pub(super) fn new(store: &Store, model: B) -> Result<Self> {
        let mut loaded = Self { model, parts: Vec::new() };
        let parts = &mut loaded.parts;
        each(&mut loaded.model, |part| {
            let place = part.place()?;
            let resumed = part.resume(store, &place)?;
            parts.push(Part { place, resumed });
            Ok(())
        })?;
        Ok(loaded)
    }

    /// Folds in everything up to the watermark.
    pub(super) fn advance(&mut self, store: &Store) -> Result<()> {
        let until = store.last_position();
        let mut parts = self.parts.iter_mut();
        each(&mut self.model, |fold| match parts.next() {
            Some(part) => part.advance(store, fold, until),
            None => Ok(()),
        })
    }

    /// Folds in events that cannot be read yet, of the group being written.
    pub(super) fn take(&mut self, event: &EventRef<'_>) -> Result<()> {
        let mut parts = self.parts.iter_mut();
        each(&mut self.model, |fold| match parts.next() {
            Some(part) => part.take(fold, event),
            None => Ok(()),
        })
    }

    /// What must still hold when the decision is appended.
    pub(super) fn guard<'a>(&self, mut batch: BatchBuilder<'a>) -> BatchBuilder<'a> {
        for (at, part) in self.parts.iter().enumerate() {
            if self.parts.iter().take(at).any(|other| other.place == part.place) {
                continue;
            }
            batch = match &part.place {
                Place::Stream(stream) => batch.check(stream, Expect::Version(part.resumed.version)),
                Place::Query(query) => batch.condition(query.clone(), part.resumed.position),
            };
        }
        batch
    }

    /// The one stream among its scopes, where events go that are not placed.
    pub(super) fn home(&self) -> Option<&StreamName> {
        let mut streams = self.parts.iter().filter_map(|part| match &part.place {
            Place::Stream(stream) => Some(stream),
            Place::Query(_) => None,
        });
        let first = streams.next()?;
        streams.all(|other| other == first).then_some(first)
    }

    /// Gives its states to the caches they came from.
    pub(super) fn keep(&mut self, store: &Store) {
        let mut parts = self.parts.iter();
        self.model.each(&mut |fold| {
            if let Some(part) = parts.next() {
                fold.keep(store, &part.place, part.resumed);
            }
        });
    }

    /// Saves the snapshots that are due; answers the last. Before the states are given to caches,
    /// so that these know how much is saved.
    pub(super) fn snapshot(&mut self, store: &Store) -> Option<Result<Position>> {
        let (mut parts, mut last) = (self.parts.iter_mut(), None);
        self.model.each(&mut |fold| {
            if let Some(Part { place, resumed }) = parts.next()
                && let Some(saved) = fold.snapshot(store, place, *resumed)
            {
                if saved.is_ok() {
                    resumed.since_snapshot = 0;
                }
                last = Some(saved);
            }
        });
        last
    }
}

/// Every model in turn, until one fails.
fn each<B: Boundary>(
    model: &mut B,
    mut visit: impl FnMut(&mut dyn Fold) -> Result<()>,
) -> Result<()> {
    let mut outcome = Ok(());
    model.each(&mut |fold| {
        if outcome.is_ok() {
            outcome = visit(fold);
        }
    });
    outcome
}

impl Part {
    fn read(&self, store: &Store) -> Read {
        match &self.place {
            Place::Stream(stream) => store.read_stream(stream).from(self.resumed.version.next()),
            Place::Query(query) => store.read(query.clone()).after(self.resumed.position),
        }
    }

    fn advance(&mut self, store: &Store, fold: &mut dyn Fold, until: Position) -> Result<()> {
        if until <= self.resumed.position {
            return Ok(());
        }
        let (mut folded, mut outcome) = (0, Ok(()));
        self.read(store).through(until).for_each(|event| {
            outcome = inside(|| fold.fold(&event));
            folded += 1;
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        outcome?;
        if let Place::Stream(stream) = &self.place {
            // The last of its events may be hidden, or one whose data was reclaimed.
            self.resumed.version = store.version_at(stream, until)?;
        }
        self.resumed.position = until;
        self.resumed.since_snapshot += folded;
        Ok(())
    }

    fn take(&mut self, fold: &mut dyn Fold, event: &EventRef<'_>) -> Result<()> {
        let mine = match &self.place {
            Place::Stream(stream) => event.stream() == stream.as_str(),
            Place::Query(query) => query.matches(event),
        };
        if mine && event.position() > self.resumed.position {
            inside(|| fold.fold(event))?;
            if matches!(self.place, Place::Stream(_)) {
                self.resumed.version = event.version();
            }
        }
        Ok(())
    }
}
