//! The integration tests: one binary, a module per behaviour.

mod basics;
mod verifier;
