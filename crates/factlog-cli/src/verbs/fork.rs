//! `fork`: a store of its own that begins as another, up to a position.
//!
//! Knows: its options. Does not know: how it is made, or how it is told of (`restore.rs`).

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use factlog::Position;
use factlog::disk::RealDisk;

use super::restore::{shown, tell};
use crate::args::Global;
use crate::exit::Failure;
use crate::output::Messages;
use crate::select::open_to_read;

const EXAMPLES: &str = "\
DEST is a new directory; on the same file system the two share what is sealed, by hard links, so
that a fork of any size takes no space of its own. Everything is read once and checked before, so
that damage is not passed on; with --no-verify a fork is made at once. Whatever is appended to one
is not in the other. The store may be open in another process. An interrupted run leaves no store;
run it again.

With --json: {dir, store, origin, position, last_recorded_at, segments, segments_linked,
              bytes_copied, checkpoints, snapshots, dry_run}

Examples:
  factlog fork what-if --at 7630 --dir shop
  factlog append Order-42 --type OrderCancelled --dir what-if";

/// Options of `fork`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ForkArgs {
    /// The new store's directory
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// The last position they have in common, rounded down to a whole batch [default: the newest]
    #[arg(long, value_name = "POSITION")]
    pub at: Option<u64>,
    /// Do not read what is shared
    #[arg(long)]
    pub no_verify: bool,
    /// Tell what would be made; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
///
/// # Errors
/// Usage, when something is in the directory or there is no such position; damage.
pub fn run(global: &Global, args: &ForkArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    let at = args.at.map_or_else(|| store.synced_position(), Position::new);
    let messages = Messages::with_bytes(global, Some(0));
    let disk = Arc::new(RealDisk::new(&args.destination));
    let options = shown(&messages).verify(!args.no_verify).dry_run(args.dry_run);
    let report = store.fork_on(at, disk, options)?;
    if report.segments_linked == 0 && report.segments > 1 && !args.dry_run {
        messages.say("the two directories cannot share files, so that everything was copied");
    }
    drop(messages);
    tell(global, &args.destination, &report, (args.json, args.dry_run))
}
