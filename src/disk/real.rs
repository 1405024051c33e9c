//! Layer 2.3: the operating system's disk.
//!
//! Knows: how the contract in `api.rs` is kept by a real directory, and who in this process holds
//! which lock. Does not know: system calls, which are in `directory_unix.rs` (and
//! `directory_portable.rs` for everything else).

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::api::{Access, Disk, DiskFile, DiskLock, check_name, not_shared, read_only};
#[cfg(not(unix))]
use super::directory_portable as os;
#[cfg(unix)]
use super::directory_unix as os;
use super::map::Mapped;

/// A directory of the file system. It is held open from its first use on, so that all files come
/// from the same directory even if the path changes its meaning.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: OnceLock<os::Directory>,
}

impl RealDisk {
    /// The directory at `path`, which need not exist yet; nothing is touched.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), directory: OnceLock::new() }
    }

    fn directory(&self) -> io::Result<&os::Directory> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        let directory = os::Directory::open(&self.path)?;
        Ok(self.directory.get_or_init(|| directory))
    }

    /// The directory, once the name has proved to be a name.
    fn directory_for(&self, name: &str) -> io::Result<&os::Directory> {
        check_name(name)?;
        self.directory()
    }
}

impl Disk for RealDisk {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn create_root(&self) -> io::Result<()> {
        match self.directory() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_durably(&self.path)?,
            // Whoever made it may have died before syncing.
            found => found?.sync_parent()?,
        }
        self.directory().map(drop)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.directory()?.names()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let handle = self.directory_for(name)?.open_file(name, access)?;
        Ok(Arc::new(RealFile { handle, writable: access != Access::Read }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(to)?;
        self.directory_for(from)?.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory_for(name)?.remove(name)
    }

    fn link(&self, name: &str, to: &dyn Disk, new: &str) -> io::Result<()> {
        let to: &dyn Any = to;
        let to = to.downcast_ref::<Self>().ok_or_else(not_shared)?;
        self.directory_for(name)?.link(name, to.directory_for(new)?, new)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory()?.sync()
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        let directory = self.directory_for(name)?;
        let key = (directory.identity()?, name.to_owned());
        // First of all, because where locks belong to processes (NFS), opening and closing the
        // file a second time would already give our own lock away.
        if !HELD.lock().insert(key.clone()) {
            return Ok(None);
        }
        let mut lock = RealLock { key, file: None, owner: std::process::id() };
        let handle = directory.open_or_create(name)?;
        match try_lock(handle.file()) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !names_a_process(&handle)? {
            let text = format!("{name} is a file of somebody else's, and was left as it is");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        // For people who wonder who it is; the lock does not depend on it.
        let name_ourselves = || {
            handle.file().set_len(0)?;
            handle.write_all(format!("{}\n", lock.owner).as_bytes(), 0)
        };
        let _: io::Result<()> = name_ourselves();
        lock.file = Some(handle);
        Ok(Some(Box::new(lock)))
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let directory = self.directory_for(name)?;
        // Kept until the file is closed again: see `lock`.
        let held = HELD.lock();
        if held.contains(&(directory.identity()?, name.to_owned())) {
            return Ok(true);
        }
        let handle = match directory.open_file(name, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        match handle.file().try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes the directory and its missing parents, each durable in the one above.
fn make_durably(path: &Path) -> io::Result<()> {
    let made = match (os::Directory::make(path), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            make_durably(parent)?;
            os::Directory::make(path)
        }
        (made, _) => made,
    };
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => os::Directory::open(path)?.sync_parent(),
    }
}

/// Tries until it is not interrupted, which a file system over a network may be.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    loop {
        match file.try_lock() {
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Directory and lock file of every lock held in this process: some file systems lock per process,
/// not per opening.
static HELD: Mutex<BTreeSet<(os::Identity, String)>> = Mutex::new(BTreeSet::new());

/// A lock on an open lock file. A forked child shares it: the child's exit or drop does not release
/// it, because only the process that took it unlocks explicitly; but as long as a child keeps its
/// copies open after the parent has died, the lock stays taken.
#[derive(Debug)]
struct RealLock {
    key: (os::Identity, String),
    file: Option<os::Handle>,
    owner: u32,
}

impl DiskLock for RealLock {}

/// Whether a lock file is one of ours: empty, or the number of a process.
fn names_a_process(handle: &os::Handle) -> io::Result<bool> {
    let mut bytes = [0; 32];
    let read = handle.read_some(&mut bytes, 0)?;
    let number = bytes.get(..read).unwrap_or_default().trim_ascii_end();
    Ok(read < bytes.len() && number.iter().all(u8::is_ascii_digit))
}

impl Drop for RealLock {
    fn drop(&mut self) {
        if let Some(handle) = self.file.take()
            && self.owner == std::process::id()
        {
            let _: io::Result<()> = handle.file().unlock(); // closing the file does it otherwise
        }
        HELD.lock().remove(&self.key);
    }
}

#[derive(Debug)]
struct RealFile {
    handle: os::Handle,
    writable: bool,
}

impl RealFile {
    fn for_change(&self) -> io::Result<&os::Handle> {
        if self.writable { Ok(&self.handle) } else { Err(read_only()) }
    }

    fn file(&self) -> &File {
        self.handle.file()
    }
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    #[cfg(unix)]
    fn allocated(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        // The unit of this count is 512 bytes, whatever the file system's blocks are.
        Ok(self.file().metadata()?.blocks() * 512)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut rest, mut at, mut done) = (buffer, offset, 0);
        while !rest.is_empty() {
            match self.handle.read_some(rest, at) {
                Ok(0) => break,
                Ok(count) => {
                    rest = rest.get_mut(count..).unwrap_or_default();
                    at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                    done += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.for_change()?.write_all(bytes, offset)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        self.for_change()?.reserve(size)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.for_change()?.file().set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync_data()
    }

    fn map(&self, length: u64) -> io::Result<Mapped> {
        Mapped::of_file(self.file(), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_missing_parents() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(root.path().join("a/b/c"));
        disk.create_root().unwrap();
        disk.create_root().unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        let roundabout = RealDisk::new(root.path().join("x/../y/z"));
        roundabout.create_root().unwrap();
        assert!(root.path().join("y/z").is_dir());
    }

    #[cfg(unix)]
    #[test]
    fn the_directory_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("store");
        RealDisk::new(&path).create_root().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[cfg(unix)]
    #[test]
    fn another_path_to_the_directory_is_locked_too() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        let lock = RealDisk::new(root.path()).lock("LOCK").unwrap();
        assert!(lock.is_some());
        assert!(RealDisk::new(&link).lock("LOCK").unwrap().is_none());
    }

    #[test]
    fn a_lock_of_somebody_else_leaves_the_file_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("LOCK");
        std::fs::write(&path, "1234\n").unwrap();
        let theirs = File::open(&path).unwrap();
        theirs.try_lock().unwrap();
        let disk = RealDisk::new(root.path());
        assert!(disk.lock("LOCK").unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1234\n");
        drop(theirs);
        let ours = disk.lock("LOCK").unwrap();
        assert!(ours.is_some());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    /// Found by a newcomer: the number of the process was written over whatever had the name.
    #[test]
    fn a_file_of_the_name_that_is_no_lock_is_not_written_over() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("LOCK");
        let disk = RealDisk::new(root.path());
        for foreign in ["precious", "12 34", &"1".repeat(40)] {
            std::fs::write(&path, foreign).unwrap();
            let kind = disk.lock("LOCK").err().map(|error| error.kind());
            assert_eq!(kind, Some(io::ErrorKind::AlreadyExists), "{foreign}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        }
        for ours in ["", "17\n", "17"] {
            std::fs::write(&path, ours).unwrap();
            assert!(disk.lock("LOCK").unwrap().is_some(), "{ours}");
        }
    }

    #[test]
    fn looking_touches_nothing() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(root.path().join("absent"));
        assert_eq!(disk.list().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(disk.open("a", Access::Read).is_err());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
