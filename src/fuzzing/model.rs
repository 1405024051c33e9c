//! Layer 7.6: what a store must hold, by what was sent to it and what it answered.
//!
//! Knows: batches in order, and what is said of streams and subjects; where an answer left a doubt,
//! everything it may have become. Does not know: steps, disks, or how a store keeps anything.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::input::Input;
use crate::api::Store;
use crate::types::{ErrorKind, Hidden, NewEvent, Position, RecordedEvent, StreamState, Version};

pub(super) const STREAMS: [&str; 3] = ["Order-1", "Order-2", "Cart-1"];
pub(super) const CHECKPOINT: &str = "reader";
/// Whose data the events of one stream are, where subjects have keys.
pub(super) const SUBJECT: &str = "ada";

/// An event as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub stream: &'static str,
    pub number: u64,
    size: usize,
    /// Whether it is said of the subject.
    pub secret: bool,
}

impl Fact {
    pub(super) fn event(&self) -> NewEvent {
        let data = vec![self.number.to_le_bytes()[0]; self.size];
        let event = NewEvent::binary("Noted", data).id(Uuid::from_u128(u128::from(self.number)));
        if self.secret { event.subject(SUBJECT) } else { event }
    }

    /// Whether the event is this one, whatever became of its data.
    pub(super) fn is_named(&self, event: &RecordedEvent) -> bool {
        event.id() == Uuid::from_u128(u128::from(self.number)) && event.stream() == self.stream
    }

    /// Whether the event says what was sent.
    pub(super) fn is_told(&self, event: &RecordedEvent) -> bool {
        event.data() == self.event().data
    }
}

/// What hides events of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// The version it had when it was deleted last.
    pub deleted_at: u64,
    pub truncate_before: u64,
}

impl Life {
    pub(super) fn hides(self, version: u64) -> bool {
        version <= self.deleted_at || version < self.truncate_before
    }
}

/// What the caller knows.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// In the log, in order; acknowledged, or found when the store was opened.
    pub stored: Vec<Vec<Fact>>,
    /// Sent after those and answered `InDoubt`, or never: each may be in the log if all before are.
    pub doubtful: Vec<Vec<Fact>>,
    /// What the checkpoint may be.
    pub checkpoint: Vec<Option<u64>>,
    /// Where the log may begin.
    pub first: Vec<u64>,
    /// What the settings of a stream may be.
    pub lives: BTreeMap<&'static str, Vec<Life>>,
    /// Up to which version settings of the stream ever hid anything.
    pub hidden: BTreeMap<&'static str, u64>,
    /// The numbers of events whose data is known to be reclaimed.
    pub gone: BTreeSet<u64>,
    /// The subject is forgotten up to an event of this number for sure, up to this one perhaps.
    pub forgotten: (u64, u64),
    pub numbers: u64,
    /// Whether subjects have keys.
    secrets: bool,
}

impl Model {
    pub(super) fn new(secrets: bool) -> Self {
        let lives = STREAMS.map(|stream| (stream, vec![Life::default()]));
        Self {
            checkpoint: vec![None],
            first: vec![1],
            lives: lives.into(),
            secrets,
            ..Self::default()
        }
    }

