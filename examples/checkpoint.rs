//! A relay that answers every command exactly once: what it emits and how far it has read become
//! durable in one commit, so a crash between the two cannot happen.
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};

fn relay(store: &Store) -> factlog::Result<u32> {
    let start = Start::Checkpoint("relay".into());
    let source = Source::Category("Command".into());
    let mut commands = store.subscribe(source).start(start)?;
    let mut handled = 0;
    while let Some(delivery) = commands.try_next()? {
        let Delivery::Event(command) = delivery else { continue };
        let event = NewEvent::binary("Done", command.data()).causation(command.id());
        store
            .batch()
            .append("Answers", Expect::Any, [event])
            .checkpoint("relay", command.position())
            .commit()?;
        handled += 1;
    }
    Ok(handled)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    for run in 1..=2 {
        let store = Store::open(dir.path())?;
        let commands = (0..3).map(|n| NewEvent::binary("Do", vec![n]));
        store.append(format!("Command-{run}"), Expect::NoStream, commands)?;
        println!("run {run}: handled {}", relay(&store)?);
    }
    let store = Store::open(dir.path())?;
    println!("answers: {:?}", store.head("Answers")?.map(|head| head.version.get()));
    println!("checkpoint: {:?}", store.checkpoint("relay")?.map(|position| position.get()));
    Ok(())
}
