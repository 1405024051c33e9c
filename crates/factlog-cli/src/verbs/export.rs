//! `export`: every event, in the order of positions, in the exchange format.
//!
//! Knows: that nothing is left out. Does not know: the format.

use std::io::Write;

use clap::Args;
use factlog::{ErrorKind, Position, RecordedEvent, Store};
use flate2::{Compression, write::GzEncoder};

use crate::args::Global;
use crate::exchange::write_line;
use crate::exit::{DAMAGED, Failure};
use crate::output::{Messages, Out, counted};
use crate::select::open_to_read;

const EXAMPLES: &str = "\
Examples:
  factlog export --dir shop > shop.ndjson
  factlog export --gzip --dir shop > shop.ndjson.gz
  factlog export --dir shop | factlog import --dir copy";

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
    let mut damaged = !store.open_report().damage.is_empty();
    let mut after = Position::START;
    while let Err(failure) = export.events(&store, after, last, &messages) {
        after = beyond(&failure, after).ok_or(failure)?;
        damaged = true;
        messages.warn(format!("factlog: damage up to position {after} is left out"));
    }
    let count = export.end()?;
    messages.say(format!("exported {}", counted(count, "event")));
    if damaged { Err(Failure::Code(DAMAGED)) } else { Ok(()) }
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
}

impl Export {
    fn new(out: Out, gzip: bool) -> Self {
        let packer = gzip.then(|| GzEncoder::new(Vec::new(), Compression::default()));
        Self { out, packer, line: Vec::new(), count: 0 }
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
