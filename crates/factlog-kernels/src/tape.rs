//! Layer 0.3: everything a file system did to its disk, in order, and what a power cut may leave.
//!
//! Knows: writes, flushes, and what was said between them. Does not know: file systems.

use crate::image::{Image, PAGE};
use crate::plan::Random;
use crate::record::Record;
use crate::said::Said;

const SECTOR: usize = 512;

/// What happened to the disk, or was said by the process that wrote into the file system.
#[derive(Debug, Clone)]
pub enum Entry {
    Write { offset: u64, bytes: Vec<u8> },
    Flush,
    Said(Said),
}

/// What a tape begins with: a disk, and what is known of what is on it.
#[derive(Debug, Clone, Default)]
pub struct Base {
    pub image: Image,
    pub said: Vec<Said>,
}

impl Base {
    pub fn record(&self) -> Record {
        let mut record = Record::default();
        self.said.iter().for_each(|said| record.hear(said));
        record
    }
}

/// Plays a tape forward.
#[derive(Debug)]
pub struct Player<'a> {
    entries: &'a [Entry],
    at: usize,
    /// What every power cut leaves: all that was written before the last flush.
    durable: Image,
    /// What was written after it.
    pending: Vec<&'a Entry>,
    /// What was said so far, on earlier tapes too.
    pub said: Vec<Said>,
    /// Pages that the file system needs whole: its superblocks.
    whole: &'a [u64],
}

impl<'a> Player<'a> {
    pub fn new(base: Base, entries: &'a [Entry], whole: &'a [u64]) -> Self {
        let Base { image, said } = base;
        Self { entries, at: 0, durable: image, pending: Vec::new(), said, whole }
    }

    /// Goes on until so many entries are behind it.
    pub fn advance(&mut self, to: usize) {
        let span = self.entries.get(self.at..to.max(self.at)).unwrap_or_default();
        for entry in span {
            match entry {
                Entry::Write { .. } => self.pending.push(entry),
                Entry::Said(said) => self.said.push(said.clone()),
                Entry::Flush => {
                    for entry in self.pending.drain(..) {
                        if let Entry::Write { offset, bytes } = entry {
                            self.durable.write(*offset, bytes);
                        }
                    }
                }
            }
        }
        self.at += span.len();
    }

    /// How many writes no flush has followed.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// One of the contents the disk may have when the power goes now. Any sector that was written
    /// and not flushed may be old or new, so a later write may be there without an earlier one.
    pub fn cut(&self, seed: u64) -> Base {
        let mut random = Random::new(seed, 99);
        let mut image = self.durable.clone();
        let kind = random.below(6);
        let turn = random.below(self.pending.len() as u64 + 1);
        for (number, entry) in (0..).zip(&self.pending) {
            let Entry::Write { offset, bytes } = entry else { continue };
            let fate = match kind {
                0 => Fate::kept(number < turn),  // in order, up to some write
                1 => Fate::kept(number != turn), // all but one
                2 => Fate::kept(random.below(2) == 0),
                3 => Fate::kept(random.below(8) == 0),
                4 if number == turn => Fate::Torn, // in order, the last one torn
                4 => Fate::kept(number < turn),
                _ => Fate::Torn,
            };
            match fate {
                Fate::Kept => image.write(*offset, bytes),
                Fate::Torn => tear(&mut image, (*offset, bytes), &mut random, self.whole),
                Fate::Lost => {}
            }
        }
        Base { image, said: self.said.clone() }
    }
}

enum Fate {
    Kept,
    Torn,
    Lost,
}

impl Fate {
    fn kept(kept: bool) -> Self {
        if kept { Self::Kept } else { Self::Lost }
    }
}

/// Some sectors are written, others not.
fn tear(image: &mut Image, write: (u64, &[u8]), random: &mut Random, whole: &[u64]) {
    let (offset, bytes) = write;
    let (mut page, mut page_kept) = (u64::MAX, false);
    for (number, sector) in (0..).zip(bytes.chunks(SECTOR)) {
        let at = offset + number * SECTOR as u64;
        if at / PAGE != page {
            page = at / PAGE;
            page_kept = random.below(2) == 0;
        }
        let kept = if whole.contains(&page) { page_kept } else { random.below(2) == 0 };
        if kept {
            image.write(at, sector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, byte: u8) -> Entry {
        Entry::Write { offset, bytes: vec![byte; 1024] }
    }

    #[test]
    fn what_was_flushed_is_there_and_each_sector_after_it_may_be() {
        let said = Said::Begins { batch: 0, carries: 0 };
        let entries = [write(0, 1), Entry::Flush, Entry::Said(said), write(0, 2), write(1024, 3)];
        let mut player = Player::new(Base::default(), &entries, &[]);
        player.advance(5);
        assert_eq!((player.pending(), player.said.len()), (2, 1));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let mut bytes = [9; 2048];
            player.cut(seed).image.read(0, &mut bytes);
            seen.insert(bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 16, "{seen:?}");
        assert!(seen.iter().all(|s| s[..2].iter().all(|b| [1, 2].contains(b))));
        assert!(seen.iter().all(|s| s[2..].iter().all(|b| [0, 3].contains(b))));
    }

    #[test]
    fn a_superblock_is_not_torn() {
        let entries = [Entry::Write { offset: PAGE, bytes: vec![7; 4096] }];
        let mut player = Player::new(Base::default(), &entries, &[1]);
        player.advance(1);
        for seed in 0..200 {
            let mut bytes = [9; 4096];
            player.cut(seed).image.read(PAGE, &mut bytes);
            assert!(bytes == [7; 4096] || bytes == [0; 4096], "seed {seed}");
        }
    }
}
