//! Layer 8.3: what a decision or a process manager emits, and where it goes.
//!
//! Knows: an event and the stream it is placed in. Does not know: what led to it.

use super::event::Event;
use super::metadata::Metadata;
use crate::types::{Error, NewEvent, Result, StreamKey, StreamName};

/// An event on its way out of a decision, with its place: see [`Emits::on`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Emit {
    event: Result<NewEvent>,
    stream: Option<Result<StreamName>>,
    /// The stream of its own.
    own: Option<String>,
}

/// What a decision can emit: typed events, [`NewEvent`]s, and either with more said about it.
///
/// ```
/// # use factlog::{Emits, Event};
/// # #[derive(Event, serde::Serialize, serde::Deserialize)]
/// # enum Bank { Withdrawn { cents: u64 }, Deposited { cents: u64 } }
/// let transfer = [
///     Bank::Withdrawn { cents: 5 }.on("Account-alice"),
///     Bank::Deposited { cents: 5 }.on("Account-bob").tag("transfer:t1"),
/// ];
/// # let _ = transfer;
/// ```
pub trait Emits: Sized {
    /// The event, without more said about it.
    fn emit(self) -> Emit;

    /// The same event, placed in this stream.
    fn on(self, stream: impl StreamKey) -> Emit {
        let stream = stream.stream_name().map(std::borrow::Cow::into_owned);
        Emit { stream: Some(stream), ..self.emit() }
    }
}

impl<E: Event> Emits for E {
    fn emit(self) -> Emit {
        Emit { event: NewEvent::of(&self), stream: None, own: self.stream() }
    }
}

impl Emits for NewEvent {
    fn emit(self) -> Emit {
        Emit { event: Ok(self), stream: None, own: None }
    }
}

impl Emits for Emit {
    fn emit(self) -> Emit {
        self
    }
}

impl Emit {
    /// Says more about the event: an id, a tag, metadata of its own.
    pub fn with(mut self, change: impl FnOnce(NewEvent) -> NewEvent) -> Self {
        self.event = self.event.map(change);
        self
    }

    /// Adds a tag.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.with(|event| event.tag(tag))
    }

    /// The event and its stream: the one it was placed in, else `home`, else its own.
    pub(crate) fn place(
        self,
        home: Option<&StreamName>,
        metadata: &Metadata,
    ) -> Result<(StreamName, NewEvent)> {
        let event = metadata.on(self.event?);
        let stream = match (self.stream, home, self.own) {
            (Some(stream), _, _) => stream?,
            (None, Some(home), _) => home.clone(),
            (None, None, Some(own)) => StreamName::new(own)?,
            (None, None, None) => {
                let text = format!(
                    "event {} has no stream: place it with `.on(stream)`, or give its type a \
                     category and its variant a tag",
                    event.event_type
                );
                return Err(Error::invalid(text));
            }
        };
        Ok((stream, event))
    }
}
