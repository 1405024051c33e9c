//! An audit log: who did what to whom, found by person and by time, and checked to its last byte.
#![allow(clippy::print_stdout, reason = "an example")]

use std::time::{Duration, SystemTime};

use factlog::{Event, Expect, Metadata, NewEvent, Query, Store, tag};
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Serialize, Deserialize)]
enum Audit {
    Granted {
        #[tag]
        #[subject]
        person: String,
        role: String,
    },
    Revoked {
        #[tag]
        #[subject]
        person: String,
        role: String,
    },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // Nothing of an audit is to be forgotten: what names a subject is stored in the clear.
    let store = Store::options().subjects_in_clear(true).open(dir.path())?;

    // Said once for the request, and on every event of it.
    let request = Metadata::new().correlation("request-7").set("ip", "10.0.0.7")?;
    for (person, role) in [("ada", "admin"), ("ben", "reader"), ("ada", "reader")] {
        let granted = Audit::Granted { person: person.into(), role: role.into() };
        store.append("Audit-2026", Expect::Any, [request.on(NewEvent::of(&granted)?)])?;
    }
    let revoked = Audit::Revoked { person: "ada".into(), role: "admin".into() };
    store.append("Audit-2026", Expect::Any, [NewEvent::of(&revoked)?])?;

    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let of_ada = Query::of::<Audit>().tag(tag("person", "ada"));
    for event in store.read(of_ada).since(an_hour_ago).typed::<Audit>() {
        let event = event?;
        println!("{} {:?} {:?}", event.position(), event.correlation(), event.event);
    }
    let report = store.verify()?;
    println!("{} pieces of damage", report.damage.len());
    assert!(report.damage.is_empty());
    store.doctor().knows::<Audit>().decode_all().check()?; // and this code can read all of it
    Ok(())
}
