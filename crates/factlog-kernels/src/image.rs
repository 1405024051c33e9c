//! Layer 0.1: the content of a disk, in pages that copies share.
//!
//! Knows: bytes by offset; a copy costs a pointer per page. Does not know: where they come from.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::trouble::{Outcome, Trouble};

pub const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

type Page = Arc<[u8; PAGE_BYTES]>;

/// A disk. What was never written is zero and takes no space.
#[derive(Debug, Clone, Default)]
pub struct Image {
    size: u64,
    pages: HashMap<u64, Page>,
}

impl Image {
    /// What a sparse file holds.
    pub fn load(path: &Path) -> Outcome<Self> {
        let file = File::open(path).map_err(Trouble::io("cannot open an image"))?;
        let size = file.metadata().map_err(Trouble::io("cannot look at an image"))?.len();
        let mut image = Self { size, pages: HashMap::new() };
        let mut page = [0; PAGE_BYTES];
        let mut from = 0;
        loop {
            from = match rustix::fs::seek(&file, SeekFrom::Data(from)) {
                Ok(data) => data - data % PAGE,
                Err(Errno::NXIO) => return Ok(image),
                Err(error) => return Err(Trouble::io("cannot seek in an image")(error)),
            };
            let rest = usize::try_from(size - from).unwrap_or(PAGE_BYTES).min(PAGE_BYTES);
            let part = page.get_mut(..rest).unwrap_or_default();
            file.read_exact_at(part, from).map_err(Trouble::io("cannot read an image"))?;
            if part.iter().any(|byte| *byte != 0) {
                image.write(from, part);
            }
            from += rest as u64;
        }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset` on.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) {
        each_part(offset, buffer.len(), |page, within, done| {
            let Some(to) = buffer.get_mut(done) else { return };
            match self.pages.get(&page).and_then(|page| page.get(within)) {
                Some(from) => to.copy_from_slice(from),
                None => to.fill(0),
            }
        });
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        each_part(offset, bytes.len(), |page, within, done| {
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            let to = Arc::make_mut(page).get_mut(within);
            if let (Some(to), Some(from)) = (to, bytes.get(done)) {
                to.copy_from_slice(from);
            }
        });
    }
}

type Span = std::ops::Range<usize>;

/// Cuts a range at pages: the page, where in it, and where in the range.
fn each_part(offset: u64, length: usize, mut each: impl FnMut(u64, Span, Span)) {
    let (mut at, mut done) = (offset, 0);
    while done < length {
        let begin = usize::try_from(at % PAGE).unwrap_or(0);
        let count = (PAGE_BYTES - begin).min(length - done);
        each(at / PAGE, begin..begin + count, done..done + count);
        at += count as u64;
        done += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_copies_are_apart() {
        let mut image = Image { size: 4 * PAGE, ..Image::default() };
        image.write(PAGE - 3, b"across");
        let before = image.clone();
        image.write(PAGE, b"ANOTHER");
        let read = |image: &Image| {
            let mut bytes = [1; 9];
            image.read(PAGE - 4, &mut bytes);
            bytes.to_vec()
        };
        assert_eq!(read(&before), b"\0across\0\0");
        assert_eq!(read(&image), b"\0acrANOTH");
    }

    #[test]
    fn a_sparse_file_is_loaded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 24).unwrap();
        file.as_file().write_all_at(b"here", (1 << 23) + 7).unwrap();
        let image = Image::load(file.path()).unwrap();
        let mut bytes = [0; 4];
        image.read((1 << 23) + 7, &mut bytes);
        assert_eq!((&bytes, image.size(), image.pages.len()), (b"here", 1 << 24, 1));
    }
}
