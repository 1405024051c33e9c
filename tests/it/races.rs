//! Races and slips that a reader of the code found: each test tells its story.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factlog::disk::{
    Access, Disk, DiskFile, DiskLock, Fault, FaultCall, FaultKind, Mapped, MemDisk, SimDisk,
};
use factlog::{
    Delivery, Durability, ErrorKind, Expect, NewEvent, Position, Source, Start, Store, Uuid,
};

/// Hears of every call before (of reads: after) it is made, and may refuse it.
type Hook = Arc<dyn Fn(&str, &str, u64, usize) -> io::Result<()> + Send + Sync>;
#[derive(Clone)]
struct W {
    inner: Arc<dyn Disk>,
    hook: Hook,
}
impl std::fmt::Debug for W {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("W")
    }
}
struct F {
    name: String,
    inner: Arc<dyn DiskFile>,
    hook: Hook,
}
impl std::fmt::Debug for F {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("F")
    }
}
impl Disk for W {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn create_root(&self) -> io::Result<()> {
        self.inner.create_root()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        let r = self.inner.list();
        (self.hook)("list", "", 0, 0)?;
        r
    }
    fn open(&self, name: &str, a: Access) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(name, a)?;
        Ok(Arc::new(F { name: name.into(), inner, hook: self.hook.clone() }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.hook)("rename", to, 0, 0)?;
        self.inner.rename(from, to)
    }
    fn remove(&self, n: &str) -> io::Result<()> {
        self.inner.remove(n)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
    fn lock(&self, n: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.inner.lock(n)
    }
}
impl DiskFile for F {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }
    fn read_at(&self, b: &mut [u8], o: u64) -> io::Result<usize> {
        let r = self.inner.read_at(b, o);
        (self.hook)("read", &self.name, o, b.len())?;
        r
    }
    fn write_at(&self, b: &[u8], o: u64) -> io::Result<()> {
        (self.hook)("write", &self.name, o, b.len())?;
        self.inner.write_at(b, o)
    }
    fn allocate(&self, s: u64) -> io::Result<()> {
        self.inner.allocate(s)
    }
    fn set_size(&self, s: u64) -> io::Result<()> {
        self.inner.set_size(s)
    }
    fn sync(&self) -> io::Result<()> {
        (self.hook)("sync", &self.name, 0, 0)?;
        self.inner.sync()
    }
    fn map(&self, l: u64) -> io::Result<Mapped> {
        self.inner.map(l)
    }
}

fn ev(n: usize) -> NewEvent {
    NewEvent::binary("T", vec![7; n])
}

/// In one group, a batch of a weaker store and its retry that asked for `Sync`: the retry was
/// answered without any sync, and a power cut took the event.
#[test]
fn a_replay_of_a_staged_batch_waits_for_the_sync_it_asked_for() {
    let disk = SimDisk::new(1);
    let store = Store::options()
        .durability(Durability::Os)
        .background_threads(false)
        .open_on(Arc::new(disk.clone()))
        .unwrap();
    let id = Uuid::from_u128(77);
    let _first = store.batch().append("A-1", Expect::Any, [ev(5).id(id)]).submit().unwrap();
    let b = store
        .batch()
        .append("A-1", Expect::Any, [ev(5).id(id)])
        .durability(Durability::Sync)
        .submit()
        .unwrap();
    let answer = b.wait().unwrap();
    assert!(answer.already);
    let mut lost = 0;
    for seed in 0..20 {
        let s = Store::options()
            .background_threads(false)
            .open_on(Arc::new(disk.after_power_cut(seed)))
            .unwrap();
        if s.event(id).unwrap().is_none() {
            lost += 1;
        }
    }
    assert_eq!(lost, 0, "lost after an answer asked to be Sync");
}

