//! `stream`: the life of one stream: show it, delete it, bury it, bound it.
//!
//! Knows: the options. Does not know: what deleting means; the store does.

use std::time::Duration;

use clap::{Args, Subcommand};
use factlog::{ErrorKind, Expect, Retention, Store, StreamName, StreamState, Version};
use serde::Serialize;

use super::open_there_to_write;
use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out, counted};
use crate::select::open_to_read;
use crate::times;
use crate::view::plain;

const EXAMPLES: &str = "\
Hidden events stay in the log: `factlog read` without a stream shows them, and
`factlog read STREAM --hidden mark` says why each is hidden.

With --json, show prints {\"stream\", \"state\", \"version\", \"last_position\", \"shown\",
\"truncate_before\", \"keep_last\", \"max_age_seconds\"}: state is never, live, deleted or
tombstoned, shown counts the events that a reader of the stream gets, and what is not set is null.
A stream that has no event and nothing set is not found: exit code 4.

Examples:
  factlog stream show Cart-7 --dir shop
  factlog stream delete Cart-7 --dir shop                   its next event makes it live again
  factlog stream tombstone Cart-7 --yes --dir shop          for ever
  factlog stream retain Sensor-1 --keep-last 1000 --max-age 30d --dir shop
  factlog stream retain Sensor-1 --all --dir shop           show everything again";

/// Options of `stream`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StreamArgs {
    #[command(subcommand)]
    pub what: What,
}

/// What is done with a stream.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Its state, and how much of it is shown
    Show {
        /// The stream
        stream: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Delete it: readers of it find nothing; its next event makes it live again
    Delete {
        /// The stream
        stream: String,
        /// Only if this is its version
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
    },
    /// Delete it for ever: it can be neither read nor appended to again
    Tombstone {
        /// The stream
        stream: String,
        /// Only if this is its version
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
        /// It cannot be taken back: say so
        #[arg(long)]
        yes: bool,
        /// Also a stream that has never had an event
        #[arg(long)]
        create: bool,
    },
    /// Say how much of it is shown, in place of what was said before
    Retain {
        /// The stream
        stream: String,
        #[command(flatten)]
        bounds: Bounds,
        /// Also for a stream that has never had an event
        #[arg(long)]
        create: bool,
    },
}

/// How much of a stream is shown.
#[derive(Debug, Default, Args)]
#[group(required = true, multiple = true)]
pub struct Bounds {
    /// Hide events below this version
    #[arg(long, value_name = "VERSION")]
    pub truncate_before: Option<u64>,
    /// Show only this many of the newest events
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u64>,
    /// Hide events older than this: 90s, 5m, 2h, 30d, 4w
    #[arg(long, value_name = "AGE", value_parser = times::duration)]
    pub max_age: Option<Duration>,
    /// Show everything
    #[arg(long, conflicts_with_all = ["truncate_before", "keep_last", "max_age"])]
    pub all: bool,
}

impl Bounds {
    fn retention(&self) -> Retention {
        let mut retention = Retention::default();
        retention.truncate_before = self.truncate_before.map(Version::new);
        retention.keep_last = self.keep_last;
        retention.max_age = self.max_age;
        retention
    }
}

/// Runs it.
///
/// # Errors
/// Not found, when the store or the stream is not there or tombstoned; conflict, when it has
/// another version; locked, when somebody writes to the store.
pub fn run(global: &Global, args: &StreamArgs) -> Result<(), Failure> {
    match &args.what {
        What::Show { stream, json } => show(global, &StreamName::new(stream.as_str())?, *json),
        What::Delete { stream, expect } => {
            let expect =
                expect.map_or(Expect::Any, |version| Expect::Version(Version::new(version)));
            change(global, stream, "is deleted", |store, name| {
                store.delete_stream(name, expect)?;
                Ok(())
            })
        }
        What::Tombstone { yes: false, stream, .. } => Err(Failure::Usage(format!(
            "{} could never be written again; say --yes if that is meant",
            plain(stream)
        ))),
        What::Tombstone { stream, expect, create, .. } => {
            let expect =
                expect.map_or(Expect::Any, |version| Expect::Version(Version::new(version)));
            change(global, stream, "is deleted for ever", |store, name| {
                must_be_there(store, name, *create)?;
                Ok(store.tombstone_stream(name, expect)?)
            })
        }
        What::Retain { stream, bounds, create } => {
            let retention = bounds.retention();
            let done = if bounds.all { "is shown whole" } else { "is bounded" };
            change(global, stream, done, |store, name| {
                must_be_there(store, name, *create)?;
                Ok(store.retain(name, retention)?)
            })
        }
    }
}

