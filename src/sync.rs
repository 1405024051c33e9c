//! Layer 0.1: the locks, atomics and threads the crate uses, named in one place.
//!
//! Knows: which implementations are used. Does not know: what they guard. With the cfg
//! `factlog_shuttle`, which no feature sets, they are those of a scheduler that tries orders of
//! threads (`tests/shuttle.rs`).

#[cfg(factlog_shuttle)]
mod scheduled;

#[cfg(factlog_shuttle)]
pub(crate) use scheduled::{Condvar, Mutex, MutexGuard, Receiver, RwLock, Sender, unbounded};
#[cfg(factlog_shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(factlog_shuttle)]
pub(crate) use {scheduled::park_timeout, shuttle::thread};

#[cfg(not(factlog_shuttle))]
pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
#[cfg(not(factlog_shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(factlog_shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(factlog_shuttle))]
pub(crate) use std::thread::{self, park_timeout};

pub(crate) use crossbeam_channel::RecvTimeoutError;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::OnceLock;
#[cfg(feature = "model")]
pub(crate) use std::sync::Weak;
pub(crate) use std::sync::atomic::Ordering;

/// How many threads can run at once.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does the same work on so many threads, of which the caller's is one, until all are done.
pub(crate) fn on_threads(threads: usize, work: impl Fn() + Sync) {
    // The scheduler's threads know no scopes with names; there the caller does it all.
    #[cfg(not(factlog_shuttle))]
    thread::scope(|scope| {
        for _ in 1..threads {
            let name = "factlog-opening".to_owned();
            // A thread that cannot be had leaves more to the others.
            let _ = thread::Builder::new().name(name).spawn_scoped(scope, &work);
        }
        work();
    });
    #[cfg(factlog_shuttle)]
    if threads > 0 {
        work();
    }
}
