//! Layer 1.1: what must hold for a store that a run has left behind, however the run ended.
//!
//! Knows: the contract of `docs/DURABILITY.md`. Does not know: what happened to the run.

use std::collections::HashSet;
use std::path::Path;

use factlog::{Error, ErrorKind, Expect, NewEvent, Position, RecordedEvent, Store, Version};

use crate::plan::{Plan, Random, snapshot_data};
use crate::record::Record;
use crate::trouble::{Outcome, Trouble, answers, holds};

/// What was found beside the truth.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub verdict: String,
    /// Batches that are there.
    pub whole: usize,
}

/// Opens the store, checks everything, sends everything again, goes on, and closes it.
pub fn check(dir: &Path, plan: Plan, record: &mut Record, seed: u64) -> Outcome<Found> {
    let mut random = Random::new(seed, 77);
    let seen = look(dir, plan, record)?;
    let options = plan.options().background_threads(false).map_segments(random.below(2) == 0);
    let store = answers(options.clone().open(dir), "open")?;
    let report = store.open_report();
    holds(report.damage.is_empty(), || format!("damage: {:?}", report.damage))?;
    let events = read_all(&store)?;
    forget_refused(record, plan, &events);
    let whole = compare(&events, plan, record)?;
    holds(events.len() >= seen, || {
        format!("a reader had seen {seen} events, recovery left {}", events.len())
    })?;
    look_up(&store, &events)?;
    check_saved(&store, record)?;
    let verified = answers(store.verify(), "verify")?;
    holds(verified.clean, || format!("verify: {verified:?}"))?;
    // Now and then something else comes first, so that what was torn off is not just written again.
    let late_first = random.below(2) == 0;
    if late_first {
        append_late(&store, seed)?;
    }
    send_again(&store, plan, record, whole)?;
    if !late_first {
        append_late(&store, seed)?;
    }
    let sent: usize = record.batches.iter().map(|sent| plan.events(sent.batch).len()).sum();
    let last = Position::new(sent as u64 + 1);
    let count = store.last_position();
    holds(count == last, || format!("{count} events after sending again, not {last}"))?;
    answers(store.close(), "close")?;
    reopen(&options.rebuild_index(random.below(4) == 0), dir, last)?;
    Ok(Found { verdict: report.verdict.to_owned(), whole })
}

fn append_late(store: &Store, seed: u64) -> Outcome<()> {
    let next = store.last_position().plus(1);
    let late = NewEvent::binary("Late", format!("{seed}"));
    let answer = answers(store.append("Late-1", Expect::Any, [late]), "append more")?;
    holds(answer.first == next, || format!("more went to {}, not {next}", answer.first))
}

fn reopen(options: &factlog::Options, dir: &Path, last: Position) -> Outcome<()> {
    let store = answers(options.clone().open(dir), "open again")?;
    let report = store.open_report();
    holds(report.clean, || format!("after a clean close: {report:?}"))?;
    holds(store.last_position() == last, || {
        format!("{} events after a clean close, not {last}", store.last_position())
    })?;
    answers(store.close(), "close again")
}

fn read_all(store: &Store) -> Outcome<Vec<RecordedEvent>> {
    answers(store.read_all().into_iter().collect(), "read_all")
}

/// Reads without recovering; answers how many events are served.
fn look(dir: &Path, plan: Plan, record: &Record) -> Outcome<usize> {
    let options = plan.options().background_threads(false);
    let store = match options.open_read_only(dir) {
        Ok(store) => store,
        Err(error) if record.promised() == 0 && is_unmade(&error) => return Ok(0),
        Err(error) => return Err(Trouble::Finding(format!("open_read_only: {error:?}"))),
    };
    let report = store.open_report();
    holds(report.damage.is_empty(), || format!("read-only: damage: {:?}", report.damage))?;
    let events = read_all(&store)?;
    // What is served must be a beginning of what was submitted; certified may be less than that.
    let mut record = record.clone();
    forget_refused(&mut record, plan, &events);
    let mut at = 0;
    for submitted in &record.batches {
        let Some(part) = events.get(at..).filter(|part| !part.is_empty()) else { break };
        at += same_batch(part, plan, submitted.batch)?;
    }
    holds(at == events.len(), || format!("read-only: {} events nobody sent", events.len() - at))?;
    Ok(events.len())
}

/// Of several batches in flight a full disk may refuse one and have room for a smaller one after
/// it. When the process is killed before it has said so, the later one alone tells.
fn forget_refused(record: &mut Record, plan: Plan, events: &[RecordedEvent]) {
    if !record.disk_was_full {
        return;
    }
    let stored: HashSet<_> = events.iter().map(RecordedEvent::id).collect();
    let is_stored =
        |batch| plan.events(batch).first().is_some_and(|sent| stored.contains(&sent.id));
    let Some(last) = record.batches.iter().rposition(|known| is_stored(known.batch)) else {
        return;
    };
    let mut at = 0;
    record.batches.retain(|known| {
        at += 1;
        at > last + 1 || known.first.is_some() || is_stored(known.batch)
    });
}

/// The store was never made: its making did not end.
fn is_unmade(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged | ErrorKind::Io)
}

