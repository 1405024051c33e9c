//! `info`: one screen about a store.
//!
//! Knows: which figures are worth a line. Does not know: how they are counted.

use clap::Args;
use factlog::{OpenReport, Position, Store};
use serde::Serialize;

use super::damage::{Damaged, places, said};
use crate::args::Global;
use crate::exit::{DAMAGED, Failure};
use crate::output::{Out, grouped, sized};
use crate::select::open_to_read;
use crate::times::rfc3339;

const EXAMPLES: &str = "\
The events are those that a reader is served. It reads no more than an opening does, and says what
damage that finds; `factlog verify` reads everything.

Exit codes: 0 nothing found; 11 damage to acknowledged bytes.

With --json: {dir, events, streams, categories, segments, log_bytes, index_memory_bytes,
              last_position, first_recorded_at, last_recorded_at, checkpoints: [{name, position,
              lag, saved_at}], clean, damage: [{file, offset, first_position, last_position,
              what}], notes: [..], open_ms}

Examples:
  factlog info --dir shop
  factlog info --json --dir shop | jq .events";

/// Options of `info`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InfoArgs {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    /// Sizes in bytes
    #[arg(long)]
    pub bytes: bool,
}

#[derive(Serialize)]
struct Info<'a> {
    dir: String,
    events: u64,
    streams: u64,
    categories: u64,
    segments: u64,
    log_bytes: u64,
    index_memory_bytes: u64,
    last_position: u64,
    first_recorded_at: Option<String>,
    last_recorded_at: Option<String>,
    checkpoints: Vec<Checkpoint>,
    clean: bool,
    damage: Vec<Damaged<'a>>,
    notes: &'a [String],
    open_ms: f64,
}

#[derive(Serialize)]
struct Checkpoint {
    name: String,
    position: u64,
    lag: u64,
    saved_at: Option<String>,
}

/// Runs it.
///
/// # Errors
/// Not found, when the store is not there; the code of damage, when opening found any.
pub fn run(global: &Global, args: &InfoArgs) -> Result<(), Failure> {
    let dir = global.dir()?;
    let store = open_to_read(global)?;
    let report = store.open_report();
    let info = gather(&store, dir.display().to_string(), &report)?;
    let mut out = Out::new(global);
    if args.json {
        out.json(&info)?;
    } else {
        print(&mut out, &info, args.bytes)?;
        for damage in &report.damage {
            out.line(said(damage))?;
        }
    }
    out.done()?;
    if report.damage.is_empty() { Ok(()) } else { Err(Failure::Code(DAMAGED)) }
}

fn gather<'a>(store: &Store, dir: String, report: &'a OpenReport) -> Result<Info<'a>, Failure> {
    let stats = store.stats();
    let last = store.last_position();
    let recorded_at = |position: Position| match store.event_at(position) {
        Ok(event) => event.map(|event| rfc3339(event.recorded_at())),
        Err(_) => None, // damaged or trimmed: said elsewhere on this screen
    };
    let times = if last == Position::START {
        (None, None)
    } else {
        (recorded_at(store.first_position()), recorded_at(last))
    };
    let checkpoints = store.checkpoints()?;
    let checkpoints = checkpoints.into_iter().map(|checkpoint| Checkpoint {
        position: checkpoint.position.get(),
        lag: last.get().saturating_sub(checkpoint.position.get()),
        saved_at: checkpoint.saved_at.map(rfc3339),
        name: checkpoint.name,
    });
    Ok(Info {
        dir,
        events: stats.events,
        streams: stats.streams,
        categories: store.categories("")?.len() as u64,
        segments: stats.segments,
        log_bytes: stats.log_bytes,
        index_memory_bytes: stats.index_memory_bytes,
        last_position: last.get(),
        first_recorded_at: times.0,
        last_recorded_at: times.1,
        checkpoints: checkpoints.collect(),
        clean: report.clean,
        damage: places(&report.damage),
        notes: &report.notes,
        open_ms: report.elapsed.as_secs_f64() * 1e3,
    })
}

fn print(out: &mut Out, info: &Info<'_>, exact: bool) -> Result<(), Failure> {
    let size = |bytes: u64| if exact { bytes.to_string() } else { sized(bytes) };
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".into());
    let rows = [
        ("store", info.dir.clone()),
        ("events", grouped(info.events)),
        ("streams", grouped(info.streams)),
        ("categories", grouped(info.categories)),
        ("segments", grouped(info.segments)),
        ("log", size(info.log_bytes)),
        ("index memory", size(info.index_memory_bytes)),
        ("last position", info.last_position.to_string()),
        ("first recorded", time(&info.first_recorded_at)),
        ("last recorded", time(&info.last_recorded_at)),
        ("last close", if info.clean { "clean" } else { "none yet, or not clean" }.into()),
        ("opened in", format!("{:.1} ms", info.open_ms)),
    ];
    for (name, value) in rows {
        let name = out.dim(&format!("{name:<15}"));
        out.line(format!("{name} {value}"))?;
    }
    for checkpoint in &info.checkpoints {
        let Checkpoint { name, position, lag, saved_at } = checkpoint;
        let of = saved_at.as_ref().map(|at| format!(", of {at}")).unwrap_or_default();
        out.line(format!("checkpoint {name}: position {position}, {lag} behind{of}"))?;
    }
    for note in info.notes {
        out.line(format!("note: {note}"))?;
    }
    Ok(())
}
