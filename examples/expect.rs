//! Two who decide on the same version: one is told of the conflict. A retry is not a conflict.
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Expect, NewEvent, Store, Version};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    store.append("Account-1", Expect::NoStream, [NewEvent::binary("Opened", "")])?;

    let decided_on = Expect::Version(Version::new(1));
    let deposit = NewEvent::binary("Deposited", "100");
    let first = store.append("Account-1", decided_on, [deposit.clone()])?;
    let late = store.append("Account-1", decided_on, [NewEvent::binary("Withdrawn", "50")]);
    match late {
        Err(error) if error.is_conflict() => println!("refused: {error}"),
        other => return Err(format!("expected a conflict, got {other:?}").into()),
    }

    // The answer got lost? The same event with the same id is answered, not stored again.
    let again = store.append("Account-1", decided_on, [deposit])?;
    println!("stored already: {}, at position {}", again.already, again.last);
    assert_eq!((again.already, again.last), (true, first.last));
    Ok(())
}
