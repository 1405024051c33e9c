//! A line of the exchange format read into an event.
//!
//! Knows: the keys, and what makes a line refusable by itself. Does not know: the store's limits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use factlog::NewEvent;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{moment, on_one_line};
use crate::times::is_rfc3339;

/// What a line says.
#[derive(Debug, Clone)]
pub struct Fact {
    /// The stream it names, if any.
    pub stream: Option<String>,
    /// The event.
    pub event: NewEvent,
    /// Whether the line gave the event its id.
    pub has_id: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    stream: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    id: Option<String>,
    time: Option<String>,
    #[serde(borrow, default, deserialize_with = "also_null")]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "also_null")]
    metadata: Option<&'a RawValue>,
    metadata_base64: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    subject: Option<String>,
    schema_version: Option<u16>,
    #[serde(default)]
    forgotten: bool,
    unreadable: Option<String>,
}

/// `null` is a value here, not an absence.
fn also_null<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(reader).map(Some)
}

/// Reads one line.
///
/// # Errors
/// One sentence: why the line is refused.
pub fn parse(line: &[u8]) -> Result<Fact, String> {
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 (at byte {})", error.valid_up_to() + 1))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err("not a JSON object".into());
    }
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| said(&error))?;
    if wire.forgotten {
        return Err("its data was forgotten where it was exported".into());
    }
    if let Some(why) = wire.unreadable {
        return Err(format!("its data could not be read where it was printed: {why}"));
    }
    let event_type = wire.event_type.ok_or("type is missing")?;
    let id = wire.id.map(|id| id_of(&id)).transpose()?;
    let data = value("data", wire.data, wire.data_base64.as_deref())?;
    let metadata = value("metadata", wire.metadata, wire.metadata_base64.as_deref())?;
    let metadata = match (metadata, wire.time) {
        (metadata, Some(time)) => Some(metadata_with_time(metadata.map(Bytes::into), &time)?),
        (Some(metadata), None) => Some(json_of(metadata.into())?),
        (None, None) => None,
    };
    let mut event = match data {
        Some(Bytes::Json(json)) => NewEvent::json_text(event_type, json),
        Some(Bytes::Binary(bytes)) => NewEvent::binary(event_type, bytes),
        None => NewEvent::binary(event_type, Vec::new()),
    };
    event = event.tags(wire.tags.unwrap_or_default());
    event = event.schema_version(wire.schema_version.unwrap_or(1));
    if let Some(metadata) = metadata {
        event = event.metadata(metadata);
    }
    if let Some(subject) = wire.subject {
        event = event.subject(subject);
    }
    if let Some(id) = id {
        event = event.id(id);
    }
    Ok(Fact { stream: wire.stream, event, has_id: id.is_some() })
}

/// Metadata that keeps when the fact happened.
///
/// # Errors
/// One sentence, when `time` is no time or the metadata cannot keep it.
pub fn metadata_with_time(metadata: Option<Vec<u8>>, time: &str) -> Result<Vec<u8>, String> {
    if !is_rfc3339(time) {
        return Err(format!("time {time:?} is not RFC 3339 (2016-02-27T16:07:26Z)"));
    }
    let metadata = metadata.map(String::from_utf8).transpose();
    let metadata = metadata.map_err(|_| "metadata is not UTF-8")?;
    moment::put(metadata.as_deref(), time).map(Into::into)
}

enum Bytes {
    Json(Vec<u8>),
    Binary(Vec<u8>),
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        match bytes {
            Bytes::Json(bytes) | Bytes::Binary(bytes) => bytes,
        }
    }
}

/// The value under `key` and `key_base64`: both together are JSON and its exact bytes.
fn value(
    key: &str,
    json: Option<&RawValue>,
    base64: Option<&str>,
) -> Result<Option<Bytes>, String> {
    let decode = |text: &str| {
        STANDARD.decode(text).map_err(|error| format!("{key}_base64 is not base64: {error}"))
    };
    Ok(match (json, base64) {
        (None, None) => None,
        (Some(json), None) => Some(Bytes::Json(json.get().into())),
        (None, Some(text)) => Some(Bytes::Binary(decode(text)?)),
        (Some(json), Some(text)) => {
            let exact = decode(text)?;
            let same = std::str::from_utf8(&exact)
                .is_ok_and(|exact| on_one_line(exact).trim_ascii() == json.get());
            if !same {
                return Err(format!("{key} and {key}_base64 are not the same JSON"));
            }
            Some(Bytes::Json(exact))
        }
    })
}

fn json_of(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    match serde_json::from_slice::<&RawValue>(&bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err("metadata_base64 is not JSON, and metadata must be".into()),
    }
}

fn id_of(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| format!("id {text:?} is not a UUID"))
}

/// What serde says, with the place within the line.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    match error.column() {
        0 => what.to_owned(),
        column => format!("{what} (at byte {column})"),
    }
}
