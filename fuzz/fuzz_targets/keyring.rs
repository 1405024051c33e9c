//! The keyring and files of keys: read, forgotten, written to, read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| factlog::fuzzing::keyring(bytes));
