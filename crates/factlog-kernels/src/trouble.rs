//! Layer 0.0: what can go wrong here: the store broke a promise, or the machine did not play along.
//!
//! Knows: how it is told. Does not know: how it came about.

use std::fmt;

/// Why something ended.
#[derive(Debug)]
pub enum Trouble {
    /// The store broke a promise.
    Finding(String),
    /// A tool or the machine failed; nothing is said about the store.
    Machine(String),
    /// The machine does not allow a campaign at all.
    Lacks(String),
}

pub type Outcome<T> = Result<T, Trouble>;

impl Trouble {
    /// `what` failed in the operating system.
    pub fn io<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Machine(format!("{what}: {error}"))
    }

    /// The same, said of a seed or a place.
    pub fn at(self, place: impl fmt::Display) -> Self {
        match self {
            Self::Finding(text) => Self::Finding(format!("{place}: {text}")),
            Self::Machine(text) => Self::Machine(format!("{place}: {text}")),
            Self::Lacks(why) => Self::Lacks(why),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finding(text) => write!(f, "kernels: FINDING: {text}"),
            Self::Machine(text) => write!(f, "kernels: the machine: {text}"),
            Self::Lacks(why) => f.write_str(why),
        }
    }
}

/// A promise that must hold.
pub fn holds(truth: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if truth { Ok(()) } else { Err(Trouble::Finding(otherwise())) }
}

/// A call of the store that must succeed.
pub fn answers<T>(result: factlog::Result<T>, call: &str) -> Outcome<T> {
    result.map_err(|error| Trouble::Finding(format!("{call}: {error:?}")))
}
