//! Layer 4.1: the live file: written after every sync, read by followers and by recovery.
//!
//! Knows: slots and sequence. Does not know: when something is durable.

use super::files::{failed, read_small};
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{FileName, LIVE_BYTES, LiveMark, name_of};
use crate::sync::Arc;
use crate::types::Result;
use uuid::Uuid;

/// The live file of a store open for writing.
#[derive(Debug)]
pub(crate) struct LiveFile {
    file: Arc<dyn DiskFile>,
    /// The same file opened once more: a sync that may overlap another must not share its open
    /// file, because an error is reported once per open file.
    idle: Arc<dyn DiskFile>,
    sequence: u64,
}

/// The newest mark, if there is any that checks.
pub(crate) fn read_live(disk: &dyn Disk, store: Uuid) -> Result<Option<LiveMark>> {
    let bytes = read_small(disk, &name_of(FileName::Live), LIVE_BYTES as u64)?;
    Ok(bytes.and_then(|bytes| LiveMark::newest(&bytes, store)))
}

impl LiveFile {
    /// Opens it, making it when it is not there. `newest` is the newest mark in it.
    pub(crate) fn open(disk: &dyn Disk, newest: Option<&LiveMark>) -> Result<Self> {
        let name = name_of(FileName::Live);
        let file = match disk.open(&name, Access::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = disk.open(&name, Access::Create).map_err(failed("create", &name))?;
                // A torn beginning is as good as none: only whole marks count.
                file.write_at(&vec![0; LIVE_BYTES], 0).map_err(failed("write", &name))?;
                file.sync().map_err(failed("sync", &name))?;
                disk.sync_dir().map_err(failed("sync the directory after making", &name))?;
                file
            }
            other => other.map_err(failed("open", &name))?,
        };
        let idle = disk.open(&name, Access::Write).map_err(failed("open", &name))?;
        Ok(Self { file, idle, sequence: newest.map_or(0, |mark| mark.sequence) })
    }

    /// Writes a mark; it is not synced.
    pub(crate) fn write(&mut self, mark: LiveMark) -> Result<()> {
        let mark = LiveMark { sequence: self.sequence + 1, ..mark };
        let name = || name_of(FileName::Live);
        self.file.write_at(&mark.encode(), mark.offset()).map_err(failed("write", &name()))?;
        self.sequence = mark.sequence;
        Ok(())
    }

    /// Makes the marks durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(failed("sync", &name_of(FileName::Live)))
    }

    /// For a sync at any time, beside whatever else is synced.
    pub(crate) fn idle_handle(&self) -> Arc<dyn DiskFile> {
        self.idle.clone()
    }
}
