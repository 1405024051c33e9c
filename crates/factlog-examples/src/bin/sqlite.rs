//! A read model in SQLite, exactly once: the rows and the place are one transaction. The process
//! "crashes" in every third batch, before or after its commit, and nothing is lost or counted
//! twice.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use factlog::{Event, Expect, Position, Store, Typed};
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

#[derive(Clone, Event, Serialize, Deserialize)]
enum Bank {
    Deposited { cents: i64 },
}

const NAME: &str = "balances";

fn tables(database: &Connection) -> rusqlite::Result<()> {
    database.execute_batch(
        "CREATE TABLE IF NOT EXISTS balance (stream TEXT PRIMARY KEY, cents INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS place (name TEXT PRIMARY KEY, position INTEGER NOT NULL);",
    )
}

fn place(database: &Connection) -> Result<Position, Box<dyn Error>> {
    let select = "SELECT position FROM place WHERE name = ?1";
    let at: Option<i64> = database.query_row(select, [NAME], |row| row.get(0)).optional()?;
    Ok(Position::new(at.unwrap_or(0).try_into()?))
}

fn take(
    transaction: &Transaction<'_>,
    events: &[Typed<Bank>],
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO balance VALUES (?1, ?2)
         ON CONFLICT (stream) DO UPDATE SET cents = cents + excluded.cents",
    )?;
    for event in events {
        let Bank::Deposited { cents } = event.event;
        add.execute((event.stream(), cents))?;
    }
    if let Some(last) = events.last() {
        let at: i64 = last.position().get().try_into()?;
        let set = "INSERT OR REPLACE INTO place VALUES (?1, ?2)";
        transaction.execute(set, (NAME, at))?;
    }
    Ok(())
}

/// One life of the process; false when it ended in a crash.
fn run(store: &Store, file: &Path, crashes: u32) -> Result<bool, Box<dyn Error>> {
    let mut database = Connection::open(file)?;
    tables(&database)?;
    let mut projection =
        store.projection::<Bank>(NAME).after(place(&database)?).batch(30).start()?;
    let mut batches = 0;
    let life = AssertUnwindSafe(|| {
        projection.catch_up(|events| {
            batches += 1;
            let transaction = database.transaction()?;
            take(&transaction, events)?;
            if batches == 3 && crashes.is_multiple_of(2) {
                resume_unwind(Box::new("a crash before the commit"));
            }
            transaction.commit()?;
            if batches == 3 {
                resume_unwind(Box::new("a crash after the commit"));
            }
            Ok::<(), Box<dyn Error + Send + Sync>>(())
        })
    });
    match catch_unwind(life) {
        Ok(outcome) => Ok(outcome.map(|()| true)?),
        Err(_) => Ok(false),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path().join("events"))?;
    for n in 0..1000 {
        store.append(format!("Account-{}", n % 10), Expect::Any, [Bank::Deposited { cents: 1 }])?;
    }
    let mut crashes = 0;
    while !run(&store, &dir.path().join("balances.sqlite"), crashes)? {
        crashes += 1;
    }
    let database = Connection::open(dir.path().join("balances.sqlite"))?;
    let sum = "SELECT count(*), sum(cents) FROM balance";
    let (accounts, cents): (i64, i64) =
        database.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    println!("{crashes} crashes, {accounts} accounts, {cents} cents");
    match (accounts, cents) {
        (10, 1000) => Ok(()),
        _ => Err("something was lost or counted twice".into()),
    }
}
