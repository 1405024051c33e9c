//! Calls to the disk that fail: who waits is told what became of it, nobody hangs, reads go on, and
//! reopening recovers everything acknowledged.

use std::sync::Arc;

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{Durability, ErrorKind, Expect, Position, Store};

use crate::crash::{append_more, check, run};
use crate::explore::program::{Ending, Record, script};
use crate::rig::{CHANGING_CALLS, answers, event, open, options};

const EIO: i32 = 5;
const FULL: i32 = 28;
const QUOTA: i32 = 122;

const KINDS: [FaultKind; 6] = [
    FaultKind::Os(EIO),
    FaultKind::Os(FULL),
    FaultKind::Os(QUOTA),
    FaultKind::ShortWrite(EIO),
    FaultKind::ShortWrite(FULL),
    FaultKind::FailedSyncDropsPages,
];

/// Runs the script with a fault; checks the store as it stands, then what a crash of every kind
/// leaves. False when the fault never came.
fn survives(fault: Fault) -> bool {
    let what = format!("{fault:?}");
    let disk = SimDisk::new(7);
    disk.inject(fault);
    let mut record = Record::default();
    let store = run(&disk, &options(), &script(), &mut record);
    let Some(kind) = record.ended else { return false };
    if let Some(store) = &store {
        check_told(store, kind, &fault, &mut record, &what);
    }
    for seed in 0..3 {
        let left = disk.after_power_cut(seed);
        left.clear_faults();
        reopened(&left, &record, &format!("{what}, cut {seed}"));
    }
    // A directory that has lost names and does not say so again is beyond any program's help
    // while the cache still shows them.
    let hidden = fault.kind == FaultKind::FailedSyncDropsPages && fault.call == FaultCall::SyncDir;
    if hidden {
        return true;
    }
    let killed = disk.after_kill();
    reopened(&killed, &record, &format!("{what}, killed"));
    for seed in 0..3 {
        reopened(&killed.after_power_cut(seed), &record, &format!("{what}, killed, cut {seed}"));
    }
    // Letting go of a store closes it, if it is still sound.
    drop(store);
    record.ending = Ending::Unknown;
    disk.clear_faults();
    reopened(&disk, &record, &format!("{what}, dropped"));
    for seed in 0..3 {
        reopened(&disk.after_power_cut(seed), &record, &format!("{what}, dropped, cut {seed}"));
    }
    true
}

fn reopened(disk: &SimDisk, record: &Record, what: &str) {
    let disk = disk.copy();
    let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let mut record = record.clone();
    check(&store, &disk, &mut record, what);
    // What the reader was answered after the reopening is durable from then on.
    for seed in 0..2 {
        let left = disk.after_power_cut(seed);
        let store = open(&left).unwrap_or_else(|error| panic!("{what}, again: {error:?}"));
        check(&store, &left, &mut record.clone(), &format!("{what}, reopened, cut {seed}"));
    }
}

/// The store that met the fault: reads go on, and writing is either refused for good or goes on.
fn check_told(store: &Store, kind: ErrorKind, fault: &Fault, record: &mut Record, what: &str) {
    let full = matches!(fault.kind, FaultKind::Os(FULL | QUOTA) | FaultKind::ShortWrite(FULL));
    match kind {
        ErrorKind::DiskFull => assert!(full, "{what}"),
        ErrorKind::InDoubt | ErrorKind::Poisoned | ErrorKind::Io => {}
        other => panic!("{what}: {other:?}"),
    }
    answers(store).unwrap_or_else(|error| panic!("{what}: reads go on: {error:?}"));
    match append_more(store, 9000, record) {
        Ok(()) => assert!(kind != ErrorKind::InDoubt || fault.call != FaultCall::Sync, "{what}"),
        // A checkpoint that cannot be synced cannot be trusted either, and is asked for first.
        Err(error) if error.kind() == ErrorKind::Io => assert!(fault.sticky, "{what}: {error:?}"),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::Poisoned | ErrorKind::DiskFull | ErrorKind::InDoubt),
            "{what}: {error:?}"
        ),
    }
}

