//! Layer 5.5: the index of a sealed segment, answered from its sidecar's bytes.
//!
//! Knows: the layout (`layout.rs`) and how to read it where it lies, copying nothing. Does not
//! know: files; the bytes are usually mapped. Every access is bounded: bytes that check but were
//! never written by `build.rs` give wrong answers, which readers compare anyway, and nothing worse.

use std::ops::Deref;

use uuid::Uuid;

use super::fuse::Fuse;
use super::hash::HashKey;
use super::ids::IdCandidates;
use super::layout::{ALONE, Binding, Directory, Extent, Header, SECTIONS, Section};
use super::lookup::{
    CheckpointEntry, Ordinals, SegmentLookup, SettingsEntry, StreamPart, StreamRun,
};
use super::postings::Postings;
use super::tail::{DAMAGED, TailIndex};
use crate::format::Take;
use crate::types::{Position, Timestamp, Version};

/// An opened sidecar over its bytes.
#[derive(Debug)]
pub(crate) struct Sidecar<B> {
    bytes: B,
    header: Header,
    sections: [Extent; SECTIONS],
    filter: Option<Fuse>,
    /// Ordinals without an offset; found when it is opened, if there are any.
    lost: Vec<u32>,
}

impl<B: Deref<Target = [u8]>> Sidecar<B> {
    /// Opens and checks everything: header, binding, every section.
    ///
    /// # Errors
    /// Why the sidecar is doubtful, to be reported when it is made again.
    pub(crate) fn open(bytes: B, binding: &Binding) -> Result<Self, String> {
        let sidecar = Self::open_unchecked(bytes, binding)?;
        sidecar.check()?;
        Ok(sidecar)
    }

    /// Opens with the header checked, for the log to say whether what it claims is so.
    ///
    /// # Errors
    /// Why the sidecar is doubtful.
    pub(crate) fn open_as_it_is(bytes: B) -> Result<Self, String> {
        let (header, _) = Header::decode(&bytes)?;
        Self::open_unchecked(bytes, &header.binding)
    }

    /// What it says it was made for.
    pub(crate) fn binding(&self) -> &Binding {
        &self.header.binding
    }

    /// An empty index that, filled with what this was made from and encoded, gives the same bytes.
    pub(crate) fn like_this(&self) -> TailIndex {
        TailIndex::with_key(self.header.binding.first_position, self.key())
    }

    /// Opens with header and binding checked, in a time that does not grow with the file; until
    /// [`Self::check`] has succeeded, answers may be wrong.
    ///
    /// # Errors
    /// Why the sidecar is doubtful.
    pub(crate) fn open_unchecked(bytes: B, binding: &Binding) -> Result<Self, String> {
        let (header, sections) = Header::decode(&bytes)?;
        if header.binding != *binding && !planted!(ForeignSidecarTrusted) {
            return Err("it was made for other bytes of the log".into());
        }
        let mut sidecar = Self { bytes, header, sections, filter: None, lost: Vec::new() };
        let filter = sidecar.section(Section::IdFilter);
        let open = Fuse::open(filter);
        if open.is_none() && !filter.is_empty() || !sidecar.fits() {
            return Err("its sections do not fit together".into());
        }
        sidecar.filter = open;
        sidecar.lost = sidecar.find_lost();
        Ok(sidecar)
    }

    /// Checks the sections, reading the whole file.
    ///
    /// # Errors
    /// Why the sidecar is doubtful.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.sections.iter().position(|section| !section.checks(&self.bytes)) {
            Some(number) if !planted!(SidecarNotChecked) => {
                Err(format!("its section {number} does not check"))
            }
            _ => Ok(()),
        }
    }

    /// Where the offset of an event is looked up.
    pub(crate) fn offset_place(&self, ordinal: u32) -> (&[u8], usize) {
        (self.section(Section::Offsets), (ordinal as usize).saturating_mul(4))
    }

    /// Every event has an id, a lost one has none: only where some are missing is anything read.
    fn find_lost(&self) -> Vec<u32> {
        let (offsets, _) = self.section(Section::Offsets).as_chunks::<4>();
        if self.section(Section::IdTable).len() / 8 == offsets.len() {
            return Vec::new();
        }
        let numbered = (0..).zip(offsets);
        numbered.filter(|(_, at)| u32::from_le_bytes(**at) == DAMAGED).map(|(at, _)| at).collect()
    }

    fn fits(&self) -> bool {
        let length = |section| self.section(section).len();
        let events = self.header.binding.events as usize;
        length(Section::Offsets) == events.saturating_mul(4)
            && length(Section::IdTable).is_multiple_of(8)
            && length(Section::IdTable) <= length(Section::Offsets).saturating_mul(2)
            && length(Section::Ordinals).is_multiple_of(4)
            && length(Section::Streams) == (self.streams() + 1) * 16
            && length(Section::StreamTable) == self.streams() * 8
            && length(Section::Terms).is_multiple_of(16)
            && [Section::StreamDirectory, Section::TermDirectory, Section::IdDirectory]
                .iter()
                .all(|section| Directory::open(self.section(*section)).is_some())
    }

    fn section(&self, section: Section) -> &[u8] {
        let extent = self.sections.get(section as usize);
        extent.map_or(&[], |extent| extent.of(&self.bytes))
    }

    fn key(&self) -> HashKey {
        self.header.key
    }

    fn streams(&self) -> usize {
        (self.section(Section::Streams).len() / 16).saturating_sub(1)
    }

    /// The entries of a table of fingerprints that may be those of `hash`.
    fn matching(&self, directory: Section, table: Section, hash: u64) -> &[[u8; 8]] {
        let table = self.section(table).as_chunks().0;
        match Directory::open(self.section(directory)) {
            Some(directory) => directory.matching(table, hash),
            None => &[],
        }
    }

    /// The name and the events of the stream with this number in the order of names.
    fn stream_at(&self, number: usize) -> Option<(&[u8], StreamRun<'_>)> {
        let from = number.checked_mul(16)?;
        let mut take = Take(self.section(Section::Streams).get(from..)?);
        let (first_version, name_start, first) = (take.u64()?, take.u32()?, take.u32()?);
        let (_, name_end, end) = (take.u64()?, take.u32()?, take.u32()?);
        let name = self.section(Section::Names).get(name_start as usize..name_end as usize)?;
        let (all, _) = self.section(Section::Ordinals).as_chunks::<4>();
        let ordinals = Ordinals::Bytes(all.get(first as usize..end as usize)?);
        Some((name, StreamRun { first_version: Version::new(first_version), ordinals }))
    }

    fn part_at(&self, number: usize) -> Option<StreamPart<'_>> {
        let (name, run) = self.stream_at(number)?;
        let (name, count) = (std::str::from_utf8(name).ok()?, run.len());
        let last_ordinal = run.ordinal(count.checked_sub(1)?)?;
        Some(StreamPart { name, first_version: run.first_version(), count, last_ordinal })
    }
}

