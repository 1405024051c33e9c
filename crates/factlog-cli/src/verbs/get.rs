//! `get`: one event, by its id, its position, or its stream and version.
//!
//! Knows: how an event is named on a command line. Does not know: how one is found.

use clap::Args;
use factlog::{Position, RecordedEvent, Store, StreamName, StreamState, Uuid, Version};

use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Out, sized};
use crate::select::open_to_read;
use crate::times::rfc3339;
use crate::view::{Format, View, plain, unreadable};

const EXAMPLES: &str = "\
Examples:
  factlog get 42 --dir shop                                     by position
  factlog get 0198f0a5-7b1c-7c3e-8f2d-1b2c3d4e5f60 --dir shop   by id
  factlog get Order-42@3 --dir shop                             by stream and version";

/// Options of `get`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GetArgs {
    /// A position, an id, or STREAM@VERSION
    #[arg(value_name = "EVENT", value_parser = name)]
    pub event: Name,
    /// How to print [default: for people on a terminal, else ndjson]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// What an event goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Position(u64),
    Id(Uuid),
    Version(StreamName, u64),
}

fn name(text: &str) -> Result<Name, String> {
    if let Ok(position) = text.parse() {
        return Ok(Name::Position(position));
    }
    if let Ok(id) = text.parse() {
        return Ok(Name::Id(id));
    }
    let versioned = text.rsplit_once('@').and_then(|(stream, version)| {
        Some(Name::Version(StreamName::new(stream).ok()?, version.parse().ok()?))
    });
    versioned.ok_or_else(|| "give a position (42), an id, or STREAM@VERSION (Order-42@3)".into())
}

/// Runs it.
///
/// # Errors
/// Not found, when the store or the event is not there.
pub fn run(global: &Global, args: &GetArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    let event = find(&store, &args.event)?;
    let event = event.ok_or_else(|| missing(&store, &args.event))?;
    let mut out = Out::new(global);
    if args.output.is_none() && out.terminal {
        return page(&mut out, &event);
    }
    let mut view = View::new(args.output, &[], &out);
    view.event(&mut out, &event)?;
    view.end(&mut out)
}

fn find(store: &Store, name: &Name) -> factlog::Result<Option<RecordedEvent>> {
    match name {
        Name::Position(position) => store.event_at(Position::new(*position)),
        Name::Id(id) => store.event(*id),
        Name::Version(stream, version) => store.stream_event(stream, Version::new(*version)),
    }
}

fn missing(store: &Store, name: &Name) -> Failure {
    let last = store.last_position();
    Failure::NotFound(match name {
        Name::Position(position) => {
            format!("there is no event at position {position}; the last position is {last}")
        }
        Name::Id(id) => format!("there is no event with the id {id}"),
        Name::Version(stream, version) => return missing_version(store, stream, *version),
    })
}

/// Of what is hidden it is said why, and how to see it all the same.
fn missing_version(store: &Store, stream: &StreamName, version: u64) -> Failure {
    let state = store.stream_state(stream).unwrap_or(StreamState::Never);
    let last = store.head(stream).ok().flatten().map_or(0, |head| head.version.get());
    let shown = plain(stream.as_str());
    let why = match state {
        StreamState::SoftDeleted(_) => format!("stream {shown} is deleted"),
        StreamState::Tombstoned(_) => format!("stream {shown} is deleted for ever"),
        _ => format!("version {version} of {shown} is hidden by what is set of its stream"),
    };
    Failure::NotFound(match (1..=last).contains(&version) {
        true => format!(
            "{why}; `factlog read {shown} --from {version} --to {version} --hidden include` \
             prints what is left of it"
        ),
        false => {
            format!("there is no version {version} of {shown}; `factlog streams` tells versions")
        }
    })
}

/// All of one event, a line for each of its parts.
fn page(out: &mut Out, event: &RecordedEvent) -> Result<(), Failure> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => plain(text),
        Err(_) => format!("<{}>", sized(bytes.len() as u64)),
    };
    let tags: Vec<_> = event.tags().map(plain).collect();
    let rows = [
        ("position", event.position().to_string()),
        ("stream", format!("{}@{}", plain(event.stream()), event.version())),
        ("type", plain(event.event_type())),
        ("id", event.id().to_string()),
        ("recorded at", rfc3339(event.recorded_at())),
        ("schema version", event.schema_version().to_string()),
        ("tags", tags.join(" ")),
        ("metadata", text(event.metadata())),
        ("subject", event.subject().map(plain).unwrap_or_default()),
        ("data", unreadable(event).map_or_else(|| text(event.data()), str::to_owned)),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let name = out.dim(&format!("{name:<15}"));
        out.line(format!("{name} {value}"))?;
    }
    out.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_in_three_ways() {
        assert_eq!(name("42"), Ok(Name::Position(42)));
        let id = "701c4f0a-de22-531e-951e-3ad8bc4bce71";
        assert_eq!(name(id), Ok(Name::Id(id.parse().unwrap())));
        let order = StreamName::new("a@b-42").unwrap();
        assert_eq!(name("a@b-42@3"), Ok(Name::Version(order, 3)));
        for nonsense in ["", "Order-42", "@3", "Order-42@", "Order-42@x", "-1"] {
            assert!(name(nonsense).is_err(), "{nonsense}");
        }
    }
}
