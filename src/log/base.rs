//! Layer 4.1: the trim base of an open log.
//!
//! Knows: when a base is the one that the head means, and that its ids are checked late. Does not
//! know: how it came about (`trim.rs`).

use uuid::Uuid;

use super::files::failed;
use crate::disk::{Access, Disk, DiskFile, Mapped};
use crate::format::{Base, BaseEnd, BaseId, BaseStream, FileName, Head, name_of};
use crate::sync::OnceLock;
use crate::types::{Error, ErrorKind, Result};

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

    /// Opens a copy that has no name of its own yet, and reads all of it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn check_copy(file: &dyn DiskFile, name: &str) -> Result<()> {
        let size = file.size().map_err(failed("read", name))?;
        let base = Base::open(file.map(size).map_err(failed("read", name))?, name)?;
        Self { name: name.to_owned(), base, ids_check: OnceLock::new() }.check_ids()
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

/// What the bases say that check.
pub(super) fn base_ends(disk: &dyn Disk, numbers: &[u64]) -> Result<Vec<BaseEnd>> {
    let mut ends = Vec::new();
    for number in numbers {
        match TrimBase::open(disk, *number) {
            Ok(base) => ends.push(*base.end()),
            Err(error) if error.kind() == ErrorKind::Damaged => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ends)
}
