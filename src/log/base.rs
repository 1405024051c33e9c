//! Layer 4.1: trimming on disk: the base is written, the head says so, and only then files go.
//!
//! Knows: the order of steps that may each crash and be repeated, and how a base is opened. Does
//! not know: what is trimmed, or what a base is asked.

use uuid::Uuid;

use super::files::{create_temporary, failed, put_in_place};
use super::head::HeadFile;
use crate::disk::{Access, Disk, Mapped};
use crate::format::{
    BASE_HEADER_BYTES, Base, BaseEnd, BaseId, BaseParts, BaseStream, FileName, Head, Purpose,
    name_of,
};
use crate::sync::OnceLock;
use crate::types::{Error, Result};

/// The base of an open log.
#[derive(Debug)]
pub(crate) struct TrimBase {
    name: String,
    base: Base<Mapped>,
    /// Whether the ids check: looked at when they are first asked.
    ids_check: OnceLock<bool>,
}

impl TrimBase {
    /// Opens the base with this number.
    ///
    /// # Errors
    /// `Damaged` when it is missing or does not check, `Unsupported`, `Io`.
    pub(crate) fn open(disk: &dyn Disk, number: u64) -> Result<Self> {
        let name = name_of(FileName::Base(number));
        let file = match disk.open(&name, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::damaged(name, 0, "trim base that the head names is missing"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                return Err(Error::damaged(name, 0, "trim base is not a regular file"));
            }
            other => other.map_err(failed("open", &name))?,
        };
        let size = file.size().map_err(failed("read", &name))?;
        let base = Base::open(file.map(size).map_err(failed("read", &name))?, &name)?;
        if base.end().number != number {
            return Err(Error::damaged(name, 32, "trim base belongs to another place"));
        }
        Ok(Self { name, base, ids_check: OnceLock::new() })
    }

    /// Opens the base that the head names, if it names one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn of_head(disk: &dyn Disk, head: &Head) -> Result<Option<Self>> {
        if head.base == 0 {
            return Ok(None);
        }
        let found = Self::open(disk, head.base)?;
        let end = found.end();
        let ours = end.store == head.store || head.ancestors.iter().any(|a| a.store == end.store);
        if !ours || end.first_segment != head.first_segment {
            let what = "trim base belongs to another store or another head";
            return Err(Error::damaged(found.name, 16, what));
        }
        Ok(Some(found))
    }

    pub(crate) fn end(&self) -> &BaseEnd {
        self.base.end()
    }

    /// What it knows besides the ids.
    pub(crate) fn known(&self) -> &Base<Mapped> {
        &self.base
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// `Damaged` when the ids do not check: any id may have been among them.
    pub(crate) fn check_ids(&self) -> Result<()> {
        match *self.ids_check.get_or_init(|| self.base.ids_check()) {
            true => Ok(()),
            false => {
                let what = "ids of trimmed events do not check";
                Err(Error::damaged(&*self.name, self.base.ids_start(), what))
            }
        }
    }

    /// The newest trimmed event with this id for which `take` makes anything.
    ///
    /// # Errors
    /// As [`Self::check_ids`], if the id may be among them.
    pub(crate) fn with_id<R>(
        &self,
        id: &Uuid,
        mut take: impl FnMut(&BaseId, BaseStream<'_>) -> Option<R>,
    ) -> Result<Option<R>> {
        if !self.base.may_have(id) {
            return Ok(None);
        }
        self.check_ids()?;
        let found = self.base.with_id(id).filter_map(|found| {
            let stream = self.base.stream_at(found.stream)?;
            take(&found, stream)
        });
        Ok(found.last())
    }
}

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
        self.head.update(|head| {
            head.base = number;
            head.first_segment = first_segment;
            head.durable = head.durable.max(self.durable);
        })?;
        Ok(base)
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
    let file = create_temporary(disk, &temporary)?;
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
    put_in_place(disk, &temporary, &name)
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
