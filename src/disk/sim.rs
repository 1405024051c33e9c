//! Layer 2.3: the simulated disk: exactly as nasty as the contract in `api.rs` allows.
//!
//! Knows: how calls, handles and locks act on the simulated state. Does not know: what a power cut
//! does, which is in `sim_state.rs`, `sim_names.rs` and `sim_inode.rs`.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::api::{Access, Disk, DiskFile, DiskLock, check_name, not_shared, read_only};
use super::image::end_of;
use super::map::Mapped;
use super::sim_fault::{Fault, FaultCall, Remains, input_output};
use super::sim_inode::Inode;
use super::sim_names::within;
use super::sim_state::State;

/// A disk for tests of crash safety: deterministic, with power cuts and failures on demand.
///
/// Clones are the same disk. What a power cut or a kill leaves is a new disk, so that one run can
/// be followed by many different ends; handles and locks stay with the old one.
///
/// ```
/// use std::sync::Arc;
/// use factlog::{Expect, NewEvent, Store, disk::SimDisk};
///
/// // Appends until the power goes, and answers how many appends returned.
/// fn run(disk: &SimDisk) -> usize {
///     let options = Store::options().background_threads(false);
///     let Ok(store) = options.open_on(Arc::new(disk.clone())) else { return 0 };
///     let tick = || store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")]);
///     (0..2).map_while(|_| tick().ok()).count()
/// }
///
/// let whole = SimDisk::new(1);
/// run(&whole);
/// for operation in 0..whole.operations() {
///     let disk = SimDisk::new(1);
///     disk.crash_at(operation);
///     let answered = run(&disk);
///     for seed in 0..3 {
///         let after = Arc::new(disk.after_power_cut(seed));
///         let store = Store::options().background_threads(false).open_on(after)?;
///         assert!(store.read_all().into_iter().count() >= answered);
///     }
/// }
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Clone)]
pub struct SimDisk(
    Arc<Mutex<State>>,
    /// Which of the disk's directories this is, as it stands before the names in it.
    Arc<str>,
);

