//! Backup, restore and fork on a disk whose power goes and whose calls fail: the store stays as it
//! was, and what was being made is no store, or a right one; the next run ends it.

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{ErrorKind, Expect, Position, RestoreTo, Store};

use crate::branches::{backup, fork, restore};
use crate::rig::{Answers, CHANGING_CALLS, answers, cases, event, open, read_only, sample};

const EIO: i32 = 5;
const FULL: i32 = 28;

/// What is made of the rig's sample, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Making {
    /// A first backup.
    Backup,
    /// A backup where there is one of an earlier position already.
    Again,
    /// The same, after a recovery has moved batches that it has.
    Moved,
    Restore,
    Fork,
}

const ALL: [Making; 4] = [Making::Backup, Making::Again, Making::Restore, Making::Fork];
/// Where a fork and a restore end: within a segment, and before the end of the log.
const AT: u64 = 12;

impl Making {
    fn run(self, store: &Store, disk: &SimDisk) -> factlog::Result<()> {
        let made = made(disk);
        match self {
            Self::Backup | Self::Again | Self::Moved => backup(store, &made).map(drop),
            Self::Restore => {
                let to = RestoreTo::Position(Position::new(AT));
                restore(&disk.directory("backup"), &made, to).map(drop)
            }
            Self::Fork => fork(store, AT, &made).map(drop),
        }
    }

    /// A disk on which it can be done, with the store open.
    fn begin(self) -> (SimDisk, Store) {
        let disk = SimDisk::new(7);
        let store = sample(&disk);
        match self {
            Self::Again => {
                let early = factlog::BackupOptions::default().through(Position::new(7));
                store.backup_on(std::sync::Arc::new(made(&disk)), early).unwrap();
                for number in 20..30 {
                    store.append("E-1", Expect::Any, [event(number, 3000)]).unwrap();
                }
            }
            Self::Moved => {
                store.append("E-1", Expect::Any, [event(20, 3000), event(21, 50)]).unwrap();
                store.append("E-1", Expect::Any, [event(22, 50)]).unwrap();
                backup(&store, &made(&disk)).unwrap();
                let disk = disk.after_power_cut_exact(0);
                let store = open(&disk).unwrap();
                assert!(store.open_report().frames_rescued > 0);
                store.append("E-1", Expect::Any, [event(23, 3000)]).unwrap();
                return (disk, store);
            }
            Self::Restore => {
                backup(&store, &disk.directory("backup")).unwrap();
            }
            Self::Backup | Self::Fork => {}
        }
        (disk, store)
    }

    /// What is there when it is done.
    fn wanted(self) -> (Answers, Answers) {
        let (disk, store) = self.begin();
        self.run(&store, &disk).unwrap();
        (answers(&store).unwrap(), answers(&self.open(&disk).unwrap()).unwrap())
    }

    fn is_backup(self) -> bool {
        matches!(self, Self::Backup | Self::Again | Self::Moved)
    }

    fn open(self, disk: &SimDisk) -> factlog::Result<Store> {
        match self.is_backup() {
            true => read_only(&made(disk)),
            false => open(&made(disk)),
        }
    }
}

fn made(disk: &SimDisk) -> SimDisk {
    disk.directory("made")
}

/// What is there is right, or there is no store; then the same is done again. Whether it was there.
fn judge(making: Making, left: &SimDisk, wanted: &(Answers, Answers), what: &str) -> bool {
    let there = match read_only(&made(left)) {
        Ok(copy) => {
            let found = answers(&copy).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            right(making, &found, &wanted.1, what)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error:?}");
            let earlier = matches!(making, Making::Again | Making::Moved);
            assert!(!earlier, "{what}: the earlier backup is gone");
            false
        }
    };
    let store = open(left).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(answers(&store).unwrap() == wanted.0, "{what}: the store is another");
    if !there || making.is_backup() {
        making.run(&store, left).unwrap_or_else(|error| panic!("{what}, again: {error:?}"));
    }
    let copy = making.open(left).unwrap_or_else(|error| panic!("{what}, opened: {error:?}"));
    assert!(answers(&copy).unwrap() == wanted.1, "{what}: after another run");
    if !making.is_backup() {
        copy.append("Own", Expect::NoStream, [event(99, 5)]).unwrap();
    }
    assert!(copy.verify().unwrap().damage.is_empty(), "{what}");
    there
}

/// Whether it is the whole; a backup may have less, if what it has is right.
fn right(making: Making, found: &Answers, wanted: &Answers, what: &str) -> bool {
    if found == wanted {
        return true;
    }
    let later = matches!(making, Making::Again | Making::Moved);
    assert!(later, "{what}: a store, and not the right one");
    assert!(wanted.all.starts_with(&found.all), "{what}: not a prefix");
    assert!(found.all.len() >= 7, "{what}: the earlier backup had more");
    let last = if making == Making::Moved { 19 } else { found.all.len() as u64 };
    let checkpoints = found.checkpoints.as_ref().unwrap();
    assert!(checkpoints.iter().all(|(_, at)| *at <= last), "{what}: {checkpoints:?}");
    false
}

