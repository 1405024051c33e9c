//! Layer 5.2: the bytes of a sidecar: header, sections, and the buckets that three of them share.
//!
//! Knows: where everything lies and how it is checked. Does not know: how the answers are made
//! (`build.rs`) or read (`sidecar.rs`). A sidecar is never evidence about the log: what is doubtful
//! in it is deleted and made again.
//!
//! ```text
//!   0  magic "FACTIDX\0"        8
//!   8  sidecar format version   u16
//!  10  zeros                    u16
//!  12  sections                 u32  14
//!  16  store                    16   UUID of the segment's origin store
//!  32  segment                  u64  from here to `first position`: what it was made for
//!  40  start offset             u64  after the opening frame, or where a part begins
//!  48  end offset               u64
//!  56  end frame                u64
//!  64  chain value              u32
//!  68  events                   u32  lost ones included
//!  72  first position           u64
//!  80  last recorded at         u64  microseconds since the Unix epoch; 0 without events
//!  88  hash key                 2 x u64, see hash.rs
//! 104  section table            14 x: length u64, checksum u32, zeros u32
//! 328  rewrite number           u32  how often the segment was rewritten that it was made for
//! 332  checksum                 u32  of all before
//! 336  the sections in this order, each filled up with zeros to a multiple of 8 that its checksum
//!      covers; nothing follows the last
//!
//! offsets           u32 per position: where its record begins; 0 = lost by a salvage
//! streams           16 per stream, sorted by the bytes of the name, one more that ends the last:
//!                   first version here u64, start in names u32, number of first ordinal u32
//! names             the names, one after the other
//! ordinals          u32 per version: those of the first stream in order, and so on; FFFFFFFF: lost
//! stream directory  for the hash of the name
//! stream table      8 per stream: fingerprint u32, number of the stream u32
//! term directory    for the hash of the term, see term.rs
//! terms             16 per term, sorted by hash: hash u64, ordinal u32, start u32: FFFFFFFF when
//!                   the ordinal is the only one, else where in postings its list begins, of which
//!                   it is the last
//! postings          lists, see postings.rs
//! id directory      for the hash of the id
//! id table          8 per event: fingerprint u32, ordinal u32, ascending
//! id filter         a fuse filter of the hashes of the ids, see fuse.rs; empty when there is none
//! checkpoints       each: position u64, id 16, frame u64, name length u16, name; sorted by name
//! settings          each: frame u64, the body of a settings record; sorted by stream
//!
//! A directory has 2^k + 1 x u32: where in its table each bucket starts, and the table's length. An
//! entry is in the bucket that the k upper bits of its hash name; a fingerprint is the next 32 bits
//! (filled up with zeros). Tables are sorted by hash, so fingerprints ascend within a bucket.
//! ```

use uuid::Uuid;

use super::hash::HashKey;
use crate::format::{Put, Take, crc};
use crate::types::{Position, Timestamp};

const MAGIC: &[u8; 8] = b"FACTIDX\0";
/// A sidecar of another version is doubtful and made again. 1 has the settings of streams.
const SIDECAR_VERSION: u16 = 1;
pub(super) const SECTIONS: usize = 14;
const HEADER_BYTES: usize = 336;
const ALIGN: usize = 8;
/// Entries to a bucket are between half and all of this.
const BUCKET: usize = 16;
/// In a term: the ordinal beside it is the only one.
pub(super) const ALONE: u32 = u32::MAX;

/// The sections by their place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Offsets = 0,
    Streams = 1,
    Names = 2,
    Ordinals = 3,
    StreamDirectory = 4,
    StreamTable = 5,
    TermDirectory = 6,
    Terms = 7,
    Postings = 8,
    IdDirectory = 9,
    IdTable = 10,
    IdFilter = 11,
    Checkpoints = 12,
    Settings = 13,
}

/// What a sidecar was made for: it holds for these bytes of the log and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding {
    pub store: Uuid,
    pub segment: u64,
    pub start_offset: u64,
    pub end_offset: u64,
    pub end_frame: u64,
    pub chain: u32,
    pub first_position: Position,
    pub events: u32,
    /// How often the segment was rewritten; 0 where only the log's end matters, as for heads.
    pub rewrite: u32,
}

