//! Every operation of a store, and every call to the disk within it, failing once and for good with
//! every error that can come: the outcome is one of those in the table, and reopening keeps the
//! contract.
//!
//! `EINTR` is not here: a `Disk` goes on after it, so that a store never sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{Error, ErrorKind, Store};

use crate::explore::contract;
use crate::explore::program::{self, Ending, Op, Record};
use crate::rig::options;

/// What an error of the operating system comes to, for whoever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// There is no space: refused cleanly, unless a sync said so.
    Full,
    /// Anything else.
    Device,
}

const ERRORS: [(&str, FaultKind, Class); 11] = [
    ("EIO", FaultKind::Os(5), Class::Device),
    ("EACCES", FaultKind::Os(13), Class::Device),
    ("ENFILE", FaultKind::Os(23), Class::Device),
    ("EMFILE", FaultKind::Os(24), Class::Device),
    ("EROFS", FaultKind::Os(30), Class::Device),
    ("ENOSPC", FaultKind::Os(28), Class::Full),
    ("EDQUOT", FaultKind::Os(122), Class::Full),
    ("EIO, short write", FaultKind::ShortWrite(5), Class::Device),
    ("ENOSPC, short write", FaultKind::ShortWrite(28), Class::Full),
    ("EIO, pages dropped", FaultKind::FailedSyncDropsPages, Class::Device),
    ("EIO, told later", FaultKind::FailedWriteback, Class::Device),
];

/// What is done while a call fails, and what it may answer then.
struct Row {
    name: &'static str,
    act: Act,
    /// For a failing device, and what a full disk may answer besides.
    device: &'static [ErrorKind],
    full: &'static [ErrorKind],
}

enum Act {
    Steps(Vec<Op>),
    Close,
    Open,
    Recover,
    Follow,
}

use ErrorKind::{DiskFull, InDoubt, Io, Poisoned};

fn batch(events: u64, size: usize) -> Vec<Op> {
    let events = (0..events).map(|at| (format!("A-{}", at % 3), 500 + at, size));
    vec![Op::Append(events.collect(), None)]
}

/// So many bytes take their time, and make the calls of a roll: some errors are enough.
const SEVERAL: &str = "append of several frames";
const FEW: [&str; 3] = ["EIO", "ENOSPC, short write", "EIO, pages dropped"];

/// The documented outcomes.
fn table() -> Vec<Row> {
    let appends: &[ErrorKind] = &[InDoubt, Poisoned];
    let saves: &[ErrorKind] = &[InDoubt, Io];
    let row = |name, act, device, full| Row { name, act, device, full };
    vec![
        row("append", Act::Steps(batch(1, 10)), appends, &[DiskFull]),
        // Longer than a frame may be, and than a segment.
        row(SEVERAL, Act::Steps(batch(2, 600_000)), appends, &[DiskFull]),
        // The segment has no room: the seal, the next segment, its opening frame.
        row("roll", Act::Steps(batch(1, 9_000)), appends, &[DiskFull]),
        row("save a checkpoint", Act::Steps(vec![Op::SaveCheckpoint(5)]), saves, &[DiskFull]),
        row("reset a checkpoint", Act::Steps(vec![Op::ResetCheckpoint(1)]), saves, &[DiskFull]),
        row(
            "save a snapshot",
            Act::Steps(vec![Op::SaveSnapshot("A-1".into())]),
            saves,
            &[DiskFull],
        ),
        row("trim", Act::Steps(vec![Op::Trim(4, true)]), &[Io], &[DiskFull]),
        row("close", Act::Close, &[Io], &[DiskFull]),
        row("open", Act::Open, &[Io], &[DiskFull]),
        row("recover", Act::Recover, &[Io], &[DiskFull]),
        row("open read-only", Act::Follow, &[Io], &[DiskFull]),
    ]
}

/// A store with a bit of everything and two thirds of a segment used, and what is known of it.
fn begin() -> (SimDisk, Record, Option<Store>) {
    let disk = SimDisk::new(5);
    let batch = |number, size| Op::Append(vec![("A-1".into(), number, size)], None);
    let ops = [
        batch(1, 10),
        Op::SaveCheckpoint(1),
        Op::SaveSnapshot("A-1".into()),
        batch(2, 12_000),
        batch(3, 10),
        Op::Append(vec![("B-1".into(), 4, 9), ("A-1".into(), 5, 7_000)], Some(2)),
        batch(6, 10),
    ];
    let mut record = Record::default();
    let run = program::run(&disk, &options(), &ops, &mut record);
    assert_eq!((record.ended, &record.wrong), (None, &None));
    (disk, record, run.store)
}

/// The disk as it is before an opening, and what is known of it.
fn at_rest(recover: bool) -> (SimDisk, Record, Option<Store>) {
    let (disk, mut record, store) = begin();
    let store = store.unwrap();
    if recover {
        // Behind what is durable there is a whole batch, and a torn one.
        disk.crash_at(disk.operations() + 1);
        let late = Op::Append(vec![("B-1".into(), 7, 30)], None);
        assert!(program::step(&store, &late, &mut record, &mut |_| {}).is_err());
        let killed = disk.after_kill();
        record.ending = Ending::Unknown;
        return (killed, record, None);
    }
    store.close().unwrap();
    record.ending = Ending::Closed;
    (disk.after_power_cut(1), record, None)
}

