//! Layer 2.1: one file of the simulated disk: what is durable, what is cached, what is in between.
//!
//! Knows: effects, and what a power cut can make of each. Does not know: names, or which effects a
//! test wants to survive.
//!
//! A write becomes one effect per 512-byte sector, a change of size becomes one effect. Until a
//! sync every effect fares on its own, except that they are applied in order; so bytes can be there
//! without the size that would show them, and the size without the bytes.

use std::sync::Arc;

use super::image::{Image, PAGE, split, to_u64, to_usize};
use super::sim_random::Random;

const SECTOR: u64 = 512;

/// Something done to the cache that has yet to reach the disk.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// Bytes within one sector.
    Bytes {
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Grow {
        from: u64,
        to: u64,
    },
    Cut {
        to: u64,
    },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// What reads see.
    cached: Image,
    /// What a power cut leaves if it takes every pending effect.
    durable: Image,
    pending: Vec<Effect>,
    /// How often what was pending could not be written out, and how much of that was told.
    failures: u64,
    told: u64,
}

impl Inode {
    /// A file that has been on disk for long.
    pub(super) fn settled(image: Image) -> Self {
        Self { cached: image.clone(), durable: image, ..Self::default() }
    }

    pub(super) fn cached(&self) -> &Image {
        &self.cached
    }

    pub(super) fn pending(&self) -> &[Effect] {
        &self.pending
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (from, to) = (self.cached.size(), offset + to_u64(bytes.len()));
        if to > from {
            self.pending.push(Effect::Grow { from, to });
        }
        let sectors = split(offset, bytes, SECTOR);
        self.pending.extend(sectors.map(|(offset, part)| Effect::bytes(offset, part)));
        self.cached.write(offset, bytes);
    }

    pub(super) fn resize(&mut self, to: u64) {
        let from = self.cached.size();
        match to.cmp(&from) {
            std::cmp::Ordering::Less => self.pending.push(Effect::Cut { to }),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => self.pending.push(Effect::Grow { from, to }),
        }
        self.cached.resize(to);
    }

    /// Not a copy of the cache, because that may hold bytes a failed sync has dropped.
    pub(super) fn sync(&mut self) {
        for effect in std::mem::take(&mut self.pending) {
            effect.apply(&mut self.durable);
            if let Effect::Bytes { offset, bytes } = &effect {
                let end = offset + to_u64(bytes.len());
                self.durable.show(end.max(self.durable.size()));
            }
        }
        self.durable.trim();
    }

    /// A sync that failed as on Linux: the cache looks clean, and the disk has nothing.
    pub(super) fn drop_pages(&mut self) {
        self.pending.clear();
    }

    /// Drops what is pending and lets syncs say so later.
    pub(super) fn fail_writeback(&mut self) {
        self.drop_pages();
        self.failures += 1;
    }

    /// What a file opened now counts as told: a failure that nobody knows is told to it too.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// The failures so far, if an open file that was told of so many has to report the rest.
    pub(super) fn tell(&mut self, known: u64) -> Option<u64> {
        self.told = self.failures;
        (known < self.failures).then_some(self.failures)
    }

    /// Inverts one bit, in the cache and on disk.
    pub(super) fn flip(&mut self, offset: u64, bit: u32) {
        for image in [&mut self.cached, &mut self.durable] {
            let mut byte = [0];
            if image.read(&mut byte, offset) == 1 {
                image.put(offset, &byte.map(|byte| byte ^ 1_u8.rotate_left(bit)));
            }
        }
    }

    /// The file after a power cut, if `remains` says what each effect comes to.
    pub(super) fn after(&self, remains: impl FnMut(&Effect) -> Option<Effect>) -> Image {
        let mut image = self.remnant(remains);
        image.trim();
        image
    }

    /// One of the files a power cut may leave.
    pub(super) fn after_power_cut(&self, random: &mut Random, shared_damage: bool) -> Image {
        let mut mood = Mood::choose(self.pending.len(), random);
        let mut image = self.remnant(|effect| mood.remains(effect, random));
        if shared_damage && mood.damage > 0 {
            for effect in &self.pending {
                if let Effect::Bytes { offset, .. } = effect
                    && random.chance(1, 16)
                {
                    image.put(offset - offset % PAGE, &random.garbage(to_usize(PAGE)));
                }
            }
        }
        image.trim();
        image
    }

    /// May still hold bytes beyond its size.
    fn remnant(&self, remains: impl FnMut(&Effect) -> Option<Effect>) -> Image {
        let mut image = self.durable.clone();
        self.pending.iter().filter_map(remains).for_each(|effect| effect.apply(&mut image));
        image
    }
}

impl Effect {
    fn bytes(offset: u64, bytes: &[u8]) -> Self {
        Self::Bytes { offset, bytes: Arc::from(bytes) }
    }

    fn apply(&self, image: &mut Image) {
        match self {
            Self::Bytes { offset, bytes } => image.put(*offset, bytes),
            Self::Grow { to, .. } => image.show(*to),
            Self::Cut { to } => {
                image.show(*to);
                image.trim();
            }
        }
    }

