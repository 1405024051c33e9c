//! The exchange format's rules, each by an example, and round trips through a store in memory.

use super::*;
use factlog::{ContentType, Expect, NewEvent, RecordedEvent, Store};
use proptest::prelude::*;

fn refused(line: &str) -> String {
    parse(line.as_bytes()).unwrap_err()
}

/// The event as a store gives it back.
fn recorded(event: NewEvent) -> RecordedEvent {
    let store = Store::in_memory().unwrap();
    store.append("S-1", Expect::NoStream, [event]).unwrap();
    store.read_all().into_iter().next().unwrap().unwrap()
}

fn stored(line: &str) -> RecordedEvent {
    recorded(parse(line.as_bytes()).unwrap().event)
}

fn written(event: &RecordedEvent) -> String {
    let mut out = Vec::new();
    write_line(&mut out, event, &|_| true).unwrap();
    String::from_utf8(out).unwrap()
}

/// The line up to what only the store knows.
fn head(line: &str) -> &str {
    line.split(",\"version\":").next().unwrap()
}

const ID: &str = "701c4f0a-de22-531e-951e-3ad8bc4bce71";

#[test]
fn a_line_of_every_key_comes_back_as_it_was() {
    let line = [
        &format!(r#"{{"stream":"S-1","type":"T","id":"{ID}","time":"2016-02-27T16:07:26Z""#),
        r#""data":{"n":1.0,"big":123456789012345678901234567890,"k":1,"k":2, "s":"ä\u00e4"}"#,
        r#""metadata":{"$correlationId":"c", "x":[ ]},"tags":["a","b"],"schema_version":3"#,
    ]
    .join(",");
    let event = stored(&format!("{line}}}"));
    let out = written(&event);
    assert_eq!(head(&out), line);
    assert!(out.contains(r#","version":1,"position":1,"recorded_at":"2"#), "{out}");
    assert!(out.ends_with("Z\"}"), "{out}");
    assert_eq!(event.correlation(), Some("c"));
    let metadata = std::str::from_utf8(event.metadata()).unwrap();
    assert!(metadata.starts_with(r#"{"$time":"2016-02-27T16:07:26Z","$corr"#), "{metadata}");
}

#[test]
fn what_is_absent_stays_absent() {
    let event = stored(&format!(r#"{{"type":"T","id":"{ID}","data":null}}"#));
    assert_eq!(
        head(&written(&event)),
        format!(r#"{{"stream":"S-1","type":"T","id":"{ID}","data":null"#)
    );
    assert_eq!(event.data(), b"null");
}

#[test]
fn bytes_are_base64() {
    let event = stored(r#"{"type":"T","data_base64":"AP8="}"#);
    assert_eq!((event.content_type(), event.data()), (ContentType::Binary, b"\x00\xff".as_slice()));
    assert!(written(&event).contains(r#""data_base64":"AP8=""#));
    let empty = stored(r#"{"type":"T"}"#);
    assert_eq!((empty.content_type(), empty.data()), (ContentType::Binary, b"".as_slice()));
    assert!(written(&empty).contains(r#""data_base64":"""#));
}

#[test]
fn json_with_line_breaks_keeps_its_bytes_beside_its_value() {
    for json in ["{\n  \"a\": 1\r\n}", " [1]", "7\n"] {
        let event = recorded(NewEvent::json_text("T", json).metadata("{\n}"));
        let line = written(&event);
        assert!(!line.contains('\n'), "{line}");
        assert!(line.contains("\"data\":") && line.contains("\"data_base64\":"), "{line}");
        let again = stored(&line);
        assert_eq!((again.data(), again.content_type()), (json.as_bytes(), ContentType::Json));
        assert_eq!(again.metadata(), b"{\n}");
    }
}

#[test]
fn lines_are_refused_with_a_reason() {
    let cases = [
        ("", "not a JSON object"),
        ("[1]", "not a JSON object"),
        (r#"["S","T"]"#, "not a JSON object"),
        ("{", "EOF while parsing"),
        (r#"{"type":"T"} x"#, "trailing characters"),
        (r#"{"stream":"S-1"}"#, "type is missing"),
        (r#"{"type":7}"#, "invalid type: integer `7`"),
        (r#"{"type":"T","id":"7"}"#, "is not a UUID"),
        (r#"{"type":"T","time":"noon"}"#, "is not RFC 3339"),
        (r#"{"type":"T","time":"2016-02-27T16:07:26Z","metadata":[1]}"#, "must be an object"),
        (r#"{"type":"T","time":"2016-02-27T16:07:26Z","metadata":null}"#, "must be an object"),
        (r#"{"type":"T","data_base64":"A"}"#, "data_base64 is not base64"),
        (r#"{"type":"T","metadata_base64":"AP8="}"#, "metadata_base64 is not JSON"),
        (r#"{"type":"T","data":1,"data_base64":"Mg=="}"#, "not the same JSON"),
        (r#"{"type":"T","data":1,"data":2}"#, "duplicate field"),
        (r#"{"type":"T","tags":"a"}"#, "invalid type: string"),
        (r#"{"type":"T","schema_version":65536}"#, "65536"),
        (r#"{"type":"T","data":01}"#, "invalid number"),
    ];
    for (line, reason) in cases {
        let said = refused(line);
        assert!(said.contains(reason), "{line}: {said}");
        assert!(!said.contains("line 1"), "{said}");
    }
    assert!(parse(b"{\"type\":\"\xff\"}").unwrap_err().contains("not UTF-8"));
}

#[test]
fn unknown_keys_and_what_only_the_store_knows_are_ignored() {
    let line = r#"{"type":"T","version":"x","position":-1,"recorded_at":null,"other":{"a":[]}}"#;
    let fact = parse(line.as_bytes()).unwrap();
    assert_eq!((fact.stream, fact.has_id), (None, false));
}

#[test]
fn nothing_for_an_optional_key_is_its_absence() {
    let line = r#"{"type":"T","id":null,"time":null,"tags":null,"schema_version":null}"#;
    let fact = parse(line.as_bytes()).unwrap();
    assert!(!fact.has_id);
}

#[test]
fn only_wanted_keys_are_written() {
    let event = stored(r#"{"type":"T","data":{"a":1}}"#);
    let mut out = Vec::new();
    write_line(&mut out, &event, &|key| key == "data" || key == "position").unwrap();
    assert_eq!(out, br#"{"data":{"a":1},"position":1}"#);
}

#[test]
fn a_cloud_event_is_one_json_object() {
    let event = stored(r#"{"type":"T","time":"2016-02-27T16:07:26Z","data":[1,2]}"#);
    let mut out = Vec::new();
    cloud_event(&mut out, &event).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["specversion"], "1.0");
    assert_eq!(value["time"], "2016-02-27T16:07:26Z");
    assert_eq!(value["data"], serde_json::json!([1, 2]));
}

fn json() -> impl Strategy<Value = String> {
    let blank = "[ \n\r\t]{0,2}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1.0".to_owned()),
        Just("-0".to_owned()),
        "[1-9][0-9]{0,30}(\\.[0-9]{1,4})?(e[+-]?[0-9]{1,3})?",
        "\\PC{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""\u0000\n\\\"\ud83d\ude00""#.to_owned()),
    ];
    let space = blank;
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let members = prop::collection::vec(("[a-c$]{0,2}", space, inner.clone()), 0..4);
        prop_oneof![
            (space, prop::collection::vec(inner, 0..4))
                .prop_map(|(space, items)| format!("[{space}{}]", items.join(","))),
            (space, members).prop_map(|(space, members)| {
                let each =
                    members.iter().map(|(key, gap, value)| format!("\"{key}\":{gap}{value}"));
                format!("{{{space}{}}}", each.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Option<String>> {
    let time = prop_oneof![
        Just(String::new()),
        Just(r#""$time":"2020-01-01T00:00:00Z","#.to_owned()),
        Just(r#""\u0024time":"2020-01-01T00:00:00.5+01:00","#.to_owned()),
        Just(r#""$time":5,"#.to_owned()),
    ];
    let object = (time, json()).prop_map(|(time, value)| format!(r#"{{{time}"m": {value}}}"#));
    prop::option::of(prop_oneof![3 => object, 1 => json()])
}

proptest! {
    /// Whatever was stored: exported, imported and exported again it is the same line, the data are
    /// the same bytes, and the metadata too unless `$time` stood elsewhere than first.
    #[test]
    fn export_is_importable_with_equal_values(
        data in prop_oneof![
            json().prop_map(|json| (true, json.into_bytes())),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| (false, bytes)),
        ],
        metadata in metadata(),
        tags in prop::collection::vec("[^\\p{C}]{1,5}", 0..3),
        schema in any::<u16>(),
    ) {
        let (is_json, data) = data;
        let event = if is_json {
            NewEvent::json_text("Type", data.clone())
        } else {
            NewEvent::binary("Type", data.clone())
        };
        let event = event.tags(tags).schema_version(schema).metadata(metadata.unwrap_or_default());
        let first = recorded(event);
        let line = written(&first);
        prop_assert!(!line.contains('\n'));
        let fact = parse(line.as_bytes()).unwrap();
        prop_assert!(fact.has_id);
        let second = recorded(fact.event);
        let again = written(&second);
        prop_assert_eq!(head(&again), head(&line));
        prop_assert_eq!(second.data(), first.data());
        prop_assert_eq!(second.content_type(), first.content_type());
        prop_assert_eq!(second.id(), first.id());
        let values = |event: &RecordedEvent| -> Option<serde_json::Value> {
            serde_json::from_slice(event.metadata()).ok()
        };
        prop_assert_eq!(values(&second), values(&first));
    }
}

/// The corpus of the fuzz target `import`, and every line of it cut and bent.
#[test]
fn the_import_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/import");
    let mut taken = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let line = std::fs::read(entry.unwrap().path()).unwrap();
        taken += usize::from(parse(&line).is_ok());
        for at in 0..line.len() {
            fuzzing::import(&line[..at]);
            for byte in [b'"', b'\\', b'{', b',', b'0', b' ', b'\n', 0xC3] {
                let mut bent = line.clone();
                bent[at] = byte;
                fuzzing::import(&bent);
            }
        }
        fuzzing::import(&line);
    }
    assert!(taken >= 2, "the seeds are lines");
}
