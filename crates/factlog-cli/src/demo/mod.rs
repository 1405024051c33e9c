//! `demo`: the store shown at work in a temporary directory, each claim proved on the spot.
//!
//! Knows: the order of the acts, and how they are told. Does not know: what an act does
//! (`follow`, `crash`, `figures`).

mod crash;
mod figures;
mod follow;
pub mod place;
pub mod writer;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use factlog::{ErrorKind, Expect, NewEvent, RecordedEvent, Store, Version};
use tempfile::TempDir;
use uuid::Uuid;

use crate::args::Global;
use crate::exit::Failure;
use crate::interrupt;
use crate::lines;
use crate::output::{Out, counted, grouped, sized};
use crate::verbs::import::Import;
use crate::view::row;

/// A real history: the changes of ripgrep's source repository, one event a change.
const HISTORY: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/data/ripgrep-history.ndjson.gz"
));
const HISTORY_FILE: &str = "examples/data/ripgrep-history.ndjson.gz";
const BATCH: usize = 1000;

/// Options of `demo`.
#[derive(Debug, Default, Args)]
pub struct DemoArgs {
    /// Leave the store behind, and say where it is
    #[arg(long)]
    pub keep: bool,
}

/// Tells what happens, act by act.
struct Story {
    out: Out,
    act: u32,
}

impl Story {
    fn act(&mut self, title: &str) -> Result<(), Failure> {
        self.act += 1;
        let heading = self.out.bold(&format!("{}. {title}", self.act));
        self.out.line("")?;
        self.out.line(heading)?;
        self.out.done()
    }

    fn tell(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        for line in text.as_ref().lines() {
            self.out.line(format!("   {line}"))?;
        }
        self.out.done()
    }

    fn show(&mut self, event: &RecordedEvent) -> Result<(), Failure> {
        let row = row(&self.out, event);
        self.out.line(format!("   {row}"))
    }
}

fn disproved(text: impl Into<String>) -> Failure {
    Failure::Disproved(format!("the demo did not find what it should: {}", text.into()))
}

/// Runs it.
///
/// # Errors
/// When a claim does not hold, or the temporary directory cannot be used.
pub fn run(global: &Global, args: &DemoArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut story = Story { out: Out::new(global), act: 0 };
    let prefix = "factlog-demo-";
    let home = TempDir::with_prefix(prefix).map_err(Failure::io("no temporary directory"))?;
    if !args.keep {
        interrupt::also_remove(home.path());
    }
    let dir = home.path().join("store");
    let program = std::env::current_exe().map_err(Failure::io("cannot find this program"))?;
    let place = place::of(home.path());
    story.out.line(format!("factlog at work, in {} ({place})", dir.display()))?;

    let store = import(&mut story, &dir)?;
    read(&mut story, &store)?;
    follow::act(&mut story, &store, &program, &dir)?;
    agree(&mut story, &store)?;
    let store = crash::act(&mut story, store, &program, &dir)?;
    verify(&mut story, &dir)?;
    figures::act(&mut story, store, &dir, &place)?;

    let seconds = begun.elapsed().as_secs_f64();
    story.out.line("")?;
    story.out.line(format!("Everything above was checked as it happened, in {seconds:.1} s."))?;
    let kept = args.keep.then(|| home.keep());
    next(&mut story, kept)?;
    story.out.done()
}

fn import(story: &mut Story, dir: &Path) -> Result<Store, Failure> {
    story.act("Import a real history: every change to ripgrep's sources")?;
    let store = Store::open(dir)?;
    let begun = Instant::now();
    let import_once = || {
        let mut refusal = None;
        let mut import = Import::new(Some(&store), BATCH, |line, reason: &str| {
            refusal = Some(format!("line {line} was refused: {reason}"));
        });
        let mut lines = lines::unpacked(HISTORY).map_err(Failure::io("cannot unpack"))?;
        import.lines(&mut lines, HISTORY_FILE)?;
        let tally = import.tally.clone();
        drop(import);
        refusal.map_or(Ok(tally), |text| Err(disproved(text)))
    };
    let first = import_once()?;
    let seconds = begun.elapsed().as_secs_f64();
    let second = import_once()?;
    if (second.stored, second.already_there) != (0, first.stored) {
        return Err(disproved("importing again stored something twice"));
    }
    let stats = store.stats();
    story.tell(format!(
        "{} stored in {} in {seconds:.2} s, {} to a commit, each commit on disk before the next\n\
         imported again: {} stored, {} recognised by their ids",
        counted(first.stored, "event"),
        counted(stats.streams, "stream"),
        grouped(BATCH as u64),
        second.stored,
        grouped(second.already_there),
    ))?;
    Ok(store)
}