/// The walk read zeros where a frame was written a moment later; the later frames then proved the
/// zeros to be damage, and the follower stood still for ever.
#[test]
fn a_follower_opened_beside_a_busy_writer_sees_no_damage() {
    let mem = MemDisk::new();
    let writer = Store::options()
        .segment_bytes(300 << 10)
        .background_threads(false)
        .open_on(Arc::new(mem.clone()))
        .unwrap();
    while writer.stats().segments < 2 {
        writer.append("A-1", Expect::Any, [ev(850)]).unwrap();
    }
    for _ in 0..225 {
        writer.append("A-1", Expect::Any, [ev(850)]).unwrap();
    }
    let w2 = writer.clone();
    let once = Arc::new(AtomicBool::new(false));
    let hook: Hook = Arc::new(move |what, name, _o, len| {
        if what == "read"
            && name.ends_with(".seg")
            && len > 100_000
            && !once.swap(true, Ordering::SeqCst)
        {
            for _ in 0..4 {
                w2.append("A-1", Expect::Any, [ev(850)]).unwrap();
            }
        }
        Ok(())
    });
    let reader = Store::options()
        .open_read_only_on(Arc::new(W { inner: Arc::new(mem.clone()), hook }))
        .unwrap();
    writer.append("A-1", Expect::Any, [ev(850)]).unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while reader.last_position() < writer.last_position() {
        assert!(std::time::Instant::now() < patience, "the follower stands still");
        std::thread::yield_now();
    }
    assert!(reader.open_report().damage.is_empty());
    assert_eq!(reader.last_position(), writer.last_position());
}

/// Events collected for the handler were dropped when a damaged one came, though the position had
/// passed them.
#[test]
fn run_hands_over_what_it_collected_before_damage() {
    let disk = SimDisk::new(1);
    let store = Store::options().background_threads(false).open_on(Arc::new(disk.clone())).unwrap();
    for _ in 0..10 {
        store.append("A-1", Expect::Any, [ev(1000)]).unwrap();
    }
    let at = 4096 + 144; // somewhere in event 6
    disk.flip_bit("00000000000000000001.seg", at + 1200 * 5 + 600, 1);
    let mut sub = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let _ended = sub.run(100, |events| {
            seen.extend(events.iter().map(|e| e.position().get()));
            if seen.last() == Some(&10) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    }
    assert!(seen.starts_with(&[1, 2, 3]), "{seen:?}");
}

/// After an error of the operating system the subscription went on behind the event it could not
/// read.
#[test]
fn a_transient_read_error_skips_no_event() {
    let mem = MemDisk::new();
    let fail = Arc::new(AtomicBool::new(false));
    let f2 = fail.clone();
    let hook: Hook = Arc::new(move |what, name, _, _| {
        if what == "read" && name.ends_with(".seg") && f2.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    });
    let store = Store::options()
        .background_threads(false)
        .open_on(Arc::new(W { inner: Arc::new(mem), hook }))
        .unwrap();
    for _ in 0..3 {
        store.append("A-1", Expect::Any, [ev(300_000)]).unwrap();
    }
    let mut sub = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    fail.store(true, Ordering::SeqCst);
    let e = sub.next().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Io);
    let Delivery::Event(first) = sub.next().unwrap() else { panic!() };
    assert_eq!(first.position().get(), 1, "event 1 was skipped by a transient read error");
}

