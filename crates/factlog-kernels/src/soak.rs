//! Layer 2.4: a process of many writing threads, killed at random instants, again and again.
//!
//! Knows: what several threads may leave behind: each thread's batches in its own order. Does not
//! know: which system call a kill meets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use factlog::{Position, RecordedEvent, Store, Uuid};

use crate::kills::clear;
use crate::plan::{Plan, Random};
use crate::process::{Owned, myself};
use crate::said::Said;
use crate::trouble::{Outcome, Trouble, answers, holds};

const WRITERS: u64 = 4;
/// Kills of one store, one after the other.
const ROUNDS: u64 = 6;
const LONGEST_MICROS: u64 = 60_000;

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub kills: u64,
    pub acknowledged: u64,
    /// Begun, not answered, and found all the same.
    pub survived: u64,
    pub events: u64,
    pub verdicts: BTreeMap<String, u64>,
}

/// What one process said before it died.
#[derive(Debug, Default)]
struct Heard {
    begun: BTreeSet<u64>,
    answered: BTreeMap<u64, u64>,
}

/// Kills so many times.
pub fn campaign(scratch: &Path, seed: u64, wanted: u64) -> Outcome<Tally> {
    let dir = scratch.join("store");
    let mut tally = Tally::default();
    // What stands in the store for good.
    let mut settled: Vec<Uuid> = Vec::new();
    while tally.kills < wanted {
        if tally.kills.is_multiple_of(ROUNDS) {
            clear(&dir)?;
            settled.clear();
        }
        // Odd: with threads of the store's own.
        let plan = Plan { seed: 2 * (seed + tally.kills) + 1, steps: 0 };
        let heard = write_and_kill(&dir, plan)?;
        tally.kills += 1;
        check(&dir, plan, &heard, (&mut settled, &mut tally))
            .map_err(|trouble| trouble.at(format!("soak --seed {seed}, kill {}", tally.kills)))?;
    }
    Ok(tally)
}

/// The process that writes: it ends when it is killed.
pub fn write(dir: &PathBuf, seed: u64) -> Outcome<()> {
    let plan = Plan { seed, steps: 0 };
    let store = answers(plan.options().open(dir), "open")?;
    let say = |said: Said| {
        let line = format!("{said}\n");
        io::stdout().lock().write_all(line.as_bytes()).map_err(Trouble::io("nobody listens"))
    };
    let writer = |writer: u64| {
        for number in 0.. {
            let batch = number * WRITERS + writer;
            say(Said::Begins { batch, carries: 0 })?;
            let answer = answers(plan.batch(&store, batch).commit(), "append")?;
            say(Said::Answered { batch, first: answer.first.get() })?;
        }
        Ok::<(), Trouble>(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS).map(|w| scope.spawn(move || writer(w))).collect();
        let mut ends = threads.into_iter().map(|thread| thread.join());
        ends.try_for_each(|end| end.map_err(|_| Trouble::Finding("a thread died".into()))?)
    })
}

fn write_and_kill(dir: &Path, plan: Plan) -> Outcome<Heard> {
    let mut command = Command::new(myself()?);
    command.arg("soak-writer").arg("--dir").arg(dir).args(["--seed", &plan.seed.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Owned(command.spawn().map_err(Trouble::io("cannot start a process"))?);
    let Some(output) = child.0.stdout.take() else {
        return Err(Trouble::Machine("no pipe".into()));
    };
    let listening = thread::spawn(move || {
        let mut heard = Heard::default();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            match line.parse() {
                Ok(Said::Begins { batch, .. }) => {
                    heard.begun.insert(batch);
                }
                Ok(Said::Answered { batch, first }) => {
                    heard.answered.insert(batch, first);
                }
                _ => break, // a line cut short
            }
        }
        heard
    });
    let mut random = Random::new(plan.seed, 300);
    thread::sleep(Duration::from_micros(random.below(LONGEST_MICROS)));
    if let Ok(Some(status)) = child.0.try_wait() {
        return Err(Trouble::Finding(format!("the writing process ended by itself: {status}")));
    }
    drop(child); // kills it
    listening.join().map_err(|_| Trouble::Machine("the listener died".into()))
}

fn check(
    dir: &Path,
    plan: Plan,
    heard: &Heard,
    (settled, tally): (&mut Vec<Uuid>, &mut Tally),
) -> Outcome<()> {
    let store = answers(plan.options().open(dir), "open")?;
    let report = store.open_report();
    *tally.verdicts.entry(report.verdict.to_owned()).or_default() += 1;
    let events: Vec<RecordedEvent> = answers(store.read_all().into_iter().collect(), "read_all")?;
    let old = events.iter().take(settled.len()).map(RecordedEvent::id);
    holds(old.eq(settled.iter().copied()), || "what stood there stands there no more".into())?;
    let new = events.get(settled.len()..).unwrap_or_default();
    let first = settled.len() as u64 + 1;
    let mut found = BTreeMap::new();
    let mut at = 0;
    while let Some(event) = new.get(at) {
        let (seed, number) = event.id().as_u64_pair();
        let batch = number >> 8;
        holds(seed == plan.seed && heard.begun.contains(&batch), || {
            format!("nobody sent {event:?}")
        })?;
        let earlier = batch.checked_sub(WRITERS);
        holds(earlier.is_none_or(|earlier| found.contains_key(&earlier)), || {
            format!("batch {batch} is there without the one before it")
        })?;
        let sent = plan.events(batch);
        let part = new.get(at..at + sent.len()).unwrap_or_default();
        let same = part.iter().zip(&sent).all(|(event, sent)| {
            (event.id(), event.stream(), event.data()) == (sent.id, &*sent.stream, &*sent.data)
        });
        holds(part.len() == sent.len() && same, || format!("batch {batch} is not whole"))?;
        found.insert(batch, first + at as u64);
        at += sent.len();
    }
    for (batch, first) in &heard.answered {
        let there = found.get(batch);
        holds(there == Some(first), || format!("batch {batch}: answered {first}, is {there:?}"))?;
    }
    tally.acknowledged += heard.answered.len() as u64;
    tally.survived += (found.len() - heard.answered.len()) as u64;
    tally.events += new.len() as u64;
    send_again(&store, plan, heard, &found)?;
    let all: factlog::Result<Vec<_>> = store.read_all().into_iter().collect();
    *settled = answers(all, "read_all")?.iter().map(RecordedEvent::id).collect();
    holds(store.last_position() == Position::new(settled.len() as u64), || "a gap".into())?;
    // Every second time the next process finds a clean end, else what a drop leaves.
    if plan.seed % 4 == 1 { answers(store.close(), "close") } else { Ok(()) }
}

/// What is there is answered as it was; what is not is stored, once.
fn send_again(store: &Store, plan: Plan, heard: &Heard, found: &BTreeMap<u64, u64>) -> Outcome<()> {
    for batch in &heard.begun {
        let before = store.last_position();
        let answer = answers(plan.batch(store, *batch).commit(), "sending again")?;
        let known = found.get(batch).copied();
        let expected = (known.is_some(), known.unwrap_or(before.get() + 1));
        let answered = (answer.already, answer.first.get());
        holds(answered == expected, || {
            format!("batch {batch} sent again: (stored, first) is {answered:?}, not {expected:?}")
        })?;
    }
    Ok(())
}
