//! Any bytes as frames: no panic, no endless loop, no frame that does not check.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::scan(bytes));
