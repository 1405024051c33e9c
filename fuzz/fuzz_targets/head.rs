//! Head file, live file and the block before a segment's frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::head(bytes));