impl Binding {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put(self.store.as_bytes());
        out.put_u64(self.segment);
        out.put_u64(self.start_offset);
        out.put_u64(self.end_offset);
        out.put_u64(self.end_frame);
        out.put_u32(self.chain);
        out.put_u32(self.events);
        out.put_u64(self.first_position.get());
    }

    pub(crate) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let store = take.uuid()?;
        let (segment, start_offset) = (take.u64()?, take.u64()?);
        let (end_offset, end_frame) = (take.u64()?, take.u64()?);
        let (chain, events) = (take.u32()?, take.u32()?);
        let first_position = Position::new(take.u64()?);
        Some(Self {
            store,
            segment,
            start_offset,
            end_offset,
            end_frame,
            chain,
            first_position,
            events,
            rewrite: 0,
        })
    }
}

/// What the header says besides the sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub binding: Binding,
    pub last_recorded_at: Timestamp,
    pub key: HashKey,
}

/// Where a section lies and what it must check to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    start: usize,
    length: usize,
    padded: usize,
    crc: u32,
}

impl Extent {
    pub(super) fn of<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        file.get(self.start..self.start + self.length).unwrap_or_default()
    }

    /// Whether the section and its padding are what was written.
    pub(super) fn checks(&self, file: &[u8]) -> bool {
        file.get(self.start..self.start + self.padded).is_some_and(|bytes| crc(bytes) == self.crc)
    }
}

impl Header {
    /// The file of these sections.
    pub(super) fn encode(&self, sections: [Vec<u8>; SECTIONS]) -> Vec<u8> {
        let padded = sections.iter().map(|section| section.len().next_multiple_of(ALIGN));
        let mut out = Vec::with_capacity(HEADER_BYTES + padded.sum::<usize>());
        out.resize(HEADER_BYTES, 0);
        let mut table = Vec::new();
        for section in sections {
            let start = out.len();
            out.put(&section);
            out.resize(out.len().next_multiple_of(ALIGN), 0);
            table.put_u64(u64::try_from(section.len()).unwrap_or(u64::MAX));
            table.put_u32(crc(out.get(start..).unwrap_or_default()));
            table.put_u32(0);
        }
        let mut head = Vec::with_capacity(HEADER_BYTES);
        head.put(MAGIC);
        head.put_u16(SIDECAR_VERSION);
        head.put_u16(0);
        head.put_u32(u32::try_from(SECTIONS).unwrap_or(u32::MAX));
        self.binding.encode(&mut head);
        head.put_u64(self.last_recorded_at.micros());
        head.put_u64(self.key.first);
        head.put_u64(self.key.second);
        head.put(&table);
        head.put_u32(self.binding.rewrite);
        head.put_u32(crc(&head));
        out.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        out
    }

    /// The header and the places of the sections.
    ///
    /// # Errors
    /// Why the file is doubtful; the contents of the sections have not been looked at.
    pub(super) fn decode(file: &[u8]) -> Result<(Self, [Extent; SECTIONS]), String> {
        let mut take = Take(file);
        let checked = take.slice(HEADER_BYTES - 4).ok_or("it is shorter than its header")?;
        if take.u32() != Some(crc(checked)) {
            return Err("its header does not check".into());
        }
        let mut take = Take(checked);
        if take.slice(MAGIC.len()) != Some(MAGIC) {
            return Err("it is not a sidecar".into());
        }
        if take.u16() != Some(SIDECAR_VERSION) {
            return Err("its sidecar format version is another".into());
        }
        let mut header = Self::fields(&mut take).ok_or("its header has impossible values")?;
        let (sections, rewrite) = extents(&mut take, file.len()).ok_or("its size is wrong")?;
        header.binding.rewrite = rewrite;
        Ok((header, sections))
    }

    fn fields(take: &mut Take<'_>) -> Option<Self> {
        take.zeros(2)?;
        if usize::try_from(take.u32()?).ok()? != SECTIONS {
            return None;
        }
        let binding = Binding::decode(take)?;
        let last_recorded_at = Timestamp::from_micros(take.u64()?);
        let key = HashKey { first: take.u64()?, second: take.u64()? };
        Some(Self { binding, last_recorded_at, key })
    }
}

