//! Layer 8.3: reads of typed events.
//!
//! Knows: what to do about types that are not known. Does not know: how events are found.

use std::marker::PhantomData;
use std::ops::Deref;

use super::event::{Event, decode, decode_known};
use crate::api::{Events, Read};
use crate::types::{RecordedEvent, Result};

/// A typed event as it is stored: its value, and with `recorded` everything else.
///
/// ```
/// # use factlog::{Event, Expect, NewEvent, Store};
/// # #[derive(Debug, PartialEq, Event, serde::Serialize, serde::Deserialize)]
/// # enum Light { On, Off }
/// # let store = Store::in_memory()?;
/// store.append("Light-1", Expect::Any, [NewEvent::of(&Light::On)?])?;
/// for light in store.read_stream("Light-1").typed::<Light>() {
///     let light = light?;
///     assert_eq!(light.event, Light::On);
///     println!("{:?} at {}", light.event, light.position()); // as of the recorded event
/// }
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Typed<E> {
    /// The value.
    pub event: E,
    /// The event as it is stored.
    pub recorded: RecordedEvent,
}

impl<E> Deref for Typed<E> {
    type Target = RecordedEvent;

    fn deref(&self) -> &RecordedEvent {
        &self.recorded
    }
}

/// The events of a read, as values of `E`; see [`Read::typed`].
#[derive(Debug)]
#[must_use = "a read does nothing until it is iterated over"]
pub struct TypedEvents<E> {
    events: Events,
    skip_unknown: bool,
    value: PhantomData<fn() -> E>,
}

impl Read {
    /// The events as values of `E`, without those whose data was
    /// [forgotten](RecordedEvent::is_forgotten). A type that `E` does not know is a `Decode` error,
    /// unless [skipped](TypedEvents::skip_unknown).
    pub fn typed<E: Event>(self) -> TypedEvents<E> {
        TypedEvents { events: self.into_iter(), skip_unknown: false, value: PhantomData }
    }
}

impl<E: Event> TypedEvents<E> {
    /// Passes over events of types that `E` does not know.
    pub fn skip_unknown(mut self) -> Self {
        self.skip_unknown = true;
        self
    }

    /// All the values, without where they are stored.
    ///
    /// # Errors
    /// The first one met.
    pub fn values(self) -> Result<Vec<E>> {
        self.map(|typed| typed.map(|typed| typed.event)).collect()
    }
}

impl<E: Event> Iterator for TypedEvents<E> {
    type Item = Result<Typed<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let recorded = match self.events.next()? {
                Ok(recorded) => recorded,
                Err(error) => return Some(Err(error)),
            };
            if recorded.is_forgotten() {
                continue;
            }
            let event = match self.skip_unknown {
                true => decode(&recorded.as_ref()).transpose(),
                false => Some(decode_known(&recorded.as_ref())),
            };
            if let Some(event) = event {
                return Some(event.map(|event| Typed { event, recorded }));
            }
        }
    }
}
