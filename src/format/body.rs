//! Layer 1.3: the body of an event record, laid out so that a reader borrows it without decoding.
//!
//! Knows: the layout, and the limits of every part (checked here, once, on the caller's thread).
//! Does not know: positions and versions, which stand in the record's head.
//!
//! ```text
//!  0  id                16   UUID
//! 16  schema version    u16
//! 18  content           u8   0 = binary, 1 = JSON
//! 19  type length       u8   1 to 255
//! 20  stream length     u16  1 to 1024
//! 22  tag count         u8   0 to 64
//! 23  subject length    u8   0 = no subject
//! 24  metadata length   u32
//! 28  stream, type, tags (each: length u8, bytes), subject, metadata, data to the end of the body
//! ```
//!
//! Data that is encrypted (a flag of the record) is key id 16, nonce 24, ciphertext, tag 16; what
//! binds it to its event is that event's bytes 0 to 22 and 23, its stream, type and subject.

use super::bytes::{Put, Take};
use super::record::{
    ENCRYPTED, RECORD_HEAD_BYTES, Record, RecordKind, flag_record, padded, push_record,
};
use super::stub::layout_of_stub;
use crate::types::{
    BodyLayout, ContentType, DataState, EVENT_TYPE_MAX, Error, EventRef, Limits, METADATA_MAX,
    NewEvent, Position, Result, STREAM_NAME_MAX, SUBJECT_MAX, StreamName, TAG_MAX, TAGS_MAX,
    Timestamp, Version, has_control, json,
};

const FIXED_BYTES: usize = 28;

/// What the writer must know of an encoded event besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventPart {
    pub id: uuid::Uuid,
    /// Where the record begins in the batch's buffer.
    pub start: usize,
}

/// Encrypts data, given what is to be bound to it.
pub(crate) type Seal<'a> = &'a dyn Fn(&[u8], &[u8]) -> Result<Vec<u8>>;

/// What encrypted data is longer than what was given: key id, nonce, tag.
pub(crate) const SEALED_BYTES: usize = 16 + 24 + 16;

/// Checks the event against every limit and lays its record out at the end of `out`.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn encode_event(
    out: &mut Vec<u8>,
    stream: &StreamName,
    event: &NewEvent,
    limits: &Limits,
) -> Result<EventPart> {
    encode_event_with(out, stream, event, limits, None)
}

/// The same, its data encrypted by `seal` if there is one: the data is checked as it was given.
pub(crate) fn encode_event_with(
    out: &mut Vec<u8>,
    stream: &StreamName,
    event: &NewEvent,
    limits: &Limits,
    seal: Option<Seal<'_>>,
) -> Result<EventPart> {
    let metadata = metadata_of(event)?;
    check(event, &metadata, limits)?;
    let sealed = seal.map(|seal| seal(&binding_of_new(stream, event), &event.data)).transpose()?;
    let data = sealed.as_ref().unwrap_or(&event.data);
    let part = EventPart { id: event.id, start: out.len() };
    let tags: usize = event.tags.iter().map(|tag| 1 + tag.len()).sum();
    let names = stream.as_str().len() + event.event_type.len() + tags + event.subject.len();
    let body = FIXED_BYTES + names + metadata.len() + data.len();
    out.reserve(RECORD_HEAD_BYTES + padded(body));
    push_record(out, RecordKind::Event, |out| {
        out.put(event.id.as_bytes());
        out.put_u16(event.schema_version);
        out.put_u8(u8::from(event.content_type == ContentType::Json));
        out.put_u8(length8(&event.event_type));
        out.put_u16(u16::try_from(stream.as_str().len()).unwrap_or(u16::MAX));
        out.put_u8(u8::try_from(event.tags.len()).unwrap_or(u8::MAX));
        out.put_u8(length8(&event.subject));
        out.put_u32(u32::try_from(metadata.len()).unwrap_or(u32::MAX));
        out.put(stream.as_str().as_bytes());
        out.put(event.event_type.as_bytes());
        for tag in &event.tags {
            out.put_u8(length8(tag));
            out.put(tag.as_bytes());
        }
        out.put(event.subject.as_bytes());
        out.put(&metadata);
        out.put(data);
    });
    if let (Some(_), Some(record)) = (&sealed, out.get_mut(part.start..)) {
        flag_record(record, ENCRYPTED);
    }
    Ok(part)
}

/// What encrypted data is bound to: moved to another event it does not decrypt.
struct Binding<'a> {
    id: uuid::Uuid,
    schema_version: u16,
    json: bool,
    stream: &'a str,
    event_type: &'a str,
    subject: &'a str,
}

