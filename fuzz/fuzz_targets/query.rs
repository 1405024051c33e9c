//! Queries, answered by indexes and by looking at every event.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::query(bytes));
