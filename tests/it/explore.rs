//! The explorer of crash states: programs are run on the simulated disk, cut at every operation,
//! and what may be left is opened and held against the contract; then it goes on and is cut again.
//!
//! `FACTLOG_STATES` says how many states are opened, `FACTLOG_SEED` with which program it begins,
//! `FACTLOG_CASE` repeats one case.

mod case;
pub mod contract;
mod plan;
pub mod program;
mod walk;

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use case::Case;
pub use case::Finding;
use contract::Broken;
use plan::Plan;
use walk::Walk;

/// What was explored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub programs: u64,
    /// States that were made; those that had just been opened were not opened again.
    pub made: u64,
    /// States that were opened and checked.
    pub opened: u64,
    /// How many of the opened ones differ from all others in names or bytes.
    pub distinct: u64,
    /// Opened states that came of a crash within an opening.
    pub in_recovery: u64,
    /// Interrupted writes: a beginning of theirs, byte by byte.
    pub cuts: u64,
    /// Opened states that every question was put to, and that were written to.
    pub examined: u64,
    /// Programs that a full disk refused something.
    pub refused: u64,
    /// Runs that made the log begin later, and that took data of events away.
    pub trimmed: u64,
    pub reclaimed: u64,
    /// Read-only openings beside the running program.
    pub followers: u64,
    /// Opened states after one crash, after two, after three.
    pub deep: [u64; 3],
}

impl Counts {
    fn opened_at(&mut self, depth: usize, within_opening: bool) {
        self.opened += 1;
        self.in_recovery += u64::from(within_opening && depth > 1);
        if let Some(count) = self.deep.get_mut(depth - 1) {
            *count += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.programs += other.programs;
        self.made += other.made;
        self.opened += other.opened;
        self.in_recovery += other.in_recovery;
        self.cuts += other.cuts;
        self.examined += other.examined;
        self.followers += other.followers;
        self.refused += other.refused;
        self.trimmed += other.trimmed;
        self.reclaimed += other.reclaimed;
        self.deep.iter_mut().zip(other.deep).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, two, three] = self.deep;
        writeln!(f, "{} crash states opened, {} distinct", self.opened, self.distinct)?;
        writeln!(
            f,
            "  of {} programs; {} states made, repeated ones not opened",
            self.programs, self.made
        )?;
        writeln!(f, "  {one} after one crash, {two} after two, {three} after three")?;
        writeln!(f, "  {} after a crash within recovery", self.in_recovery)?;
        writeln!(f, "  {} cuts within a write, {} examined whole", self.cuts, self.examined)?;
        writeln!(f, "  {} runs trimmed, {} reclaimed", self.trimmed, self.reclaimed)?;
        write!(f, "  {} followers beside the program, {} refusals", self.followers, self.refused)
    }
}

/// What the threads of an exploration share.
struct Shared {
    budget: u64,
    opened: AtomicU64,
    stop: AtomicBool,
    /// Fingerprints, spread so that nobody waits.
    prints: Vec<Mutex<HashSet<u64>>>,
}

impl Shared {
    fn new(budget: u64) -> Self {
        let prints = (0..64).map(|_| Mutex::default()).collect();
        Self { budget, opened: AtomicU64::new(0), stop: AtomicBool::new(false), prints }
    }

    fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn opened_one(&self, print: u64) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if let Some(shard) = self.prints.get((print % 64) as usize) {
            shard.lock().unwrap().insert(print);
        }
    }

    fn is_over(&self) -> bool {
        self.opened() >= self.budget || self.stop.load(Ordering::Relaxed)
    }

    fn distinct(&self) -> u64 {
        self.prints.iter().map(|shard| shard.lock().unwrap().len() as u64).sum()
    }
}

