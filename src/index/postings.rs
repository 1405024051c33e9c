//! Layer 5.1: an ascending list of ordinals in about one byte each, read from both ends.
//!
//! Knows: gaps as varints, and skips to begin in the middle. Does not know: what the list is of.
//! The same bytes serve in memory and in a sidecar; hostile ones give wrong ordinals, no worse.
//!
//! ```text
//! gap     ordinal minus the one before it (the first: minus 0), seven bits to a byte, lowest
//!         first, the upper bit set in all bytes but the last
//! skip    before each 128th ordinal: the ordinal before it u32, where its gap begins u32
//! list    gap bytes u32, skips u32, the skips, the gaps
//! ```

use crate::format::{Put, Take};

const EVERY: u32 = 128;

/// A list that grows.
#[derive(Debug, Default)]
pub(super) struct PostingList {
    gaps: Vec<u8>,
    skips: Vec<(u32, u32)>,
    last: u32,
    count: u32,
}

impl PostingList {
    /// Adds an ordinal, which must not be below the last; the last itself is in already.
    pub(super) fn push(&mut self, ordinal: u32) {
        if self.count > 0 && ordinal <= self.last {
            return;
        }
        if self.count > 0 && self.count.is_multiple_of(EVERY) {
            // Fits: a gap has at most 5 bytes, its event more than that in a segment of 4 GiB.
            self.skips.push((self.last, u32::try_from(self.gaps.len()).unwrap_or(u32::MAX)));
        }
        let mut gap = ordinal - self.last;
        while gap >= 0x80 {
            let [low, ..] = gap.to_le_bytes();
            self.gaps.push(low | 0x80);
            gap >>= 7;
        }
        let [low, ..] = gap.to_le_bytes();
        self.gaps.push(low);
        self.last = ordinal;
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn last(&self) -> u32 {
        self.last
    }

    pub(super) fn read(&self) -> Postings<'_> {
        Postings::many(&self.gaps, Skips::Pairs(&self.skips), self.last)
    }

    /// Puts the list at the end of `out`; `None` when a length does not fit.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        out.put_u32(u32::try_from(self.gaps.len()).ok()?);
        out.put_u32(u32::try_from(self.skips.len()).ok()?);
        for (before, at) in &self.skips {
            out.put_u32(*before);
            out.put_u32(*at);
        }
        out.put(&self.gaps);
        Some(())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.gaps.capacity() + self.skips.capacity() * size_of::<(u32, u32)>()
    }
}

/// Ascending ordinals of candidates, from either end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Postings<'a> {
    gaps: &'a [u8],
    skips: Skips<'a>,
    /// Where the first gap not yet read begins, and the ordinal before it.
    front: usize,
    before: u32,
    /// Where the last gap not yet read ends, and the ordinal there.
    back: usize,
    last: u32,
    /// A list of one needs no gaps.
    one: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Skips<'a> {
    Pairs(&'a [(u32, u32)]),
    Bytes(&'a [[u8; 8]]),
}

impl Default for Skips<'_> {
    fn default() -> Self {
        Self::Pairs(&[])
    }
}

impl Skips<'_> {
    /// The skip before the first whose ordinal is above `ordinal` (`under`), or the first whose
    /// ordinal is not below it.
    fn near(self, ordinal: u32, under: bool) -> Option<(u32, u32)> {
        let low = |before: u32| if under { before <= ordinal } else { before < ordinal };
        let pick = |found: usize| if under { found.checked_sub(1) } else { Some(found) };
        match self {
            Self::Pairs(skips) => {
                let found = skips.partition_point(|(before, _)| low(*before));
                skips.get(pick(found)?).copied()
            }
            Self::Bytes(skips) => {
                let read = |skip: &[u8; 8]| {
                    let mut take = Take(skip);
                    (take.u32().unwrap_or_default(), take.u32().unwrap_or_default())
                };
                let found = skips.partition_point(|skip| low(read(skip).0));
                skips.get(pick(found)?).map(read)
            }
        }
    }
}

impl<'a> Postings<'a> {
    pub(super) fn one(ordinal: u32) -> Self {
        Self { one: Some(ordinal), ..Self::default() }
    }

    fn many(gaps: &'a [u8], skips: Skips<'a>, last: u32) -> Self {
        Self { gaps, skips, last, back: gaps.len(), ..Self::default() }
    }

    /// The list at the front of `bytes`, whose last ordinal is `last`.
    pub(super) fn decode(bytes: &'a [u8], last: u32) -> Option<Self> {
        let mut take = Take(bytes);
        let (gaps, skips) = (take.u32()?, take.u32()?);
        let skips = take.slice(usize::try_from(skips).ok()?.checked_mul(8)?)?;
        let gaps = take.slice(usize::try_from(gaps).ok()?)?;
        Some(Self::many(gaps, Skips::Bytes(skips.as_chunks().0), last))
    }

    /// Only those above `ordinal`. Costs a binary search and at most 128 steps.
    #[must_use]
    pub(crate) fn above(mut self, ordinal: u32) -> Self {
        self.one = self.one.filter(|one| *one > ordinal);
        if let Some((before, at)) = self.skips.near(ordinal, true)
            && let Ok(at) = usize::try_from(at)
            && at > self.front
        {
            (self.front, self.before) = (at, before);
        }
        while let Some((value, next)) = self.first_gap() {
            if value > ordinal {
                break;
            }
            (self.front, self.before) = (next, value);
        }
        self
    }

    /// Only those up to `ordinal`, itself included. Costs as much as [`Self::above`].
    #[must_use]
    pub(crate) fn up_to(mut self, ordinal: u32) -> Self {
        self.one = self.one.filter(|one| *one <= ordinal);
        if let Some((before, at)) = self.skips.near(ordinal, false)
            && let Ok(at) = usize::try_from(at)
            && at < self.back
        {
            (self.back, self.last) = (at, before);
        }
        while self.last > ordinal && self.next_back().is_some() {}
        self
    }

