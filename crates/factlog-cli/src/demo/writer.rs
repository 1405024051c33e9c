//! The demo's writing child: announces every append before it begins and after it was answered.
//!
//! Knows: what it writes, so that its parent can tell it from anything else. Does not know: when it
//! will be killed.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

use clap::Parser;
use factlog::{Error, Expect, NewEvent, Store};
use uuid::Uuid;

use crate::exit::Failure;

/// Events of one append: after a kill all of them are there, or none.
pub const BATCH: u64 = 3;
/// Threads that append, so that the kill always finds appends under way.
pub const WRITERS: u64 = 4;

/// What the demo calls it by. It is no verb: nobody else has a use for it.
pub const NAME: &str = "demo-writer";

/// Options of the child.
#[derive(Debug, Parser)]
#[command(name = NAME)]
pub struct WriterArgs {
    /// What tells its events from another child's
    #[arg(long)]
    pub round: u64,
    /// The store's directory
    #[arg(long)]
    pub dir: PathBuf,
}

/// The options, if this process is such a child.
pub fn asked_for() -> Option<WriterArgs> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let named = arguments.peek().is_some_and(|name| name == NAME);
    named.then(|| WriterArgs::parse_from(arguments))
}

/// What the child says of one append, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It begins: the thread, and the number of the append.
    Begins(u64, u64),
    /// It was answered with this last position: it is on disk.
    Answered(u64, u64, u64),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins(writer, append) => write!(f, "begins {writer} {append}."),
            Self::Answered(writer, append, position) => {
                write!(f, "answered {writer} {append} {position}.")
            }
        }
    }
}

impl FromStr for Said {
    type Err = ();

    /// A line that was cut short by a kill has lost its full stop.
    fn from_str(line: &str) -> Result<Self, ()> {
        let words: Vec<&str> = line.strip_suffix('.').ok_or(())?.split(' ').collect();
        let number = |word: &str| word.parse().map_err(|_| ());
        match words.as_slice() {
            ["begins", writer, append] => Ok(Self::Begins(number(writer)?, number(append)?)),
            ["answered", writer, append, position] => {
                Ok(Self::Answered(number(writer)?, number(append)?, number(position)?))
            }
            _ => Err(()),
        }
    }
}

/// The stream of one thread.
pub fn stream(round: u64, writer: u64) -> String {
    format!("Crash-{round}-{writer}")
}

/// The id of one event, known to parent and child.
pub fn id(round: u64, writer: u64, append: u64, part: u64) -> Uuid {
    Uuid::from_u64_pair((round << 16) | writer, (append << 8) | part)
}

fn events(round: u64, writer: u64, append: u64) -> Result<Vec<NewEvent>, Error> {
    let event = |part: u64| {
        let value = serde_json::json!({ "append": append, "part": part, "of": BATCH });
        Ok(NewEvent::json("Written", &value)?.id(id(round, writer, append, part)))
    };
    (1..=BATCH).map(event).collect()
}

/// Appends until it is killed.
///
/// # Errors
/// When the store cannot be opened or written.
pub fn run(args: &WriterArgs) -> Result<(), Failure> {
    let store = Store::open(&args.dir)?;
    let round = args.round;
    let threads: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            thread::spawn(move || write(&store, round, writer))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| Failure::Disproved("a writing thread died".into()))??;
    }
    Ok(())
}

fn write(store: &Store, round: u64, writer: u64) -> Result<(), Failure> {
    let say = |said: Said| writeln!(io::stdout().lock(), "{said}"); // a line is flushed at its end
    let stream = stream(round, writer);
    for append in 1.. {
        say(Said::Begins(writer, append))?;
        let answer = store.append(&stream, Expect::Any, events(round, writer, append)?)?;
        say(Said::Answered(writer, append, answer.last.get()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_half_a_line_is_not() {
        for said in [Said::Begins(1, 7), Said::Answered(1, 7, 21)] {
            let line = said.to_string();
            assert_eq!(line.parse(), Ok(said));
            assert!((0..line.len()).all(|cut| line[..cut].parse::<Said>().is_err()));
        }
    }

    #[test]
    fn ids_tell_rounds_threads_appends_and_parts_apart() {
        let ids = [id(1, 0, 1, 1), id(1, 0, 1, 2), id(1, 0, 2, 1), id(1, 1, 1, 1), id(2, 0, 1, 1)];
        for (index, one) in ids.iter().enumerate() {
            assert!(!ids[index + 1..].contains(one));
        }
    }
}
