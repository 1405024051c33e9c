//! Fold a stream, save the state, and next time read only what came since.
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Expect, NewEvent, Store, Version};

/// The sum of a stream's events, and how many were read for it.
fn balance(store: &Store) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let (mut sum, mut version) = (0, Version::NONE);
    if let Some(snapshot) = store.snapshot("Account-1", "balance")? {
        sum = u64::from_le_bytes(snapshot.data.as_slice().try_into()?);
        version = snapshot.version;
    }
    let from = version;
    for event in store.read_stream("Account-1").from(from.next()) {
        let event = event?;
        sum += std::str::from_utf8(event.data())?.parse::<u64>()?;
        version = event.version();
    }
    if version > from {
        store.save_snapshot("Account-1", "balance", (version, 1), sum.to_le_bytes())?;
    }
    Ok((sum, version.get() - from.get()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    for amounts in [1..=100, 101..=103] {
        let events = amounts.map(|n: u32| NewEvent::binary("Deposited", n.to_string()));
        store.append("Account-1", Expect::Any, events)?;
        let (sum, read) = balance(&store)?;
        println!("balance {sum}, from {read} events");
    }
    Ok(())
}
