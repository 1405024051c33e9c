//! Stream names, file names, JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::names(bytes));
