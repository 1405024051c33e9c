//! The demo's crash: a writing process is killed in the middle of appends.
//!
//! Knows: what the child said before it died, and what must therefore be there. Does not know: how
//! the store recovers.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use factlog::{OpenReport, Position, Store};

use super::follow::Owned;
use super::writer::{BATCH, NAME, Said, WRITERS, id, stream};
use super::{Story, disproved};
use crate::exit::Failure;
use crate::output::{counted, grouped};

const ROUNDS: u64 = 3;
/// Answered appends before the kill, in the first round; later ones differ a little.
const ANSWERED: usize = 300;

/// What the child said, by thread.
#[derive(Debug, Default)]
struct Heard {
    /// The number of each thread's newest append.
    begun: HashMap<u64, u64>,
    /// The last position of every answered append, by thread and number.
    answered: HashMap<(u64, u64), Position>,
}

impl Heard {
    fn under_way(&self) -> usize {
        let open =
            |(writer, append): (&u64, &u64)| !self.answered.contains_key(&(*writer, *append));
        self.begun.iter().filter(|part| open(*part)).count()
    }
}

/// Kills a writing child several times; everything it was answered must be there, and nothing else.
pub fn act(story: &mut Story, store: Store, program: &Path, dir: &Path) -> Result<Store, Failure> {
    story.act("Kill a writing process (SIGKILL) in the middle of an append, and open again")?;
    let mut store = store;
    let mut acknowledged = 0;
    for round in 1..=ROUNDS {
        let before = store.last_position();
        store.close()?;
        let heard = write_and_kill(program, dir, round)?;
        store = Store::open(dir)?;
        let survived = check(&store, round, before, &heard)?;
        acknowledged += heard.answered.len() as u64 * BATCH;
        story.tell(tell(&heard, survived, &store.open_report()))?;
    }
    story.tell(format!(
        "all {} acknowledged events are there, in order, whole, and nothing else",
        grouped(acknowledged)
    ))?;
    Ok(store)
}

fn tell(heard: &Heard, survived: usize, report: &OpenReport) -> String {
    let aside: u64 = report.set_aside.iter().map(|aside| aside.bytes).sum();
    let aside = if aside > 0 { format!("; {aside} torn bytes set aside") } else { String::new() };
    format!(
        "{} of {BATCH} events acknowledged; of {} under way when it died, {survived} on disk, \
         whole; open again in {:.1} ms{aside}",
        counted(heard.answered.len() as u64, "append"),
        heard.under_way(),
        report.elapsed.as_secs_f64() * 1e3,
    )
}

/// Lets a child append until enough is answered and something is under way; then kills it.
fn write_and_kill(program: &Path, dir: &Path, round: u64) -> Result<Heard, Failure> {
    let mut command = Command::new(program);
    command.args([NAME, "--round", &round.to_string(), "--dir"]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().map_err(Failure::io("cannot start a writing process"))?;
    let mut child = Owned(child);
    let Some(output) = child.0.stdout.take() else { return Err(disproved("no pipe")) };
    let mut heard = Heard::default();
    let mut killed = false;
    // After the kill what is still in the pipe counts as well: it was said before.
    for line in BufReader::new(output).lines() {
        let line = line.map_err(Failure::io("cannot read from the writing process"))?;
        match line.parse() {
            Ok(Said::Begins(writer, append)) => {
                heard.begun.insert(writer, append);
            }
            Ok(Said::Answered(writer, append, position)) => {
                heard.answered.insert((writer, append), Position::new(position));
            }
            Err(()) if killed => break, // a line cut short
            Err(()) => return Err(disproved(format!("the writing process said {line:?}"))),
        }
        if !killed && heard.answered.len() >= ANSWERED && heard.under_way() > 0 {
            child.0.kill().map_err(Failure::io("cannot kill the writing process"))?;
            killed = true;
        }
    }
    if !killed {
        return Err(disproved("the writing process ended by itself"));
    }
    child.0.wait().map_err(Failure::io("cannot wait for the writing process"))?;
    Ok(heard)
}

/// Every acknowledged append is there, where it was said to be; of those under way each whole or
/// not at all; and nothing else came into the store. Answers how many under way survived.
fn check(store: &Store, round: u64, before: Position, heard: &Heard) -> Result<usize, Failure> {
    let writers: HashMap<String, u64> = (0..WRITERS).map(|w| (stream(round, w), w)).collect();
    let mut appends: HashMap<u64, u64> = HashMap::new();
    let mut survived = 0;
    let mut count = 0;
    let mut events = store.read_all().after(before).into_iter();
    while let Some(first) = events.next() {
        let mut event = first?;
        let Some(writer) = writers.get(event.stream()).copied() else {
            return Err(disproved(format!("nobody appended {event:?}")));
        };
        let append = appends.entry(writer).or_default();
        *append += 1;
        for part in 1..=BATCH {
            if part > 1 {
                let next = events.next().ok_or_else(|| disproved("an append is not whole"))?;
                event = next?;
            }
            count += 1;
            let place = (event.id(), event.position());
            if place != (id(round, writer, *append, part), before.plus(count)) {
                return Err(disproved(format!("{event:?} is not part {part} of {append}")));
            }
        }
        match heard.answered.get(&(writer, *append)) {
            Some(position) if *position != event.position() => {
                return Err(disproved(format!("{event:?} was acknowledged at {position}")));
            }
            Some(_) => {}
            None => survived += 1,
        }
    }
    let begun = |writer: &u64| heard.begun.get(writer).copied().unwrap_or_default();
    if appends.iter().any(|(writer, append)| *append > begun(writer)) {
        return Err(disproved("there is an append that nobody began"));
    }
    let there = |writer: u64| appends.get(&writer).copied().unwrap_or_default();
    if let Some((writer, append)) = heard.answered.keys().find(|(w, append)| there(*w) < *append) {
        return Err(disproved(format!("append {append} of thread {writer} was acknowledged")));
    }
    Ok(survived)
}
