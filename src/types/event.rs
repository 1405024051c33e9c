//! Layer 0.4: an event as the caller gives it.
//!
//! Knows: its parts and how to build one. Does not know: the limits of the store it will go to, or
//! how it is encoded (`format/body.rs` checks and encodes it).

use uuid::Uuid;

use super::error::Result;
#[cfg(feature = "json")]
use super::error::{Error, ErrorKind};
use super::fresh::fresh_id;

/// What an event's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentType {
    /// Bytes that the store does not look into.
    Binary,
    /// JSON, checked when appended and kept byte for byte.
    Json,
}

/// An event to append. Without an id of the caller's it gets a UUID v7; give your own to make
/// retries safe across restarts of your process.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use factlog::NewEvent;
/// let event = NewEvent::json("OrderPlaced", &serde_json::json!({"total": 42}))?
///     .tag("customer:7")
///     .schema_version(2);
/// # }
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct NewEvent {
    pub(crate) id: Uuid,
    pub(crate) event_type: String,
    pub(crate) content_type: ContentType,
    pub(crate) data: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) correlation: Option<String>,
    pub(crate) causation: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) schema_version: u16,
    pub(crate) subject: String,
}

/// What can be appended: a [`NewEvent`], and in the typed layer every value of an `Event`.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// # use factlog::{Event, Expect, Store};
/// # #[derive(Event, serde::Serialize, serde::Deserialize)]
/// # enum Order { Placed { item: String }, Paid }
/// # let store = Store::in_memory()?;
/// let events = [Order::Placed { item: "lamp".into() }, Order::Paid];
/// store.append("Order-42", Expect::NoStream, events)?;
/// # }
/// # Ok::<(), factlog::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "append a `NewEvent`, or a value of a type with `#[derive(factlog::Event)]`"
)]
pub trait IntoEvent {
    /// The event to append.
    ///
    /// # Errors
    /// `Invalid` when its codec cannot write it.
    fn into_event(self) -> Result<NewEvent>;
}

impl IntoEvent for NewEvent {
    fn into_event(self) -> Result<NewEvent> {
        Ok(self)
    }
}

impl NewEvent {
    fn with_data(event_type: impl Into<String>, content: ContentType, data: Vec<u8>) -> Self {
        Self {
            id: fresh_id(),
            event_type: event_type.into(),
            content_type: content,
            data,
            metadata: Vec::new(),
            correlation: None,
            causation: None,
            tags: Vec::new(),
            schema_version: 1,
            subject: String::new(),
        }
    }

    /// An event whose data is `value` as JSON.
    ///
    /// # Errors
    /// `Invalid` when the value cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json<T>(event_type: impl Into<String>, value: &T) -> Result<Self>
    where
        T: serde::Serialize + ?Sized,
    {
        let data = serde_json::to_vec(value).map_err(|source| {
            Error::new(ErrorKind::Invalid, "data cannot be written as JSON").because(source)
        })?;
        Ok(Self::with_data(event_type, ContentType::Json, data))
    }

    /// An event whose data is JSON text already; it is checked when appended and kept as it is.
    pub fn json_text(event_type: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self::with_data(event_type, ContentType::Json, text.into())
    }

    /// An event whose data is bytes.
    pub fn binary(event_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self::with_data(event_type, ContentType::Binary, data.into())
    }

    /// The id to store it under (and to recognise a retry by).
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// The id it will be stored under.
    #[must_use]
    pub fn event_id(&self) -> Uuid {
        self.id
    }

    /// Metadata as JSON text: an object by convention. `$correlationId` and `$causationId` in it
    /// are indexed.
    pub fn metadata(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.metadata = json.into();
        self
    }

    /// Sets `$correlationId` in the metadata: which conversation this event belongs to.
    pub fn correlation(mut self, id: impl ToString) -> Self {
        self.correlation = Some(id.to_string());
        self
    }

    /// Sets `$causationId` in the metadata: which message caused this event.
    pub fn causation(mut self, id: impl ToString) -> Self {
        self.causation = Some(id.to_string());
        self
    }

    /// Adds a label that queries and conditions can ask for.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds several labels.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The version of the data's shape; 1 unless said.
    pub fn schema_version(mut self, version: u16) -> Self {
        self.schema_version = version;
        self
    }

    /// Whose data this is.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }
}
