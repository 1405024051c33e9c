//! Layer 0.2: what can be had of an event's data, and how much of a subject's is in the clear.
//!
//! Knows: the cases. Does not know: events, or keys.

#[cfg(feature = "forget")]
use super::position::Position;

/// What can be had of an event's data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DataState {
    /// It stands in the body as it was given.
    #[default]
    Clear,
    /// What stands in the body is encrypted; nobody outside the store is shown such an event.
    Sealed,
    /// Its key was destroyed.
    Forgotten,
    /// Its key is not in the keyring, or there is no keyring.
    #[cfg_attr(not(feature = "forget"), expect(dead_code, reason = "nobody looks for keys"))]
    NoKey,
    /// Its key is wrapped, and the store was opened without what unwraps it.
    #[cfg_attr(not(feature = "forget"), expect(dead_code, reason = "nobody looks for keys"))]
    Wrapped,
    /// This build cannot decrypt.
    #[cfg_attr(all(feature = "forget", not(test)), expect(dead_code, reason = "this build can"))]
    NotHere,
}

/// How much of a subject is stored in the clear: no key of its can be destroyed, so that it cannot
/// be forgotten. See [`Store::in_clear`](crate::Store::in_clear).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg(feature = "forget")]
pub struct InClear {
    /// Events that name the subject and whose data stands in the log as it was given.
    pub events: u64,
    /// The first of them.
    pub first: Option<Position>,
    /// Whether all of the log could be read; what is damaged is not counted.
    pub whole: bool,
}

#[cfg(feature = "forget")]
impl InClear {
    pub(crate) fn of(found: impl IntoIterator<Item = Option<Position>>) -> Self {
        let mut all = Self { events: 0, first: None, whole: true };
        for position in found {
            match position {
                Some(_) => all.events += 1,
                None => all.whole = false,
            }
            all.first = all.first.or(position);
        }
        all
    }
}
