//! Layer 7.9: bodies of the fuzz targets, shared with the tests that replay their corpora.
//!
//! Knows: how to feed arbitrary bytes to what reads, decides and recovers. Does not know: fuzzers.
//! Nothing here is part of the public promise. A body fails by panicking, hanging or asking for too
//! much memory; each says in its own comment what it asserts. `fuzz/README.md` tells how they run.

mod copies;
mod directory;
mod files;
mod input;
#[cfg(feature = "forget")]
mod keyring;
mod model;
mod program;
mod removal;
mod repair;
mod segment;
mod words;

pub use directory::directory;
pub use files::{base, head, heads, keyed, sidecar};
#[cfg(feature = "forget")]
pub use keyring::keyring;
pub use program::program;
pub use segment::{scan, segment};
pub use words::{event, names, query};

/// What a target does with an input.
pub type Body = fn(&[u8]);

/// Every body by the name of its target and corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("scan", scan),
    ("segment", segment),
    ("event", event),
    ("head", head),
    ("keyed", keyed),
    #[cfg(feature = "forget")]
    ("keyring", keyring),
    ("sidecar", sidecar),
    ("heads", heads),
    ("base", base),
    ("names", names),
    ("query", query),
    ("directory", directory),
    ("program", program),
];

#[cfg(test)]
mod tests;
