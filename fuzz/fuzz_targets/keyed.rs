//! Saved checkpoints and snapshots: read, written to, read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::keyed(bytes));