/// The lock was given back before the keeper had ended, which then put an empty segment over the
/// one that the next writer was filling.
#[test]
fn no_thread_of_a_closed_store_writes_beside_the_next_writer() {
    let mem = MemDisk::new();
    let gate = Arc::new(AtomicBool::new(true));
    let reached = Arc::new(AtomicBool::new(false));
    let (g, r) = (gate.clone(), reached.clone());
    let hook: Hook = Arc::new(move |what, name, _, _| {
        if what == "rename" && name.ends_with(".idx") {
            r.store(true, Ordering::SeqCst);
            while g.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    });
    let opts = || Store::options().segment_bytes(64 << 10);
    let a = opts().open_on(Arc::new(W { inner: Arc::new(mem.clone()), hook })).unwrap();
    // segment 1 full, rolled; then over half of segment 2
    while !reached.load(Ordering::SeqCst) {
        a.append("A-1", Expect::Any, [ev(3000)]).unwrap();
    }
    let n = a.stats().segments;
    while a.stats().segments == n {
        a.append("A-1", Expect::Any, [ev(3000)]).unwrap();
    }
    for _ in 0..12 {
        a.append("A-1", Expect::Any, [ev(3000)]).unwrap();
    }
    let acked = a.last_position();
    let closing = a.clone();
    let closer = std::thread::spawn(move || a.close().unwrap());
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while closing.head("A-1").is_ok() {
        assert!(std::time::Instant::now() < patience, "it does not close");
        std::thread::yield_now();
    }
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(1));
        // Its thread still works, so nobody else may have the directory.
        let error = opts().open_on(Arc::new(mem.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
    }
    gate.store(false, Ordering::SeqCst);
    closer.join().unwrap();
    let b = opts().open_on(Arc::new(mem.clone())).unwrap();
    assert_eq!(b.last_position(), acked);
}

/// A poisoning between a sync and its publication took the synced event back, and subscribers spun.
#[test]
fn what_was_synced_stays_visible_when_the_store_is_poisoned_meanwhile() {
    let mem = MemDisk::new();
    let slot: Arc<Mutex<Option<Store>>> = Arc::default();
    let s2 = slot.clone();
    let hook: Hook = Arc::new(move |what, name, _, _| {
        if what == "sync" && name == "checkpoints" {
            return Err(io::Error::from_raw_os_error(5));
        }
        if what == "write" && name == "live" {
            let store = s2.lock().unwrap().take();
            if let Some(store) = store {
                std::thread::spawn(move || {
                    let _ = store.save_checkpoint("x", Position::new(1));
                })
                .join()
                .unwrap();
            }
        }
        Ok(())
    });
    let store = Store::options()
        .background_threads(false)
        .open_on(Arc::new(W { inner: Arc::new(mem), hook }))
        .unwrap();
    store.append("A-1", Expect::Any, [ev(1)]).unwrap();
    let mut sub = store.subscribe(Source::All).start(Start::End).unwrap();
    let _ = sub.try_next();
    *slot.lock().unwrap() = Some(store.clone());
    let answer = store.append("A-1", Expect::Any, [ev(2)]);
    let t = std::thread::spawn(move || {
        let cpu = std::time::Instant::now();
        let r = sub.next_timeout(Duration::from_millis(100));
        println!("sub {r:?} {:?}", cpu.elapsed());
    });
    t.join().unwrap();
    if answer.is_ok() {
        assert_eq!(
            store.read_all().into_iter().count(),
            2,
            "acknowledged and synced, yet not visible"
        );
    }
}

/// Answered events of a weaker store may not be durable after a failed sync; closing said Ok.
#[test]
fn closing_a_poisoned_store_says_so() {
    let disk = SimDisk::new(1);
    let store = Store::options()
        .durability(Durability::Os)
        .background_threads(false)
        .open_on(Arc::new(disk.clone()))
        .unwrap();
    store.append("A-1", Expect::Any, [ev(1)]).unwrap();
    disk.inject(Fault::from(FaultCall::Sync, 0, FaultKind::Os(5)));
    store
        .batch()
        .append("A-1", Expect::Any, [ev(1)])
        .durability(Durability::Sync)
        .commit()
        .unwrap_err();
    let closed = store.close();
    assert!(closed.is_err(), "acknowledged events are not durable, and close says Ok");
}

/// The carried checkpoint kept a frame number above those that recovery gave out anew, and
/// overruled a later reset.
#[test]
fn a_reset_checkpoint_holds_after_a_rescue_dropped_fillers() {
    let disk = SimDisk::new(1);
    let opts =
        || Store::options().durability(Durability::Os).align_commit(true).background_threads(false);
    let store = opts().open_on(Arc::new(disk.clone())).unwrap();
    store.append("A-1", Expect::Any, [ev(1)]).unwrap();
    for n in 1..10 {
        store
            .batch()
            .append("A-1", Expect::Any, [ev(1)])
            .checkpoint("w", Position::new(n))
            .commit()
            .unwrap();
    }
    let again = opts().open_on(Arc::new(disk.after_kill())).unwrap();
    again.reset_checkpoint("w", Position::new(1)).unwrap();
    assert_eq!(again.checkpoint("w").unwrap(), Some(Position::new(1)));
}

/// Names were listed before the head was read, so a segment made in between counted as missing.
#[test]
fn a_follower_opened_beside_a_roll_sees_no_damage() {
    let mem = MemDisk::new();
    let writer = Store::options()
        .segment_bytes(32 << 10)
        .background_threads(false)
        .open_on(Arc::new(mem.clone()))
        .unwrap();
    writer.append("A-1", Expect::Any, [ev(3000)]).unwrap();
    let w2 = writer.clone();
    let once = Arc::new(AtomicBool::new(false));
    let hook: Hook = Arc::new(move |what, _, _, _| {
        if what == "list" && !once.swap(true, Ordering::SeqCst) {
            for _ in 0..10 {
                w2.append("A-1", Expect::Any, [ev(3000)]).unwrap();
            }
        }
        Ok(())
    });
    let reader = Store::options()
        .open_read_only_on(Arc::new(W { inner: Arc::new(mem.clone()), hook }))
        .unwrap();
    for event in reader.read_all() {
        event.unwrap();
    }
    assert!(reader.open_report().damage.is_empty());
}

struct Dropper(Mutex<Option<Store>>, Arc<AtomicBool>);
impl std::task::Wake for Dropper {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
        self.1.store(true, Ordering::SeqCst);
    }
}

