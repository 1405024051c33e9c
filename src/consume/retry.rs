//! Layer 9.0: how often something that failed is tried again, and how long is waited before.
//!
//! Knows: numbers. Does not know: what failed.

use std::time::Duration;

/// How often an event whose handling failed is tried again, and after how long: each wait is twice
/// the one before, up to the longest.
///
/// ```
/// use std::time::Duration;
/// use factlog::Retry;
/// let retry = Retry::times(5).wait(Duration::from_millis(10), Duration::from_secs(1));
/// # let _ = retry;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Retry {
    times: u32,
    first: Duration,
    longest: Duration,
}

impl Default for Retry {
    /// Ten times, after 100 ms, 200 ms and so on up to 30 s: 81 seconds in all.
    fn default() -> Self {
        Self::times(10)
    }
}

impl Retry {
    /// So many times after the first attempt.
    pub const fn times(times: u32) -> Self {
        Self { times, first: Duration::from_millis(100), longest: Duration::from_secs(30) }
    }

    /// Not at all.
    pub const fn never() -> Self {
        Self::times(0)
    }

    /// Without end: an outage is waited for, and a poison event holds up what follows it.
    pub const fn forever() -> Self {
        Self::times(u32::MAX)
    }

    /// How long before the first repetition, and how long at most before a later one.
    pub const fn wait(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// How long to wait after so many failures; `None` when it was enough.
    pub(super) fn after(&self, failures: u32) -> Option<Duration> {
        if failures > self.times {
            return None;
        }
        let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        Some(self.first.saturating_mul(doubled).min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let retry = Retry::times(4).wait(Duration::from_millis(10), Duration::from_millis(35));
        let waits: Vec<_> = (1..=5).map(|n| retry.after(n).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(10), Some(20), Some(35), Some(35), None]);
        assert_eq!(Retry::never().after(1), None);
        let default: Duration = (1..=10).filter_map(|n| Retry::default().after(n)).sum();
        assert_eq!(default.as_secs(), 81);
        let long = Retry::forever().after(4_000_000_000);
        assert_eq!(long, Some(Duration::from_secs(30)));
    }
}
