//! Layer 0.5: an event as it is stored, borrowed from the log's bytes or owned.
//!
//! Knows: where in an encoded body each part lies, once `format/body.rs` has checked it. Does not
//! know: how a body is decoded, or where the bytes came from.

use std::fmt;
use std::ops::Range;

use uuid::Uuid;

use super::data::DataState;
use super::error::{Error, ErrorKind, Result};
use super::event::ContentType;
use super::json;
use super::lifecycle::HiddenReason;
use super::position::{Position, Timestamp, Version};
use super::stream::StreamName;

/// Where the parts of a checked body lie. Made only by `format/body.rs`, which has checked that
/// every range is within the body and every text is UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BodyLayout {
    pub id: Uuid,
    pub schema_version: u16,
    pub json: bool,
    pub reclaimed: Option<HiddenReason>,
    pub stream_end: u32,
    pub type_end: u32,
    pub tags_end: u32,
    pub subject_end: u32,
    pub metadata_end: u32,
    pub stream_start: u32,
    pub data: DataState,
    /// Also when it was decrypted since.
    pub encrypted: bool,
}

/// A recorded event borrowed from the log's own bytes: nothing was copied or allocated.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    pub(crate) position: Position,
    pub(crate) version: Version,
    pub(crate) recorded_at: Timestamp,
    pub(crate) layout: BodyLayout,
    pub(crate) body: &'a [u8],
    pub(crate) hidden: Option<HiddenReason>,
}

fn text(bytes: &[u8], range: Range<u32>) -> &str {
    std::str::from_utf8(part(bytes, range)).unwrap_or_default()
}

fn part(bytes: &[u8], range: Range<u32>) -> &[u8] {
    bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
}

impl<'a> EventRef<'a> {
    /// Why its stream's settings hide it, if they do; known only to reads that were asked to mark
    /// such events, with [`Hidden::Mark`](crate::Hidden::Mark).
    #[must_use]
    pub fn hidden(&self) -> Option<HiddenReason> {
        self.hidden
    }