/// Opens that many crash states of the programs from `seed` on, on all cores. What is broken comes
/// back as a value, made as small as could be, with the line that repeats it.
pub fn explore(budget: u64, seed: u64) -> Result<Counts, Box<Finding>> {
    let shared = Shared::new(budget);
    let next = AtomicU64::new(seed);
    let found = Mutex::new(None);
    let sum = Mutex::new(Counts::default());
    let work = || {
        while !shared.is_over() {
            let plan = Plan::new(next.fetch_add(1, Ordering::Relaxed));
            let steps = (0..plan.ops.len()).collect();
            match Walk::new(&plan, steps, &shared, plan.limit()).explore() {
                Ok(counts) => sum.lock().unwrap().add(&counts),
                Err(finding) => {
                    shared.stop.store(true, Ordering::Relaxed);
                    found.lock().unwrap().get_or_insert(finding);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    match found.into_inner().unwrap() {
        Some(finding) => Err(shrink(finding)),
        None => {
            let mut counts = sum.into_inner().unwrap();
            counts.distinct = shared.distinct();
            Ok(counts)
        }
    }
}

/// Repeats one case, as the line of a finding says it.
pub fn repeat(line: &str) -> Result<(), Broken> {
    let case: Case = line.parse().map_err(|what| Broken { clause: "case", what })?;
    walk::again(&Plan::new(case.seed), &case)
}

/// The same clause broken by fewer steps and no more crashes, and by one that leaves more.
fn shrink(mut finding: Box<Finding>) -> Box<Finding> {
    let plan = Plan::new(finding.case.seed);
    let after = finding.after;
    let mut at = 0;
    while at < finding.case.steps.len() {
        let mut fewer = finding.case.steps.clone();
        fewer.remove(at);
        let shared = Shared::new(20_000);
        match Walk::new(&plan, fewer, &shared, 20_000).explore() {
            Err(smaller)
                if smaller.broken.clause == finding.broken.clause
                    && smaller.case.crashes.len() <= finding.case.crashes.len() =>
            {
                finding = smaller;
            }
            _ => at += 1,
        }
    }
    shrink_crashes(&plan, &mut finding);
    finding.after = after;
    finding
}

/// Tries to make the last crash one that a few effects decide, with as few of them as may be.
fn shrink_crashes(plan: &Plan, finding: &mut Finding) {
    let Some(last) = finding.case.crashes.len().checked_sub(1) else { return };
    let mut attempt = |change: &dyn Fn(&mut case::Crash)| {
        let mut case = finding.case.clone();
        case.crashes.iter_mut().skip(last).for_each(change);
        match walk::again(plan, &case) {
            Err(broken) if broken.clause == finding.broken.clause => {
                *finding = Finding { case, broken, after: finding.after };
                true
            }
            _ => false,
        }
    };
    let kill = attempt(&|crash| crash.left = case::Left::Kill);
    let exact = |subset| attempt(&|crash| crash.left = case::Left::Exact(subset));
    let _ = kill || [u64::MAX, 0].into_iter().chain(1..64).any(exact);
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn crash_states() {
    if let Ok(line) = std::env::var("FACTLOG_CASE") {
        let outcome = repeat(&line);
        assert!(outcome.is_ok(), "{line}: {outcome:?}");
        println!("{line}: holds");
        return;
    }
    let begun = std::time::Instant::now();
    match explore(number("FACTLOG_STATES", 5_000), number("FACTLOG_SEED", 0)) {
        Ok(counts) => println!("{counts}\n  in {:?}", begun.elapsed()),
        Err(finding) => panic!("{finding}"),
    }
}

/// A torn write that damages its whole sector takes with it what a keyed file had synced there, as
/// `docs/DURABILITY.md` says. Programs on such a disk save nothing; but what followed a crash did.
#[test]
fn nothing_is_saved_beside_events_where_torn_writes_damage_whole_sectors() {
    let all = "1".repeat(64);
    let crashes =
        format!("crash=20:30:exact-{all} crash=35:0:exact-1 crash=36:96:cut-123798071317168");
    assert_eq!(repeat(&format!("seed=2481 steps= {crashes}")), Ok(()));
}

/// The explorer once held a store that was opened after a crash to the fail-stop of the store
/// before it: its record still said that the run had ended over an append.
#[test]
fn a_store_opened_again_is_not_held_to_the_end_of_the_last_run() {
    let line = "seed=148 steps=0,1,3,4,5,6,7,9,10,11,13,14 crash=73:0:kill";
    assert_eq!(repeat(line), Ok(()));
}

/// A clean refusal is never resurrected: a write fails after some of its bytes because the disk is
/// full, the program goes on, and every crash from then on is tried. What was refused is not in the
/// record, so that it would be an invention.
#[test]
fn a_refused_batch_is_never_resurrected() {
    let states = number("FACTLOG_STATES", 200_000) / 10;
    match explore(states, plan::REFUSALS) {
        Ok(counts) => {
            println!("{counts}");
            assert!(counts.refused > 0, "{counts}");
        }
        Err(finding) => panic!("{finding}"),
    }
}
