//! Layer 2.0: the bytes of one file in memory, sparse and cheap to copy.
//!
//! Knows: pages, a size, and that what was never written reads as zero. Does not know: names,
//! durability, who shares it. Pages are shared between copies until one of them is written, so that
//! a preallocated file costs nothing and a copied disk costs next to nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The unit of sharing, and the block a disk may damage as a whole.
pub(super) const PAGE: u64 = 4096;
const PAGE_LENGTH: usize = 4096;

type Page = [u8; PAGE_LENGTH];

/// A size and pages; a missing page is zeros. Bytes beyond the size are zeros, except between
/// [`put`](Self::put) and [`trim`](Self::trim).
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    size: u64,
    pages: Arc<BTreeMap<u64, Arc<Page>>>,
}

impl Image {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills as much of `buffer` as there is; answers how much.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let length = to_usize(self.size.saturating_sub(offset)).min(buffer.len());
        let (mut rest, _) = buffer.split_at_mut(length);
        let mut at = offset;
        while !rest.is_empty() {
            let (page, start, room) = place(at);
            let (piece, tail) = rest.split_at_mut(room.min(rest.len()));
            match self.pages.get(&page).and_then(|page| page.get(start..start + piece.len())) {
                Some(bytes) => piece.copy_from_slice(bytes),
                None => piece.fill(0),
            }
            at += to_u64(piece.len());
            rest = tail;
        }
        length
    }

    /// The first `length` bytes, or all if there are fewer.
    pub(super) fn prefix(&self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; to_usize(length.min(self.size))];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Writes, growing the file if needed. The range has passed [`end_of`].
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.put(offset, bytes);
        if !bytes.is_empty() {
            self.show(self.size.max(offset + to_u64(bytes.len())));
        }
    }

    /// Changes bytes but not the size: beyond it they wait for [`show`](Self::show).
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (at, piece) in split(offset, bytes, PAGE) {
            let (page, start, _) = place(at);
            let pages = Arc::make_mut(&mut self.pages);
            let page = Arc::make_mut(pages.entry(page).or_insert_with(|| Arc::new([0; _])));
            if let Some(target) = page.get_mut(start..start + piece.len()) {
                target.copy_from_slice(piece);
            }
        }
    }

    /// Changes the size alone, showing whatever was put there.
    pub(super) fn show(&mut self, size: u64) {
        self.size = size;
    }

    /// Cuts or extends with zeros.
    pub(super) fn resize(&mut self, size: u64) {
        let cut = size < self.size;
        self.size = size;
        if cut {
            self.trim();
        }
    }

    /// Equal for images of equal size and bytes, and hardly ever for others.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn fingerprint(&self) -> u64 {
        let mut sum = mix(0, self.size);
        for (number, page) in self.pages.iter() {
            // Four sums side by side, because each step of one waits for the step before.
            let mut lanes = [0_u64; 4];
            let (words, _) = page.as_chunks::<8>();
            let mut any = 0;
            for four in words.chunks(4) {
                for (lane, word) in lanes.iter_mut().zip(four) {
                    let word = u64::from_le_bytes(*word);
                    any |= word;
                    *lane = mix(*lane, word);
                }
            }
            // A page of zeros is as good as none.
            if any != 0 {
                sum = lanes.into_iter().fold(mix(sum, *number), mix);
            }
        }
        sum
    }

    /// Zeros everything beyond the size.
    pub(super) fn trim(&mut self) {
        let (last, start, _) = place(self.size);
        if self.pages.range(last..).next().is_none() {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        let mut beyond = pages.split_off(&last);
        if let Some(mut page) = beyond.remove(&last).filter(|_| start > 0) {
            Arc::make_mut(&mut page).iter_mut().skip(start).for_each(|byte| *byte = 0);
            pages.insert(last, page);
        }
    }
}

/// Cuts `bytes`, which belong at `offset`, wherever a multiple of `unit` falls.
pub(super) fn split(offset: u64, bytes: &[u8], unit: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut at, mut rest) = (offset, bytes);
    std::iter::from_fn(move || {
        let room = to_usize(unit - at % unit);
        let (piece, tail) = rest.split_at(room.min(rest.len()));
        let item = (at, piece);
        at += to_u64(piece.len());
        rest = tail;
        (!piece.is_empty()).then_some(item)
    })
}

/// Where `length` bytes at `offset` end, if a file can be that long.
pub(super) fn end_of(offset: u64, length: usize) -> io::Result<u64> {
    offset
        .checked_add(to_u64(length))
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The page of an offset, the place in it, and how many bytes of the page are left from there.
fn place(offset: u64) -> (u64, usize, usize) {
    let start = to_usize(offset % PAGE);
    (offset / PAGE, start, PAGE_LENGTH - start)
}

/// Stirs a word into a sum.
#[cfg(any(test, feature = "sim"))]
pub(super) fn mix(sum: u64, word: u64) -> u64 {
    let stirred = (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    stirred ^ (stirred >> 32)
}

/// Saturates; a buffer is never that long.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

pub(super) fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_across_pages_with_zeros_between() {
        let mut image = Image::default();
        image.write(4090, b"0123456789");
        image.write(20_000, b"x");
        assert_eq!(image.size(), 20_001);
        let mut buffer = [9; 12];
        assert_eq!(image.read(&mut buffer, 4089), 12);
        assert_eq!(&buffer, b"\x000123456789\0");
        assert_eq!(image.read(&mut buffer, 20_000), 1);
        assert_eq!(image.read(&mut buffer, 20_001), 0);
    }

    #[test]
    fn a_cut_does_not_come_back() {
        let mut image = Image::default();
        image.write(0, &[7; 9000]);
        image.resize(100);
        image.resize(9000);
        let bytes = image.prefix(u64::MAX);
        assert!(bytes.iter().take(100).all(|byte| *byte == 7));
        assert!(bytes.iter().skip(100).all(|byte| *byte == 0));
        assert_eq!(bytes.len(), 9000);
    }

    #[test]
    fn a_copy_is_independent() {
        let mut image = Image::default();
        image.write(0, b"one");
        let copy = image.clone();
        image.write(0, b"two");
        assert_eq!(copy.prefix(3), b"one");
    }

    #[test]
    fn a_fingerprint_tells_bytes_and_sizes_apart_and_nothing_else() {
        let mut image = Image::default();
        image.write(5000, b"one");
        let mut other = Image::default();
        other.write(0, &[0; 5000]);
        other.write(5000, b"on");
        assert_ne!(image.fingerprint(), other.fingerprint());
        other.write(5002, b"e");
        assert_eq!(image.fingerprint(), other.fingerprint());
        other.resize(5004);
        assert_ne!(image.fingerprint(), other.fingerprint());
    }

    #[test]
    fn splits_at_multiples_of_the_unit() {
        let pieces: Vec<_> = split(3, b"abcdefgh", 4).collect();
        assert_eq!(pieces, [(3, &b"a"[..]), (4, b"bcde"), (8, b"fgh")]);
    }

    #[test]
    fn refuses_an_end_no_file_can_have() {
        assert_eq!(end_of(10, 5).unwrap(), 15);
        assert!(end_of(u64::MAX, 1).is_err());
        assert!(end_of(u64::MAX / 2, 1).is_err());
    }
}
