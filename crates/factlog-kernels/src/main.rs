//! Layer 9.9: the command line: which campaigns run, how long, and what they counted.
//!
//! Knows: options and their defaults. Does not know: what a campaign does.

mod calls;
mod checker;
mod contract;
mod device;
mod faults;
mod filesystems;
mod image;
mod isolate;
mod kills;
mod overlap;
mod plan;
mod process;
mod record;
mod said;
mod script;
mod states;
mod tape;
mod trouble;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tempfile::TempDir;

use filesystems::{KINDS, Kind};
use isolate::Need;
use script::ScriptArgs;
use trouble::{Outcome, Trouble};

/// Tries factlog's crash safety on the kernel and the file systems of this machine
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    part: Part,
    /// What everything is made from
    #[arg(long, global = true, env = "FACTLOG_SEED", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Says whether the machine allows a campaign, and if not, why
    Can { need: Need },
    /// SIGKILL at every system call of scripted runs
    Kills {
        #[arg(long, env = "FACTLOG_KILLS", default_value_t = 250)]
        kills: u64,
    },
    /// Calls that fail, syncs that lie, disks that are full
    Faults {
        /// Calls that fail; a fifth as many lies and full disks
        #[arg(long, env = "FACTLOG_FAULTS", default_value_t = 200)]
        faults: u64,
    },
    /// Power cuts under ext4, xfs and btrfs
    CrashStates {
        /// States on ext4; two fifths as many on xfs and on btrfs
        #[arg(long, env = "FACTLOG_FS_STATES", default_value_t = 150)]
        states: u64,
        /// One file system only
        #[arg(long)]
        only: Option<Kind>,
    },
    /// Shows that overlapping syncs of one file description hide an error from one of them
    Overlap {
        #[arg(long, hide = true)]
        file: Option<PathBuf>,
        #[arg(long, hide = true)]
        shared: bool,
    },
    /// The process that writes
    #[command(hide = true)]
    Script(ScriptArgs),
    /// The process that looks at disks
    #[command(hide = true)]
    Check {
        #[arg(long)]
        point: PathBuf,
    },
}

fn tell(text: &str) {
    let _: io::Result<()> = writeln!(io::stdout().lock(), "{text}"); // nobody listens
}

/// In memory where there is such a place: a kill takes nothing from it.
fn scratch() -> Outcome<TempDir> {
    let made = tempfile::Builder::new().prefix("factlog-kernels-").tempdir_in("/dev/shm");
    made.or_else(|_| tempfile::tempdir()).map_err(Trouble::io("cannot make a directory"))
}

fn run(cli: &Cli) -> Outcome<()> {
    match &cli.part {
        Part::Script(args) => script::run(args),
        Part::Check { point } => checker::serve(point),
        Part::Can { need } => match isolate::lacks(*need) {
            Some(why) => Err(Trouble::Machine(why)),
            None => Ok(()),
        },
        Part::Kills { kills } => {
            isolate::enter()?;
            let scratch = scratch()?;
            let tally = kills::campaign(scratch.path(), cli.seed, *kills)?;
            tell(&format!("{tally:?}"));
            Ok(())
        }
        Part::Overlap { file: Some(file), shared } => overlap::write(file, *shared),
        Part::Overlap { .. } => {
            isolate::enter()?;
            let seen = overlap::show(scratch()?.path())?;
            tell(&format!("{seen:?}"));
            Ok(())
        }
        Part::Faults { faults } => {
            isolate::enter()?;
            let tally = faults::campaign(scratch()?.path(), cli.seed, *faults)?;
            tell(&format!("{tally:?}"));
            Ok(())
        }
        Part::CrashStates { states, only } => {
            isolate::enter()?;
            for kind in KINDS.into_iter().filter(|kind| only.is_none_or(|only| only == *kind)) {
                let wanted = if kind == Kind::Ext4 { *states } else { *states * 2 / 5 };
                let scratch = scratch()?;
                let tally = states::campaign(scratch.path(), kind, cli.seed, wanted)?;
                tell(&format!("{kind}: {tally:?}"));
            }
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            let _: io::Result<()> = writeln!(io::stderr(), "kernels: {trouble}");
            ExitCode::FAILURE
        }
    }
}
