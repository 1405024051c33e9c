//! Layer 4.2: trimming on disk: the base is written, the head says so, and only then files go.
//!
//! Knows: the order of steps that may each crash and be repeated. Does not know: what is trimmed,
//! or what a base is asked.

use super::base::TrimBase;
use super::files::{failed, make_file};
use super::head::{HeadFile, read_heads};
use crate::disk::Disk;
use crate::format::{BASE_HEADER_BYTES, BaseId, BaseParts, FileName, Head, Purpose, name_of};
use crate::types::{Error, ErrorKind, Result};

/// A log whose front is to go: where it begins from then on, and all that is to be known of before.
pub(crate) struct Trimmable<'a, I> {
    pub disk: &'a dyn Disk,
    pub head: &'a HeadFile,
    /// The newest durable frame: what is retained is never taken for torn.
    pub durable: u64,
    pub parts: BaseParts<'a, I>,
}

impl<I: Iterator<Item = BaseId>> Trimmable<'_, I> {
    /// Makes the log begin where the base says. When this returns that is durable, and nothing has
    /// been removed.
    ///
    /// # Errors
    /// `DiskFull`, `Io`: the log begins where it did, or, if the head was in doubt and the store is
    /// opened again, where it was to begin.
    pub(crate) fn mark(mut self) -> Result<TrimBase> {
        let number = unused_number(self.disk, self.head.get().base)?;
        self.parts.end.number = number;
        let first_segment = self.parts.end.first_segment;
        write_base(self.disk, self.parts)?;
        if planted!(TrimmedBeforeMark) {
            let soon = Head { base: number, first_segment, ..self.head.get() };
            clear_trimmed(self.disk, &soon)?;
        }
        let base = TrimBase::open(self.disk, number)?;
        let marked = self.head.update(|head| {
            head.base = number;
            head.first_segment = first_segment;
            head.durable = head.durable.max(self.durable);
        });
        if let Err(error) = marked {
            if error.kind() == ErrorKind::DiskFull && !planted!(UnmadeFileKept) {
                discard_unnamed(self.disk, number);
            }
            return Err(error);
        }
        Ok(base)
    }
}

/// A base that no head came to name has no use, and on a full disk it has the space without which
/// the store cannot even be opened for writing. One that a head names may come to count.
fn discard_unnamed(disk: &dyn Disk, number: u64) {
    let named = |head: &Head| head.base == number;
    let unnamed = read_heads(disk)
        .is_ok_and(|read| read.damaged.is_none() && !read.newest.as_ref().is_some_and(named));
    if unnamed {
        let _ = disk.remove(&name_of(FileName::Base(number)));
    }
}

/// A number that no base ever had: an attempt that failed half-way may still be named by a head.
fn unused_number(disk: &dyn Disk, known: u64) -> Result<u64> {
    let names = disk.list().map_err(|e| Error::io("cannot list the directory", e))?;
    let number = |name: &String| match FileName::parse(name) {
        Some(FileName::Base(number)) => Some(number),
        _ => None,
    };
    Ok(names.iter().filter_map(number).max().unwrap_or(0).max(known).saturating_add(1))
}

fn write_base<I: Iterator<Item = BaseId>>(disk: &dyn Disk, parts: BaseParts<'_, I>) -> Result<()> {
    let temporary = name_of(FileName::Temporary(Purpose::Base));
    let name = name_of(FileName::Base(parts.end.number));
    make_file(disk, &temporary, &name, |file| {
        let mut offset = BASE_HEADER_BYTES as u64;
        let header = parts.write(&mut |piece| {
            if !piece.is_empty() {
                file.write_at(piece, offset).map_err(failed("write", &temporary))?;
            }
            offset += piece.len() as u64;
            Ok(())
        })?;
        file.write_at(&header, 0).map_err(failed("write", &temporary))?;
        if !planted!(BaseNotSynced) {
            file.sync().map_err(failed("sync", &temporary))?;
        }
        Ok(())
    })
}

/// Removes what lies before the log's first segment: segments, their indexes, older bases. Both
/// generations of the head must say by then where the log begins, or the loss of the newest would
/// bring back one that lists them.
///
/// # Errors
/// `Io`; what is left is removed by the next trim, or when the store is opened for writing.
pub(crate) fn clear_trimmed(disk: &dyn Disk, head: &Head) -> Result<bool> {
    let names = disk.list().map_err(|e| Error::io("cannot list the directory", e))?;
    let mut any = false;
    for name in names.iter().filter(|name| is_trimmed(name, head)) {
        match disk.remove(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(failed("remove", name))?,
        }
        any = true;
    }
    if any {
        disk.sync_dir().map_err(failed("sync the directory after removing", "trimmed files"))?;
    }
    Ok(any)
}

/// Whether anything is there that [`clear_trimmed`] would remove.
pub(crate) fn has_trimmed(disk: &dyn Disk, head: &Head) -> Result<bool> {
    let names = disk.list().map_err(|e| Error::io("cannot list the directory", e))?;
    Ok(names.iter().any(|name| is_trimmed(name, head)))
}

fn is_trimmed(name: &str, head: &Head) -> bool {
    match FileName::parse(name) {
        Some(FileName::Segment(number) | FileName::Sidecar(number) | FileName::Part(number, _)) => {
            number < head.first_segment
        }
        Some(FileName::Base(number)) => number != head.base,
        _ => false,
    }
}
