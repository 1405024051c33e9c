//! Layer 7.5: choices drawn from a fuzzer's bytes.
//!
//! Knows: numbers from the front of the input; at its end everything is 0. Does not know: what is
//! chosen. A small change of the input is a small change of the choices, as a fuzzer needs it.

/// What is left of the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    pub(super) fn number16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn number64(&mut self) -> u64 {
        u64::from_le_bytes([0; 8].map(|_| self.byte()))
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound.max(1)
    }

    /// One of these, by its number.
    pub(super) fn pick<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        all.get(usize::from(self.byte()).checked_rem(all.len())?)
    }

    /// A length, and so many bytes or what is left.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}
