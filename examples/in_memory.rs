//! A store in memory, for tests: the same behaviour, and nothing on disk. With a clock that stands
//! still and without threads of the store's own, a run repeats exactly.
#![allow(clippy::print_stdout, reason = "an example")]

use std::sync::Arc;

use factlog::{Expect, ManualClock, NewEvent, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let options = Store::options().clock(clock.clone()).background_threads(false);
    let store = options.in_memory()?;
    store.append("Clock-1", Expect::NoStream, [NewEvent::binary("Ticked", "")])?;
    clock.set(2_500_000);
    store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    for event in store.read_all() {
        let event = event?;
        println!("{} at {} µs", event.position(), event.recorded_at().micros());
    }
    Ok(())
}
