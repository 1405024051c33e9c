//! A thread that follows the store: first what is there, then what comes.
#![allow(clippy::print_stdout, reason = "an example")]

use std::thread;

use factlog::{Delivery, Expect, NewEvent, Position, Source, Start, Store, Subscription};

fn follow(mut subscription: Subscription) -> factlog::Result<Position> {
    loop {
        match subscription.next()? {
            Delivery::Event(event) => {
                println!("{} {}", event.position(), event.event_type());
                if event.event_type() == "Stopped" {
                    return Ok(subscription.position());
                }
            }
            Delivery::CaughtUp(position) => println!("caught up at {position}"),
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    store.append("Clock-1", Expect::Any, [NewEvent::binary("Started", "")])?;

    let clocks = Source::Category("Clock".into());
    let subscription = store.subscribe(clocks).start(Start::Beginning)?;
    let follower = thread::spawn(move || follow(subscription));
    for event_type in ["Ticked", "Ticked", "Stopped"] {
        store.append("Clock-1", Expect::Any, [NewEvent::binary(event_type, "")])?;
    }
    let position = follower.join().map_err(|_| "the follower panicked")??;
    println!("followed up to {position}");
    Ok(())
}
