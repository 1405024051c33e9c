//! Layer 2.1: the whole contract with the operating system, and thereby the fault model.
//!
//! Knows: names, bytes, and what survives a power cut. Does not know: frames, segments, events.
//! Every implementation ([`RealDisk`](super::RealDisk), [`MemDisk`](super::MemDisk) and the
//! simulated disk) keeps exactly this text; the simulated one is as nasty as the text allows.
//!
//! A `Disk` is one directory. Names are plain file names (no separators), made by
//! `format/names.rs` from numbers only. Three things are durable independently of each other:
//! the bytes of a file (per 512-byte sector), the size of a file, and the directory's entries.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use super::map::Mapped;

/// How a file is opened. No mode ever truncates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Must exist; reads and syncs. Anything that would change it is `PermissionDenied`.
    Read,
    /// Must exist; reads and writes.
    Write,
    /// Must not exist; it is created empty with mode 0600, for reads and writes.
    Create,
}

/// One directory of files. Shared between threads; every call may run at any time.
pub trait Disk: Any + Send + Sync + Debug {
    /// Where this is, for messages only.
    fn location(&self) -> String;

    /// Makes the directory (mode 0700) and its missing parents, if they are not there, and syncs
    /// what contains it, where that may be opened. Until it is there, every other call is
    /// `NotFound`.
    fn create_root(&self) -> io::Result<()>;

    /// The names in the directory, in no order. Names that are not UTF-8 are left out.
    /// A directory that does not exist is `NotFound`.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a regular file. A symbolic link, FIFO, device or directory under that name is refused
    /// (`InvalidInput`) without blocking. After `Create` the entry is visible at once but survives
    /// a power cut only after [`Disk::sync_dir`]; before that it may be there, be missing, or be
    /// there empty. A name that is not a plain file name is `InvalidInput`, here and everywhere.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames over whatever has the new name, atomically for other processes. Until
    /// [`Disk::sync_dir`] a power cut may leave the old state or the new, never a mixture of names.
    /// The renamed file's bytes are only as durable as its own last sync.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the name. Until [`Disk::sync_dir`] the file may come back.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives the file `name` a second name, `new`, in the directory `to`: both name the same bytes
    /// from then on. The new entry is a creation there: it survives a power cut only after
    /// [`Disk::sync_dir`] of `to`, and the file's bytes are only as durable as its own last sync. A
    /// name that is taken is `AlreadyExists`. Directories that cannot share a file, because they
    /// are of different kinds or on different file systems, answer `CrossesDevices` or
    /// `Unsupported` and have done nothing; who asked copies instead.
    fn link(&self, name: &str, to: &dyn Disk, new: &str) -> io::Result<()> {
        let _ = (name, to, new);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes every creation, link, rename and removal that returned before this call durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the exclusive lock kept in the file `name` (created if absent), against other
    /// processes and other openings in this process (also through another path to the same
    /// directory). Answers `None`, and touches nothing, when somebody else holds it. The lock ends
    /// when the guard is dropped or the process dies.
    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// Whether somebody holds that lock at this moment; takes and writes nothing. A disk of your
    /// own may leave it out: then nobody is known to hold it.
    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let _ = name;
        Ok(false)
    }
}

/// Held as long as the directory is ours; dropping it gives the lock back.
pub trait DiskLock: Send + Sync + Debug {}

/// One open file. Reads and writes carry their offset; there is no cursor.
pub trait DiskFile: Send + Sync + Debug {
    /// The current size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// How many bytes of the disk it occupies, so far as that is known: a file with holes occupies
    /// less than its size.
    fn allocated(&self) -> io::Result<u64> {
        self.size()
    }

    /// Reads until `buffer` is full or the file ends; answers how many bytes were read.
    /// Interrupted and short reads are continued. An error says nothing about the bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`, growing the file if needed (a gap reads as zeros). Interrupted and
    /// short writes are continued. After an error any part of the range may be old or new. Until a
    /// sync, a power cut leaves each 512-byte sector of the range old, new, zero or garbage, in any
    /// combination; bytes outside the range keep their value, also within a shared sector.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves space so that the file is at least `size` bytes long, reading as zeros; fails early
    /// when the disk is full. Durable after a sync. Never shrinks.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Cuts or extends (with zeros) to `size`. Durable after a sync.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes every write to this file that returned before this call durable, and as much of the
    /// size as reading them back needs. **An error is final**: afterwards the unsynced writes may
    /// or may not be on disk, reads may show bytes that a power cut takes away, and a second call
    /// may answer success without having made anything durable. The error may be reported only to
    /// one of several open descriptions of the file.
    fn sync(&self) -> io::Result<()>;

    /// The first `length` bytes, read-only and unchanging: mapped, or copied where there is no
    /// mapping. Only for files that nobody writes any more. More than the file has is
    /// `UnexpectedEof`.
    fn map(&self, length: u64) -> io::Result<Mapped>;
}

/// Refuses what is not a plain file name, so that no name can lead out of the directory.
pub(super) fn check_name(name: &str) -> io::Result<()> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\\', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"));
    }
    Ok(())
}

/// The error of linking into a directory that is not of the same kind.
pub(super) fn not_shared() -> io::Error {
    io::Error::new(io::ErrorKind::CrossesDevices, "the directories cannot share a file")
}

/// The error of every change through a file opened with [`Access::Read`].
pub(super) fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading only")
}
