//! Layer 9.9: the command line: which campaigns run, how long, and what they counted.
//!
//! Knows: options and their defaults. Does not know: what a campaign does.

mod calls;
mod contract;
mod kills;
mod plan;
mod process;
mod record;
mod said;
mod script;
mod trouble;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// SIGKILL at every system call of scripted runs
    Kills {
        #[arg(long, env = "FACTLOG_KILLS", default_value_t = 250)]
        kills: u64,
    },
    /// The process that writes
    #[command(hide = true)]
    Script(ScriptArgs),
}

fn tell(text: &str) {
    let _: io::Result<()> = writeln!(io::stdout().lock(), "{text}"); // nobody listens
}

fn run(cli: &Cli) -> Outcome<()> {
    match &cli.part {
        Part::Script(args) => script::run(args),
        Part::Kills { kills } => {
            let scratch = tempfile::tempdir_in("/dev/shm").map_err(Trouble::io("scratch"))?;
            let tally = kills::campaign(scratch.path(), cli.seed, *kills)?;
            tell(&format!("{tally:?}"));
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
