//! The file of heads.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::heads(bytes));
