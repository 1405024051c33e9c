//! Operations, faults and crash points against the model.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::program(bytes));
