//! Layer 1.2: the head file: which segments exist, which writer epoch is the newest.
//!
//! Knows: the layout. Does not know: which of the two generations counts (`log/head.rs`).
//!
//! ```text
//!  0  magic "FACTHEAD"      8
//!  8  format version        u16
//! 10  id scope              u8
//! 11  zero                  u8
//! 12  flags                 u32  1 = backup, 2 = unfinished, 4 = data of subjects is encrypted;
//!                                all others "refuse if unknown"
//! 16  store                 16   UUID
//! 32  generation            u64
//! 40  writer epoch          u32
//! 44  ancestors             u32  how many follow
//! 48  first segment         u64  the low-water mark: nothing below it belongs to the log
//! 56  last segment          u64  0 before the first
//! 64  durable frame         u64  the highest known when this was written
//! 72  base                  u64  number of the trim base; 0 when the first segment is 1
//! 80  ancestors             each: UUID 16, last segment that has its name u64
//!     checksum              u32
//! ```

use uuid::Uuid;

use super::bytes::{Put, Take};
use super::checksum::crc;
use super::segment::{FORMAT_VERSION, id_scope_code, id_scope_of};
use crate::types::{Error, ErrorKind, IdScope, Result};

const MAGIC: &[u8; 8] = b"FACTHEAD";
/// The most ancestors a head can name.
pub(crate) const ANCESTORS_MAX: usize = 1024;
/// A copy that somebody else's store is carried on in: nobody writes events here.
const BACKUP: u32 = 1;
/// Still being made: not a store yet.
const UNFINISHED: u32 = 2;
/// The store has, or had, a keyring: what a subject's events say must not be written in clear.
const ENCRYPTS: u32 = 4;

/// A store this one was forked from: segments up to `through` carry its UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ancestor {
    pub store: Uuid,
    pub through: u64,
}

/// The values of a head file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub store: Uuid,
    pub id_scope: IdScope,
    pub generation: u64,
    pub epoch: u32,
    pub first_segment: u64,
    pub last_segment: u64,
    pub durable: u64,
    pub encrypts: bool,
    pub base: u64,
    pub ancestors: Vec<Ancestor>,
    /// A copy of a store that lives elsewhere: it is read and restored, and nobody appends to it.
    pub backup: bool,
    /// It is still being made: not a store yet.
    pub unfinished: bool,
}

