//! Layer 0.4: what of a stream is shown and whether it lives: retention, deletion, tombstone.
//!
//! Knows: which events a stream's settings hide, and why. Does not know: where settings are kept,
//! or who asks. Hidden events stay in the log, with their positions and versions, until their bytes
//! are reclaimed.

use std::fmt;
use std::time::Duration;

use super::error::{Error, Result};
use super::position::{Timestamp, Version};

/// How much of a stream is shown; see [`Store::retain`](crate::Store::retain). Of several bounds
/// the stricter counts.
///
/// ```
/// use factlog::{Expect, NewEvent, Retention, Store};
/// let store = Store::in_memory()?;
/// let events = (0..5).map(|n| NewEvent::binary("Measured", vec![n]));
/// store.append("Sensor-1", Expect::Any, events)?;
/// store.retain("Sensor-1", Retention::default().keep_last(2))?;
/// assert_eq!(store.read_stream("Sensor-1").count()?, 2);
/// assert_eq!(store.read_all().count()?, 5); // the log shows them until they are reclaimed
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Retention {
    /// Events below this version are hidden.
    pub truncate_before: Option<Version>,
    /// Only so many of the newest events are shown.
    pub keep_last: Option<u64>,
    /// Events older than this are hidden, counted when they are read.
    pub max_age: Option<Duration>,
}

impl Retention {
    /// Hides events below this version.
    #[must_use]
    pub fn truncate_before(mut self, version: Version) -> Self {
        self.truncate_before = Some(version);
        self
    }

    /// Shows only so many of the newest events.
    #[must_use]
    pub fn keep_last(mut self, events: u64) -> Self {
        self.keep_last = Some(events);
        self
    }

    /// Hides events that are older than this when they are read; counted in microseconds.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// What would hide every event for good is not a bound but a deletion, and said as one.
    pub(crate) fn check(&self) -> Result<()> {
        if self.keep_last == Some(0) {
            return Err(Error::invalid(
                "keep_last 0 would keep nothing; delete the stream instead",
            ));
        }
        match self.max_age.map(|age| u64::try_from(age.as_micros())) {
            Some(Ok(0)) => Err(Error::invalid("max_age is shorter than a microsecond")),
            Some(Err(_)) => Err(Error::invalid("max_age is longer than time is counted")),
            _ => Ok(()),
        }
    }
}

/// Where a stream stands in its life; each state but the first with the version of the last event
/// it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamState {
    /// It never had an event.
    #[default]
    Never,
    /// It has events, or had some that were reclaimed.
    Live(Version),
    /// It was deleted; the next event makes it live again, and its versions go on from here.
    SoftDeleted(Version),
    /// It was deleted for ever: it can never be written again.
    Tombstoned(Version),
}

/// Why an event is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HiddenReason {
    /// Its version is below the one the stream is truncated before.
    Truncated,
    /// Newer events are as many as the stream keeps.
    BeyondKeepLast,
    /// It is older than the stream's greatest age.
    Expired,
    /// Its stream was deleted after it.
    Deleted,
    /// Its stream was deleted for ever.
    Tombstoned,
}

impl HiddenReason {
    /// As it stands in a stub.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Truncated => 1,
            Self::BeyondKeepLast => 2,
            Self::Expired => 3,
            Self::Deleted => 4,
            Self::Tombstoned => 5,
        }
    }

    pub(crate) fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Truncated,
            2 => Self::BeyondKeepLast,
            3 => Self::Expired,
            4 => Self::Deleted,
            5 => Self::Tombstoned,
            _ => return None,
        })
    }
}

/// Why, for people: the end of a sentence about an event.
impl fmt::Display for HiddenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "its stream was truncated",
            Self::BeyondKeepLast => "its stream keeps only newer ones",
            Self::Expired => "it was older than its stream keeps events",
            Self::Deleted => "its stream was deleted",
            Self::Tombstoned => "its stream was deleted for good",
        })
    }
}

/// What a read does with events that their streams' settings hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hidden {
    /// Leaves them out. So do reads of one stream and subscriptions to one unless told otherwise.
    Exclude,
    /// Serves them like others, as long as their bytes are there. So do reads and subscriptions
    /// over more than one stream unless told otherwise: what a stream hides is still part of the
    /// log.
    Include,
    /// Serves them, and marks them:
    /// [`RecordedEvent::hidden`](crate::RecordedEvent::hidden) says why. Those whose bytes were
    /// reclaimed are served too, without data.
    Mark,
}

/// A change to the settings of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamChange {
    Delete,
    Tombstone,
    Retain(Retention),
}

/// The settings of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lifecycle {
    pub retention: Retention,
    /// Everything up to this version was deleted; 0 when it never was. With this as its last
    /// version the stream is deleted, with a higher one it lives again.
    pub deleted_at: Version,
    pub tombstoned: bool,
}

impl Lifecycle {
    /// The state of a stream with `last` as its last version.
    pub(crate) fn state(&self, last: Version) -> StreamState {
        match last {
            last if self.tombstoned => StreamState::Tombstoned(last),
            Version::NONE => StreamState::Never,
            last if last == self.deleted_at => StreamState::SoftDeleted(last),
            last => StreamState::Live(last),
        }
    }

