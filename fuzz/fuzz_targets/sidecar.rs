//! A sidecar, true or forged, asked everything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::sidecar(bytes));
