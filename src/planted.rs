//! Layer 0.2: bugs planted on purpose, to see the tests notice them.
//!
//! Knows: which one is on: the one that `FACTLOG_PLANTED` names, in a build with
//! `--cfg factlog_planted`, which no feature sets. In every other build `planted!` is `false` and
//! this is all that is left of it. Does not know: what the bugs break; `tests/it/planted.rs` has
//! the list, and says which test catches which.

/// Whether the bug of this name is on.
#[cfg(factlog_planted)]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_on(stringify!($bug))
    };
}

/// Nothing is planted here.
#[cfg(not(factlog_planted))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(factlog_planted)]
pub(crate) fn is_on(bug: &str) -> bool {
    static ON: crate::sync::OnceLock<Option<String>> = crate::sync::OnceLock::new();
    let on = ON.get_or_init(|| std::env::var("FACTLOG_PLANTED").ok());
    on.as_deref() == Some(bug)
}
