//! Layer 3.0: the bytes of one segment, mapped when it is sealed, by positioned reads otherwise.
//!
//! Knows: windows and records. Does not know: which events there are. Reads never write, and never
//! ask for more memory than the file is long.

use std::io;

use crate::disk::{DiskFile, Mapped};
use crate::format::{RECORD_HEAD_BYTES, Record, RecordHead, Source, decode_event};
use crate::sync::Arc;
use crate::types::EventRef;

/// How much is read at once where bytes are read in order.
pub(crate) const WINDOW_BYTES: usize = 256 << 10;
/// How much is read at once for one event: most events are smaller.
const EVENT_BYTES: usize = 2 << 10;

/// Where a segment's bytes come from.
#[derive(Debug)]
pub(crate) enum SegmentBytes {
    Mapped(Mapped),
    File(Arc<dyn DiskFile>),
}

/// A file read through one window that moves along.
#[derive(Debug)]
pub(crate) struct FileSource {
    file: Arc<dyn DiskFile>,
    /// Nothing at or beyond this offset is read: it may still be written.
    limit: u64,
    window: Vec<u8>,
    start: u64,
    least: usize,
}

impl FileSource {
    pub(crate) fn new(file: Arc<dyn DiskFile>, limit: u64) -> Self {
        Self { file, limit, window: Vec::new(), start: 0, least: WINDOW_BYTES }
    }

    /// Reads little at a time, for single events.
    pub(crate) fn sparing(file: Arc<dyn DiskFile>, limit: u64) -> Self {
        Self { least: EVENT_BYTES, ..Self::new(file, limit) }
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        let end = self.file.size()?.min(self.limit);
        let wanted = u64::try_from(length.max(self.least)).unwrap_or(u64::MAX);
        let size = usize::try_from(end.saturating_sub(offset).min(wanted)).unwrap_or(0);
        self.window.resize(size, 0);
        self.start = offset;
        let read = self.file.read_at(&mut self.window, offset)?;
        self.window.truncate(read);
        Ok(())
    }

    fn held(&self, offset: u64, length: usize) -> Option<(usize, usize)> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let end = at.checked_add(length)?;
        (end <= self.window.len()).then_some((at, end))
    }
}

impl Source for FileSource {
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        if self.held(offset, length).is_none() {
            self.fill(offset, length)?;
        }
        let at = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let end = at.saturating_add(length).min(self.window.len());
        Ok(self.window.get(at..end).unwrap_or_default())
    }
}

struct MappedSource<'a>(&'a [u8]);

impl Source for MappedSource<'_> {
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        self.0.bytes(offset, length)
    }
}

/// A source over the whole of `bytes`, up to `limit`.
pub(crate) fn source_of(bytes: &SegmentBytes, limit: u64) -> Box<dyn Source + '_> {
    match bytes {
        SegmentBytes::Mapped(map) => {
            let end = usize::try_from(limit).unwrap_or(usize::MAX).min(map.len());
            Box::new(MappedSource(map.get(..end).unwrap_or_default()))
        }
        SegmentBytes::File(file) => Box::new(FileSource::new(file.clone(), limit)),
    }
}

/// The event whose record begins at `offset`, if it checks.
pub(crate) fn read_event(
    source: &mut dyn Source,
    offset: u64,
    seed: u32,
) -> io::Result<Option<EventRef<'_>>> {
    let head = RecordHead::decode(source.bytes(offset, RECORD_HEAD_BYTES)?, seed);
    let Some(head) = head else { return Ok(None) };
    let bytes = source.bytes(offset, head.record_bytes())?;
    Ok(Record::decode(bytes, seed).and_then(|record| decode_event(&record)))
}
