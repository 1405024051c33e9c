//! What is done to a store, and what its caller then knows: the side record that the contract is
//! checked against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use factlog::disk::{Disk, SimDisk};
use factlog::{
    Appended, ErrorKind, Expect, Hidden, NewEvent, Options, Position, Result, Retention, Store,
    Trim, Uuid, Version,
};

use super::contract::{self, Broken};
use crate::rig::{self, Random, event};

/// What is done to a store, step by step.
#[derive(Debug, Clone)]
pub enum Op {
    /// Events by number, stream after stream; the checkpoint they carry.
    Append(Vec<(String, u64, usize)>, Option<u64>),
    SaveCheckpoint(u64),
    ResetCheckpoint(u64),
    RemoveCheckpoint,
    SaveSnapshot(String),
    /// What is before a position, also past the checkpoint if told so.
    Trim(u64, bool),
    /// How many events of one stream are shown: settings that a batch carries.
    Retain(u64),
    /// What is before a version of a stream is hidden.
    Truncate(String, u64),
    /// The data of what is hidden is taken away.
    Reclaim,
    Reopen,
}

impl Op {
    /// Keyed files share sectors between their entries, whatever the options say.
    pub fn is_keyed(&self) -> bool {
        matches!(self, Self::SaveCheckpoint(_) | Self::ResetCheckpoint(_) | Self::SaveSnapshot(_))
    }
}

/// An event as it was submitted.
#[derive(Debug, Clone)]
pub struct Planned {
    pub stream: String,
    pub number: u64,
    pub size: usize,
    pub id: Uuid,
    pub data: Vec<u8>,
}

/// In the place of a checkpoint's value.
pub const REMOVED: u64 = u64::MAX;

/// The stream whose settings are changed; it has no events.
pub const RETAINED: &str = "Retained-1";

/// A batch as it was submitted, and its answer.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub events: Arc<[Planned]>,
    pub carried: Option<u64>,
    pub answer: Option<Appended>,
}

impl Submitted {
    fn new(events: &[(String, u64, usize)], carried: Option<u64>) -> Self {
        let planned = events.iter().map(|(stream, number, size)| Planned {
            stream: stream.clone(),
            number: *number,
            size: *size,
            id: rig::id(*number),
            data: rig::data(*number, *size),
        });
        Self { events: planned.collect(), carried, answer: None }
    }

    /// Sends it, for the first time or again.
    pub fn commit(&self, store: &Store) -> Result<Appended> {
        let mut batch = store.batch();
        for planned in &*self.events {
            let event: NewEvent = event(planned.number, planned.size);
            batch = batch.append(&*planned.stream, Expect::Any, [event]);
        }
        if let Some(position) = self.carried {
            batch = batch.checkpoint("reader", Position::new(position));
        }
        batch.commit()
    }
}

/// What is known of how the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    #[default]
    Unknown,
    /// With the mark of a clean close, for sure.
    Closed,
    /// With a batch, for sure.
    Open,
}

/// What is known of where a stream was truncated.
#[derive(Debug, Clone, Default)]
pub struct Truncated {
    /// The versions in the order of the calls, and how many of these are acknowledged.
    pub before: Vec<u64>,
    pub acknowledged: usize,
}

/// What a caller knows: everything submitted, what was acknowledged, what was shown.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// In the order of submission; those that were refused are not here.
    pub batches: Vec<Submitted>,
    /// The checkpoint's values in order, also `REMOVED`, and how many of them are acknowledged.
    pub checkpoints: Vec<u64>,
    pub checkpoints_acknowledged: usize,
    /// The same of a stream's settings.
    pub settings: Vec<u64>,
    pub settings_acknowledged: usize,
    pub truncated: BTreeMap<String, Truncated>,
    /// The positions of events whose data is known to be gone.
    pub stubs: BTreeSet<u64>,
    /// Per stream: versions in order, and how many are acknowledged.
    pub snapshots: BTreeMap<String, (Vec<u64>, usize)>,
    /// Where the log may begin, in the order of the trims, and how many of these are acknowledged.
    pub firsts: Vec<u64>,
    pub firsts_acknowledged: usize,
    /// The highest position that any reader was shown, and that any follower was.
    pub seen: u64,
    pub followed: u64,
    /// How many events an opening must come to, because one from the same bytes did.
    pub exactly: Option<u64>,
    pub ending: Ending,
    /// What was acknowledged need not survive a power cut.
    pub weak: bool,
    /// The first error that ended the run.
    pub ended: Option<ErrorKind>,
    /// The contract was broken already while the program ran.
    pub wrong: Option<Broken>,
}

