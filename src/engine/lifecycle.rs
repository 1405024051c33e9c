//! Layer 6.1: what becomes of a stream's settings when a batch changes them.
//!
//! Knows: deletion, tombstone, retention, and which of them says nothing new. Does not know: the
//! batch around a change, or whether the stream is as its caller expected (`decide.rs`).

use crate::types::{Error, ErrorKind, Lifecycle, Result, StreamChange, StreamName, Version};

/// New settings of a stream, to be written with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingsWrite {
    pub stream: StreamName,
    pub lifecycle: Lifecycle,
}

/// The settings after a change to a stream that has `last` as its last version.
///
/// # Errors
/// `NotFound`: nothing to delete. `Invalid`: a truncation of what is not there.
pub(crate) fn changed(
    stream: &StreamName,
    (now, last): (Lifecycle, Version),
    change: StreamChange,
) -> Result<Lifecycle> {
    match change {
        StreamChange::Tombstone => Ok(Lifecycle { tombstoned: true, ..now }),
        StreamChange::Delete if last == Version::NONE => {
            let what = format!("stream {:?} has no events to delete", stream.as_str());
            Err(Error::new(ErrorKind::NotFound, what).in_stream(stream.as_str()))
        }
        StreamChange::Delete => Ok(Lifecycle { deleted_at: last, ..now }),
        StreamChange::Retain(retention) => match retention.truncate_before {
            Some(first) if first > last.next() => {
                let what = format!(
                    "stream {:?} cannot be truncated before version {first}: it ends at {last}",
                    stream.as_str()
                );
                Err(Error::invalid(what).in_stream(stream.as_str()).at_version(last))
            }
            _ => Ok(Lifecycle { retention, ..now }),
        },
    }
}
