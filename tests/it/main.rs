//! The integration tests: one binary, a module per behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod append;
mod basics;
mod calls;
mod crash;
mod damage;
mod explore;
mod faults;
mod golden;
mod heads;
mod hostile;
mod model;
mod parts;
mod races;
mod reads;
mod recovery;
mod rig;
mod subscriptions;
mod support;
mod syncs;
mod tables;
mod verifier;
