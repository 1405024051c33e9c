//! Any bytes as the tail of a store that is opened: a typed error, or a prefix that stays.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::recover(bytes));
