//! The exchange format: one JSON object a line, in and out, pure.
//!
//! Knows: the keys and what they hold. Does not know: stores, files, line numbers.
//!
//! | key | in | out |
//! |---|---|---|
//! | `stream`, `type` | needed | always |
//! | `id` | a UUID; without one the event gets one | always: lower case, hyphens |
//! | `time` | RFC 3339: when it happened; kept in the metadata as `$time` | if known |
//! | `data` | any JSON, kept byte for byte | JSON data |
//! | `data_base64` | bytes | binary data; beside `data` its exact bytes, where it has line breaks |
//! | `metadata`, `metadata_base64` | the same for the metadata | without `$time`; if any is left |
//! | `tags` | strings | if there are any |
//! | `subject` | whose data this is | if known |
//! | `in_clear` | ignored | `true` if the subject's data is not encrypted: it cannot be forgotten |
//! | `schema_version` | 1 to 65535, 1 if absent | unless 1 |
//! | `version`, `position`, `recorded_at` | ignored | always |
//!
//! Other keys are ignored. An event without data has binary data of no bytes.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod moment;
mod parse;
mod write;

pub use parse::{Fact, metadata_with_time, parse};
pub use write::{KEYS, cloud_event, write_line};

/// JSON on one line: line breaks, which JSON has only between its tokens, become spaces.
fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// Whether a line can hold this JSON as it is, and give it back byte for byte.
fn fits_a_line(json: &str) -> bool {
    let blank = |byte: Option<&u8>| byte.is_none_or(|byte| byte.is_ascii_whitespace());
    let bytes = json.as_bytes();
    !blank(bytes.first()) && !blank(bytes.last()) && !json.contains(['\n', '\r'])
}

#[cfg(test)]
mod tests;
