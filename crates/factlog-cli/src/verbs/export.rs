//! `export`: every event, in the order of positions, in the exchange format.
//!
//! Knows: that nothing is left out. Does not know: the format.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use factlog::{ErrorKind, Position, RecordedEvent, Store};
use flate2::{Compression, write::GzEncoder};

use crate::args::Global;
use crate::exchange::write_line;
use crate::exit::{DAMAGED, Failure};
use crate::interrupt;
use crate::output::{Messages, Out, counted};
use crate::select::open_to_read;

const EXAMPLES: &str = "\
Examples:
  factlog export --dir shop > shop.ndjson
  factlog export --gzip --dir shop > shop.ndjson.gz
  factlog export --dir shop | factlog import --dir copy";

/// How far the export of this process is, for whoever interrupts it.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

const PROGRESS_EVERY: u64 = 1024;

/// Options of `export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Compressed with gzip
    #[arg(long)]
    pub gzip: bool,
}

/// Runs it. Damage is stepped over and said, so that a damaged store gives what it still has.
///
/// # Errors
/// Not found, when the store is not there; [`DAMAGED`], when something is missing from the export.
pub fn run(global: &Global, args: &ExportArgs) -> Result<(), Failure> {
    let store = open_to_read(global)?;
    let last = store.last_position();
    let messages = Messages::with_events(global, last.get());
    let mut export = Export::new(Out::new(global), args.gzip);
    interrupt::say(|| {
        let written = counted(WRITTEN.load(Ordering::Relaxed), "event");
        format!("what was written, up to {written}, is no whole export; run it again")
    });
    let mut damaged = !store.open_report().damage.is_empty();
    let mut after = Position::START;
    let mut left_out: Option<(Position, Position)> = None;
    while let Err(failure) = export.events(&store, after, last, &messages) {
        let first = export.last.max(after).next();
        after = beyond(&failure, after).ok_or(failure)?;
        damaged = true;
        left_out = match left_out {
            // Nothing was read in between: one range, one line.
            Some((from, to)) if to.next() == first => Some((from, after)),
            before => {
                say_left_out(&messages, before);
                Some((first, after))
            }
        };
    }
    say_left_out(&messages, left_out);
    let count = export.end()?;
    messages.say(format!("exported {}", counted(count, "event")));
    if damaged { Err(Failure::Code(DAMAGED)) } else { Ok(()) }
}

fn say_left_out(messages: &Messages, range: Option<(Position, Position)>) {
    match range {
        None => {}
        Some((first, last)) if first == last => {
            messages.warn(format!("factlog: position {first} cannot be read and is left out"));
        }
        Some((first, last)) => messages
            .warn(format!("factlog: positions {first} to {last} cannot be read and are left out")),
    }
}

/// The last position that damage makes unreadable, if that is why reading ended.
fn beyond(failure: &Failure, after: Position) -> Option<Position> {
    let Failure::Store(error) = failure else { return None };
    let last = error.last_position().or(error.position())?;
    (error.kind() == ErrorKind::Damaged && last > after).then_some(last)
}

struct Export {
    out: Out,
    packer: Option<GzEncoder<Vec<u8>>>,
    line: Vec<u8>,
    count: u64,
    /// The last event's.
    last: Position,
}

impl Export {
    fn new(out: Out, gzip: bool) -> Self {
        let packer = gzip.then(|| GzEncoder::new(Vec::new(), Compression::default()));
        Self { out, packer, line: Vec::new(), count: 0, last: Position::START }
    }

    fn events(
        &mut self,
        store: &Store,
        after: Position,
        last: Position,
        messages: &Messages,
    ) -> Result<(), Failure> {
        for event in store.read_all().after(after).through(last) {
            self.event(&event?)?;
            if self.count.is_multiple_of(PROGRESS_EVERY) {
                messages.bar().set_position(self.count);
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &RecordedEvent) -> Result<(), Failure> {
        if !event.is_forgotten() {
            // An export without what a lost key hides would pass for a whole one.
            event.readable()?;
        }
        self.line.clear();
        write_line(&mut self.line, event, &|_| true)?;
        self.line.push(b'\n');
        match &mut self.packer {
            Some(packer) => {
                packer.write_all(&self.line)?;
                self.out.write_all(packer.get_ref())?;
                packer.get_mut().clear();
            }
            None => self.out.write_all(&self.line)?,
        }
        self.count += 1;
        self.last = event.position();
        WRITTEN.store(self.count, Ordering::Relaxed);
        Ok(())
    }

    fn end(mut self) -> Result<u64, Failure> {
        if let Some(packer) = self.packer {
            self.out.write_all(&packer.finish()?)?;
        }
        self.out.done()?;
        Ok(self.count)
    }
}
