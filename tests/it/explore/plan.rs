//! What the explorer runs: a program, the disk it begins on, how the store is opened, which calls
//! fail; all of it from one number.

use std::sync::OnceLock;

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{Durability, Options};

use super::program::{Op, Record, program, script};
use crate::rig::{Random, open, options};

/// A program and everything it meets.
pub struct Plan {
    pub seed: u64,
    pub ops: Vec<Op>,
    pub disk: SimDisk,
    pub how: Options,
    pub weak: bool,
    fault: Option<Fault>,
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
const CALLS: [FaultCall; 7] = [
    FaultCall::Create,
    FaultCall::Rename,
    FaultCall::Remove,
    FaultCall::SyncDir,
    FaultCall::Write,
    FaultCall::SetSize,
    FaultCall::Sync,
];

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

impl Plan {
    /// Program 0 is the script; the others are random.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001));
        if seed == 0 {
            return Self {
                seed,
                ops: script(),
                disk: SimDisk::new(0),
                how: options(),
                weak: false,
                fault: None,
                thorough: true,
            };
        }
        let most = if random.below(4) == 0 { 20 } else { 7 };
        let length = 2 + random.below(most);
        let mut ops = program(&mut random, length);
        let mut how = options();
        let disk = if random.below(8) == 0 { SimDisk::new(seed) } else { empty_store() };
        let (mut weak, mut fault) = (false, None);
        match random.below(16) {
            0 => {
                weak = true;
                how = how.durability(Durability::Os);
            }
            1 => {
                disk.set_shared_sector_damage(true);
                how = how.align_commit(true).segment_bytes(32 << 10);
                ops.retain(|op| !op.is_keyed());
            }
            2..6 => {
                let call = CALLS[random.below(CALLS.len() as u64) as usize];
                let kind = FAULTS[random.below(FAULTS.len() as u64) as usize];
                let nth = random.below(30);
                let sticky = random.below(2) == 0;
                fault = Some(Fault { call, nth, kind, sticky });
            }
            _ => {}
        }
        let thorough = random.below(8) == 0;
        Self { seed, ops, disk, how, weak, fault, thorough }
    }

    /// The disk to run on, and the record to begin with.
    pub fn begin(&self) -> (SimDisk, Record) {
        let disk = self.disk.copy();
        if let Some(fault) = self.fault {
            disk.inject(fault);
        }
        (disk, Record { weak: self.weak, ..Record::default() })
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
