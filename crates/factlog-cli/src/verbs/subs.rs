//! `subs`: how far durable subscribers are, setting one back or forward, and removing one.
//!
//! Knows: the options, what lag means. Does not know: where checkpoints are kept.

use clap::{Args, Subcommand};
use factlog::{ErrorKind, Position, Store};
use serde::Serialize;

use super::open_there_to_write;
use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out, counted};
use crate::select::open_to_read;
use crate::times::rfc3339;
use crate::view::plain;

const EXAMPLES: &str = "\
With --json every checkpoint is one line: {\"name\", \"position\", \"lag\", \"oldest_unread\",
\"saved_at\"}. The lag counts the events of the whole log that came after and were not trimmed;
oldest_unread is when the first of them was recorded. saved_at is null when an append carried the
checkpoint. rm prints {\"name\", \"position\"}: what was removed.

Examples:
  factlog subs ls --dir shop
  factlog subs lag mailer --dir shop
  factlog subs reset mailer --to start --dir shop     the mailer must not be running
  factlog subs rm mailer --dir shop                   it holds back no trim any more";

/// Options of `subs`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SubsArgs {
    #[command(subcommand)]
    pub what: What,
}

/// What is done with checkpoints.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Every checkpoint: its position and its lag
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// How many events one subscriber has yet to see
    Lag {
        /// The checkpoint's name
        name: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Sets one anew: what comes after the position will be delivered
    Reset {
        /// The checkpoint's name
        name: String,
        /// A position, `start` or `end`
        #[arg(long, value_name = "POSITION|start|end", value_parser = place)]
        to: Place,
        /// Also a name that has no checkpoint yet
        #[arg(long)]
        create: bool,
    },
    /// Removes one, as if it had never been
    Rm {
        /// The checkpoint's name
        name: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Where a checkpoint is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Start,
    End,
    After(u64),
}

fn place(text: &str) -> Result<Place, String> {
    match text {
        "start" => Ok(Place::Start),
        "end" => Ok(Place::End),
        number => match number.parse() {
            Ok(position) => Ok(Place::After(position)),
            Err(_) => Err("give a position, start or end".into()),
        },
    }
}

#[derive(Serialize)]
struct Subscriber {
    name: String,
    position: u64,
    lag: u64,
    oldest_unread: Option<String>,
    saved_at: Option<String>,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store or the checkpoint is not there; for `reset` and `rm` locked, when
/// somebody writes to the store.
pub fn run(global: &Global, args: &SubsArgs) -> Result<(), Failure> {
    let mut out = Out::new(global);
    match &args.what {
        What::Ls { json } => {
            let all = all(&open_to_read(global)?)?;
            if all.is_empty() {
                Messages::new(global).say("no subscriber has a checkpoint here");
            }
            for subscriber in all {
                print(&mut out, &subscriber, *json)?;
            }
        }
        What::Lag { name, json } => {
            let all = all(&open_to_read(global)?)?;
            let found = all.into_iter().find(|subscriber| subscriber.name == *name);
            print(&mut out, &found.ok_or_else(|| missing(name))?, *json)?;
        }
        What::Reset { name, to, create } => reset(global, name, *to, *create)?,
        What::Rm { name, json } => remove(global, &mut out, name, *json)?,
    }
    out.done()
}

fn all(store: &Store) -> Result<Vec<Subscriber>, Failure> {
    let last = store.last_position().get();
    let trimmed = store.first_position().get().saturating_sub(1);
    let checkpoints = store.checkpoints()?.into_iter().map(|checkpoint| {
        let seen = checkpoint.position.get().max(trimmed);
        let lag = last.saturating_sub(seen);
        let unread = match lag {
            0 => None,
            _ => store.event_at(Position::new(seen + 1)).ok().flatten(), // else damaged: unknown
        };
        Subscriber {
            position: checkpoint.position.get(),
            lag,
            oldest_unread: unread.map(|event| rfc3339(event.recorded_at())),
            saved_at: checkpoint.saved_at.map(rfc3339),
            name: checkpoint.name,
        }
    });
    Ok(checkpoints.collect())
}

fn print(out: &mut Out, subscriber: &Subscriber, json: bool) -> Result<(), Failure> {
    if json {
        return out.json(subscriber);
    }
    let Subscriber { name, position, lag, oldest_unread, .. } = subscriber;
    let since = oldest_unread.as_ref().map(|at| format!(", the oldest of {at}"));
    let behind = match lag {
        0 => "nothing to read".to_owned(),
        lag => format!("{} behind{}", counted(*lag, "event"), since.unwrap_or_default()),
    };
    out.line(format!("{position:>10}  {}  {behind}", out.bold(&plain(name))))
}

fn reset(global: &Global, name: &str, to: Place, create: bool) -> Result<(), Failure> {
    let messages = Messages::new(global);
    let store = open_there_to_write(global, &messages)?;
    let before = store.checkpoint(name)?;
    if before.is_none() && !create {
        return Err(missing(name));
    }
    let last = store.last_position();
    let to = match to {
        Place::Start => Position::START,
        Place::End => last,
        Place::After(position) => Position::new(position),
    };
    store.reset_checkpoint(name, to).map_err(|error| match error.kind() {
        ErrorKind::Invalid if to > last => {
            Failure::Usage(format!("the log ends at position {last}, before {to}"))
        }
        _ => error.into(),
    })?;
    store.close()?;
    let before = before.map(|position| format!("; before it was {position}")).unwrap_or_default();
    messages.say(format!("{} is at position {to} now{before}", plain(name)));
    Ok(())
}

#[derive(Serialize)]
struct Removed<'a> {
    name: &'a str,
    position: u64,
}

fn remove(global: &Global, out: &mut Out, name: &str, json: bool) -> Result<(), Failure> {
    let messages = Messages::new(global);
    let store = open_there_to_write(global, &messages)?;
    let Some(position) = store.checkpoint(name)? else { return Err(missing(name)) };
    store.remove_checkpoint(name)?;
    store.close()?;
    messages.say(format!(
        "removed {name}, which was at position {position}; \
         `factlog subs reset {name} --to {position} --create` would bring it back",
        name = plain(name)
    ));
    let position = position.get();
    if json { out.json(&Removed { name, position }) } else { Ok(()) }
}

fn missing(name: &str) -> Failure {
    let name = plain(name);
    Failure::NotFound(format!("there is no checkpoint {name}; `factlog subs ls` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_positions_or_ends() {
        assert_eq!(place("start"), Ok(Place::Start));
        assert_eq!(place("end"), Ok(Place::End));
        assert_eq!(place("7"), Ok(Place::After(7)));
        assert!(place("-1").is_err());
        assert!(place("middle").is_err());
    }
}
