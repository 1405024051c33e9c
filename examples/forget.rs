//! Encrypt what is said of a person, and forget it.
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Expect, Keyring, NewEvent, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::options().keyring(Keyring::beside()).open(dir.path())?;
    let moved = NewEvent::json_text("Moved", r#"{"to": "Turin"}"#).subject("person-17");
    store.append("Person-17", Expect::Any, [moved])?;
    let paid = NewEvent::json_text("InvoicePaid", r#"{"cents": 4200}"#); // of nobody: it stays
    store.append("Person-17", Expect::Any, [paid])?;
    for forget in [false, true] {
        if forget {
            let receipt = store.forget("person-17")?;
            println!("forgot {} up to position {}", receipt.subject, receipt.through);
        }
        for event in store.read_stream("Person-17") {
            let event = event?;
            let data = event.text().unwrap_or("(forgotten)");
            println!("{} {} {data}", event.position(), event.event_type());
        }
    }
    Ok(())
}
