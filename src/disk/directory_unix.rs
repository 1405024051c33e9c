//! Layer 2.2: a directory held open, and the files in it, by way of Unix.
//!
//! Knows: system calls and their interruptions. Does not know: who else uses the directory. All
//! names are opened relative to the held descriptor, so that moving or replacing the path while the
//! store is open cannot split the store in two.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::api::Access;

/// The same for every path to a directory.
pub(super) type Identity = (u64, u64);

#[derive(Debug)]
pub(super) struct Directory(File);

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
        Ok(Self(File::from(fd)))
    }

    /// Makes one directory.
    pub(super) fn make(path: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(path)
    }

    pub(super) fn identity(&self) -> io::Result<Identity> {
        let metadata = self.0.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in retry_on_intr(|| Dir::read_from(&self.0))? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    pub(super) fn open_file(&self, name: &str, access: Access) -> io::Result<Handle> {
        self.open_with(
            name,
            match access {
                Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
                Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            },
        )
    }

    pub(super) fn open_or_create(&self, name: &str) -> io::Result<Handle> {
        self.open_with(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Neither follows a symbolic link nor waits for the other end of a FIFO.
    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<Handle> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = match retry_on_intr(|| rustix::fs::openat(&self.0, name, flags, mode)) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(not_regular()),
            Err(error) => return Err(error.into()),
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(not_regular());
        }
        Ok(Handle(file))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.0, from, &self.0, to))?)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.0, OsStr::new(name), AtFlags::empty()))?)
    }

    /// A second name, in another directory, for a file in this one.
    pub(super) fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(retry_on_intr(|| rustix::fs::linkat(&self.0, name, &to.0, new, flags))?)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// Makes this directory's own name durable, where its parent may be opened at all.
    pub(super) fn sync_parent(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::openat(&self.0, "..", flags, Mode::empty())) {
            Ok(parent) => File::from(parent).sync_all(),
            Err(Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct Handle(File);

impl Handle {
    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// One read, possibly short or interrupted.
    pub(super) fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    pub(super) fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Reserves blocks; where the file system cannot, at least the size.
    pub(super) fn reserve(&self, size: u64) -> io::Result<()> {
        match self.reserve_blocks(size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.0.metadata()?.len() < size => {
                self.0.set_len(size)
            }
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn reserve_blocks(&self, size: u64) -> Result<(), Errno> {
        if size == 0 {
            return Ok(()); // the call refuses an empty range
        }
        let mode = rustix::fs::FallocateFlags::empty();
        retry_on_intr(|| rustix::fs::fallocate(&self.0, mode, 0, size))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    fn reserve_blocks(&self, _size: u64) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn refuses_what_is_not_a_regular_file_without_blocking() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::write(at("file"), b"x").unwrap();
        symlink(at("file"), at("link")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let directory = Directory::open(root.path()).unwrap();
        for name in ["link", "directory", "socket", "fifo"] {
            for access in [Access::Read, Access::Write] {
                let error = directory.open_file(name, access).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name} {access:?}");
            }
            assert!(directory.open_or_create(name).is_err(), "{name}");
        }
    }

    #[test]
    fn files_are_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        Directory::open(root.path()).unwrap().open_file("a", Access::Create).unwrap();
        let mode = std::fs::metadata(root.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn follows_the_directory_when_it_moves() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        Directory::make(&old).unwrap();
        let directory = Directory::open(&old).unwrap();
        std::fs::rename(&old, &new).unwrap();
        directory.open_file("a", Access::Create).unwrap();
        assert!(new.join("a").exists());
    }

    #[test]
    fn names_that_are_not_utf_8_are_left_out() {
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(OsStr::from_bytes(b"\xff")), b"").unwrap();
        std::fs::write(root.path().join("a"), b"").unwrap();
        assert_eq!(Directory::open(root.path()).unwrap().names().unwrap(), ["a"]);
    }
}
