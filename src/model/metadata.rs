//! Layer 8.1: metadata that is said once and carried along.
//!
//! Knows: its members. Does not know: which events it is put on.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::types::{Error, ErrorKind, NewEvent, RecordedEvent, Result};

/// What every event of a scope (a request, a command, the handling of an event) says of where it
/// comes from. Said once and given to a [`Decider`](crate::Decider), or put on events with
/// [`Metadata::on`].
///
/// ```
/// use factlog::{Expect, Metadata, NewEvent, Store};
/// let store = Store::in_memory()?;
/// let request = Metadata::new().correlation("order-42").set("user", "ada")?;
/// let placed = request.on(NewEvent::binary("OrderPlaced", ""));
/// store.append("Order-42", Expect::NoStream, [placed])?;
///
/// // Whoever goes on from that event stays in its conversation, and says what it answers.
/// let placed = store.last_event("Order-42")?.expect("it was appended");
/// let follow_up = Metadata::caused_by(&placed);
/// store.append("Parcel-42", Expect::NoStream, [follow_up.on(NewEvent::binary("Packed", ""))])?;
/// let packed = store.last_event("Parcel-42")?.expect("it was appended");
/// assert_eq!(packed.correlation(), Some("order-42"));
/// assert_eq!(packed.causation(), Some(&*placed.id().to_string()));
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct Metadata {
    members: Map<String, Value>,
}

const CORRELATION: &str = "$correlationId";
const CAUSATION: &str = "$causationId";

impl Metadata {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a recorded event hands on: its correlation (its id where it has none), and its id as
    /// the causation.
    pub fn caused_by(event: &RecordedEvent) -> Self {
        let id = event.id().to_string();
        let correlation = event.correlation().map_or_else(|| id.clone(), str::to_owned);
        Self::new().correlation(correlation).causation(id)
    }

    /// `$correlationId`: which conversation.
    pub fn correlation(self, id: impl ToString) -> Self {
        self.member(CORRELATION, id.to_string().into())
    }

    /// `$causationId`: which message caused it.
    pub fn causation(self, id: impl ToString) -> Self {
        self.member(CAUSATION, id.to_string().into())
    }

    /// Any other member.
    ///
    /// # Errors
    /// `Invalid` for a name that begins with `$`, or a value that cannot be written as JSON.
    pub fn set(self, name: &str, value: impl Serialize) -> Result<Self> {
        if name.starts_with('$') {
            let text = format!("metadata {name:?}: names that begin with $ are the store's own");
            return Err(Error::invalid(text));
        }
        let value = serde_json::to_value(value).map_err(|source| {
            let text = format!("metadata {name:?} cannot be written as JSON");
            Error::new(ErrorKind::Invalid, text).because(source)
        })?;
        Ok(self.member(name, value))
    }

    fn member(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// An event that says this too. What the event says already stays; metadata that is not a
    /// JSON object stays as it is.
    pub fn on(&self, mut event: NewEvent) -> NewEvent {
        let mut all = match serde_json::from_slice::<Value>(&event.metadata) {
            Ok(Value::Object(own)) => own,
            _ if event.metadata.is_empty() => Map::new(),
            _ => return event,
        };
        for (name, value) in &self.members {
            let said = match &**name {
                CORRELATION => event.correlation.is_some(),
                CAUSATION => event.causation.is_some(),
                _ => false,
            };
            if !said && !all.contains_key(name) {
                all.insert(name.clone(), value.clone());
            }
        }
        if !all.is_empty() {
            event.metadata = Value::Object(all).to_string().into_bytes();
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_event_says_itself_stays() {
        let scope = Metadata::new().correlation("of the scope").set("user", "ada").unwrap();
        let own = NewEvent::binary("E", "").correlation("its own").metadata(r#"{"user":"ben"}"#);
        let event = scope.on(own);
        assert_eq!(event.correlation.as_deref(), Some("its own"));
        assert_eq!(event.metadata, br#"{"user":"ben"}"#);
    }

    #[test]
    fn names_of_the_store_are_refused() {
        assert!(Metadata::new().set("$position", 1).is_err());
    }
}
