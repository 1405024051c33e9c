//! Layer 7.7: bodies of events, names, JSON and queries.
//!
//! Knows: what must hold for every input. Does not know: which inputs there are.

use super::input::Input;
use crate::api::Store;
use crate::disk::MemDisk;
use crate::format::{
    FileName, Record, RecordHead, RecordKind, decode_event, encode_event, head_in_frame, name_of,
    push_stub,
};
use crate::sync::Arc;
use crate::types::{
    ContentType, Expect, Limits, NewEvent, Position, Query, QueryItem, STREAM_NAME_MAX, StreamName,
    json,
};
use uuid::Uuid;

/// Any bytes as the body of an event: what decodes and is within the limits comes back, encoded, as
/// the same bytes.
pub fn event(body: &[u8]) {
    let head = RecordHead {
        kind: RecordKind::Event,
        flags: 0,
        body_length: u32::try_from(body.len()).unwrap_or(u32::MAX),
        position: 1,
        version: 1,
        recorded_at: 1,
        body_crc: 0,
        head_crc: 0,
    };
    let flagged = RecordHead { flags: 1, ..head };
    assert!(decode_event(&Record { head: flagged, body }).is_none(), "an unknown flag is served");
    stub(head, body);
    let Some(event) = decode_event(&Record { head, body }) else { return };
    let parts = event.stream().len() + event.metadata().len() + event.data().len();
    assert!(parts < body.len(), "parts longer than the whole");
    let owned = event.to_owned();
    assert_eq!((owned.stream(), owned.data()), (event.stream(), event.data()));
    assert_eq!((owned.correlation(), owned.causation()), (event.correlation(), event.causation()));
    let new = NewEvent {
        id: event.id(),
        event_type: event.event_type().to_owned(),
        content_type: event.content_type(),
        data: event.data().to_vec(),
        metadata: event.metadata().to_vec(),
        correlation: None,
        causation: None,
        tags: event.tags().map(str::to_owned).collect(),
        schema_version: event.schema_version(),
        subject: event.subject().unwrap_or_default().to_owned(),
    };
    let Ok(stream) = StreamName::new(event.stream()) else { return };
    let mut out = Vec::new();
    if encode_event(&mut out, &stream, &new, &Limits::default()).is_ok() {
        assert_eq!(out.get(40..40 + body.len()), Some(body), "an event changed on the way");
        if new.content_type == ContentType::Json {
            assert!(json::validate(&new.data).is_ok());
        }
    }
}

/// The same bytes as a stub: names and no contents, and laid out again the same bytes.
fn stub(head: RecordHead, body: &[u8]) {
    let record = Record { head: RecordHead { kind: RecordKind::Stub, ..head }, body };
    let Some(event) = decode_event(&record) else { return };
    let contents = event.tags().count() + event.metadata().len() + event.data().len();
    assert_eq!((contents, event.subject()), (0, None), "a stub with contents");
    let stands_for = event.reclaimed().zip(head_in_frame(&record));
    assert!(stands_for.is_some(), "a stub that stands for nothing");
    let Some((why, head_crc)) = stands_for else { return };
    let stood_there = Record { head: RecordHead { head_crc, ..head }, body };
    let mut out = Vec::new();
    push_stub(&mut out, (&stood_there, &event), why, 7);
    assert_eq!(out.get(40..40 + body.len()), Some(body), "a stub changed on the way");
}

/// Text as a stream name, a file name and JSON; numbers as a file name and back.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let legal = (1..=STREAM_NAME_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    let name = StreamName::new(&*text);
    assert_eq!(name.is_ok(), legal, "{text:?}");
    if let Some(category) = name.ok().and_then(|name| name.category().map(str::to_owned)) {
        assert!(text.starts_with(&format!("{category}-")) && !category.contains('-'));
    }
    if let Some(file) = FileName::parse(&text) {
        assert_eq!(name_of(file), text, "a file name is exact");
        assert!(!text.contains(['/', '\\', '\0']), "a name that leads out of the directory");
    }
    let mut input = Input(bytes);
    let (number, offset) = (input.number64(), u64::from(input.number16()));
    for file in [
        FileName::Segment(number),
        FileName::Sidecar(number),
        FileName::SetAside(number, offset, u32::from(input.number16())),
    ] {
        assert_eq!(FileName::parse(&name_of(file)), Some(file));
    }
    json_agrees(bytes);
}

