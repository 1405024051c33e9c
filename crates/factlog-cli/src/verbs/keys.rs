//! `keys`: which keys of subjects there are, and taking them out and in, apart from the log.
//!
//! Knows: the options and answers. Does not know: keys; none is ever printed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::open_there_to_write;
use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out, counted};
use crate::select::open_to_read;
use crate::times::rfc3339;
use crate::view::plain;

const EXAMPLES: &str = "\
A file of keys, with a copy of the log, is all that was ever said of anybody: keep it elsewhere, and
write a new one, and destroy the old, whenever something was forgotten.

With --json `ls` prints a line for each key, {\"id\", \"subject\", \"made_at\", \"forgotten_at\"};
`export` answers {\"file\", \"keys\"}, `import` {\"added\", \"forgotten\"}. What was forgotten where
the file was written is forgotten by importing it; what is forgotten here stays so.

Examples:
  factlog keys ls --dir shop
  factlog keys export shop.keys --dir shop
  factlog keys import shop.keys --dir restored";

/// Options of `keys`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub what: What,
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Every key: its id, whose it is, when it was made or destroyed
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Writes all keys into a new file
    Export {
        /// The file; it must not be there
        file: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Takes the keys of a file in
    Import {
        /// The file
        file: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Key {
    id: String,
    subject: String,
    made_at: String,
    forgotten_at: Option<String>,
}

#[derive(Serialize)]
struct Exported {
    file: String,
    keys: u64,
}

#[derive(Serialize)]
struct Imported {
    added: u64,
    forgotten: u64,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store or the file is not there; usage, when the file to write is; damaged,
/// when the keyring or the file is; for `import` locked, when somebody writes to the store.
pub fn run(global: &Global, args: &KeysArgs) -> Result<(), Failure> {
    let mut out = Out::new(global);
    let messages = Messages::new(global);
    match &args.what {
        What::Ls { json } => {
            for key in open_to_read(global)?.keys()? {
                let key = Key {
                    id: key.id.to_string(),
                    subject: key.subject,
                    made_at: rfc3339(key.made_at),
                    forgotten_at: key.forgotten_at.map(rfc3339),
                };
                print(&mut out, &key, *json)?;
            }
        }
        What::Export { file, json } => {
            let keys = open_to_read(global)?.export_keys(file)?;
            let file = file.display().to_string();
            messages.say(format!("{} written to {file}", counted(keys, "key")));
            if *json {
                out.json(&Exported { file, keys })?;
            }
        }
        What::Import { file, json } => {
            let store = open_there_to_write(global, &messages)?;
            let imported = store.import_keys(file)?;
            store.close()?;
            let (added, forgotten) = (imported.added, imported.forgotten);
            messages.say(format!("{} added, {forgotten} forgotten", counted(added, "key")));
            if *json {
                out.json(&Imported { added, forgotten })?;
            }
        }
    }
    out.done()
}

fn print(out: &mut Out, key: &Key, json: bool) -> Result<(), Failure> {
    if json {
        return out.json(key);
    }
    let Key { id, subject, made_at, forgotten_at } = key;
    let state = match forgotten_at {
        Some(at) => format!("forgotten at {at}"),
        None => format!("made at {made_at}"),
    };
    out.line(format!("{}  {}  {state}", out.dim(id), out.bold(&plain(subject))))
}
