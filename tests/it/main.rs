//! The integration tests: one binary, a module per behaviour.

mod basics;
mod crash;
mod faults;
mod hostile;
mod recovery;
mod rig;
