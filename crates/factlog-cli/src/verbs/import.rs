//! `import`: the events of a file, each stored once, however often it is imported.
//!
//! Knows: when a line is new, already there or refused. Does not know: the exchange format.
//!
//! What is stored does not depend on the size of batches: a batch is one commit over consecutive
//! lines, whose ids were looked up in the store before, and which is stored before an id that it
//! contains is looked up again. A batch that the store refuses is halved until the line at fault
//! stands alone.

use std::collections::HashMap;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use factlog::{ErrorKind, Expect, Store, StreamName};
use serde::Serialize;
use uuid::Uuid;

use super::{is_about_events, open_to_append};
use crate::args::Global;
use crate::exchange::{self, Fact};
use crate::exit::{Failure, REFUSED};
use crate::interrupt;
use crate::lines::{LINE_MAX, Line, Lines, Origin};
use crate::output::{Messages, Out, counted, grouped};

const BATCH_EVENTS: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;

/// How far the import of this process is, for whoever interrupts it.
static STORED: AtomicU64 = AtomicU64::new(0);
static WITHOUT_ID: AtomicU64 = AtomicU64::new(0);

const EXAMPLES: &str = "\
Each line is one JSON object of the exchange format (see `factlog --help`). Importing a file again,
or a file that has grown, stores only what is not there yet: an event is known by its id. So an
interrupted import is gone on with by running it again. A line that cannot be stored is reported
with its number and does not stop the rest; the exit code is then 6. The result is one JSON object
on standard output, unless that is a terminal: {read, stored, already_there, refused, without_id}.

Examples:
  factlog import history.ndjson.gz --dir shop
  zcat a.gz b.gz | factlog import --dir shop
  factlog import history.ndjson --dry-run --dir shop";

/// Options of `import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// NDJSON, also compressed with gzip; without it, or with -, standard input
    pub file: Option<PathBuf>,
    /// Most events in one commit
    #[arg(long, value_name = "N", default_value_t = BATCH_EVENTS)]
    pub batch: usize,
    /// Store nothing; report what would be stored, as far as ids and lines tell
    #[arg(long)]
    pub dry_run: bool,
    /// Also store events that name a subject where the store has no keyring: in the clear, so that
    /// they cannot be forgotten
    #[arg(long)]
    pub in_clear: bool,
    /// The result as JSON, also on a terminal
    #[arg(long)]
    pub json: bool,
}

/// How an import went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Lines read, without blank ones.
    pub read: u64,
    /// Events stored.
    pub stored: u64,
    /// Lines whose event was stored before, or stands twice in the file.
    pub already_there: u64,
    /// Lines that could not be stored.
    pub refused: u64,
    /// Stored events that had no id of their own: importing them again stores them again.
    pub without_id: u64,
}

/// Runs it.
///
/// # Errors
/// [`REFUSED`], when lines were refused and the rest is stored.
pub fn run(global: &Global, args: &ImportArgs) -> Result<(), Failure> {
    let dir = global.dir()?;
    let name =
        args.file.as_ref().map_or("standard input".into(), |file| file.display().to_string());
    let unreadable = || Failure::io(format!("cannot read {name}"));
    let origin = Origin::open(args.file.as_deref()).map_err(unreadable())?;
    let origin_is_typed = matches!(origin, Origin::Stdin) && io::stdin().is_terminal();
    let messages = Messages::with_bytes(global, origin.size());
    let mut lines = origin.lines(messages.bar()).map_err(unreadable())?;
    let store = match args.dry_run {
        false => Some(open_to_append(global, &messages, args.in_clear)?),
        true => match global.options().open_read_only(&dir) {
            Ok(store) => Some(store),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        },
    };
    if !args.dry_run {
        interrupt::say(how_far);
    }
    if origin_is_typed {
        messages.say("type events, one JSON object a line; Ctrl-D ends");
    }
    let mut import = Import::new(store.as_ref(), args.batch, |line, reason| {
        messages.warn(format!("line {line}: refused: {reason}"));
    });
    import.dry = args.dry_run;
    let ended = import.lines(&mut lines, &name);
    let tally = import.tally.clone();
    drop(import);
    let closed = store.map_or(Ok(()), Store::close);
    messages.bar().finish_and_clear();
    messages.say(told(&tally, args.dry_run));
    let mut out = Out::new(global);
    if args.json || !out.terminal {
        out.json(&tally)?;
        out.done()?;
    }
    ended?;
    closed?;
    if tally.refused > 0 { Err(Failure::Code(REFUSED)) } else { Ok(()) }
}

/// So much is stored and was answered; what is under way may be stored as well.
fn how_far() -> String {
    let (stored, without_id) = (STORED.load(Ordering::Relaxed), WITHOUT_ID.load(Ordering::Relaxed));
    let mut text = format!(
        "{} stored so far; import the same again to go on, nothing is stored twice",
        counted(stored, "event")
    );
    if without_id > 0 {
        text += &format!(" but {} that had no id", grouped(without_id));
    }
    text
}

fn told(tally: &Tally, dry: bool) -> String {
    let Tally { read, stored, already_there, refused, without_id } = tally;
    let verb = if dry { "would be stored" } else { "stored" };
    let mut text = format!("read {}: ", counted(*read, "line"));
    text += &format!("{} {verb}, ", grouped(*stored));
    text += &format!("{} already there, {} refused", grouped(*already_there), grouped(*refused));
    if *without_id > 0 {
        let without_id = grouped(*without_id);
        text += &format!("\n{without_id} had no id: importing them again stores them again");
    }
    text
}