impl SimDisk {
    /// A directory that has yet to be made. The seed decides how much of an interrupted write gets
    /// into the cache.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))), Arc::from(""))
    }

    /// Another directory on the same disk, yet to be made unless it was: with the same power, the
    /// same faults and the same count of operations, so that what two stores do together can be
    /// crashed together. Names may be linked between them.
    ///
    /// ```
    /// use factlog::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.create_root()?;
    /// disk.open("a", Access::Create)?;
    /// let other = disk.directory("other");
    /// other.create_root()?;
    /// disk.link("a", &other, "b")?;
    /// assert_eq!(other.file_names(), ["b"]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn directory(&self, name: &str) -> Self {
        Self(self.0.clone(), Arc::from(format!("{}{name}/", self.1)))
    }

    fn left(&self, state: State) -> Self {
        Self(Arc::new(Mutex::new(state)), self.1.clone())
    }

    /// The name as the whole disk knows it.
    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.1)
    }

    fn names(&self, state: &State) -> Vec<String> {
        let names = state.names.cached().keys();
        names.filter_map(|name| within(&self.1, name)).map(str::to_owned).collect()
    }

    /// How many calls there have been that matter to what a power cut leaves: everything but
    /// `create_root`, `list`, `size`, reads, and opening or locking files that exist. Failed calls
    /// count too.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Lets this many operations happen, counted from the beginning. The next one cuts the power:
    /// it does nothing (a write may get a first part into the cache), and from then on every call
    /// fails.
    pub fn crash_at(&self, operation: u64) {
        self.0.lock().crash_at = operation;
    }

    /// Whether [`crash_at`](Self::crash_at) has come true.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// One of the disks a power cut at this moment may leave, chosen by the seed.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.0.lock().after_power_cut(seed);
        self.left(state)
    }

    /// How many subsets of the pending effects there are, if at most 16 effects are pending.
    #[must_use]
    pub fn crash_states(&self) -> Option<u64> {
        self.0.lock().effects().map(|count| 1 << count)
    }

    /// What a power cut leaves if exactly those pending effects have happened whose bits are set in
    /// `subset`, a number below [`crash_states`](Self::crash_states). Changes of names come first,
    /// then the files in order of creation. Nothing is damaged. Where there are more effects than
    /// bits, the last bit stands for the rest, so that `u64::MAX` keeps everything.
    #[must_use]
    pub fn after_power_cut_exact(&self, subset: u64) -> Self {
        let state = self.0.lock().after_power_cut_exact(subset);
        self.left(state)
    }

    /// What the next process finds when this one has died but the power has stayed on: everything
    /// written, and still nothing more durable than before. Faults and counts start afresh.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = self.0.lock().after_kill();
        self.left(state)
    }

    /// Remembers the disk as it is before every operation from now on, for
    /// [`rewind`](Self::rewind): one run then serves for crashes at all of its operations.
    ///
    /// ```
    /// use factlog::disk::{Access, Disk, FaultCall, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.create_root()?;
    /// disk.keep_history();
    /// let file = disk.open("a", Access::Create)?;
    /// file.write_at(b"hello", 0)?;
    /// assert_eq!(disk.operation(1), Some((FaultCall::Write, 5)));
    /// let within = disk.rewind(1, 2).unwrap();
    /// assert_eq!(within.read_file("a"), Some(b"he".to_vec()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn keep_history(&self) {
        self.0.lock().keep_history();
    }

    /// What operation number `operation` was and how many bytes it was to write, if it happened
    /// since [`keep_history`](Self::keep_history).
    #[must_use]
    pub fn operation(&self, operation: u64) -> Option<(FaultCall, u64)> {
        self.0.lock().operation(operation)
    }

    /// What [`after_kill`](Self::after_kill) would have left just before that operation; of a write
    /// the first `bytes` are in the cache already. At [`operations`](Self::operations) it is what a
    /// kill leaves now. `None` for operations that are not remembered.
    #[must_use]
    pub fn rewind(&self, operation: u64, bytes: u64) -> Option<Self> {
        let state = self.0.lock().rewind(operation, bytes)?;
        Some(self.left(state))
    }

    /// A number for names, sizes and bytes as reads see them: different for different disks, but
    /// for a chance of one in 2^64. What is pending and what is locked does not count.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0.lock().fingerprint()
    }

    /// The same disk once more, with faults and counts, but unlocked.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut state = self.0.lock().clone();
        state.locked.clear();
        self.left(state)
    }

    /// Lets a power cut damage whole blocks of 4,096 bytes into which something unsynced was
    /// written, including what was synced before. Drives that remap internally can do this.
    pub fn set_shared_sector_damage(&self, on: bool) {
        self.0.lock().shared_sector_damage = on;
    }

    /// Adds a failure to come.
    pub fn inject(&self, fault: Fault) {
        self.0.lock().faults.push(fault);
    }

    /// How many failures are still to come; sticky ones come for ever.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.0.lock().faults.len()
    }

    /// Takes back all failures to come.
    pub fn clear_faults(&self) {
        self.0.lock().faults.clear();
    }

    /// The names in the directory, sorted; works also after a crash.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        self.names(&self.0.lock())
    }

    /// What reading the whole file would answer; works also after a crash.
    #[must_use]
    pub fn read_file(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().named(&self.full(name)).map(|inode| inode.cached().prefix(u64::MAX))
    }

    /// Puts a new file there, durable at once, in place of the old one if there was one.
    pub fn write_file(&self, name: &str, bytes: Vec<u8>) {
        self.0.lock().settle(&self.1, name, Some(&bytes));
    }

    /// Takes a file away, durably at once.
    pub fn remove_file(&self, name: &str) {
        self.0.lock().settle(&self.1, name, None);
    }

    /// Inverts a bit (0 to 7), in the cache and on disk; does nothing where there is no byte.
    pub fn flip_bit(&self, name: &str, byte_offset: u64, bit: u32) {
        if let Some(inode) = self.0.lock().named(&self.full(name)) {
            inode.flip(byte_offset, bit);
        }
    }

    fn open_existing(&self, name: &str) -> io::Result<u64> {
        let mut state = self.0.lock();
        state.begin_in(&self.1, FaultCall::Open)?;
        state
            .names
            .cached()
            .get(&self.full(name))
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<u64> {
        let mut state = self.0.lock();
        state.begin_in(&self.1, FaultCall::Create)?;
        let name = self.full(name);
        if state.names.cached().contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(state.create(&name))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("SimDisk")
            .field("names", state.names.cached())
            .field("operations", &state.operations)
            .field("crashed", &state.crashed)
            .finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    fn location(&self) -> String {
        self.full("simulation")
    }

    /// Durable at once.
    fn create_root(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.check_power()?;
        state.directories.insert(self.1.to_string());
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.begin_in(&self.1, FaultCall::List)?;
        Ok(self.names(&state))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        check_name(name)?;
        let number = match access {
            Access::Create => self.create(name)?,
            Access::Read | Access::Write => self.open_existing(name)?,
        };
        let told = AtomicU64::new(self.0.lock().file(number).told());
        let disk = self.clone();
        Ok(Arc::new(SimFile { disk, number, writable: access != Access::Read, told }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let mut state = self.0.lock();
        state.begin_in(&self.1, FaultCall::Rename)?;
        found(state.names.rename(&self.full(from), &self.full(to)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let mut state = self.0.lock();
        state.begin_in(&self.1, FaultCall::Remove)?;
        found(state.names.remove(&self.full(name)))
    }

    fn link(&self, name: &str, to: &dyn Disk, new: &str) -> io::Result<()> {
        check_name(name)?;
        check_name(new)?;
        let to: &dyn Any = to;
        let to = to.downcast_ref::<Self>().filter(|to| Arc::ptr_eq(&self.0, &to.0));
        let to = to.ok_or_else(not_shared)?;
        let mut state = self.0.lock();
        state.begin_in(&to.1, FaultCall::Link)?;
        let file = state.names.cached().get(&self.full(name)).copied();
        let (file, new) = (file.ok_or(io::ErrorKind::NotFound)?, to.full(new));
        if state.names.cached().contains_key(&new) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.create(&new, file);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let begun = state.begin_in(&self.1, FaultCall::SyncDir);
        match &begun {
            Ok(()) => state.names.sync(&self.1),
            Err(stop) if stop.remains == Remains::DroppedPages => state.names.drop_pages(&self.1),
            Err(_) => {}
        }
        Ok(begun?)
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        check_name(name)?;
        let mut state = self.0.lock();
        state.check_power()?;
        let name = self.full(name);
        if state.locked.contains(&name) {
            return Ok(None);
        }
        if !state.names.cached().contains_key(&name) {
            state.begin_in(&self.1, FaultCall::Create)?;
            state.create(&name);
        }
        state.locked.insert(name.clone());
        Ok(Some(Box::new(SimLock { disk: self.clone(), name })))
    }
}

fn found(there: bool) -> io::Result<()> {
    if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    name: String,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.0.lock().locked.remove(&self.name);
    }
}

/// An open file; it lives on when its name is gone.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    number: u64,
    writable: bool,
    /// How many failures of the file this opening has reported, or was not open for.
    told: AtomicU64,
}

impl SimFile {
    fn look<T>(&self, action: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        state.begin(FaultCall::Read)?;
        Ok(action(state.file(self.number)))
    }

    fn resize(&self, call: FaultCall, size: impl FnOnce(u64) -> u64) -> io::Result<()> {
        if !self.writable {
            return Err(read_only());
        }
        let mut state = self.disk.0.lock();
        state.begin(call)?;
        let inode = state.file(self.number);
        inode.resize(size(inode.cached().size()));
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock();
        state.check_power()?;
        Ok(state.file(self.number).cached().size())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.look(|inode| inode.cached().read(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        end_of(offset, bytes.len())?;
        if !self.writable {
            return Err(read_only());
        }
        let mut state = self.disk.0.lock();
        let begun = state.begin(FaultCall::Write);
        if begun.is_ok() {
            state.remember_write(self.number, offset, bytes);
        }
        let lost = matches!(&begun, Err(stop) if stop.remains == Remains::LostWrite);
        let length = match &begun {
            _ if lost => bytes.len(),
            Ok(()) => bytes.len(),
            Err(stop) if stop.remains == Remains::Prefix => state.torn_length(bytes.len()),
            Err(_) => 0,
        };
        let inode = state.file(self.number);
        inode.write(offset, bytes.get(..length).unwrap_or_default());
        if lost {
            inode.fail_writeback();
            return Ok(());
        }
        Ok(begun?)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        end_of(size, 0)?;
        self.resize(FaultCall::Allocate, |now| size.max(now))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        end_of(size, 0)?;
        self.resize(FaultCall::SetSize, |_| size)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let begun = state.begin(FaultCall::Sync);
        if begun.is_ok()
            && let Some(all) = state.file(self.number).tell(self.told.load(Ordering::Relaxed))
        {
            self.told.store(all, Ordering::Relaxed);
            return Err(input_output());
        }
        match &begun {
            Ok(()) => state.file(self.number).sync(),
            Err(stop) if stop.remains == Remains::DroppedPages => {
                state.file(self.number).drop_pages();
            }
            Err(_) => {}
        }
        Ok(begun?)
    }

    fn map(&self, length: u64) -> io::Result<Mapped> {
        self.look(|inode| {
            let image = inode.cached();
            (length <= image.size()).then(|| Mapped::owned(image.prefix(length)))
        })?
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests;
