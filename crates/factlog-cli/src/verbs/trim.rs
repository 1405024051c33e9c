//! `trim`: remove whole old segments from the front of a store.
//!
//! Knows: the options, that nothing goes without --yes. Does not know: how segments go.

use clap::{ArgGroup, Args};
use factlog::{Position, Timestamp, Trim, Trimmed};
use serde::Serialize;
use std::time::{Duration, SystemTime};

use super::open_to_write;
use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out, counted, sized};
use crate::select::open_to_read;
use crate::times::parse_now;
use crate::view::plain;

const EXAMPLES: &str = "\
Whole segment files go, never part of one and never the newest. Of several bounds each must allow
it. What a saved checkpoint has not come to stays, unless --force says otherwise: its subscriber is
then told that it is behind. Without --yes nothing is removed, and also a store that is being
written can be asked. A backup keeps what is trimmed here: its next run is refused unless it is told
to let go of the same (`factlog backup --follow-trim`).

Before anything goes, some 36 bytes are written for each event that will go, and the store is opened
for writing, which takes 4 KiB. A disk on which there is not even that says how much is needed.

With --json: {removed, segments, events, bytes, first_position, held_by: null | {name, position}}

Examples:
  factlog trim --older-than 90d --dir shop             what would go
  factlog trim --older-than 90d --yes --dir shop
  factlog trim --keep-bytes 1000000000 --keep-events 100000 --yes --dir shop";

/// Options of `trim`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("bound").required(true).multiple(true))]
pub struct TrimArgs {
    /// Only events before this position
    #[arg(long, value_name = "POSITION", group = "bound")]
    pub before_position: Option<u64>,
    /// Only events recorded before this time, or longer ago than this age (90s, 5m, 2h, 3d)
    #[arg(long, value_name = "AGE|TIME", group = "bound", value_parser = parse_now)]
    pub older_than: Option<Timestamp>,
    /// Leave segments with at least so many bytes
    #[arg(long, value_name = "BYTES", group = "bound")]
    pub keep_bytes: Option<u64>,
    /// Leave at least so many events
    #[arg(long, value_name = "N", group = "bound")]
    pub keep_events: Option<u64>,
    /// Also what saved checkpoints have not come to
    #[arg(long)]
    pub force: bool,
    /// Remove it; without this, say what would go
    #[arg(long)]
    pub yes: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    removed: bool,
    segments: u64,
    events: u64,
    bytes: u64,
    first_position: u64,
    held_by: Option<Held<'a>>,
}

#[derive(Serialize)]
struct Held<'a> {
    name: &'a str,
    position: u64,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store is not there; locked, when somebody writes to it; damaged, when an
/// event that would go does not check.
pub fn run(global: &Global, args: &TrimArgs) -> Result<(), Failure> {
    // A store is not made by trimming it.
    let reader = open_to_read(global)?;
    let trim = trim_of(args)?;
    let mut told = reader.plan_trim(&trim)?;
    if args.yes {
        drop(reader);
        let messages = Messages::new(global);
        told = remove(global, trim, &messages).inspect_err(|failure| {
            if failure.is_disk_full() {
                messages.warn(room_for(&told));
            }
        })?;
    }
    let mut out = Out::new(global);
    if args.json {
        out.json(&answer(&told, args.yes))?;
    } else {
        print(&mut out, &told, args.yes)?;
    }
    out.done()
}

fn remove(global: &Global, trim: Trim, messages: &Messages) -> Result<Trimmed, Failure> {
    let store = open_to_write(global, messages)?;
    let told = store.trim(trim)?;
    store.close()?;
    Ok(told)
}

/// What must be free before a trim can free more: what will be known of the events that go, and
/// blocks for the head and the names of streams.
fn room_for(planned: &Trimmed) -> String {
    let room = sized(planned.events * 36 + (16 << 10));
    let (events, bytes) = (counted(planned.events, "event"), sized(planned.bytes));
    format!(
        "the trim of {events} frees {bytes}, and needs about {room} free before; move something \
         else away for so long, or trim less at first: --before-position, --keep-events"
    )
}

fn trim_of(args: &TrimArgs) -> Result<Trim, Failure> {
    let now: Timestamp = SystemTime::now().into();
    let age = |at: Timestamp| Duration::from_micros(now.micros().saturating_sub(at.micros()));
    let bounds = [
        args.before_position.map(|position| Trim::before(Position::new(position))),
        args.older_than.map(|at| Trim::older_than(age(at))),
        args.keep_bytes.map(Trim::keep_bytes),
        args.keep_events.map(Trim::keep_events),
    ];
    let trim = bounds.into_iter().flatten().reduce(Trim::and);
    let trim = trim.ok_or_else(|| Failure::Usage("give at least one bound".into()))?;
    Ok(if args.force { trim.past_checkpoints() } else { trim })
}

fn answer(told: &Trimmed, yes: bool) -> Answer<'_> {
    let held = told.held_by.as_ref();
    Answer {
        removed: yes && told.segments > 0,
        segments: told.segments,
        events: told.events,
        bytes: told.bytes,
        first_position: told.first_position.get(),
        held_by: held.map(|(name, position)| Held { name, position: position.get() }),
    }
}

fn print(out: &mut Out, told: &Trimmed, yes: bool) -> Result<(), Failure> {
    let first = told.first_position;
    if told.segments == 0 {
        out.line(format!("nothing to remove: the log begins at position {first}"))?;
    } else {
        let (segments, events) = (counted(told.segments, "segment"), counted(told.events, "event"));
        let (what, begins) = match yes {
            true => ("removed", "begins now"),
            false => ("would remove", "would begin"),
        };
        let bytes = sized(told.bytes);
        out.line(format!(
            "{what} {segments} with {events}, {bytes}; the log {begins} at position {first}"
        ))?;
    }
    if let Some((name, position)) = &told.held_by {
        let name = out.bold(&plain(name));
        out.line(format!(
            "checkpoint {name} at position {position} keeps more from going; --force goes past it"
        ))?;
    }
    if !yes && told.segments > 0 {
        out.line("nothing was removed; say --yes to remove it")?;
    }
    Ok(())
}
