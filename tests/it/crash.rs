//! Power cuts and kills at every operation of scripted and random runs: afterwards the log is a
//! prefix of what was submitted, with every acknowledged batch, each whole or absent.

use std::collections::BTreeMap;
use std::sync::Arc;

use factlog::disk::SimDisk;
use factlog::{
    Appended, Durability, ErrorKind, Expect, NewEvent, Options, Position, Result, Store, Version,
};

use crate::rig::{Random, answers, cases, event, open, options};

/// What is done to a store, step by step.
#[derive(Debug, Clone)]
pub enum Op {
    /// Events by number, stream after stream.
    Append(Vec<(String, u64, usize)>, Option<u64>),
    SaveCheckpoint(u64),
    ResetCheckpoint(u64),
    SaveSnapshot(String),
    Reopen,
}

impl Op {
    /// Keyed files share sectors between their entries, whatever the options say.
    fn is_keyed(&self) -> bool {
        !matches!(self, Self::Append(..) | Self::Reopen)
    }
}

/// What a caller knows: everything submitted, and what was acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// In the order of submission; those that were refused or never written are not here.
    pub batches: Vec<Submitted>,
    /// The checkpoint's values in order, and how many of them are acknowledged.
    pub checkpoints: Vec<u64>,
    pub checkpoints_acknowledged: usize,
    /// Per stream: versions in order, and how many are acknowledged.
    pub snapshots: BTreeMap<String, (Vec<u64>, usize)>,
    /// The first error that ended the run.
    pub ended: Option<ErrorKind>,
}

#[derive(Debug, Clone)]
pub struct Submitted {
    events: Vec<(String, u64, usize)>,
    carried: Option<u64>,
    answer: Option<Appended>,
}

impl Submitted {
    fn new_events(&self) -> impl Iterator<Item = (&str, NewEvent)> {
        self.events.iter().map(|(stream, number, size)| (&**stream, event(*number, *size)))
    }

    fn commit(&self, store: &Store) -> Result<Appended> {
        let mut batch = store.batch();
        for (stream, event) in self.new_events() {
            batch = batch.append(stream, Expect::Any, [event]);
        }
        if let Some(position) = self.carried {
            batch = batch.checkpoint("reader", Position::new(position));
        }
        batch.commit()
    }
}

