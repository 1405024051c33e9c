//! One program's crash states: which are made, which are opened, how deep it goes.

use std::collections::HashSet;

use factlog::disk::{FaultCall, SimDisk};
use factlog::{ErrorKind, Store};

use super::case::{Case, Crash, Finding, Left};
use super::contract::{self, Broken, Check};
use super::plan::Plan;
use super::program::{self, Mark, Op, Record, Run};
use super::{Counts, Shared};
use crate::rig::Random;

/// Subsets of so many effects are all tried, in a thorough program and in others.
const EFFECTS: (u64, u64) = (10, 5);
/// An interrupted write up to this length is cut at every byte.
const EVERY_BYTE: u64 = 512;
/// Crashes follow each other so often at most.
const DEPTH: usize = 3;

/// Where a phase begins: after so many crashes, with this known.
#[derive(Clone)]
struct From {
    disk: SimDisk,
    record: Record,
    /// Nothing is pending on the disk, so that every recovery of it comes to the same log.
    settled: bool,
}

/// The walk through one program.
pub struct Walk<'a> {
    plan: &'a Plan,
    steps: Vec<usize>,
    shared: &'a Shared,
    random: Random,
    crashes: Vec<Crash>,
    pub counts: Counts,
    /// No more than so many states, if it has to end early.
    limit: u64,
}

impl<'a> Walk<'a> {
    pub fn new(plan: &'a Plan, steps: Vec<usize>, shared: &'a Shared, limit: u64) -> Self {
        let random = Random::new(plan.seed ^ 0xE0);
        let counts = Counts::default();
        Self { plan, steps, shared, random, crashes: Vec::new(), counts, limit }
    }

    /// Visits the crash states of the program, or finds what is broken.
    pub fn explore(mut self) -> Result<Counts, Box<Finding>> {
        let (disk, record) = self.plan.begin();
        let ops = self.kept();
        self.counts.programs += 1;
        let from = From { disk, record, settled: true };
        match self.phase(&from, &ops) {
            Ok(()) => Ok(self.counts),
            Err(broken) => Err(Box::new(self.finding(broken))),
        }
    }

    fn kept(&self) -> Vec<Op> {
        self.steps.iter().filter_map(|at| self.plan.ops.get(*at).cloned()).collect()
    }

    fn finding(&self, broken: Broken) -> Finding {
        let crashes = self.crashes.clone();
        let case = Case { seed: self.plan.seed, steps: self.steps.clone(), crashes };
        Finding { case, broken, after: self.shared.opened() }
    }

    fn is_over(&self) -> bool {
        self.counts.opened >= self.limit || self.shared.is_over()
    }

    /// Runs a program once and visits the crash states of its operations.
    fn phase(&mut self, from: &From, ops: &[Op]) -> Check {
        let (disk, run) = perform(self.plan, from, ops)?;
        let depth = self.crashes.len();
        if let Some(Mark { record, .. }) = run.marks.last() {
            let first = |record: &Record| record.firsts.last().copied().unwrap_or(1);
            self.counts.refused += u64::from(record.ended == Some(ErrorKind::DiskFull));
            self.counts.trimmed += u64::from(first(record) > first(&from.record));
            self.counts.reclaimed += u64::from(record.stubs.len() > from.record.stubs.len());
        }
        let mut seen = HashSet::new();
        let total = disk.operations();
        for at in self.moments(total, run.opening, depth) {
            let Some((mark, known)) = run.known_at(at) else { continue };
            let mut record = known.clone();
            if depth > 0 && at < run.opening && from.settled {
                // An opening is interrupted: the next must come to the same.
                record.exactly = Some(run.found);
            }
            if depth == 0 || self.random.below(8) == 0 {
                self.follow(&disk, at, &mut record)?;
            }
            for crash in self.leaves(&disk, at, depth) {
                if self.is_over() {
                    return Ok(());
                }
                self.visit(&disk, crash, (&record, mark), &mut seen, at < run.opening)?;
            }
        }
        Ok(())
    }

    /// What a follower was shown at this moment must be there after any crash.
    fn follow(&mut self, disk: &SimDisk, at: u64, record: &mut Record) -> Check {
        let Some(now) = disk.rewind(at, 0) else { return Ok(()) };
        if !self.plan.survives_kills() {
            return Ok(());
        }
        self.crashes.push(Crash { at, bytes: 0, left: Left::Kill });
        let how = self.plan.how.clone();
        let seen = contract::c8_answers(|| contract::c11_read_only_writes_nothing(&now, &how))?;
        self.crashes.pop();
        self.counts.followers += 1;
        record.followed = record.followed.max(seen.unwrap_or(0));
        Ok(())
    }

