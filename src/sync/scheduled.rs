//! Layer 0.0: locks and a channel that shuttle schedules, spelled like those they stand in for.
//!
//! Knows: the calls the crate makes. Does not know: time; nothing times out here, and a timed park
//! is a chance for the others. In no build but that of the schedules.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvError, RecvTimeoutError, SendError};
use shuttle::sync as model;
use std::sync::Arc;

pub(crate) struct Mutex<T: ?Sized>(model::Mutex<T>);

/// Empty only while its thread waits on a condition.
pub(crate) struct MutexGuard<'a, T: ?Sized>(Option<model::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(model::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock();
        MutexGuard(Some(guard.unwrap_or_else(|poisoned| poisoned.into_inner())))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(guard) => guard,
            None => unreachable!("the guard is back before anybody looks"),
        }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(guard) => guard,
            None => unreachable!("the guard is back before anybody looks"),
        }
    }
}

#[derive(Default)]
pub(crate) struct Condvar(model::Condvar);

pub(crate) struct Waited;

impl Waited {
    #[expect(clippy::unused_self, reason = "spelled like the answer it stands in for")]
    pub(crate) fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.0 = guard
            .0
            .take()
            .map(|held| self.0.wait(held).unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _deadline: Instant,
    ) -> Waited {
        self.wait(guard);
        Waited
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar")
    }
}

#[derive(Default)]
pub(crate) struct RwLock<T>(model::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(model::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> model::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn write(&self) -> model::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

/// The others run; the time may or may not have passed.
pub(crate) fn park_timeout(_most: Duration) {
    shuttle::thread::yield_now();
}

#[derive(Debug)]
struct Line<T> {
    waiting: Mutex<VecDeque<T>>,
    came: Condvar,
}

#[derive(Debug, Clone)]
pub(crate) struct Sender<T>(Arc<Line<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Line<T>>);

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let line = Line { waiting: Mutex::new(VecDeque::new()), came: Condvar::new() };
    let line = Arc::new(line);
    (Sender(line.clone()), Receiver(line))
}

impl<T> Sender<T> {
    #[expect(clippy::unnecessary_wraps, reason = "spelled like the call it stands in for")]
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.waiting.lock().push_back(value);
        self.0.came.notify_one();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// The store says when it stops, so nobody needs to hear that the sender is gone.
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        let mut waiting = self.0.waiting.lock();
        loop {
            if let Some(value) = waiting.pop_front() {
                return Ok(value);
            }
            self.0.came.wait(&mut waiting);
        }
    }

    pub(crate) fn recv_timeout(&self, _most: Duration) -> Result<T, RecvTimeoutError> {
        self.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }
}
