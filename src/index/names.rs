//! Layer 5.0: many short texts in few allocations.
//!
//! Knows: chunks that never move, so that growing copies at most one of them. Does not know:
//! whether a text was stored before; the caller keeps start and length.

/// Chunks of 64 KiB: a start is the chunk's number and the offset within it.
const CHUNK_BITS: u32 = 16;
const CHUNK: usize = 1 << CHUNK_BITS;

/// The texts.
#[derive(Debug, Default)]
pub(super) struct Names {
    chunks: Vec<String>,
}

impl Names {
    /// Stores a text and answers where; `None` when it is longer than a chunk.
    pub(super) fn push(&mut self, text: &str) -> Option<u64> {
        if text.len() > CHUNK {
            return None;
        }
        let full = self.chunks.last().is_none_or(|chunk| chunk.len() + text.len() > CHUNK);
        if full {
            // The first chunk grows as it is filled: most stores are small.
            let capacity = if self.chunks.is_empty() { text.len() } else { CHUNK };
            self.chunks.push(String::with_capacity(capacity));
        }
        let number = u64::try_from(self.chunks.len()).ok()?.checked_sub(1)?;
        let chunk = self.chunks.last_mut()?;
        let offset = u64::try_from(chunk.len()).ok()?;
        chunk.push_str(text);
        Some((number << CHUNK_BITS) | offset)
    }

    pub(super) fn get(&self, start: u64, length: u16) -> &str {
        self.find(start, length.into()).unwrap_or_default()
    }

    fn find(&self, start: u64, length: usize) -> Option<&str> {
        let chunk = self.chunks.get(usize::try_from(start >> CHUNK_BITS).ok()?)?;
        let offset = usize::try_from(start).ok()? & (CHUNK - 1);
        chunk.get(offset..offset + length)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let texts = self.chunks.iter().map(String::capacity).sum::<usize>();
        texts + self.chunks.capacity() * size_of::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_across_chunks() {
        let mut names = Names::default();
        let text = |n: usize| format!("{n}{}", "ü".repeat(n % 500));
        let stored: Vec<_> = (0..2000)
            .map(|n| (names.push(&text(n)).unwrap(), u16::try_from(text(n).len()).unwrap()))
            .collect();
        for (n, (start, length)) in stored.iter().enumerate() {
            assert_eq!(names.get(*start, *length), text(n));
        }
        assert!(names.chunks.len() > 5);
        assert_eq!(names.push(&"x".repeat(CHUNK + 1)), None);
        assert_eq!(names.get(u64::MAX, 3), "");
    }
}
