//! Layer 5.9: what can be derived from the log: indexes that may be deleted at any time.
//!
//! | file | what |
//! |---|---|
//! | `hash`, `term` | the hashes that are stored, each written down |
//! | `names`, `postings`, `ids`, `fuse` | the parts: texts, lists, ids, a filter |
//! | `lookup` | the questions a segment's index answers |
//! | `streams`, `tail` | the index of a segment in memory |
//! | `layout`, `build`, `sidecar` | the same as a file: its bytes, making and reading it |
//! | `heads`, `heads_file` | where streams stand: in memory, and as a file searched where it lies |

mod build;
mod fuse;
mod hash;
mod heads;
mod heads_file;
mod ids;
mod layout;
mod lookup;
mod names;
mod postings;
mod sidecar;
mod streams;
mod tail;
mod term;
#[cfg(test)]
mod tests;

pub(crate) use build::encode;
pub(crate) use heads::{Head, HeadTable};
pub(crate) use heads_file::{HeadsFile, encode_heads};
pub(crate) use layout::Binding;
pub(crate) use lookup::{CheckpointEntry, SegmentLookup, SettingsEntry, StreamPart, StreamRun};
pub(crate) use sidecar::Sidecar;
pub(crate) use tail::TailIndex;
pub(crate) use term::Term;
