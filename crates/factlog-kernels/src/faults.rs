//! Layer 2.1: system calls that fail, syncs that lie, and disks that are really full.
//!
//! Knows: which call may fail how, and what may be answered then. Does not know: what must hold
//! afterwards (`contract.rs`).

use std::collections::BTreeMap;
use std::path::Path;

use crate::calls::{self, Call, quiet};
use crate::contract;
use crate::filesystems::{Kind, Mounted};
use crate::kills::clear;
use crate::plan::{Plan, Random};
use crate::process::Launch;
use crate::record::Record;
use crate::said::Said;
use crate::trouble::{Outcome, Trouble, holds};

const STEPS: u64 = 14;
/// Small enough to be full soon.
const DISK_BYTES: u64 = 8 << 20;

/// How calls fail. What is interrupted is made again and nobody notices.
const ERRORS: &[(&str, &[&str])] = &[
    ("fdatasync", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("sync_file_range", &["EIO"]),
    ("pwrite64", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("fallocate", &["EIO", "ENOSPC", "EDQUOT", "EOPNOTSUPP", "EINTR"]),
    ("ftruncate", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("openat", &["EMFILE", "ENFILE", "EACCES", "ENOSPC", "EINTR"]),
    ("mkdir", &["ENOSPC", "EDQUOT", "EROFS"]),
    ("renameat", &["EIO", "ENOSPC", "EROFS"]),
    ("unlinkat", &["EIO", "EROFS"]),
    ("pread64", &["EIO", "EINTR"]),
    ("getdents64", &["EIO", "ENOMEM"]),
    ("statx", &["EIO", "ENOMEM"]),
    ("flock", &["ENOLCK", "EINTR"]),
];

/// What a campaign of faults did.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Calls that were made to fail, once or from then on.
    pub faults: u64,
    pub sticky: u64,
    /// Runs whose syncs all answered success and did nothing, killed at some call.
    pub lies: u64,
    /// Runs that met a full tmpfs or ext4; half were killed before they made room.
    pub full: u64,
    pub answers: BTreeMap<String, u64>,
}

/// Makes so many calls fail, half as many disks full and a sixth of them lie.
pub fn campaign(scratch: &Path, seed: u64, wanted: u64) -> Outcome<Tally> {
    let mut tally = Tally::default();
    let mut number = seed;
    while tally.faults < wanted {
        let plan = Plan { seed: number, steps: STEPS };
        let at = |trouble: Trouble| trouble.at(format!("faults --seed {number}"));
        failing(scratch, plan, wanted, &mut tally).map_err(at)?;
        number += 1;
    }
    let point = scratch.join("point");
    std::fs::create_dir_all(&point).map_err(Trouble::io("cannot make a directory"))?;
    for (turn, number) in (0..wanted.div_ceil(2)).zip(seed..) {
        let plan = Plan { seed: number, steps: STEPS };
        let at = |trouble: Trouble| trouble.at(format!("faults --seed {number}"));
        if turn % 3 == 0 {
            lying(scratch, plan, &mut tally).map_err(at)?;
        }
        full(scratch, &point, plan, &mut tally).map_err(at)?;
    }
    Ok(tally)
}

/// One call, and how it fails.
struct Fault<'a> {
    call: &'a Call,
    error: &'a str,
    sticky: bool,
}

impl Fault<'_> {
    fn is_full(&self) -> bool {
        matches!(self.error, "ENOSPC" | "EDQUOT")
    }

    fn is_transparent(&self) -> bool {
        self.error == "EINTR" || (self.error == "EOPNOTSUPP" && self.call.name == "fallocate")
    }

    /// What only reads fails too, so that a read may say so.
    fn meets_reads(&self) -> bool {
        matches!(&*self.call.name, "openat" | "pread64" | "statx" | "getdents64")
    }
}

fn failing(scratch: &Path, plan: Plan, wanted: u64, tally: &mut Tally) -> Outcome<()> {
    let dir = scratch.join("store");
    clear(&dir)?;
    let launch = Launch::new(&dir, plan);
    let (calls, _) = calls::list(&launch, scratch, &mut Record::default())?;
    let errors = |name: &str| {
        let row = ERRORS.iter().find(|(call, _)| *call == name);
        row.map_or(&[][..], |(_, errors)| errors)
    };
    let faults = calls.iter().flat_map(|call| {
        errors(&call.name)
            .iter()
            .flat_map(move |error| [false, true].map(|sticky| Fault { call, error, sticky }))
    });
    let faults: Vec<Fault<'_>> = faults.filter(|f| !(f.sticky && f.is_transparent())).collect();
    let (count, left) = (faults.len() as u64, wanted - tally.faults);
    for (at, fault) in (0..).zip(&faults) {
        let turn = |at: u64| (at + plan.seed) * left.min(count) / count.max(1);
        if turn(at) == turn(at + 1) {
            continue;
        }
        let Fault { call, error, sticky } = fault;
        let what = format!("{} {} fails with {error}, sticky {sticky}", call.name, call.nth);
        fail(&launch, fault, tally).map_err(|trouble| trouble.at(what))?;
        tally.faults += 1;
        tally.sticky += u64::from(*sticky);
    }
    Ok(())
}