/// The next batch, whole and byte for byte; answers its length.
fn same_batch(part: &[RecordedEvent], plan: Plan, batch: u64) -> Outcome<usize> {
    let sent = plan.events(batch);
    holds(part.len() >= sent.len(), || format!("batch {batch} is not whole"))?;
    for (event, sent) in part.iter().zip(&sent) {
        let same = (event.stream(), event.id()) == (&*sent.stream, sent.id);
        let same = same && event.data() == sent.data;
        holds(same, || format!("{event:?} is not of batch {batch}"))?;
    }
    Ok(sent.len())
}

/// A prefix of what was submitted, with every acknowledged batch where it was answered, each batch
/// whole, and nothing else. Answers how many batches.
fn compare(events: &[RecordedEvent], plan: Plan, record: &Record) -> Outcome<usize> {
    for (event, position) in events.iter().zip(1..) {
        holds(event.position().get() == position, || format!("{event:?} is not at {position}"))?;
    }
    let (mut at, mut whole) = (0, 0);
    for submitted in &record.batches {
        let Some(part) = events.get(at..).filter(|part| !part.is_empty()) else { break };
        let first = at as u64 + 1;
        holds(submitted.first.is_none_or(|answered| answered == first), || {
            format!(
                "batch {} was answered at {:?}, is at {first}",
                submitted.batch, submitted.first
            )
        })?;
        at += same_batch(part, plan, submitted.batch)?;
        whole += 1;
    }
    holds(at == events.len(), || format!("{} events that nobody sent", events.len() - at))?;
    let promised = record.promised();
    holds(whole >= promised, || format!("{promised} batches are promised, {whole} are there"))?;
    Ok(whole)
}

/// Every way to an event leads to the same event.
fn look_up(store: &Store, events: &[RecordedEvent]) -> Outcome<()> {
    let mut heads = std::collections::BTreeMap::<&str, u64>::new();
    for event in events {
        let version = heads.entry(event.stream()).or_default();
        *version += 1;
        holds(event.version() == Version::new(*version), || {
            format!("{event:?} is not version {version}")
        })?;
        let found = [
            answers(store.event(event.id()), "event")?,
            answers(store.event_at(event.position()), "event_at")?,
            answers(store.stream_event(event.stream(), event.version()), "stream_event")?,
        ];
        let same = found.iter().all(|found| found.as_ref() == Some(event));
        holds(same, || format!("{event:?} is found as {found:?}"))?;
    }
    for (stream, version) in heads {
        let head = answers(store.head(stream), "head")?.map(|head| head.version.get());
        holds(head == Some(version), || format!("{stream} has {version} events, head {head:?}"))?;
    }
    Ok(())
}

fn check_saved(store: &Store, record: &mut Record) -> Outcome<()> {
    let now = answers(store.checkpoint("reader"), "checkpoint")?.map(Position::get);
    let known = &record.checkpoint;
    holds(known.allows(now), || format!("the checkpoint is {now:?}, may be {known:?}"))?;
    record.checkpoint.settle(now);
    for (stream, known) in &mut record.snapshots {
        let snapshot = answers(store.snapshot(&**stream, "state"), "snapshot")?;
        let now = snapshot.as_ref().map(|snapshot| snapshot.version.get());
        holds(known.allows(now), || format!("{stream}'s snapshot is {now:?}, may be {known:?}"))?;
        if let Some(snapshot) = &snapshot {
            let data = snapshot_data(stream, snapshot.version.get());
            holds(snapshot.data == data.as_bytes(), || format!("{stream}'s snapshot is another"))?;
        }
        known.settle(now);
    }
    Ok(())
}

/// What is there is answered as it was; what is not is stored, once.
fn send_again(store: &Store, plan: Plan, record: &mut Record, whole: usize) -> Outcome<()> {
    let mut first = 1;
    for (at, submitted) in record.batches.iter_mut().enumerate() {
        let batch = submitted.batch;
        let is_there = at < whole;
        if !is_there {
            first = store.last_position().get() + 1;
        }
        let answer = answers(plan.batch(store, batch).commit(), "sending again")?;
        let (expected, answered) = ((is_there, first), (answer.already, answer.first.get()));
        holds(answered == expected, || {
            format!("batch {batch} sent again: (stored, first) is {answered:?}, not {expected:?}")
        })?;
        submitted.first = Some(first);
        first += plan.events(batch).len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three batches were in flight on a full disk, the second had no room and the third had; the
    /// process was killed before it said so, and the batch that nobody could promise was missed.
    #[test]
    fn a_refusal_that_nobody_heard_is_no_loss_on_a_full_disk() {
        let plan = Plan { seed: 1, steps: 0 };
        let store = Store::in_memory().unwrap();
        for batch in [0, 2] {
            plan.batch(&store, batch).commit().unwrap();
        }
        let events = store.read_all().to_vec().unwrap();
        for disk_was_full in [false, true] {
            let mut record = Record::default();
            record.disk_was_full = disk_was_full;
            for line in
                ["begins 0 0.", "begins 1 0.", "begins 2 0.", "begins 3 0.", "answered 0 1."]
            {
                record.hear(&line.parse().unwrap());
            }
            forget_refused(&mut record, plan, &events);
            assert_eq!(compare(&events, plan, &record).is_ok(), disk_was_full);
            assert_eq!(record.batches.len(), if disk_was_full { 3 } else { 4 });
        }
    }
}
