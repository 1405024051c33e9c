//! `append`: one event from the command line, or one durable append for each line.
//!
//! Knows: the options, and the answers. Does not know: the exchange format.

use std::io::{self, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use factlog::{Appended, Error, Expect, NewEvent, Store, Version};
use serde::Serialize;
use serde_json::Map;
use uuid::Uuid;

use super::{EVENT_DATA_MAX, is_about_events, is_there, open_to_append};
use crate::args::Global;
use crate::exchange::{self, Fact, metadata_with_time};
use crate::exit::{Failure, USAGE, code_of, name_of};
use crate::lines::{LINE_MAX, Line, Lines};
use crate::output::{Messages, Out};

const EXAMPLES: &str = "\
With --type it appends one event. Without, every line of standard input is an event in the exchange
format: each is appended and on disk before its answer, one JSON object on a line, is printed:
{stream, id, version, position, already}, or of a line that is refused {line, error, kind, and of a
conflict actual_version}. Where there is no store, the first event that can be stored makes one.

Examples:
  factlog append Order-42 --type OrderPlaced --data '{\"total\":42}' --expect none --dir shop
  factlog append Order-42 --type Scanned --data @scan.png --binary --tag desk:3 --dir shop
  echo '{\"type\":\"OrderPaid\",\"data\":{}}' | factlog append Order-42 --dir shop";

/// Options of `append`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AppendArgs {
    /// The stream; not needed when every line names its own
    pub stream: Option<String>,
    /// The event's type; without it events are read from standard input
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Its data: JSON, or @FILE, or @- for standard input [default: {}]
    #[arg(long, value_name = "JSON|@FILE", requires = "event_type", allow_negative_numbers = true)]
    pub data: Option<String>,
    /// The data are bytes, not JSON
    #[arg(long, requires = "data")]
    pub binary: bool,
    /// A text in its metadata; can be given several times
    #[arg(long = "meta", value_name = "KEY=VALUE", requires = "event_type")]
    pub meta: Vec<String>,
    /// A tag; can be given several times
    #[arg(long = "tag", value_name = "TAG", requires = "event_type")]
    pub tags: Vec<String>,
    /// Its id: the same id is stored once, so that a retry is safe
    #[arg(long, value_name = "UUID", requires = "event_type")]
    pub id: Option<Uuid>,
    /// When it happened, in RFC 3339
    #[arg(long, value_name = "TIME", requires = "event_type")]
    pub time: Option<String>,
    /// The version of the data's shape
    #[arg(long, value_name = "N", requires = "event_type")]
    pub schema_version: Option<u16>,
    /// What must hold of the stream: none, any, exists, or its version; of several lines, of the
    /// first, and nobody may come between
    #[arg(long, value_name = "none|any|exists|N", default_value = "any", value_parser = expect)]
    pub expect: Expect,
    /// Also store events that name a subject where the store has no keyring: in the clear, so that
    /// they cannot be forgotten
    #[arg(long)]
    pub in_clear: bool,
    /// Answers are JSON anyway; accepted so that every verb takes it
    #[arg(long)]
    pub json: bool,
}

fn expect(text: &str) -> Result<Expect, String> {
    Ok(match text {
        "any" => Expect::Any,
        "none" => Expect::NoStream,
        "exists" => Expect::StreamExists,
        number => match u64::from_str(number) {
            Ok(version) => Expect::Version(Version::new(version)),
            Err(_) => return Err("give none, any, exists, or the stream's version".into()),
        },
    })
}

/// What an append answers.
#[derive(Debug, Serialize)]
struct Answer {
    stream: String,
    id: String,
    version: u64,
    position: u64,
    already: bool,
}

/// What an append that was refused answers.
#[derive(Debug, Serialize)]
struct Refusal {
    line: u64,
    error: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual_version: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// Why the event, or the first of the lines that were refused, was not stored.
pub fn run(global: &Global, args: &AppendArgs) -> Result<(), Failure> {
    global.dir()?;
    let messages = Messages::new(global);
    let mut out = Out::new(global);
    let Some(event_type) = &args.event_type else {
        let fixed = matches!(args.expect, Expect::Version(_) | Expect::NoStream);
        if fixed && args.stream.is_none() {
            return Err(Failure::Usage("--expect none or N needs a STREAM to expect it of".into()));
        }
        let mut target = Target::open(global, &messages, args.in_clear)?;
        let ended = from_lines(&mut target, args, &mut out);
        let closed = target.close();
        ended?;
        return closed;
    };
    let Some(stream) = &args.stream else {
        return Err(Failure::Usage("which stream? factlog append STREAM --type TYPE".into()));
    };
    let event = event_of(args, event_type)?;
    let mut target = Target::open(global, &messages, args.in_clear)?;
    let answer = target.append(stream, args.expect, event);
    let closed = target.close();
    out.json(&answer?)?;
    out.done()?;
    closed
}

/// The store that is appended to. One that is not there is made when something can be stored.
struct Target<'a> {
    global: &'a Global,
    messages: &'a Messages,
    in_clear: bool,
    store: Option<Store>,
}

