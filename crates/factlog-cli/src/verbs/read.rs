//! `read`: the events of a stream, a category or everything, once.
//!
//! Knows: the options and how they become one read. Does not know: how events are printed.

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use factlog::{Hidden, Position, Read, Store, Timestamp, Version};

use crate::args::Global;
use crate::exchange::KEYS;
use crate::exit::Failure;
use crate::output::{Messages, Out};
use crate::select::{FilterArgs, Target, open_to_read};
use crate::times;
use crate::view::{Format, View};

const EXAMPLES: &str = "\
On a terminal it prints a line for people, elsewhere the exchange format.

Examples:
  factlog read Order-42 --dir shop
  factlog read '$ce-Order' --back -n 10 --dir shop      the ten newest of a category
  factlog read --type OrderPlaced --since 2h --dir shop
  factlog read --tag customer:7 -o json --fields stream,version,data --dir shop
  factlog read -o table --color always --dir shop | less -R";

/// Options of `read`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReadArgs {
    /// A stream, '$ce-CATEGORY', or '$all' [default: $all]
    pub stream: Option<String>,
    /// First version of a stream, or first position of anything else; inclusive
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// Last version or position; inclusive
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Newest first
    #[arg(long, visible_alias = "backward")]
    pub back: bool,
    /// At most this many events
    #[arg(short = 'n', long = "limit", value_name = "N")]
    pub limit: Option<u64>,
    /// Only recorded at this time or later: a time, a date, or an age such as 5m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = times::parse_now)]
    pub since: Option<Timestamp>,
    /// Only recorded at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = times::parse_now)]
    pub until: Option<Timestamp>,
    /// What to do with events that their streams hide (deleted, truncated, too old)
    /// [default: exclude of one stream, else include]
    #[arg(long, value_enum, value_name = "HOW")]
    pub hidden: Option<Hide>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only these keys of each line
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',',
        value_parser = PossibleValuesParser::new(KEYS), hide_possible_values = true)]
    pub fields: Vec<String>,
    /// How to print [default: table on a terminal, else ndjson]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// What is done with hidden events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hide {
    /// Leave them out
    Exclude,
    /// Print them like others
    Include,
    /// Print them, and on standard error why each is hidden
    Mark,
}

impl From<Hide> for Hidden {
    fn from(hide: Hide) -> Self {
        match hide {
            Hide::Exclude => Self::Exclude,
            Hide::Include => Self::Include,
            Hide::Mark => Self::Mark,
        }
    }
}

/// Runs it.
///
/// # Errors
/// Not found, when the stream or category is not there.
pub fn run(global: &Global, args: &ReadArgs) -> Result<(), Failure> {
    let target = Target::named(args.stream.as_deref(), args.filter.category.as_deref())?;
    let store = open_to_read(global)?;
    if args.stream.is_some() {
        target.must_exist(&store)?;
    }
    let messages = Messages::new(global);
    let mut out = Out::new(global);
    let mut view = View::new(args.output, &args.fields, &out);
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut printed = 0;
    let events = if limit == 0 { None } else { Some(read(&store, &target, args)) };
    for event in events.into_iter().flatten() {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                out.done()?;
                return Err(error.into());
            }
        };
        if !args.filter.keeps(&event) {
            continue;
        }
        if let Some(reason) = event.hidden() {
            messages.say(format!("position {} is hidden: {reason}", event.position()));
        }
        view.event(&mut out, &event)?;
        printed += 1;
        if printed >= limit {
            break;
        }
    }
    view.end(&mut out)
}

fn read(store: &Store, target: &Target, args: &ReadArgs) -> Read {
    let mut read = select(store, target, &args.filter);
    read = match target {
        Target::Stream(_) => {
            let from = args.from.filter(|version| *version > 1);
            let read = from.into_iter().fold(read, |read, v| read.from(Version::new(v)));
            args.to.into_iter().fold(read, |read, v| read.to(Version::new(v)))
        }
        Target::All | Target::Category(_) => {
            let from = args.from.filter(|position| *position > 1);
            let read = from.into_iter().fold(read, |read, p| read.after(Position::new(p - 1)));
            args.to.into_iter().fold(read, |read, p| read.through(Position::new(p)))
        }
    };
    if let Some(since) = args.since {
        read = read.since(since);
    }
    if let Some(until) = args.until {
        read = read.until(until);
    }
    if let Some(hide) = args.hidden {
        read = read.hidden(hide.into());
    }
    if let Some(limit) = args.limit.filter(|_| !args.filter.looks_at_each(target)) {
        read = read.limit(limit);
    }
    if args.back { read.backward() } else { read }
}

/// A read of the target, with the filters that indexes answer.
pub fn select(store: &Store, target: &Target, filter: &FilterArgs) -> Read {
    let query = filter.query();
    let read = match target {
        Target::All => match query {
            Some(query) => return store.read(query),
            None => return store.read_all(),
        },
        Target::Stream(stream) => store.read_stream(stream),
        Target::Category(category) => store.read_category(category),
    };
    query.into_iter().fold(read, Read::only)
}
