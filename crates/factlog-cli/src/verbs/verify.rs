//! `verify`: every byte of a store checked; nothing is written.
//!
//! Knows: which finding has which exit code, and the report's JSON. Does not know: how it is
//! checked.

use clap::Args;
use factlog::{SidecarRebuilt, Verify, VerifyReport};
use serde::Serialize;

use super::damage::{Damaged, places, said};
use crate::args::Global;
use crate::exit::{DAMAGED, Failure, TORN};
use crate::interrupt;
use crate::output::{Messages, Out, counted, sized};
use crate::select::no_store;

const EXAMPLES: &str = "\
Exit codes: 0 everything checks; 10 a torn tail (an append that was never acknowledged; opening the
store for writing sets it aside); 11 damage to acknowledged bytes; 12 another format version.

Events are those that readers are served, as in `factlog info`. Whole batches after them that
nothing names as durable (a process was killed while it wrote them) are counted apart, as
uncertified: the next opening for writing makes them durable and serves them.

With --deep every index is made anew out of the log and compared with what is there: the sidecars
of sealed segments and of parts of the newest byte for byte, and where streams stand. One that
differs is doubtful, and the code is 10 if nothing else is wrong: `factlog repair --write` makes it
anew. One that is absent is no fault: the next opening for writing makes it.

With --json: {clean, events, uncertified, lost, segments, torn: null | {file, offset, bytes},
              damage: [{file, offset, first_position, last_position, what}],
              doubtful: [{file, why}], absent: [{file, why}]}; lost counts what an earlier salvage
              could not save.

Examples:
  factlog verify --dir shop
  factlog verify --deep --dir shop
  factlog verify --segment 3 --dir shop
  factlog verify --json --dir shop | jq .clean";

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Also compare every index with the log
    #[arg(long)]
    pub deep: bool,
    /// Only this segment
    #[arg(long, value_name = "NUMBER")]
    pub segment: Option<u64>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    clean: bool,
    events: u64,
    uncertified: u64,
    lost: u64,
    segments: u64,
    torn: Option<Torn<'a>>,
    damage: Vec<Damaged<'a>>,
    doubtful: Vec<Doubtful<'a>>,
    absent: Vec<Doubtful<'a>>,
}

#[derive(Serialize)]
struct Doubtful<'a> {
    file: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct Torn<'a> {
    file: &'a str,
    offset: u64,
    bytes: u64,
}

/// Runs it.
///
/// # Errors
/// The code of what was found.
pub fn run(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    let dir = global.dir()?;
    let messages = Messages::with_bytes(global, Some(0));
    interrupt::say(|| "not everything was read, so nothing is said of the store".into());
    let mut verify = Verify::of(&dir).deep(args.deep);
    if let Some(number) = args.segment {
        verify = verify.segment(number);
    }
    let report = verify.run(&mut |done, all| {
        messages.bar().set_length(all);
        messages.bar().set_position(done);
    });
    let report = report.map_err(|error| match args.segment {
        Some(_) => error.into(),
        None => no_store(&dir, error),
    })?;
    drop(messages);
    let mut out = Out::new(global);
    if args.json {
        out.json(&answer(&report))?;
    } else {
        print(&mut out, &report)?;
    }
    out.done()?;
    match code(&report) {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}

fn code(report: &VerifyReport) -> u8 {
    if !report.damage.is_empty() {
        return DAMAGED;
    }
    if report.torn.is_some() || !report.doubtful.is_empty() { TORN } else { 0 }
}

fn answer(report: &VerifyReport) -> Answer<'_> {
    Answer {
        clean: code(report) == 0,
        events: report.events.saturating_sub(report.uncertified),
        uncertified: report.uncertified,
        lost: report.lost,
        segments: report.segments,
        torn: report.torn.as_ref().map(|torn| Torn {
            file: &torn.file,
            offset: torn.offset,
            bytes: torn.bytes,
        }),
        damage: places(&report.damage),
        doubtful: indexes(&report.doubtful),
        absent: indexes(&report.absent),
    }
}

fn indexes(all: &[SidecarRebuilt]) -> Vec<Doubtful<'_>> {
    all.iter().map(|index| Doubtful { file: &index.file, why: &index.why }).collect()
}

fn print(out: &mut Out, report: &VerifyReport) -> Result<(), Failure> {
    let verdict = match code(report) {
        0 => "every checksum holds",
        TORN if report.torn.is_some() => "torn tail",
        TORN => "the log is sound, an index is not",
        _ => "damaged",
    };
    let verdict = out.bold(verdict);
    let events = counted(report.events.saturating_sub(report.uncertified), "event");
    let segments = counted(report.segments, "segment");
    out.line(format!("{verdict}: {events} in {segments}"))?;
    if report.uncertified > 0 {
        let events = counted(report.uncertified, "event");
        out.line(format!(
            "{events} more at the end that nothing names as durable: served once the store was \
             opened for writing"
        ))?;
    }
    for damage in &report.damage {
        out.line(said(damage))?;
    }
    if !report.damage.is_empty() {
        out.line(
            "see `factlog repair`, restore from a copy, or `factlog salvage` what checks; what is \
             undamaged can be read meanwhile",
        )?;
    }
    if report.lost > 0 {
        let lost = counted(report.lost, "position");
        out.line(format!("{lost} lost by an earlier salvage"))?;
    }
    for index in &report.doubtful {
        out.line(format!("doubtful: {}: {}", index.file, index.why))?;
    }
    for index in &report.absent {
        out.line(format!("note: {}: {}; the next opening makes it", index.file, index.why))?;
    }
    if let Some(torn) = &report.torn {
        let (file, offset, bytes) = (&torn.file, torn.offset, sized(torn.bytes));
        let what = match file.ends_with(".seg") {
            true => "never acknowledged; opening the store for writing sets them aside",
            false => "an interrupted save or damage to the last one: see `factlog repair`",
        };
        out.line(format!("torn: {bytes} in {file} from byte {offset}, {what}"))?;
    }
    Ok(())
}