impl<'a> Target<'a> {
    fn open(global: &'a Global, messages: &'a Messages, in_clear: bool) -> Result<Self, Failure> {
        let store = match is_there(global)? {
            true => Some(open_to_append(global, messages, in_clear)?),
            false => None,
        };
        Ok(Self { global, messages, in_clear, store })
    }

    fn append(&mut self, stream: &str, expect: Expect, event: NewEvent) -> Result<Answer, Failure> {
        let store = match self.store.take() {
            Some(store) => store,
            None => {
                self.rehearse(stream, expect, event.clone())?;
                open_to_append(self.global, self.messages, self.in_clear)?
            }
        };
        Ok(append(self.store.insert(store), stream, expect, event)?)
    }

    /// What an empty store would refuse leaves none behind.
    fn rehearse(&self, stream: &str, expect: Expect, event: NewEvent) -> Result<(), Failure> {
        let in_clear = self.in_clear || self.global.keyring.is_some();
        let options = Store::options().subjects_in_clear(in_clear).event_data_max(EVENT_DATA_MAX);
        let empty = options.background_threads(false).in_memory()?;
        append(&empty, stream, expect, event)?;
        Ok(())
    }

    fn close(self) -> Result<(), Failure> {
        Ok(self.store.map_or(Ok(()), Store::close)?)
    }
}

fn append(store: &Store, stream: &str, expect: Expect, event: NewEvent) -> Result<Answer, Error> {
    let id = event.event_id().hyphenated().to_string();
    let Appended { already, last, streams, .. } = store.append(stream, expect, [event])?;
    let version = streams.first().map_or(Version::NONE, |part| part.last);
    let (version, position) = (version.get(), last.get());
    Ok(Answer { stream: stream.to_owned(), id, version, position, already })
}

fn event_of(args: &AppendArgs, event_type: &str) -> Result<NewEvent, Failure> {
    let data = match &args.data {
        None => b"{}".to_vec(),
        Some(text) => data_of(text)?,
    };
    let mut event = if args.binary {
        NewEvent::binary(event_type, data)
    } else {
        if let Err(error) = serde_json::from_slice::<&serde_json::value::RawValue>(&data) {
            let text = format!("the data is not JSON ({error}); quote it, or say --binary");
            return Err(Failure::Usage(text));
        }
        NewEvent::json_text(event_type, data.trim_ascii())
    };
    event = event.tags(args.tags.iter().cloned());
    event = event.schema_version(args.schema_version.unwrap_or(1));
    if let Some(id) = args.id {
        event = event.id(id);
    }
    Ok(match metadata_of(args).map_err(Failure::Usage)? {
        Some(metadata) => event.metadata(metadata),
        None => event,
    })
}

fn data_of(text: &str) -> Result<Vec<u8>, Failure> {
    let Some(file) = text.strip_prefix('@') else { return Ok(text.into()) };
    if file == "-" {
        let mut data = Vec::new();
        let bound = LINE_MAX as u64;
        let read = io::stdin().lock().take(bound).read_to_end(&mut data);
        read.map_err(Failure::io("cannot read standard input"))?;
        return Ok(data);
    }
    let path = PathBuf::from(file);
    std::fs::read(&path).map_err(Failure::io(format!("cannot read {file}")))
}

fn metadata_of(args: &AppendArgs) -> Result<Option<Vec<u8>>, String> {
    let mut members = Map::new();
    for pair in &args.meta {
        let (key, value) = pair.split_once('=').ok_or("--meta needs KEY=VALUE")?;
        members.insert(key.to_owned(), value.into());
    }
    let text = (!members.is_empty()).then(|| serde_json::Value::from(members).to_string().into());
    match &args.time {
        Some(time) => metadata_with_time(text, time).map(Some),
        None => Ok(text),
    }
}

