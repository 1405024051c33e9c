//! `tail`: the newest events, and with `-f` what comes after them, also from another process.
//!
//! Knows: where the past ends and following begins. Does not know: how a subscription waits.

use clap::Args;
use factlog::{Delivery, Position, RecordedEvent, Source, Start, Store, Timestamp};

use super::read::select;
use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out};
use crate::select::{FilterArgs, Target, open_to_read};
use crate::times;
use crate::view::{Format, View};

const EXAMPLES: &str = "\
Examples:
  factlog tail --dir shop
  factlog tail -f -n 0 --dir shop                     only what is new
  factlog tail Order-42 -f --dir shop                 also before the stream is there
  factlog tail -f --category Order --since 5m --dir shop | jq .data";

/// Options of `tail`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TailArgs {
    /// A stream, '$ce-CATEGORY', or '$all' [default: $all]
    pub stream: Option<String>,
    /// How many of the newest events [default: 10, or all with --since]
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub lines: Option<u64>,
    /// Go on with what comes, until interrupted; works while another process is writing
    #[arg(short, long)]
    pub follow: bool,
    /// Only recorded at this time or later: a time, a date, or an age such as 5m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = times::parse_now)]
    pub since: Option<Timestamp>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only these keys of each line
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// How to print [default: table on a terminal, else ndjson]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store is not there, or without `-f` the stream.
pub fn run(global: &Global, args: &TailArgs) -> Result<(), Failure> {
    let target = Target::named(args.stream.as_deref(), args.filter.category.as_deref())?;
    if args.follow && args.output == Some(Format::Json) {
        return Err(Failure::Usage("an array has an end: follow with -o ndjson".into()));
    }
    let store = open_to_read(global)?;
    if args.stream.is_some()
        && let Err(missing) = target.must_exist(&store)
    {
        if !args.follow {
            return Err(missing);
        }
        Messages::new(global).say("nothing there yet; waiting");
    }
    let mut out = Out::new(global);
    let mut view = View::new(args.output, &args.fields, &out);
    let tail = Tail { store, target, args };
    let seen = tail.store.last_position();
    for event in tail.newest(seen)? {
        view.event(&mut out, &event)?;
    }
    if args.follow {
        return tail.follow(seen, &mut view, &mut out);
    }
    view.end(&mut out)
}

struct Tail<'a> {
    store: Store,
    target: Target,
    args: &'a TailArgs,
}

impl Tail<'_> {
    /// The newest events up to `seen`, oldest first.
    fn newest(&self, seen: Position) -> Result<Vec<RecordedEvent>, Failure> {
        let (args, filter) = (self.args, &self.args.filter);
        let usual = if args.since.is_some() { u64::MAX } else { 10 };
        let wanted = args.lines.unwrap_or(usual);
        if wanted == 0 || seen == Position::START {
            return Ok(Vec::new());
        }
        let mut read = select(&self.store, &self.target, filter).through(seen).backward();
        if let Some(since) = args.since {
            read = read.since(since);
        }
        if !filter.looks_at_each(&self.target) {
            read = read.limit(wanted);
        }
        let mut events = Vec::new();
        for event in read {
            let event = event?;
            if filter.keeps(&event) {
                events.push(event);
            }
            if events.len() as u64 >= wanted {
                break;
            }
        }
        events.reverse();
        Ok(events)
    }

    /// Prints every event after `seen`, flushing whenever there is nothing more to print. Ends only
    /// by an error, an interrupt, or when nobody reads any more.
    fn follow(&self, seen: Position, view: &mut View, out: &mut Out) -> Result<(), Failure> {
        let query = self.args.filter.query();
        let source = match (&self.target, &query) {
            (Target::Stream(stream), _) => Source::Stream(stream.clone()),
            (Target::Category(category), _) => Source::Category(category.clone()),
            (Target::All, Some(query)) => Source::Query(query.clone()),
            (Target::All, None) => Source::All,
        };
        let mut subscription = self.store.subscribe(source).start(Start::After(seen))?;
        loop {
            let delivery = match subscription.try_next()? {
                Some(delivery) => delivery,
                None => {
                    out.done()?;
                    subscription.next()?
                }
            };
            let Delivery::Event(event) = delivery else { continue };
            let wanted = query.as_ref().is_none_or(|query| query.matches(&event.as_ref()))
                && self.args.since.is_none_or(|since| event.recorded_at() >= since)
                && self.args.filter.keeps(&event);
            if wanted {
                view.event(out, &event)?;
            }
        }
    }
}