fn every_fault_of(kind: FaultKind) {
    let mut faults = 0;
    for call in CHANGING_CALLS {
        for sticky in [false, true] {
            let mut nth = 0;
            while survives(Fault { call, nth, kind, sticky }) {
                nth += 1;
                assert!(nth < 1000, "{call:?} fails for ever");
            }
            faults += nth;
        }
    }
    assert!(faults > 100, "{kind:?}: {faults} faults");
}

#[test]
fn any_call_may_fail_with_an_error_of_the_device() {
    every_fault_of(KINDS[0]);
}

#[test]
fn any_call_may_fail_on_a_full_disk() {
    every_fault_of(KINDS[1]);
}

#[test]
fn any_call_may_fail_over_the_quota() {
    every_fault_of(KINDS[2]);
}

#[test]
fn any_call_may_fail_after_a_part_of_a_write() {
    every_fault_of(KINDS[3]);
}

#[test]
fn any_call_may_fail_after_a_part_of_a_write_on_a_full_disk() {
    every_fault_of(KINDS[4]);
}

#[test]
fn any_call_may_fail_and_drop_what_it_should_have_synced() {
    every_fault_of(KINDS[5]);
}

/// A run that was cut at `k`, as a kill or as a power cut leaves it.
fn crashed(k: u64) -> ([SimDisk; 2], Record) {
    let disk = SimDisk::new(7);
    disk.crash_at(k);
    let mut record = Record::default();
    drop(run(&disk, &options(), &script(), &mut record));
    ([disk.after_kill(), disk.after_power_cut(k)], record)
}

#[test]
fn any_call_may_fail_while_a_crashed_store_is_opened() {
    let mut failed = 0;
    for k in (0..150).step_by(17) {
        let (disks, record) = crashed(k);
        for (disk, kind) in disks.iter().flat_map(|disk| KINDS.map(|kind| (disk, kind))) {
            let mut opened = 0;
            for nth in 0.. {
                let what = format!("cut at {k}, {kind:?} at call {nth} of opening");
                let disk = disk.copy();
                disk.inject(Fault::once(FaultCall::Any, nth, kind));
                match open(&disk) {
                    Ok(store) => {
                        disk.clear_faults();
                        check(&store, &disk, &mut record.clone(), &what);
                        // A sidecar may fail to be written; beyond the last call nothing fails.
                        opened += 1;
                        if opened > 4 {
                            break;
                        }
                        continue;
                    }
                    Err(error) => {
                        let kinds = [ErrorKind::Io, ErrorKind::DiskFull];
                        assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
                    }
                }
                failed += 1;
                let left = disk.after_power_cut(nth);
                reopened(&left, &record, &format!("{what}, then cut"));
                if kind != FaultKind::FailedSyncDropsPages {
                    disk.clear_faults();
                    reopened(&disk, &record, &format!("{what}, then again"));
                }
            }
        }
    }
    assert!(failed > 200, "{failed} faults");
}

/// A disk with one event on it, and the store that is open there.
fn one_event() -> (SimDisk, Store) {
    let disk = SimDisk::new(3);
    let store = open(&disk).unwrap();
    store.append("A-1", Expect::Any, [event(1, 5)]).unwrap();
    (disk, store)
}

