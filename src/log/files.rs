//! Layer 4.0: make a file whole or not at all.
//!
//! Knows: the order of write, sync, rename and directory sync that survives a crash at any step.
//! Does not know: what is in the files.

use crate::disk::{Access, Disk, DiskFile};
use crate::format::{FileName, Purpose, SEGMENT_HEADER_BYTES, SegmentHeader, name_of};
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Result};

/// Zero-written space at the front of a new segment; later space is prepared in the background.
const SEGMENT_START_BYTES: u64 = 256 << 10;

/// Bytes are copied in pieces of about this size.
pub(super) const COPY_BYTES: usize = 4 << 20;

/// Where that space ends.
pub(super) const START_END: u64 = SEGMENT_HEADER_BYTES as u64 + SEGMENT_START_BYTES;

pub(crate) fn failed(what: &str, name: &str) -> impl FnOnce(std::io::Error) -> Error {
    let text = format!("cannot {what} {name}");
    move |source| Error::io(text, source)
}

/// Creates `name` with exactly these bytes, replacing what was there: afterwards, and after a crash
/// at any point, there is the old file or the new one.
pub(crate) fn replace_file(
    disk: &dyn Disk,
    purpose: Purpose,
    name: &str,
    parts: &[&[u8]],
) -> Result<()> {
    let in_place = planted!(HeadInPlace) && purpose == Purpose::Head;
    let temporary = if in_place { name.into() } else { name_of(FileName::Temporary(purpose)) };
    make_file(disk, &temporary, name, |file| {
        let mut offset = 0;
        for part in parts {
            file.write_at(part, offset).map_err(failed("write", &temporary))?;
            offset += part.len() as u64;
        }
        if !planted!(RenamedUnsynced) {
            file.sync().map_err(failed("sync", &temporary))?;
        }
        Ok(())
    })
}

/// A file that is written and synced under a temporary name and then gets its own. On a full disk
/// what there is of it is thrown away: it would keep the space that the next try, or just opening
/// the store, needs.
pub(super) fn make_file<T>(
    disk: &dyn Disk,
    temporary: &str,
    name: &str,
    write: impl FnOnce(&Arc<dyn DiskFile>) -> Result<T>,
) -> Result<T> {
    let made = create_temporary(disk, temporary).and_then(|file| write(&file));
    let placed = made.and_then(|made| put_in_place(disk, temporary, name).map(|()| made));
    let full = matches!(&placed, Err(error) if error.kind() == ErrorKind::DiskFull);
    if full && !planted!(UnmadeFileKept) {
        // If it cannot be removed, the next opening does it.
        let _ = disk.remove(temporary);
    }
    placed
}

/// An empty file under a temporary name; what a crash left there is thrown away.
pub(crate) fn create_temporary(disk: &dyn Disk, temporary: &str) -> Result<Arc<dyn DiskFile>> {
    match disk.open(temporary, Access::Create) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            disk.remove(temporary).map_err(failed("remove", temporary))?;
            disk.open(temporary, Access::Create).map_err(failed("create", temporary))
        }
        other => other.map_err(failed("create", temporary)),
    }
}

/// Overwrites a file's bytes with zeros, as far as a file system lets anybody: one that copies on
/// write, and a disk that spreads its wear, keep the old ones until they want the space.
pub(crate) fn wipe(file: &dyn DiskFile) -> std::io::Result<()> {
    let (size, zeros) = (file.size()?, [0; 4096]);
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_at(zeros.get(..length).unwrap_or_default(), at)?;
        at += length as u64;
    }
    file.sync()
}

/// Overwrites what a crash left under a temporary name, if there is something and it can be.
pub(super) fn wipe_leftover(disk: &dyn Disk, temporary: &str) {
    if let Ok(file) = disk.open(temporary, Access::Write) {
        let _ = wipe(&*file);
    }
}

/// Gives a synced temporary file its name, durably.
pub(crate) fn put_in_place(disk: &dyn Disk, temporary: &str, name: &str) -> Result<()> {
    disk.rename(temporary, name).map_err(failed("rename a file to", name))?;
    if planted!(DirectoryNotSynced) {
        return Ok(());
    }
    disk.sync_dir().map_err(failed("sync the directory after making", name))
}

/// Copies bytes of a file, up to `to` or its end, into one of their own, durably; the originals
/// stay. Answers how many there were.
pub(crate) fn keep_copy(
    disk: &dyn Disk,
    name: &str,
    (from, to): (u64, u64),
    kept: &str,
) -> Result<u64> {
    let temporary = name_of(FileName::Temporary(Purpose::Recovery));
    make_file(disk, &temporary, kept, |copy| {
        let bytes = copy_bytes(disk, (name, from, to), (&**copy, kept, 0))?;
        if !planted!(TornCopyNotSynced) {
            copy.sync().map_err(failed("sync", kept))?;
        }
        Ok(bytes)
    })
}

/// Copies bytes of a file, up to `to` or its end, into another; answers how many there were.
pub(super) fn copy_bytes(
    disk: &dyn Disk,
    (name, from, to): (&str, u64, u64),
    (into, into_name, into_from): (&dyn DiskFile, &str, u64),
) -> Result<u64> {
    let file = disk.open(name, Access::Read).map_err(failed("open", name))?;
    let end = file.size().map_err(failed("read", name))?.min(to);
    let rest = |at: u64| usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
    let (mut at, mut piece) = (from, vec![0; COPY_BYTES.min(rest(from))]);
    while at < end {
        let wanted = rest(at).min(piece.len());
        let part = piece.get_mut(..wanted).unwrap_or_default();
        let read = file.read_at(part, at).map_err(failed("read", name))?;
        let bytes = part.get(..read).unwrap_or_default();
        into.write_at(bytes, into_from + (at - from)).map_err(failed("write", into_name))?;
        if read == 0 {
            break;
        }
        at += read as u64;
    }
    Ok(at.saturating_sub(from))
}

/// Makes an empty segment file: header, some zero-written space, synced, named, directory synced.
pub(crate) fn prepare_segment(disk: &dyn Disk, header: &SegmentHeader) -> Result<()> {
    let name = name_of(FileName::Segment(header.number));
    let space = SEGMENT_START_BYTES.min(header.capacity);
    let zeros = vec![0; usize::try_from(space).unwrap_or(0)];
    replace_file(disk, Purpose::Segment, &name, &[&header.encode(), &zeros])
}

/// The whole of a small file (at most `limit` bytes of it); `None` when it does not exist.
pub(crate) fn read_small(disk: &dyn Disk, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match disk.open(name, Access::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("open", name))?,
    };
    let size = file.size().map_err(failed("read", name))?.min(limit);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0).map_err(failed("read", name))?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Whether the name is one of a store's files.
pub(crate) fn is_ours(name: &str) -> bool {
    FileName::parse(name).is_some()
}

pub(crate) fn is_segment(name: &str) -> bool {
    matches!(FileName::parse(name), Some(FileName::Segment(_)))
}

/// Whether it is an index that can be deleted at any time.
pub(crate) fn is_sidecar(name: &str) -> bool {
    matches!(
        FileName::parse(name),
        Some(FileName::Sidecar(_) | FileName::Part(..) | FileName::Heads)
    )
}
