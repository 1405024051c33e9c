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
mod branch_crashes;
mod branches;
mod calls;
mod classes;
mod consumers;
mod crash;
mod damage;
mod decide;
mod dump;
mod explore;
mod faults;
mod forget;
mod golden;
mod heads;
mod hostile;
mod inside;
mod mend;
mod model;
mod parts;
#[cfg(factlog_planted)]
mod planted;
mod projections;
mod races;
mod reads;
mod reclaim;
mod recovery;
mod rig;
mod snapshots;
mod space;
mod stress;
mod subscriptions;
mod support;
mod sweeps;
mod syncs;
mod tables;
mod trim;
mod trimmed;
mod typed;
mod verifier;