/// Wakers ran under the locks of the commit, so that one which closed the store waited for itself.
#[test]
fn a_waker_may_drop_the_last_handle() {
    let mem = MemDisk::new();
    let hook: Hook = Arc::new(move |what, name, _, _| {
        if what == "write" && name.ends_with(".seg") {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    let store = Store::options().open_on(Arc::new(W { inner: Arc::new(mem), hook })).unwrap();
    let mut t = Box::pin(store.batch().append("A-1", Expect::Any, [ev(1)]).submit().unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let waker = std::task::Waker::from(Arc::new(Dropper(Mutex::new(Some(store)), done.clone())));
    let mut context = std::task::Context::from_waker(&waker);
    let _pending = std::future::Future::poll(t.as_mut(), &mut context);
    drop(waker);
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while !done.load(Ordering::SeqCst) {
        assert!(std::time::Instant::now() < patience, "deadlock");
        std::thread::yield_now();
    }
}

/// A panic while space was prepared left the writer waiting for ever.
#[test]
fn a_panic_in_the_background_hangs_nobody() {
    let mem = MemDisk::new();
    let hook: Hook = Arc::new(move |what, name, _, _| {
        if what == "write"
            && name.ends_with(".seg")
            && std::thread::current().name() == Some("factlog-keeper")
        {
            panic!("disk")
        }
        Ok(())
    });
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let store = Store::options().open_on(Arc::new(W { inner: Arc::new(mem), hook })).unwrap();
        for n in 0..2000 {
            let r = store.append("A-1", Expect::Any, [ev(3000)]);
            tx.send((n, r.is_ok())).unwrap();
        }
    });
    let mut last = None;
    while let Ok(x) = rx.recv_timeout(Duration::from_secs(20)) {
        last = Some(x);
    }
    assert_eq!(last.map(|(n, _)| n), Some(1999), "an appender hangs");
}

/// A look-up by id or version in a store opened around damage answered that there is no such event.
#[test]
fn what_damage_swallowed_is_not_answered_as_never_stored() {
    let disk = SimDisk::new(1);
    let options = || Store::options().background_threads(false);
    let store = options().open_on(Arc::new(disk.clone())).unwrap();
    for number in 1..=10 {
        let event = ev(1000).id(Uuid::from_u128(number));
        store.append("A-1", Expect::Any, [event]).unwrap();
    }
    store.close().unwrap();
    disk.flip_bit("00000000000000000001.seg", 4096 + 144 + 1200 * 5 + 600, 1);
    let reader = options().open_read_only_on(Arc::new(disk)).unwrap();
    let lost = |number| match reader.event(Uuid::from_u128(number)) {
        Ok(found) => found.is_none(),
        Err(error) => error.kind() == ErrorKind::Damaged,
    };
    assert_eq!((1..=10).filter(|number| lost(*number)).count(), 1, "one event was hit");
    let stranger = reader.event(Uuid::from_u128(99)).unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Damaged, "it may have been the one that is lost");
}

/// Prepared space is synced through a file of its own, by another thread: an error that only that
/// one is told must end writing all the same.
#[test]
fn a_failed_sync_in_the_background_is_final() {
    let hook: Hook = Arc::new(move |what, name, _, _| {
        let keeper = std::thread::current().name() == Some("factlog-keeper");
        if what == "sync" && name.ends_with(".seg") && keeper {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    });
    let disk = Arc::new(W { inner: Arc::new(MemDisk::new()), hook });
    let store = Store::options().open_on(disk).unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    let error = loop {
        match store.append("A-1", Expect::Any, [ev(30_000)]) {
            Ok(_) => assert!(std::time::Instant::now() < patience, "nobody noticed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Poisoned);
}