/// What one failing call came to.
struct Outcome {
    told: Option<Error>,
    /// The failure came.
    fired: bool,
}

fn act(row: &Row, fault: Fault) -> Outcome {
    let what = format!("{}, {fault:?}", row.name);
    let opens = matches!(row.act, Act::Open | Act::Recover | Act::Follow);
    let (disk, mut record, store) = match row.act {
        Act::Steps(_) | Act::Close => begin(),
        Act::Open | Act::Follow => at_rest(false),
        Act::Recover => at_rest(true),
    };
    disk.inject(fault);
    let before = disk.faults();
    let shared = Arc::new(disk.clone());
    let (told, store) = match (&row.act, store) {
        (Act::Steps(ops), Some(store)) => {
            let done =
                ops.iter().try_for_each(|op| program::step(&store, op, &mut record, &mut |_| {}));
            (done.err(), Some(store))
        }
        (Act::Follow, _) => match options().open_read_only_on(shared) {
            Ok(store) => (None, Some(store)),
            Err(error) => (Some(error), None),
        },
        (_, Some(store)) => (store.close().err(), None),
        (_, None) => match options().open_on(shared) {
            Ok(store) => (None, Some(store)),
            Err(error) => (Some(error), None),
        },
    };
    assert!(record.wrong.is_none(), "{what}: {:?}", record.wrong);
    let fired = disk.faults() < before || fault.sticky;
    disk.clear_faults();
    record.ending = Ending::Unknown;
    if let (Some(store), false) = (&store, opens) {
        go_on(store, told.as_ref(), &mut record, &what);
    }
    reopen(&disk, &record, &fault, &what);
    Outcome { told, fired }
}

/// The failure is over, and the store still open: after a clean refusal it works again, after
/// anything else it says so.
fn go_on(store: &Store, told: Option<&Error>, record: &mut Record, what: &str) {
    let read: Result<Vec<_>, _> = store.read_all().into_iter().collect();
    assert!(read.is_ok(), "{what}: reads go on: {read:?}");
    let next = Op::Append(vec![("Late".into(), 900, 5)], None);
    let next = program::step(store, &next, record, &mut |_| {});
    match (told.map(Error::kind), next.map_err(|error| error.kind())) {
        (Some(DiskFull), next) => assert_eq!(next, Ok(()), "{what}: there is space again"),
        (Some(Poisoned), next) => assert_eq!(next, Err(Poisoned), "{what}"),
        (_, next) => assert!(matches!(next, Ok(()) | Err(Poisoned)), "{what}: {next:?}"),
    }
}

/// What a power cut, a kill, or both leave of it keeps the contract.
fn reopen(disk: &SimDisk, record: &Record, fault: &Fault, what: &str) {
    let mut left = vec![disk.after_power_cut(1), disk.after_power_cut(2)];
    // A directory that has lost names and does not say so again is beyond any program's help.
    // A file whose bytes were lost may say so at the next opening only.
    let hidden =
        [FaultKind::FailedSyncDropsPages, FaultKind::FailedWriteback].contains(&fault.kind);
    if !hidden {
        left.push(disk.after_kill());
        left.push(disk.after_kill().after_power_cut(3));
    }
    for state in left {
        let checked = contract::c8_answers(|| {
            let store = options().open_on(Arc::new(state.clone()));
            let store = store.map_err(|error| contract::unopened(&error, record))?;
            contract::examine(&store, &state, &options(), (record, true))
        });
        assert_eq!(checked, Ok(()), "{what}");
    }
}

/// Every call of one row fails once, then from there on. Answers how often which error was told.
fn every_call_of(row: &Row) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for (name, kind, class) in ERRORS {
        if row.name == SEVERAL && !FEW.contains(&name) {
            continue;
        }
        let mut nth = 0;
        loop {
            let once = act(row, Fault::once(FaultCall::Any, nth, kind));
            if !once.fired {
                break;
            }
            let sticky = act(row, Fault::from(FaultCall::Any, nth, kind));
            for outcome in [once, sticky] {
                let kind = outcome.told.as_ref().map(Error::kind);
                let full = class == Class::Full && kind.is_some_and(|k| row.full.contains(&k));
                let fine = kind.is_none_or(|kind| full || row.device.contains(&kind));
                let told_of = outcome.told;
                assert!(fine, "{}: {name} at call {nth} answers {told_of:?}", row.name);
                let kind = kind.map_or("fine all the same".to_owned(), |k| format!("{k:?}"));
                *told.entry(kind).or_insert(0) += 1;
            }
            nth += 1;
            assert!(nth < 500, "{}: {name} fails for ever", row.name);
        }
        assert!(nth > 1, "{}: {name} came {nth} times", row.name);
    }
    told
}

#[test]
fn every_call_of_every_operation_may_fail() {
    let mut failures = 0;
    for row in table() {
        let told = every_call_of(&row);
        failures += told.values().sum::<u64>();
        println!("{:<26} {told:?}", row.name);
    }
    println!("{failures} failing calls");
    assert!(failures > 4000, "{failures}");
}
