//! `init`: makes an empty store.
//!
//! Knows: that making one which is there already is fine. Does not know: what a store consists of.

use clap::Args;
use factlog::{Keyring, Store};
use serde::Serialize;

use super::open_to_write;
use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out};

const EXAMPLES: &str = "\
A store that is there already is left as it is: with --json the answer is {\"dir\", \"created\"}.

Examples:
  factlog init --dir shop
  factlog init --encrypt --dir shop      data of subjects can be forgotten";

/// Options of `init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// With a keyring: what events say of a subject is encrypted, and can be forgotten; also for a
    /// store that is there already
    #[arg(long)]
    pub encrypt: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Made {
    dir: String,
    created: bool,
}

/// Runs it.
///
/// # Errors
/// Usage, when the directory holds something else; locked, when somebody writes to the store.
pub fn run(global: &Global, args: &InitArgs) -> Result<(), Failure> {
    let messages = Messages::new(global);
    let dir = global.dir()?.display().to_string();
    let keys = global.keyring.clone().unwrap_or_else(|| dir.clone().into()).join("keyring");
    let had_keys = keys.exists();
    let store = open_to_write(global, &messages)?;
    let created = store.open_report().created;
    store.close()?;
    if args.encrypt && global.keyring.is_none() {
        Store::options().keyring(Keyring::beside()).open(&dir)?.close()?;
    }
    if !created {
        messages.say(format!("there is a store in {dir} already"));
    }
    if args.encrypt || global.keyring.is_some() {
        match (had_keys, keys.exists()) {
            (true, _) => {}
            (false, true) => messages.say(format!("made {}", keys.display())),
            // A new one would hide that the old one is lost.
            (false, false) => {
                let text = format!(
                    "the store in {dir} has encrypted data and {} is missing; \
                     `factlog keys import` takes its keys in",
                    keys.display()
                );
                return Err(Failure::NotFound(text));
            }
        }
    }
    let mut out = Out::new(global);
    if args.json {
        out.json(&Made { dir, created })?;
    }
    out.done()
}
