//! The frames of a segment with their checksums made true: the walk and the verdict.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::segment(bytes));
