//! Events for two streams, and a check of a third: all or none.
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Expect, NewEvent, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    store.append("Bank-1", Expect::NoStream, [NewEvent::binary("Opened", "")])?;

    let transfer = |bank| {
        store
            .batch()
            .append("Account-1", Expect::Any, [NewEvent::binary("Withdrawn", "50")])
            .append("Account-2", Expect::Any, [NewEvent::binary("Deposited", "50")])
            .check(bank, Expect::StreamExists)
            .commit()
    };
    for part in transfer("Bank-1")?.streams {
        println!("{} is at version {}", part.stream, part.last);
    }
    let refused = transfer("Bank-2").err().ok_or("there is no such bank")?;
    println!("refused: {refused}");
    println!("events in the store: {}", store.last_position());
    Ok(())
}
