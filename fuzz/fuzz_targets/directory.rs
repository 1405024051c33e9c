//! A whole directory, damaged or forged, opened for reading and for writing.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::directory(bytes));