impl Binding<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.id.as_bytes().to_vec();
        out.put_u16(self.schema_version);
        out.put_u8(u8::from(self.json));
        out.put_u8(length8(self.event_type));
        out.put_u16(u16::try_from(self.stream.len()).unwrap_or(u16::MAX));
        out.put_u8(length8(self.subject));
        for name in [self.stream, self.event_type, self.subject] {
            out.put(name.as_bytes());
        }
        out
    }
}

fn binding_of_new(stream: &StreamName, event: &NewEvent) -> Vec<u8> {
    let binding = Binding {
        id: event.id,
        schema_version: event.schema_version,
        json: event.content_type == ContentType::Json,
        stream: stream.as_str(),
        event_type: &event.event_type,
        subject: &event.subject,
    };
    binding.encode()
}

/// What the data of a recorded event is bound to.
#[cfg(feature = "forget")]
pub(crate) fn binding_of(event: &EventRef<'_>) -> Vec<u8> {
    let binding = Binding {
        id: event.id(),
        schema_version: event.schema_version(),
        json: event.content_type() == ContentType::Json,
        stream: event.stream(),
        event_type: event.event_type(),
        subject: event.subject().unwrap_or_default(),
    };
    binding.encode()
}

/// The event with its data in clear, which `scratch` holds then.
#[cfg(feature = "forget")]
pub(crate) fn with_data<'a>(
    event: EventRef<'a>,
    data: &[u8],
    scratch: &'a mut Vec<u8>,
) -> EventRef<'a> {
    let head = event.body.get(..event.layout.metadata_end as usize).unwrap_or_default();
    scratch.clear();
    scratch.reserve(head.len() + data.len());
    scratch.put(head);
    scratch.put(data);
    let layout = BodyLayout { data: DataState::Clear, ..event.layout };
    EventRef { layout, body: scratch, ..event }
}

fn length8(text: &str) -> u8 {
    u8::try_from(text.len()).unwrap_or(u8::MAX)
}

fn check(event: &NewEvent, metadata: &[u8], limits: &Limits) -> Result<()> {
    within("event type", event.event_type.len(), 1, EVENT_TYPE_MAX)?;
    plain("event type", &event.event_type)?;
    if event.event_type.starts_with('$') {
        return Err(Error::invalid("event types that begin with $ are the store's own"));
    }
    within("event data", event.data.len(), 0, limits.event_data_max)?;
    within("event metadata", metadata.len(), 0, METADATA_MAX)?;
    within("tags of an event", event.tags.len(), 0, TAGS_MAX)?;
    for tag in &event.tags {
        within("tag", tag.len(), 1, TAG_MAX)?;
        plain("tag", tag)?;
    }
    within("subject", event.subject.len(), 0, SUBJECT_MAX)?;
    plain("subject", &event.subject)?;
    if event.content_type == ContentType::Json {
        is_json("event data", &event.data)?;
    }
    if !metadata.is_empty() {
        is_json("event metadata", metadata)?;
    }
    Ok(())
}

fn within(what: &str, given: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what}: {given} given, allowed are {least} to {most}")))
}

fn plain(what: &str, text: &str) -> Result<()> {
    if has_control(text) {
        return Err(Error::invalid(format!("{what} has a control character")));
    }
    Ok(())
}

fn is_json(what: &str, bytes: &[u8]) -> Result<()> {
    json::validate(bytes).map_err(|at| {
        Error::invalid(format!("{what} is not JSON of at most 128 levels (at byte {at})"))
    })
}

/// The metadata with `$correlationId` and `$causationId` put in front where they were set apart.
fn metadata_of(event: &NewEvent) -> Result<std::borrow::Cow<'_, [u8]>> {
    let set = [("$correlationId", &event.correlation), ("$causationId", &event.causation)];
    if set.iter().all(|(_, value)| value.is_none()) {
        return Ok((&event.metadata).into());
    }
    let given = event.metadata.trim_ascii();
    let inner = match given {
        b"" => b"".as_slice(),
        _ => given
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .ok_or_else(|| Error::invalid("metadata must be a JSON object to carry ids"))?
            .trim_ascii(),
    };
    let mut out = b"{".to_vec();
    for (key, value) in set {
        let Some(value) = value else { continue };
        if value.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            return Err(Error::invalid(format!(
                "{key} has a quote, backslash or control character"
            )));
        }
        if json::top_level_string(given, key).is_some_and(|have| have != value) {
            return Err(Error::invalid(format!(
                "{key} is in the metadata already, with another value"
            )));
        }
        out.put(if out.len() > 1 { b"," } else { b"" });
        out.put(format!("\"{key}\":\"{value}\"").as_bytes());
    }
    out.put(if inner.is_empty() { b"" } else { b"," });
    out.put(inner);
    out.put(b"}");
    Ok(out.into())
}

