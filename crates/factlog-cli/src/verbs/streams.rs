//! `streams`: which streams, or categories, there are.
//!
//! Knows: the options. Does not know: events.

use std::cmp::Reverse;

use clap::{Args, ValueEnum};
use factlog::StreamState;
use serde::Serialize;

use super::stream::word_of;
use crate::args::Global;
use crate::exit::Failure;
use crate::output::Out;
use crate::select::open_to_read;
use crate::view::plain;

const EXAMPLES: &str = "\
With --json every stream is one line: {\"stream\", \"version\", \"last_position\", \"state\"}
(live, deleted or tombstoned), every category {\"category\", \"streams\"}.

Examples:
  factlog streams --dir shop
  factlog streams --prefix Order- --sort events --top 10 --dir shop
  factlog streams --categories --dir shop";

/// Options of `streams`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StreamsArgs {
    /// Only names that begin so
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
    /// Categories instead, with how many streams each has
    #[arg(long)]
    pub categories: bool,
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
    /// Most events (of categories: most streams) first
    Events,
    /// Changed last first (of categories: by name)
    Recent,
}

#[derive(Serialize)]
struct Stream<'a> {
    stream: &'a str,
    version: u64,
    last_position: u64,
    state: &'static str,
}

#[derive(Serialize)]
struct Category<'a> {
    category: &'a str,
    streams: u64,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store is not there.
pub fn run(global: &Global, args: &StreamsArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    let mut out = Out::new(global);
    let top = args.top.unwrap_or(usize::MAX);
    if args.categories {
        let mut categories = store.categories(&args.prefix)?;
        if args.sort == Sort::Events {
            categories.sort_by_key(|category| Reverse(category.streams));
        }
        for category in categories.iter().take(top) {
            let (category, streams) = (category.name.as_str(), category.streams);
            match args.json {
                true => out.json(&Category { category, streams })?,
                false => out.line(format!("{streams:>10}  {}", plain(category)))?,
            }
        }
        return out.done();
    }
    let mut streams = store.streams(&args.prefix)?;
    match args.sort {
        Sort::Name => {}
        Sort::Events => streams.sort_by_key(|stream| Reverse(stream.version)),
        Sort::Recent => streams.sort_by_key(|stream| Reverse(stream.last_position)),
    }
    if out.terminal && !args.json && !streams.is_empty() {
        let heading = out.dim("    events  last position  stream");
        out.line(heading)?;
    }
    for stream in streams.iter().take(top) {
        let (version, last) = (stream.version.get(), stream.last_position.get());
        let name = stream.name.as_str();
        let state = word_of(stream.state);
        let note = match stream.state {
            StreamState::Live(_) => String::new(),
            _ => out.dim(&format!("  {state}")),
        };
        match args.json {
            true => out.json(&Stream { stream: name, version, last_position: last, state })?,
            false => out.line(format!("{version:>10}  {last:>13}  {}{note}", plain(name)))?,
        }
    }
    out.done()
}
