//! What the explorer runs: a program, the disk it begins on, how the store is opened, which calls
//! fail; all of it from one number.

use std::sync::OnceLock;

use factlog::disk::{Access, Disk, Fault, FaultCall, FaultKind, SimDisk};
use factlog::{Durability, Options};

use super::program::{
    Op, Record, continuation, program, script, with_reclaims, with_removals, with_trims,
};
use crate::rig::{CHANGING_CALLS, Random, open, options};

/// A program and everything it meets.
pub struct Plan {
    pub seed: u64,
    pub ops: Vec<Op>,
    pub disk: SimDisk,
    pub how: Options,
    pub weak: bool,
    fault: Option<Fault>,
    /// A torn write may damage what was synced in the same sector: keyed files are left out.
    shared_sectors: bool,
    /// Every crash state of every operation, as far as they can be counted.
    pub thorough: bool,
}

const FAULTS: [FaultKind; 6] = [
    FaultKind::Os(5),
    FaultKind::Os(28),
    FaultKind::ShortWrite(28),
    FaultKind::ShortWrite(5),
    FaultKind::FailedSyncDropsPages,
    FaultKind::FailedWriteback,
];

/// From this number on a program is refused some write by a full disk, and goes on.
pub const REFUSALS: u64 = 1 << 40;

/// An empty store that was closed: most programs begin with it, so that their disks can be
/// compared. A store that is made anew has an id of its own in every byte that checks.
fn empty_store() -> SimDisk {
    static EMPTY: OnceLock<SimDisk> = OnceLock::new();
    let made = EMPTY.get_or_init(|| {
        let disk = SimDisk::new(1);
        open(&disk).and_then(|store| store.close()).unwrap();
        disk.after_power_cut(0)
    });
    made.copy()
}

/// The seed of a disk whose first interrupted write has written everything: what is refused then
/// would come back whole if it were left where it is.
fn whole_write() -> u64 {
    let all = |seed: &u64| {
        let disk = SimDisk::new(*seed);
        disk.write_file("a", Vec::new());
        disk.inject(Fault::once(FaultCall::Write, 0, FaultKind::ShortWrite(28)));
        let written = disk.open("a", Access::Write).and_then(|file| file.write_at(&[1; 999], 0));
        written.is_err() && disk.read_file("a").is_some_and(|bytes| bytes.len() == 999)
    };
    (0..10_000).find(all).unwrap()
}

/// With trims, with reclamations, or with both. Not in all programs, so that the lines in
/// `explore.rs` repeat what they always did.
fn with_takings(seed: u64, random: &mut Random, mut ops: Vec<Op>) -> Vec<Op> {
    if [2, 4].contains(&(seed % 5)) {
        ops = with_reclaims(random, ops);
    }
    if [0, 2].contains(&(seed % 5)) {
        ops = with_trims(random, ops);
    }
    ops
}

impl Plan {
    /// Program 0 is the script; the others are random.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001));
        if let Some(nth) = seed.checked_sub(REFUSALS) {
            // Opening the store takes the first writes.
            return Self::refusal(seed, nth / 2 % 20 + 2);
        }
        if seed == 0 {
            return Self {
                seed,
                ops: script(),
                disk: SimDisk::new(0),
                how: options(),
                weak: false,
                fault: None,
                shared_sectors: false,
                thorough: true,
            };
        }
        let most = if random.below(4) == 0 { 20 } else { 7 };
        let length = 2 + random.below(most);
        let mut ops = program(&mut random, length);
        let mut how = options();
        let disk = if random.below(8) == 0 { SimDisk::new(seed) } else { empty_store() };
        let (mut weak, mut fault, mut shared_sectors) = (false, None, false);
        match random.below(16) {
            0 => {
                weak = true;
                how = how.durability(Durability::Os);
            }
            1 => {
                shared_sectors = true;
                disk.set_shared_sector_damage(true);
                how = how.align_commit(true).segment_bytes(32 << 10);
                ops.retain(|op| !op.is_keyed());
            }
            2..6 => {
                let call = CHANGING_CALLS[random.below(CHANGING_CALLS.len() as u64) as usize];
                let kind = FAULTS[random.below(FAULTS.len() as u64) as usize];
                let nth = random.below(30);
                let sticky = random.below(2) == 0;
                fault = Some(Fault { call, nth, kind, sticky });
            }
            _ => {}
        }
        let thorough = random.below(8) == 0;
        ops = with_takings(seed, &mut Random::new(seed ^ 0x7213), ops);
        if seed % 7 == 5 && !shared_sectors {
            ops = with_removals(&mut Random::new(seed ^ 0x9a11), ops);
        }
        Self { seed, ops, disk, how, weak, fault, shared_sectors, thorough }
    }

    /// The n-th write finds the disk full after some of its bytes.
    fn refusal(seed: u64, nth: u64) -> Self {
        let batch = |number, size| Op::Append(vec![("A-1".into(), number, size)], None);
        let ops = vec![
            batch(1, 20),
            Op::SaveCheckpoint(1),
            batch(2, 900),
            batch(3, 9_000),
            batch(4, 9_000),
            Op::SaveCheckpoint(2),
            batch(5, 20),
            Op::Reopen,
            batch(6, 20),
        ];
        let (call, kind) = (FaultCall::Write, FaultKind::ShortWrite(28));
        let whole = seed.is_multiple_of(2);
        Self {
            seed,
            ops,
            disk: empty_store().after_power_cut(if whole { whole_write() } else { seed }),
            how: options(),
            weak: false,
            fault: Some(Fault::once(call, nth, kind)),
            shared_sectors: false,
            thorough: false,
        }
    }

    /// The disk to run on, and the record to begin with.
    pub fn begin(&self) -> (SimDisk, Record) {
        let disk = self.disk.copy();
        if let Some(fault) = self.fault {
            disk.inject(fault);
        }
        (disk, Record { weak: self.weak, ..Record::default() })
    }

    /// What is done after so many crashes: it depends on nothing else, so that a case can be
    /// repeated.
    pub fn continuation(&self, crashes: usize) -> Vec<Op> {
        let crashes = crashes as u64;
        let mut random = Random::new(self.seed.wrapping_mul(31).wrapping_add(crashes));
        let mut ops = continuation(crashes, &mut random);
        ops = with_takings(self.seed, &mut random, ops);
        ops.retain(|op| !(self.shared_sectors && op.is_keyed()));
        ops
    }

    /// How many of its states are opened at most: many short programs find what is refused.
    pub fn limit(&self) -> u64 {
        if self.seed >= REFUSALS { 1500 } else { u64::MAX }
    }

    /// A directory that has lost names and does not say so again is beyond any program's help while
    /// the cache still shows them; and a file whose bytes were lost says so when it is next opened.
    pub fn survives_kills(&self) -> bool {
        !self.fault.is_some_and(|fault| match fault.kind {
            FaultKind::FailedSyncDropsPages => fault.call == FaultCall::SyncDir,
            FaultKind::FailedWriteback => fault.call == FaultCall::Write,
            _ => false,
        })
    }
}
