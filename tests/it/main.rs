//! The integration tests: one binary, a module per behaviour.

mod basics;
mod crash;
mod faults;
mod recovery;
mod rig;