impl Record {
    /// How many batches from the beginning have to be there.
    pub fn promised(&self) -> usize {
        self.batches.iter().rposition(|batch| batch.answer.is_some()).map_or(0, |at| at + 1)
    }

    /// What is known after a crash, to begin the next run with. In a weaker mode a power cut may
    /// have taken what was acknowledged.
    pub fn after(&self, power: bool) -> Self {
        let mut record = Self { exactly: None, ended: None, ..self.clone() };
        if self.weak && power {
            record.batches.iter_mut().for_each(|batch| batch.answer = None);
            record.checkpoints_acknowledged = 0;
            record.settings_acknowledged = 0;
            record.truncated.values_mut().for_each(|known| known.acknowledged = 0);
            record.snapshots.values_mut().for_each(|(_, known)| *known = 0);
            record.seen = record.followed;
        }
        record
    }

    /// The positions at which the log may begin.
    pub fn beginnings(&self) -> Vec<u64> {
        let allowed = self.firsts.get(self.firsts_acknowledged.saturating_sub(1)..);
        let untrimmed = (self.firsts_acknowledged == 0).then_some(1);
        untrimmed.into_iter().chain(allowed.unwrap_or_default().iter().copied()).collect()
    }

    fn fail(&mut self, clause: &'static str, what: String) {
        self.wrong.get_or_insert(Broken { clause, what });
    }

    fn refused(&mut self, error: &factlog::Error) -> bool {
        // Nothing was written, and nothing of it may ever turn up.
        matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::Poisoned)
    }
}

/// A random program. Sizes make it roll every few batches.
pub fn program(random: &mut Random, length: u64) -> Vec<Op> {
    let mut number = 0;
    let mut ops = Vec::new();
    for _ in 0..length {
        ops.push(match random.below(15) {
            0 => Op::Reopen,
            1 => Op::SaveCheckpoint(1 + random.below(1 + number)),
            2 => Op::ResetCheckpoint(random.below(1 + number)),
            3 => Op::SaveSnapshot(stream_of(random)),
            14 => Op::Retain(1 + random.below(1_000_000)),
            kind => {
                let count = 1 + random.below(4);
                let large = random.below(6) == 0;
                let mut stream = stream_of(random);
                let events = (0..count).map(|_| {
                    if random.below(2) == 0 {
                        stream = stream_of(random);
                    }
                    number += 1;
                    let size = if large { 1500 + random.below(3000) } else { random.below(300) };
                    (stream.clone(), number, size as usize)
                });
                let events: Vec<_> = events.collect();
                let carried = (kind == 4).then(|| random.below(1 + number / 2));
                Op::Append(events, carried)
            }
        });
    }
    ops
}

fn stream_of(random: &mut Random) -> String {
    ["A-1", "A-2", "B-1", "Solo"][random.below(4) as usize].to_owned()
}

/// The program with trims put in between.
pub fn with_trims(random: &mut Random, ops: Vec<Op>) -> Vec<Op> {
    let mut all = Vec::new();
    for op in ops {
        all.push(op);
        if random.below(4) == 0 {
            all.push(Op::Trim(1 + random.below(60), random.below(2) == 0));
        }
    }
    all
}

/// The program with streams truncated, and what that hides reclaimed. Without snapshots: one that
/// a truncation is past counts no more.
pub fn with_reclaims(random: &mut Random, ops: Vec<Op>) -> Vec<Op> {
    let mut all = Vec::new();
    for op in ops {
        if !matches!(op, Op::SaveSnapshot(_)) {
            all.push(op);
        }
        let kind = random.below(6);
        if kind < 2 {
            all.push(Op::Truncate(stream_of(random), 1 + random.below(9)));
        }
        if (1..3).contains(&kind) {
            all.push(Op::Reclaim);
        }
    }
    all
}

/// The program with the checkpoint removed in between.
pub fn with_removals(random: &mut Random, ops: Vec<Op>) -> Vec<Op> {
    let mut all = Vec::new();
    for op in ops {
        let moves = matches!(op, Op::SaveCheckpoint(_) | Op::Append(_, Some(_)));
        all.push(op);
        if random.below(if moves { 2 } else { 5 }) == 0 {
            all.push(Op::RemoveCheckpoint);
        }
    }
    all
}

