//! Layer 2.2: a directory and the files in it, by way of the standard library alone.
//!
//! Knows: paths, and one cursor per file behind a mutex. Does not know: how to hold a directory
//! open or to sync it, which the systems that need this file cannot do.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::api::Access;

/// The same for every path to a directory.
pub(super) type Identity = PathBuf;

#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        if !path.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(path))
    }

    /// Makes one directory.
    pub(super) fn make(path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    #[expect(clippy::unnecessary_wraps, reason = "on Unix this can fail")]
    pub(super) fn identity(&self) -> io::Result<Identity> {
        Ok(self.0.clone())
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    pub(super) fn open_file(&self, name: &str, access: Access) -> io::Result<Handle> {
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read).create_new(access == Access::Create);
        self.open_with(name, &options)
    }

    pub(super) fn open_or_create(&self, name: &str) -> io::Result<Handle> {
        self.open_with(name, OpenOptions::new().read(true).write(true).create(true).truncate(false))
    }

    fn open_with(&self, name: &str, options: &OpenOptions) -> io::Result<Handle> {
        let path = self.0.join(name);
        // Before opening, because opening a FIFO could wait forever.
        if std::fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = options.open(path)?;
        Ok(Handle { cursor: Mutex::new(file.try_clone()?), file })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    /// A second name, in another directory, for a file in this one.
    pub(super) fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        std::fs::hard_link(self.0.join(name), to.0.join(new))
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "on Unix there is work")]
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "on Unix there is work")]
    pub(super) fn sync_parent(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An open regular file; both descriptors share one cursor, which only the mutex's owner moves.
#[derive(Debug)]
pub(super) struct Handle {
    file: File,
    cursor: Mutex<File>,
}

impl Handle {
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// One read, possibly short or interrupted.
    pub(super) fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut cursor = self.cursor.lock();
        cursor.seek(SeekFrom::Start(offset))?;
        cursor.read(buffer)
    }

    pub(super) fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut cursor = self.cursor.lock();
        cursor.seek(SeekFrom::Start(offset))?;
        cursor.write_all(bytes)
    }

    /// Reserves the size, as there is no portable way to reserve blocks.
    pub(super) fn reserve(&self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() < size { self.file.set_len(size) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_what_the_other_one_does() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("store");
        assert_eq!(Directory::open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        Directory::make(&path).unwrap();
        let directory = Directory::open(&path).unwrap();
        let file = directory.open_file("a", Access::Create).unwrap();
        file.write_all(b"hello", 3).unwrap();
        file.reserve(100).unwrap();
        file.reserve(10).unwrap();
        assert_eq!(file.file().metadata().unwrap().len(), 100);
        directory.link("a", &directory, "c").unwrap();
        directory.remove("c").unwrap();
        directory.rename("a", "b").unwrap();
        directory.sync().unwrap();
        directory.sync_parent().unwrap();
        assert_eq!(directory.names().unwrap(), ["b"]);
        let mut buffer = [0; 5];
        let file = directory.open_file("b", Access::Read).unwrap();
        assert_eq!(file.read_some(&mut buffer, 3).unwrap(), 5);
        assert_eq!(&buffer, b"hello");
        directory.open_or_create("b").unwrap();
        directory.remove("b").unwrap();
        assert_eq!(directory.identity().unwrap(), path.canonicalize().unwrap());
    }
}
