//! How an event is laid out in a store of keys and values.
//!
//! Knows: keys that sort as streams and versions do. Does not know: which store.

use crate::workload::{EVENT_TYPE, Fact, METADATA};

/// Stream, a zero, version: a stream's events lie beside each other, in order.
pub fn stream_key(stream: &str, version: u64) -> Vec<u8> {
    let mut key = stream.as_bytes().to_vec();
    key.push(0);
    key.extend(version.to_be_bytes());
    key
}

/// Id, lengths, stream, type, metadata, data.
pub fn value(stream: &str, fact: &Fact) -> Vec<u8> {
    let mut value = fact.id.as_bytes().to_vec();
    for part in [stream.as_bytes(), EVENT_TYPE.as_bytes(), METADATA] {
        value.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
        value.extend(part);
    }
    value.extend(&fact.data);
    value
}
