//! Layer 2.0: what time it is, from the operating system or from a test.
//!
//! Knows: microseconds since the Unix epoch. Does not know: what the time is used for. Nothing in
//! the store is ordered by it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment for measuring waits by; goes on steadily whatever the wall clock does.
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// A source of wall-clock time.
pub trait Clock: Send + Sync + Debug {
    /// Microseconds since the Unix epoch; 0 for a clock set before it.
    fn now(&self) -> u64;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is told otherwise, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `micros`.
    #[must_use]
    pub fn at(micros: u64) -> Self {
        Self(AtomicU64::new(micros))
    }

    /// Sets it, forwards or back.
    pub fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
