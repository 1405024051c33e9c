//! Layer 8.0: codecs: how an event's data becomes bytes.
//!
//! Knows: serde and the two codecs that come with the crate. Does not know: event types.

use serde::Serialize;
use serde::de::DeserializeSeed;

use crate::types::{ContentType, Error, ErrorKind, Result};

/// How data becomes bytes and back. [`Json`] unless an event says otherwise; implement it to bring
/// another.
///
/// ```
/// use factlog::{Codec, ContentType, Json, Result};
///
/// /// JSON for people: over several lines.
/// struct Pretty;
///
/// impl Codec for Pretty {
///     const CONTENT_TYPE: ContentType = ContentType::Json;
///
///     fn encode<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
///         serde_json::to_vec_pretty(value)
///             .map_err(|error| factlog::Error::invalid(error.to_string()))
///     }
///
///     fn decode<'de, S: serde::de::DeserializeSeed<'de>>(
///         seed: S,
///         data: &'de [u8],
///     ) -> Result<S::Value> {
///         Json::decode(seed, data)
///     }
/// }
/// assert_eq!(Pretty::encode(&[1])?, b"[\n  1\n]");
/// # Ok::<(), factlog::Error>(())
/// ```
pub trait Codec {
    /// What the bytes are to the store. `Json` is checked to be JSON when it is appended.
    const CONTENT_TYPE: ContentType;

    /// The value as bytes.
    ///
    /// # Errors
    /// `Invalid` when it cannot be written like that.
    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>>;

    /// The value that `seed` reads from the bytes, which it must use up.
    ///
    /// # Errors
    /// `Decode` when the bytes are of another shape.
    fn decode<'de, S: DeserializeSeed<'de>>(seed: S, data: &'de [u8]) -> Result<S::Value>;
}

/// JSON: the default, for people, for other languages and for upcasters.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Codec for Json {
    const CONTENT_TYPE: ContentType = ContentType::Json;

    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
        serde_json::to_vec(value).map_err(|source| {
            Error::new(ErrorKind::Invalid, "data cannot be written as JSON").because(source)
        })
    }

    fn decode<'de, S: DeserializeSeed<'de>>(seed: S, data: &'de [u8]) -> Result<S::Value> {
        let mut deserializer = serde_json::Deserializer::from_slice(data);
        let value = seed.deserialize(&mut deserializer);
        let value = value.and_then(|value| deserializer.end().map(|()| value));
        value.map_err(|source| {
            Error::new(ErrorKind::Decode, "it is not JSON of that shape").because(source)
        })
    }
}

/// bincode 2 in its standard configuration: compact, and without names or types, so that every
/// change of an event's shape needs a new schema version.
///
/// ```
/// use factlog::{Bincode, Event, Expect, NewEvent, Store};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
/// #[event(codec = Bincode)]
/// enum Meter {
///     Measured { celsius: f64 },
/// }
///
/// let store = Store::in_memory()?;
/// let measured = Meter::Measured { celsius: 21.5 };
/// store.append("Meter-7", Expect::Any, [NewEvent::of(&measured)?])?;
/// let event = store.last_event("Meter-7")?.expect("it was appended");
/// assert_eq!(event.data().len(), 8);
/// assert_eq!(event.decode::<Meter>()?, Some(measured));
/// # Ok::<(), factlog::Error>(())
/// ```
#[cfg(feature = "bincode")]
#[derive(Debug, Clone, Copy)]
pub struct Bincode;

#[cfg(feature = "bincode")]
impl Codec for Bincode {
    const CONTENT_TYPE: ContentType = ContentType::Binary;

    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
        crate::types::to_bincode(value)
    }

    fn decode<'de, S: DeserializeSeed<'de>>(seed: S, data: &'de [u8]) -> Result<S::Value> {
        crate::types::from_bincode(seed, data)
    }
}
