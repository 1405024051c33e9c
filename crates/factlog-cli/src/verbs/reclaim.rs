//! `reclaim`: the disk space of events that their streams hide.
//!
//! Knows: how the receipt is told. Does not know: how a segment is rewritten, or what hides events.

use clap::Args;
use factlog::ReclaimReport;
use serde::Serialize;

use super::damage::{Damaged, places, said};
use super::open_there_to_write;
use crate::args::Global;
use crate::exit::{DAMAGED, Failure};
use crate::interrupt;
use crate::output::{Messages, Out, counted};

const EXAMPLES: &str = "\
What `factlog stream` hides (deleted, truncated, beyond the newest, too old) is still in the log.
This takes the data away and leaves position, version, type, id and checksums in its place. It
can be stopped at any point and run again. The newest segment is left until it is sealed. Backups
have the data until their next run. A segment with damage is left as it is. One segment at a time is
written anew beside the old one: for so long that takes the space of a segment.

Exit codes: 0 done; 11 segments are damaged, so that what they hide is still there.

With --json: {events, bytes, segments, rewritten: [{file, rewrite, events}], left, damage: [{file,
              offset, first_position, last_position, what}], allocated_before, allocated_after}

Examples:
  factlog stream delete Cart-7 --dir shop && factlog reclaim --yes --dir shop";

/// Options of `reclaim`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReclaimArgs {
    /// The data cannot be brought back: say so
    #[arg(long)]
    pub yes: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    events: u64,
    bytes: u64,
    segments: u64,
    rewritten: Vec<Rewritten<'a>>,
    left: u64,
    damage: Vec<Damaged<'a>>,
    allocated_before: u64,
    allocated_after: u64,
}

#[derive(Serialize)]
struct Rewritten<'a> {
    file: &'a str,
    rewrite: u32,
    events: u64,
}

/// Runs it.
///
/// # Errors
/// Usage without `--yes`; not found, when the store is not there; locked, when somebody writes to
/// it; the code of damage, when a segment had to be left for it.
pub fn run(global: &Global, args: &ReclaimArgs) -> Result<(), Failure> {
    if !args.yes {
        let text =
            "the data of hidden events could not be brought back; say --yes if that is meant";
        return Err(Failure::Usage(text.into()));
    }
    let messages = Messages::new(global);
    let store = open_there_to_write(global, &messages)?;
    interrupt::say(|| "segments that were rewritten stay so; run it again to go on".into());
    let report = store.reclaim()?;
    store.close()?;
    let mut out = Out::new(global);
    match args.json {
        true => out.json(&answer(&report))?,
        false => print(&mut out, &report)?,
    }
    out.done()?;
    if report.damage.is_empty() { Ok(()) } else { Err(Failure::Code(DAMAGED)) }
}

fn answer(report: &ReclaimReport) -> Answer<'_> {
    let rewritten = report.rewritten.iter().map(|one| Rewritten {
        file: &one.file,
        rewrite: one.rewrite,
        events: one.events,
    });
    Answer {
        events: report.events,
        bytes: report.bytes,
        segments: report.segments,
        rewritten: rewritten.collect(),
        left: report.left,
        damage: places(&report.damage),
        allocated_before: report.allocated_before,
        allocated_after: report.allocated_after,
    }
}

fn print(out: &mut Out, report: &ReclaimReport) -> Result<(), Failure> {
    let (events, segments) =
        (counted(report.events, "event"), counted(report.segments, "sealed segment"));
    let heading = match report.events {
        0 => format!(
            "nothing to reclaim in {segments}; data in the newest segment stay until it is full"
        ),
        _ => format!("the data of {events} is gone: {} bytes of the log", report.bytes),
    };
    let heading = out.bold(&heading);
    out.line(heading)?;
    for one in &report.rewritten {
        out.line(format!("{}  {}", one.file, counted(one.events, "event")))?;
    }
    if !report.damage.is_empty() {
        let damaged = counted(report.damage.len() as u64, "sealed segment");
        out.line(format!("damaged, and left as it is: {damaged}; see `factlog verify`"))?;
    }
    if report.left > 0 {
        out.line(format!("left for the next time: {}", counted(report.left, "sealed segment")))?;
    }
    for damage in &report.damage {
        out.line(said(damage))?;
    }
    Ok(())
}
