//! Layer 9.1: events that could not be handled, kept aside with the reason.
//!
//! Knows: the stream of a name's parked events, `$parked-` and the name. Does not know: who parks.
//! Parking and replaying are events like any other: nothing is lost in a crash, and when and why
//! something was parked can be read for ever.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::incoming::Incoming;
use crate::api::{BatchBuilder, Store};
use crate::types::{
    Error, ErrorKind, Expect, NewEvent, Position, RecordedEvent, Result, StreamName,
};

const PARKED: &str = "Parked";
const UNPARKED: &str = "Unparked";

/// An event that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// Where it is.
    pub position: Position,
    /// Why it could not be handled, as the handler said it.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl Parked {
    pub(super) fn new(position: Position, reason: String, attempts: u32) -> Self {
        Self { position, reason, attempts }
    }

    fn event(&self) -> NewEvent {
        let data = json!({
            "position": self.position.get(),
            "reason": self.reason,
            "attempts": self.attempts,
        });
        NewEvent::json_text(PARKED, data.to_string())
    }

    fn of(event: &RecordedEvent) -> Option<Self> {
        let data: Value = event.json().ok()?;
        Some(Self {
            position: Position::new(data.get("position")?.as_u64()?),
            reason: data.get("reason")?.as_str()?.to_owned(),
            attempts: data.get("attempts")?.as_u64()?.try_into().ok()?,
        })
    }
}

impl Parked {
    /// The event, if it can be read by now.
    pub(super) fn receive<R: Incoming>(&self, store: &Store) -> Result<Option<R::Item>> {
        let event = store.event_at(self.position);
        match event.and_then(|event| event.map(R::receive).transpose()) {
            Ok(item) => Ok(item.flatten()),
            Err(error) => match error.kind() {
                // Hidden or trimmed while it was kept aside, unlike the others for good.
                ErrorKind::Decode
                | ErrorKind::Damaged
                | ErrorKind::Deleted
                | ErrorKind::Trimmed => Ok(None),
                _ => Err(error),
            },
        }
    }
}

fn stream_of(name: &str) -> Result<StreamName> {
    StreamName::new(format!("$parked-{name}"))
}

/// Adds to a batch that these are parked.
pub(super) fn park<'a>(
    batch: BatchBuilder<'a>,
    name: &str,
    parked: &[Parked],
) -> Result<BatchBuilder<'a>> {
    let stream = stream_of(name)?;
    let add = |batch: BatchBuilder<'a>, parked: &Parked| {
        batch.append(&stream, Expect::Any, [parked.event()])
    };
    Ok(parked.iter().fold(batch.own(), add))
}

/// Adds to a batch that a parked event is parked no longer.
pub(super) fn unpark<'a>(
    batch: BatchBuilder<'a>,
    name: &str,
    position: Position,
) -> Result<BatchBuilder<'a>> {
    let event = NewEvent::json_text(UNPARKED, json!({ "position": position.get() }).to_string());
    Ok(batch.own().append(stream_of(name)?, Expect::Any, [event]))
}

impl Store {
    /// The parked events of a projection or of competing consumers, in the order of their
    /// positions.
    ///
    /// ```
    /// # let store = factlog::Store::in_memory()?;
    /// for parked in store.parked("mailer")? {
    ///     println!("{} after {} attempts: {}", parked.position, parked.attempts, parked.reason);
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` when what was kept of them cannot be read; what a read may answer.
    pub fn parked(&self, name: &str) -> Result<Vec<Parked>> {
        let mut all = BTreeMap::new();
        for event in self.read_stream(stream_of(name)?) {
            let event = event?;
            let unreadable = || {
                let text = format!("event {} of {:?} is not a parked one", event.position(), name);
                Error::new(ErrorKind::Decode, text).at(event.position())
            };
            match event.event_type() {
                PARKED => {
                    let parked = Parked::of(&event).ok_or_else(unreadable)?;
                    all.insert(parked.position, parked);
                }
                UNPARKED => {
                    let data: Value = event.json()?;
                    let position = data.get("position").and_then(Value::as_u64);
                    all.remove(&Position::new(position.ok_or_else(unreadable)?));
                }
                _ => return Err(unreadable()),
            }
        }
        Ok(all.into_values().collect())
    }

    /// Takes a parked event off the list without handling it: it was seen to otherwise, or never
    /// will be. The event itself stays where it is.
    ///
    /// ```
    /// # use factlog::{ErrorKind, Position};
    /// # let store = factlog::Store::in_memory()?;
    /// let gone = store.discard_parked("mailer", Position::new(7));
    /// assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound); // nothing of it is parked
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` when it is not parked; what a read or an append may answer.
    pub fn discard_parked(&self, name: &str, position: Position) -> Result<()> {
        if self.parked(name)?.iter().all(|parked| parked.position != position) {
            let text = format!("the event at position {position} is not parked by {name:?}");
            return Err(Error::new(ErrorKind::NotFound, text).at(position));
        }
        unpark(self.batch(), name, position)?.commit().map(drop)
    }
}
