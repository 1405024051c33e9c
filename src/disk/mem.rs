//! Layer 2.3: a directory in memory, for tests that need a store but no disk.
//!
//! Knows: names, bytes and one lock, as the contract in `api.rs` says. Does not know: durability;
//! nothing here outlives the last clone, so a sync has nothing to do.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::api::{Access, Disk, DiskFile, DiskLock, check_name, not_shared, read_only};
use super::image::{Image, end_of};
use super::map::Mapped;

/// A directory in memory. Clones are the same directory, so a store can be closed on one clone and
/// opened on another.
#[derive(Debug, Clone, Default)]
pub struct MemDisk(Arc<Mutex<Directory>>);

#[derive(Debug, Default)]
struct Directory {
    exists: bool,
    files: BTreeMap<String, Arc<RwLock<Image>>>,
    locked: BTreeSet<String>,
}

impl MemDisk {
    /// A directory that has yet to be made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Does something with the directory, if it is there and the name is a name.
    fn with<T>(
        &self,
        names: &[&str],
        action: impl FnOnce(&mut Directory) -> io::Result<T>,
    ) -> io::Result<T> {
        names.iter().try_for_each(|name| check_name(name))?;
        let mut directory = self.0.lock();
        if !directory.exists {
            return Err(io::ErrorKind::NotFound.into());
        }
        action(&mut directory)
    }
}

impl Disk for MemDisk {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn create_root(&self) -> io::Result<()> {
        self.0.lock().exists = true;
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.with(&[], |directory| Ok(directory.files.keys().cloned().collect()))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.with(&[name], |directory| {
            let bytes = match (directory.files.get(name), access) {
                (Some(_), Access::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
                (None, Access::Read | Access::Write) => return Err(io::ErrorKind::NotFound.into()),
                (Some(bytes), _) => Arc::clone(bytes),
                (None, Access::Create) => {
                    Arc::clone(directory.files.entry(name.to_owned()).or_default())
                }
            };
            Ok(Arc::new(MemFile { bytes, writable: access != Access::Read }) as Arc<dyn DiskFile>)
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(&[from, to], |directory| {
            let file = directory.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            directory.files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(&[name], |directory| match directory.files.remove(name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn link(&self, name: &str, to: &dyn Disk, new: &str) -> io::Result<()> {
        let to: &dyn Any = to;
        let to = to.downcast_ref::<Self>().ok_or_else(not_shared)?;
        let file = self.with(&[name], |directory| {
            directory.files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        })?;
        to.with(&[new], |directory| {
            if directory.files.contains_key(new) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            directory.files.insert(new.to_owned(), file);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.with(&[], |_| Ok(()))
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.with(&[name], |directory| {
            if !directory.locked.insert(name.to_owned()) {
                return Ok(None);
            }
            directory.files.entry(name.to_owned()).or_default();
            let lock = MemLock { disk: self.clone(), name: name.to_owned() };
            Ok(Some(Box::new(lock) as Box<dyn DiskLock>))
        })
    }
}

#[derive(Debug)]
struct MemLock {
    disk: MemDisk,
    name: String,
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.0.lock().locked.remove(&self.name);
    }
}

/// An open file; it lives on when its name is gone.
#[derive(Debug)]
struct MemFile {
    bytes: Arc<RwLock<Image>>,
    writable: bool,
}

impl MemFile {
    fn change(&self, action: impl FnOnce(&mut Image)) -> io::Result<()> {
        if !self.writable {
            return Err(read_only());
        }
        action(&mut self.bytes.write());
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.read().size())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.bytes.read().read(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        end_of(offset, bytes.len())?;
        self.change(|image| image.write(offset, bytes))
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        end_of(size, 0)?;
        self.change(|image| image.resize(size.max(image.size())))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        end_of(size, 0)?;
        self.change(|image| image.resize(size))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, length: u64) -> io::Result<Mapped> {
        let image = self.bytes.read();
        if length > image.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Mapped::owned(image.prefix(length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_directory() {
        let disk = MemDisk::new();
        disk.create_root().unwrap();
        disk.open("a", Access::Create).unwrap().write_at(b"hello", 0).unwrap();
        let clone = disk.clone();
        drop(disk);
        let mut buffer = [0; 5];
        assert_eq!(clone.open("a", Access::Read).unwrap().read_at(&mut buffer, 0).unwrap(), 5);
        assert_eq!(&buffer, b"hello");
    }

    #[test]
    fn a_huge_allocation_costs_nothing() {
        let disk = MemDisk::new();
        disk.create_root().unwrap();
        let file = disk.open("a", Access::Create).unwrap();
        file.allocate(1 << 50).unwrap();
        assert_eq!(file.size().unwrap(), 1 << 50);
    }
}