/// An import under way.
pub struct Import<'a, F> {
    store: Option<&'a Store>,
    batch_events: usize,
    refused: F,
    pending: Vec<Pending>,
    pending_bytes: usize,
    /// Ids of the pending lines; of a dry run, of all lines that would be stored.
    ids: HashMap<Uuid, StreamName>,
    /// Store nothing.
    dry: bool,
    /// How it went so far.
    pub tally: Tally,
}

struct Pending {
    line: u64,
    stream: StreamName,
    fact: Fact,
}

impl<'a, F: FnMut(u64, &str)> Import<'a, F> {
    /// Into `store`; `refused` is told the number of every refused line and the reason.
    pub fn new(store: Option<&'a Store>, batch_events: usize, refused: F) -> Self {
        Self {
            store,
            batch_events: batch_events.max(1),
            refused,
            pending: Vec::new(),
            pending_bytes: 0,
            ids: HashMap::new(),
            dry: false,
            tally: Tally::default(),
        }
    }

    /// Imports every line, also when reading ends with an error.
    ///
    /// # Errors
    /// When reading fails, or the store fails for another reason than the events.
    pub fn lines<R: BufRead>(&mut self, lines: &mut Lines<R>, name: &str) -> Result<(), Failure> {
        loop {
            match lines.next_line() {
                Ok(Some(Line::Text(number, text))) => self.offer(number, text)?,
                Ok(Some(Line::TooLong(number))) => {
                    self.tally.read += 1;
                    self.refuse(number, &format!("longer than {LINE_MAX} bytes"));
                }
                Ok(None) => return self.flush(),
                Err(error) => {
                    self.flush()?;
                    return Err(Failure::io(format!("cannot read {name} to its end"))(error));
                }
            }
        }
    }

    fn refuse(&mut self, line: u64, reason: &str) {
        self.tally.refused += 1;
        (self.refused)(line, reason);
    }

    fn offer(&mut self, line: u64, text: &[u8]) -> Result<(), Failure> {
        self.tally.read += 1;
        let fact = match exchange::parse(text) {
            Ok(fact) => fact,
            Err(reason) => {
                self.refuse(line, &reason);
                return Ok(());
            }
        };
        let stream = match fact.stream.as_deref().map(StreamName::new) {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                self.refuse(line, &error.to_string());
                return Ok(());
            }
            None => {
                self.refuse(line, "stream is missing");
                return Ok(());
            }
        };
        if fact.has_id && self.is_known(line, &stream, fact.event.event_id())? {
            return Ok(());
        }
        self.ids.insert(fact.event.event_id(), stream.clone());
        self.pending.push(Pending { line, stream, fact });
        self.pending_bytes += text.len();
        if self.pending.len() >= self.batch_events || self.pending_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether the id is stored already; then the line is counted.
    fn is_known(&mut self, line: u64, stream: &StreamName, id: Uuid) -> Result<bool, Failure> {
        if self.ids.contains_key(&id) && !self.dry {
            self.flush()?; // whether that line is stored is known only then
        }
        let stored = match self.store {
            Some(store) => match store.event(id) {
                // It is not there any more, and was.
                Err(error) if matches!(error.kind(), ErrorKind::Trimmed | ErrorKind::Deleted) => {
                    error.stream().map(str::to_owned)
                }
                found => found?.map(|event| event.stream().to_owned()),
            },
            None => None,
        };
        let Some(other) = stored.or_else(|| self.ids.get(&id).map(ToString::to_string)) else {
            return Ok(false);
        };
        if other == stream.as_str() {
            self.tally.already_there += 1;
        } else {
            self.refuse(line, &format!("its id {id} is stored in stream {other} already"));
        }
        Ok(true)
    }

    /// Stores the pending lines.
    fn flush(&mut self) -> Result<(), Failure> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        if self.dry {
            for line in &pending {
                self.count_stored(line);
            }
            return Ok(());
        }
        self.ids.clear();
        self.store(&pending)
    }

    /// Stores these lines; halves them when the store refuses them together.
    fn store(&mut self, lines: &[Pending]) -> Result<(), Failure> {
        let Some(store) = self.store.filter(|_| !lines.is_empty()) else { return Ok(()) };
        match commit(store, lines) {
            Ok(()) => {
                for line in lines {
                    self.count_stored(line);
                }
                Ok(())
            }
            Err(error) if is_about_events(error.kind()) => {
                if let [line] = lines {
                    self.refuse(line.line, &error.to_string());
                    return Ok(());
                }
                let (first, second) = lines.split_at(lines.len() / 2);
                self.store(first)?;
                self.store(second)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn count_stored(&mut self, line: &Pending) {
        self.tally.stored += 1;
        self.tally.without_id += u64::from(!line.fact.has_id);
        STORED.store(self.tally.stored, Ordering::Relaxed);
        WITHOUT_ID.store(self.tally.without_id, Ordering::Relaxed);
    }
}

/// One commit, in the order of the lines: runs of lines of one stream become its parts.
fn commit(store: &Store, lines: &[Pending]) -> Result<(), factlog::Error> {
    let mut batch = store.batch();
    for run in lines.chunk_by(|a, b| a.stream == b.stream) {
        let Some(first) = run.first() else { continue };
        let events = run.iter().map(|line| line.fact.event.clone());
        batch = batch.append(&first.stream, Expect::Any, events);
    }
    batch.commit().map(|_| ())
}
