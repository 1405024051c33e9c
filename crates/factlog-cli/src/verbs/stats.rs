//! `stats` and `types`: what a store consists of, by reading all of it once.
//!
//! Knows: what is counted, and in which order it is told. Does not know: how events are stored.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use factlog::{EventRef, Store, Timestamp};
use serde::Serialize;

use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, Out, counted, grouped, sized};
use crate::select::open_to_read;
use crate::times::rfc3339;
use crate::view::plain;

const STATS: &str = "\
Reads every event once. Bytes are those of data and metadata; what files take besides, `factlog
info` tells. The rate is over the time from the first event to the last.
With --json the answer is one object: {\"events\", \"bytes\", \"first_recorded_at\",
\"last_recorded_at\", \"events_per_day\", \"largest\", \"streams\": {\"count\", \"top\": [..]},
\"categories\": .., \"types\": ..}; an entry of `top` is {\"name\", \"events\", \"bytes\",
\"first_position\", \"last_position\"}.

Examples:
  factlog stats --dir shop
  factlog stats --sort bytes --top 3 --dir shop";

const TYPES: &str = "\
Reads every event once. With --json every type is one line: {\"name\", \"events\", \"bytes\",
\"first_position\", \"last_position\"}.

Examples:
  factlog types --dir shop
  factlog types --prefix Order --sort events --dir shop";

/// Options of `stats`.
#[derive(Debug, Args)]
#[command(after_help = STATS)]
pub struct StatsArgs {
    /// How many streams, categories and types are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Which come first
    #[arg(long, value_enum, default_value = "events")]
    pub sort: Sort,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    /// Sizes in bytes
    #[arg(long)]
    pub bytes: bool,
}

/// Options of `types`.
#[derive(Debug, Args)]
#[command(after_help = TYPES)]
pub struct TypesArgs {
    /// Only names that begin so
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
    /// In this order
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Orders of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By name
    #[default]
    Name,
    /// Most events first
    Events,
    /// Most bytes first
    Bytes,
}

/// What is counted of everything with one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    events: u64,
    bytes: u64,
    first: u64,
    last: u64,
}

impl Count {
    fn add(&mut self, position: u64, bytes: u64) {
        if self.events == 0 {
            self.first = position;
        }
        self.events += 1;
        self.bytes += bytes;
        self.last = position;
    }
}

type Counts = BTreeMap<String, Count>;

fn count(counts: &mut Counts, name: &str, position: u64, bytes: u64) {
    match counts.get_mut(name) {
        Some(count) => count.add(position, bytes),
        None => counts.entry(name.to_owned()).or_default().add(position, bytes),
    }
}

/// Everything about a store that is found by reading it once.
#[derive(Debug, Default)]
struct Census {
    all: Count,
    largest: u64,
    times: Option<(Timestamp, Timestamp)>,
    streams: Counts,
    categories: Counts,
    types: Counts,
}

impl Census {
    fn of(store: &Store, messages: &Messages) -> Result<Self, Failure> {
        let mut census = Self::default();
        store.read_all().for_each(|event| {
            census.add(&event);
            messages.bar().inc(1);
            ControlFlow::Continue(())
        })?;
        Ok(census)
    }

    fn add(&mut self, event: &EventRef<'_>) {
        let position = event.position().get();
        let bytes = (event.data().len() + event.metadata().len()) as u64;
        let at = event.recorded_at();
        let (first, _) = self.times.unwrap_or((at, at));
        self.times = Some((first, at));
        self.all.add(position, bytes);
        self.largest = self.largest.max(bytes);
        count(&mut self.streams, event.stream(), position, bytes);
        count(&mut self.types, event.event_type(), position, bytes);
        if let Some((category, _)) = event.stream().split_once('-') {
            count(&mut self.categories, category, position, bytes);
        }
    }

    /// Over less than a second there is no rate.
    fn events_per_day(&self) -> Option<f64> {
        let (first, last) = self.times?;
        let seconds = (last.micros() - first.micros()) as f64 / 1e6;
        (seconds >= 1.0).then(|| self.all.events as f64 * 86_400.0 / seconds)
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    events: u64,
    bytes: u64,
    first_position: u64,
    last_position: u64,
}

#[derive(Serialize)]
struct List<'a> {
    count: usize,
    top: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    events: u64,
    bytes: u64,
    first_recorded_at: Option<String>,
    last_recorded_at: Option<String>,
    events_per_day: Option<f64>,
    largest: u64,
    streams: List<'a>,
    categories: List<'a>,
    types: List<'a>,
}

fn list<'a>(counts: &'a Counts, args: &StatsArgs) -> List<'a> {
    List { count: counts.len(), top: sorted(counts, args.sort, args.top) }
}

fn sorted(counts: &Counts, sort: Sort, top: usize) -> Vec<Entry<'_>> {
    let mut all: Vec<_> = counts.iter().collect();
    match sort {
        Sort::Name => {}
        Sort::Events => all.sort_by_key(|(_, count)| Reverse(count.events)),
        Sort::Bytes => all.sort_by_key(|(_, count)| Reverse(count.bytes)),
    }
    let entries = all.into_iter().take(top).map(|(name, count)| Entry {
        name: name.as_str(),
        events: count.events,
        bytes: count.bytes,
        first_position: count.first,
        last_position: count.last,
    });
    entries.collect()
}

/// Runs `stats`.
///
/// # Errors
/// Not found, when the store is not there; damage, when not all of it can be read.
pub fn run(global: &Global, args: &StatsArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    let messages = Messages::with_events(global, store.last_position().get());
    let census = Census::of(&store, &messages)?;
    drop(messages);
    let mut out = Out::new(global);
    let answer = Answer {
        events: census.all.events,
        bytes: census.all.bytes,
        first_recorded_at: census.times.map(|(first, _)| rfc3339(first)),
        last_recorded_at: census.times.map(|(_, last)| rfc3339(last)),
        events_per_day: census.events_per_day(),
        largest: census.largest,
        streams: list(&census.streams, args),
        categories: list(&census.categories, args),
        types: list(&census.types, args),
    };
    match args.json {
        true => out.json(&answer)?,
        false => print(&mut out, &answer, args.bytes)?,
    }
    out.done()
}

fn print(out: &mut Out, answer: &Answer<'_>, exact: bool) -> Result<(), Failure> {
    let size = |bytes: u64| if exact { bytes.to_string() } else { sized(bytes) };
    let events = counted(answer.events, "event");
    let (bytes, largest) = (size(answer.bytes), size(answer.largest));
    out.line(format!("{events}, {bytes} of data and metadata, the largest {largest}"))?;
    if let (Some(first), Some(last)) = (&answer.first_recorded_at, &answer.last_recorded_at) {
        out.line(format!("recorded from {first} to {last}"))?;
    }
    if let Some(rate) = answer.events_per_day {
        out.line(format!("{rate:.1} events a day"))?;
    }
    let lists = [("stream", &answer.streams), ("type", &answer.types)];
    for (what, list) in lists {
        rows(out, &counted(list.count as u64, what), list, &size)?;
    }
    let categories = match answer.categories.count {
        1 => "1 category".to_owned(),
        count => format!("{} categories", grouped(count as u64)),
    };
    rows(out, &categories, &answer.categories, &size)
}

fn rows(
    out: &mut Out,
    heading: &str,
    list: &List<'_>,
    size: &dyn Fn(u64) -> String,
) -> Result<(), Failure> {
    let heading = out.bold(heading);
    out.line(format!("\n{heading}"))?;
    for Entry { name, events, bytes, .. } in &list.top {
        let (events, bytes) = (grouped(*events), size(*bytes));
        out.line(format!("{events:>12}  {bytes:>10}  {}", plain(name)))?;
    }
    Ok(())
}

/// Runs `types`.
///
/// # Errors
/// As [`run`].
pub fn types(global: &Global, args: &TypesArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    let messages = Messages::with_events(global, store.last_position().get());
    let mut census = Census::of(&store, &messages)?;
    drop(messages);
    census.types.retain(|name, _| name.starts_with(&args.prefix));
    let mut out = Out::new(global);
    for entry in sorted(&census.types, args.sort, args.top.unwrap_or(usize::MAX)) {
        match args.json {
            true => out.json(&entry)?,
            false => {
                let (events, bytes) = (grouped(entry.events), sized(entry.bytes));
                out.line(format!("{events:>12}  {bytes:>10}  {}", plain(entry.name)))?;
            }
        }
    }
    out.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_after_it_was_sorted() {
        let mut counts = Counts::new();
        for (name, bytes) in [("a", 5), ("b", 1), ("b", 1), ("c", 9)] {
            count(&mut counts, name, 7, bytes);
        }
        let names = |sort, top| -> Vec<String> {
            sorted(&counts, sort, top).iter().map(|entry| entry.name.to_owned()).collect()
        };
        assert_eq!(names(Sort::Name, 9), ["a", "b", "c"]);
        assert_eq!(names(Sort::Events, 2), ["b", "a"]);
        assert_eq!(names(Sort::Bytes, 1), ["c"]);
    }

    #[test]
    fn there_is_no_rate_over_no_time() {
        let at = Timestamp::from_micros;
        let census = |last| Census {
            all: Count { events: 10, ..Count::default() },
            times: Some((at(0), at(last))),
            ..Census::default()
        };
        assert_eq!(census(999_999).events_per_day(), None);
        assert_eq!(census(86_400_000_000).events_per_day(), Some(10.0));
    }
}