    /// The ordinal of the first gap not yet read and where that gap ends.
    fn first_gap(&self) -> Option<(u32, usize)> {
        let gaps = self.gaps.get(self.front..self.back)?;
        let (mut gap, mut shift, mut length) = (0_u32, 0_u32, 0_usize);
        for byte in gaps {
            let part = u32::from(byte & 0x7F);
            gap |= part.checked_shl(shift).unwrap_or_default();
            shift += 7;
            length += 1;
            // No gap has more than five bytes.
            if *byte < 0x80 || length == 5 {
                break;
            }
        }
        (length > 0).then(|| (self.before.wrapping_add(gap), self.front + length))
    }

    /// The last gap not yet read and where it begins.
    fn last_gap(&self) -> Option<(u32, usize)> {
        let gaps = self.gaps.get(self.front..self.back)?;
        let (low, rest) = gaps.split_last()?;
        let (mut gap, mut length) = (u32::from(low & 0x7F), 1_usize);
        for byte in rest.iter().rev().take(4).take_while(|byte| **byte >= 0x80) {
            gap = (gap << 7) | u32::from(byte & 0x7F);
            length += 1;
        }
        Some((gap, self.back - length))
    }
}

impl Iterator for Postings<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if let Some(one) = self.one.take() {
            return Some(one);
        }
        let (value, next) = self.first_gap()?;
        (self.front, self.before) = (next, value);
        Some(value)
    }
}

impl DoubleEndedIterator for Postings<'_> {
    fn next_back(&mut self) -> Option<u32> {
        if let Some(one) = self.one.take() {
            return Some(one);
        }
        let (gap, begin) = self.last_gap()?;
        let value = self.last;
        (self.back, self.last) = (begin, value.wrapping_sub(gap));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    fn list(ordinals: &[u32]) -> PostingList {
        let mut list = PostingList::default();
        ordinals.iter().for_each(|ordinal| list.push(*ordinal));
        list
    }

    fn ordinals() -> impl Strategy<Value = Vec<u32>> {
        let gap = prop_oneof![8 => 1_u32..4, 2 => 100_u32..20_000, 1 => 1_u32..5_000_000];
        (0_u32..3, proptest::collection::vec(gap, 0..400)).prop_map(|(first, gaps)| {
            let steps = gaps.iter().scan(first, |at, gap| {
                *at += gap;
                Some(*at)
            });
            std::iter::once(first).chain(steps).collect()
        })
    }

    proptest! {
        #[test]
        fn lists_read_alike_from_both_ends_and_from_the_middle(
            all in ordinals(), low in any::<Index>(), high in any::<Index>(), near in -1_i32..2,
        ) {
            let list = list(&all);
            let mut bytes = Vec::new();
            list.encode(&mut bytes).unwrap();
            let shift = |at: u32| at.saturating_add_signed(near);
            let (low, high) = (shift(*low.get(&all)), shift(*high.get(&all)));
            for read in [list.read(), Postings::decode(&bytes, list.last()).unwrap()] {
                prop_assert_eq!(read.clone().collect::<Vec<_>>(), all.clone());
                let mut back: Vec<_> = read.clone().rev().collect();
                back.reverse();
                prop_assert_eq!(&back, &all);
                let some: Vec<_> =
                    all.iter().copied().filter(|at| *at > low && *at <= high).collect();
                let cut = read.clone().above(low).up_to(high);
                prop_assert_eq!(cut.collect::<Vec<_>>(), some.clone());
                let cut = read.clone().up_to(high).above(low);
                prop_assert!(cut.rev().eq(some.into_iter().rev()));
                let (mut ends, mut met) = (read, Vec::new());
                while let Some(first) = ends.next() {
                    met.push(first);
                    met.extend(ends.next_back());
                }
                met.sort_unstable();
                prop_assert_eq!(&met, &all);
            }
        }

        #[test]
        fn any_bytes_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<u32>(),
        ) {
            if let Some(read) = Postings::decode(&bytes, at) {
                prop_assert!(read.clone().count() <= bytes.len());
                prop_assert!(read.clone().rev().count() <= bytes.len());
                read.clone().above(at).for_each(drop);
                read.up_to(at).for_each(drop);
            }
            let gaps = Postings::many(&bytes, Skips::default(), at);
            prop_assert!(gaps.clone().count() <= bytes.len());
            prop_assert!(gaps.clone().rev().count() <= bytes.len());
            gaps.up_to(at / 2).above(at / 3).for_each(drop);
        }
    }

    #[test]
    fn cuts_are_exact_beside_every_skip() {
        for gap in [1, 3] {
            let all: Vec<u32> = (0..600).map(|n| n * gap + 1).collect();
            let list = list(&all);
            for at in 0..600 * gap + 3 {
                let above = all.iter().copied().filter(|ordinal| *ordinal > at);
                assert!(list.read().above(at).eq(above), "above {at}");
                let up_to = all.iter().rev().copied().filter(|ordinal| *ordinal <= at);
                assert!(list.read().up_to(at).rev().eq(up_to), "up to {at}");
            }
        }
    }

    #[test]
    fn an_ordinal_given_twice_is_in_once() {
        assert_eq!(list(&[0, 0, 5, 5]).read().collect::<Vec<_>>(), [0, 5]);
        assert_eq!(Postings::one(5).above(5).count(), 0);
        assert_eq!(Postings::one(5).up_to(5).rev().collect::<Vec<_>>(), [5]);
        assert_eq!(Postings::default().above(3).next(), None);
    }
}
