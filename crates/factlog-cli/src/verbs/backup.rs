//! `backup`: a copy of a store, made beside its writer and carried on by later runs.
//!
//! Knows: the report's JSON and how it is told. Does not know: how the copy is made.

use std::path::PathBuf;

use clap::Args;
use factlog::{BackupOptions, BackupReport, Error, ErrorKind, Position};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Failure, REFUSED};
use crate::output::{Messages, Out, counted, grouped, sized};
use crate::select::open_to_read;
use crate::times::rfc3339;

const FOLLOW: &str = "say --follow-trim to let them go";

const EXAMPLES: &str = "\
DEST is a new directory, or that of an earlier backup of the same store: then only what is new is
copied. The store may be open in another process. The backup ends at what is durable when it
begins; it can be read like any store, `factlog verify` checks it, `factlog restore` makes a store
of it, and nothing can be appended to it. An interrupted run leaves the earlier backup; run it
again. Keys for forgetting are not in it. What was reclaimed since the last run goes from the backup
too. Where the backup holds events that were trimmed from the store since, it may be all that is
left of them: the run is refused with exit code 6 and leaves it as it is. Either begin another
backup in a new directory, or let the events go with --follow-trim; --dry-run says which they are.

With --json: {dir, store, position, last_recorded_at, segments, segments_copied, bytes,
              bytes_copied, let_go: null | {first_position, last_position}, checkpoints,
              snapshots, verified, dry_run}

Examples:
  factlog backup /mnt/backup/shop --dir shop
  factlog backup /mnt/backup/shop --dir shop --dry-run --json | jq .bytes_copied";

/// Options of `backup`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    /// The backup's directory
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// The last position that goes along, rounded down to a whole batch [default: the newest]
    #[arg(long, value_name = "POSITION")]
    pub through: Option<u64>,
    /// Do not read back what is copied, nor what is there
    #[arg(long)]
    pub no_verify: bool,
    /// Let go of the events that were trimmed from the store since the last run
    #[arg(long)]
    pub follow_trim: bool,
    /// Tell what would be copied, and what would go; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer {
    dir: String,
    store: String,
    position: u64,
    last_recorded_at: Option<String>,
    segments: u64,
    segments_copied: u64,
    bytes: u64,
    bytes_copied: u64,
    let_go: Option<LetGo>,
    checkpoints: u64,
    snapshots: u64,
    verified: bool,
    dry_run: bool,
}

#[derive(Serialize)]
struct LetGo {
    first_position: u64,
    last_position: u64,
}

/// Runs it.
///
/// # Errors
/// Usage, when something else is in the directory; refused, when it would let go of events; damage;
/// locked, when another backup is running.
pub fn run(global: &Global, args: &BackupArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    let messages = Messages::with_bytes(global, Some(0));
    let mut options = BackupOptions::default()
        .verify(!args.no_verify)
        .follow_trim(args.follow_trim)
        .dry_run(args.dry_run)
        .progress(|done, all| {
            messages.bar().set_length(all);
            messages.bar().set_position(done);
        });
    if let Some(position) = args.through {
        options = options.through(Position::new(position));
    }
    let report = store.backup(&args.destination, options).map_err(|error| refused(args, error))?;
    if let Some(text) = warning(args, &report) {
        messages.warn(text);
    }
    drop(messages);
    let mut out = Out::new(global);
    match args.json {
        true => out.json(&answer(args, &report))?,
        false => print(&mut out, args, &report)?,
    }
    out.done()?;
    match report.let_go {
        // What a run would answer; it was said why.
        Some(_) if args.dry_run && !args.follow_trim => Err(Failure::Code(REFUSED)),
        _ => Ok(()),
    }
}

/// A refusal said with its ways out.
fn refused(args: &BackupArgs, error: Error) -> Failure {
    if error.kind() != ErrorKind::Trimmed || args.through.is_some_and(|asked| before(asked, &error))
    {
        return error.into();
    }
    let error = error.message();
    Failure::Refused(format!("{error}; begin another backup in a new directory, or {FOLLOW}"))
}

/// Whether it is the position asked for that was trimmed.
fn before(asked: u64, error: &Error) -> bool {
    error.position().is_some_and(|first| asked + 1 < first.get())
}

/// That events go from the backup is never left out.
fn warning(args: &BackupArgs, report: &BackupReport) -> Option<String> {
    let (first, last) = report.let_go?;
    let events = counted(last.get() - first.get() + 1, "event");
    let place = format!("{events} at positions {first} to {last}, trimmed from the store");
    Some(match (args.dry_run, args.follow_trim) {
        (false, _) => format!("factlog: the backup let go of {place}"),
        (true, true) => format!("factlog: the backup would let go of {place}"),
        (true, false) => {
            format!("factlog: would be refused: the backup has {place}; {FOLLOW}")
        }
    })
}

fn answer(args: &BackupArgs, report: &BackupReport) -> Answer {
    Answer {
        dir: args.destination.display().to_string(),
        store: report.store.to_string(),
        position: report.position.get(),
        last_recorded_at: report.last_recorded_at.map(rfc3339),
        segments: report.segments,
        segments_copied: report.segments_copied,
        bytes: report.bytes,
        bytes_copied: report.bytes_copied,
        let_go: report
            .let_go
            .map(|(first, last)| LetGo { first_position: first.get(), last_position: last.get() }),
        checkpoints: report.checkpoints,
        snapshots: report.snapshots,
        verified: !args.no_verify && !args.dry_run,
        dry_run: args.dry_run,
    }
}

fn print(out: &mut Out, args: &BackupArgs, report: &BackupReport) -> Result<(), Failure> {
    let dir = args.destination.display();
    let ends = out.bold(&format!("position {}", grouped(report.position.get())));
    let at = report.last_recorded_at.map(|at| format!(", recorded {}", rfc3339(at)));
    let verb = if args.dry_run { "would end" } else { "ends" };
    out.line(format!("the backup in {dir} {verb} at {ends}{}", at.unwrap_or_default()))?;
    let (copied, all) = (report.segments_copied, counted(report.segments, "segment"));
    let bytes = sized(report.bytes_copied);
    let was = if args.dry_run { "to copy" } else { "copied" };
    out.line(format!("{was}: {} of {all}, {bytes}", grouped(copied)))
}
