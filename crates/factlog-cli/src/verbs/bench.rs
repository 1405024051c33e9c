//! `bench`: this disk first, and then a store on it, as ratios to the disk in the same run.
//!
//! Knows: how each figure is measured. Does not know: what would be good.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use factlog::{Delivery, Durability, Expect, NewEvent, Source, Start, Store};
use serde::Serialize;

use crate::args::Global;
use crate::demo::place;
use crate::exit::Failure;
use crate::interrupt;
use crate::output::{Messages, Out, grouped, sized};

const EXAMPLES: &str = "\
First a bare loop: write one record into prepared space, sync, again. Everything else is told as a
ratio to that loop, measured just before, so that it says something on any machine. It works in a
temporary directory within --dir, which is removed afterwards, also after Ctrl-C. It is refused
where there is not space enough.

With --json: {file_system, in_memory, size, writers, batch, durability, seconds, rows: [{name,
              per_second, ratio, p50_us, p99_us}]}; latencies are null where they are not measured.

Examples:
  factlog bench --dir /srv
  factlog bench --writers 64 --batch 1000 --seconds 5 --dir /srv";

/// The largest event that a store takes.
const EVENT_MOST: usize = 64 << 20;
/// What is in memory and on its way to the disk at once.
const TOGETHER_MOST: usize = 1 << 30;
const WRITERS_MOST: usize = 4096;
const BATCH_MOST: usize = 1_000_000;
/// A few segments, and space prepared ahead.
const SPACE_LEAST: u64 = 256 << 20;

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Bytes of data in an event
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub size: usize,
    /// Threads that append together
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub writers: usize,
    /// Events in a batch
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub batch: usize,
    /// When an append is answered
    #[arg(long, value_enum, default_value_t)]
    pub durability: Mode,
    /// How long each row is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub seconds: f64,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// When an append is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// When it is on disk
    #[default]
    Sync,
    /// When it is written; synced every 10 ms
    Interval,
    /// When it is written
    Os,
}

#[derive(Serialize)]
struct Row {
    name: String,
    per_second: f64,
    ratio: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

#[derive(Serialize)]
struct Answer {
    file_system: String,
    in_memory: bool,
    size: usize,
    writers: usize,
    batch: usize,
    durability: Mode,
    seconds: f64,
    rows: Vec<Row>,
}

/// How often something was done, and how long each time took.
#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    elapsed: Duration,
}