/// The event in a record, or what is left of it; `None` when the bytes are neither, as this code
/// could have written it.
pub(crate) fn decode_event<'a>(record: &Record<'a>) -> Option<EventRef<'a>> {
    if !record.head.is_understood() {
        return None;
    }
    let mut layout = match record.head.kind {
        RecordKind::Event => layout(record.body)?,
        RecordKind::Stub => layout_of_stub(record.body)?,
        _ => return None,
    };
    if record.head.flags & ENCRYPTED != 0 {
        layout.data = DataState::Sealed;
        if record.body.len() < layout.metadata_end as usize + SEALED_BYTES {
            return None;
        }
    }
    Some(EventRef {
        position: Position::new(record.head.position),
        version: Version::new(record.head.version),
        recorded_at: Timestamp::from_micros(record.head.recorded_at),
        layout,
        body: record.body,
        hidden: None,
    })
}

fn layout(body: &[u8]) -> Option<BodyLayout> {
    let mut take = Take(body);
    let id = take.uuid()?;
    let schema_version = take.u16()?;
    let json = match take.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let type_length = u32::from(take.u8()?);
    let stream_length = u32::from(take.u16()?);
    let tag_count = take.u8()?;
    let subject_length = u32::from(take.u8()?);
    let metadata_length = take.u32()?;
    if type_length == 0 || stream_length == 0 || stream_length as usize > STREAM_NAME_MAX {
        return None;
    }
    let stream_start = u32::try_from(FIXED_BYTES).ok()?;
    let stream_end = stream_start + stream_length;
    let type_end = stream_end + type_length;
    let mut tags_end = type_end;
    for _ in 0..tag_count {
        let length = *body.get(tags_end as usize)?;
        tags_end = tags_end.checked_add(1 + u32::from(length))?;
    }
    let subject_end = tags_end.checked_add(subject_length)?;
    let metadata_end = subject_end.checked_add(metadata_length)?;
    let names = body.get(FIXED_BYTES..subject_end as usize)?;
    if metadata_end as usize > body.len()
        || !parts_are_text(names, body, [stream_end, type_end, tags_end])
    {
        return None;
    }
    Some(BodyLayout {
        id,
        schema_version,
        json,
        reclaimed: None,
        stream_start,
        stream_end,
        type_end,
        tags_end,
        subject_end,
        metadata_end,
        data: DataState::Clear,
    })
}

/// Whether every name is UTF-8 on its own: one pass when all is ASCII, which it mostly is.
fn parts_are_text(names: &[u8], body: &[u8], ends: [u32; 3]) -> bool {
    if names.is_ascii() {
        return true;
    }
    let [stream_end, type_end, tags_end] = ends.map(|end| end as usize);
    let subject_end = FIXED_BYTES + names.len();
    let text = |range| body.get(range).is_some_and(|part| std::str::from_utf8(part).is_ok());
    let mut tags = Take(body.get(type_end..tags_end).unwrap_or_default());
    while let Some(length) = tags.u8() {
        if tags.slice(length.into()).is_none_or(|tag| std::str::from_utf8(tag).is_err()) {
            return false;
        }
    }
    text(FIXED_BYTES..stream_end) && text(stream_end..type_end) && text(tags_end..subject_end)
}

#[cfg(test)]
mod tests {
    use super::super::record::patch_record;
    use super::*;
    use proptest::prelude::*;