impl Head {
    /// Of a store without segments, before anything is written.
    pub(crate) fn first(store: Uuid, id_scope: IdScope) -> Self {
        Self {
            store,
            id_scope,
            generation: 0,
            epoch: 0,
            first_segment: 1,
            last_segment: 0,
            durable: 0,
            encrypts: false,
            base: 0,
            ancestors: Vec::new(),
            backup: false,
            unfinished: false,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_u16(FORMAT_VERSION);
        out.put_u8(id_scope_code(self.id_scope));
        out.put_u8(0);
        let flags =
            [(self.backup, BACKUP), (self.unfinished, UNFINISHED), (self.encrypts, ENCRYPTS)];
        out.put_u32(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        out.put(self.store.as_bytes());
        out.put_u64(self.generation);
        out.put_u32(self.epoch);
        out.put_u32(u32::try_from(self.ancestors.len()).unwrap_or(u32::MAX));
        out.put_u64(self.first_segment);
        out.put_u64(self.last_segment);
        out.put_u64(self.durable);
        out.put_u64(self.base);
        for ancestor in &self.ancestors {
            out.put(ancestor.store.as_bytes());
            out.put_u64(ancestor.through);
        }
        out.put_u32(crc(&out));
        out
    }

    /// # Errors
    /// `Damaged` when it does not check, `Unsupported` when it checks but is newer than this code.
    pub(crate) fn decode(bytes: &[u8], file: &str) -> Result<Self> {
        let damaged = || Error::damaged(file, 0, "head file does not check");
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc(body) != u32::from_le_bytes(*sum) || !body.starts_with(MAGIC) {
            return Err(damaged());
        }
        let mut take = Take(body.get(8..).unwrap_or_default());
        let (version, scope) = (take.u16(), take.u8());
        let number = |at: usize| body.get(at..).and_then(|bytes| Take(bytes).u64());
        // What was trimmed has a base, and what was not has none.
        let based = number(72).is_none_or(|base| (base == 0) == (number(48) <= Some(1)));
        let plain = take.zeros(1).is_some() && based;
        let flags = take.u32().filter(|flags| flags & !(BACKUP | UNFINISHED | ENCRYPTS) == 0);
        let known = version == Some(FORMAT_VERSION) && plain && flags.is_some();
        let (true, Some(id_scope)) = (known, scope.and_then(id_scope_of)) else {
            let text = format!(
                "head file has format version {} or unknown flags; \
                 this build reads version {FORMAT_VERSION}",
                version.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Unsupported, text).in_file(file, 8));
        };
        let flags = flags.unwrap_or_default();
        Self::fields(take, (id_scope, flags)).ok_or_else(damaged)
    }

    fn fields(mut take: Take<'_>, (id_scope, flags): (IdScope, u32)) -> Option<Self> {
        let (store, generation, epoch, count) =
            (take.uuid()?, take.u64()?, take.u32()?, take.u32()?);
        let (first_segment, last_segment, durable) = (take.u64()?, take.u64()?, take.u64()?);
        let base = take.u64()?;
        if usize::try_from(count).is_ok_and(|count| count > ANCESTORS_MAX) {
            return None;
        }
        let mut ancestors = Vec::new();
        for _ in 0..count {
            ancestors.push(Ancestor { store: take.uuid()?, through: take.u64()? });
        }
        let head = Self {
            store,
            id_scope,
            generation,
            epoch,
            first_segment,
            last_segment,
            durable,
            encrypts: flags & ENCRYPTS != 0,
            base,
            ancestors,
            backup: flags & BACKUP != 0,
            unfinished: flags & UNFINISHED != 0,
        };
        // So that counting on from them cannot overflow.
        let sane = [generation, last_segment, durable, base].iter().all(|count| count >> 62 == 0);
        let ordered = sane && first_segment >= 1 && first_segment - 1 <= last_segment;
        (take.0.is_empty() && ordered).then_some(head)
    }

    /// The ancestors of a store whose segments up to `through` are this one's.
    pub(crate) fn ancestors_through(&self, through: u64) -> Vec<Ancestor> {
        let mut all = Vec::new();
        let own = Ancestor { store: self.store, through };
        for ancestor in self.ancestors.iter().chain([&own]) {
            let upto = ancestor.through.min(through);
            if all.last().map_or(0, |last: &Ancestor| last.through) < upto {
                all.push(Ancestor { store: ancestor.store, through: upto });
            }
        }
        all
    }

    /// The UUID that the segment's header must carry.
    pub(crate) fn origin_of(&self, segment: u64) -> Uuid {
        let ancestor = self.ancestors.iter().find(|ancestor| segment <= ancestor.through);
        ancestor.map_or(self.store, |ancestor| ancestor.store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            store: Uuid::from_u128(1),
            id_scope: IdScope::Store,
            generation: 4,
            epoch: 3,
            first_segment: 2,
            last_segment: 2,
            durable: 88,
            encrypts: true,
            base: 1,
            ancestors: vec![Ancestor { store: Uuid::from_u128(9), through: 1 }],
            backup: false,
            unfinished: true,
        }
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        assert_eq!(Head::decode(&head().encode(), "f").unwrap(), head());
        assert_eq!(head().origin_of(1), Uuid::from_u128(9));
        assert_eq!(head().origin_of(2), Uuid::from_u128(1));
    }

    #[test]
    fn a_branch_has_the_ancestors_of_the_segments_it_keeps() {
        let (me, old) = (head().store, Uuid::from_u128(9));
        let of = |through| head().ancestors_through(through);
        assert_eq!(of(0), []);
        assert_eq!(of(1), [Ancestor { store: old, through: 1 }]);
        let both = [Ancestor { store: old, through: 1 }, Ancestor { store: me, through: 2 }];
        assert_eq!(of(2), both);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = head().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::decode(&bad, "f").is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(Head::decode(&good[..cut], "f").is_err(), "cut {cut}");
        }
    }
}
