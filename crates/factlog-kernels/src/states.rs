//! Layer 2.2: power cuts under real file systems: what a disk may hold is mounted and opened.
//!
//! Knows: how states are recorded, chosen and counted. Does not know: what must hold in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checker::{Checker, Job, Verdict};
use crate::device::{Device, Failing};
use crate::filesystems::{Kind, Mounted};
use crate::image::Image;
use crate::plan::{Plan, Random};
use crate::process::Launch;
use crate::said::Said;
use crate::tape::{Base, Entry, Player};
use crate::trouble::{Outcome, Trouble, holds};

const STEPS: u64 = 12;
const STEPS_AFTER: u64 = 5;
/// States of one recording.
const STATES: u64 = 20;
/// Crashes of one store, one after the other.
const DEPTH: u64 = 3;

/// What was seen on one file system.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub states: u64,
    /// Those of a run that began in a crash state itself.
    pub after_crashes: u64,
    pub recordings: u64,
    /// Recordings on a disk that was full at times.
    pub full: u64,
    /// Batches whose bytes did not reach the disk, which said so once.
    pub failed_writes: u64,
    /// States the file system itself refused.
    pub unmountable: u64,
    pub entries: usize,
    /// Writes that no flush had followed, over all states.
    pub pending: usize,
    pub found: u64,
    pub verdicts: BTreeMap<String, u64>,
}

/// Where and what.
struct Stage {
    kind: Kind,
    device: Device,
    blank: Image,
    point: PathBuf,
    said: PathBuf,
}

/// Looks at so many states.
pub fn campaign(scratch: &Path, kind: Kind, seed: u64, wanted: u64) -> Outcome<Tally> {
    let folder = |name: &str| {
        let path = scratch.join(name);
        std::fs::create_dir_all(&path).map_err(Trouble::io("cannot make a directory"))?;
        Ok::<_, Trouble>(path)
    };
    let stage = Stage {
        kind,
        blank: kind.make(scratch)?,
        point: folder("point")?,
        said: scratch.join("said"),
        device: Device::mount(&folder("fuse")?)?,
    };
    let mut checker = Checker::start(&stage.point)?;
    let mut tally = Tally::default();
    let mut number = seed;
    while tally.states < wanted {
        let plan = Plan { seed: number, steps: STEPS };
        let most = (wanted - tally.states).min(STATES * DEPTH);
        chain(&stage, &mut checker, (plan, most), &mut tally)
            .map_err(|trouble| trouble.at(format!("crash-states --only {kind} --seed {number}")))?;
        number += 1;
    }
    let refused = tally.unmountable * 20 <= tally.states;
    holds(refused, || format!("{kind} refused {} states", tally.unmountable))
        .map_err(|trouble| Trouble::Machine(trouble.to_string()))?;
    Ok(tally)
}

/// A run, crash states of it, a run that begins in one of them, and so on.
fn chain(
    stage: &Stage,
    checker: &mut Checker,
    (plan, most): (Plan, u64),
    tally: &mut Tally,
) -> Outcome<()> {
    let mut base = Base { image: stage.blank.clone(), said: Vec::new() };
    let until = tally.states + most;
    for round in 0..DEPTH {
        let steps = if round == 0 { plan.steps } else { STEPS_AFTER };
        let entries = stage.record(&base, (Plan { steps, ..plan }, round), tally)?;
        let mut random = Random::new(plan.seed, round + 1000);
        let count = STATES.min(until.saturating_sub(tally.states));
        let mut instants: Vec<usize> = (0..count).map(|_| instant(&entries, &mut random)).collect();
        instants.sort_unstable();
        let chosen = random.below(count);
        let mut player = Player::new(base, &entries, stage.kind.superblocks());
        let mut next = None;
        for (number, instant) in (0..).zip(instants) {
            player.advance(instant);
            let seed = random.next();
            let cut = player.cut(seed);
            tally.pending += player.pending();
            tally.after_crashes += u64::from(round > 0);
            let place = format!("round {round}, cut at {instant} with {seed}");
            let fine = stage.check(checker, (plan, seed), &cut, tally);
            let fine = fine.map_err(|trouble| trouble.at(place))?;
            if fine && number >= chosen && next.is_none() {
                next = Some(cut);
            }
        }
        match next {
            Some(cut) => base = cut,
            None => break,
        }
    }
    Ok(())
}

/// A moment at random; mostly one at which something was written that no flush has followed.
fn instant(entries: &[Entry], random: &mut Random) -> usize {
    let mut any = || usize::try_from(random.below(entries.len() as u64 + 1)).unwrap_or(0);
    let is_open = |at: &usize| {
        let last = entries.get(..*at).and_then(|before| before.last());
        matches!(last, Some(Entry::Write { .. }))
    };
    let tries = [any(), any(), any(), any()];
    tries.into_iter().find(is_open).unwrap_or_else(any)
}

impl Stage {
    /// Runs a script in the file system and writes down what becomes of the disk.
    fn record(&self, base: &Base, at: (Plan, u64), tally: &mut Tally) -> Outcome<Vec<Entry>> {
        let (plan, round) = at;
        let disk = self.device.insert(base.image.clone());
        self.device.record();
        let mounted = Mounted::new(self.kind, &disk, &self.point)?;
        // On every third disk there is little room, and none after a while.
        let mut random = Random::new(plan.seed, 500);
        let full = self.kind == Kind::Ext4 && round == 0 && plan.seed.is_multiple_of(3);
        let room = full.then(|| 4096 * random.below(40));
        if round == 0 && plan.seed % 3 == 1 {
            // Once, the bytes of some batch do not reach the disk.
            let containing = format!("{}.0:", random.below(plan.steps / 2)).into_bytes();
            self.device.fail(Failing { containing, times: 1, after: Duration::ZERO });
        }
        let launch =
            Launch { round, room, lockstep: true, ..Launch::new(&self.point.join("store"), plan) };
        let ended = launch.run_and(&mut base.record(), |said| self.device.said(said.clone()))?;
        if !ended.success {
            return Err(Trouble::Finding(format!("recording: {}", ended.complaint)));
        }
        mounted.unmount()?;
        let entries = self.device.recorded();
        tally.recordings += 1;
        tally.full += u64::from(full);
        let in_doubt = |entry: &&Entry| matches!(entry, Entry::Said(Said::InDoubt { .. }));
        tally.failed_writes += entries.iter().filter(in_doubt).count() as u64;
        tally.entries += entries.len();
        Ok(entries)
    }

    /// Has one state looked at. False when the file system does not let itself be mounted.
    fn check(
        &self,
        checker: &mut Checker,
        (plan, seed): (Plan, u64),
        cut: &Base,
        tally: &mut Tally,
    ) -> Outcome<bool> {
        let mut said = String::new();
        for line in &cut.said {
            let _: std::fmt::Result = writeln!(said, "{line}"); // a string takes everything
        }
        std::fs::write(&self.said, said).map_err(Trouble::io("cannot write what was said"))?;
        let disk = self.device.insert(cut.image.clone());
        let job = Job { kind: self.kind, disk, said: self.said.clone(), plan, seed };
        tally.states += 1;
        match checker.check(&job)? {
            Verdict::Holds(row) => {
                tally.found += u64::from(!cut.said.is_empty());
                *tally.verdicts.entry(row).or_default() += 1;
                Ok(true)
            }
            Verdict::Unmountable => {
                tally.unmountable += 1;
                Ok(false)
            }
        }
    }
}
