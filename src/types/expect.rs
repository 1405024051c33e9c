//! Layer 0.2: what the caller believes of a stream.
//!
//! Knows: the four beliefs. Does not know: how they are judged (`engine/decide.rs`).

use std::fmt;

use super::position::Version;

/// What must hold of a stream for an append to it to go through. There is no default: a caller who
/// does not care says [`Expect::Any`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Whatever its state.
    Any,
    /// It has no events (never had, or was deleted since).
    NoStream,
    /// It has at least one event.
    StreamExists,
    /// It has exactly this many events; `Version(0)` is a stream that never existed.
    Version(Version),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::NoStream => f.write_str("no stream"),
            Self::StreamExists => f.write_str("an existing stream"),
            Self::Version(version) => write!(f, "version {version}"),
        }
    }
}
