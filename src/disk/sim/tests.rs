//! Layer 2.4: what is special about the simulated disk.
//!
//! Knows: power cuts, kills and failures. Does not know: the contract all disks share.

use std::collections::BTreeSet;

use super::super::sim_fault::FaultKind;
use super::*;

const ALL: u64 = 500;

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_root().unwrap();
    disk
}

/// A durable empty file.
fn with_file(name: &str) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = disk();
    disk.write_file(name, Vec::new());
    let file = disk.open(name, Access::Write).unwrap();
    (disk, file)
}

/// What many power cuts leave of a file.
fn outcomes(disk: &SimDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..ALL).map(|seed| disk.after_power_cut(seed).read_file(name)).collect()
}

fn exact_outcomes(disk: &SimDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let states = 0..disk.crash_states().unwrap();
    states.map(|subset| disk.after_power_cut_exact(subset).read_file(name)).collect()
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn an_unsynced_write_may_vanish_or_stay() {
    let (disk, file) = with_file("a");
    file.write_at(b"hello", 0).unwrap();
    let outcomes = outcomes(&disk, "a");
    assert!(outcomes.contains(&some(b"")) && outcomes.contains(&some(b"hello")));
    assert_eq!(disk.read_file("a"), some(b"hello"));
}

#[test]
fn a_synced_write_stays() {
    let (disk, file) = with_file("a");
    file.write_at(b"hello", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([some(b"hello")]));
    assert_eq!(disk.crash_states(), Some(1));
}

#[test]
fn any_subset_of_sectors_may_survive() {
    let (disk, file) = with_file("a");
    file.allocate(1536).unwrap();
    file.sync().unwrap();
    file.write_at(&[1; 1536], 0).unwrap();
    assert_eq!(disk.crash_states(), Some(8));
    let first_bytes = |bytes: &Option<Vec<u8>>| {
        let bytes = bytes.clone().unwrap();
        [bytes[0], bytes[512], bytes[1024]]
    };
    let subsets: BTreeSet<_> = exact_outcomes(&disk, "a").iter().map(first_bytes).collect();
    assert_eq!(subsets.len(), 8);
    let seeded: BTreeSet<_> = outcomes(&disk, "a").iter().map(first_bytes).collect();
    assert!(seeded.is_superset(&subsets));
}

#[test]
fn an_unsynced_creation_may_vanish_even_with_synced_bytes() {
    let disk = disk();
    let file = disk.open("a", Access::Create).unwrap();
    file.write_at(b"hello", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None, some(b"hello")]));
    disk.sync_dir().unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([some(b"hello")]));
}

#[test]
fn a_rename_is_old_or_new_until_the_directory_is_synced() {
    let disk = disk();
    disk.write_file("head", b"old".to_vec());
    let file = disk.open("temporary", Access::Create).unwrap();
    file.write_at(b"new", 0).unwrap();
    file.sync().unwrap();
    disk.rename("temporary", "head").unwrap();
    assert_eq!(outcomes(&disk, "head"), BTreeSet::from([some(b"old"), some(b"new")]));
    disk.sync_dir().unwrap();
    assert_eq!(outcomes(&disk, "head"), BTreeSet::from([some(b"new")]));
}

#[test]
fn a_renamed_file_is_only_as_durable_as_its_own_sync() {
    let disk = disk();
    disk.open("temporary", Access::Create).unwrap().write_at(b"new", 0).unwrap();
    disk.rename("temporary", "head").unwrap();
    disk.sync_dir().unwrap();
    assert!(outcomes(&disk, "head").contains(&some(b"")));
}

#[test]
fn an_unsynced_removal_may_come_back() {
    let disk = disk();
    disk.write_file("a", b"hello".to_vec());
    disk.remove("a").unwrap();
    assert_eq!(exact_outcomes(&disk, "a"), BTreeSet::from([None, some(b"hello")]));
}

