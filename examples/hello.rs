//! Open a store, append an event, read it back.
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Expect, NewEvent, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let placed = NewEvent::json_text("OrderPlaced", r#"{"total": 42}"#);
    let appended = store.append("Order-42", Expect::NoStream, [placed])?;
    println!("position {} is on disk", appended.last);
    for event in store.read_stream("Order-42") {
        let event = event?;
        println!("{} {}", event.event_type(), String::from_utf8_lossy(event.data()));
    }
    Ok(())
}
