//! A device at the edge: measurements are kept even when the network is gone, and sent when it is
//! back, each at least once and in order; the receiver knows repetitions by their id.
#![allow(clippy::print_stdout, reason = "an example")]

use std::collections::BTreeMap;
use std::time::Duration;

use factlog::{Durability, Event, Expect, RecordedEvent, Retry, RunState, Store, Uuid};
use serde::{Deserialize, Serialize};

#[derive(Clone, Event, Serialize, Deserialize)]
enum Meter {
    Read { watt_hours: u64 },
}

/// The cloud, which is not always there and may lose an answer after it has taken the events.
#[derive(Default)]
struct Cloud {
    received: BTreeMap<Uuid, Vec<u8>>,
    calls: u32,
}

impl Cloud {
    fn send(&mut self, events: &[&RecordedEvent]) -> Result<(), &'static str> {
        self.calls += 1;
        if self.calls < 3 {
            return Err("no network");
        }
        self.received.extend(events.iter().map(|event| (event.id(), event.data().to_vec())));
        if self.calls == 3 {
            return Err("the answer was lost");
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // What is at stake in a power cut is said by name: the measurements of the last 50 ms.
    let durability = Durability::Interval(Duration::from_millis(50));
    let store = Store::options().durability(durability).segment_bytes(16 << 20).open(dir.path())?;
    for watt_hours in 0..100 {
        store.append("Meter-7", Expect::Any, [Meter::Read { watt_hours }])?;
    }
    store.sync()?; // a projection is handed what is on disk

    let retry = Retry::forever().wait(Duration::from_millis(1), Duration::from_secs(60));
    let mut relay = store.projection::<Meter>("cloud").batch(40).retry(retry).start()?;
    let control = relay.control();
    println!("{} events to send", control.status().lag_events);
    let mut cloud = Cloud::default();
    relay.catch_up(|events| {
        if let RunState::Retrying { failures, reason } = control.status().state {
            println!("after {failures} failures: {reason}");
        }
        let events: Vec<&RecordedEvent> = events.iter().map(|event| &event.recorded).collect();
        cloud.send(&events)
    })?;
    println!("{} received in {} calls", cloud.received.len(), cloud.calls);
    println!("{} events to send", control.status().lag_events);
    assert_eq!(cloud.received.len(), 100);
    Ok(())
}
