//! Typed events: what is stored of them, what is read back, and what is refused.

use factlog::{
    Codec, ContentType, ErrorKind, Event, EventType, Expect, NewEvent, Prognosis, Query,
    RecordedEvent, Store, Upcast,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(category = "Shape", upcasts = UPCASTS)]
#[serde(rename_all = "kebab-case")]
enum Shape {
    Unit,
    Newtype(Point),
    #[serde(rename = "other words")]
    Tuple(i32, #[tag("label")] String),
    #[event(name = "Polygon", version = 3)]
    Struct {
        #[tag]
        id: u64,
        #[tag("corner")]
        corners: Vec<String>,
        #[tag]
        #[subject]
        owner: Option<String>,
        #[serde(default)]
        filled: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "PointDrawn", version = 2)]
struct Point {
    #[tag]
    x: i32,
    y: i32,
}

const UPCASTS: &[Upcast] = &[
    Upcast::renamed("Area", 1, "Polygon", 1),
    Upcast::json("Polygon", 1, |mut data| {
        data["corners"] = serde_json::json!(["a"]);
        Ok(data)
    }),
    Upcast::json("Polygon", 2, |mut data| {
        data["owner"] = serde_json::json!(null);
        Ok(data)
    }),
];

fn polygon() -> Shape {
    let corners = vec!["a".into(), "b".into()];
    Shape::Struct { id: 7, corners, owner: Some("ada".into()), filled: true }
}

fn shapes() -> Vec<Shape> {
    vec![Shape::Unit, Shape::Newtype(Point { x: 1, y: 2 }), Shape::Tuple(5, "x".into()), polygon()]
}

fn stored<E: Event>(event: &E) -> RecordedEvent {
    let store = Store::options().subjects_in_clear(true).in_memory().unwrap();
    store.append("Shape-1", Expect::Any, [NewEvent::of(event).unwrap()]).unwrap();
    store.last_event("Shape-1").unwrap().unwrap()
}

#[test]
fn the_data_is_what_the_variant_holds_and_the_type_stands_beside_it() {
    let texts: Vec<_> = shapes()
        .iter()
        .map(|shape| {
            let event = stored(shape);
            format!("{} {}", event.event_type(), event.text().unwrap())
        })
        .collect();
    assert_eq!(
        texts,
        [
            r#"Unit {}"#,
            r#"Newtype {"x":1,"y":2}"#,
            r#"Tuple [5,"x"]"#,
            r#"Polygon {"id":7,"corners":["a","b"],"owner":"ada","filled":true}"#,
        ]
    );
}

#[test]
fn every_shape_of_a_variant_comes_back() {
    for shape in shapes() {
        assert_eq!(stored(&shape).decode::<Shape>().unwrap(), Some(shape));
    }
    let point = Point { x: 1, y: 2 };
    assert_eq!(stored(&point).decode::<Point>().unwrap(), Some(point));
}

#[test]
fn tags_subject_and_schema_version_are_told_to_the_store() {
    let event = stored(&polygon());
    let tags: Vec<_> = event.tags().collect();
    assert_eq!(tags, ["id:7", "corner:a", "corner:b", "owner:ada"]);
    assert_eq!((event.subject(), event.schema_version()), (Some("ada"), 3));
    assert_eq!(polygon().stream().as_deref(), Some("Shape-7"));
    assert_eq!(stored(&shapes()[2]).tags().collect::<Vec<_>>(), ["label:x"]);
    assert_eq!(Shape::Unit.stream(), None);
    let point = stored(&Point { x: 1, y: 2 });
    assert_eq!((point.event_type(), point.schema_version()), ("PointDrawn", 2));
}

fn append(store: &Store, event_type: &str, schema_version: u16, data: &str) {
    let event = NewEvent::json_text(event_type, data).schema_version(schema_version);
    store.append("Shape-1", Expect::Any, [event]).unwrap();
}

fn refusal(event_type: &str, schema_version: u16, data: &str) -> String {
    let store = Store::in_memory().unwrap();
    append(&store, event_type, schema_version, data);
    let error = store.read_stream("Shape-1").typed::<Shape>().values().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert_eq!(error.position().map(factlog::Position::get), Some(1));
    assert_eq!(error.stream(), Some("Shape-1"));
    error.to_string()
}

#[test]
fn what_cannot_be_read_says_why() {
    for (event_type, version, data, why) in [
        ("Polygon", 4, "{}", "schema version 4 is newer than version 3, which this code knows"),
        ("Unit", 2, "{}", "schema version 2 is newer than version 1"),
        ("Area", 2, "{}", "no upcaster leads from schema version 2 of Area"),
        ("Polygon", 3, "{}", "missing field `id`"),
        ("Circle", 1, "{}", "is of type Circle, which"),
        ("Tuple", 1, "[1]", "does not decode"),
        ("Unit", 1, "7", "does not decode"),
    ] {
        let said = refusal(event_type, version, data);
        assert!(said.contains(why), "{event_type}: {said}");
    }
}

#[test]
fn upcasters_are_chained_in_every_read() {
    let store = Store::in_memory().unwrap();
    append(&store, "Area", 1, r#"{"id":1}"#);
    append(&store, "Polygon", 2, r#"{"id":2,"corners":["z"]}"#);
    let wanted = [
        Shape::Struct { id: 1, corners: vec!["a".into()], owner: None, filled: false },
        Shape::Struct { id: 2, corners: vec!["z".into()], owner: None, filled: false },
    ];
    assert_eq!(store.read_all().typed::<Shape>().values().unwrap(), wanted);
    assert_eq!(store.read_category("Shape").typed::<Shape>().values().unwrap(), wanted);
    // The query finds the old name too.
    assert_eq!(store.read(Query::of::<Shape>()).typed::<Shape>().values().unwrap(), wanted);
}

#[test]
fn unknown_types_are_refused_or_skipped_by_choice() {
    let store = Store::in_memory().unwrap();
    append(&store, "Circle", 1, "{}");
    append(&store, "Unit", 1, "{}");
    assert!(store.read_all().typed::<Shape>().values().is_err());
    let known = store.read_all().typed::<Shape>().skip_unknown().values().unwrap();
    assert_eq!(known, [Shape::Unit]);
}

#[test]
fn a_variant_that_lost_its_fields_still_reads_its_old_events() {
    let store = Store::in_memory().unwrap();
    append(&store, "Unit", 1, r#"{"reason":{"was":["once",1]}}"#);
    assert_eq!(store.read_all().typed::<Shape>().values().unwrap(), [Shape::Unit]);
}

#[test]
fn data_of_another_codec_is_refused() {
    let store = Store::in_memory().unwrap();
    store.append("Shape-1", Expect::Any, [NewEvent::binary("Unit", "{}")]).unwrap();
    let error = store.read_all().typed::<Shape>().values().unwrap_err();
    assert!(error.to_string().contains("it is Binary, not Json"), "{error}");
}

#[test]
fn the_doctor_says_what_will_not_decode_and_where() {
    let store = Store::in_memory().unwrap();
    append(&store, "Area", 1, r#"{"id":1}"#);
    append(&store, "Polygon", 3, r#"{"id":"not a number"}"#);
    append(&store, "Circle", 1, "{}");
    append(&store, "Polygon", 9, "{}");
    append(&store, "Area", 1, r#"{"id":2}"#);
    store.append("Shape-1", Expect::Any, [NewEvent::binary("Unit", "")]).unwrap();
    let report = store.doctor().knows::<Shape>().examine().unwrap();
    let told: Vec<_> = report.stored.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "Area 1 (Json), 2 events at positions 1 to 5: reads, upcast in 3 steps",
            "Polygon 3 (Json), 1 events at positions 2 to 2: reads",
            "Circle 1 (Json), 1 events at positions 3 to 3: unknown type",
            "Polygon 9 (Json), 1 events at positions 4 to 4: newer than schema version 3",
            "Unit 1 (Binary), 1 events at positions 6 to 6: the code reads Json",
        ]
    );
    assert_eq!(report.never_stored, [EventType::new("Newtype", 1), EventType::new("Tuple", 1)]);
    assert!(!report.is_healthy());
    let error = store.doctor().knows::<Shape>().check().unwrap_err();
    assert_eq!((error.kind(), error.position().map(|at| at.get())), (ErrorKind::Decode, Some(3)));
    // Only the data itself shows that an event of a known version does not decode.
    let deep = store.doctor().knows::<Shape>().decode_all().examine().unwrap();
    let Prognosis::Fails { events: 1, first } = &deep.stored[1].prognosis else {
        panic!("{deep}");
    };
    assert_eq!(first.position().map(|at| at.get()), Some(2));
}

#[test]
fn a_healthy_store_passes_the_doctor() {
    let store = Store::in_memory().unwrap();
    append(&store, "Unit", 1, "{}");
    store.doctor().knows::<Point>().knows::<Shape>().decode_all().check().unwrap();
    assert!(store.doctor().knows::<Point>().check().is_err());
}

/// Bytes of its own: what a codec brought along has to do.
struct Reversed;

impl Codec for Reversed {
    const CONTENT_TYPE: ContentType = ContentType::Binary;

    fn encode<T: Serialize + ?Sized>(value: &T) -> factlog::Result<Vec<u8>> {
        let mut data = factlog::Json::encode(value)?;
        data.reverse();
        Ok(data)
    }

    fn decode<'de, S: serde::de::DeserializeSeed<'de>>(
        seed: S,
        data: &'de [u8],
    ) -> factlog::Result<S::Value> {
        let data: Vec<u8> = data.iter().rev().copied().collect();
        let value = factlog::Json::decode(std::marker::PhantomData::<serde_json::Value>, &data)?;
        // A value that owns what it holds can be read from a value that does.
        seed.deserialize(value)
            .map_err(|error| factlog::Error::new(ErrorKind::Decode, error.to_string()))
    }
}

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(codec = Reversed)]
enum Strange {
    Said { word: String },
}

#[test]
fn a_codec_of_ones_own_is_used_both_ways() {
    let said = Strange::Said { word: "hello".into() };
    let event = stored(&said);
    assert_eq!(event.data(), br#"}"olleh":"drow"{"#);
    assert_eq!(event.decode::<Strange>().unwrap(), Some(said));
}

#[cfg(feature = "bincode")]
#[test]
fn every_shape_comes_back_from_bincode() {
    #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
    #[event(codec = factlog::Bincode)]
    enum Compact {
        Unit,
        Newtype(u64),
        Tuple(u8, String),
        Struct { id: u64, name: Option<String> },
    }
    for value in [
        Compact::Unit,
        Compact::Newtype(300),
        Compact::Tuple(1, "x".into()),
        Compact::Struct { id: 1, name: None },
    ] {
        let event = stored(&value);
        assert!(event.data().len() <= 3, "{value:?}");
        assert_eq!(event.decode::<Compact>().unwrap(), Some(value));
    }
}

#[test]
fn a_typed_event_is_appended_as_it_is_also_in_a_batch() {
    let store = Store::options().subjects_in_clear(true).in_memory().unwrap();
    store.append("Shape-1", Expect::NoStream, shapes()).unwrap();
    let batch = store.batch().append("Shape-2", Expect::NoStream, [polygon()]);
    batch.append("Shape-3", Expect::Any, vec![Shape::Unit]).commit().unwrap();
    let both = shapes().into_iter().chain([polygon(), Shape::Unit]).collect::<Vec<_>>();
    assert_eq!(store.read_all().typed::<Shape>().values().unwrap(), both);
    let tags: Vec<String> = polygon().tags();
    let last = store.last_event("Shape-2").unwrap().unwrap();
    assert_eq!(last.tags().collect::<Vec<_>>(), tags);
}