/// A random program. Sizes make it roll every few batches.
pub fn program(random: &mut Random, length: u64) -> Vec<Op> {
    let mut number = 0;
    let mut ops = Vec::new();
    for _ in 0..length {
        ops.push(match random.below(14) {
            0 => Op::Reopen,
            1 => Op::SaveCheckpoint(1 + random.below(1 + number)),
            2 => Op::ResetCheckpoint(random.below(1 + number)),
            3 => Op::SaveSnapshot(stream_of(random)),
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

/// Does one step. Afterwards the record says what is submitted and what acknowledged.
fn step(store: &Store, op: &Op, record: &mut Record) -> Result<()> {
    match op {
        Op::Append(events, carried) => {
            let last = store.last_position().get();
            let known = store.checkpoint("reader")?.map_or(0, Position::get);
            let carried = carried.map(|to| to.min(last)).filter(|to| *to >= known);
            record.batches.push(Submitted { events: events.clone(), carried, answer: None });
            let submitted = record.batches.last_mut().unwrap();
            match submitted.commit(store) {
                Ok(answer) => {
                    assert!(!answer.already);
                    submitted.answer = Some(answer);
                    if let Some(to) = carried {
                        record.checkpoints.push(to);
                        record.checkpoints_acknowledged = record.checkpoints.len();
                    }
                    Ok(())
                }
                Err(error) => {
                    if is_refusal(&error) {
                        record.batches.pop();
                    } else {
                        assert_eq!(error.kind(), ErrorKind::InDoubt, "{error:?}");
                        record.checkpoints.extend(carried);
                    }
                    Err(error)
                }
            }
        }
        Op::SaveCheckpoint(to) | Op::ResetCheckpoint(to) => {
            let to = (*to).min(store.last_position().get());
            let reset = matches!(op, Op::ResetCheckpoint(_));
            let known = store.checkpoint("reader")?.map_or(0, Position::get);
            if !reset && to < known {
                return Ok(());
            }
            record.checkpoints.push(to);
            let saved = match reset {
                true => store.reset_checkpoint("reader", Position::new(to)),
                false => store.save_checkpoint("reader", Position::new(to)),
            };
            match &saved {
                Ok(()) => record.checkpoints_acknowledged = record.checkpoints.len(),
                Err(error) if is_refusal(error) => drop(record.checkpoints.pop()),
                Err(_) => {}
            }
            saved
        }
        Op::SaveSnapshot(stream) => {
            let Some(head) = store.head(&**stream)? else { return Ok(()) };
            let version = head.version.get();
            let known = record.snapshots.entry(stream.clone()).or_default();
            known.0.push(version);
            let data = snapshot_data(stream, version);
            let saved = store.save_snapshot(&**stream, "state", (Version::new(version), 1), data);
            match &saved {
                Ok(()) => known.1 = known.0.len(),
                Err(error) if is_refusal(error) => drop(known.0.pop()),
                Err(_) => {}
            }
            saved
        }
        Op::Reopen => Ok(()),
    }
}

/// Nothing was written, and nothing of it may ever turn up.
fn is_refusal(error: &factlog::Error) -> bool {
    matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::Poisoned)
}

/// One more append.
pub fn append_more(store: &Store, number: u64, record: &mut Record) -> Result<()> {
    step(store, &Op::Append(vec![("Late".into(), number, 5)], None), record)
}

fn snapshot_data(stream: &str, version: u64) -> String {
    format!("{stream} folded up to {version}")
}

/// Runs steps until one fails. Answers the store, if it is still open.
pub fn run(disk: &SimDisk, how: &Options, ops: &[Op], record: &mut Record) -> Option<Store> {
    let disk: Arc<dyn factlog::disk::Disk> = Arc::new(disk.clone());
    let fail = |record: &mut Record, error: factlog::Error| record.ended = Some(error.kind());
    let mut store = match how.clone().open_on(disk.clone()) {
        Ok(store) => store,
        Err(error) => {
            fail(record, error);
            return None;
        }
    };
    for op in ops {
        if let Op::Reopen = op {
            let closed = store.close();
            let reopened = closed.and_then(|()| how.clone().open_on(disk.clone()));
            match reopened {
                Ok(opened) => store = opened,
                Err(error) => {
                    fail(record, error);
                    return None;
                }
            }
        } else if let Err(error) = step(&store, op, record) {
            fail(record, error);
            return Some(store);
        }
    }
    Some(store)
}

/// The contract, for a store that was opened after a crash. Retries what is in doubt, and drops
/// from the record what turns out to have been lost.
pub fn check(store: &Store, record: &mut Record, synced: bool, what: &str) {
    let found = answers(store).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let mut at = 0;
    let mut whole = 0;
    for submitted in &record.batches {
        let part = found.all.get(at..).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        assert!(part.len() >= submitted.events.len(), "{what}: a batch is not whole");
        for (event, (stream, wanted)) in part.iter().zip(submitted.new_events()) {
            assert_eq!(event.stream(), stream, "{what}");
            assert_eq!(event.id(), wanted.event_id(), "{what}: {record:#?}");
        }
        for (event, (_, number, size)) in part.iter().zip(&submitted.events) {
            let wanted = crate::rig::data(*number, *size);
            assert_eq!(event.data(), wanted, "{what}: byte for byte");
        }
        if let Some(answer) = &submitted.answer {
            assert_eq!(answer.first, part[0].position(), "{what}: where it was answered");
        }
        at += submitted.events.len();
        whole += 1;
    }
    assert_eq!(at, found.all.len(), "{what}: nothing was invented");
    let promised = record.batches.iter().rposition(|b| b.answer.is_some()).map_or(0, |n| n + 1);
    assert!(!synced || whole >= promised, "{what}: {promised} acknowledged, {whole} found");
    check_keyed(store, record, synced, what);
    retry(store, record, whole, what);
}

fn check_keyed(store: &Store, record: &mut Record, synced: bool, what: &str) {
    let now = store.checkpoint("reader").unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let known = record.checkpoints_acknowledged;
    let from = if synced { known.saturating_sub(1) } else { 0 };
    let mut allowed: Vec<Option<u64>> =
        record.checkpoints[from..].iter().map(|p| Some(*p)).collect();
    if known == 0 || !synced {
        allowed.push(None);
    }
    let now = now.map(Position::get);
    assert!(allowed.contains(&now), "{what}: checkpoint {now:?}, allowed {allowed:?}");
    record.checkpoints = now.into_iter().collect();
    record.checkpoints_acknowledged = record.checkpoints.len();
    for (stream, (versions, known)) in &mut record.snapshots {
        let now = store.snapshot(&**stream, "state").unwrap();
        let now = now.map(|found| {
            let version = found.version.get();
            assert_eq!(found.data, snapshot_data(stream, version).as_bytes(), "{what}");
            version
        });
        let allowed = &versions[known.saturating_sub(1)..];
        let fine = now.map_or(*known == 0, |now| allowed.contains(&now));
        assert!(fine || !synced, "{what}: snapshot {now:?}, allowed {allowed:?}");
        *versions = now.into_iter().collect();
        *known = versions.len();
    }
}

/// Sends every batch again: the stored ones are answered as before, the lost ones are stored once.
fn retry(store: &Store, record: &mut Record, whole: usize, what: &str) {
    let mut first = 1;
    for (at, submitted) in record.batches.iter_mut().enumerate() {
        // What a checkpoint said then is no longer to be sent.
        submitted.carried = None;
        let answer = submitted.commit(store).unwrap_or_else(|e| panic!("{what}: retry: {e:?}"));
        assert_eq!(answer.already, at < whole, "{what}: retry of batch {at}");
        assert_eq!(answer.first.get(), first, "{what}: retry of batch {at}");
        first += submitted.events.len() as u64;
        submitted.answer = Some(answer);
    }
    assert_eq!(store.last_position().get(), first - 1, "{what}: exactly once");
}

/// Opens what a crash left, checks the contract, goes on, and crashes again, so many times deep.
fn survive(disk: &SimDisk, record: &Record, random: &mut Random, depth: u64, what: &str) {
    if depth > 0 {
        // A crash within the opening itself.
        let probe = disk.copy();
        let before = probe.operations();
        drop(open(&probe).unwrap_or_else(|error| panic!("{what}: {error:?}")));
        let many = probe.operations() - before;
        let again = disk.copy();
        let at = random.below(many + 1);
        again.crash_at(again.operations() + at);
        drop(open(&again));
        let seed = random.next();
        let what = format!("{what}, within opening at {at} of {many} with {seed}");
        let next = match random.below(3) {
            0 => again.after_kill().after_power_cut(seed),
            1 => again.after_kill(),
            _ => again.after_power_cut(seed),
        };
        survive(&next, record, random, depth - 1, &what);
    }
    let mut record = record.clone();
    let disk = disk.copy();
    let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    check(&store, &mut record, true, what);
    if depth > 0 {
        let number = 10_000 + 100 * depth;
        let more =
            Op::Append(vec![("A-1".into(), number, 50), ("New".into(), number + 1, 9)], None);
        step(&store, &more, &mut record).unwrap();
        step(&store, &Op::SaveSnapshot("A-1".into()), &mut record).unwrap();
        let seed = random.next();
        let what = format!("{what}, gone on, then cut with {seed}");
        let left = disk.after_power_cut(seed);
        drop(store);
        survive(&left, &record, random, depth - 1, &what);
    }
}

/// Cuts the power at operation `k` of the program and looks at some of what may be left.
fn cut_at(ops: &[Op], k: u64, seeds: u64, (seed, depth): (u64, u64)) -> bool {
    let disk = SimDisk::new(seed);
    disk.crash_at(k);
    let mut record = Record::default();
    let store = run(&disk, &options(), ops, &mut record);
    let crashed = disk.crashed();
    let mut random = Random::new(seed ^ (k << 20));
    for cut in 0..seeds {
        let what = format!("seed {seed}, cut at {k} with {cut}");
        survive(&disk.after_power_cut(cut), &record, &mut random, depth, &what);
    }
    let what = format!("seed {seed}, killed at {k}");
    survive(&disk.after_kill(), &record, &mut random, depth, &what);
    survive(&disk.after_kill().after_power_cut(k), &record, &mut random, depth, &what);
    if let Some(subsets) = disk.crash_states().filter(|subsets| *subsets <= 64) {
        for subset in 0..subsets {
            let what = format!("seed {seed}, cut at {k}, exactly {subset:b}");
            survive(&disk.after_power_cut_exact(subset), &record, &mut random, 0, &what);
        }
    }
    drop(store);
    crashed
}

/// Every kind of step, two rolls, a segment of its own for a large batch, two reopenings.
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
        Op::Reopen,
        batch(&[("B-1", 5, 9000)]),
        batch(&[("A-1", 6, 1500), ("A-1", 7, 20)]),
        Op::Append(vec![("Solo".into(), 8, 5)], Some(6)),
        Op::SaveCheckpoint(7),
        Op::ResetCheckpoint(3),
        Op::SaveSnapshot("A-1".into()),
        batch(&[("A-2", 9, 14_000)]),
        batch(&[("A-2", 10, 40)]),
        Op::Reopen,
        batch(&[("A-2", 11, 40)]),
    ]
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let mut k = 0;
    while cut_at(&script(), k, 6, (1, 1)) {
        k += 1;
    }
    assert!(k > 100, "the script has {k} operations");
}

#[test]
fn campaign_of_power_cuts_in_random_programs() {
    for seed in 0..cases(25) {
        let mut random = Random::new(seed);
        let length = 4 + random.below(20);
        let ops = program(&mut random, length);
        let disk = SimDisk::new(seed);
        drop(run(&disk, &options(), &ops, &mut Record::default()));
        let many = disk.operations();
        for _ in 0..6 {
            cut_at(&ops, random.below(many + 1), 3, (seed, 2));
        }
    }
}

#[test]
fn campaign_of_crashes_three_deep() {
    for seed in 0..cases(6) {
        let mut random = Random::new(1000 + seed);
        let ops = program(&mut random, 8);
        cut_at(&ops, 20 + random.below(60), 2, (seed, 3));
    }
}

/// With commits on blocks of their own the store survives disks that damage whole blocks.
#[test]
fn campaign_of_disks_that_damage_the_bytes_beside_a_write() {
    for seed in 0..cases(30) {
        let mut random = Random::new(3000 + seed);
        let ops = program(&mut random, 20);
        let ops: Vec<Op> = ops.into_iter().filter(|op| !op.is_keyed()).collect();
        let how = options().align_commit(true).segment_bytes(32 << 10);
        let all = SimDisk::new(seed);
        drop(run(&all, &how, &ops, &mut Record::default()));
        let k = random.below(all.operations() + 1);
        let disk = SimDisk::new(seed);
        disk.set_shared_sector_damage(true);
        disk.crash_at(k);
        let mut record = Record::default();
        let store = run(&disk, &how, &ops, &mut record);
        for cut in 0..6 {
            let what = format!("seed {seed}, cut at {k} with {cut}");
            let left = Arc::new(disk.after_power_cut(cut));
            let store = how.clone().open_on(left);
            let store = store.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            check(&store, &mut record.clone(), true, &what);
        }
        drop(store);
    }
}

/// In the weaker modes a crash may lose what was acknowledged, but never make a hole.
#[test]
fn campaign_of_weaker_durabilities_still_leaves_a_prefix() {
    for seed in 0..cases(40) {
        let mut random = Random::new(2000 + seed);
        let ops = program(&mut random, 12);
        let how = options().durability(Durability::Os);
        let disk = SimDisk::new(seed);
        let mut record = Record::default();
        let all = disk.copy();
        drop(run(&all, &how, &ops, &mut Record::default()));
        disk.crash_at(random.below(all.operations() + 1));
        let store = run(&disk, &how, &ops, &mut record);
        for cut in 0..4 {
            let left = disk.after_power_cut(cut);
            let store = open(&left).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            check(&store, &mut record.clone(), false, &format!("seed {seed}, cut {cut}"));
        }
        drop(store);
    }
}

/// Found by the campaign: a kill between the write and the sync of a checkpoint left it in the page
/// cache, the next process answered with it, and a power cut took it back.
#[test]
fn a_checkpoint_that_was_read_after_a_kill_survives_a_power_cut() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.append("A-1", Expect::Any, [event(1, 5), event(2, 5)]).unwrap();
    store.save_checkpoint("reader", Position::new(1)).unwrap();
    // Two operations a checkpoint: the sync of this one never happens.
    disk.crash_at(disk.operations() + 1);
    store.save_checkpoint("reader", Position::new(2)).unwrap_err();
    for seed in 0..20 {
        let next = disk.after_kill();
        let store = open(&next).unwrap();
        let read = store.checkpoint("reader").unwrap();
        let left = next.after_power_cut(seed);
        drop(store);
        assert_eq!(open(&left).unwrap().checkpoint("reader").unwrap(), read, "cut {seed}");
    }
}

/// Found by the campaign: a filler stood behind the closed frame and behind the seal, where no
/// frame may stand, and the first commit of a segment shared its opening frame's block.
#[test]
fn aligned_commits_close_cleanly_and_roll() {
    let disk = SimDisk::new(1);
    let how = options().align_commit(true).segment_bytes(32 << 10);
    for round in 0..4 {
        let store = how.clone().open_on(Arc::new(disk.clone())).unwrap();
        assert!(round == 0 || store.open_report().clean, "{:?}", store.open_report());
        for number in 0..10 {
            store.append("A-1", Expect::Any, [event(10 * round + number, 50)]).unwrap();
        }
        assert!(store.verify().unwrap().damage.is_empty());
        store.close().unwrap();
    }
    let store = how.rebuild_index(true).open_on(Arc::new(disk.clone())).unwrap();
    assert_eq!(answers(&store).unwrap().all.len(), 40);
    assert!(store.stats().segments > 3);
}