    /// What is left when it is neither done nor undone.
    fn damaged(&self, random: &mut Random) -> Option<Self> {
        let (offset, bytes) = match self {
            Self::Bytes { offset, bytes } => (*offset, bytes),
            Self::Grow { from, to } => {
                let to = from + random.up_to(to - from);
                return Some(Self::Grow { from: *from, to });
            }
            Self::Cut { .. } => return None,
        };
        let parts = bytes.split_at(to_usize(random.up_to(to_u64(bytes.len()))));
        Some(match random.up_to(3) {
            0 => Self::bytes(offset, &vec![0; bytes.len()]),
            1 => Self::bytes(offset, &random.garbage(bytes.len())),
            2 => Self::bytes(offset, parts.0),
            _ => Self::bytes(offset + to_u64(parts.0.len()), parts.1),
        })
    }
}

/// What one power cut does to one file. Pure chance would hardly ever lose or keep everything, or
/// keep a long beginning, so these come first.
#[derive(Debug)]
struct Mood {
    /// In order: effects still to be kept before all others are lost.
    ordered: Option<u64>,
    /// Out of order: how many of 8 effects survive.
    keep: u64,
    /// How many of 8 effects are damaged; in order, only the first lost one can be.
    damage: u64,
}

impl Mood {
    fn choose(effects: usize, random: &mut Random) -> Self {
        let ordered = random.chance(1, 3).then(|| random.up_to(to_u64(effects)));
        let keep = match random.up_to(4) {
            0 => 0,
            1 => 8,
            2 => 1,
            3 => 7,
            _ => 4,
        };
        let damage = match random.up_to(3) {
            0 => 4,
            1 => 1,
            _ => 0,
        };
        Self { ordered, keep, damage }
    }

    fn remains(&mut self, effect: &Effect, random: &mut Random) -> Option<Effect> {
        let damaged = random.chance(self.damage, 8);
        match &mut self.ordered {
            Some(0) if damaged => {
                self.damage = 0;
                effect.damaged(random)
            }
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(effect.clone())
            }
            None if damaged => effect.damaged(random),
            None => random.chance(self.keep, 8).then(|| effect.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> Inode {
        let mut inode = Inode::default();
        inode.write(0, bytes);
        inode
    }

    #[test]
    fn a_write_is_one_effect_per_sector_and_one_for_the_size() {
        assert_eq!(written(&[1; 1025]).pending().len(), 4);
    }

    #[test]
    fn size_and_bytes_survive_independently() {
        let inode = written(b"hello");
        let size_only = inode.after(|effect| match effect {
            Effect::Bytes { .. } => None,
            other => Some(other.clone()),
        });
        let bytes_only = inode.after(|effect| match effect {
            Effect::Bytes { .. } => Some(effect.clone()),
            _ => None,
        });
        assert_eq!(size_only.prefix(9), [0; 5]);
        assert_eq!(bytes_only.size(), 0);
        assert_eq!(inode.after(|effect| Some(effect.clone())).prefix(9), b"hello");
    }

    #[test]
    fn a_lost_cut_brings_old_bytes_back() {
        let mut inode = written(b"hello");
        inode.sync();
        inode.resize(1);
        inode.resize(5);
        assert_eq!(inode.cached().prefix(9), b"h\0\0\0\0");
        let without_cut = inode.after(|effect| match effect {
            Effect::Cut { .. } => None,
            other => Some(other.clone()),
        });
        assert_eq!(without_cut.prefix(9), b"hello");
    }

    #[test]
    fn neighbours_in_a_shared_sector_keep_their_bytes() {
        let mut inode = written(b"neighbour");
        inode.sync();
        inode.write(9, &[1; 700]);
        let mut random = Random::new(7);
        for _ in 0..1000 {
            assert_eq!(inode.after_power_cut(&mut random, false).prefix(9), b"neighbour");
        }
        let hit =
            |random: &mut Random| inode.after_power_cut(random, true).prefix(9) != b"neighbour";
        assert!((0..1000).any(|_| hit(&mut random)));
    }

    #[test]
    fn a_synced_file_cannot_change() {
        let mut inode = written(&[3; 5000]);
        inode.sync();
        let mut random = Random::new(7);
        for _ in 0..100 {
            assert_eq!(inode.after_power_cut(&mut random, true).prefix(9999), [3; 5000]);
        }
    }

    #[test]
    fn every_fate_of_a_sector_comes_up() {
        let inode = written(&[1; 512]);
        let mut random = Random::new(7);
        let (mut old, mut new, mut zero, mut garbage, mut torn) = (0, 0, 0, 0, 0);
        for _ in 0..2000 {
            let bytes = inode.after_power_cut(&mut random, false).prefix(512);
            let ones = bytes.iter().filter(|byte| **byte == 1).count();
            let zeros = bytes.iter().filter(|byte| **byte == 0).count();
            match (bytes.len(), ones, zeros) {
                (0, ..) => old += 1,
                (512, 512, _) => new += 1,
                (_, 0, _) if zeros == bytes.len() => zero += 1,
                _ if ones + zeros == bytes.len() => torn += 1,
                _ => garbage += 1,
            }
        }
        assert!([old, new, zero, garbage, torn].iter().all(|count| *count > 10));
    }
}