    /// Its number within the store.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its number within its stream.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// When the store recorded it.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.layout.id
    }

    /// The stream it belongs to.
    #[must_use]
    pub fn stream(&self) -> &'a str {
        text(self.body, self.layout.stream_start..self.layout.stream_end)
    }

    /// The category of its stream.
    #[must_use]
    pub fn category(&self) -> Option<&'a str> {
        super::stream::category(self.stream())
    }

    /// What kind of fact it is.
    #[must_use]
    pub fn event_type(&self) -> &'a str {
        text(self.body, self.layout.stream_end..self.layout.type_end)
    }

    /// Its labels.
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        Tags { rest: part(self.body, self.layout.type_end..self.layout.tags_end) }
    }

    /// Whose data it is.
    #[must_use]
    pub fn subject(&self) -> Option<&'a str> {
        Some(text(self.body, self.layout.tags_end..self.layout.subject_end))
            .filter(|subject| !subject.is_empty())
    }

    /// Whether it names a subject and its data is stored as it was given: that is not forgotten
    /// with the subject.
    #[must_use]
    pub fn is_in_clear(&self) -> bool {
        !self.layout.encrypted && self.reclaimed().is_none() && self.subject().is_some()
    }

    /// Its metadata as it was given; empty when there was none.
    #[must_use]
    pub fn metadata(&self) -> &'a [u8] {
        part(self.body, self.layout.subject_end..self.layout.metadata_end)
    }

    /// Its data as it was given; empty when it cannot be had, see [`Self::readable`].
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        match self.layout.data {
            DataState::Clear => self.tail(),
            _ => &[],
        }
    }

    fn tail(&self) -> &'a [u8] {
        self.body.get(self.layout.metadata_end as usize..).unwrap_or_default()
    }

    /// What stands in the place of the data when that is encrypted.
    pub(crate) fn sealed(&self) -> Option<&'a [u8]> {
        (self.layout.data == DataState::Sealed).then(|| self.tail())
    }

    /// The same event, whose data cannot be had for this reason.
    pub(crate) fn without_data(self, why: DataState) -> Self {
        let body = self.body.get(..self.layout.metadata_end as usize).unwrap_or_default();
        Self { body, layout: BodyLayout { data: why, ..self.layout }, ..self }
    }

    /// Its data as text, if it is UTF-8 and can be had.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.data()).ok();
        text.filter(|_| self.layout.data == DataState::Clear)
    }

    /// Whether its data was forgotten with its subject. Position, stream, version, type, id, tags
    /// and metadata are what they were; the data is empty, for ever.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.layout.data == DataState::Forgotten
    }

    /// Whether its data can be had, and if not, why: what is said of a subject may be encrypted.
    ///
    /// # Errors
    /// `Forgotten`, `Deleted` (reclaimed): go on without it. `NotFound` without its key, `Invalid`
    /// when keys are wrapped, `Unsupported` without the feature `forget`.
    pub fn readable(&self) -> Result<()> {
        let (kind, why) = match self.layout.data {
            _ if self.reclaimed().is_some() => (ErrorKind::Deleted, "was reclaimed"),
            DataState::Clear => return Ok(()),
            DataState::Forgotten => (ErrorKind::Forgotten, "was forgotten with its subject"),
            DataState::NoKey | DataState::Sealed => {
                (ErrorKind::NotFound, "is encrypted, and its key is not in the keyring")
            }
            DataState::Wrapped => (
                ErrorKind::Invalid,
                "is encrypted, and its key wrapped: give `Keyring::wrapped_by`",
            ),
            DataState::NotHere => (
                ErrorKind::Unsupported,
                "is encrypted, and this build is without the feature `forget`",
            ),
        };
        let (position, event_type) = (self.position, self.event_type());
        let text = format!("data of event {position} ({event_type}) {why}");
        Err(Error::new(kind, text).in_stream(self.stream()).at(position))
    }

    /// What its data is.
    #[must_use]
    pub fn content_type(&self) -> ContentType {
        if self.layout.json { ContentType::Json } else { ContentType::Binary }
    }

    /// The version of its data's shape.
    #[must_use]
    pub fn schema_version(&self) -> u16 {
        self.layout.schema_version
    }

    /// Whether it has anything besides its names.
    pub(crate) fn has_contents(&self) -> bool {
        self.body.len() > self.layout.type_end as usize
    }

    /// Why its data was reclaimed; `None` when it was not. What is left of a reclaimed event has no
    /// tags, subject, metadata and data.
    #[must_use]
    pub fn reclaimed(&self) -> Option<HiddenReason> {
        self.layout.reclaimed
    }

    /// `$correlationId` of its metadata, when that is a plain string.
    #[must_use]
    pub fn correlation(&self) -> Option<&'a str> {
        json::top_level_string(self.metadata(), "$correlationId")
    }

    /// `$causationId` of its metadata, when that is a plain string.
    #[must_use]
    pub fn causation(&self) -> Option<&'a str> {
        json::top_level_string(self.metadata(), "$causationId")
    }

    /// Its data as a value.
    ///
    /// # Errors
    /// `Decode` when the data is not JSON of that shape; otherwise as [`Self::readable`].
    #[cfg(feature = "json")]
    pub fn json<T: serde::Deserialize<'a>>(&self) -> Result<T> {
        self.readable()?;
        serde_json::from_slice(self.data()).map_err(|source| {
            Error::new(
                ErrorKind::Decode,
                format!("data of event {} ({}) does not decode", self.position, self.event_type()),
            )
            .at(self.position)
            .because(source)
        })
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_owned(&self) -> RecordedEvent {
        RecordedEvent {
            position: self.position,
            version: self.version,
            recorded_at: self.recorded_at,
            layout: self.layout,
            body: self.body.into(),
            hidden: self.hidden,
        }
    }
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("position", &self.position.get())
            .field("stream", &self.stream())
            .field("version", &self.version.get())
            .field("type", &self.event_type())
            .field("id", &self.id())
            .field("data_bytes", &self.data().len())
            .finish_non_exhaustive()
    }
}

/// The labels of an event, in the order they were given.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (length, rest) = self.rest.split_first()?;
        let (tag, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        std::str::from_utf8(tag).ok()
    }
}