#[test]
fn a_refused_append_never_turns_up_and_the_next_one_goes_on_when_there_is_space() {
    for kind in [FaultKind::Os(FULL), FaultKind::Os(QUOTA), FaultKind::ShortWrite(FULL)] {
        let (disk, store) = one_event();
        disk.inject(Fault::from(FaultCall::Write, 0, kind));
        for number in 2..4 {
            let refused = store.append("A-1", Expect::Any, [event(number, 900)]);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::DiskFull);
        }
        assert_eq!(answers(&store).unwrap().all.len(), 1, "reads go on");
        for seed in 0..50 {
            let store = open(&disk.after_power_cut(seed)).unwrap();
            assert_eq!(answers(&store).unwrap().all.len(), 1, "{kind:?}, cut {seed}");
        }
        disk.clear_faults();
        let answer = store.append("A-1", Expect::Any, [event(4, 5)]).unwrap();
        assert_eq!(answer.first.get(), 2, "no position is leaked");
        for seed in 0..50 {
            let store = open(&disk.after_power_cut(seed)).unwrap();
            let all = answers(&store).unwrap().all;
            assert_eq!((all.len(), all[1].id()), (2, event(4, 5).event_id()), "cut {seed}");
        }
    }
}

#[test]
fn a_disk_that_fills_up_during_a_roll_refuses_and_goes_on_later() {
    for nth in 0..12 {
        let (disk, store) = one_event();
        store.append("A-1", Expect::Any, [event(2, 9000)]).unwrap();
        disk.inject(Fault::from(FaultCall::Write, nth, FaultKind::Os(FULL)));
        let Err(error) = store.append("A-1", Expect::Any, [event(3, 3000)]) else { continue };
        disk.clear_faults();
        let again = store.append("A-1", Expect::Any, [event(3, 3000)]);
        match error.kind() {
            ErrorKind::DiskFull => assert_eq!(again.unwrap().first.get(), 3, "write {nth}"),
            ErrorKind::Poisoned | ErrorKind::InDoubt => {
                assert_eq!(again.unwrap_err().kind(), ErrorKind::Poisoned, "write {nth}");
            }
            other => panic!("write {nth}: {other:?}"),
        }
        let stored = store.last_position().get() as usize;
        for seed in 0..20 {
            let store = open(&disk.after_power_cut(seed)).unwrap();
            assert!(answers(&store).unwrap().all.len() >= stored, "write {nth}, cut {seed}");
        }
    }
}

#[test]
fn a_failed_sync_is_final_and_its_batch_in_doubt_until_reopening() {
    for kind in [FaultKind::Os(EIO), FaultKind::Os(FULL), FaultKind::FailedSyncDropsPages] {
        let (disk, store) = one_event();
        disk.inject(Fault::once(FaultCall::Sync, 0, kind));
        let doubt = store.append("A-1", Expect::Any, [event(2, 5)]).unwrap_err();
        assert_eq!(doubt.kind(), ErrorKind::InDoubt, "{kind:?}");
        let later = store.append("A-1", Expect::Any, [event(3, 5)]).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Poisoned, "a later sync would lie");
        assert_eq!(answers(&store).unwrap().all.len(), 1, "only what is durable is visible");
        drop(store);
        for seed in 0..20 {
            let left = disk.after_power_cut(seed);
            let store = open(&left).unwrap();
            let answer = store.append("A-1", Expect::Any, [event(2, 5)]).unwrap();
            assert_eq!(answer.first.get(), 2, "{kind:?}, cut {seed}: exactly once");
        }
    }
}