/// A line in, one durable append, one flushed answer out, then the next. A line that is refused is
/// answered as well, and the first refusal's code is the one to end with.
fn from_lines(target: &mut Target<'_>, args: &AppendArgs, out: &mut Out) -> Result<(), Failure> {
    let messages = target.messages;
    if io::stdin().is_terminal() {
        messages.say("type events, one JSON object a line; Ctrl-D ends");
    }
    let mut expect = args.expect;
    let mut code = 0;
    let mut lines = Lines::new(BufReader::new(io::stdin().lock()));
    while let Some(line) = lines.next_line().map_err(Failure::io("cannot read standard input"))? {
        let (number, asked) = match line {
            Line::Text(number, text) => (number, asked(text, args.stream.as_deref())),
            Line::TooLong(number) => (number, Err(format!("longer than {LINE_MAX} bytes"))),
        };
        let refused = match asked {
            Err(reason) => {
                let kind = "invalid".into();
                (USAGE, Refusal { line: number, error: reason, kind, actual_version: None })
            }
            Ok((stream, fact)) => match target.append(&stream, expect, fact.event) {
                Ok(answer) => {
                    expect = expect_next(expect, answer.version);
                    out.json(&answer)?;
                    out.done()?;
                    continue;
                }
                Err(Failure::Store(error)) if is_about_events(error.kind()) => {
                    refusal(number, &error)
                }
                Err(failure) => return Err(failure),
            },
        };
        let (refused_code, answer) = refused;
        code = if code == 0 { refused_code } else { code };
        out.json(&answer)?;
        out.done()?;
        messages.warn(format!("line {number}: {}", answer.error));
    }
    if code == 0 { Ok(()) } else { Err(Failure::Code(code)) }
}

fn refusal(line: u64, error: &Error) -> (u8, Refusal) {
    let actual_version = error.conflicts().first().map(|conflict| conflict.actual.get());
    let kind = name_of(error.kind());
    let answer = Refusal { line, error: error.to_string(), kind, actual_version };
    (code_of(error.kind()), answer)
}

/// The event of a line, and the stream it goes to.
fn asked(text: &[u8], stream: Option<&str>) -> Result<(String, Fact), String> {
    let mut fact = exchange::parse(text)?;
    match (stream, fact.stream.take()) {
        (Some(named), None) => Ok((named.to_owned(), fact)),
        (Some(named), Some(own)) if own != named => {
            Err(format!("the line is for stream {own}, the command for {named}"))
        }
        (_, Some(own)) => Ok((own, fact)),
        (None, None) => Err("stream is missing, in the line and on the command line".into()),
    }
}

/// What is expected once the stream is at `version`: that nobody else came between.
fn expect_next(expect: Expect, version: u64) -> Expect {
    match expect {
        Expect::Any | Expect::StreamExists => expect,
        Expect::NoStream | Expect::Version(_) => Expect::Version(Version::new(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;

    fn args(line: &[&str]) -> AppendArgs {
        let line = ["factlog", "append"].iter().chain(line);
        match Cli::try_parse_from(line).unwrap().verb {
            Some(Verb::Append(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn expectations_are_read() {
        assert_eq!(expect("any"), Ok(Expect::Any));
        assert_eq!(expect("none"), Ok(Expect::NoStream));
        assert_eq!(expect("exists"), Ok(Expect::StreamExists));
        assert_eq!(expect("7"), Ok(Expect::Version(Version::new(7))));
        assert!(expect("-1").is_err() && expect("").is_err() && expect("none ").is_err());
    }

    #[test]
    fn metadata_is_made_of_pairs_and_the_time() {
        let given = ["S", "--type", "T", "--meta", "a=1=2", "--time", "2016-02-27T16:07:26Z"];
        let metadata = metadata_of(&args(&given)).unwrap().unwrap();
        let want = br#"{"$time":"2016-02-27T16:07:26Z","a":"1=2"}"#;
        assert_eq!(metadata, want);
        assert_eq!(metadata_of(&args(&["S", "--type", "T"])), Ok(None));
        assert!(metadata_of(&args(&["S", "--type", "T", "--meta", "a"])).is_err());
    }

    #[test]
    fn data_that_is_not_json_is_usage_unless_it_is_said_to_be_bytes() {
        let wrong = args(&["S", "--type", "T", "--data", "hello"]);
        assert!(matches!(event_of(&wrong, "T"), Err(Failure::Usage(_))));
        let right = args(&["S", "--type", "T", "--data", "hello", "--binary"]);
        assert_eq!(event_of(&right, "T").unwrap().event_id().get_version_num(), 7);
    }

    #[test]
    fn a_line_goes_to_its_stream_or_to_the_one_named() {
        let line = br#"{"stream":"A","type":"T"}"#;
        assert_eq!(asked(line, None).unwrap().0, "A");
        assert_eq!(asked(line, Some("A")).unwrap().0, "A");
        assert!(asked(line, Some("B")).is_err());
        assert_eq!(asked(br#"{"type":"T"}"#, Some("B")).unwrap().0, "B");
        assert!(asked(br#"{"type":"T"}"#, None).is_err());
    }
}
