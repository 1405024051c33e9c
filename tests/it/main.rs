//! The integration tests: one binary, a module per behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod basics;
mod crash;
mod faults;
mod hostile;
mod recovery;
mod rig;
