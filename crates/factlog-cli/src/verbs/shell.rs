//! `completions` and `man`: what a shell and a reader of manuals want of the command.
//!
//! Knows: the generators. Does not know: the command line itself, which it is given.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out};

const SHELLS: &str = "\
Examples:
  factlog completions bash > ~/.local/share/bash-completion/completions/factlog
  factlog completions zsh > ~/.zfunc/_factlog";

const PAGES: &str = "\
Without --to the page of the whole command goes to standard output.

Examples:
  factlog man | man -l -
  factlog man --to ~/.local/share/man/man1            a page for every verb";

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = SHELLS)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = PAGES)]
pub struct ManArgs {
    /// A directory for a page of every verb
    #[arg(long, value_name = "DIRECTORY")]
    pub to: Option<PathBuf>,
}

/// Prints what completes the command line of `command` in a shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(
    global: &Global,
    args: &CompletionsArgs,
    mut command: Command,
) -> Result<(), Failure> {
    let mut out = Out::new(global);
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "factlog", &mut text);
    out.write_all(&text)?;
    out.done()
}

/// Prints the manual, or writes a page for every verb.
///
/// # Errors
/// What is written to cannot be written.
pub fn man(global: &Global, args: &ManArgs, command: Command) -> Result<(), Failure> {
    let Some(directory) = &args.to else {
        let mut out = Out::new(global);
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        out.write_all(&text)?;
        return out.done();
    };
    let place = directory.display();
    std::fs::create_dir_all(directory).map_err(Failure::io(format!("cannot make {place}")))?;
    clap_mangen::generate_to(command, directory)
        .map_err(Failure::io(format!("cannot write to {place}")))?;
    Messages::new(global).say(format!("a page for every verb is in {place}"));
    Ok(())
}