/// JSON is what `serde_json` takes for JSON, and a member that is found is in it.
#[cfg(feature = "json")]
fn json_agrees(bytes: &[u8]) {
    let ours = json::validate(bytes);
    let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(bytes);
    let utf8 = std::str::from_utf8(bytes).is_ok();
    if utf8 {
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert!(utf8 || ours.is_err(), "JSON is UTF-8");
    if ours.is_err() {
        return;
    }
    let Some(found) = json::top_level_string(bytes, "k") else { return };
    let theirs: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let theirs = theirs.as_ref().and_then(|value| value.get("k")?.as_str());
    assert!(theirs.is_none_or(|theirs| theirs == found), "{found:?} is {theirs:?}");
}

#[cfg(not(feature = "json"))]
fn json_agrees(bytes: &[u8]) {
    let _ = (json::validate(bytes), json::top_level_string(bytes, "k"));
}

const TYPES: [&str; 3] = ["Placed", "Paid", "Sent"];
const TAGS: [&str; 4] = ["a", "b", "c", "d"];
const STREAMS: [&str; 4] = ["Order-1", "Order-2", "Cart-1", "plain"];

/// Events and queries, both from the input: indexes answer what looking at every event answers.
pub fn query(bytes: &[u8]) {
    let mut input = Input(bytes);
    let options = Store::options().background_threads(false).segment_bytes(16 << 10);
    let Ok(store) = options.open_on(Arc::new(MemDisk::new())) else { return };
    for number in 0..=input.below(12) {
        let stream = input.pick(&STREAMS).copied().unwrap_or_default();
        let large = if input.below(16) == 0 { 6_000 } else { 8 };
        let mut event = NewEvent::binary(text(&mut input, &TYPES), vec![number; large]);
        for _ in 0..input.below(4) {
            event = event.tag(text(&mut input, &TAGS));
        }
        if input.below(3) == 0 {
            event = event.correlation(input.below(2));
        }
        let event = event.id(Uuid::from_u128(u128::from(number) + 1));
        let _ = store.append(stream, Expect::Any, [event]);
    }
    while !input.is_empty() {
        ask(&store, &mut input);
    }
}

/// Mostly one of these, at times any text.
fn text(input: &mut Input<'_>, all: &[&str]) -> String {
    match input.below(32) {
        0 => String::from_utf8_lossy(input.bytes()).into_owned(),
        number => all.get(usize::from(number) % all.len()).copied().unwrap_or_default().into(),
    }
}

fn ask(store: &Store, input: &mut Input<'_>) {
    let mut query = Query::default();
    for _ in 0..input.below(3) {
        let mut item = QueryItem::new();
        for _ in 0..input.below(3) {
            item = item.of_type(text(input, &TYPES));
        }
        for _ in 0..input.below(3) {
            item = item.tag(text(input, &TAGS));
        }
        if input.below(4) == 0 {
            item = item.correlation(input.below(2));
        }
        query = query.or(item);
    }
    let after = Position::new(u64::from(input.below(14)));
    let Ok(all) = store.read_all().to_vec() else { return };
    let matching = all.iter().filter(|event| query.matches(&event.as_ref()));
    let wanted: Vec<Position> = matching.map(|event| event.position()).collect();
    let valid = query.check().is_ok();
    let read = store.read(query.clone());
    let found = |read: crate::api::Read| {
        let events = read.to_vec();
        assert_eq!(events.is_ok(), valid, "{query:?}");
        events.unwrap_or_default().iter().map(|event| event.position()).collect::<Vec<_>>()
    };
    if !valid {
        assert!(found(read).is_empty());
        return;
    }
    assert_eq!(found(read.clone()), wanted, "{query:?}");
    let mut backward = found(read.clone().backward());
    backward.reverse();
    assert_eq!(backward, wanted, "{query:?} backward");
    let above: Vec<_> = wanted.iter().copied().filter(|position| *position > after).collect();
    assert_eq!(found(read.after(after)), above, "{query:?} after {after}");
    // A condition is judged against the same events.
    if after <= store.last_position() {
        let judged = store.batch().condition(query.clone(), after).commit();
        assert_eq!(judged.is_ok(), above.is_empty(), "{query:?} after {after}");
    }
}
