//! `forget`: destroys the keys of a subject, after asking.
//!
//! Knows: the question and the receipt. Does not know: what keys are.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use factlog::Position;
use serde::Serialize;

use super::open_to_write;
use crate::args::Global;
use crate::exit::{Failure, IN_CLEAR};
use crate::output::{Messages, Out, counted};
use crate::select::open_to_read;
use crate::times::rfc3339;
use crate::view::plain;

const EXAMPLES: &str = "\
What the events of the subject say is gone, here and in every copy of the log; the events stay, with
position, stream, type, tags and metadata. Snapshots, and what was made of the data elsewhere, are
not touched. Nor is data that was stored in the clear, before the store had keys: all of the log is
read to count it, and where there is any the exit code is 7. Whoever writes to the store must have
closed it.

With --json the receipt is {\"subject\", \"forgotten_at\", \"keys\", \"through\",
\"overwritten\", \"in_clear\", \"first_in_clear\", \"whole\"}: the ids of the keys that were
destroyed (none when there was nothing left), the last position up to which encrypted data is gone,
whether the place of the keys on disk was overwritten as well, how many events are in the clear, the
position of the first, and whether all of the log could be read for that.

Examples:
  factlog forget person-17 --dir shop
  factlog forget person-17 --yes --json --dir shop";

/// Options of `forget`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ForgetArgs {
    /// Whose data it is
    pub subject: String,
    /// Without asking
    #[arg(long, short)]
    pub yes: bool,
    /// The receipt as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Receipt {
    subject: String,
    forgotten_at: String,
    keys: Vec<String>,
    through: u64,
    overwritten: bool,
    in_clear: u64,
    first_in_clear: Option<u64>,
    whole: bool,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store, its keyring or anything of the subject is not there; usage, when
/// nobody can be asked; locked, when somebody writes to the store; [`IN_CLEAR`], when something of
/// the subject is left.
pub fn run(global: &Global, args: &ForgetArgs) -> Result<(), Failure> {
    let messages = Messages::new(global);
    // A store is not made by forgetting something in it.
    let there = open_to_read(global)?;
    let known = there.keys()?.iter().any(|key| key.subject == args.subject);
    if !known && there.in_clear(&args.subject)?.events == 0 {
        let subject = plain(&args.subject);
        return Err(Failure::NotFound(format!(
            "there is no key of {subject}, and no event; `factlog keys ls` lists keys"
        )));
    }
    drop(there);
    if !args.yes && !agreed(&args.subject)? {
        return Err(Failure::Usage("nothing was forgotten".into()));
    }
    let store = open_to_write(global, &messages)?;
    let receipt = store.forget(&args.subject)?;
    store.close()?;
    let receipt = Receipt {
        subject: receipt.subject,
        forgotten_at: rfc3339(receipt.at),
        keys: receipt.keys.iter().map(ToString::to_string).collect(),
        through: receipt.through.get(),
        overwritten: receipt.overwritten,
        in_clear: receipt.in_clear.events,
        first_in_clear: receipt.in_clear.first.map(Position::get),
        whole: receipt.in_clear.whole,
    };
    let mut out = Out::new(global);
    match args.json {
        true => out.json(&receipt)?,
        false => tell(&mut out, &receipt)?,
    }
    out.done()?;
    say_what_is_left(&messages, &receipt);
    match receipt.in_clear == 0 && receipt.whole {
        true => Ok(()),
        false => Err(Failure::Code(IN_CLEAR)),
    }
}

fn say_what_is_left(messages: &Messages, receipt: &Receipt) {
    if let Some(first) = receipt.first_in_clear {
        let events = counted(receipt.in_clear, "event");
        messages.warn(format!(
            "factlog: not forgotten: {events} stored in the clear, the first at position {first}; \
             `factlog stream delete` and `factlog reclaim`, or `factlog trim`, take data away, but \
             not out of the newest segment: it must be full first"
        ));
    }
    if !receipt.whole {
        messages.warn("factlog: part of the log is damaged, and may hold more in the clear");
    }
}

fn tell(out: &mut Out, receipt: &Receipt) -> Result<(), Failure> {
    let subject = out.bold(&plain(&receipt.subject));
    if receipt.keys.is_empty() && receipt.in_clear > 0 {
        return out.line(format!("there was no key of {subject} to destroy"));
    }
    if receipt.keys.is_empty() {
        return out.line(format!("there was nothing left to forget of {subject}"));
    }
    let (keys, through) = (counted(receipt.keys.len() as u64, "key"), receipt.through);
    let at = &receipt.forgotten_at;
    out.line(format!("forgot {subject} at {at}: {keys} destroyed, up to position {through}"))?;
    for key in &receipt.keys {
        out.line(format!("  {}", out.dim(key)))?;
    }
    if !receipt.overwritten {
        out.line("the old keyring's place on disk could not be overwritten; no file has the keys")?;
    }
    Ok(())
}

/// Asks at the terminal.
fn agreed(subject: &str) -> Result<bool, Failure> {
    let (input, mut to) = (io::stdin(), io::stderr().lock());
    if !input.is_terminal() {
        return Err(Failure::Usage("forgetting cannot be undone: give --yes".into()));
    }
    let question = format!("Forget all data of {}? It cannot be undone. [y/N] ", plain(subject));
    to.write_all(question.as_bytes())
        .and_then(|()| to.flush())
        .map_err(Failure::io("cannot ask"))?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer).map_err(Failure::io("cannot read the answer"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
