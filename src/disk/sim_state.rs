//! Layer 2.2: everything there is to know about a simulated disk, and the futures it may have.
//!
//! Knows: names, files, faults to come, the call at which the power goes. Does not know: threads,
//! handles, or the trait they serve.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::image::{Image, mix, to_u64, to_usize};
use super::sim_fault::{Fault, FaultCall, Remains, Stop, due};
use super::sim_inode::Inode;
use super::sim_names::{Names, Table};
use super::sim_random::Random;

/// Beyond this many effects, trying every subset takes too long.
const MOST_EFFECTS: usize = 16;

#[derive(Debug, Clone)]
pub(super) struct State {
    /// Those that were made: empty for the first, else ending with a slash.
    pub(super) directories: BTreeSet<String>,
    pub(super) names: Names,
    files: BTreeMap<u64, Inode>,
    next_file: u64,
    pub(super) locked: BTreeSet<String>,
    pub(super) operations: u64,
    pub(super) crash_at: u64,
    pub(super) crashed: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) shared_sector_damage: bool,
    random: Random,
    history: Option<Vec<Past>>,
}

/// An operation, and everything as it was just before.
#[derive(Debug, Clone)]
struct Past {
    state: State,
    call: FaultCall,
    /// The file, offset and bytes of a write.
    write: Option<(u64, u64, Arc<[u8]>)>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            directories: BTreeSet::new(),
            names: Names::default(),
            files: BTreeMap::new(),
            next_file: 0,
            locked: BTreeSet::new(),
            operations: 0,
            crash_at: u64::MAX,
            crashed: false,
            faults: Vec::new(),
            shared_sector_damage: false,
            random: Random::new(seed),
            history: None,
        }
    }

    pub(super) fn keep_history(&mut self) {
        self.history = Some(Vec::new());
    }

    fn remember(&mut self, call: FaultCall) {
        // Taken out, so that no past holds the pasts before it.
        if let Some(mut history) = self.history.take() {
            history.push(Past { state: self.clone(), call, write: None });
            self.history = Some(history);
        }
    }

    /// Says of the operation that has just begun what it writes.
    pub(super) fn remember_write(&mut self, file: u64, offset: u64, bytes: &[u8]) {
        if let Some(past) = self.history.as_mut().and_then(|history| history.last_mut()) {
            past.write = Some((file, offset, Arc::from(bytes)));
        }
    }

    fn past(&self, operation: u64) -> Option<&Past> {
        let history = self.history.as_deref()?;
        let first = history.first()?.state.operations;
        history.get(to_usize(operation.checked_sub(first)?))
    }

    /// What an operation is, and how many bytes it writes.
    pub(super) fn operation(&self, operation: u64) -> Option<(FaultCall, u64)> {
        let past = self.past(operation)?;
        let length = past.write.as_ref().map_or(0, |(.., bytes)| bytes.len());
        Some((past.call, to_u64(length)))
    }

    /// What a kill leaves before that operation, with so many bytes of its write.
    pub(super) fn rewind(&self, operation: u64, bytes: u64) -> Option<Self> {
        if operation == self.operations {
            return Some(self.after_kill());
        }
        let past = self.past(operation)?;
        let mut state = past.state.after_kill();
        if let Some((file, offset, all)) = &past.write {
            let part = all.get(..to_usize(bytes)).unwrap_or(all);
            state.file(*file).write(*offset, part);
        }
        Some(state)
    }

    /// Of names, sizes and bytes as reads see them.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut sum = to_u64(self.directories.len());
        for (name, file) in self.names.cached() {
            sum = name.bytes().fold(mix(sum, to_u64(name.len())), |sum, b| mix(sum, b.into()));
            sum = mix(sum, self.files.get(file).map_or(0, |inode| inode.cached().fingerprint()));
        }
        sum
    }

    /// Every call passes here before it does anything.
    pub(super) fn begin(&mut self, call: FaultCall) -> Result<(), Stop> {
        if self.crashed {
            return Err(Stop { error: power_cut(), remains: Remains::Nothing });
        }
        if call.matters_to_disk() {
            if self.operations >= self.crash_at {
                self.crashed = true;
                return Err(Stop { error: power_cut(), remains: Remains::Prefix });
            }
            self.remember(call);
            self.operations += 1;
        }
        match due(&mut self.faults, call) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    /// The same for calls about names in a directory.
    pub(super) fn begin_in(&mut self, directory: &str, call: FaultCall) -> Result<(), Stop> {
        self.begin(call)?;
        match self.directories.contains(directory) {
            true => Ok(()),
            false => Err(Stop { error: io::ErrorKind::NotFound.into(), remains: Remains::Nothing }),
        }
    }

    /// For calls that cannot fail except by the power being off.
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.crashed { Err(power_cut()) } else { Ok(()) }
    }

    /// How much of a write that stops halfway has happened.
    pub(super) fn torn_length(&mut self, length: usize) -> usize {
        match self.random.up_to(7) {
            // Chance would hardly ever come to these, and they are the ones that matter most.
            0 => 0,
            1 => length,
            _ => to_usize(self.random.up_to(to_u64(length))),
        }
    }

    /// The name must be free.
    pub(super) fn create(&mut self, name: &str) -> u64 {
        let file = self.add(Inode::default());
        self.names.create(name, file);
        file
    }

    fn add(&mut self, inode: Inode) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, inode);
        file
    }

    /// The file of that number, which lives as long as the disk.
    pub(super) fn file(&mut self, file: u64) -> &mut Inode {
        self.files.entry(file).or_default()
    }

    pub(super) fn named(&mut self, name: &str) -> Option<&mut Inode> {
        let file = self.names.cached().get(name)?;
        self.files.get_mut(file)
    }

    /// Puts a file there as if it had been there for long; `None` removes it.
    pub(super) fn settle(&mut self, directory: &str, name: &str, bytes: Option<&[u8]>) {
        self.directories.insert(directory.to_owned());
        let name = &format!("{directory}{name}");
        let file = bytes.map(|bytes| {
            let mut image = Image::default();
            image.write(0, bytes);
            self.add(Inode::settled(image))
        });
        self.names.settle(name, file);
    }

    /// The same disk after the process that used it has died.
    pub(super) fn after_kill(&self) -> Self {
        Self {
            locked: BTreeSet::new(),
            operations: 0,
            crash_at: u64::MAX,
            crashed: false,
            faults: Vec::new(),
            history: None,
            directories: self.directories.clone(),
            names: self.names.clone(),
            files: self.files.clone(),
            next_file: self.next_file,
            shared_sector_damage: self.shared_sector_damage,
            random: self.random.clone(),
        }
    }

    /// One of the disks a power cut may leave.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let names = match random.up_to(3) {
            0 => {
                // In order, as a journal would have it.
                let mut kept = 0..random.up_to(to_u64(self.names.pending()));
                self.names.after(|| kept.next().is_some())
            }
            1 => self.names.after(|| true),
            _ => self.names.after(|| random.chance(1, 2)),
        };
        let shared = self.shared_sector_damage;
        self.rebuilt(names, seed, |inode| inode.after_power_cut(&mut random, shared))
    }

    /// The disk on which exactly those effects have happened whose bits are set.
    pub(super) fn after_power_cut_exact(&self, subset: u64) -> Self {
        let mut bits = (0..).map(|bit: u32| subset >> bit.min(u64::BITS - 1) & 1 == 1);
        let mut next = || bits.next().unwrap_or(false);
        let names = self.names.after(&mut next);
        self.rebuilt(names, subset, |inode| inode.after(|effect| next().then(|| effect.clone())))
    }

    /// How many effects a power cut may take, if they are few.
    pub(super) fn effects(&self) -> Option<usize> {
        let of_files: usize = self.reachable().map(|(_, inode)| inode.pending().len()).sum();
        Some(self.names.pending() + of_files).filter(|count| *count <= MOST_EFFECTS)
    }

    fn reachable(&self) -> impl Iterator<Item = (u64, &Inode)> {
        let numbers = self.names.reachable().into_iter();
        numbers.filter_map(|file| self.files.get(&file).map(|inode| (file, inode)))
    }

    /// A disk with these names. Files that lost theirs are asked about too, so that what happens to
    /// one file does not depend on the fate of another's name.
    fn rebuilt(&self, names: Table, seed: u64, mut after: impl FnMut(&Inode) -> Image) -> Self {
        let named: BTreeSet<u64> = names.values().copied().collect();
        let mut files = BTreeMap::new();
        for (file, inode) in self.reachable() {
            let image = after(inode);
            if named.contains(&file) {
                files.insert(file, Inode::settled(image));
            }
        }
        Self {
            directories: self.directories.clone(),
            names: Names::settled(names),
            files,
            next_file: self.next_file,
            shared_sector_damage: self.shared_sector_damage,
            ..Self::new(seed)
        }
    }
}

fn power_cut() -> io::Error {
    io::Error::other("simulated power cut")
}