#[test]
fn everybody_who_waits_is_answered_when_the_disk_fails() {
    for (call, kind) in [
        (FaultCall::Sync, FaultKind::Os(EIO)),
        (FaultCall::Write, FaultKind::Os(EIO)),
        (FaultCall::Write, FaultKind::Os(FULL)),
        (FaultCall::Any, FaultKind::Os(EIO)),
    ] {
        let disk = SimDisk::new(3);
        let store = Store::options().segment_bytes(16 << 10).open_on(Arc::new(disk.clone()));
        let store = store.unwrap();
        disk.inject(Fault::from(call, 20, kind));
        let submit = &|writer: u64| {
            let mut stored = 0;
            for number in 0..40 {
                let event = event(1000 * writer + number, 400);
                match store.append(format!("W-{writer}"), Expect::Any, [event]) {
                    Ok(_) => stored += 1,
                    Err(error) => assert!(error.kind() != ErrorKind::Conflict, "{error:?}"),
                }
            }
            stored
        };
        let stored: u64 = std::thread::scope(|scope| {
            let writers: Vec<_> =
                (1..5).map(|writer| scope.spawn(move || submit(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum()
        });
        drop(store);
        let store = open(&disk.after_power_cut(1)).unwrap();
        assert!(store.last_position().get() >= stored, "{call:?} {kind:?}: {stored} acknowledged");
    }
}

/// Found here: the group was durable and acknowledged, but poisoning over the live file took it out
/// of sight.
#[test]
fn an_acknowledged_event_is_readable_though_the_live_file_fails() {
    let (disk, store) = one_event();
    disk.inject(Fault::once(FaultCall::Write, 1, FaultKind::Os(EIO)));
    store.append("A-1", Expect::Any, [event(2, 5)]).unwrap();
    assert_eq!(answers(&store).unwrap().all.len(), 2);
    let later = store.append("A-1", Expect::Any, [event(3, 5)]).unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Poisoned);
}

/// Found here: recovery built a segment on an opening frame that only the page cache had, and after
/// a power cut the log stood on nothing.
#[test]
fn an_opening_frame_that_was_never_synced_is_not_built_upon() {
    for nth in 0..8 {
        let (disk, store) = one_event();
        store.append("A-1", Expect::Any, [event(2, 9000)]).unwrap();
        disk.inject(Fault::once(FaultCall::Sync, nth, FaultKind::FailedSyncDropsPages));
        let failed = store.append("A-1", Expect::Any, [event(3, 3000)]);
        let killed = disk.after_kill();
        drop(store);
        let next = open(&killed).unwrap();
        let known = answers(&next).unwrap();
        for seed in 0..10 {
            let left = open(&killed.after_power_cut(seed)).unwrap();
            assert_eq!(answers(&left).unwrap(), known, "sync {nth} ({failed:?}), cut {seed}");
        }
    }
}

/// Found here: after a failed sync of the directory a checkpoint's file was used as if it had its
/// name, and a power cut took the file with what was acknowledged in it.
#[test]
fn a_checkpoint_file_without_a_durable_name_takes_no_checkpoint() {
    let (disk, store) = one_event();
    disk.inject(Fault::once(FaultCall::SyncDir, 0, FaultKind::FailedSyncDropsPages));
    let first = store.save_checkpoint("reader", Position::new(1)).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::InDoubt);
    let second = store.save_checkpoint("reader", Position::new(1)).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Poisoned);
}

/// Found by reading: a replay that asked for more durability than the first append got was answered
/// before the sync it waited for, when another batch of its group failed.
#[test]
fn a_replay_that_asks_for_a_sync_is_not_answered_without_one() {
    for (call, nth) in [(FaultCall::Create, 0), (FaultCall::Write, 0), (FaultCall::Sync, 0)] {
        let disk = SimDisk::new(3);
        let disk_of = Arc::new(disk.clone());
        let weak = options().durability(Durability::Os);
        let store = weak.open_on(disk_of).unwrap();
        store.append("A-1", Expect::Any, [event(0, 9000)]).unwrap();
        store.append("A-1", Expect::Any, [event(1, 20)]).unwrap();
        disk.inject(Fault::once(call, nth, FaultKind::Os(FULL)));
        let again = store.batch().append("A-1", Expect::Any, [event(1, 20)]);
        let replay = again.durability(Durability::Sync).submit().unwrap();
        // The large one needs a roll, the small one a write of the same group.
        let size = if call == FaultCall::Create { 5000 } else { 5 };
        let other = store.batch().append("A-1", Expect::Any, [event(2, size)]).submit().unwrap();
        let replayed = replay.wait();
        assert!(other.wait().is_err(), "{call:?}: the fault came");
        for seed in 0..30 {
            let left = open(&disk.after_power_cut(seed)).unwrap();
            let found = left.last_position().get();
            assert!(replayed.is_err() || found >= 2, "{call:?}, cut {seed}: {replayed:?}");
        }
    }
}
