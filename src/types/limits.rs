//! Layer 0.0: every bound in one place, each with its reason.
//!
//! Knows: numbers. Does not know: who checks them.

/// Longest stream name in bytes: KurrentDB users bring such names, and a name still fits a cache
/// line many times over in an index page.
pub(crate) const STREAM_NAME_MAX: usize = 1024;
/// Longest event type in bytes; its length is stored in one byte.
pub(crate) const EVENT_TYPE_MAX: usize = 255;
/// Longest tag in bytes; its length is stored in one byte.
pub(crate) const TAG_MAX: usize = 255;
/// Most tags on one event: each costs an index entry.
pub(crate) const TAGS_MAX: usize = 64;
/// Longest subject in bytes; its length is stored in one byte.
pub(crate) const SUBJECT_MAX: usize = 255;
/// Longest name of a checkpoint or snapshot in bytes; its length is stored in one byte.
pub(crate) const NAME_MAX: usize = 255;
/// Most metadata bytes of one event: metadata is read by filters, data is not.
pub(crate) const METADATA_MAX: usize = 64 << 10;
/// Event data limit unless the store is opened with another.
pub(crate) const EVENT_DATA_DEFAULT: usize = 1 << 20;
/// Highest event data limit that can be set: a CRC-32 should not cover more.
pub(crate) const EVENT_DATA_CEILING: usize = 64 << 20;
/// A batch lies within one segment, and offsets within a segment are 32 bits wide; room is left for
/// the segment's own frames.
pub(crate) const BATCH_BYTES_MAX: u64 = (4 << 30) - (1 << 20);
/// Segment size unless set: 64 MiB scans in tens of milliseconds.
pub(crate) const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Smallest segment that can be set; small ones are for tests.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Largest segment that can be set (below 4 GiB: offsets are 32 bits wide).
pub(crate) const SEGMENT_BYTES_CEILING: u64 = (4 << 30) - (4 << 10);
/// Bytes waiting in the append queue before callers feel backpressure.
pub(crate) const QUEUE_BYTES_DEFAULT: usize = 64 << 20;
/// Batches waiting in the append queue before callers feel backpressure.
pub(crate) const QUEUE_BATCHES_DEFAULT: usize = 16 << 10;

const _: () = assert!(EVENT_TYPE_MAX <= u8::MAX as usize && TAG_MAX <= u8::MAX as usize);
const _: () = assert!(STREAM_NAME_MAX <= u16::MAX as usize && TAGS_MAX <= u8::MAX as usize);
const _: () = assert!(BATCH_BYTES_MAX < u32::MAX as u64);

/// The bounds that a store can be opened with, checked on every append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes of data in one event.
    pub event_data_max: usize,
    /// Bytes that may wait in the append queue.
    pub queue_bytes: usize,
    /// Batches that may wait in the append queue.
    pub queue_batches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_data_max: EVENT_DATA_DEFAULT,
            queue_bytes: QUEUE_BYTES_DEFAULT,
            queue_batches: QUEUE_BATCHES_DEFAULT,
        }
    }
}