    /// Which operations are interrupted: all of a first run, some of a later one.
    fn moments(&mut self, total: u64, opening: u64, depth: usize) -> Vec<u64> {
        if depth == 0 {
            return (0..=total).collect();
        }
        let many = if depth == 1 { 8 } else { 4 };
        let mut moments: Vec<u64> = (0..many)
            .map(|turn| {
                let within = if turn % 4 == 3 { total } else { opening };
                self.random.below(within + 1)
            })
            .collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// What is tried at one operation.
    fn leaves(&mut self, disk: &SimDisk, at: u64, depth: usize) -> Vec<Crash> {
        let (call, length) = disk.operation(at).unwrap_or((FaultCall::Any, 0));
        let some = |random: &mut Random| random.below(length + 1);
        let mut all = Vec::new();
        if self.plan.survives_kills() {
            let bytes = some(&mut self.random);
            all.push(Crash { at, bytes, left: Left::Kill });
        }
        if call == FaultCall::Write {
            for bytes in self.cuts(length, depth) {
                all.push(Crash { at, bytes, left: Left::Exact(u64::MAX) });
            }
        }
        let states = disk.rewind(at, length).and_then(|disk| disk.crash_states());
        let effects = if self.plan.thorough && depth == 0 { EFFECTS.0 } else { EFFECTS.1 };
        match states {
            Some(states) if states <= 1 << effects && depth == 0 => {
                all.extend((0..states).map(|subset| Crash {
                    at,
                    bytes: length,
                    left: Left::Exact(subset),
                }));
            }
            Some(states) => {
                let random = &mut self.random;
                let subsets = (0..4).map(|_| random.below(states));
                all.extend(subsets.map(|subset| Crash {
                    at,
                    bytes: length,
                    left: Left::Exact(subset),
                }));
            }
            None => {}
        }
        for _ in 0..(if depth == 0 { 8 } else { 3 }) {
            let bytes = if self.random.below(2) == 0 { length } else { some(&mut self.random) };
            all.push(Crash { at, bytes, left: Left::Cut(self.random.next()) });
        }
        all
    }

    fn cuts(&mut self, length: u64, depth: usize) -> Vec<u64> {
        if depth > 0 {
            return (0..2).map(|_| self.random.below(length + 1)).collect();
        }
        if length <= EVERY_BYTE || self.plan.thorough && length <= 4 * EVERY_BYTE {
            return (0..=length).collect();
        }
        let sectors = (0..length).step_by(512).flat_map(|at| [at, at + 1]).take(16);
        let random = &mut self.random;
        sectors.chain((0..8).map(|_| random.below(length + 1))).chain([length - 1]).collect()
    }

    /// Makes a state, opens it unless the same was opened before, and goes on from some.
    fn visit(
        &mut self,
        disk: &SimDisk,
        crash: Crash,
        (record, mark): (&Record, usize),
        seen: &mut HashSet<(u64, usize, u64)>,
        within_opening: bool,
    ) -> Check {
        let Some(state) = crash.of(disk) else { return Ok(()) };
        let print = state.fingerprint();
        let power = crash.left.is_power_cut();
        self.counts.made += 1;
        self.counts.cuts += u64::from(crash.left == Left::Exact(u64::MAX));
        // After a kill there is more to a disk than what reads see.
        if power && !seen.insert((print, mark, record.followed)) {
            return Ok(());
        }
        self.crashes.push(crash);
        let depth = self.crashes.len();
        self.counts.opened_at(depth, within_opening);
        self.shared.opened_one(print);
        let deeper = depth < DEPTH && self.random.below(if depth == 1 { 40 } else { 12 }) == 0;
        let again = deeper.then(|| state.copy());
        let whole = self.random.below(16) == 0;
        self.counts.examined += u64::from(whole);
        check(self.plan, &state, (record, power), whole)?;
        if let Some(disk) = again {
            let from = From { disk, record: record.after(power), settled: power };
            let ops = self.plan.continuation(depth);
            self.phase(&from, &ops)?;
        }
        self.crashes.pop();
        Ok(())
    }
}

/// Runs a program with its history kept.
fn perform(plan: &Plan, from: &From, ops: &[Op]) -> Check<(SimDisk, Run)> {
    let disk = from.disk.copy();
    disk.keep_history();
    let mut record = from.record.clone();
    let mut run = contract::c8_answers(|| Ok(program::run(&disk, &plan.how, ops, &mut record)))?;
    if let Some(broken) = record.wrong.take() {
        return Err(broken);
    }
    if let Some(store) = run.store.take() {
        if program::stopped_over_append(ops, &record) {
            contract::c5_fail_stop(&store)?;
        }
        abandon(&disk, store);
    }
    Ok((disk, run))
}

/// Lets go of a store without letting it close the log.
fn abandon(disk: &SimDisk, store: Store) {
    disk.crash_at(0);
    drop(store);
}

/// Opens a state and checks the contract, all of it or what can be seen at a glance.
fn check(plan: &Plan, state: &SimDisk, (record, power): (&Record, bool), whole: bool) -> Check {
    contract::c8_answers(|| {
        let store = plan.how.clone().open_on(std::sync::Arc::new(state.clone()));
        let store = store.map_err(|error| contract::unopened(&error, record))?;
        if whole {
            contract::examine(&store, state, &plan.how, (record, power))?;
        } else {
            contract::look(&store, state, record, power)?;
        }
        abandon(state, store);
        Ok(())
    })
}

/// Runs one case again: every crash is followed exactly, and every state on the way is examined.
pub fn again(plan: &Plan, case: &Case) -> Check {
    let (disk, record) = plan.begin();
    let mut from = From { disk, record, settled: true };
    let mut ops: Vec<Op> = case.steps.iter().filter_map(|at| plan.ops.get(*at).cloned()).collect();
    for (depth, crash) in case.crashes.iter().enumerate() {
        let (disk, run) = perform(plan, &from, &ops)?;
        let Some((_, known)) = run.known_at(crash.at) else { return Ok(()) };
        let mut record = known.clone();
        if depth > 0 && crash.at < run.opening && from.settled {
            record.exactly = Some(run.found);
        }
        if let Some(now) = disk.rewind(crash.at, 0).filter(|_| plan.survives_kills()) {
            let seen = contract::c11_read_only_writes_nothing(&now, &plan.how)?;
            record.followed = record.followed.max(seen.unwrap_or(0));
        }
        let Some(state) = crash.of(&disk) else { return Ok(()) };
        let power = crash.left.is_power_cut();
        check(plan, &state.copy(), (&record, power), false)?;
        check(plan, &state.copy(), (&record, power), true)?;
        from = From { disk: state, record: record.after(power), settled: power };
        ops = plan.continuation(depth + 1);
    }
    perform(plan, &from, &ops).map(drop)
}
