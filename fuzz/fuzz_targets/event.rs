//! Any bytes as the body of an event.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::event(bytes));
