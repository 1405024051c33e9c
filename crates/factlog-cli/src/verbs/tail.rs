//! `tail`: the newest events, and with `-f` what comes after them, also from another process.
//!
//! Knows: where the past ends and following begins. Does not know: how a subscription waits.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use factlog::{Delivery, Position, RecordedEvent, Source, Start, Store, StreamState, Timestamp};

use super::read::{Hide, select};
use crate::args::Global;
use crate::exchange::KEYS;
use crate::exit::Failure;
use crate::output::{Messages, Out};
use crate::select::{FilterArgs, Target, open_to_read};
use crate::times;
use crate::view::{Format, View, plain};

/// How often a stream that nothing comes of is looked at.
const LOOK: Duration = Duration::from_millis(300);

const EXAMPLES: &str = "\
Examples:
  factlog tail --dir shop
  factlog tail -f -n 0 --dir shop                     only what is new
  factlog tail Order-42 -f --dir shop                 also before the stream is there; ends when
                                                      it is deleted for ever
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
    /// What to do with events that their streams hide (deleted, truncated, too old)
    /// [default: exclude of one stream, else include]
    #[arg(long, value_enum, value_name = "HOW")]
    pub hidden: Option<Hide>,
    /// Only recorded at this time or later: a time, a date, or an age such as 5m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = times::parse_now)]
    pub since: Option<Timestamp>,
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
    let messages = Messages::new(global);
    if args.stream.is_some()
        && let Err(missing) = target.must_exist(&store)
    {
        if !args.follow {
            return Err(missing);
        }
        messages.say("nothing there yet; waiting");
    }
    let mut out = Out::new(global);
    let mut view = View::new(args.output, &args.fields, &out);
    let tail = Tail { messages, store, target, args };
    let seen = tail.store.last_position();
    for event in tail.newest(seen)? {
        tail.print(&event, &mut view, &mut out)?;
    }
    if args.follow {
        return tail.follow(seen, &mut view, &mut out);
    }
    view.end(&mut out)
}

struct Tail<'a> {
    messages: Messages,
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
        if let Some(hide) = args.hidden {
            read = read.hidden(hide.into());
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

    fn print(&self, event: &RecordedEvent, view: &mut View, out: &mut Out) -> Result<(), Failure> {
        if let Some(reason) = event.hidden() {
            let text = format!("position {} is hidden: {reason}", event.position());
            self.messages.say(text);
        }
        view.event(out, event)
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
        let mut subscribe = self.store.subscribe(source);
        if let Some(hide) = self.args.hidden {
            subscribe = subscribe.hidden(hide.into());
        }
        let mut subscription = subscribe.start(Start::After(seen))?;
        let mut deleted = false;
        loop {
            let delivery = match subscription.try_next()? {
                Some(delivery) => delivery,
                None => {
                    out.done()?;
                    self.say_if_deleted(&mut deleted)?;
                    // Deleting one moves no position, so it is looked for.
                    match subscription.next_timeout(LOOK)? {
                        Some(delivery) => delivery,
                        None => continue,
                    }
                }
            };
            let Delivery::Event(event) = delivery else { continue };
            let wanted = query.as_ref().is_none_or(|query| query.matches(&event.as_ref()))
                && self.args.since.is_none_or(|since| event.recorded_at() >= since)
                && self.args.filter.keeps(&event);
            if wanted {
                self.print(&event, view, out)?;
            }
        }
    }

    /// Says once that the one stream is deleted.
    fn say_if_deleted(&self, said: &mut bool) -> Result<(), Failure> {
        let Target::Stream(stream) = &self.target else { return Ok(()) };
        let deleted = matches!(self.store.stream_state(stream)?, StreamState::SoftDeleted(_));
        if deleted && !*said {
            let name = plain(stream.as_str());
            self.messages.say(format!("{name} is deleted; waiting for its next event"));
        }
        *said = deleted;
        Ok(())
    }
}
