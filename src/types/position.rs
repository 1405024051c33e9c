//! Layer 0.1: where an event stands: in the store, in its stream, in time.
//!
//! Knows: that positions and versions count from 1 and are not interchangeable. Does not know:
//! events.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// The number itself made into this kind.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// `count` further on.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The number of an event within the store: from 1, without gaps. 0 is before the first event,
    /// so that `after(Position::START)` is the beginning.
    ///
    /// A position cannot be passed where a version belongs:
    /// ```compile_fail
    /// # use factlog::{Expect, Position};
    /// let expect = Expect::Version(Position::new(3));
    /// ```
    Position
}

number! {
    /// The number of an event within its stream: from 1, without gaps. Said of a stream, how many
    /// events it has; 0 is a stream without events.
    Version
}

impl Position {
    /// Before the first event.
    pub const START: Self = Self::new(0);
}

impl Version {
    /// A stream without events.
    pub const NONE: Self = Self::new(0);
}

/// When an event was recorded: microseconds since the Unix epoch. Never decreases with the
/// position; orders nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        UNIX_EPOCH.checked_add(Duration::from_micros(at.0)).unwrap_or(UNIX_EPOCH)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}
