//! Layer 2.1: SIGKILL at every system call of scripted runs, and of the recoveries after them.
//!
//! Knows: where a run can be killed. Does not know: what must hold afterwards (`contract.rs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::calls::{self, Call, quiet};
use crate::contract;
use crate::plan::{Plan, Random};
use crate::process::Launch;
use crate::record::Record;
use crate::trouble::{Outcome, Trouble};

const STEPS: u64 = 12;
/// Of a process that goes on after a crash.
const STEPS_AFTER: u64 = 4;

/// What a campaign of kills did.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub kills: u64,
    /// Of these, those that met a process that was recovering or going on after a kill.
    pub in_recovery: u64,
    /// Runs that ended before the call came.
    pub missed: u64,
    /// Batches that were acknowledged before the kills, and those that were found.
    pub acknowledged: usize,
    pub found: usize,
    pub calls: BTreeMap<String, u64>,
    pub verdicts: BTreeMap<String, u64>,
}

/// The beginning of a run: an empty directory, or what a crash has left.
struct Scene {
    launch: Launch,
    /// What stands in the directory at the beginning.
    left: Option<PathBuf>,
    record: Record,
}

impl Scene {
    fn set(&self, dir: &Path) -> Outcome<()> {
        clear(dir)?;
        match &self.left {
            Some(left) => copy(left, dir),
            None => Ok(()),
        }
    }
}

/// Kills until there were so many.
pub fn campaign(scratch: &Path, seed: u64, wanted: u64) -> Outcome<Tally> {
    let mut tally = Tally::default();
    let mut run = 0;
    while tally.kills < wanted {
        let plan = Plan { seed: seed + run, steps: STEPS };
        one_seed(scratch, plan, wanted, &mut tally)
            .map_err(|trouble| trouble.at(format!("kills --seed {} (steps {STEPS})", plan.seed)))?;
        run += 1;
    }
    Ok(tally)
}

fn one_seed(scratch: &Path, plan: Plan, wanted: u64, tally: &mut Tally) -> Outcome<()> {
    let dir = scratch.join("store");
    let launch = Launch::new(&dir, plan);
    let fresh = Scene { launch: launch.clone(), left: None, record: Record::default() };
    // Half of what is left to do for the run itself, the rest for what follows a crash of it.
    let share = |tally: &Tally, part: u64| wanted.saturating_sub(tally.kills).div_ceil(part);
    let calls = everywhere(scratch, &fresh, share(tally, 2), tally)?;
    for (lie, part) in [(false, 2), (true, 1)] {
        if let Some(scene) = crashed(scratch, &fresh, &calls, lie)? {
            everywhere(scratch, &scene, share(tally, part), tally)?;
        }
    }
    Ok(())
}

/// What a kill at a sync leaves: whole batches that nothing certifies, or, when a write of that
/// batch was cut short, torn ones.
fn crashed(scratch: &Path, fresh: &Scene, calls: &[Call], lie: bool) -> Outcome<Option<Scene>> {
    let mut random = Random::new(fresh.launch.plan.seed, u64::from(lie));
    let Some((written, at_sync)) = commit(calls, &mut random) else { return Ok(None) };
    let mut strace = quiet("fdatasync,pwrite64");
    strace.extend(at_sync.kill().into_iter().skip(quiet("").len()));
    if lie {
        strace.extend(written.inject("retval=24", "").into_iter().skip(quiet("").len()));
    }
    let dir = &fresh.launch.dir;
    fresh.set(dir)?;
    let mut record = Record::default();
    let ended = Launch { strace, ..fresh.launch.clone() }.run(&mut record)?;
    if !ended.killed {
        return Ok(None);
    }
    let left = scratch.join(if lie { "left-torn" } else { "left-whole" });
    clear(&left)?;
    copy(dir, &left)?;
    let plan = Plan { steps: STEPS_AFTER, ..fresh.launch.plan };
    let launch = Launch { plan, round: 1, ..fresh.launch.clone() };
    Ok(Some(Scene { launch, left: Some(left), record }))
}

