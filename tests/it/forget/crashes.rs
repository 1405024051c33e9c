//! Crashes and failing calls around the keyring: an acknowledged event has its key, unless it was
//! forgotten; what was forgotten never comes back.

use std::collections::BTreeMap;

use factlog::disk::{Fault, FaultCall, FaultKind, SimDisk};
use factlog::{ErrorKind, Expect, Position, Store};

use super::{SECRET, ringed, said};
use crate::rig::CHANGING_CALLS;

/// What was answered, and what may have been done without an answer.
#[derive(Debug, Default, Clone)]
struct Record {
    /// Events that were acknowledged: number to subject.
    stored: BTreeMap<u64, &'static str>,
    /// Subjects up to which position forgetting was asked for, and whether it was acknowledged.
    forgotten: Vec<(&'static str, Position, bool)>,
    failed: Option<ErrorKind>,
}

enum Step {
    Say(&'static str, u64),
    SayTwo(&'static str, &'static str, u64),
    Forget(&'static str),
    Reopen,
}

fn script() -> Vec<Step> {
    use Step::{Forget, Reopen, Say, SayTwo};
    vec![
        Say("ada", 1),
        SayTwo("bob", "ada", 2),
        Forget("ada"),
        Say("ada", 4),
        Reopen,
        Say("bob", 5),
        Forget("bob"),
        SayTwo("eve", "bob", 6),
        Forget("ada"),
        Say("ada", 8),
    ]
}

/// Runs the script until a call fails.
fn run(disk: &SimDisk, record: &mut Record) -> Option<Store> {
    let opened = |record: &mut Record| match ringed(disk) {
        Ok(store) => Some(store),
        Err(error) => {
            record.failed = Some(error.kind());
            None
        }
    };
    let mut store = opened(record)?;
    for step in script() {
        let outcome = match step {
            Step::Say(subject, n) => {
                let outcome = store.append("Person-all", Expect::Any, [said(subject, n)]);
                outcome.map(|_| record.stored.extend([(n, subject)]))
            }
            Step::SayTwo(a, b, n) => {
                let events = [said(a, n), said(b, n + 1)];
                let outcome = store.append("Person-all", Expect::Any, events);
                outcome.map(|_| record.stored.extend([(n, a), (n + 1, b)]))
            }
            Step::Forget(subject) => {
                let through = store.last_position();
                record.forgotten.push((subject, through, false));
                let outcome = store.forget(subject);
                outcome.map(|_| record.forgotten.last_mut().unwrap().2 = true)
            }
            Step::Reopen => {
                let closed = store.close();
                store = opened(record)?;
                closed
            }
        };
        if let Err(error) = outcome {
            record.failed = Some(error.kind());
            return Some(store);
        }
    }
    Some(store)
}

/// Every event that is there can be read, or was forgotten by somebody who asked for it.
fn check(store: &Store, record: &Record, what: &str) {
    let all = store.read_all().to_vec().unwrap_or_else(|error| panic!("{what}: {error:?}"));
    for (n, subject) in &record.stored {
        let found = all.iter().filter(|event| event.id() == crate::rig::id(*n)).count();
        assert_eq!(found, 1, "{what}: event {n} of {subject} was acknowledged");
    }
    for event in &all {
        let subject = event.subject().unwrap();
        let covers = |(who, through, _): &&(&str, Position, bool)| {
            *who == subject && event.position() <= *through
        };
        let (place, asked) = (event.position(), record.forgotten.iter().find(covers));
        let gone = record.forgotten.iter().filter(|(.., done)| *done).any(|f| covers(&f));
        match event.readable().map_err(|error| error.kind()) {
            Ok(()) => {
                assert!(event.text().unwrap().contains(SECRET));
                assert!(!gone, "{what}: {subject} at {place} came back");
            }
            Err(ErrorKind::Forgotten) => assert!(asked.is_some(), "{what}: {subject} at {place}"),
            Err(kind) => panic!("{what}: {subject} at {place} has lost its key: {kind:?}"),
        }
    }
}

/// Opens what is left, twice, and goes on with it.
fn survives(left: &SimDisk, record: &Record, what: &str) {
    for again in 0..2 {
        let what = format!("{what}, opened {again}");
        let store = ringed(left).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        check(&store, record, &what);
        let n = 100 + again;
        store.append("Person-all", Expect::Any, [said("eve", n)]).unwrap();
        let event = store.event(crate::rig::id(n)).unwrap().unwrap();
        event.readable().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        if again == 0 {
            store.close().unwrap();
            continue;
        }
        let known = |key: factlog::KeyInfo| key.subject == "ada";
        if store.keys().unwrap().into_iter().any(known) {
            store.forget("ada").unwrap();
            let all = store.read_all().to_vec().unwrap();
            let mine = all.iter().filter(|event| event.subject() == Some("ada"));
            assert!(mine.into_iter().all(|event| event.is_forgotten()), "{what}");
        }
    }
}

fn cut_at(k: u64) -> bool {
    let disk = SimDisk::new(1);
    disk.crash_at(k);
    let mut record = Record::default();
    let store = run(&disk, &mut record);
    for seed in 0..6 {
        let left = disk.after_power_cut(seed);
        survives(&left, &record, &format!("cut at {k} with {seed}"));
    }
    survives(&disk.after_kill(), &record, &format!("killed at {k}"));
    let left = disk.after_kill().after_power_cut(k);
    survives(&left, &record, &format!("killed at {k}, then cut"));
    drop(store);
    disk.crashed()
}

#[test]
fn a_power_cut_at_any_operation_leaves_no_event_without_its_key() {
    let mut k = 0;
    while cut_at(k) {
        k += 1;
    }
    assert!(k > 60, "the script has {k} operations");
}

fn fails(fault: Fault) -> bool {
    let what = format!("{fault:?}");
    let disk = SimDisk::new(7);
    disk.inject(fault);
    let mut record = Record::default();
    let store = run(&disk, &mut record);
    let Some(kind) = record.failed else { return false };
    let told = [ErrorKind::DiskFull, ErrorKind::InDoubt, ErrorKind::Poisoned, ErrorKind::Io];
    assert!(told.contains(&kind), "{what}: {kind:?}");
    if let Some(store) = &store {
        check(store, &record, &what);
    }
    for seed in 0..2 {
        let left = disk.after_power_cut(seed);
        left.clear_faults();
        survives(&left, &record, &format!("{what}, cut {seed}"));
    }
    let killed = disk.after_kill();
    killed.clear_faults();
    survives(&killed, &record, &format!("{what}, killed"));
    drop(store);
    true
}

#[test]
fn any_call_may_fail_around_the_keyring() {
    let kinds = [
        FaultKind::Os(5),
        FaultKind::Os(28),
        FaultKind::ShortWrite(28),
        FaultKind::FailedSyncDropsPages,
    ];
    let mut faults = 0;
    for kind in kinds {
        for call in CHANGING_CALLS {
            for sticky in [false, true] {
                let mut nth = 0;
                while fails(Fault { call, nth, kind, sticky }) {
                    nth += 1;
                }
                faults += nth;
            }
        }
    }
    assert!(faults > 100, "{faults} faults");
}

/// A full disk is no reason to be in doubt: nothing was written, and the same append succeeds when
/// there is space.
#[test]
fn an_append_whose_key_has_no_space_is_refused_and_nothing_else_changes() {
    let disk = SimDisk::new(1);
    let store = ringed(&disk).unwrap();
    store.append("Person-all", Expect::Any, [said("ada", 1)]).unwrap();
    let fault = Fault { call: FaultCall::Write, nth: 0, kind: FaultKind::Os(28), sticky: false };
    disk.inject(fault);
    let error = store.append("Person-all", Expect::Any, [said("bob", 2)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert_eq!(store.last_position().get(), 1);
    store.append("Person-all", Expect::Any, [said("bob", 2)]).unwrap();
    super::readable(&store, "bob", 2);
}

/// The sync of a key fails and the system forgets the pages, the process is killed; the next one
/// finds the key in the cache, and an event that is encrypted with it must not lose it.
#[test]
fn a_key_whose_pages_were_dropped_is_not_used_and_then_lost() {
    let disk = SimDisk::new(1);
    let store = ringed(&disk).unwrap();
    store.append("Person-all", Expect::Any, [said("ada", 1)]).unwrap();
    disk.inject(Fault::once(FaultCall::Sync, 0, FaultKind::FailedSyncDropsPages));
    disk.crash_at(disk.operations() + 2);
    store.append("Person-all", Expect::Any, [said("bob", 2)]).unwrap_err();
    for seed in 0..20 {
        let next = disk.after_kill();
        if seed % 2 == 1 {
            ringed(&next).unwrap().close().unwrap();
        }
        let store = ringed(&next).unwrap();
        store.append("Person-all", Expect::Any, [said("bob", 2)]).unwrap();
        let left = next.after_power_cut(seed);
        drop(store);
        super::readable(&ringed(&left).unwrap(), "bob", 2);
    }
}