    pub(super) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.stored.iter().flatten()
    }

    /// From that position on.
    pub(super) fn facts_from(&self, first: u64) -> impl Iterator<Item = &Fact> {
        let numbered = (1..).zip(self.facts()).skip_while(move |(at, _)| *at < first);
        numbered.map(|(_, fact)| fact)
    }

    pub(super) fn events(&self) -> u64 {
        self.facts().count() as u64
    }

    pub(super) fn version(&self, stream: &str) -> u64 {
        self.facts().filter(|fact| fact.stream == stream).count() as u64
    }

    /// The settings of a stream, if there is no doubt about them.
    pub(super) fn life(&self, stream: &str) -> Option<Life> {
        match self.lives.get(stream).map(Vec::as_slice) {
            Some(&[life]) => Some(life),
            _ => None,
        }
    }

    /// Whether the stream was deleted after its last event. Then there is no doubt: a store in
    /// doubt takes no event.
    pub(super) fn is_deleted(&self, stream: &str) -> bool {
        let version = self.version(stream);
        version > 0 && self.life(stream).is_some_and(|life| life.deleted_at == version)
    }

    pub(super) fn draw(&mut self, input: &mut Input<'_>, stream: &'static str) -> Vec<Fact> {
        let shape = input.byte();
        let size = match shape >> 4 {
            0 => 3_000,
            1 => 9_000,
            size => usize::from(size) * 16,
        };
        let secret = self.secrets && stream == "Cart-1";
        let mut fact = || {
            self.numbers += 1;
            Fact { stream, number: self.numbers, size, secret }
        };
        (0..=shape & 3).map(|_| fact()).collect()
    }

    /// What was found when the store was opened settles what was in doubt.
    pub(super) fn take(&mut self, store: &Store) {
        let found = match store.read_all().hidden(Hidden::Mark).to_vec() {
            Ok(found) => found,
            Err(error) => {
                assert!(error.kind() == ErrorKind::Io, "{error:?}");
                return;
            }
        };
        let first = store.first_position().get();
        assert!(self.first.contains(&first), "begins at {first} of {:?}", self.first);
        self.first = vec![first];
        self.take_events(&found, first - 1);
        self.take_lives(store, &found);
        if let Ok(now) = store.checkpoint(CHECKPOINT) {
            let now = now.map(Position::get);
            assert!(self.checkpoint.contains(&now), "{now:?} of {:?}", self.checkpoint);
            self.checkpoint = vec![now];
        }
    }

    /// Every batch is there, whole, or trimmed, whole; none but the last in doubt may be missing.
    fn take_events(&mut self, found: &[RecordedEvent], mut trimmed: u64) {
        let (sent, mut rest) = (self.stored.len(), found);
        let all = self.stored.drain(..).chain(self.doubtful.drain(..)).collect::<Vec<_>>();
        for (at, batch) in all.into_iter().enumerate() {
            if trimmed > 0 {
                assert!(trimmed >= batch.len() as u64, "half a batch is trimmed");
                trimmed -= batch.len() as u64;
                self.stored.push(batch);
                continue;
            }
            let Some((part, behind)) = rest.split_at_checked(batch.len()) else {
                assert!(at >= sent, "an acknowledged batch is gone");
                assert!(rest.is_empty(), "half a batch");
                break;
            };
            for (event, fact) in part.iter().zip(&batch) {
                assert!(fact.is_named(event), "another batch stands in its place");
                self.look_at(event, fact);
            }
            rest = behind;
            self.stored.push(batch);
        }
        assert!(rest.is_empty(), "events from nowhere: {:?}", rest.first());
    }

    /// The data is there, or was taken away by what was asked for.
    fn look_at(&mut self, event: &RecordedEvent, fact: &Fact) {
        let known = self.gone.contains(&fact.number);
        if event.reclaimed().is_some() {
            let hidden = self.hidden.get(fact.stream).copied().unwrap_or(0);
            assert!(known || event.version().get() <= hidden, "reclaimed unasked: {event:?}");
            self.gone.insert(fact.number);
        } else if event.is_forgotten() {
            assert!(fact.secret && fact.number <= self.forgotten.1, "forgotten unasked: {event:?}");
            assert!(!known && event.data().is_empty());
        } else {
            let stays_gone = known || fact.secret && fact.number <= self.forgotten.0;
            assert!(!stays_gone, "what was gone came back: {event:?}");
            assert!(fact.is_told(event), "other data than was sent: {event:?}");
        }
    }

    /// What hides events is what was asked for, and hides those events.
    fn take_lives(&mut self, store: &Store, found: &[RecordedEvent]) {
        for stream in STREAMS {
            let version = self.version(stream);
            let asked = (store.retention(stream), store.stream_state(stream));
            let (Ok(retention), Ok(state)) = asked else { continue };
            let truncated = retention.truncate_before.map_or(0, Version::get);
            let deleted = matches!(state, StreamState::SoftDeleted(_));
            let events: Vec<_> = found.iter().filter(|event| event.stream() == stream).collect();
            let fits = |life: &Life| {
                life.truncate_before == truncated
                    && (version > 0 && life.deleted_at == version) == deleted
                    && events
                        .iter()
                        .filter(|event| event.reclaimed().is_none())
                        .all(|event| event.hidden().is_some() == life.hides(event.version().get()))
            };
            let lives = self.lives.entry(stream).or_default();
            let before = lives.clone();
            lives.retain(fits);
            lives.dedup();
            assert!(!lives.is_empty(), "{stream}: {state:?}, {retention:?}, not {before:?}");
        }
    }
}