impl Measured {
    fn per_second(&self, each: usize) -> f64 {
        (self.times.len() * each) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn at(&mut self, part: usize) -> Option<f64> {
        self.times.sort_unstable();
        let last = self.times.len().checked_sub(1)?;
        let time = self.times.get((last * part).div_ceil(100))?;
        Some(time.as_secs_f64() * 1e6)
    }
}

/// Runs it.
///
/// # Errors
/// Usage, when the options make no sense; not found, when the directory is not there.
pub fn run(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    if args.writers == 0 || args.batch == 0 || !(0.01..=3600.0).contains(&args.seconds) {
        return Err(Failure::Usage(
            "--writers and --batch are at least 1, --seconds 0.01 to 3600".into(),
        ));
    }
    let dir = global.dir()?;
    refuse_too_much(&dir, args)?;
    let made = tempfile::Builder::new().prefix("factlog-bench-").tempdir_in(&dir);
    let made =
        made.map_err(Failure::io(format!("cannot make a directory in {}", dir.display())))?;
    interrupt::also_remove(made.path());
    let messages = Messages::new(global);
    let on = place::of(made.path());
    if on.is_memory() {
        messages.warn(format!(
            "factlog: {} is {on}: these figures say nothing about a disk",
            dir.display()
        ));
    }
    let answer = Answer {
        file_system: on.to_string(),
        in_memory: on.is_memory(),
        size: args.size,
        writers: args.writers,
        batch: args.batch,
        durability: args.durability,
        seconds: args.seconds,
        rows: measure(made.path(), args, &messages)?,
    };
    let mut out = Out::new(global);
    match args.json {
        true => out.json(&answer)?,
        false => print(&mut out, &answer)?,
    }
    out.done()?;
    let removed = made.close();
    removed.map_err(Failure::io("cannot remove the temporary directory"))
}

/// Whether what is asked can be held in memory and on the disk, before anything is made.
fn refuse_too_much(dir: &Path, args: &BenchArgs) -> Result<(), Failure> {
    if args.size > EVENT_MOST {
        let text = format!("--size is {} at most", sized(EVENT_MOST as u64));
        return Err(Failure::Usage(text));
    }
    let together = args.size.max(1).saturating_mul(args.batch.max(args.writers));
    if together > TOGETHER_MOST || args.writers > WRITERS_MOST || args.batch > BATCH_MOST {
        return Err(Failure::Usage(format!(
            "{} at once are too many: --size times --batch or --writers is {} at most, --writers \
             {WRITERS_MOST}, --batch {BATCH_MOST}",
            sized(together as u64),
            sized(TOGETHER_MOST as u64)
        )));
    }
    let needed = SPACE_LEAST + 4 * together as u64;
    let space = rustix::fs::statvfs(dir).map_err(|error| Failure::Io {
        what: format!("cannot measure in {}", dir.display()),
        source: error.into(),
    })?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free >= needed {
        return Ok(());
    }
    Err(Failure::Io {
        what: format!(
            "cannot measure in {}: {} are free, and it takes {} at least",
            dir.display(),
            sized(free),
            sized(needed)
        ),
        source: io::ErrorKind::StorageFull.into(),
    })
}

fn measure(dir: &Path, args: &BenchArgs, messages: &Messages) -> Result<Vec<Row>, Failure> {
    let most = Duration::from_secs_f64(args.seconds);
    messages.say("measuring the disk");
    let bare = bare(&dir.join("bare"), args.size, most)?;
    let base = bare.per_second(1);
    let mut rows = Vec::new();
    let mut tell = |name: String, mut measured: Measured, each: usize| {
        let per_second = measured.per_second(each);
        let (p50_us, p99_us) = (measured.at(50), measured.at(99));
        rows.push(Row { name, per_second, ratio: per_second / base, p50_us, p99_us });
    };
    tell("bare write and sync".into(), bare, 1);
    let durability = match args.durability {
        Mode::Sync => Durability::Sync,
        Mode::Interval => Durability::Interval(Duration::from_millis(10)),
        Mode::Os => Durability::Os,
    };
    let store = Store::options().durability(durability).event_data_max(64 << 20);
    let store = store.open(dir.join("store"))?;
    messages.say("measuring appends");
    tell("append, 1 writer".into(), appends(&store, (1, 1), args, most)?, 1);
    let writers = args.writers;
    let name = format!("append, {writers} writers");
    tell(name, appends(&store, (writers, 1), args, most)?, 1);
    let name = format!("batches of {}, 1 writer", args.batch);
    tell(name, appends(&store, (1, args.batch), args, most)?, args.batch);
    messages.say("measuring reads");
    let (events, elapsed) = scan(&store, most)?;
    tell("scan".into(), Measured { times: Vec::new(), elapsed }, 1);
    let latency = subscriber(&store, args, most)?;
    tell("append to subscriber".into(), latency, 1);
    if let Some(row) = rows.iter_mut().find(|row| row.name == "scan") {
        row.per_second = events as f64 / elapsed.as_secs_f64().max(1e-9);
        row.ratio = row.per_second / base;
    }
    store.close()?;
    Ok(rows)
}

/// What any durable log has to do, and nothing else.
fn bare(path: &Path, size: usize, most: Duration) -> Result<Measured, Failure> {
    const PREPARED: usize = 8 << 20;
    let failed = || Failure::io("cannot measure the disk");
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(path);
    let file = file.map_err(failed())?;
    file.write_all_at(&vec![0; PREPARED], 0).map_err(failed())?;
    file.sync_all().map_err(failed())?;
    let record = vec![0x5A; size + 140];
    let begun = Instant::now();
    let (mut measured, mut at) = (Measured::default(), 0_usize);
    while begun.elapsed() < most {
        let before = Instant::now();
        file.write_all_at(&record, at as u64).map_err(failed())?;
        file.sync_data().map_err(failed())?;
        measured.times.push(before.elapsed());
        at += record.len();
        if at + record.len() > PREPARED {
            at = 0;
        }
    }
    measured.elapsed = begun.elapsed();
    Ok(measured)
}

fn event(size: usize) -> NewEvent {
    NewEvent::binary("Measured", vec![b'x'; size])
}

fn appends(
    store: &Store,
    (writers, batch): (usize, usize),
    args: &BenchArgs,
    most: Duration,
) -> Result<Measured, Failure> {
    let (begun, size) = (Instant::now(), args.size);
    let one = |writer: usize| -> Result<Vec<Duration>, factlog::Error> {
        let stream = format!("Bench-{writers}-{batch}-{writer}");
        let mut times = Vec::new();
        while begun.elapsed() < most {
            let events: Vec<NewEvent> = (0..batch).map(|_| event(size)).collect();
            let before = Instant::now();
            store.append(&*stream, Expect::Any, events)?;
            times.push(before.elapsed());
        }
        Ok(times)
    };
    let mut measured = Measured::default();
    thread::scope(|scope| -> Result<(), Failure> {
        let one = &one;
        let threads: Vec<_> = (0..writers).map(|n| scope.spawn(move || one(n))).collect();
        for thread in threads {
            let times = thread.join().map_err(|_| Failure::Disproved("a writer died".into()))?;
            measured.times.extend(times?);
        }
        Ok(())
    })?;
    measured.elapsed = begun.elapsed();
    Ok(measured)
}

/// Events read, checked and borrowed, and how long that took.
fn scan(store: &Store, most: Duration) -> Result<(u64, Duration), Failure> {
    let (begun, mut events) = (Instant::now(), 0);
    while begun.elapsed() < most {
        events += store.read_all().count()?;
    }
    Ok((events, begun.elapsed()))
}

/// From before an append until a subscriber in another thread has the event.
fn subscriber(store: &Store, args: &BenchArgs, most: Duration) -> Result<Measured, Failure> {
    let (send, receive) = mpsc::channel();
    let mut all = store.subscribe(Source::All).start(Start::After(store.last_position()))?;
    let reader = thread::spawn(move || {
        while let Ok(delivery) = all.next() {
            if let Delivery::Event(event) = delivery
                && send.send((event.position(), Instant::now())).is_err()
            {
                return;
            }
        }
    });
    let begun = Instant::now();
    let mut measured = Measured::default();
    while begun.elapsed() < most {
        let before = Instant::now();
        let appended = store.append("Bench-latency", Expect::Any, [event(args.size)])?;
        let (position, at) = receive
            .recv_timeout(Duration::from_secs(10))
            .map_err(|_| Failure::Disproved("a subscriber saw nothing".into()))?;
        if position != appended.last {
            return Err(Failure::Disproved("a subscriber saw another event".into()));
        }
        measured.times.push(at.saturating_duration_since(before));
    }
    measured.elapsed = begun.elapsed();
    drop(receive);
    // It ends at the next event, which nobody takes.
    store.append("Bench-latency", Expect::Any, [event(0)])?;
    let _ = reader.join();
    Ok(measured)
}

fn print(out: &mut Out, answer: &Answer) -> Result<(), Failure> {
    out.line(format!("on {}, events of {} bytes of data", answer.file_system, answer.size))?;
    let heading =
        format!("{:26} {:>13} {:>8} {:>10} {:>10}", "", "a second", "ratio", "p50", "p99");
    let heading = out.dim(&heading);
    out.line(heading)?;
    for row in &answer.rows {
        let micros = |time: Option<f64>| time.map_or("-".into(), |time| format!("{time:.0} µs"));
        let (p50, p99) = (micros(row.p50_us), micros(row.p99_us));
        let per_second = format!("{:.0}", row.per_second).parse().map(grouped);
        let per_second = per_second.unwrap_or_default();
        let (name, ratio) = (&row.name, row.ratio);
        out.line(format!("{name:26} {per_second:>13} {ratio:>8.2} {p50:>10} {p99:>10}"))?;
    }
    Ok(())
}
