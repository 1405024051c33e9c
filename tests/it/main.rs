//! The integration tests: one binary, a module per behaviour.

mod append;
mod basics;
mod model;
mod reads;
mod support;
mod tables;
