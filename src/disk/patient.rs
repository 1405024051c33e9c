//! Layer 2.2: a directory that cannot be changed and of which not all can be read.
//!
//! Knows: how to go on behind bytes that the operating system cannot read: they become zeros, and
//! which those are is remembered. Does not know: what is in the files. Nothing can be written
//! through it: what is salvaged stays evidence.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::api::{Access, Disk, DiskFile, DiskLock, read_only};
use super::map::Mapped;

/// What cannot be read is looked for in pieces of this size, each tried so often.
const PIECE: usize = 4096;
const TRIES: usize = 3;

/// Bytes that the operating system could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unread {
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
}

/// A directory read with patience.
#[derive(Debug, Clone)]
pub(crate) struct PatientDisk {
    disk: Arc<dyn Disk>,
    unread: Arc<Mutex<Vec<Unread>>>,
}

impl PatientDisk {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, unread: Arc::default() }
    }

    /// What could not be read so far, in the order of names and offsets.
    pub(crate) fn unread(&self) -> Vec<Unread> {
        let mut all = self.unread.lock().clone();
        all.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        all.dedup();
        all
    }
}

impl Disk for PatientDisk {
    fn location(&self) -> String {
        self.disk.location()
    }

    fn create_root(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access != Access::Read {
            return Err(read_only());
        }
        let file = self.disk.open(name, access)?;
        Ok(Arc::new(PatientFile { file, name: name.to_owned(), unread: self.unread.clone() }))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn lock(&self, _: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        Err(read_only())
    }
}

#[derive(Debug)]
struct PatientFile {
    file: Arc<dyn DiskFile>,
    name: String,
    unread: Arc<Mutex<Vec<Unread>>>,
}

impl PatientFile {
    /// Reads a piece, or makes zeros of it.
    fn piece(&self, piece: &mut [u8], offset: u64) -> usize {
        for _ in 0..TRIES {
            if let Ok(read) = self.file.read_at(piece, offset) {
                return read;
            }
        }
        piece.fill(0);
        let bytes = piece.len() as u64;
        self.unread.lock().push(Unread { file: self.name.clone(), offset, bytes });
        piece.len()
    }
}

impl DiskFile for PatientFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Ok(read) = self.file.read_at(buffer, offset) {
            return Ok(read);
        }
        // Nothing is taken for unreadable beyond the end.
        let there = usize::try_from(self.file.size()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(there);
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..wanted).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            // Pieces end at multiples of their size, as blocks of a disk do.
            let most = PIECE - usize::try_from(at % PIECE as u64).unwrap_or(0);
            let length = rest.len().min(most);
            let read = self.piece(rest.get_mut(..length).unwrap_or_default(), at);
            done += read;
            if read < length {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Err(read_only())
    }

    /// Never mapped: a page that cannot be read would kill the process.
    fn map(&self, length: u64) -> io::Result<Mapped> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        if self.size()? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_at(&mut bytes, 0)?;
        Ok(Mapped::owned(bytes))
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::super::{Fault, FaultCall, FaultKind, SimDisk};
    use super::*;

    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.write_file("live", vec![7; 3 * PIECE]);
        disk
    }

    #[test]
    fn a_read_that_fails_once_is_read_again() {
        let disk = disk();
        let patient = PatientDisk::new(Arc::new(disk.clone()));
        let file = patient.open("live", Access::Read).unwrap();
        disk.inject(Fault::once(FaultCall::Read, 0, FaultKind::Os(5)));
        let mut bytes = vec![0; 2 * PIECE];
        assert_eq!(file.read_at(&mut bytes, 100).unwrap(), bytes.len());
        assert!(bytes.iter().all(|byte| *byte == 7) && patient.unread().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_zeros_and_said() {
        let disk = disk();
        let patient = PatientDisk::new(Arc::new(disk.clone()));
        let file = patient.open("live", Access::Read).unwrap();
        disk.inject(Fault::from(FaultCall::Read, 0, FaultKind::Os(5)));
        let mut bytes = vec![1; 5 * PIECE];
        assert_eq!(file.read_at(&mut bytes, 100).unwrap(), 3 * PIECE - 100);
        let said: Vec<(u64, u64)> =
            patient.unread().iter().map(|unread| (unread.offset, unread.bytes)).collect();
        assert_eq!(said, [(100, 3996), (4096, 4096), (8192, 4096)]);
        assert!(bytes[..3 * PIECE - 100].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn nothing_can_be_changed_through_it() {
        let patient = PatientDisk::new(Arc::new(disk()));
        let file = patient.open("live", Access::Read).unwrap();
        let refused = [
            patient.create_root(),
            patient.rename("live", "lock"),
            patient.remove("live"),
            patient.sync_dir(),
            patient.open("live", Access::Write).map(drop),
            patient.open("head-0", Access::Create).map(drop),
            patient.lock("lock").map(drop),
            file.write_at(&[1], 0),
            file.allocate(1),
            file.set_size(1),
            file.sync(),
        ];
        assert!(refused.iter().all(Result::is_err));
    }
}
