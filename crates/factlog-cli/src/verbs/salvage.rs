//! `salvage`: everything that checks in a damaged store, in a new one; the list of what does not.
//!
//! Knows: how it is told. Does not know: how it is done.

use std::path::{Path, PathBuf};

use clap::Args;
use factlog::Salvaged;
use serde::Serialize;

use super::damage::{Damaged, places, said};
use crate::args::Global;
use crate::exit::{DAMAGED, Failure};
use crate::output::{Messages, Out, counted};
use crate::select::no_store;

const EXAMPLES: &str = "\
Every event keeps its bytes, its position and its version. Positions that cannot be saved stay in
their place as lost, and are listed. The damaged store is not changed. What was trimmed stays
trimmed. An interrupted run leaves no store; run it again. Ids of lost events are not known any
more: one that is sent again is stored as new. Read the list, then go on in the new store; its
readers are told of lost positions unless they say --accept-lost.

Exit codes: 0 everything was saved; 11 the new store is whole, but positions are missing.

With --json: {from, store, events, lost, segments, missing: [{file, offset, first_position,
              last_position, what}], damage: [..], checkpoints,
              checkpoints_left: [{name, position}], snapshots, snapshots_left, notes: [..]}

Examples:
  factlog salvage /srv/shop-salvaged --dir /srv/shop
  factlog salvage new --dir shop --json | jq .missing";

/// Options of `salvage`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SalvageArgs {
    /// The directory of the new store: empty, not there, or of an interrupted run
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    from: String,
    store: String,
    events: u64,
    lost: u64,
    segments: u64,
    missing: Vec<Damaged<'a>>,
    damage: Vec<Damaged<'a>>,
    checkpoints: u64,
    checkpoints_left: Vec<Left<'a>>,
    snapshots: u64,
    snapshots_left: u64,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Left<'a> {
    name: &'a str,
    position: u64,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store is not there; usage, when the new directory is not empty; locked, when
/// somebody writes to the store; the code of what is missing.
pub fn run(global: &Global, args: &SalvageArgs) -> Result<(), Failure> {
    let dir = global.dir()?;
    let messages = Messages::with_segments(global);
    let done = factlog::salvage(&dir, &args.new, &mut |done, all| {
        messages.bar().set_length(all);
        messages.bar().set_position(done);
    });
    let done = done.map_err(|error| no_store(&dir, error))?;
    drop(messages);
    say_keys_stay(global, &dir, &args.new);
    let mut out = Out::new(global);
    match args.json {
        true => out.json(&answer(&done))?,
        false => print(&mut out, &done, &args.new.display().to_string())?,
    }
    out.done()?;
    if done.missing.is_empty() { Ok(()) } else { Err(Failure::Code(DAMAGED)) }
}

/// What is encrypted was saved as it is, and is worth nothing without the keys.
fn say_keys_stay(global: &Global, dir: &Path, new: &Path) {
    if dir.join("keyring").exists() {
        let (dir, new) = (dir.display(), new.display());
        Messages::new(global).warn(format!(
            "factlog: the keys of subjects stay in {dir}; before you remove it, take them along: \
             `factlog keys export FILE --dir {dir}`, `factlog keys import FILE --dir {new}`"
        ));
    }
}

fn answer(done: &Salvaged) -> Answer<'_> {
    let left = done.checkpoints_left.iter();
    Answer {
        from: done.from.to_string(),
        store: done.store.to_string(),
        events: done.events,
        lost: done.lost(),
        segments: done.segments,
        missing: places(&done.missing),
        damage: places(&done.damage),
        checkpoints: done.checkpoints,
        checkpoints_left: left.map(|(name, at)| Left { name, position: at.get() }).collect(),
        snapshots: done.snapshots,
        snapshots_left: done.snapshots_left,
        notes: &done.notes,
    }
}

fn print(out: &mut Out, done: &Salvaged, to: &str) -> Result<(), Failure> {
    let (events, lost) = (counted(done.events, "event"), counted(done.lost(), "position"));
    let heading = match done.missing.is_empty() {
        true => format!("everything was saved: {events} in {to}"),
        false => format!("{events} saved in {to}; {lost} lost"),
    };
    let heading = out.bold(&heading);
    out.line(heading)?;
    for missing in &done.missing {
        out.line(said(missing))?;
    }
    let (checkpoints, snapshots) =
        (counted(done.checkpoints, "checkpoint"), counted(done.snapshots, "snapshot"));
    out.line(format!("{checkpoints} and {snapshots} went along"))?;
    for (name, position) in &done.checkpoints_left {
        out.line(format!("left behind: checkpoint {name}, at lost position {position}"))?;
    }
    if done.snapshots_left > 0 {
        let left = counted(done.snapshots_left, "snapshot");
        out.line(format!("left behind: {left} of lost versions"))?;
    }
    for note in &done.notes {
        out.line(format!("note: {note}"))?;
    }
    Ok(())
}
