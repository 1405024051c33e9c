//! Layer 8.2: typed events: Rust types whose names, schema versions and tags are told to the store.
//!
//! Knows: how a value becomes a `NewEvent` and a stored event a value. Does not know: stores. Every
//! path of the typed layer that reads goes through `decode` here, and with that through upcasters.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::Codec;
use super::content::Content;
use super::upcast::{EventType, Schema, Upcast};
use super::variant::Variant;
use crate::types::{
    ContentType, Error, ErrorKind, EventRef, IntoEvent, NewEvent, Query, RecordedEvent, Result,
    StreamName,
};

/// A Rust type whose values are events: a serde enum with an event type per variant, or a struct.
///
/// Derived, with the feature `derive`:
///
/// ```
/// use factlog::{Event, EventType};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(category = "Student")]
/// enum Campus {
///     /// Stored as `Enrolled`, schema version 1, with the data `{"student":"ada","course":"c1"}`
///     /// and the tags `student:ada` and `course:c1`.
///     Enrolled {
///         #[tag] student: String,
///         #[tag] course: String,
///     },
///     #[event(name = "StudentLeft", version = 2)] // the name in the log: a variant may be renamed
///     Left {
///         #[tag("student")] who: String,
///     },
/// }
/// let left = Campus::Left { who: "ada".into() };
/// assert_eq!(left.event_type(), EventType::new("StudentLeft", 2));
/// assert_eq!(left.tags(), ["student:ada"]);
/// assert_eq!(left.stream().as_deref(), Some("Student-ada"));
/// ```
///
/// | attribute | on | means |
/// |---|---|---|
/// | `event(category = "..")` | type | where events go that nothing places: [`Event::stream`] |
/// | `event(codec = ..)` | type | a [`Codec`]; [`Json`](crate::Json) unless said |
/// | `event(upcasts = ..)` | type | a constant `&[Upcast]` |
/// | `event(crate = ..)` | type | where this crate is, when it has another name |
/// | `event(name = "..")` | variant, struct | its name in the log; its own name unless said |
/// | `event(version = n)` | variant, struct | its schema version; 1 unless said |
/// | `tag`, `tag("key")` | field | the tag `key:value`; of an `Option` or `Vec` one per value |
/// | `subject` | field | whose data the event is |
///
/// By hand it takes three items, and [`Event::tags`] where events have tags:
///
/// ```
/// use factlog::{Event, EventType, Json};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum Light {
///     On,
///     Off,
/// }
///
/// impl Event for Light {
///     const TYPES: &'static [EventType] =
///         &[EventType::new("SwitchedOn", 1), EventType::new("SwitchedOff", 1)];
///     type Codec = Json;
///
///     fn variant(&self) -> usize {
///         match self {
///             Light::On => 0,
///             Light::Off => 1,
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "add `#[derive(factlog::Event, serde::Serialize, serde::Deserialize)]` to the type"
)]
pub trait Event: Serialize + DeserializeOwned {
    /// Its event types, in the order of the variants.
    const TYPES: &'static [EventType];

    /// How earlier schema versions are read.
    const UPCASTS: &'static [Upcast] = &[];

    /// The category of the stream that a decided event goes to when nothing else places it.
    const CATEGORY: Option<&'static str> = None;

    /// How its data becomes bytes.
    type Codec: Codec;

    /// The place of this value's type in [`Event::TYPES`]; of an enum, the variant's place.
    fn variant(&self) -> usize;

    /// Its labels, by which queries and conditions find it.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whose data it is.
    fn subject(&self) -> Option<String> {
        None
    }

    /// The name of the stream it belongs to when nothing else places it: the category and the value
    /// of the first tag.
    fn stream(&self) -> Option<String> {
        let tag = self.tags().into_iter().next()?;
        let (_, value) = tag.split_once(':')?;
        Some(format!("{}-{value}", Self::CATEGORY?))
    }

    /// Its type.
    fn event_type(&self) -> EventType {
        Self::TYPES.get(self.variant()).copied().unwrap_or(EventType::new("", 0))
    }
}

/// A tag, as `#[tag]` makes it: `course:c1` for the key `course` and the value `c1`.
///
/// ```
/// use factlog::{Query, tag};
/// let query = Query::tags([tag("course", "c1")]);
/// # let _ = query;
/// ```
pub fn tag(key: &str, value: impl std::fmt::Display) -> String {
    format!("{key}:{value}")
}

pub(super) fn schema<E: Event>() -> Schema {
    Schema { types: E::TYPES, upcasts: E::UPCASTS }
}

