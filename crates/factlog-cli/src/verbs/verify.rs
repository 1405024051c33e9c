//! `verify`: every byte of a store checked; nothing is written.
//!
//! Knows: which finding has which exit code, and the report's JSON. Does not know: how it is
//! checked.

use clap::Args;
use factlog::VerifyReport;
use serde::Serialize;

use crate::args::Global;
use crate::exit::{DAMAGED, Failure, TORN};
use crate::output::{Messages, Out, counted, sized};
use crate::select::no_store;

const EXAMPLES: &str = "\
Exit codes: 0 everything checks; 10 a torn tail (an append that was never acknowledged; opening the
store for writing sets it aside); 11 damage to acknowledged bytes; 12 another format version.

With --json: {clean, events, segments, torn: null | {file, offset, bytes},
              damage: [{file, offset, first_position, last_position, what}]}

Examples:
  factlog verify --dir shop
  factlog verify --json --dir shop | jq .clean";

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    clean: bool,
    events: u64,
    segments: u64,
    torn: Option<Torn<'a>>,
    damage: Vec<Damaged<'a>>,
}

#[derive(Serialize)]
struct Torn<'a> {
    file: &'a str,
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Damaged<'a> {
    file: &'a str,
    offset: u64,
    first_position: Option<u64>,
    last_position: Option<u64>,
    what: &'a str,
}

/// Runs it.
///
/// # Errors
/// The code of what was found.
pub fn run(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    let dir = global.dir()?;
    let messages = Messages::with_bytes(global, Some(0));
    let report = factlog::verify(&dir, &mut |done, all| {
        messages.bar().set_length(all);
        messages.bar().set_position(done);
    });
    let report = report.map_err(|error| no_store(&dir, error))?;
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
    if report.torn.is_some() { TORN } else { 0 }
}

fn answer(report: &VerifyReport) -> Answer<'_> {
    let damage = report.damage.iter().map(|damage| Damaged {
        file: &damage.file,
        offset: damage.offset,
        first_position: damage.first_position.map(factlog::Position::get),
        last_position: damage.last_position.map(factlog::Position::get),
        what: &damage.what,
    });
    Answer {
        clean: code(report) == 0,
        events: report.events,
        segments: report.segments,
        torn: report.torn.as_ref().map(|torn| Torn {
            file: &torn.file,
            offset: torn.offset,
            bytes: torn.bytes,
        }),
        damage: damage.collect(),
    }
}

fn print(out: &mut Out, report: &VerifyReport) -> Result<(), Failure> {
    let verdict = match code(report) {
        0 => "every checksum holds",
        TORN => "torn tail",
        _ => "damaged",
    };
    let verdict = out.bold(verdict);
    let (events, segments) = (counted(report.events, "event"), counted(report.segments, "segment"));
    out.line(format!("{verdict}: {events} in {segments}"))?;
    for damage in &report.damage {
        let positions = match (damage.first_position, damage.last_position) {
            (Some(first), Some(last)) => format!(", positions {first} to {last}"),
            (Some(first), None) => format!(", from position {first}"),
            _ => String::new(),
        };
        let (file, offset, what) = (&damage.file, damage.offset, &damage.what);
        out.line(format!("damage in {file} at byte {offset}{positions}: {what}"))?;
    }
    if !report.damage.is_empty() {
        out.line("restore from a copy; what is undamaged can be read and exported meanwhile")?;
    }
    if let Some(torn) = &report.torn {
        let (file, offset, bytes) = (&torn.file, torn.offset, sized(torn.bytes));
        out.line(format!(
            "torn: {bytes} in {file} from byte {offset}, never acknowledged; opening the store for \
             writing sets them aside"
        ))?;
    }
    Ok(())
}
