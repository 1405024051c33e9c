//! The body of the fuzz target `import`: any bytes as a line of the exchange format.
//!
//! Knows: what must hold for every line. Does not know: fuzzers; `fuzz/fuzz_targets/import.rs`
//! holds this file too.

use factlog::{ContentType, Expect, RecordedEvent, Store};

use super::{parse, write_line};

/// What a line that is taken makes of an event is, written out again, taken for the same event.
pub fn import(line: &[u8]) {
    let Ok(fact) = parse(line) else { return };
    let options = || Store::options().background_threads(false).subjects_in_clear(true);
    let Ok(store) = options().in_memory() else { return };
    let stream = fact.stream.clone().unwrap_or_else(|| "Import-1".into());
    let id = fact.event.event_id();
    // A line says more than a store takes: limits are the store's.
    if store.append(&*stream, Expect::NoStream, [fact.event]).is_err() {
        return;
    }
    let Ok(Some(event)) = store.event(id) else { return };
    let mut out = Vec::new();
    let written = write_line(&mut out, &event, &|_| true);
    assert!(written.is_ok(), "an event that cannot be written out");
    let text = out.strip_suffix(b"\n").unwrap_or(&out);
    assert!(!text.contains(&b'\n') && !text.contains(&b'\r'), "more than one line");
    let again = parse(text);
    assert!(again.is_ok(), "{:?}: {:?}", again.err(), String::from_utf8_lossy(&out));
    let Ok(again) = again else { return };
    assert_eq!((again.stream.as_deref(), again.has_id), (Some(&*stream), true));
    let Ok(other) = options().in_memory() else { return };
    let stored = other.append(&*stream, Expect::NoStream, [again.event]);
    assert!(stored.is_ok(), "{:?}", stored.err());
    let Ok(Some(back)) = other.event(id) else { return };
    assert_eq!(parts(&back), parts(&event), "{}", String::from_utf8_lossy(&out));
}

type Parts<'a> = (&'a str, ContentType, &'a [u8], &'a [u8], Vec<&'a str>, Option<&'a str>, u16);

fn parts(event: &RecordedEvent) -> Parts<'_> {
    (
        event.event_type(),
        event.content_type(),
        event.data(),
        event.metadata(),
        event.tags().collect(),
        event.subject(),
        event.schema_version(),
    )
}