/// Every kind of step, rolls, two trims, a segment of its own for a large batch, two reopenings, a
/// reclamation.
pub fn script() -> Vec<Op> {
    let batch = |numbers: &[(&str, u64, usize)]| {
        let events = numbers.iter().map(|(s, n, size)| ((*s).to_owned(), *n, *size));
        Op::Append(events.collect(), None)
    };
    vec![
        batch(&[("A-1", 1, 10)]),
        batch(&[("A-1", 2, 600), ("A-2", 3, 600), ("B-1", 4, 600)]),
        Op::SaveCheckpoint(2),
        Op::SaveSnapshot("A-1".into()),
        Op::Retain(4),
        Op::Reopen,
        batch(&[("B-1", 5, 9000)]),
        batch(&[("A-1", 6, 1500), ("A-1", 7, 20)]),
        Op::Append(vec![("Solo".into(), 8, 5)], Some(6)),
        Op::SaveCheckpoint(7),
        Op::RemoveCheckpoint,
        Op::ResetCheckpoint(3),
        Op::SaveSnapshot("A-1".into()),
        Op::Retain(3),
        batch(&[("A-2", 9, 14_000)]),
        batch(&[("A-2", 10, 40)]),
        Op::Trim(9, true),
        Op::RemoveCheckpoint,
        Op::Reopen,
        batch(&[("A-2", 11, 40)]),
        Op::Trim(11, true),
        batch(&[("A-2", 12, 14_000)]),
        Op::Truncate("A-2".into(), 5),
        Op::Reclaim,
        batch(&[("A-2", 13, 40)]),
    ]
}

/// What a store that survived a crash is asked to do next.
pub fn continuation(depth: u64, random: &mut Random) -> Vec<Op> {
    let number = 10_000 + 100 * depth;
    let size = if random.below(4) == 0 { 9000 } else { random.below(200) as usize };
    let first = vec![("A-1".into(), number, size), ("New".into(), number + 1, 9)];
    let mut ops = vec![Op::Append(first, None)];
    match random.below(5) {
        3 => ops.push(Op::Retain(number)),
        0 => ops.push(Op::SaveSnapshot("A-1".into())),
        1 => ops.push(Op::SaveCheckpoint(number)),
        2 => ops.push(Op::Reopen),
        _ => {}
    }
    ops.push(Op::Append(vec![("A-1".into(), number + 2, 20)], None));
    ops
}

pub fn snapshot_data(stream: &str, version: u64) -> String {
    format!("{stream} folded up to {version}")
}

/// Who wants to know the record while a step is under way: submitted, not yet acknowledged.
type During<'a> = &'a mut dyn FnMut(&Record);

/// Does one step. Afterwards the record says what is submitted and what acknowledged.
pub fn step(store: &Store, op: &Op, record: &mut Record, during: During<'_>) -> Result<()> {
    match op {
        Op::Append(events, carried) => append(store, (events, *carried), record, during),
        Op::SaveCheckpoint(to) | Op::ResetCheckpoint(to) => {
            let to = (*to).min(store.last_position().get());
            let reset = matches!(op, Op::ResetCheckpoint(_));
            let known = store.checkpoint("reader")?.map_or(0, Position::get);
            let first = store.first_position().get();
            if !reset && to < known || to > 0 && to + 1 < first {
                return Ok(());
            }
            record.checkpoints.push(to);
            during(record);
            let saved = match reset {
                true => store.reset_checkpoint("reader", Position::new(to)),
                false => store.save_checkpoint("reader", Position::new(to)),
            };
            match &saved {
                Ok(()) => record.checkpoints_acknowledged = record.checkpoints.len(),
                Err(error) if record.refused(error) => drop(record.checkpoints.pop()),
                Err(_) => {}
            }
            saved
        }
        Op::RemoveCheckpoint => remove_checkpoint(store, record, during),
        Op::SaveSnapshot(stream) => {
            let Some(head) = store.head(&**stream)? else { return Ok(()) };
            let version = head.version.get();
            record.snapshots.entry(stream.clone()).or_default().0.push(version);
            during(record);
            let data = snapshot_data(stream, version);
            let saved = store.save_snapshot(&**stream, "state", (Version::new(version), 1), data);
            let refused = saved.as_ref().is_err_and(|error| record.refused(error));
            let known = record.snapshots.entry(stream.clone()).or_default();
            if refused {
                known.0.pop();
            } else if saved.is_ok() {
                known.1 = known.0.len();
            }
            saved
        }
        Op::Trim(before, force) => trim(store, (*before, *force), record, during),
        Op::Retain(events) => {
            record.settings.push(*events);
            record.ending = Ending::Unknown;
            during(record);
            let retained = store.retain(RETAINED, Retention::default().keep_last(*events));
            match &retained {
                Ok(()) => {
                    record.settings_acknowledged = record.settings.len();
                    record.ending = Ending::Open;
                }
                Err(error) if record.refused(error) => drop(record.settings.pop()),
                Err(_) => {}
            }
            retained
        }
        Op::Truncate(stream, before) => truncate(store, (stream, *before), record, during),
        Op::Reclaim => reclaim(store, record, during),
        Op::Reopen => Ok(()),
    }
}

