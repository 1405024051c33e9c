//! Two syncs that overlap on one open file hide an error from one of them: Linux reports it once
//! per open file (`disk/sim/tests.rs` shows it). The store never does that, nor depends on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use factlog::disk::{
    Access, Disk, DiskFile, DiskLock, Fault, FaultCall, FaultKind, Mapped, MemDisk, SimDisk,
};
use factlog::{Durability, ErrorKind, Expect, Position, Store};

use crate::rig::{answers, event, open};

/// How many syncs there were, and how many began while another of the same open file ran.
#[derive(Debug, Default)]
struct Seen {
    syncs: AtomicU64,
    /// Syncs of the live file that are under way.
    live: AtomicU64,
    overlaps: Mutex<BTreeMap<String, u64>>,
}

/// A disk whose syncs take their time and are counted.
#[derive(Debug, Clone)]
struct Watched {
    disk: MemDisk,
    seen: Arc<Seen>,
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    name: String,
    running: AtomicU64,
    seen: Arc<Seen>,
}

impl Disk for Watched {
    fn location(&self) -> String {
        self.disk.location()
    }
    fn create_root(&self) -> io::Result<()> {
        self.disk.create_root()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, access)?;
        let (name, seen) = (name.to_owned(), self.seen.clone());
        Ok(Arc::new(WatchedFile { file, name, running: AtomicU64::new(0), seen }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.lock(name)
    }
}

impl DiskFile for WatchedFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn allocate(&self, size: u64) -> io::Result<()> {
        self.file.allocate(size)
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_size(size)
    }
    fn sync(&self) -> io::Result<()> {
        self.seen.syncs.fetch_add(1, Ordering::SeqCst);
        if self.running.fetch_add(1, Ordering::SeqCst) > 0 {
            *self.seen.overlaps.lock().unwrap().entry(self.name.clone()).or_default() += 1;
        }
        let live = u64::from(self.name == "live");
        self.seen.live.fetch_add(live, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1 + 50 * live));
        let synced = self.file.sync();
        self.seen.live.fetch_sub(live, Ordering::SeqCst);
        self.running.fetch_sub(1, Ordering::SeqCst);
        synced
    }
    fn map(&self, length: u64) -> io::Result<Mapped> {
        self.file.map(length)
    }
}

/// Everything that syncs, at the same time: commits, rolls, prepared space, the idle live file,
/// intervals, saved values, sidecars.
fn busy(durability: Durability) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let disk = Watched { disk: MemDisk::new(), seen: seen.clone() };
    let how = Store::options().segment_bytes(16 << 10).durability(durability);
    let store = how.open_on(Arc::new(disk)).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..3_u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..30 {
                    let new = event(1000 * writer + round, 1500);
                    let answer = store.append(format!("W-{writer}"), Expect::Any, [new]).unwrap();
                    if round % 10 == 9 {
                        // Long enough for the store to think itself idle.
                        std::thread::sleep(Duration::from_millis(52 + writer));
                        let saved = store.save_checkpoint(&format!("w{writer}"), answer.last);
                        // In the weaker modes the event may not be durable yet.
                        assert!(saved.is_ok() || durability != Durability::Sync, "{saved:?}");
                    }
                }
            });
        }
    });
    store.close().unwrap();
    seen
}

#[test]
fn no_two_syncs_of_one_open_file_overlap() {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_millis(1))] {
        let seen = busy(durability);
        let syncs = seen.syncs.load(Ordering::SeqCst);
        assert!(syncs > 100, "{durability:?}: only {syncs} syncs");
        let overlaps = seen.overlaps.lock().unwrap();
        assert!(overlaps.is_empty(), "{durability:?}: of {syncs} syncs overlap: {overlaps:?}");
    }
}

/// Found here: the store syncs its live file when it is idle, and a roll that came right into that
/// synced the same open file. One of the two would not have learnt of a failure.
#[test]
fn a_roll_beside_the_idle_sync_uses_an_open_file_of_its_own() {
    let seen = Arc::new(Seen::default());
    let disk = Watched { disk: MemDisk::new(), seen: seen.clone() };
    let store = Store::options().segment_bytes(16 << 10).open_on(Arc::new(disk)).unwrap();
    store.append("A-1", Expect::Any, [event(0, 9000)]).unwrap();
    let mut waited = 0;
    while seen.live.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
        waited += 1;
        assert!(waited < 5000, "the live file is never synced");
    }
    store.append("A-1", Expect::Any, [event(1, 9000)]).unwrap();
    store.close().unwrap();
    let overlaps = seen.overlaps.lock().unwrap();
    assert!(overlaps.is_empty(), "{overlaps:?}");
}

/// Whichever write the system fails to write out, the caller is told before the batch counts, or
/// the batch is in what a power cut leaves.
#[test]
fn a_failure_that_is_told_late_and_once_costs_nothing_acknowledged() {
    let mut told = 0;
    for nth in 0..60 {
        let disk = SimDisk::new(nth);
        let store = open(&disk).unwrap();
        disk.inject(Fault::once(FaultCall::Write, nth, FaultKind::FailedWriteback));
        let (mut stored, mut saved) = (0, None);
        for number in 0..12 {
            match store.append("A-1", Expect::Any, [event(number, 2500)]) {
                Ok(_) => stored += 1,
                Err(error) => {
                    told += 1;
                    let kinds = [ErrorKind::InDoubt, ErrorKind::Poisoned];
                    assert!(kinds.contains(&error.kind()), "write {nth}: {error:?}");
                }
            }
            if number % 3 == 2 && store.save_checkpoint("reader", Position::new(stored)).is_ok() {
                saved = Some(Position::new(stored));
            }
        }
        for seed in 0..10 {
            let left = open(&disk.after_power_cut(seed)).unwrap();
            let found = answers(&left).unwrap().all.len() as u64;
            assert!(found >= stored, "write {nth}, cut {seed}: {found} of {stored}");
            let known = left.checkpoint("reader").unwrap();
            assert!(known >= saved, "write {nth}, cut {seed}: {known:?} of {saved:?}");
        }
    }
    assert!(told > 20, "{told}");
}
