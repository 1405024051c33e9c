//! An aggregate that decides, and a projection of balances.
#![allow(clippy::print_stdout, reason = "an example")]

use std::collections::BTreeMap;

use factlog::{Event, Model, Position, Scope, Store};
use serde::{Deserialize, Serialize};

#[derive(Clone, Event, Serialize, Deserialize)]
enum Bank {
    Opened { owner: String },
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

#[derive(Default)]
struct Account {
    id: String,
    open: bool,
    balance: u64,
}

impl Account {
    fn of(id: &str) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

impl Model for Account {
    type Event = Bank;

    fn scope(&self) -> Scope {
        Scope::stream("Account", &self.id)
    }

    fn apply(&mut self, event: Bank) {
        match event {
            Bank::Opened { .. } => self.open = true,
            Bank::Deposited { cents } => self.balance += cents,
            Bank::Withdrawn { cents } => self.balance -= cents,
        }
    }
}

fn withdraw(account: &Account, cents: u64) -> Result<[Bank; 1], String> {
    match account.balance.checked_sub(cents) {
        _ if !account.open => Err("the account is not open".into()),
        None => Err(format!("{} cents are missing", cents - account.balance)),
        Some(_) => Ok([Bank::Withdrawn { cents }]), // durable when `decide` returns
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;

    for (id, cents) in [("alice", 500), ("ben", 200)] {
        let opening = [Bank::Opened { owner: id.into() }, Bank::Deposited { cents }];
        store.decide(Account::of(id), |account| match account.open {
            true => Err("it is open already"),
            false => Ok(opening.clone()),
        })?;
    }
    for cents in [300, 300] {
        match store.decide(Account::of("alice"), |account| withdraw(account, cents)) {
            Ok(decided) => println!("withdrawn {cents} in {} attempts", decided.attempts),
            Err(error) => println!("refused: {error}"),
        }
    }

    let mut balances: BTreeMap<String, i128> = BTreeMap::new();
    // A table in memory begins anew with the process: behind position 0, not at a checkpoint.
    let in_memory = store.projection::<Bank>("balances").after(Position::START);
    in_memory.start()?.catch_up(|events| {
        for event in events {
            let balance = balances.entry(event.stream().to_owned()).or_default();
            match event.event {
                Bank::Opened { .. } => {}
                Bank::Deposited { cents } => *balance += i128::from(cents),
                Bank::Withdrawn { cents } => *balance -= i128::from(cents),
            }
        }
        Ok::<(), String>(())
    })?;
    println!("{balances:?}");
    assert_eq!(balances.values().sum::<i128>(), 400);
    Ok(())
}
