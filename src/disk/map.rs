//! Layer 2.0: the read-only bytes of a finished file, mapped or owned.
//!
//! Knows: how to map. Does not know: which files are finished. This is the only file in the crate
//! with `unsafe` in it.
//!
//! # Safety
//!
//! A mapping is sound while nobody changes the mapped bytes and nobody cuts the file below the
//! mapped length. We do neither: [`DiskFile::map`](super::DiskFile::map) is called only for sealed
//! files and for the front of the newest one, up to a place that a certificate covers. This crate
//! never writes or truncates those bytes again (it only unlinks files, and an unlinked file lives
//! as long as its mapping), and the directory lock keeps other factlog processes from writing. What
//! remains is a foreign program that writes into our files behind our back: changed bytes are
//! caught by checksums as far as anything can, but a truncation kills the process with SIGBUS.
//! Whoever cannot exclude that uses positioned reads, which are a setting of the store.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Mmap, MmapOptions};

/// Read-only bytes that do not change.
pub struct Mapped(Source);

enum Source {
    Owned(Vec<u8>),
    File(Mmap),
}

impl Mapped {
    /// Bytes in memory, where there is nothing to map.
    #[must_use]
    pub fn owned(bytes: Vec<u8>) -> Self {
        Self(Source::Owned(bytes))
    }

    /// The first `length` bytes of a file that nobody writes any more.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the file is shorter, otherwise what the operating system says.
    pub fn of_file(file: &File, length: u64) -> io::Result<Self> {
        if length > file.metadata()?.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if length == 0 {
            return Ok(Self::owned(Vec::new())); // an empty mapping is an error on most systems
        }
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: the file is sealed and long enough; see the argument at the top.
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        Ok(Self(Source::File(map)))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Owned(bytes) => bytes,
            Source::File(map) => map,
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Source::Owned(_) => "owned",
            Source::File(_) => "mapped",
        };
        write!(f, "Mapped({kind}, {} bytes)", self.len())
    }
}

/// Asks the processor to fetch `length` bytes of `bytes` from `from` on. Nothing depends on it, and
/// where the processor cannot be asked nothing happens.
pub(crate) fn prefetch(bytes: &[u8], from: usize, length: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.get(from..).unwrap_or_default().chunks(64).take(length.div_ceil(64)) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it reads nothing and faults at no address, and this one is within `bytes`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, from, length);
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn shows_the_first_bytes_of_the_file() {
        assert_eq!(&*Mapped::of_file(&file_of(b"hello world"), 5).unwrap(), b"hello");
    }

    #[test]
    fn refuses_more_than_the_file_has() {
        let error = Mapped::of_file(&file_of(b"hello"), 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn maps_nothing_of_an_empty_file() {
        assert!(Mapped::of_file(&file_of(b""), 0).unwrap().is_empty());
    }

    #[test]
    fn fetching_what_is_not_there_does_nothing() {
        let map = Mapped::of_file(&file_of(b"hello"), 5).unwrap();
        for (from, length) in [(0, 5), (4, 1000), (5, 1), (usize::MAX, usize::MAX)] {
            prefetch(&map, from, length);
        }
        assert_eq!(&*map, b"hello");
    }

    #[test]
    fn is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Mapped>();
    }
}
