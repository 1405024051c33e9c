//! `repair`: what can be put in order without losing anything; a dry run unless told otherwise.
//!
//! Knows: how it is told, and which outcome has which exit code. Does not know: how it is done.

use clap::Args;
use factlog::{Repair, Repaired};
use serde::Serialize;

use super::damage::{Damaged, places, said};
use crate::args::Global;
use crate::exit::{DAMAGED, Failure, LOCKED, TORN};
use crate::output::{Messages, Out, counted};
use crate::select::no_store;

const EXAMPLES: &str = "\
Reads everything and says what it would do; with --write it does it. It mends what is known twice: a
lost head, a segment's header block, entries of checkpoints and snapshots that do not check,
indexes, and an unfinished end as every opening does. What it replaces or cuts is kept in .torn
files beside.
Where an event is damaged it changes nothing at all: see `factlog salvage`.

Beside a process that has the store open for writing only damage is judged: what looks unfinished
is what it is doing now. Whether there is something to repair is seen when it has closed the store.

Exit codes: 0 nothing to do, or done; 5 a writer has the store open, and nothing is damaged; 10
there is something to do (dry run); 11 events are damaged.

With --json: {written, writer, sound, steps: [{file, what, kept_in}],
              torn: null | {file, offset, bytes}, set_aside: [{file, offset, bytes, kept_in}],
              frames_rescued, indexes: [{file, why}],
              beyond: [{file, offset, first_position, last_position, what}], notes: [..]}

Examples:
  factlog repair --dir shop
  factlog repair --write --dir shop";

/// Options of `repair`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RepairArgs {
    /// Do it
    #[arg(long)]
    pub write: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    written: bool,
    writer: bool,
    sound: bool,
    steps: Vec<Step<'a>>,
    torn: Option<Torn<'a>>,
    set_aside: Vec<Kept<'a>>,
    frames_rescued: u64,
    indexes: Vec<Index<'a>>,
    beyond: Vec<Damaged<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Step<'a> {
    file: &'a str,
    what: &'a str,
    kept_in: Option<&'a str>,
}

#[derive(Serialize)]
struct Torn<'a> {
    file: &'a str,
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Kept<'a> {
    file: &'a str,
    offset: u64,
    bytes: u64,
    kept_in: &'a str,
}

#[derive(Serialize)]
struct Index<'a> {
    file: &'a str,
    why: &'a str,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store is not there; locked, when somebody writes to it; the code of what was
/// found.
pub fn run(global: &Global, args: &RepairArgs) -> Result<(), Failure> {
    let dir = global.dir()?;
    let messages = Messages::with_bytes(global, Some(0));
    let how = if args.write { Repair::Write } else { Repair::DryRun };
    let done = factlog::repair(&dir, how, &mut |done, all| {
        messages.bar().set_length(all);
        messages.bar().set_position(done);
    });
    let done = done.map_err(|error| no_store(&dir, error))?;
    drop(messages);
    let mut out = Out::new(global);
    match args.json {
        true => out.json(&answer(&done))?,
        false => print(&mut out, &done)?,
    }
    out.done()?;
    match () {
        () if !done.beyond.is_empty() => Err(Failure::Code(DAMAGED)),
        () if done.writer => Err(Failure::Code(LOCKED)),
        () if !done.written && !done.is_sound() => Err(Failure::Code(TORN)),
        () => Ok(()),
    }
}

fn answer(done: &Repaired) -> Answer<'_> {
    let steps = done.steps.iter().map(|step| Step {
        file: &step.file,
        what: &step.what,
        kept_in: step.kept_in.as_deref(),
    });
    let set_aside = done.set_aside.iter().map(|kept| Kept {
        file: &kept.file,
        offset: kept.offset,
        bytes: kept.bytes,
        kept_in: &kept.kept_in,
    });
    let indexes = done.sidecars_rebuilt.iter();
    Answer {
        written: done.written,
        writer: done.writer,
        sound: done.is_sound(),
        steps: steps.collect(),
        torn: done.torn.as_ref().map(|(file, offset, bytes)| Torn {
            file,
            offset: *offset,
            bytes: *bytes,
        }),
        set_aside: set_aside.collect(),
        frames_rescued: done.frames_rescued,
        indexes: indexes.map(|index| Index { file: &index.file, why: &index.why }).collect(),
        beyond: places(&done.beyond),
        notes: &done.notes,
    }
}

fn print(out: &mut Out, done: &Repaired) -> Result<(), Failure> {
    if !done.beyond.is_empty() {
        let heading = match done.writer {
            true => "beyond repair, while a process has the store open for writing",
            false => "beyond repair; nothing was changed",
        };
        let heading = out.bold(heading);
        out.line(heading)?;
        for damage in &done.beyond {
            out.line(said(damage))?;
        }
        return out.line("`factlog salvage NEW` makes a new store of everything that checks");
    }
    if done.writer {
        out.line("a process has the store open for writing; nothing is damaged")?;
        return out.line(
            "what is not finished is its own doing: run this again when it has closed the store",
        );
    }
    if done.is_sound() {
        out.line("nothing to repair")?;
        return notes(out, done);
    }
    let heading = if done.written { "repaired" } else { "to be repaired with --write" };
    let heading = out.bold(heading);
    out.line(heading)?;
    for step in &done.steps {
        let kept = step.kept_in.as_ref().map(|name| format!("; kept in {name}"));
        out.line(format!("{}: {}{}", step.file, step.what, kept.unwrap_or_default()))?;
    }
    if let Some((file, offset, bytes)) = &done.torn {
        let bytes = counted(*bytes, "byte");
        out.line(format!("{file}: {bytes} from byte {offset}, never acknowledged, set aside"))?;
    }
    for kept in &done.set_aside {
        out.line(format!("{}: kept in {}", kept.file, kept.kept_in))?;
    }
    if done.frames_rescued > 0 {
        let frames = counted(done.frames_rescued, "frame");
        out.line(format!("{frames} that nothing certified copied into a fresh segment"))?;
    }
    for index in &done.sidecars_rebuilt {
        out.line(format!("{}: {}; made anew", index.file, index.why))?;
    }
    notes(out, done)
}

fn notes(out: &mut Out, done: &Repaired) -> Result<(), Failure> {
    for note in &done.notes {
        out.line(format!("note: {note}"))?;
    }
    Ok(())
}