impl<B: Deref<Target = [u8]>> SegmentLookup for Sidecar<B> {
    fn first_position(&self) -> Position {
        self.header.binding.first_position
    }

    fn events(&self) -> u32 {
        self.header.binding.events
    }

    fn last_recorded_at(&self) -> Timestamp {
        self.header.last_recorded_at
    }

    fn offset(&self, ordinal: u32) -> Option<u32> {
        let (offsets, _) = self.section(Section::Offsets).as_chunks::<4>();
        let offset = u32::from_le_bytes(*offsets.get(ordinal as usize)?);
        (offset != DAMAGED).then_some(offset)
    }

    fn lost(&self) -> &[u32] {
        &self.lost
    }

    fn stream(&self, name: &str) -> Option<StreamRun<'_>> {
        let hash = self.key().bytes(name.as_bytes());
        let found = self.matching(Section::StreamDirectory, Section::StreamTable, hash);
        found.iter().find_map(|entry| {
            let [.., a, b, c, d] = *entry;
            let (at, run) = self.stream_at(u32::from_le_bytes([a, b, c, d]) as usize)?;
            (at == name.as_bytes()).then_some(run)
        })
    }

    fn term(&self, hash: u64) -> Postings<'_> {
        let find = || {
            let (terms, _) = self.section(Section::Terms).as_chunks::<16>();
            let bucket = Directory::open(self.section(Section::TermDirectory))?.bucket(terms, hash);
            let at = |entry: &[u8; 16]| Take(entry).u64().unwrap_or_default();
            let found = bucket.get(bucket.partition_point(|entry| at(entry) < hash))?;
            let mut take = Take(found);
            let (same, last, start) = (take.u64()? == hash, take.u32()?, take.u32()?);
            match (same, start) {
                (false, _) => None,
                (true, ALONE) => Some(Postings::one(last)),
                _ => {
                    let lists = self.section(Section::Postings);
                    Postings::decode(lists.get(start as usize..)?, last)
                }
            }
        };
        find().unwrap_or_default()
    }

    fn ids(&self, id: &Uuid) -> IdCandidates<'_> {
        let hash = self.key().id(id);
        let filter = self.section(Section::IdFilter);
        if self.filter.is_some_and(|fuse| !fuse.may_contain(filter, hash)) {
            return IdCandidates::default();
        }
        IdCandidates::packed(self.matching(Section::IdDirectory, Section::IdTable, hash))
    }

    fn for_each_stream<'a>(&'a self, f: &mut dyn FnMut(StreamPart<'a>)) {
        (0..self.streams()).filter_map(|number| self.part_at(number)).for_each(f);
    }

    /// Out of the table of streams alone: opening asks this.
    fn stream_counts(&self) -> (u32, u32) {
        let (entries, _) = self.section(Section::Streams).as_chunks::<16>();
        let streams = entries.get(..self.streams()).unwrap_or_default();
        let first_here = |entry: &&[u8; 16]| Take(*entry).u64() == Some(1);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (count(streams.len()), count(streams.iter().filter(first_here).count()))
    }

    fn for_each_checkpoint(&self, f: &mut dyn FnMut(&CheckpointEntry)) {
        let mut take = Take(self.section(Section::Checkpoints));
        while let Some(entry) = CheckpointEntry::decode(&mut take) {
            f(&entry);
        }
    }

    fn for_each_settings(&self, f: &mut dyn FnMut(&SettingsEntry)) {
        let mut take = Take(self.section(Section::Settings));
        while let Some(entry) = SettingsEntry::decode(&mut take) {
            f(&entry);
        }
    }
}