fn read(story: &mut Story, store: &Store) -> Result<(), Failure> {
    story.act("Read a stream, and a category")?;
    let stream = "Config-Cargo.toml";
    let Some(head) = store.head(stream)? else { return Err(disproved("a stream is missing")) };
    let begun = Instant::now();
    let events = store.read_stream(stream).into_iter().collect::<Result<Vec<_>, _>>()?;
    let micros = begun.elapsed().as_micros();
    let versions_hold = events.iter().zip(1..).all(|(event, n)| event.version().get() == n);
    if !versions_hold || events.len() as u64 != head.version.get() {
        return Err(disproved("the versions of a stream have a gap"));
    }
    story.tell(format!(
        "stream {stream}: {} in {micros} µs; the newest three:",
        counted(head.version.get(), "event")
    ))?;
    for event in events.iter().rev().take(3) {
        story.show(event)?;
    }
    let begun = Instant::now();
    let mut count = 0;
    for event in store.read_category("Test") {
        event?;
        count += 1;
    }
    let millis = begun.elapsed().as_secs_f64() * 1e3;
    story.tell(format!("category Test: {} in {millis:.1} ms", counted(count, "event")))
}

/// Two clerks decide from the same version; the second is told, and a lost answer is asked for
/// again.
fn agree(story: &mut Story, store: &Store) -> Result<(), Failure> {
    story.act("Two writers decide at once; an answer is lost and the append is sent again")?;
    let stream = "Seat-12A";
    let booked = |by: &str| {
        NewEvent::json("SeatBooked", &serde_json::json!({ "by": by })).map(|e| e.id(Uuid::now_v7()))
    };
    let ada = booked("Ada")?;
    let first = store.append(stream, Expect::NoStream, [ada.clone()])?;
    story.tell("Ada books seat 12A, expecting it to be free: stored as version 1")?;
    match store.append(stream, Expect::NoStream, [booked("Bob")?]) {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            story.tell(format!("Bob, expecting the same: {error}"))?;
        }
        other => return Err(disproved(format!("no conflict, but {other:?}"))),
    }
    let again = store.append(stream, Expect::NoStream, [ada])?;
    let head = store.head(stream)?.map(|head| head.version);
    if !again.already || again.first != first.first || head != Some(Version::new(1)) {
        return Err(disproved("a retry was not answered as the first time"));
    }
    story.tell(format!(
        "Ada's client never saw the answer and sends the same event again: \
         the same answer, position {}, and still one event",
        again.first
    ))
}

fn verify(story: &mut Story, dir: &Path) -> Result<(), Failure> {
    story.act("Verify every checksum, while the store is open")?;
    let begun = Instant::now();
    let mut bytes = 0;
    let report = factlog::verify(dir, &mut |_, all| bytes = all)?;
    let millis = begun.elapsed().as_secs_f64() * 1e3;
    if !report.damage.is_empty() || report.torn.is_some() {
        return Err(disproved(format!("verify found {report:?}")));
    }
    story.tell(format!(
        "{} in {}, {}: every checksum holds ({millis:.0} ms)",
        counted(report.events, "event"),
        counted(report.segments, "segment"),
        sized(bytes),
    ))
}

fn next(story: &mut Story, kept: Option<PathBuf>) -> Result<(), Failure> {
    let program = std::env::args().next().unwrap_or_else(|| "factlog".into());
    let dir = kept.map_or("my-store".into(), |home| home.join("store").display().to_string());
    story.out.line("")?;
    story.out.line("Next, with a store of your own:")?;
    for arguments in [
        format!("append Order-1 --type OrderPlaced --data '{{\"total\":42}}' --dir {dir}"),
        format!("import {HISTORY_FILE} --dir {dir}"),
        format!("read '$ce-Config' --type FileAdded -n 5 --dir {dir}"),
        format!("tail -f --dir {dir}"),
        format!("verify --dir {dir}"),
    ] {
        story.out.line(format!("  {program} {arguments}"))?;
    }
    Ok(())
}