    fn encode(event: &NewEvent) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        encode_event(&mut out, &StreamName::new("Order-42").unwrap(), event, &Limits::default())?;
        patch_record(&mut out, 1, (10, 2, 30));
        Ok(out)
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        let event = NewEvent::json_text("Placed", "{\"a\": 1.0}")
            .tags(["x:1", "ü"])
            .metadata("{ \"k\" : 1 }")
            .correlation("c-1")
            .subject("ada")
            .schema_version(3);
        let bytes = encode(&event).unwrap();
        let read = decode_event(&Record::decode(&bytes, 1).unwrap()).unwrap();
        assert_eq!((read.position().get(), read.version().get()), (10, 2));
        assert_eq!((read.stream(), read.category()), ("Order-42", Some("Order")));
        assert_eq!((read.event_type(), read.schema_version()), ("Placed", 3));
        assert_eq!(read.tags().collect::<Vec<_>>(), ["x:1", "ü"]);
        assert_eq!((read.subject(), read.data()), (Some("ada"), b"{\"a\": 1.0}".as_slice()));
        assert_eq!(read.metadata(), b"{\"$correlationId\":\"c-1\",\"k\" : 1}");
        assert_eq!((read.correlation(), read.causation()), (Some("c-1"), None));
        assert_eq!((read.id(), read.content_type()), (event.id, ContentType::Json));
    }

    /// What `seal` was given to bind the data to, and the record.
    #[cfg(feature = "forget")]
    fn encode_sealed(stream: &str, event: &NewEvent) -> (Vec<u8>, Vec<u8>) {
        let (mut out, bound) = (Vec::new(), std::cell::RefCell::new(Vec::new()));
        let seal = |binding: &[u8], data: &[u8]| {
            bound.replace(binding.to_vec());
            Ok([&[7; SEALED_BYTES], data].concat())
        };
        let (stream, limits) = (StreamName::new(stream).unwrap(), Limits::default());
        encode_event_with(&mut out, &stream, event, &limits, Some(&seal)).unwrap();
        patch_record(&mut out, 1, (10, 2, 30));
        (bound.into_inner(), out)
    }

    /// Data that is moved to another event, by somebody who makes the checksums true, must not
    /// decrypt there.
    #[cfg(feature = "forget")]
    #[test]
    fn encrypted_data_is_bound_to_everything_that_says_what_it_means() {
        let id = uuid::Uuid::from_u128(5);
        let event = || NewEvent::json_text("Said", "{}").id(id).subject("ada");
        let (bound, bytes) = encode_sealed("Person-ada", &event());
        let record = Record::decode(&bytes, 1).unwrap();
        assert_eq!(record.head.flags, ENCRYPTED);
        let read = decode_event(&record).unwrap();
        assert_eq!(binding_of(&read), bound);
        assert_eq!(read.sealed(), Some(&[&[7; SEALED_BYTES][..], b"{}"].concat()[..]));
        assert_eq!((read.data(), read.text()), (&b""[..], None), "nobody is shown these bytes");
        let mut scratch = Vec::new();
        let opened = with_data(read, b"{}", &mut scratch);
        assert_eq!((opened.data(), opened.subject()), (&b"{}"[..], Some("ada")));
        let others = [
            ("Person-adb", event()),
            ("Person-ada", event().id(uuid::Uuid::from_u128(6))),
            ("Person-ada", event().subject("adb")),
            ("Person-ada", event().schema_version(2)),
            ("Person-ada", NewEvent { content_type: ContentType::Binary, ..event() }),
            ("Person-ada", NewEvent { event_type: "Sad".into(), ..event() }),
            ("Person-a", NewEvent { event_type: "daSaid".into(), ..event() }),
        ];
        for (stream, other) in others {
            assert_ne!(encode_sealed(stream, &other).0, bound, "{stream} {other:?}");
        }
        // Where it stands and what is said about it may change.
        let tagged = event().tag("x").metadata("{}");
        assert_eq!(encode_sealed("Person-ada", &tagged).0, bound);
    }

    #[cfg(feature = "forget")]
    #[test]
    fn an_encrypted_event_without_room_for_what_encrypts_it_is_none() {
        let (_, good) = encode_sealed("Person-ada", &NewEvent::binary("Said", "").subject("ada"));
        let record = Record::decode(&good, 1).unwrap();
        assert!(decode_event(&record).is_some());
        let body = &record.body[..record.body.len() - 1];
        assert!(decode_event(&Record { body, ..record }).is_none());
    }

    #[test]
    fn every_limit_is_refused_with_its_name_and_value() {
        let base = || NewEvent::binary("T", vec![]);
        let table = [
            (NewEvent::binary("", vec![]), "event type: 0 given, allowed are 1 to 255"),
            (NewEvent::binary("x".repeat(256), vec![]), "event type: 256 given"),
            (NewEvent::binary("$x", vec![]), "begin with $"),
            (NewEvent::binary("a\0", vec![]), "control character"),
            (NewEvent::binary("T", vec![0; (1 << 20) + 1]), "event data: 1048577 given"),
            (base().tag(""), "tag: 0 given"),
            (base().tag("x".repeat(256)), "tag: 256 given"),
            (base().tags(vec!["t"; 65]), "tags of an event: 65 given"),
            (base().subject("s".repeat(256)), "subject: 256 given"),
            (base().metadata(vec![b' '; 65537]), "event metadata: 65537 given"),
            (base().metadata("{"), "event metadata is not JSON"),
            (NewEvent::json_text("T", "{]"), "event data is not JSON"),
            (NewEvent::json_text("T", ""), "event data is not JSON"),
            (base().metadata("[]").correlation("c"), "must be a JSON object"),
            (base().correlation("a\"b"), "has a quote"),
            (base().correlation("a\nb"), "control character"),
            (base().metadata("{\"$correlationId\":\"a\"}").correlation("b"), "another value"),
        ];
        for (event, message) in table {
            let error = encode(&event).unwrap_err();
            assert!(error.message().contains(message), "{error} instead of {message}");
        }
        assert!(encode(&base().metadata("{}").correlation("c")).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(layout) = layout(&body) {
                prop_assert!(layout.metadata_end as usize <= body.len());
            }
        }
    }
}