fn change(
    global: &Global,
    stream: &str,
    done: &str,
    act: impl FnOnce(&Store, &StreamName) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let name = StreamName::new(stream)?;
    let messages = Messages::new(global);
    let store = open_there_to_write(global, &messages)?;
    act(&store, &name).map_err(|failure| match failure {
        Failure::Store(error) if error.kind() == ErrorKind::Invalid => {
            Failure::Usage(error.message().to_owned())
        }
        Failure::Store(error) if error.kind() == ErrorKind::NotFound => {
            Failure::NotFound(error.message().to_owned())
        }
        _ => failure,
    })?;
    let shown = shown(&store, &name)?;
    store.close()?;
    let (is, shown) = (if shown == 1 { "is" } else { "are" }, counted(shown, "event"));
    messages.say(format!("{} {done}; {shown} of it {is} shown", plain(stream)));
    Ok(())
}

/// A misspelt name is set nothing.
fn must_be_there(store: &Store, name: &StreamName, create: bool) -> Result<(), Failure> {
    if create || is_known(store, name)? {
        return Ok(());
    }
    let name = plain(name.as_str());
    let text = format!("there is no stream {name}; --create if it is one that is yet to come");
    Err(Failure::NotFound(text))
}

/// Whether it ever had an event, or something was said of it.
fn is_known(store: &Store, name: &StreamName) -> Result<bool, Failure> {
    let never = store.stream_state(name)? == StreamState::Never;
    Ok(!never || store.retention(name)? != Retention::default())
}

/// How many events a reader of the stream gets.
fn shown(store: &Store, name: &StreamName) -> Result<u64, Failure> {
    match store.read_stream(name).count() {
        Err(error) if error.kind() == ErrorKind::Deleted => Ok(0),
        counted => Ok(counted?),
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    stream: &'a str,
    state: &'static str,
    version: u64,
    last_position: u64,
    shown: u64,
    truncate_before: Option<u64>,
    keep_last: Option<u64>,
    max_age_seconds: Option<f64>,
}

fn show(global: &Global, name: &StreamName, json: bool) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    if !is_known(&store, name)? {
        let text = format!("there is no stream {}", plain(name.as_str()));
        return Err(Failure::NotFound(text));
    }
    let (state, retention) = (store.stream_state(name)?, store.retention(name)?);
    let head = store.head(name)?;
    let shown = Shown {
        stream: name.as_str(),
        state: word_of(state),
        version: head.map_or(0, |head| head.version.get()),
        last_position: head.map_or(0, |head| head.last_position.get()),
        shown: shown(&store, name)?,
        truncate_before: retention.truncate_before.map(Version::get),
        keep_last: retention.keep_last,
        max_age_seconds: retention.max_age.map(|age| age.as_secs_f64()),
    };
    let mut out = Out::new(global);
    match json {
        true => out.json(&shown)?,
        false => print(&mut out, &shown)?,
    }
    out.done()
}

fn print(out: &mut Out, stream: &Shown<'_>) -> Result<(), Failure> {
    let name = out.bold(&plain(stream.stream));
    let Shown { state, version, last_position, shown, .. } = stream;
    out.line(format!("{name}  {state}, version {version}, last position {last_position}"))?;
    out.line(format!("shown            {} of {version}", counted(*shown, "event")))?;
    let numbers =
        [("truncated before", stream.truncate_before), ("keeps the last", stream.keep_last)];
    for (what, value) in numbers {
        if let Some(value) = value {
            out.line(format!("{what:<16} {value}"))?;
        }
    }
    match stream.max_age_seconds {
        Some(seconds) => out.line(format!("oldest           {seconds} s")),
        None => Ok(()),
    }
}

/// How a state is called, in JSON too.
pub fn word_of(state: StreamState) -> &'static str {
    match state {
        StreamState::Never => "never",
        StreamState::Live(_) => "live",
        StreamState::SoftDeleted(_) => "deleted",
        StreamState::Tombstoned(_) => "tombstoned",
    }
}
