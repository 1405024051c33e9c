//! What reads once got wrong, one story each.

use std::ops::ControlFlow;

use std::sync::Arc;

use factlog::{Expect, IdScope, ManualClock, NewEvent, Position, Store, Timestamp, Version};

fn tick(n: u64) -> NewEvent {
    NewEvent::binary("Ticked", n.to_le_bytes())
}

/// The visitor counted the limit down after its first event, so a limit of none was below zero.
#[test]
fn a_visit_with_a_limit_of_none_visits_nothing() {
    let store = Store::in_memory().unwrap();
    store.append("A-1", Expect::Any, [tick(1)]).unwrap();
    let mut visited = 0;
    let visit = |_: factlog::EventRef<'_>| {
        visited += 1;
        ControlFlow::Continue(())
    };
    store.read_all().limit(0).for_each(visit).unwrap();
    assert_eq!(visited, 0);
}

/// One more than the highest version there can be does not fit a number.
#[test]
fn a_stream_is_read_up_to_the_highest_version_there_can_be() {
    let store = Store::in_memory().unwrap();
    store.append("A-1", Expect::Any, [tick(1), tick(2)]).unwrap();
    let read = store.read_stream("A-1").to(Version::new(u64::MAX));
    assert_eq!(read.into_iter().map(Result::unwrap).count(), 2);
}

/// A segment can fill up with checkpoints and hold no event at all. It has no last time, which
