//! `restore`: a store from a backup, to its end, to a position or to a time.
//!
//! Knows: how the end is named, and how a store that was made is told of (also for `fork`). Does
//! not know: how it is made, or what keys are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use factlog::disk::RealDisk;
use factlog::{BranchOptions, BranchReport, Position, RestoreTo};
use serde::Serialize;

use crate::args::Global;
use crate::exit::Failure;
use crate::interrupt;
use crate::output::{Messages, Out, counted, grouped, sized};
use crate::times::{parse_now, rfc3339};

const EXAMPLES: &str = "\
DEST is a new directory. Everything is copied, read back and checked; what is made is a store of its
own, with a name of its own. Of a position or a time what is whole up to there is restored: no batch
is cut. An interrupted run leaves no store; run it again.

What was said of subjects can be read only with their keys: --keys takes in those that
`factlog backup --keys` or `factlog keys export` wrote, and `factlog keys import` does so later.

With --json: {dir, store, origin, position, last_recorded_at, segments, segments_linked,
              bytes_copied, checkpoints, snapshots, dry_run}, with --keys also keys: how many
were taken in

Examples:
  factlog restore /mnt/backup/shop shop
  factlog restore /mnt/backup/shop shop --keys /mnt/safe/shop.keys
  factlog restore /mnt/backup/shop shop-then --to 2026-01-31T12:00:00Z
  factlog restore /mnt/backup/shop shop-then --to 7630";

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RestoreArgs {
    /// The backup's directory
    #[arg(value_name = "BACKUP")]
    pub backup: PathBuf,
    /// The new store's directory
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// The last position, or the last moment (a time, a date or an age) [default: the end]
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse)]
    pub to: Option<RestoreTo>,
    /// Tell what would be made; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also take in the keys of subjects from this file
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

fn parse(text: &str) -> Result<RestoreTo, String> {
    if text == "end" {
        return Ok(RestoreTo::End);
    }
    match text.parse() {
        Ok(position) => Ok(RestoreTo::Position(Position::new(position))),
        Err(_) => {
            parse_now(text).map(RestoreTo::Time).map_err(|how| format!("{how}, or a position"))
        }
    }
}

/// Runs it.
///
/// # Errors
/// Not found, when there is no backup; usage, when something is in the directory; damage.
pub fn run(global: &Global, args: &RestoreArgs) -> Result<(), Failure> {
    let backup = Arc::new(RealDisk::new(&args.backup));
    let disk = Arc::new(RealDisk::new(&args.destination));
    let to = args.to.unwrap_or(RestoreTo::End);
    if let Some(file) = &args.keys {
        // Before a long copy.
        std::fs::File::open(file)
            .map_err(Failure::io(format!("cannot read {}", file.display())))?;
    }
    interrupt::say(|| "no store was made; run it again".into());
    let messages = Messages::with_bytes(global, Some(0));
    let options = shown(&messages).dry_run(args.dry_run);
    let report = factlog::restore_on(backup, disk, to, options);
    let report = report.map_err(|error| no_backup(&args.backup, error))?;
    drop(messages);
    let keys = match &args.keys {
        Some(file) if !args.dry_run => Some(take_in(global, &args.destination, file)?),
        _ => None,
    };
    tell(global, &args.destination, &report, (args.json, args.dry_run, keys))
}

/// The store is whole without its keys, so they may fail apart.
fn take_in(global: &Global, store: &Path, file: &Path) -> Result<u64, Failure> {
    let taken = || {
        let store = global.options().open(store)?;
        let taken = store.import_keys(file)?;
        store.close().map(|()| taken.added)
    };
    taken().map_err(|error| {
        let (store, file) = (store.display(), file.display());
        Messages::new(global).warn(format!(
            "factlog: the store in {store} was made, without its keys; \
             `factlog keys import {file} --dir {store}` takes them in"
        ));
        error.into()
    })
}

/// A missing backup said with its directory.
fn no_backup(dir: &Path, error: factlog::Error) -> Failure {
    match error.message().starts_with("there is no store") {
        true => Failure::NotFound(format!("there is no backup in {}", dir.display())),
        false => error.into(),
    }
}

/// Options that show their progress.
pub fn shown(messages: &Messages) -> BranchOptions<'_> {
    BranchOptions::default().progress(|done, all| {
        messages.bar().set_length(all);
        messages.bar().set_position(done);
    })
}

#[derive(Serialize)]
struct Answer {
    dir: String,
    store: Option<String>,
    origin: String,
    position: u64,
    last_recorded_at: Option<String>,
    segments: u64,
    segments_linked: u64,
    bytes_copied: u64,
    checkpoints: u64,
    snapshots: u64,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
}

/// Tells of a store that was made, or would be.
///
/// # Errors
/// Standard output cannot be written.
pub fn tell(
    global: &Global,
    dir: &Path,
    report: &BranchReport,
    (json, dry_run, keys): (bool, bool, Option<u64>),
) -> Result<(), Failure> {
    let mut out = Out::new(global);
    if json {
        out.json(&Answer {
            dir: dir.display().to_string(),
            store: report.store.map(|store| store.to_string()),
            origin: report.origin.to_string(),
            position: report.position.get(),
            last_recorded_at: report.last_recorded_at.map(rfc3339),
            segments: report.segments,
            segments_linked: report.segments_linked,
            bytes_copied: report.bytes_copied,
            checkpoints: report.checkpoints,
            snapshots: report.snapshots,
            dry_run,
            keys,
        })?;
        return out.done();
    }
    let ends = out.bold(&format!("position {}", grouped(report.position.get())));
    let at = report.last_recorded_at.map(|at| format!(", recorded {}", rfc3339(at)));
    let verb = if dry_run { "would end" } else { "ends" };
    out.line(format!("the store in {} {verb} at {ends}{}", dir.display(), at.unwrap_or_default()))?;
    let segments = counted(report.segments, "segment");
    if !dry_run {
        let (linked, bytes) = (grouped(report.segments_linked), sized(report.bytes_copied));
        out.line(format!("{segments}: {linked} shared, {bytes} copied"))?;
    }
    if let Some(keys) = keys {
        out.line(format!("{} taken in", counted(keys, "key")))?;
    }
    out.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_position_or_a_time() {
        assert_eq!(parse("end"), Ok(RestoreTo::End));
        assert_eq!(parse("7630"), Ok(RestoreTo::Position(Position::new(7630))));
        assert!(matches!(parse("2026-01-31T12:00:00Z"), Ok(RestoreTo::Time(_))));
        assert!(matches!(parse("2026-01-31"), Ok(RestoreTo::Time(_))));
        assert!(matches!(parse("5m"), Ok(RestoreTo::Time(_))));
        assert!(parse("yesterday").unwrap_err().contains("or a position"));
    }
}