/// Write and sync of some commit: they follow directly on what is said of its beginning.
fn commit<'a>(calls: &'a [Call], random: &mut Random) -> Option<(&'a Call, &'a Call)> {
    let names = |part: &&[&'a Call]| {
        part.iter().map(|call| &*call.name).eq(["write", "pwrite64", "fdatasync"])
    };
    // An event is given a random id before it gets its own.
    let calls: Vec<&Call> = calls.iter().filter(|call| call.name != "getrandom").collect();
    let commits: Vec<_> = calls.windows(3).filter(names).collect();
    match commits.get(below(random, commits.len())) {
        Some([_, written, sync]) => Some((written, sync)),
        _ => None,
    }
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}

/// Kills the scene's run at each of its calls, or at so many of them, evenly spread.
fn everywhere(scratch: &Path, scene: &Scene, most: u64, tally: &mut Tally) -> Outcome<Vec<Call>> {
    let dir = &scene.launch.dir;
    scene.set(dir)?;
    let mut record = scene.record.clone();
    let (calls, ended) = calls::list(&scene.launch, scratch, &mut record)?;
    if !ended.success || !record.done {
        return Err(Trouble::Finding(format!("unharmed: {}", ended.complaint)));
    }
    contract::check(dir, scene.launch.plan, &mut record, 0).map_err(|t| t.at("unharmed"))?;
    let (count, shift) = (calls.len() as u64, scene.launch.plan.seed);
    for (at, call) in (0..).zip(&calls) {
        let turn = |at: u64| (at + shift) * most.min(count) / count.max(1);
        if turn(at) == turn(at + 1) {
            continue;
        }
        let what = format!("killed at call {at}, {} {}", call.name, call.nth);
        let one = kill(scene, call, (at, &calls), tally);
        one.map_err(|trouble| trouble.at(what))?;
    }
    Ok(calls)
}

fn kill(scene: &Scene, call: &Call, (at, calls): (u64, &[Call]), tally: &mut Tally) -> Outcome<()> {
    let dir = &scene.launch.dir;
    scene.set(dir)?;
    let mut record = scene.record.clone();
    let launch = Launch { strace: call.kill(), ..scene.launch.clone() };
    let ended = launch.run(&mut record)?;
    if ended.killed {
        tally.kills += 1;
        tally.in_recovery += u64::from(scene.left.is_some());
        *tally.calls.entry(call.name.clone()).or_default() += 1;
    } else {
        tally.missed += 1;
    }
    let mut random = Random::new(scene.launch.plan.seed, at << 8 | 5);
    let mut round = scene.launch.round;
    while ended.killed && random.below(6) == 0 {
        round += 1;
        again(scene, (round, calls), &mut record, &mut random, tally)?;
    }
    tally.acknowledged += record.acknowledged();
    let found = contract::check(dir, scene.launch.plan, &mut record, at)?;
    tally.found += found.whole;
    *tally.verdicts.entry(found.verdict).or_default() += 1;
    Ok(())
}

/// Kills the process that recovers, or goes on.
fn again(
    scene: &Scene,
    (round, calls): (u64, &[Call]),
    record: &mut Record,
    random: &mut Random,
    tally: &mut Tally,
) -> Outcome<()> {
    let early = calls.len().min(150);
    let Some(call) = calls.get(below(random, early)) else { return Ok(()) };
    let plan = Plan { steps: STEPS_AFTER, ..scene.launch.plan };
    let launch = Launch { plan, round, strace: call.kill(), ..scene.launch.clone() };
    let ended = launch.run(record)?;
    let counted = u64::from(ended.killed);
    tally.kills += counted;
    tally.in_recovery += counted;
    Ok(())
}

/// An empty directory is no directory: the store makes its own.
pub fn clear(dir: &Path) -> Outcome<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Trouble::Machine(format!("cannot remove {}: {error}", dir.display())))
        }
        _ => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let copied = || {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok::<(), std::io::Error>(())
    };
    copied().map_err(Trouble::io("cannot copy a store"))
}
