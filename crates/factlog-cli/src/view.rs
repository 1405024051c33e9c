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

/// Characters of the data in a row, where the width is not known.
const PREVIEW: usize = 60;

/// And where there is no room for them at all.
const LEAST_PREVIEW: usize = 16;

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
    let (position, time) = (format!("{:>8}", event.position()), format!("{time}Z"));
    let (stream, version) = (plain(event.stream()), format!("@{}", event.version()));
    let event_type = plain(event.event_type());
    let gaps = 2 * 4;
    let taken = [&position, &time, &stream, &version, &event_type].map(|text| text.chars().count());
    let taken = taken.iter().sum::<usize>() + gaps;
    let room = out.width.map_or(PREVIEW, |width| width.saturating_sub(taken).max(LEAST_PREVIEW));
    let (time, version) = (out.dim(&time), out.dim(&version));
    let (event_type, preview) = (out.bold(&event_type), preview(event, room));
    format!("{position}  {time}  {stream}{version}  {event_type}  {preview}")
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

fn preview(event: &RecordedEvent, room: usize) -> String {
    if let Some(why) = unreadable(event) {
        return why.to_owned();
    }
    match (event.content_type(), std::str::from_utf8(event.data())) {
        (ContentType::Json, Ok(json)) => cut(plain(json), room),
        _ => format!("<{}>", sized(event.data().len() as u64)),
    }
}

/// Text of at most so many characters; that there was more is shown.
fn cut(text: String, room: usize) -> String {
    let Some(kept) = room.checked_sub(1).filter(|_| text.chars().nth(room).is_some()) else {
        return text;
    };
    text.chars().take(kept).chain(['…']).collect()
}

/// Text that cannot command a terminal, nor break a line.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_its_room_and_says_so() {
        let table = [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 0, ""), ("äöüß", 3, "äö…")];
        for (text, room, wanted) in table {
            assert_eq!(cut(text.into(), room), wanted);
        }
    }

    #[test]
    fn text_cannot_command_a_terminal() {
        assert_eq!(plain("a\u{1b}[2J\u{9b}b\nc"), "a [2J b c");
    }
}
