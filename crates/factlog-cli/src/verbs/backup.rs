//! `backup`: a copy of a store, made beside its writer and carried on by later runs.
//!
//! Knows: the report's JSON and how it is told. Does not know: how the copy is made.

use std::path::{Path, PathBuf};

use clap::Args;
use factlog::{BackupOptions, BackupReport, Position};
use serde::Serialize;

use crate::args::Global;
use crate::exit::Failure;
use crate::interrupt;
use crate::output::{Messages, Out, counted, grouped, sized};
use crate::select::open_to_read;
use crate::times::rfc3339;

const EXAMPLES: &str = "\
DEST is a new directory, or that of an earlier backup of the same store: then only what is new is
copied. The store may be open in another process. The backup ends at what is durable when it
begins; it can be read like any store, `factlog verify` checks it, `factlog restore` makes a store
of it, and nothing can be appended to it. An interrupted run leaves the earlier backup; run it
again. What was trimmed or reclaimed since the last run goes from the backup too.

Keys for forgetting are not in it, so that forgetting reaches it too. --keys writes them into a new
file apart; replace that file by a new one, and destroy the old, whenever something was forgotten.

With --json: {dir, store, position, last_recorded_at, segments, segments_copied, bytes,
              bytes_copied, checkpoints, snapshots, verified, dry_run}, with --keys also keys: how
many there are in the file

Examples:
  factlog backup /mnt/backup/shop --dir shop
  factlog backup /mnt/backup/shop --keys /mnt/safe/shop.keys --dir shop
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
    /// Tell what would be copied; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also write the keys of subjects, into a new file that is not in DEST
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
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
    checkpoints: u64,
    snapshots: u64,
    verified: bool,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// Usage, when something else is in the directory, or the file for keys is there; damage; locked,
/// when another backup is running.
pub fn run(global: &Global, args: &BackupArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    if let Some(file) = &args.keys {
        refuse_keys(file, &args.destination)?;
    }
    interrupt::say(|| {
        "what an earlier run copied is whole; run it again to go on, with a new file for --keys"
            .into()
    });
    let messages = Messages::with_bytes(global, Some(0));
    let mut options = BackupOptions::default()
        .verify(!args.no_verify)
        .dry_run(args.dry_run)
        .progress(|done, all| {
            messages.bar().set_length(all);
            messages.bar().set_position(done);
        });
    if let Some(position) = args.through {
        options = options.through(Position::new(position));
    }
    let report = store.backup(&args.destination, options)?;
    drop(messages);
    // After the log: a key is there before its first event is.
    let keys = match &args.keys {
        Some(file) if !args.dry_run => Some(store.export_keys(file)?),
        _ => None,
    };
    let mut out = Out::new(global);
    match args.json {
        true => out.json(&answer(args, &report, keys))?,
        false => print(&mut out, args, &report, keys)?,
    }
    out.done()
}

/// Whoever has the backup shall not have the keys with it.
fn refuse_keys(file: &Path, destination: &Path) -> Result<(), Failure> {
    let shown = file.display();
    if file.symlink_metadata().is_ok() {
        let text = format!("{shown} is there already; keys are written into a new file");
        return Err(Failure::Usage(text));
    }
    if resolved(file).starts_with(resolved(destination)) {
        let text = format!("{shown} is in the backup, which must not hold keys; put it elsewhere");
        return Err(Failure::Usage(text));
    }
    Ok(())
}

/// Where a path leads, as far as there is something.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let known = absolute.ancestors().find_map(|up| Some((up, up.canonicalize().ok()?)));
    match known {
        Some((up, real)) => real.join(absolute.strip_prefix(up).unwrap_or(Path::new(""))),
        None => absolute,
    }
}

fn answer(args: &BackupArgs, report: &BackupReport, keys: Option<u64>) -> Answer {
    Answer {
        dir: args.destination.display().to_string(),
        store: report.store.to_string(),
        position: report.position.get(),
        last_recorded_at: report.last_recorded_at.map(rfc3339),
        segments: report.segments,
        segments_copied: report.segments_copied,
        bytes: report.bytes,
        bytes_copied: report.bytes_copied,
        checkpoints: report.checkpoints,
        snapshots: report.snapshots,
        verified: !args.no_verify && !args.dry_run,
        dry_run: args.dry_run,
        keys,
    }
}

fn print(
    out: &mut Out,
    args: &BackupArgs,
    report: &BackupReport,
    keys: Option<u64>,
) -> Result<(), Failure> {
    let dir = args.destination.display();
    let ends = out.bold(&format!("position {}", grouped(report.position.get())));
    let at = report.last_recorded_at.map(|at| format!(", recorded {}", rfc3339(at)));
    let verb = if args.dry_run { "would end" } else { "ends" };
    out.line(format!("the backup in {dir} {verb} at {ends}{}", at.unwrap_or_default()))?;
    let (copied, all) = (report.segments_copied, counted(report.segments, "segment"));
    let bytes = sized(report.bytes_copied);
    let was = if args.dry_run { "to copy" } else { "copied" };
    out.line(format!("{was}: {} of {all}, {bytes}", grouped(copied)))?;
    if let (Some(keys), Some(file)) = (keys, &args.keys) {
        out.line(format!("apart from it: {} in {}", counted(keys, "key"), file.display()))?;
    }
    Ok(())
}