fn truncate(
    store: &Store,
    (stream, before): (&str, u64),
    record: &mut Record,
    during: During<'_>,
) -> Result<()> {
    let Some(head) = store.head(stream)? else { return Ok(()) };
    let before = before.min(head.version.get() + 1);
    record.truncated.entry(stream.into()).or_default().before.push(before);
    // What is so already is not written: then the log ends as it did.
    record.ending = Ending::Unknown;
    during(record);
    let retention = Retention::default().truncate_before(Version::new(before));
    let done = store.retain(stream, retention);
    let refused = done.as_ref().is_err_and(|error| record.refused(error));
    let known = record.truncated.entry(stream.into()).or_default();
    if refused {
        known.before.pop();
    } else if done.is_ok() {
        known.acknowledged = known.before.len();
    }
    done
}

/// What is taken away may be gone from the first call on, and is gone for ever after the answer.
fn reclaim(store: &Store, record: &mut Record, during: During<'_>) -> Result<()> {
    during(record);
    let report = store.reclaim()?;
    if !report.damage.is_empty() {
        record.fail("C4", format!("nothing was damaged: {report:?}"));
    }
    let known = record.stubs.len() as u64;
    let marked = store.read_all().hidden(Hidden::Mark).to_vec()?;
    let stubs = marked.iter().filter(|event| event.reclaimed().is_some());
    record.stubs.extend(stubs.map(|event| event.position().get()));
    if record.stubs.len() as u64 != known + report.events {
        record.fail("C12", format!("{known} were known, now {:?}, {report:?}", record.stubs));
    }
    Ok(())
}

fn remove_checkpoint(store: &Store, record: &mut Record, during: During<'_>) -> Result<()> {
    if store.checkpoint("reader")?.is_none() {
        return Ok(());
    }
    record.checkpoints.push(REMOVED);
    during(record);
    let removed = store.remove_checkpoint("reader");
    match &removed {
        Ok(_) => record.checkpoints_acknowledged = record.checkpoints.len(),
        Err(error) if record.refused(error) => drop(record.checkpoints.pop()),
        Err(_) => {}
    }
    removed.map(drop)
}

fn trim(
    store: &Store,
    (before, force): (u64, bool),
    record: &mut Record,
    during: During<'_>,
) -> Result<()> {
    let trim = Trim::before(Position::new(before));
    let trim = if force { trim.past_checkpoints() } else { trim };
    let planned = store.plan_trim(&trim)?;
    record.firsts.push(planned.first_position.get());
    during(record);
    // What is not acknowledged may have been done all the same.
    let done = store.trim(trim)?;
    if done != planned {
        record.fail("C12", format!("{planned:?} was planned, {done:?} was trimmed"));
    }
    record.firsts_acknowledged = record.firsts.len();
    Ok(())
}

fn append(
    store: &Store,
    (events, carried): (&[(String, u64, usize)], Option<u64>),
    record: &mut Record,
    during: During<'_>,
) -> Result<()> {
    let carried = match carried.map(|to| to.min(store.last_position().get())) {
        Some(to) => {
            let known = store.checkpoint("reader")?.map_or(0, Position::get);
            let first = store.first_position().get();
            Some(to).filter(|to| *to >= known && (*to == 0 || *to + 1 >= first))
        }
        None => None,
    };
    let submitted = Submitted::new(events, carried);
    record.batches.push(submitted.clone());
    record.ending = Ending::Unknown;
    let before = record.checkpoints.len();
    record.checkpoints.extend(carried);
    during(record);
    match submitted.commit(store) {
        Ok(answer) => {
            if answer.already {
                record.fail("C10", format!("a new batch is answered as a replay: {answer:?}"));
            }
            record.seen = record.seen.max(answer.last.get());
            record.ending = Ending::Open;
            if let Some(newest) = record.batches.last_mut() {
                newest.answer = Some(answer);
            }
            if carried.is_some() {
                record.checkpoints_acknowledged = record.checkpoints.len();
            }
            Ok(())
        }
        Err(error) => {
            if record.refused(&error) {
                record.batches.pop();
                record.checkpoints.truncate(before);
            } else if error.kind() != ErrorKind::InDoubt {
                record.fail("C5", format!("an append that failed answers {error:?}"));
            }
            Err(error)
        }
    }
}

