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
mod soak;
mod states;
mod tape;
mod trouble;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
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
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Says whether the machine allows a campaign, and if not, why
    Can { need: Need },
    /// SIGKILL at every system call of scripted runs, and at random instants of many threads
    Kills(Bounds),
    /// Calls that fail, syncs that lie, disks that are full
    Faults(Bounds),
    /// Power cuts under ext4, xfs and btrfs, and what overlapping syncs answer there
    CrashStates(Bounds),
    /// All of them
    All(Bounds),
    /// The process that writes
    #[command(hide = true)]
    Script(ScriptArgs),
    /// The process whose threads write
    #[command(hide = true)]
    SoakWriter {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        seed: u64,
    },
    /// The process that looks at disks
    #[command(hide = true)]
    Check {
        #[arg(long)]
        point: PathBuf,
    },
    /// The process that syncs twice at a time
    #[command(hide = true)]
    Overlap {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        shared: bool,
    },
}

/// How much is done, and from what.
#[derive(Debug, Clone, Args)]
struct Bounds {
    /// What everything is made from
    #[arg(long, env = "FACTLOG_SEED", default_value_t = 1)]
    seed: u64,
    /// Kills at system calls; a twentieth as many at random instants
    #[arg(long, env = "FACTLOG_KILLS", default_value_t = 1400)]
    kills: u64,
    /// Calls that fail; half as many full disks, a sixth as many lies
    #[arg(long, env = "FACTLOG_FAULTS", default_value_t = 200)]
    faults: u64,
    /// Crash states of ext4; two fifths as many of xfs and of btrfs
    #[arg(long, env = "FACTLOG_FS_STATES", default_value_t = 150)]
    states: u64,
    /// Crash states of this file system only
    #[arg(long)]
    only: Option<Kind>,
}

fn tell(text: &str) {
    let _: io::Result<()> = writeln!(io::stdout().lock(), "{text}"); // nobody listens
}

/// Bounds, and where there is room for what is made.
struct Stage<'a> {
    bounds: &'a Bounds,
    place: PathBuf,
}

impl Stage<'_> {
    fn scratch(&self) -> Outcome<TempDir> {
        tempfile::tempdir_in(&self.place).map_err(Trouble::io("cannot make a directory"))
    }
}

/// Each tells its counts, and answers them in short.
fn kills(stage: &Stage<'_>) -> Outcome<String> {
    let (bounds, scratch) = (stage.bounds, stage.scratch()?);
    let tally = kills::campaign(scratch.path(), bounds.seed, bounds.kills)?;
    tell(&format!("kills at system calls: {tally:?}"));
    let soak = soak::campaign(scratch.path(), bounds.seed, bounds.kills.div_ceil(20))?;
    tell(&format!("kills at random instants: {soak:?}"));
    Ok(format!("kills {}, soak {}", tally.kills, soak.kills))
}

fn faults(stage: &Stage<'_>) -> Outcome<String> {
    let Bounds { seed, faults, .. } = stage.bounds;
    let tally = faults::campaign(stage.scratch()?.path(), *seed, *faults)?;
    tell(&format!("faults: {tally:?}"));
    Ok(format!("faults {}, lies {}, full disks {}", tally.faults, tally.lies, tally.full))
}

fn crash_states(stage: &Stage<'_>) -> Outcome<String> {
    let bounds = stage.bounds;
    let mut counts = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| bounds.only.is_none_or(|only| only == *kind)) {
        let wanted = if kind == Kind::Ext4 { bounds.states } else { bounds.states * 2 / 5 };
        let tally = states::campaign(stage.scratch()?.path(), kind, bounds.seed, wanted)?;
        tell(&format!("crash states of {kind}: {tally:?}"));
        counts.push(format!("{kind} {}", tally.states));
    }
    let seen = overlap::show(stage.scratch()?.path())?;
    tell(&format!("overlapping syncs, failed of two: {seen:?}"));
    counts.push(format!("overlapping syncs {}", seen.len()));
    Ok(counts.join(", "))
}

fn campaigns(bounds: &Bounds, which: &[fn(&Stage<'_>) -> Outcome<String>]) -> Outcome<()> {
    let stage = Stage { bounds, place: isolate::enter()? };
    let counts: Outcome<Vec<String>> = which.iter().map(|campaign| campaign(&stage)).collect();
    tell(&format!("kernels: {}, findings 0 (seed {})", counts?.join(", "), bounds.seed));
    Ok(())
}

fn run(part: &Part) -> Outcome<()> {
    match part {
        Part::Can { need } => isolate::lacks(*need).map_or(Ok(()), |why| Err(Trouble::Lacks(why))),
        Part::Kills(bounds) => campaigns(bounds, &[kills]),
        Part::Faults(bounds) => campaigns(bounds, &[faults]),
        Part::CrashStates(bounds) => campaigns(bounds, &[crash_states]),
        Part::All(bounds) => campaigns(bounds, &[kills, faults, crash_states]),
        Part::Script(args) => script::run(args),
        Part::SoakWriter { dir, seed } => soak::write(dir, *seed),
        Part::Check { point } => checker::serve(point),
        Part::Overlap { file, shared } => overlap::write(file, *shared),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse().part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            let _: io::Result<()> = writeln!(io::stderr(), "{trouble}");
            ExitCode::FAILURE
        }
    }
}