/// A recorded event that owns its bytes (one allocation). The parts are those of [`EventRef`].
#[derive(Clone)]
pub struct RecordedEvent {
    position: Position,
    version: Version,
    recorded_at: Timestamp,
    layout: BodyLayout,
    body: Box<[u8]>,
    hidden: Option<HiddenReason>,
}

impl RecordedEvent {
    /// Why its stream's settings hide it, if they do; known only to reads that were asked to mark
    /// such events, with [`Hidden::Mark`](crate::Hidden::Mark).
    #[must_use]
    pub fn hidden(&self) -> Option<HiddenReason> {
        self.hidden
    }

    /// The same event, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            position: self.position,
            version: self.version,
            recorded_at: self.recorded_at,
            layout: self.layout,
            body: &self.body,
            hidden: self.hidden,
        }
    }

    /// Its number within the store.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its number within its stream.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// When the store recorded it.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.layout.id
    }

    /// The stream it belongs to.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.as_ref().stream()
    }

    /// The stream it belongs to, to be used in further calls.
    #[must_use]
    pub fn stream_name(&self) -> Option<StreamName> {
        StreamName::new(self.stream()).ok()
    }

    /// The category of its stream.
    #[must_use]
    pub fn category(&self) -> Option<&str> {
        self.as_ref().category()
    }

    /// What kind of fact it is.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.as_ref().event_type()
    }

    /// Its labels.
    #[must_use]
    pub fn tags(&self) -> Tags<'_> {
        self.as_ref().tags()
    }

    /// Whose data it is.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.as_ref().subject()
    }

    /// As [`EventRef::is_in_clear`].
    #[must_use]
    pub fn is_in_clear(&self) -> bool {
        self.as_ref().is_in_clear()
    }

    /// Its metadata as it was given; empty when there was none.
    #[must_use]
    pub fn metadata(&self) -> &[u8] {
        self.as_ref().metadata()
    }

    /// Its data as it was given; empty when it cannot be had, see [`Self::readable`].
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.as_ref().data()
    }

    /// Whether its data was forgotten with its subject. Position, stream, version, type, id, tags
    /// and metadata are what they were; the data is empty, for ever.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.as_ref().is_forgotten()
    }

    /// Whether its data can be had, and if not, why.
    ///
    /// # Errors
    /// As [`EventRef::readable`].
    pub fn readable(&self) -> Result<()> {
        self.as_ref().readable()
    }

    /// Its data as text, if it is UTF-8 and can be had.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.as_ref().text()
    }

    /// What its data is.
    #[must_use]
    pub fn content_type(&self) -> ContentType {
        self.as_ref().content_type()
    }

    /// The version of its data's shape.
    #[must_use]
    pub fn schema_version(&self) -> u16 {
        self.layout.schema_version
    }

    /// Why its data was reclaimed; `None` when it was not.
    #[must_use]
    pub fn reclaimed(&self) -> Option<HiddenReason> {
        self.layout.reclaimed
    }

    /// `$correlationId` of its metadata, when that is a plain string.
    #[must_use]
    pub fn correlation(&self) -> Option<&str> {
        self.as_ref().correlation()
    }

    /// `$causationId` of its metadata, when that is a plain string.
    #[must_use]
    pub fn causation(&self) -> Option<&str> {
        self.as_ref().causation()
    }

    /// Its data as a value, by serde. The value may borrow from the event.
    ///
    /// ```
    /// use factlog::{Expect, NewEvent, Store};
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Placed<'a> {
    ///     item: &'a str,
    /// }
    /// let store = Store::in_memory()?;
    /// let placed = NewEvent::json("OrderPlaced", &Placed { item: "lamp" })?;
    /// store.append("Order-42", Expect::NoStream, [placed])?;
    /// let event = store.last_event("Order-42")?.expect("it was appended");
    /// assert_eq!(event.json::<Placed>()?.item, "lamp");
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` when the data is not JSON of that shape; otherwise as [`Self::readable`].
    #[cfg(feature = "json")]
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T> {
        self.as_ref().json()
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl PartialEq for RecordedEvent {
    fn eq(&self, other: &Self) -> bool {
        (self.position, self.version, self.recorded_at)
            == (other.position, other.version, other.recorded_at)
            && self.body == other.body
            && self.layout.data == other.layout.data
    }
}

impl Eq for RecordedEvent {}