/// The value in an event; `None` when its type is unknown to `E`, or its data is forgotten.
pub(super) fn decode<E: Event>(event: &EventRef<'_>) -> Result<Option<E>> {
    if event.is_forgotten() {
        return Ok(None);
    }
    event.readable()?;
    let stored = (event.event_type(), event.schema_version());
    let known = schema::<E>().upcast(stored, event.data());
    let value = known.and_then(|known| {
        let Some((index, data)) = known else { return Ok(None) };
        let wanted = E::Codec::CONTENT_TYPE;
        if event.content_type() != wanted {
            let text = format!("it is {:?}, not {wanted:?}", event.content_type());
            return Err(Error::new(ErrorKind::Decode, text));
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        E::Codec::decode(Variant::at(index), &data).map(Some)
    });
    value.map_err(|why| {
        let (position, (name, version)) = (event.position(), stored);
        let text = format!("event {position} ({name}, schema version {version}) does not decode");
        Error::new(ErrorKind::Decode, text).in_stream(event.stream()).at(position).because(why)
    })
}

/// An event whose type must be known to `E`.
pub(super) fn decode_known<E: Event>(event: &EventRef<'_>) -> Result<E> {
    decode(event)?.ok_or_else(|| {
        let (position, name) = (event.position(), event.event_type());
        let text = format!(
            "event {position} is of type {name}, which {} does not know",
            std::any::type_name::<E>()
        );
        Error::new(ErrorKind::Decode, text).in_stream(event.stream()).at(position)
    })
}

impl<E: Event> IntoEvent for E {
    fn into_event(self) -> Result<NewEvent> {
        NewEvent::of(&self)
    }
}

impl EventRef<'_> {
    /// Its data as a typed event, upcast if need be; `None` when its type is not one of `E`'s, or
    /// its data is [forgotten](Self::is_forgotten).
    ///
    /// # Errors
    /// `Decode` when the type is known but the data, its schema version or its codec is not;
    /// otherwise as [`Self::readable`].
    pub fn decode<E: Event>(&self) -> Result<Option<E>> {
        decode(self)
    }
}

impl RecordedEvent {
    /// Its data as a typed event, upcast if need be; `None` when its type is not one of `E`'s: skip
    /// it or refuse it; or when its data is [forgotten](Self::is_forgotten).
    ///
    /// ```
    /// # use factlog::{Event, Expect, NewEvent, Store};
    /// # #[derive(Event, serde::Serialize, serde::Deserialize)]
    /// # enum Light { On, Off }
    /// # let store = Store::in_memory()?;
    /// store.append("Light-1", Expect::Any, [Light::On])?;
    /// for event in store.read_stream("Light-1") {
    ///     match event?.decode()? {
    ///         Some(Light::On) => println!("on"),
    ///         Some(Light::Off) => println!("off"),
    ///         None => println!("something else"),
    ///     }
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` when the type is known but the data, its schema version or its codec is not.
    pub fn decode<E: Event>(&self) -> Result<Option<E>> {
        decode(&self.as_ref())
    }
}

impl NewEvent {
    /// A typed event, to be appended: with its type, schema version, tags and subject. For those of
    /// which more is to be said; others are [appended](crate::Store::append) as they are.
    ///
    /// ```
    /// # use factlog::{Event, Expect, NewEvent, Store};
    /// # #[derive(Event, serde::Serialize, serde::Deserialize)]
    /// # enum Meter { Read { #[tag] meter: String, wh: u64 } }
    /// # let store = Store::in_memory()?;
    /// let read = Meter::Read { meter: "m-7".into(), wh: 42 };
    /// let read = NewEvent::of(&read)?.correlation("visit-9");
    /// store.append("Meter-7", Expect::Any, [read])?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when its codec cannot write it.
    pub fn of<E: Event>(event: &E) -> Result<Self> {
        let kind = event.event_type();
        let data = E::Codec::encode(&Content(event))?;
        let new = match E::Codec::CONTENT_TYPE {
            ContentType::Json => Self::json_text(kind.name(), data),
            ContentType::Binary => Self::binary(kind.name(), data),
        };
        let new = new.schema_version(kind.schema_version()).tags(event.tags());
        Ok(match event.subject() {
            Some(subject) => new.subject(subject),
            None => new,
        })
    }
}

impl Query {
    /// Events of any type of `E`, also under names they had before.
    ///
    /// ```
    /// # use factlog::{Event, Query, Store};
    /// # #[derive(Event, serde::Serialize, serde::Deserialize)]
    /// # enum Audit { Granted { #[tag] subject: String } }
    /// # let store = Store::in_memory()?;
    /// let of_ada = Query::of::<Audit>().tag("subject:ada");
    /// assert_eq!(store.read(of_ada).count()?, 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn of<E: Event>() -> Self {
        Self::types(schema::<E>().names())
    }
}

impl StreamName {
    /// The stream of one thing in a category: `Order-42` is `StreamName::of("Order", 42)`.
    ///
    /// # Errors
    /// `Invalid` when that is no legal name, the category has a `-`, or the id is empty, as that of
    /// a model is that was never told whose it is.
    pub fn of(category: &str, id: impl std::fmt::Display) -> Result<Self> {
        if category.is_empty() || category.contains('-') {
            return Err(Error::invalid(format!("{category:?} is not a category")));
        }
        let name = format!("{category}-{id}");
        if name.len() == category.len() + 1 {
            return Err(Error::invalid(format!(
                "a stream of the category {category:?} needs an id"
            )));
        }
        Self::new(name)
    }
}
