//! A second, read-only handle on the same directory, as another process would have it: it takes no
//! lock, writes nothing, and follows the writer.
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let writer = Store::open(dir.path())?;
    writer.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "1")])?;

    let reader = Store::open_read_only(dir.path())?;
    println!("the reader found {} event", reader.last_position());
    let mut subscription = reader.subscribe(Source::All).start(Start::End)?;
    writer.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "2")])?;
    while let Some(delivery) = subscription.next_timeout(Duration::from_secs(10))? {
        if let Delivery::Event(event) = delivery {
            println!("and then {event:?}");
            return Ok(());
        }
    }
    Err("nothing came".into())
}