    /// Why the event is hidden, if it is: of a stream with `last` as its last version, at `now`.
    pub(crate) fn hides(
        &self,
        last: Version,
        (version, recorded_at): (Version, Timestamp),
        now: Timestamp,
    ) -> Option<HiddenReason> {
        let Retention { truncate_before, keep_last, .. } = self.retention;
        if self.tombstoned {
            Some(HiddenReason::Tombstoned)
        } else if version <= self.deleted_at {
            Some(HiddenReason::Deleted)
        } else if truncate_before.is_some_and(|first| version < first) {
            Some(HiddenReason::Truncated)
        } else if keep_last.is_some_and(|kept| version.get().saturating_add(kept) <= last.get()) {
            Some(HiddenReason::BeyondKeepLast)
        } else if self.oldest(now).is_some_and(|oldest| recorded_at < oldest) {
            Some(HiddenReason::Expired)
        } else {
            None
        }
    }

    /// The first version shown of a stream with `last` as its last version, by all but its age.
    pub(crate) fn first_shown(&self, last: Version) -> Version {
        let Retention { truncate_before, keep_last, .. } = self.retention;
        let kept = keep_last.map(|kept| Version::new(last.get().saturating_sub(kept) + 1));
        let first = [truncate_before, kept].into_iter().flatten().max().unwrap_or_default();
        match self.tombstoned {
            true => last.next(),
            false => first.max(self.deleted_at.next()),
        }
    }

    /// Whether state folded up to `version` is worth going on from: it is of the stream as it lives
    /// now, and no event between it and those that are shown is missing.
    pub(crate) fn is_reached_by(&self, version: Version) -> bool {
        let first = self.retention.truncate_before.unwrap_or_default();
        let lives = self.deleted_at == Version::NONE || version > self.deleted_at;
        !self.tombstoned && lives && version.next() >= first
    }

    /// Events recorded before this are too old.
    pub(crate) fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        let age = self.retention.max_age.map(|age| u64::try_from(age.as_micros()))?;
        let age = age.unwrap_or(u64::MAX);
        Some(Timestamp::from_micros(now.micros().saturating_sub(age)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u64) -> (Version, Timestamp) {
        (Version::new(version), Timestamp::from_micros(version * 10))
    }

    fn shown(lifecycle: &Lifecycle, last: u64, now: u64) -> Vec<u64> {
        let (last, now) = (Version::new(last), Timestamp::from_micros(now));
        let shown = |version: &u64| lifecycle.hides(last, at(*version), now).is_none();
        (1..=last.get()).filter(shown).collect()
    }

    fn retaining(retention: Retention) -> Lifecycle {
        Lifecycle { retention, ..Lifecycle::default() }
    }

    #[test]
    fn of_several_bounds_the_stricter_counts() {
        let all = Retention::default();
        let age = Duration::from_micros(25);
        let table: [(Retention, &[u64]); 6] = [
            (all, &[1, 2, 3, 4, 5]),
            (all.truncate_before(Version::new(3)), &[3, 4, 5]),
            (all.keep_last(2), &[4, 5]),
            (all.max_age(age), &[3, 4, 5]),
            (all.truncate_before(Version::new(5)).keep_last(3).max_age(age), &[5]),
            (all.truncate_before(Version::new(6)), &[]),
        ];
        for (retention, expected) in table {
            assert_eq!(shown(&retaining(retention), 5, 50), expected, "{retention:?}");
        }
    }

    #[test]
    fn the_first_version_shown_is_the_first_that_is_not_hidden() {
        let all = Retention::default();
        for truncated in 1..7 {
            for kept in 1..7 {
                for deleted in 0..=5 {
                    let retention = all.truncate_before(Version::new(truncated)).keep_last(kept);
                    let deleted_at = Version::new(deleted);
                    let lifecycle = Lifecycle { retention, deleted_at, tombstoned: false };
                    let first = lifecycle.first_shown(Version::new(5)).get();
                    let expected: Vec<u64> = (first..=5).collect();
                    assert_eq!(shown(&lifecycle, 5, 0), expected, "{lifecycle:?}");
                }
            }
        }
    }

    #[test]
    fn a_deleted_stream_lives_again_with_the_next_event_and_a_tombstoned_one_never() {
        let mut lifecycle = Lifecycle { deleted_at: Version::new(2), ..Lifecycle::default() };
        assert_eq!(lifecycle.state(Version::NONE), StreamState::Never);
        assert_eq!(lifecycle.state(Version::new(2)), StreamState::SoftDeleted(Version::new(2)));
        assert_eq!(lifecycle.state(Version::new(3)), StreamState::Live(Version::new(3)));
        assert_eq!(shown(&lifecycle, 3, 0), [3]);
        lifecycle.tombstoned = true;
        assert_eq!(lifecycle.state(Version::new(3)), StreamState::Tombstoned(Version::new(3)));
        assert!(shown(&lifecycle, 3, 0).is_empty());
        assert_eq!(lifecycle.state(Version::NONE), StreamState::Tombstoned(Version::NONE));
    }

    #[test]
    fn settings_that_would_keep_nothing_are_refused() {
        let all = Retention::default();
        let beyond = Duration::from_secs(u64::MAX);
        for bad in [all.keep_last(0), all.max_age(Duration::from_nanos(999)), all.max_age(beyond)] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(all.keep_last(1).max_age(Duration::from_micros(1)).check().is_ok());
    }
}
