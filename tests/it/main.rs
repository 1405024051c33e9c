//! The integration tests: one binary, a module per behaviour.

mod append;
mod basics;
mod model;
mod reads;
mod subscriptions;
mod support;
mod tables;
