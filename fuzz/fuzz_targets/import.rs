//! Any bytes as a line of the exchange format: the command's own parser and writer.
#![no_main]
#![allow(dead_code, unused_imports, reason = "the parts of the command that this target holds")]

#[path = "../../crates/factlog-cli/src/exchange/mod.rs"]
mod exchange;
#[path = "../../crates/factlog-cli/src/times.rs"]
mod times;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exchange::fuzzing::import(bytes));