#[test]
fn a_failed_sync_drops_pages_and_lies_later() {
    let (disk, file) = with_file("a");
    file.write_at(b"first", 0).unwrap();
    disk.inject(Fault::once(FaultCall::Sync, 0, FaultKind::FailedSyncDropsPages));
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
    file.write_at(b"second", 5).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read_file("a"), some(b"firstsecond"));
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([some(b"\0\0\0\0\0second")]));
}

/// Why syncs that may overlap must not share an open file: whoever comes first is told, and the
/// other one answers that its bytes are durable.
#[test]
fn of_two_syncs_of_one_open_file_only_one_learns_of_a_failure() {
    let (disk, file) = with_file("a");
    let other = disk.open("a", Access::Write).unwrap();
    disk.inject(Fault::once(FaultCall::Write, 1, FaultKind::FailedWriteback));
    file.write_at(b"mine", 0).unwrap();
    file.write_at(b"also", 4).unwrap();
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
    file.sync().unwrap();
    assert_eq!(disk.read_file("a"), some(b"minealso"));
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([some(b"")]));
    // With an open file of its own each is told.
    assert_eq!(other.sync().unwrap_err().raw_os_error(), Some(5));
    other.sync().unwrap();
    disk.open("a", Access::Write).unwrap().sync().unwrap();
}

#[test]
fn a_failure_that_nobody_was_told_of_is_told_to_who_opens_the_file_next() {
    let (disk, file) = with_file("a");
    disk.inject(Fault::once(FaultCall::Write, 0, FaultKind::FailedWriteback));
    file.write_at(b"mine", 0).unwrap();
    let next = disk.after_kill().open("a", Access::Read).unwrap();
    assert!(next.sync().is_err() && next.sync().is_ok());
}

#[test]
fn a_failed_sync_of_the_directory_drops_names() {
    let disk = disk();
    disk.open("a", Access::Create).unwrap();
    disk.inject(Fault::once(FaultCall::SyncDir, 0, FaultKind::FailedSyncDropsPages));
    assert!(disk.sync_dir().is_err());
    disk.sync_dir().unwrap();
    assert_eq!(disk.file_names(), ["a"]);
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None]));
}

#[test]
fn the_power_goes_at_the_chosen_operation() {
    let run = |disk: &SimDisk| -> io::Result<()> {
        disk.create_root()?;
        let file = disk.open("a", Access::Create)?;
        file.write_at(b"hello", 0)?;
        file.sync()?;
        disk.sync_dir()
    };
    let whole = SimDisk::new(1);
    run(&whole).unwrap();
    assert_eq!(whole.operations(), 4);
    for operation in 0..4 {
        let disk = SimDisk::new(operation);
        disk.crash_at(operation);
        let error = run(&disk).unwrap_err();
        assert_eq!(error.to_string(), "simulated power cut");
        assert!(disk.crashed() && disk.list().is_err());
        assert_eq!(disk.operations(), operation);
        assert!(outcomes(&disk, "a").contains(&None));
        assert_eq!(disk.after_kill().list().unwrap().is_empty(), operation == 0);
    }
    whole.crash_at(4);
    assert!(!whole.crashed());
}

#[test]
fn a_write_may_be_torn_by_the_cut() {
    let lengths: BTreeSet<usize> = (0..100)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            disk.write_file("a", Vec::new());
            disk.crash_at(0);
            let file = disk.open("a", Access::Write).unwrap();
            assert!(file.write_at(b"hello", 0).is_err());
            disk.after_kill().read_file("a").unwrap().len()
        })
        .collect();
    assert_eq!(lengths, (0..=5).collect());
}