/// The power goes at every operation of it, in some of the ways there are.
fn cut_everywhere(making: Making) {
    let wanted = making.wanted();
    let (disk, store) = making.begin();
    let first = disk.operations();
    disk.keep_history();
    making.run(&store, &disk).unwrap();
    let last = disk.operations();
    let mut whole = 0;
    for at in first..=last {
        let length = disk.operation(at).map_or(0, |(_, length)| length);
        for bytes in [0, length / 2].into_iter().take(if length > 1 { 2 } else { 1 }) {
            let left = disk.rewind(at, bytes).unwrap();
            let what = format!("{making:?}: killed at {at} of {last} after {bytes} bytes");
            whole += u64::from(judge(making, &left.copy(), &wanted, &what));
            for seed in 0..cases(2) {
                let what = format!("{what}, cut with {seed}");
                judge(making, &left.after_power_cut(seed), &wanted, &what);
            }
        }
    }
    assert!(last - first > 10 && whole > 0, "{making:?}: {first} to {last}, {whole}");
    for seed in 0..20 {
        let there = judge(making, &disk.after_power_cut(seed), &wanted, "what was done is durable");
        assert!(there, "{making:?}, cut with {seed} after the end");
    }
}

#[test]
fn a_power_cut_at_any_operation_of_a_backup_leaves_none_and_the_next_run_ends_it() {
    cut_everywhere(Making::Backup);
}

#[test]
fn a_power_cut_at_any_operation_of_a_later_backup_leaves_the_earlier_or_more() {
    cut_everywhere(Making::Again);
}

#[test]
fn a_power_cut_while_a_backup_follows_a_recovery_leaves_a_right_one() {
    cut_everywhere(Making::Moved);
}

#[test]
fn a_power_cut_at_any_operation_of_a_restore_leaves_no_store_or_a_whole_one() {
    cut_everywhere(Making::Restore);
}

#[test]
fn a_power_cut_at_any_operation_of_a_fork_leaves_no_store_or_a_whole_one() {
    cut_everywhere(Making::Fork);
}

/// One call fails, or it and all after it. False when it never came.
fn survives(making: Making, fault: Fault, wanted: &(Answers, Answers)) -> bool {
    let what = format!("{making:?}: {fault:?}");
    let (disk, store) = making.begin();
    disk.inject(fault);
    let outcome = making.run(&store, &disk);
    let came = match fault.sticky {
        true => outcome.is_err(),
        false => disk.faults() == 0,
    };
    if !came {
        return false;
    }
    if let Err(error) = &outcome {
        let told = [ErrorKind::Io, ErrorKind::DiskFull, ErrorKind::InDoubt];
        assert!(told.contains(&error.kind()), "{what}: {error:?}");
    }
    disk.clear_faults();
    assert!(answers(&store).unwrap() == wanted.0, "{what}: the store is another");
    store.append("After", Expect::NoStream, [event(98, 5)]).unwrap();
    drop(store);
    let mut wanted = wanted.clone();
    wanted.0 = answers(&open(&disk.copy()).unwrap()).unwrap();
    if making.is_backup() {
        // The next run takes the last event along as well.
        wanted.1 = wanted.0.clone();
    }
    // Names that the system has lost without saying so again are beyond any program's help while
    // the cache still shows them.
    let hidden = fault.kind == FaultKind::FailedSyncDropsPages;
    let cuts = (0..cases(1)).map(|seed| disk.after_power_cut(seed));
    let kills = (!hidden).then(|| disk.after_kill());
    for left in cuts.chain(kills) {
        let there = judge_later(making, &left, &wanted, &what);
        assert!(there || outcome.is_err(), "{what}: it said that it was done");
    }
    true
}

/// As [`judge`], where the store has gone on meanwhile.
fn judge_later(making: Making, left: &SimDisk, wanted: &(Answers, Answers), what: &str) -> bool {
    if !making.is_backup() {
        return judge(making, left, wanted, what);
    }
    let there = match read_only(&made(left)) {
        Ok(copy) => {
            let found = answers(&copy).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert!(wanted.1.all.starts_with(&found.all), "{what}: not a prefix");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error:?}");
            assert_ne!(making, Making::Again, "{what}: the earlier backup is gone");
            false
        }
    };
    let store = open(left).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    making.run(&store, left).unwrap_or_else(|error| panic!("{what}, again: {error:?}"));
    let copy = making.open(left).unwrap();
    assert!(answers(&copy).unwrap() == wanted.1, "{what}: after another run");
    assert!(copy.verify().unwrap().clean, "{what}");
    there
}

fn every_fault(making: Making, kind: FaultKind) {
    let wanted = making.wanted();
    let mut faults = 0;
    let reading = [FaultCall::Open, FaultCall::Read, FaultCall::List];
    for call in CHANGING_CALLS.into_iter().chain(reading) {
        // A call that only reads is one of many alike.
        let step = if reading.contains(&call) { 7 / cases(1).min(7) } else { 1 };
        for sticky in [false, true] {
            let mut nth = 0;
            while survives(making, Fault { call, nth, kind, sticky }, &wanted) {
                nth += step;
                assert!(nth < 1000, "{call:?} fails for ever");
            }
            faults += nth / step;
        }
    }
    assert!(faults > 30, "{making:?}, {kind:?}: {faults} faults");
}

#[test]
fn any_call_may_fail_with_an_error_of_the_device() {
    ALL.into_iter().for_each(|making| every_fault(making, FaultKind::Os(EIO)));
}

#[test]
fn any_call_may_fail_on_a_full_disk_after_a_part_of_a_write() {
    ALL.into_iter().for_each(|making| every_fault(making, FaultKind::ShortWrite(FULL)));
}

#[test]
fn any_sync_may_fail_and_drop_what_it_should_have_made_durable() {
    ALL.into_iter().for_each(|making| every_fault(making, FaultKind::FailedSyncDropsPages));
}
