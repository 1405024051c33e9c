//! Layer 0.7: events whose data is bincode: a compact binary form for serde types.
//!
//! Knows: the codec. Does not know: the format of the log; to the store these are opaque bytes.
//! The encoding is the standard configuration of bincode 2 and carries neither names nor types, so
//! a changed type reads old bytes wrongly or not at all: count `schema_version` up with it.

use std::marker::PhantomData;

use bincode::config::standard;
use bincode::serde::{encode_to_vec, seed_decode_from_slice};
use serde::de::DeserializeSeed;

use super::error::{Error, ErrorKind, Result};
use super::event::NewEvent;
use super::limits::{EVENT_DATA_CEILING, EVENT_DATA_DEFAULT};
use super::recorded::{EventRef, RecordedEvent};

/// One byte of data claims at most this much memory while it is decoded (a small `u128`).
const CLAIM: usize = 16;
/// Wrong bytes claim no more memory than right ones could: a length is not believed.
const CLAIM_DEFAULT: usize = CLAIM * EVENT_DATA_DEFAULT;
const CLAIM_CEILING: usize = CLAIM * EVENT_DATA_CEILING;

/// A value as bytes.
pub(crate) fn to_bincode<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    encode_to_vec(value, standard()).map_err(|source| {
        Error::new(ErrorKind::Invalid, "data cannot be written as bincode").because(source)
    })
}

/// A value from all of the bytes.
pub(crate) fn from_bincode<'de, S: DeserializeSeed<'de>>(
    seed: S,
    data: &'de [u8],
) -> Result<S::Value> {
    let decoded = if data.len() <= EVENT_DATA_DEFAULT {
        seed_decode_from_slice(seed, data, standard().with_limit::<CLAIM_DEFAULT>())
    } else {
        seed_decode_from_slice(seed, data, standard().with_limit::<CLAIM_CEILING>())
    };
    match decoded {
        Ok((value, used)) if used == data.len() => Ok(value),
        Ok((_, used)) => {
            let text = format!("{} bytes are left over", data.len() - used);
            Err(Error::new(ErrorKind::Decode, text))
        }
        Err(source) => {
            Err(Error::new(ErrorKind::Decode, "it is not of that shape").because(source))
        }
    }
}

impl NewEvent {
    /// An event whose data is `value` in bincode's standard configuration; to the store it is
    /// binary.
    ///
    /// ```
    /// use factlog::{Expect, NewEvent, Store};
    /// let store = Store::in_memory()?;
    /// let measured = NewEvent::bincode("Measured", &(7_u32, 21.5_f64))?;
    /// store.append("Meter-7", Expect::NoStream, [measured])?;
    /// let event = store.last_event("Meter-7")?.expect("it was appended");
    /// assert_eq!(event.bincode::<(u32, f64)>()?, (7, 21.5));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when the value cannot be encoded, such as a sequence of unknown length.
    pub fn bincode<T>(event_type: impl Into<String>, value: &T) -> Result<Self>
    where
        T: serde::Serialize + ?Sized,
    {
        let data = to_bincode(value)?;
        Ok(Self::binary(event_type, data))
    }
}

impl<'a> EventRef<'a> {
    /// Its data as a value, decoded with bincode's standard configuration. The value may borrow
    /// from the event.
    ///
    /// # Errors
    /// `Decode` when the data is not of that shape or bytes are left over. Data of another shape
    /// is not always recognised: bincode stores no types.
    pub fn bincode<T: serde::Deserialize<'a>>(&self) -> Result<T> {
        from_bincode(PhantomData, self.data()).map_err(|why| {
            let (position, event_type) = (self.position, self.event_type());
            let text = format!("data of event {position} ({event_type}) does not decode");
            Error::new(ErrorKind::Decode, text).at(position).because(why)
        })
    }
}

impl RecordedEvent {
    /// Its data as a value, decoded with bincode's standard configuration.
    ///
    /// # Errors
    /// `Decode` when the data is not of that shape or bytes are left over. Data of another shape
    /// is not always recognised: bincode stores no types.
    pub fn bincode<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T> {
        self.as_ref().bincode()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::types::ContentType;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Measured<'a> {
        meter: u32,
        celsius: Option<f64>,
        place: &'a str,
    }

    fn recorded(data: Vec<u8>) -> EventRef<'static> {
        EventRef {
            position: crate::types::Position::new(9),
            version: crate::types::Version::new(1),
            recorded_at: crate::types::Timestamp::default(),
            layout: crate::types::BodyLayout::default(),
            body: data.leak(),
            hidden: None,
        }
    }

    fn refusal<T: serde::Deserialize<'static> + std::fmt::Debug>(data: &[u8]) -> Error {
        let error = recorded(data.to_vec()).bincode::<T>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
        assert_eq!(error.position().map(crate::types::Position::get), Some(9));
        error
    }

    #[test]
    fn a_value_comes_back_and_may_borrow_from_the_event() {
        let value = Measured { meter: 300, celsius: Some(21.5), place: "cellar" };
        let event = NewEvent::bincode("Measured", &value).unwrap();
        assert_eq!(event.content_type, ContentType::Binary);
        // The standard configuration: 300 as a varint, little-endian.
        assert_eq!(event.data[..4], [251, 44, 1, 1]);
        assert_eq!(recorded(event.data).bincode::<Measured<'_>>().unwrap(), value);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let error = refusal::<u8>(&[7, 0, 0]);
        assert!(error.to_string().contains("2 bytes are left over"), "{error}");
    }

    #[test]
    fn short_and_wrong_data_is_a_typed_error() {
        refusal::<u8>(&[]);
        refusal::<bool>(&[2]);
        refusal::<String>(&[1, 0xff]);
        let whole = NewEvent::bincode("M", &("text", 1_u64, vec![1_u16; 9])).unwrap().data;
        for length in 0..whole.len() {
            refusal::<(String, u64, Vec<u16>)>(&whole[..length]);
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        // A varint of eight bytes: a text of 2^63 bytes, and one of 8 GiB.
        for length in [1_u64 << 63, 8 << 30] {
            let data = [&[253][..], &length.to_le_bytes()].concat();
            refusal::<String>(&data);
            refusal::<Vec<u8>>(&data);
            refusal::<Vec<u64>>(&data);
        }
    }

    #[test]
    fn the_densest_data_of_the_largest_size_decodes() {
        // Small numbers of sixteen bytes each, one byte on disk.
        let value = vec![1_u128; EVENT_DATA_DEFAULT - 5];
        let event = NewEvent::bincode("M", &value).unwrap();
        assert_eq!(event.data.len(), EVENT_DATA_DEFAULT);
        assert_eq!(recorded(event.data).bincode::<Vec<u128>>().unwrap(), value);
    }

    #[test]
    fn what_cannot_be_encoded_is_invalid() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                serde::ser::SerializeSeq::end(to.serialize_seq(None)?)
            }
        }
        let error = NewEvent::bincode("M", &Endless).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
