//! Layer 6.0: wait until the watermark moves; wake-ups carry no data and cannot be lost.
//!
//! Knows: two marks that only move forward (but for a poisoned store), and who waits. Does not
//! know: events. A waiter announces itself and then compares the level under the lock before it
//! sleeps; the publisher raises the level and then looks whether anybody announced himself, so one
//! of the two sees the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use hashbrown::HashMap;

use crate::clock::monotonic;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use crate::types::Position;

/// Which of the two marks a reader goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mark {
    /// Up to here everything survives a power cut.
    #[default]
    Synced,
    /// Up to here everything can be read; ahead of `Synced` only in the weaker modes.
    Visible,
}

/// The marks and those who wait for them.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    visible: AtomicU64,
    synced: AtomicU64,
    told: AtomicU64,
    ended: AtomicBool,
    interested: AtomicU64,
    named: AtomicU64,
    waiting: Mutex<Waiting>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    signals: Vec<Sender<()>>,
    /// By the name of who waits, so that asking again takes the place of having asked.
    tasks: HashMap<u64, Task>,
}

#[derive(Debug)]
struct Task {
    awaited: Awaited,
    waker: Waker,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited {
    /// That this mark is past this position.
    pub past: Position,
    pub mark: Mark,
    /// Or that something else is said of streams than when this was [`Watch::told`].
    pub told: Option<u64>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    Moved,
    TimedOut,
    /// The store was closed and nothing further will come.
    Ended,
}

/// Wakes tasks. Wakers are the callers' code: one that panics takes neither the others' turn nor
/// the thread that happens to run it.
pub(crate) fn wake_each(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl Watch {
    pub(crate) fn level(&self, mark: Mark) -> Position {
        let level = match mark {
            Mark::Synced => &self.synced,
            Mark::Visible => &self.visible,
        };
        Position::new(level.load(Ordering::SeqCst))
    }

    /// Changes whenever something is set of a stream.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// So often something was set by now; [`Self::wake`] is to follow.
    pub(crate) fn tell(&self, told: u64) {
        self.told.store(told, Ordering::SeqCst);
    }

    fn is_there(&self, awaited: &Awaited) -> bool {
        self.level(awaited.mark) > awaited.past
            || awaited.told.is_some_and(|told| self.told() != told)
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Moves the marks; [`Self::wake`] is to follow, when no lock is held.
    pub(crate) fn raise(&self, visible: Position, synced: Position) {
        self.visible.store(visible.get(), Ordering::SeqCst);
        self.synced.store(synced.get(), Ordering::SeqCst);
    }

    /// Nothing further will come: everybody wakes and stays awake.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
        self.waiting.lock().signals.clear();
    }

    /// A name to wait under.
    pub(crate) fn name(&self) -> u64 {
        self.named.fetch_add(1, Ordering::Relaxed)
    }

    /// Wakes everybody who waits: threads look for themselves, tasks only if there is something for
    /// them. Runs wakers, which are the caller's code.
    pub(crate) fn wake(&self) {
        if self.interested.load(Ordering::SeqCst) == 0 {
            return;
        }
        let wakers = {
            let mut waiting = self.waiting.lock();
            match planted!(OneWaiterWoken) {
                true => drop(self.moved.notify_one()),
                false => drop(self.moved.notify_all()),
            }
            let before = waiting.signals.len();
            waiting.signals.retain(|signal| {
                !matches!(signal.try_send(()), Err(TrySendError::Disconnected(())))
            });
            let ended = self.ended();
            let due = |task: &Task| ended || self.is_there(&task.awaited);
            let tasks = waiting.tasks.extract_if(|_, task| due(task));
            let wakers: Vec<Waker> = tasks.map(|(_, task)| task.waker).collect();
            let gone = before - waiting.signals.len() + wakers.len();
            self.interested.fetch_sub(gone as u64, Ordering::SeqCst);
            wakers
        };
        wake_each(wakers);
    }

    /// Waits for it, at most for `timeout`.
    pub(crate) fn wait_for(&self, awaited: Awaited, timeout: Option<Duration>) -> Woken {
        // A moment too far off to have a name never comes.
        let deadline = timeout.and_then(|timeout| monotonic().checked_add(timeout));
        self.interested.fetch_add(1, Ordering::SeqCst);
        let mut waiting = self.waiting.lock();
        let woken = loop {
            if self.is_there(&awaited) {
                break Woken::Moved;
            }
            if self.ended() {
                break Woken::Ended;
            }
            match deadline {
                None => self.moved.wait(&mut waiting),
                Some(deadline) => {
                    if self.moved.wait_until(&mut waiting, deadline).timed_out() {
                        break match self.is_there(&awaited) {
                            true => Woken::Moved,
                            false => Woken::TimedOut,
                        };
                    }
                }
            }
        };
        drop(waiting);
        self.interested.fetch_sub(1, Ordering::SeqCst);
        woken
    }

    /// A channel that holds at most one unread wake-up. It carries one at once, so that a level
    /// reached before is not missed.
    pub(crate) fn signal(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        let _ = sender.try_send(());
        self.interested.fetch_add(1, Ordering::SeqCst);
        let mut waiting = self.waiting.lock();
        // Under the lock: whoever ends clears the list after saying so.
        if !self.ended() {
            waiting.signals.push(sender);
        }
        receiver
    }

    /// Wakes the task once, when what it waits for is there; answers true when it is already, or
    /// nothing further will come.
    pub(crate) fn wake_for(&self, name: u64, awaited: Awaited, waker: &Waker) -> bool {
        if !planted!(WakeUpLost) {
            self.interested.fetch_add(1, Ordering::SeqCst);
        }
        let mut waiting = self.waiting.lock();
        if self.is_there(&awaited) || self.ended() {
            drop(waiting);
            self.interested.fetch_sub(1, Ordering::SeqCst);
            return true;
        }
        let task = Task { awaited, waker: waker.clone() };
        if waiting.tasks.insert(name, task).is_some() {
            self.interested.fetch_sub(1, Ordering::SeqCst);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn past(past: Position, mark: Mark) -> Awaited {
        Awaited { past, mark, told: None }
    }

    fn publish(watch: &Watch, visible: Position, synced: Position) {
        watch.raise(visible, synced);
        watch.wake();
    }

    #[test]
    fn a_level_reached_before_the_wait_ends_it_at_once() {
        let watch = Watch::default();
        publish(&watch, Position::new(3), Position::new(2));
        let wait = |seen, mark, timeout| watch.wait_for(past(Position::new(seen), mark), timeout);
        assert_eq!(wait(1, Mark::Synced, None), Woken::Moved);
        assert_eq!(wait(2, Mark::Visible, None), Woken::Moved);
        let short = Some(Duration::from_millis(1));
        assert_eq!(wait(2, Mark::Synced, short), Woken::TimedOut);
    }

    #[test]
    fn no_wake_up_is_lost_between_two_threads() {
        let watch = Arc::new(Watch::default());
        let publisher = {
            let watch = watch.clone();
            std::thread::spawn(move || {
                for level in 1..=20_000 {
                    publish(&watch, Position::new(level), Position::new(level));
                }
            })
        };
        let mut seen = Position::START;
        while seen < Position::new(20_000) {
            assert_eq!(watch.wait_for(past(seen, Mark::Synced), None), Woken::Moved);
            seen = watch.level(Mark::Synced);
        }
        publisher.join().unwrap();
    }

    #[test]
    fn a_signal_coalesces_and_ends_with_the_store() {
        let watch = Watch::default();
        let signal = watch.signal();
        signal.try_recv().unwrap();
        for level in 1..5 {
            publish(&watch, Position::new(level), Position::new(level));
        }
        signal.try_recv().unwrap();
        assert!(signal.try_recv().is_err());
        watch.end();
        let _ = signal.try_recv();
        assert_eq!(signal.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counter(std::sync::atomic::AtomicU64);

    impl std::task::Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// With `Durability::Os` every commit moves what is visible, and what is synced much later:
    /// each such commit woke all who wait for syncs, to look and go back to sleep.
    #[test]
    fn a_task_is_woken_when_its_own_mark_moves_and_once() {
        let watch = Watch::default();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(counter.clone());
        let name = watch.name();
        let ask = || watch.wake_for(name, past(Position::START, Mark::Synced), &waker);
        assert!(!ask());
        assert!(!ask(), "asking again is asking once");
        for level in 1..5 {
            publish(&watch, Position::new(level), Position::START);
        }
        assert_eq!(counter.0.load(Ordering::SeqCst), 0, "nothing was synced");
        publish(&watch, Position::new(5), Position::new(5));
        publish(&watch, Position::new(6), Position::new(6));
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(watch.interested.load(Ordering::SeqCst), 0);
        assert!(ask());
    }

    #[test]
    fn the_end_wakes_waiters() {
        let watch = Arc::new(Watch::default());
        let waiter = {
            let watch = watch.clone();
            let awaited = past(Position::START, Mark::Synced);
            std::thread::spawn(move || watch.wait_for(awaited, None))
        };
        watch.end();
        assert_eq!(waiter.join().unwrap(), Woken::Ended);
    }
}