#[test]
fn a_kill_keeps_the_cache_and_a_later_power_cut_may_still_take_it() {
    let (disk, file) = with_file("a");
    let lock = disk.lock("LOCK").unwrap();
    file.write_at(b"hello", 0).unwrap();
    let next = disk.after_kill();
    assert!(lock.is_some() && disk.lock("LOCK").unwrap().is_none());
    assert!(next.lock("LOCK").unwrap().is_some());
    assert_eq!(next.read_file("a"), some(b"hello"));
    assert!(outcomes(&next, "a").contains(&some(b"")));
    next.open("a", Access::Read).unwrap().sync().unwrap();
    assert_eq!(outcomes(&next, "a"), BTreeSet::from([some(b"hello")]));
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let (disk, file) = with_file("a");
    file.write_at(&[1; 5000], 0).unwrap();
    for seed in 0..ALL {
        let one = disk.after_power_cut(seed);
        assert_eq!(one.read_file("a"), disk.after_power_cut(seed).read_file("a"));
    }
}

#[test]
fn a_full_disk_fails_until_it_is_cleared() {
    let (disk, file) = with_file("a");
    disk.inject(Fault::from(FaultCall::Write, 1, FaultKind::Os(28)));
    file.write_at(b"1", 0).unwrap();
    for _ in 0..2 {
        let error = file.write_at(b"2", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!(disk.read_file("a"), some(b"1"));
    disk.clear_faults();
    file.write_at(b"3", 0).unwrap();
}

#[test]
fn a_short_write_leaves_a_beginning() {
    let lengths: BTreeSet<usize> = (0..100)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            disk.write_file("a", Vec::new());
            disk.inject(Fault::once(FaultCall::Any, 1, FaultKind::ShortWrite(28)));
            let file = disk.open("a", Access::Write).unwrap();
            assert!(file.write_at(b"hello", 0).is_err());
            disk.read_file("a").unwrap().len()
        })
        .collect();
    assert_eq!(lengths, (0..=5).collect());
}

#[test]
fn surgery_is_durable_and_copies_are_independent() {
    let disk = disk();
    disk.write_file("a", vec![0; 600]);
    let copy = disk.copy();
    copy.flip_bit("a", 599, 7);
    copy.flip_bit("a", 600, 7);
    assert_eq!(copy.after_power_cut(1).read_file("a").unwrap()[599], 128);
    assert_eq!(disk.read_file("a").unwrap(), [0; 600]);
    copy.remove_file("a");
    assert_eq!(copy.after_power_cut(1).file_names(), Vec::<String>::new());
    assert_eq!(disk.file_names(), ["a"]);
}

#[test]
fn a_removed_file_that_was_never_durable_counts_for_nothing() {
    let disk = disk();
    let file = disk.open("a", Access::Create).unwrap();
    disk.remove("a").unwrap();
    disk.sync_dir().unwrap();
    file.write_at(&[1; 5000], 0).unwrap();
    assert_eq!(disk.crash_states(), Some(1));
}

#[test]
fn one_run_with_history_leaves_what_many_runs_cut_short_leave() {
    let run = |disk: &SimDisk| -> io::Result<()> {
        disk.create_root()?;
        let file = disk.open("a", Access::Create)?;
        file.write_at(b"hello", 0)?;
        file.sync()?;
        disk.rename("a", "b")?;
        file.set_size(2)?;
        disk.sync_dir()
    };
    let whole = SimDisk::new(1);
    whole.keep_history();
    run(&whole).unwrap();
    assert_eq!(whole.operations(), 6);
    for operation in 0..=6 {
        let cut = SimDisk::new(1);
        cut.crash_at(operation);
        let _ = run(&cut);
        let written = match whole.operation(operation) {
            Some((FaultCall::Write, 5)) => cut.read_file("a").unwrap().len() as u64,
            _ => 0,
        };
        let rewound = whole.rewind(operation, written).unwrap();
        assert_eq!(rewound.fingerprint(), cut.after_kill().fingerprint(), "at {operation}");
        assert_eq!(rewound.operations(), 0);
        for seed in 0..50 {
            let left = rewound.after_power_cut(seed).fingerprint();
            assert_eq!(left, cut.after_power_cut(seed).fingerprint(), "at {operation}, {seed}");
        }
    }
    assert!(whole.rewind(7, 0).is_none() && whole.operation(6).is_none());
}
