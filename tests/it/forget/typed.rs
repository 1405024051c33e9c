//! The typed layer over forgotten events: what is rebuilt goes on without them.

use std::sync::Arc;

use factlog::disk::SimDisk;
use factlog::{
    ErrorKind, Event, EventRef, Expect, Keyring, Model, NewEvent, RecordedEvent, Scope, Store,
};
use serde::{Deserialize, Serialize};

use super::ringed;
use crate::rig::options;

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(category = "Account")]
enum Bank {
    Opened {
        #[subject]
        owner: String,
    },
    Deposited {
        #[subject]
        owner: String,
        cents: u64,
    },
    Audited {
        cents: u64,
    },
}

fn deposit(owner: &str, cents: u64) -> Bank {
    Bank::Deposited { owner: owner.into(), cents }
}

#[derive(Debug, Clone, Default)]
struct Account {
    balance: u64,
    audited: u64,
    forgotten: Vec<String>,
}

impl Model for Account {
    type Event = Bank;

    fn scope(&self) -> Scope {
        Scope::stream("Account", 1)
    }

    fn apply(&mut self, event: Bank) {
        match event {
            Bank::Opened { .. } => {}
            Bank::Deposited { cents, .. } => self.balance += cents,
            Bank::Audited { cents } => self.audited = cents,
        }
    }

    fn forgotten(&mut self, recorded: &EventRef<'_>) {
        assert!(recorded.is_forgotten() && recorded.data().is_empty());
        self.forgotten.push(recorded.event_type().to_owned());
    }
}

fn bank(disk: &SimDisk) -> Store {
    let store = ringed(disk).unwrap();
    let opened = Bank::Opened { owner: "ada".into() };
    store.append("Account-1", Expect::NoStream, [opened, deposit("ada", 5)]).unwrap();
    store.append("Account-1", Expect::Any, [deposit("bob", 7)]).unwrap();
    store.append("Account-1", Expect::Any, [Bank::Audited { cents: 12 }]).unwrap();
    store
}

#[test]
fn models_read_encrypted_events_and_are_told_of_forgotten_ones() {
    let store = bank(&SimDisk::new(1));
    let account = store.load(Account::default()).unwrap();
    assert_eq!((account.balance, account.audited), (12, 12));
    assert!(account.forgotten.is_empty());
    store.forget("ada").unwrap();
    let account = store.load(Account::default()).unwrap();
    assert_eq!((account.balance, account.audited), (7, 12));
    assert_eq!(account.forgotten, ["Opened", "Deposited"]);
    // And decisions go on.
    store.decide(Account::default(), |_| Ok::<_, String>([deposit("eve", 1)])).unwrap();
    assert_eq!(store.load(Account::default()).unwrap().balance, 8);
}

#[test]
fn typed_reads_and_projections_go_on_past_forgotten_events() {
    let store = bank(&SimDisk::new(1));
    store.forget("ada").unwrap();
    let values = store.read_all().typed::<Bank>().values().unwrap();
    assert_eq!(values, [deposit("bob", 7), Bank::Audited { cents: 12 }]);
    let mut seen = Vec::new();
    let mut projection = store.projection::<Bank>("seen").start().unwrap();
    projection
        .catch_up(|events| {
            seen.extend(events.iter().map(|typed| typed.event.clone()));
            Ok::<(), String>(())
        })
        .unwrap();
    assert_eq!(seen, values);
    assert_eq!(store.checkpoint("seen").unwrap(), Some(store.last_position()));
    // One that takes events as they are sees them all, and is told which are forgotten.
    let mut forgotten = Vec::new();
    let mut projection = store.projection::<RecordedEvent>("raw").start().unwrap();
    projection
        .catch_up(|events| {
            forgotten.extend(events.iter().map(RecordedEvent::is_forgotten));
            Ok::<(), String>(())
        })
        .unwrap();
    assert_eq!(forgotten, [true, true, false, false]);
}

/// A key that is lost is no reason to go on with half of the facts.
#[test]
fn a_lost_key_is_an_error_where_a_destroyed_one_is_none() {
    let disk = SimDisk::new(1);
    bank(&disk).close().unwrap();
    disk.remove_file("keyring");
    let store = options().open_on(Arc::new(disk.clone())).unwrap();
    let error = store.load(Account::default()).unwrap_err();
    assert_eq!((error.kind(), error.position().map(|at| at.get())), (ErrorKind::NotFound, Some(1)));
    let first = store.read_all().into_iter().next().unwrap().unwrap();
    assert_eq!(first.decode::<Bank>().unwrap_err().kind(), ErrorKind::NotFound);
}

/// A rule inside the writer is shown what the group has accepted, which is encrypted already.
#[test]
fn a_rule_inside_the_writer_reads_staged_events_of_subjects() {
    let store = options().keyring(Keyring::beside()).open_on(Arc::new(SimDisk::new(1))).unwrap();
    let event = || NewEvent::of(&deposit("ada", 5)).unwrap();
    let ticket = store.batch().append("Account-1", Expect::NoStream, [event()]).submit().unwrap();
    let decided = store.decide_inside(Account::default(), |account| {
        Ok::<_, String>([Bank::Audited { cents: account.balance }])
    });
    assert_eq!(decided.unwrap().state.balance, 5);
    ticket.wait().unwrap();
    let account = store.load(Account::default()).unwrap();
    assert_eq!((account.balance, account.audited), (5, 5));
}