/// The record as it stood while the disk had done fewer operations than `until`.
#[derive(Debug, Clone)]
pub struct Mark {
    pub until: u64,
    pub record: Record,
}

/// A program that has been run: who knew what when, and the store if it is still open.
pub struct Run {
    pub marks: Vec<Mark>,
    /// How many operations the opening took, and how many events it came to.
    pub opening: u64,
    pub found: u64,
    pub store: Option<Store>,
}

impl Run {
    /// What was known when so many operations had happened.
    pub fn known_at(&self, operations: u64) -> Option<(usize, &Record)> {
        let at = self.marks.partition_point(|mark| mark.until <= operations);
        self.marks.get(at).map(|mark| (at, &mark.record))
    }
}

/// Runs steps until one fails with more than a refusal. A store that is not new is first asked what
/// it has: from then on what was in doubt is stored or lost.
pub fn run(disk: &SimDisk, how: &Options, ops: &[Op], record: &mut Record) -> Run {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut run = Run { marks: Vec::new(), opening: 0, found: 0, store: None };
    record.ending = Ending::Unknown;
    run.marks.push(Mark { until: 0, record: record.clone() });
    let opened = how.clone().open_on(shared.clone());
    run.opening = disk.operations();
    run.end_mark(disk);
    match opened {
        Ok(store) => run.store = Some(store),
        Err(error) => {
            record.ended = Some(error.kind());
            return run.finish(record);
        }
    }
    let known = !record.batches.is_empty();
    if let Some(store) = run.store.as_ref().filter(|_| known) {
        // Saved values are made durable when they are first asked for.
        run.marks.push(Mark { until: 0, record: record.clone() });
        let settled = contract::settle(store, record);
        run.end_mark(disk);
        if let Err(broken) = settled {
            record.wrong.get_or_insert(broken);
            return run.finish(record);
        }
    }
    run.found = record.seen;
    for op in ops {
        let done = match op {
            Op::Reopen => run.reopen(disk, how, record),
            _ => {
                let Some(store) = &run.store else { break };
                let mut during = None;
                run.marks.push(Mark { until: 0, record: record.clone() });
                let done = step(store, op, record, &mut |now| during = Some(now.clone()));
                if let Some(during) = during
                    && let Some(mark) = run.marks.last_mut()
                {
                    mark.record = during;
                }
                run.end_mark(disk);
                done
            }
        };
        if let Err(error) = done {
            record.ended.get_or_insert(error.kind());
            if error.kind() != ErrorKind::DiskFull || run.store.is_none() {
                break;
            }
        }
    }
    run.finish(record)
}

impl Run {
    fn end_mark(&mut self, disk: &SimDisk) {
        if let Some(mark) = self.marks.last_mut() {
            mark.until = disk.operations();
        }
    }

    fn finish(mut self, record: &Record) -> Self {
        self.marks.push(Mark { until: u64::MAX, record: record.clone() });
        self
    }

    fn reopen(&mut self, disk: &SimDisk, how: &Options, record: &mut Record) -> Result<()> {
        let Some(store) = self.store.take() else { return Ok(()) };
        record.ending = Ending::Unknown;
        self.marks.push(Mark { until: 0, record: record.clone() });
        let closed = store.close();
        self.end_mark(disk);
        closed?;
        record.ending = Ending::Closed;
        self.marks.push(Mark { until: disk.operations() + 1, record: record.clone() });
        record.ending = Ending::Unknown;
        self.marks.push(Mark { until: 0, record: record.clone() });
        let opened = how.clone().open_on(Arc::new(disk.clone()));
        self.end_mark(disk);
        self.store = Some(opened?);
        Ok(())
    }
}

/// Whether the program's end was the store stopping for good over an append.
pub fn stopped_over_append(ops: &[Op], record: &Record) -> bool {
    let only_appends = ops.iter().all(|op| matches!(op, Op::Append(..)));
    only_appends && record.ended == Some(ErrorKind::InDoubt)
}
