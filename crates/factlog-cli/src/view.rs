//! How an event looks on standard output: exchange lines, a table for people, JSON, bytes.
//!
//! Knows: the formats. Does not know: which events, or when to flush.

use std::io::Write;

use clap::ValueEnum;
use factlog::{ContentType, RecordedEvent};

use crate::exchange::{cloud_event, write_line};
use crate::exit::Failure;
use crate::output::{Out, sized};
use crate::times::rfc3339;

const PREVIEW: usize = 60;

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people; what a terminal gets unless told otherwise
    Table,
    /// One JSON array
    Json,
    /// The exchange format: one JSON object a line
    Ndjson,
    /// The data alone, each followed by a line break
    Raw,
    /// A CloudEvents 1.0 object a line
    Cloudevents,
}

/// Prints events, one after the other.
pub struct View {
    format: Format,
    fields: Vec<String>,
    printed: u64,
}

impl View {
    /// In this format, with these keys only (none given: all of them). Fields are an exchange
    /// line's, so on a terminal naming some asks for lines.
    pub fn new(format: Option<Format>, fields: &[String], out: &Out) -> Self {
        let usual = if out.terminal && fields.is_empty() { Format::Table } else { Format::Ndjson };
        Self { format: format.unwrap_or(usual), fields: fields.to_vec(), printed: 0 }
    }

    /// Prints one event.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn event(&mut self, out: &mut Out, event: &RecordedEvent) -> Result<(), Failure> {
        let wants = |key: &str| self.fields.is_empty() || self.fields.iter().any(|f| f == key);
        match self.format {
            Format::Table => {
                let row = row(out, event);
                out.line(row)?;
            }
            Format::Ndjson => {
                write_line(out, event, &wants)?;
                out.write_all(b"\n")?;
            }
            Format::Json => {
                out.write_all(if self.printed == 0 { b"[\n" } else { b",\n" })?;
                write_line(out, event, &wants)?;
            }
            Format::Raw => {
                out.write_all(event.data())?;
                out.write_all(b"\n")?;
            }
            Format::Cloudevents => {
                cloud_event(out, event)?;
                out.write_all(b"\n")?;
            }
        }
        self.printed += 1;
        Ok(())
    }

    /// Prints what belongs after the last event.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn end(&mut self, out: &mut Out) -> Result<(), Failure> {
        if self.format == Format::Json {
            out.write_all(if self.printed == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        out.done()
    }
}

/// Position, time, stream and version, type, and the beginning of the data.
pub fn row(out: &Out, event: &RecordedEvent) -> String {
    let time = rfc3339(event.recorded_at());
    let time = time.split_once('.').map_or(time.as_str(), |(seconds, _)| seconds);
    format!(
        "{:>8}  {}  {}{}  {}  {}",
        event.position(),
        out.dim(&format!("{time}Z")),
        plain(event.stream()),
        out.dim(&format!("@{}", event.version())),
        out.bold(&plain(event.event_type())),
        preview(event),
    )
}

/// What stands for data that cannot be had.
pub fn unreadable(event: &RecordedEvent) -> Option<&'static str> {
    let why = match (event.is_forgotten(), event.reclaimed()) {
        (true, _) => "<forgotten>",
        (false, Some(_)) => "<reclaimed>",
        (false, None) => "<encrypted>",
    };
    event.readable().is_err().then_some(why)
}

fn preview(event: &RecordedEvent) -> String {
    if let Some(why) = unreadable(event) {
        return why.to_owned();
    }
    let text = match (event.content_type(), std::str::from_utf8(event.data())) {
        (ContentType::Json, Ok(json)) => plain(json),
        _ => return format!("<{}>", sized(event.data().len() as u64)),
    };
    match text.char_indices().nth(PREVIEW) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Text that cannot command a terminal, nor break a line.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_command_a_terminal() {
        assert_eq!(plain("a\u{1b}[2J\u{9b}b\nc"), "a [2J b c");
    }
}
