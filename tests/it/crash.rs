//! Power cuts and kills, run by run: the script that is really cut at every operation, where
//! `explore.rs` rewinds, and what was found before `explore.rs` was there.

use std::sync::Arc;

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{Expect, Options, Position, Store};

use crate::explore::contract;
use crate::explore::program::{self, Ending, Op, Record, script};
use crate::rig::{answers, event, open, options};

/// One more append.
pub fn append_more(store: &Store, number: u64, record: &mut Record) -> factlog::Result<()> {
    let late = Op::Append(vec![("Late".into(), number, 5)], None);
    program::step(store, &late, record, &mut |_| {})
}

/// Runs steps until one fails. Answers the store, if it is still open.
pub fn run(disk: &SimDisk, how: &Options, ops: &[Op], record: &mut Record) -> Option<Store> {
    let run = program::run(disk, how, ops, record);
    assert!(record.wrong.is_none(), "{:?}", record.wrong);
    run.store
}

/// The contract, for a store that was opened after a crash. Sends again what is in doubt; from then
/// on all of the record is stored.
pub fn check(store: &Store, disk: &SimDisk, record: &mut Record, what: &str) {
    let outcome = contract::look(store, disk, record, true).and_then(|(found, whole)| {
        assert_eq!(answers(store).unwrap().all, found.events, "{what}");
        record.exactly = None;
        record.ending = Ending::Unknown;
        contract::c10_sent_again_is_stored_once(store, record, whole)?;
        contract::settle(store, record)
    });
    outcome.unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
}

fn survive(disk: &SimDisk, record: &Record, what: &str) {
    let store = open(disk).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    check(&store, disk, &mut record.clone(), what);
}

/// Cuts the power at operation `k` of the script and looks at some of what may be left.
fn cut_at(k: u64, seeds: u64) -> bool {
    let disk = SimDisk::new(1);
    disk.crash_at(k);
    let mut record = Record::default();
    let store = run(&disk, &options(), &script(), &mut record);
    record.ending = Ending::Unknown;
    for cut in 0..seeds {
        survive(&disk.after_power_cut(cut), &record, &format!("cut at {k} with {cut}"));
    }
    survive(&disk.after_kill(), &record, &format!("killed at {k}"));
    survive(&disk.after_kill().after_power_cut(k), &record, &format!("killed at {k}, then cut"));
    drop(store);
    disk.crashed()
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let mut k = 0;
    while cut_at(k, 6) {
        k += 1;
    }
    assert!(k > 100, "the script has {k} operations");
}

/// Found by the campaign: a kill between the write and the sync of a checkpoint left it in the page
/// cache, the next process answered with it, and a power cut took it back.
#[test]
fn a_checkpoint_that_was_read_after_a_kill_survives_a_power_cut() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.append("A-1", Expect::Any, [event(1, 5), event(2, 5)]).unwrap();
    store.save_checkpoint("reader", Position::new(1)).unwrap();
    // Two operations a checkpoint: the sync of this one never happens.
    disk.crash_at(disk.operations() + 1);
    store.save_checkpoint("reader", Position::new(2)).unwrap_err();
    for seed in 0..20 {
        let next = disk.after_kill();
        let store = open(&next).unwrap();
        let read = store.checkpoint("reader").unwrap();
        let left = next.after_power_cut(seed);
        drop(store);
        assert_eq!(open(&left).unwrap().checkpoint("reader").unwrap(), read, "cut {seed}");
    }
}

/// Suspected by reading, and so it was: the sync of a saved entry fails and the system forgets the
/// pages, the process is killed before it cuts the entry off, the next one finds it in the cache;
/// its sync has nothing to write and says that all is well, and a power cut takes back what was
/// answered.
#[test]
fn a_checkpoint_whose_pages_were_dropped_is_not_answered_and_then_lost() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.append("A-1", Expect::Any, [event(1, 5), event(2, 5)]).unwrap();
    store.save_checkpoint("reader", Position::new(1)).unwrap();
    disk.inject(Fault::once(FaultCall::Sync, 0, FaultKind::FailedSyncDropsPages));
    disk.crash_at(disk.operations() + 2);
    store.save_checkpoint("reader", Position::new(2)).unwrap_err();
    for seed in 0..20 {
        let next = disk.after_kill();
        // Also when an opening that asked for nothing lies between, and a clean close.
        if seed % 2 == 1 {
            open(&next).unwrap().close().unwrap();
        }
        let store = open(&next).unwrap();
        let read = store.checkpoint("reader").unwrap();
        let left = next.after_power_cut(seed);
        drop(store);
        assert_eq!(open(&left).unwrap().checkpoint("reader").unwrap(), read, "cut {seed}");
    }
}

/// Found by the campaign: a filler stood behind the closed frame and behind the seal, where no
/// frame may stand, and the first commit of a segment shared its opening frame's block.
#[test]
fn aligned_commits_close_cleanly_and_roll() {
    let disk = SimDisk::new(1);
    let how = options().align_commit(true).segment_bytes(32 << 10);
    for round in 0..4 {
        let store = how.clone().open_on(Arc::new(disk.clone())).unwrap();
        assert!(round == 0 || store.open_report().clean, "{:?}", store.open_report());
        for number in 0..10 {
            store.append("A-1", Expect::Any, [event(10 * round + number, 50)]).unwrap();
        }
        assert!(store.verify().unwrap().damage.is_empty());
        store.close().unwrap();
    }
    let store = how.rebuild_index(true).open_on(Arc::new(disk.clone())).unwrap();
    assert_eq!(answers(&store).unwrap().all.len(), 40);
    assert!(store.stats().segments > 3);
}
