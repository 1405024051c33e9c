//! A recorded event written as a line of the exchange format, or as a CloudEvent.
//!
//! Knows: the order of the keys and what is left out. Does not know: where the line goes.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use factlog::{ContentType, RecordedEvent};
use serde::Serialize;

use super::{fits_a_line, moment, on_one_line};
use crate::times::rfc3339;

/// The keys that a line may have, in the order in which they are written.
pub const KEYS: [&str; 17] = [
    "stream",
    "type",
    "id",
    "time",
    "forgotten",
    "unreadable",
    "data",
    "data_base64",
    "metadata",
    "metadata_base64",
    "tags",
    "subject",
    "in_clear",
    "schema_version",
    "version",
    "position",
    "recorded_at",
];

/// Writes the event as one JSON object without its line break, with those keys that `wants` wants.
///
/// # Errors
/// What `out` says.
pub fn write_line(
    out: &mut impl Write,
    event: &RecordedEvent,
    wants: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    let mut object = Object { out, wants, first: true };
    object.out.write_all(b"{")?;
    object.value("stream", event.stream())?;
    object.value("type", event.event_type())?;
    object.value("id", &event.id().hyphenated().to_string())?;
    let metadata = std::str::from_utf8(event.metadata());
    let (time, kept) = metadata.ok().and_then(moment::take).unzip();
    if let Some(time) = time {
        object.value("time", &time)?;
    }
    match (event.readable(), event.content_type(), std::str::from_utf8(event.data())) {
        (Err(_), ..) if event.is_forgotten() => object.value("forgotten", &true)?,
        (Err(why), ..) => object.value("unreadable", why.message())?,
        (Ok(()), ContentType::Json, Ok(json)) => object.json("data", "data_base64", json)?,
        _ => object.value("data_base64", &STANDARD.encode(event.data()))?,
    }
    match (kept, metadata) {
        (Some(Some(rest)), _) => object.json("metadata", "metadata_base64", &rest)?,
        (Some(None), _) | (None, Ok("")) => {}
        (None, Ok(whole)) => object.json("metadata", "metadata_base64", whole)?,
        (None, Err(_)) => object.value("metadata_base64", &STANDARD.encode(event.metadata()))?,
    }
    object.rest(event)?;
    out.write_all(b"}")
}

struct Object<'a, W> {
    out: &'a mut W,
    wants: &'a dyn Fn(&str) -> bool,
    first: bool,
}

impl<W: Write> Object<'_, W> {
    /// Writes comma and key, if this key is wanted.
    fn key(&mut self, key: &str) -> io::Result<bool> {
        if !(self.wants)(key) {
            return Ok(false);
        }
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        write!(self.out, "{comma}\"{key}\":")?;
        Ok(true)
    }

    fn value<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> io::Result<()> {
        if self.key(key)? {
            serde_json::to_writer(&mut *self.out, value)?;
        }
        Ok(())
    }

    /// JSON as it is; when a line cannot hold it, on one line, and its exact bytes as well.
    fn json(&mut self, key: &str, exact_key: &str, json: &str) -> io::Result<()> {
        if fits_a_line(json) {
            if self.key(key)? {
                self.out.write_all(json.as_bytes())?;
            }
            return Ok(());
        }
        if self.key(key)? {
            self.out.write_all(on_one_line(json).trim_ascii().as_bytes())?;
        }
        self.value(exact_key, &STANDARD.encode(json))
    }

    fn rest(&mut self, event: &RecordedEvent) -> io::Result<()> {
        let tags: Vec<&str> = event.tags().collect();
        if !tags.is_empty() {
            self.value("tags", &tags)?;
        }
        if let Some(subject) = event.subject() {
            self.value("subject", subject)?;
            if event.is_in_clear() {
                self.value("in_clear", &true)?;
            }
        }
        if event.schema_version() != 1 {
            self.value("schema_version", &event.schema_version())?;
        }
        self.value("version", &event.version().get())?;
        self.value("position", &event.position().get())?;
        self.value("recorded_at", &rfc3339(event.recorded_at()))
    }
}

/// Writes the event as a CloudEvent 1.0 in its JSON form, without a line break.
///
/// # Errors
/// What `out` says.
pub fn cloud_event(out: &mut impl Write, event: &RecordedEvent) -> io::Result<()> {
    let mut object = Object { out, wants: &|_| true, first: true };
    object.out.write_all(b"{")?;
    object.value("specversion", "1.0")?;
    object.value("id", &event.id().hyphenated().to_string())?;
    object.value("source", "factlog")?;
    object.value("subject", event.stream())?;
    object.value("type", event.event_type())?;
    let metadata = std::str::from_utf8(event.metadata()).ok();
    let happened = metadata.and_then(moment::take).map(|(time, _)| time);
    object.value("time", &happened.unwrap_or_else(|| rfc3339(event.recorded_at())))?;
    if let Some(correlation) = event.correlation() {
        object.value("correlationid", correlation)?;
    }
    if let Some(causation) = event.causation() {
        object.value("causationid", causation)?;
    }
    object.value("streamversion", &event.version().get().to_string())?;
    object.value("sequence", &format!("{:020}", event.position().get()))?;
    match (event.content_type(), std::str::from_utf8(event.data())) {
        // An extension's name is of small letters.
        _ if event.is_forgotten() => object.value("forgotten", &true)?,
        _ if event.readable().is_err() => object.value("unreadable", &true)?,
        (ContentType::Json, Ok(json)) => {
            object.value("datacontenttype", "application/json")?;
            if object.key("data")? {
                object.out.write_all(on_one_line(json).trim_ascii().as_bytes())?;
            }
        }
        _ => {
            object.value("datacontenttype", "application/octet-stream")?;
            object.value("data_base64", &STANDARD.encode(event.data()))?;
        }
    }
    out.write_all(b"}")
}