/// Reads the section table, whose sections must fill the file exactly, and the number behind it.
fn extents(take: &mut Take<'_>, file_length: usize) -> Option<([Extent; SECTIONS], u32)> {
    let mut sections = [Extent::default(); SECTIONS];
    let mut start = HEADER_BYTES;
    for section in &mut sections {
        let length = usize::try_from(take.u64()?).ok()?;
        let padded = length.checked_next_multiple_of(ALIGN)?;
        *section = Extent { start, length, padded, crc: take.u32()? };
        take.zeros(4)?;
        start = start.checked_add(padded)?;
    }
    let rewrite = take.u32()?;
    (start == file_length).then_some((sections, rewrite))
}

/// How many upper bits of a hash name the bucket when there are this many entries.
fn bucket_bits(entries: usize) -> u32 {
    (entries / BUCKET).next_power_of_two().ilog2()
}

fn bucket_of(hash: u64, bits: u32) -> usize {
    // No bits at all name the one bucket there is.
    let bucket = hash.checked_shr(u64::BITS - bits).unwrap_or_default();
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The fingerprint of a hash in a table with this many entries.
pub(super) fn fingerprint_of(hash: u64, entries: usize) -> u32 {
    fingerprint(hash, bucket_bits(entries))
}

/// How long the directory of so many entries is.
pub(super) fn directory_bytes(entries: usize) -> usize {
    ((1 << bucket_bits(entries)) + 1) * 4
}

fn fingerprint(hash: u64, bits: u32) -> u32 {
    u32::try_from((hash << bits) >> 32).unwrap_or_default()
}

/// The directory of a table with these hashes, which must be sorted.
pub(super) fn directory(hashes: impl ExactSizeIterator<Item = u64>) -> Option<Vec<u8>> {
    let count = hashes.len();
    let bits = bucket_bits(count);
    let (mut out, mut started) = (Vec::new(), 0);
    for (number, hash) in hashes.enumerate() {
        while started <= bucket_of(hash, bits) {
            out.put_u32(u32::try_from(number).ok()?);
            started += 1;
        }
    }
    while started <= 1 << bits {
        out.put_u32(u32::try_from(count).ok()?);
        started += 1;
    }
    Some(out)
}

/// Directory and table of these hashes with their numbers.
pub(super) fn table(mut entries: Vec<(u64, u32)>) -> Option<(Vec<u8>, Vec<u8>)> {
    entries.sort_unstable();
    let bits = bucket_bits(entries.len());
    let mut out = Vec::with_capacity(entries.len() * 8);
    for (hash, number) in &entries {
        out.put_u32(fingerprint(*hash, bits));
        out.put_u32(*number);
    }
    Some((directory(entries.iter().map(|(hash, _)| *hash))?, out))
}

/// The directory in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    starts: &'a [[u8; 4]],
    bits: u32,
}

impl<'a> Directory<'a> {
    /// `None` when its size is none that a directory has.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let (starts, []) = bytes.as_chunks::<4>() else { return None };
        let buckets = starts.len().checked_sub(1)?;
        buckets.is_power_of_two().then(|| Self { starts, bits: buckets.ilog2() })
    }

    /// Where in the table the bucket of `hash` lies.
    pub(super) fn range(self, hash: u64) -> Option<std::ops::Range<usize>> {
        let bucket = bucket_of(hash, self.bits);
        let start = |at: usize| Some(u32::from_le_bytes(*self.starts.get(at)?) as usize);
        Some(start(bucket)?..start(bucket + 1)?)
    }

    pub(super) fn fingerprint(self, hash: u64) -> u32 {
        fingerprint(hash, self.bits)
    }

    /// The bucket of `hash` among these entries.
    pub(super) fn bucket<T>(self, table: &[T], hash: u64) -> &[T] {
        self.range(hash).and_then(|range| table.get(range)).unwrap_or_default()
    }

    /// The entries of a table of fingerprints that may be those of `hash`.
    pub(super) fn matching(self, table: &[[u8; 8]], hash: u64) -> &[[u8; 8]] {
        let wanted = self.fingerprint(hash);
        let bucket = self.bucket(table, hash);
        let read = |entry: &[u8; 8]| Take(entry).u32().unwrap_or_default();
        let from = bucket.partition_point(|entry| read(entry) < wanted);
        let rest = bucket.get(from..).unwrap_or_default();
        let length = rest.iter().take_while(|entry| read(entry) == wanted).count();
        rest.get(..length).unwrap_or_default()
    }
}