fn fail(launch: &Launch, fault: &Fault<'_>, tally: &mut Tally) -> Outcome<()> {
    clear(&launch.dir)?;
    let what = format!("error={}", fault.error);
    let strace = fault.call.inject(&what, if fault.sticky { "+" } else { "" });
    let mut record = Record::default();
    let mut said = Vec::new();
    let launch = Launch { strace, ..launch.clone() };
    let ended = launch.run_and(&mut record, |line| said.push(line.clone()))?;
    holds(ended.success, || format!("it ended badly: {}", ended.complaint))?;
    for line in &said {
        allowed(fault, line)?;
        if let Said::Refused { kind, .. } | Said::Failed { kind, .. } = line {
            *tally.answers.entry(kind.clone()).or_default() += 1;
        } else if let Said::InDoubt { .. } = line {
            *tally.answers.entry("InDoubt".into()).or_default() += 1;
        }
    }
    holds(fault.sticky || record.done, || "one failure, and it gave up".into())?;
    contract::check(&launch.dir, launch.plan, &mut record, launch.plan.seed).map(drop)
}

/// Whether this may be said of such a fault.
fn allowed(fault: &Fault<'_>, said: &Said) -> Outcome<()> {
    let fine = match said {
        Said::Refused { .. } | Said::Failed { .. } | Said::InDoubt { .. }
            if fault.is_transparent() =>
        {
            false
        }
        Said::Refused { kind, .. } if kind == "DiskFull" => fault.is_full(),
        // Io: what the batch is judged by could not be read; like the others it wrote nothing.
        Said::Refused { kind, .. } => matches!(&**kind, "Poisoned" | "Io"),
        Said::Failed { call, .. } if call == "read" => fault.meets_reads(),
        Said::Failed { kind, .. } if kind == "DiskFull" => fault.is_full(),
        Said::Failed { kind, .. } => matches!(&**kind, "Io" | "InDoubt" | "Poisoned"),
        _ => true,
    };
    holds(fine, || format!("it said {said}"))
}

/// Every sync answers success and does nothing; a kill takes nothing from the kernel's memory.
fn lying(scratch: &Path, plan: Plan, tally: &mut Tally) -> Outcome<()> {
    let dir = scratch.join("store");
    clear(&dir)?;
    let launch = Launch::new(&dir, plan);
    let (calls, _) = calls::list(&launch, scratch, &mut Record::default())?;
    let mut random = Random::new(plan.seed, 900);
    let at = usize::try_from(random.below(calls.len() as u64)).unwrap_or(0);
    let Some(call) = calls.get(at).filter(|call| !call.name.ends_with("sync")) else {
        return Ok(());
    };
    clear(&dir)?;
    let mut strace = quiet(&format!("fdatasync,fsync,{}", call.name));
    let lie = ["-e", "inject=fdatasync,fsync:retval=0"].map(str::to_owned);
    let kill = format!("inject={}:signal=SIGKILL:when={}", call.name, call.nth);
    strace.extend(lie.into_iter().chain(["-e".into(), kill]));
    let mut record = Record::default();
    Launch { strace, ..launch.clone() }.run(&mut record)?;
    tally.lies += 1;
    contract::check(&dir, plan, &mut record, plan.seed)
        .map_err(|trouble| trouble.at(format!("lying syncs, killed at {call:?}")))
        .map(drop)
}

/// On a file system with hardly any room, and room again once that was noticed.
fn full(scratch: &Path, point: &Path, plan: Plan, tally: &mut Tally) -> Outcome<()> {
    let mut random = Random::new(plan.seed, 901);
    let in_memory = random.below(2) == 0;
    let mounted = if in_memory {
        Mounted::in_memory(DISK_BYTES, point)?
    } else {
        let disk = Kind::Ext4.make_file(scratch, DISK_BYTES)?;
        Mounted::new(Kind::Ext4, &disk, point)?
    };
    let room = 4096 * random.below(24);
    let strace = match random.below(4) {
        0 => Vec::new(),
        1 => Call { name: "pwrite64".into(), nth: 10 + random.below(60) }.kill(),
        // When it makes room: what was refused just before must not be there.
        _ => Call { name: "unlink".into(), nth: 1 }.kill(),
    };
    let launch = Launch { room: Some(room), strace, ..Launch::new(&point.join("store"), plan) };
    let place = format!("{room} bytes of room, in memory {in_memory}");
    let mut record = Record::default();
    let mut noticed = false;
    let ended = launch.run_and(&mut record, |said| {
        let kind = match said {
            Said::Refused { kind, .. } | Said::Failed { kind, .. } => kind.clone(),
            Said::InDoubt { .. } => "InDoubt".into(),
            _ => return,
        };
        noticed |= kind == "DiskFull";
        *tally.answers.entry(kind).or_default() += 1;
    })?;
    holds(ended.killed || record.done, || format!("{place}: {}", ended.complaint))?;
    tally.full += u64::from(noticed);
    record.disk_was_full = true; // killed before it said so, if it said nothing
    let _: std::io::Result<()> = std::fs::remove_file(point.join("store.ballast"));
    let checked = contract::check(&launch.dir, plan, &mut record, plan.seed);
    checked.map_err(|trouble| trouble.at(place))?;
    mounted.unmount()
}
