//! Layer 1.0: little-endian numbers in and out of byte slices; cannot panic.
//!
//! Knows: bounds. Does not know: what the numbers mean.

/// Takes values off the front of a slice; `None` when it is too short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Option<uuid::Uuid> {
        self.array().map(uuid::Uuid::from_bytes)
    }

    /// Bytes that must be zero because a later version may give them a meaning.
    pub(crate) fn zeros(&mut self, length: usize) -> Option<()> {
        self.slice(length)?.iter().all(|byte| *byte == 0).then_some(())
    }
}

/// Puts values at the end of a buffer.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes over the front and moves on; what does not fit is left out.
impl Put for &mut [u8] {
    fn put(&mut self, bytes: &[u8]) {
        if let Some((front, rest)) = std::mem::take(self).split_at_mut_checked(bytes.len()) {
            front.copy_from_slice(bytes);
            *self = rest;
        }
    }
}
