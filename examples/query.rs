//! A decision over several streams: a course takes two students, whoever they are. The condition
//! says that no event of the course came after those that were read (a dynamic consistency
//! boundary).
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Expect, NewEvent, Query, Store};

fn enrol(store: &Store, student: &str) -> Result<(), Box<dyn std::error::Error>> {
    let course = Query::types(["Enrolled"]).tag("course:c1");
    let decided_at = store.last_position();
    let read = store.read(course.clone()).through(decided_at);
    let enrolled = read.into_iter().collect::<factlog::Result<Vec<_>>>()?;
    if enrolled.len() >= 2 {
        return Err(format!("{student}: the course is full").into());
    }
    let event = NewEvent::binary("Enrolled", "").tag("course:c1").tag(format!("student:{student}"));
    let batch = store.batch().append(format!("Student-{student}"), Expect::Any, [event]);
    batch.condition(course, decided_at).commit()?;
    println!("{student}: enrolled");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    enrol(&store, "ada")?;
    enrol(&store, "ben")?;
    println!("{}", enrol(&store, "cyd").err().ok_or("the course takes two")?);

    // Whoever decided on what he read at the beginning is told.
    let event = NewEvent::binary("Enrolled", "").tag("course:c1");
    let stale = store.batch().append("Student-dan", Expect::Any, [event]);
    let stale = stale.condition(Query::tags(["course:c1"]), factlog::Position::START).commit();
    println!("dan: {}", stale.err().ok_or("a stale decision was accepted")?);
    Ok(())
}
