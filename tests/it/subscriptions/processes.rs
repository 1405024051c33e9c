//! Other processes: this test binary starts itself again, with a task in the environment.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use factlog::{Delivery, ErrorKind, Source, Start, Store};

use super::super::support::number;
use super::{LONG, append, writers};

const TASK: &str = "FACTLOG_TEST_TASK";

/// Runs the test `name` of this file in a process of its own, told to do `task`.
fn start(name: &str, task: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("subscriptions::processes::{name}"), "--nocapture"])
        .env(TASK, task)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

const EVENTS: u64 = 4 * 200;

#[test]
fn a_follower_in_another_process_misses_nothing() {
    if let Some(dir) = task() {
        return follow_from_outside(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::options().segment_bytes(16 << 10).open(dir.path()).unwrap();
    let store = open();
    append(&store, 0..10);
    let task = dir.path().to_str().unwrap();
    let mut others: Vec<_> =
        (0..2).map(|_| start("a_follower_in_another_process_misses_nothing", task)).collect();
    writers(&store, 4, 100);
    // It follows through a close and a recovery too.
    store.close().unwrap();
    let store = open();
    writers(&store, 4, 100);
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(store.last_position().get(), 10 + EVENTS);
}

fn follow_from_outside(dir: &Path) {
    let store = Store::open_read_only(dir).unwrap();
    let refused = store.append("A-1", factlog::Expect::Any, [super::event(1)]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    // The writer may be between two lives; while it has one, there is no second.
    if let Err(error) = Store::options().create(false).open(dir.join("nowhere")) {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let mut subscription = store.subscribe(Source::All).start(Start::Beginning).unwrap();
    let mut seen = 0;
    while seen < 10 + EVENTS {
        let delivery = subscription.next_timeout(LONG).unwrap();
        if let Delivery::Event(event) = delivery.expect("nothing comes any more") {
            seen += 1;
            assert_eq!(event.position().get(), seen);
            assert_eq!(store.event(event.id()).unwrap().unwrap().position(), event.position());
            if seen <= 10 {
                assert_eq!(number(&event), seen - 1);
            }
        }
    }
}

#[test]
fn two_processes_cannot_both_write() {
    if let Some(dir) = task() {
        let error = Store::open(Path::new(&dir)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.is_retryable());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 0..3);
    let mut other = start("two_processes_cannot_both_write", dir.path().to_str().unwrap());
    assert!(other.wait().unwrap().success());
    append(&store, 3..4);
    assert_eq!(store.last_position().get(), 4);
}

#[cfg(target_os = "linux")]
fn threads() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_idle_subscriptions_cost_no_thread() {
    if task().is_none() {
        // In a process of its own, so that no other test's threads are counted.
        let mut other = start("ten_thousand_idle_subscriptions_cost_no_thread", "count");
        assert!(other.wait().unwrap().success());
        return;
    }
    let store = Store::in_memory().unwrap();
    append(&store, 0..10);
    let before = threads();
    let mut idle = Vec::new();
    for n in 0..10_000 {
        let source = match n % 2 {
            0 => Source::All,
            _ => Source::Category("Fan".into()),
        };
        let mut subscription = store.subscribe(source).start(Start::End).unwrap();
        assert!(matches!(subscription.try_next().unwrap(), Some(Delivery::CaughtUp(_))));
        let signal = subscription.signal();
        signal.try_recv().unwrap();
        idle.push((subscription, signal));
    }
    assert_eq!(threads(), before);
    append(&store, 0..20);
    assert_eq!(threads(), before);
    for (subscription, signal) in &mut idle {
        signal.try_recv().unwrap();
        let next = subscription.try_next().unwrap();
        assert!(matches!(next, Some(Delivery::Event(event)) if event.position().get() == 11));
    }
}
