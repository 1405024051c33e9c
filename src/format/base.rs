//! Layer 1.4: the trim base: what is still known of segments that were trimmed away.
//!
//! Knows: its bytes, how they are checked, and how a stream or an id is found in them where they
//! lie. Does not know: when it is made or which one counts. It is a part of the log: nothing else
//! knows what it says.
//!
//! ```text
//!   0  magic "FACTBASE"      8
//!   8  format version        u16
//!  10  zero                  u16
//!  12  flags                 u32  all "refuse if unknown"
//!  16  store                 16   UUID of the store that wrote it
//!  32  number                u64  that of the file's name
//!  40  first segment         u64  the first that is retained, at least 2
//!  48  frame                 u64  the last frame trimmed
//!  56  chain                 u32  after that frame
//!  60  zero                  u32
//!  64  first position        u64  after the last event trimmed
//!  72  last recorded at      u64  of the last event trimmed; 0 without any
//!  80  last id               16   of the last event trimmed; zeros without any
//!  96  lowest id             16   of all trimmed events; zeros without any
//! 112  highest id            16
//! 128  sections              5 x: entries u64, bytes u64, checksum u32, zero u32
//! 248  zero                  u32
//! 252  checksum              u32  of all before
//! 256  the sections, each filled up with zeros to a multiple of 8; nothing follows the last
//! ```

use std::ops::Deref;

use uuid::Uuid;

use super::bytes::{Put, Take};
use super::checksum::{crc, crc_from};
use super::control::SettingsRecord;
use super::segment::FORMAT_VERSION;
use crate::types::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"FACTBASE";
/// Where the sections begin.
pub(crate) const BASE_HEADER_BYTES: usize = 256;
const SECTIONS: usize = 5;
const STREAM_BYTES: usize = 32;
const ID_BYTES: usize = 36;
const ALIGN: usize = 8;
/// Sections are handed on in pieces of about this size.
const PIECE: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
enum Section {
    Streams = 0,
    Names = 1,
    Checkpoints = 2,
    Ids = 3,
    Settings = 4,
}

/// Where the log goes on behind what was trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseEnd {
    pub store: Uuid,
    pub number: u64,
    pub first_segment: u64,
    pub frame: u64,
    pub chain: u32,
    pub first_position: u64,
    pub last_recorded_at: u64,
    pub last_id: Uuid,
}

/// A stream with trimmed events, as it stood behind the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseStream<'a> {
    pub name: &'a str,
    pub version: u64,
    pub last_position: u64,
}

/// The newest checkpoint under a name that a trimmed segment carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseCheckpoint<'a> {
    pub name: &'a str,
    pub position: u64,
    pub id: Uuid,
    pub frame: u64,
}

/// A trimmed event. In this order they are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BaseId {
    pub id: Uuid,
    pub position: u64,
    pub version: u64,
    /// Which of the base's streams.
    pub stream: u32,
}

/// What a base is written from: streams sorted by name, checkpoints by name, ids as they compare.
pub(crate) struct BaseParts<'a, I> {
    pub end: BaseEnd,
    pub streams: &'a [BaseStream<'a>],
    pub checkpoints: &'a [BaseCheckpoint<'a>],
    pub ids: I,
    /// The newest of every stream, each with the frame it was first written in.
    pub settings: &'a [(u64, SettingsRecord<'a>)],
}

#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    entries: u64,
    start: usize,
    bytes: usize,
    crc: u32,
}

/// A section on its way to the file.
struct Writing<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    piece: Vec<u8>,
    done: Extent,
}

impl<'a> Writing<'a> {
    fn new(sink: &'a mut dyn FnMut(&[u8]) -> Result<()>) -> Self {
        Self { sink, piece: Vec::new(), done: Extent::default() }
    }

    fn entry(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let before = self.piece.len();
        put(&mut self.piece);
        self.done.entries += 1;
        self.done.bytes += self.piece.len() - before;
        if self.piece.len() >= PIECE { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> Result<()> {
        self.done.crc = crc_from(self.done.crc, &self.piece);
        (self.sink)(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    fn end(mut self) -> Result<Extent> {
        let padding = self.done.bytes.next_multiple_of(ALIGN) - self.done.bytes;
        self.piece.resize(self.piece.len() + padding, 0);
        self.hand_on()?;
        Ok(self.done)
    }
}

impl<I: Iterator<Item = BaseId>> BaseParts<'_, I> {
    /// Hands the sections to `sink`, one piece after the other; answers the header before them.
    ///
    /// # Errors
    /// Those of `sink`.
    pub(crate) fn write(self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Vec<u8>> {
        let Self { end, streams, checkpoints, ids, settings } = self;
        let (mut start, mut writing) = (0_u64, Writing::new(sink));
        for stream in streams {
            writing.entry(|out| {
                out.put_u64(start);
                out.put_u16(u16::try_from(stream.name.len()).unwrap_or(u16::MAX));
                out.put(&[0; 6]);
                out.put_u64(stream.version);
                out.put_u64(stream.last_position);
            })?;
            start += stream.name.len() as u64;
        }
        let of_streams = writing.end()?;
        let mut writing = Writing::new(sink);
        streams.iter().try_for_each(|s| writing.entry(|out| out.put(s.name.as_bytes())))?;
        let of_names = writing.end()?;
        let mut writing = Writing::new(sink);
        for checkpoint in checkpoints {
            writing.entry(|out| {
                out.put_u64(checkpoint.position);
                out.put(checkpoint.id.as_bytes());
                out.put_u64(checkpoint.frame);
                out.put_u16(u16::try_from(checkpoint.name.len()).unwrap_or(u16::MAX));
                out.put(checkpoint.name.as_bytes());
            })?;
        }
        let of_checkpoints = writing.end()?;
        let (mut range, mut writing) = (None, Writing::new(sink));
        for found in ids {
            let (lowest, _) = range.unwrap_or((found.id, found.id));
            range = Some((lowest, found.id));
            writing.entry(|out| {
                out.put(found.id.as_bytes());
                out.put_u32(found.stream);
                out.put_u64(found.version);
                out.put_u64(found.position);
            })?;
        }
        let of_ids = writing.end()?;
        let mut writing = Writing::new(sink);
        for (frame, record) in settings {
            writing.entry(|out| {
                out.put_u64(*frame);
                record.encode(out);
            })?;
        }
        let of_settings = writing.end()?;
        let sections = [of_streams, of_names, of_checkpoints, of_ids, of_settings];
        Ok(header(&end, range.unwrap_or_default(), &sections))
    }
}

fn header(end: &BaseEnd, (lowest, highest): (Uuid, Uuid), sections: &[Extent]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.put_u16(FORMAT_VERSION);
    out.put_u16(0);
    out.put_u32(0);
    out.put(end.store.as_bytes());
    out.put_u64(end.number);
    out.put_u64(end.first_segment);
    out.put_u64(end.frame);
    out.put_u32(end.chain);
    out.put_u32(0);
    out.put_u64(end.first_position);
    out.put_u64(end.last_recorded_at);
    for id in [end.last_id, lowest, highest] {
        out.put(id.as_bytes());
    }
    for section in sections {
        out.put_u64(section.entries);
        out.put_u64(section.bytes as u64);
        out.put_u32(section.crc);
        out.put_u32(0);
    }
    out.put_u32(0);
    out.put_u32(crc(&out));
    out
}

/// A base over its bytes.
#[derive(Debug)]
pub(crate) struct Base<B> {
    bytes: B,
    end: BaseEnd,
    ids: (Uuid, Uuid),
    sections: [Extent; SECTIONS],
}

impl<B: Deref<Target = [u8]>> Base<B> {
    /// Opens it and checks everything but the ids, which may be many: see [`Self::ids_check`].
    /// What checks but was never written so gives wrong answers and nothing worse.
    ///
    /// # Errors
    /// `Damaged` when it does not check, `Unsupported` when it checks but is newer than this code.
    pub(crate) fn open(bytes: B, file: &str) -> Result<Self> {
        let damaged = |at: u64| Error::damaged(file, at, "trim base does not check");
        let newer = || {
            let text = "trim base has another format version or unknown flags";
            Error::new(ErrorKind::Unsupported, text).in_file(file, 8)
        };
        let head = bytes.get(..BASE_HEADER_BYTES).ok_or_else(|| damaged(0))?;
        let (body, sum) = head.split_last_chunk::<4>().ok_or_else(|| damaged(0))?;
        if crc(body) != u32::from_le_bytes(*sum) || !body.starts_with(MAGIC) {
            return Err(damaged(0));
        }
        let mut take = Take(body.get(MAGIC.len()..).unwrap_or_default());
        if take.u16() != Some(FORMAT_VERSION) || take.zeros(6).is_none() {
            return Err(newer());
        }
        let (end, ids, sections) = fields(&mut take, bytes.len()).ok_or_else(|| damaged(0))?;
        let base = Self { bytes, end, ids, sections };
        let all = [Section::Streams, Section::Names, Section::Checkpoints, Section::Settings];
        match all.into_iter().find(|section| !base.checks(*section)) {
            Some(section) => Err(damaged(base.extent(section).start as u64)),
            None => Ok(base),
        }
    }

    pub(crate) fn end(&self) -> &BaseEnd {
        &self.end
    }

    /// Whether the ids are what was written; reads all of them.
    pub(crate) fn ids_check(&self) -> bool {
        self.checks(Section::Ids)
    }

    /// Where the ids begin.
    pub(crate) fn ids_start(&self) -> u64 {
        self.extent(Section::Ids).start as u64
    }

    fn extent(&self, section: Section) -> Extent {
        self.sections.get(section as usize).copied().unwrap_or_default()
    }

    fn section(&self, section: Section) -> &[u8] {
        let Extent { start, bytes, .. } = self.extent(section);
        self.bytes.get(start..start + bytes).unwrap_or_default()
    }

    fn checks(&self, section: Section) -> bool {
        let Extent { start, bytes, crc: sum, .. } = self.extent(section);
        let end = start + bytes.next_multiple_of(ALIGN);
        self.bytes.get(start..end).is_some_and(|bytes| crc(bytes) == sum)
    }

    fn streams_bytes(&self) -> &[[u8; STREAM_BYTES]] {
        self.section(Section::Streams).as_chunks().0
    }

    fn name(&self, entry: &[u8; STREAM_BYTES]) -> &[u8] {
        let mut take = Take(entry);
        let mut named = || {
            let start = usize::try_from(take.u64()?).ok()?;
            let length = usize::from(take.u16()?);
            self.section(Section::Names).get(start..)?.get(..length)
        };
        named().unwrap_or_default()
    }

    fn stream_of(&self, entry: &[u8; STREAM_BYTES]) -> Option<BaseStream<'_>> {
        let name = std::str::from_utf8(self.name(entry)).ok()?;
        let mut take = Take(entry.get(10..)?);
        take.zeros(6)?;
        let (version, last_position) = (take.u64()?, take.u64()?);
        let sane =
            (1..=last_position).contains(&version) && last_position < self.end.first_position;
        sane.then_some(BaseStream { name, version, last_position })
    }

    /// How many streams have trimmed events.
    pub(crate) fn len(&self) -> usize {
        self.streams_bytes().len()
    }

    /// Every stream with trimmed events, sorted by name.
    pub(crate) fn streams(&self) -> impl Iterator<Item = BaseStream<'_>> {
        self.streams_bytes().iter().filter_map(|entry| self.stream_of(entry))
    }

    /// The stream of this name, if it has trimmed events.
    pub(crate) fn stream(&self, name: &str) -> Option<BaseStream<'_>> {
        let entries = self.streams_bytes();
        let at = entries.binary_search_by(|entry| self.name(entry).cmp(name.as_bytes())).ok()?;
        self.stream_of(entries.get(at)?)
    }

    /// The stream with this number.
    pub(crate) fn stream_at(&self, number: u32) -> Option<BaseStream<'_>> {
        let at = usize::try_from(number).ok()?;
        self.stream_of(self.streams_bytes().get(at)?)
    }

    /// Every checkpoint that trimmed segments carried, sorted by name.
    pub(crate) fn checkpoints(&self) -> impl Iterator<Item = BaseCheckpoint<'_>> {
        let mut take = Take(self.section(Section::Checkpoints));
        std::iter::from_fn(move || {
            let (position, id, frame) = (take.u64()?, take.uuid()?, take.u64()?);
            let length = usize::from(take.u16()?);
            let name = std::str::from_utf8(take.slice(length)?).ok()?;
            Some(BaseCheckpoint { name, position, id, frame })
        })
    }

    /// The settings of streams that trimmed segments carried, each with its frame.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (u64, SettingsRecord<'_>)> {
        let mut take = Take(self.section(Section::Settings));
        std::iter::from_fn(move || Some((take.u64()?, SettingsRecord::take(&mut take)?)))
    }

    fn ids_bytes(&self) -> &[[u8; ID_BYTES]] {
        self.section(Section::Ids).as_chunks().0
    }

    /// Every trimmed event, as they are sorted.
    pub(crate) fn ids(&self) -> impl Iterator<Item = BaseId> {
        self.ids_bytes().iter().filter_map(id_of)
    }

    /// Whether an id may be among them: what the header alone tells.
    pub(crate) fn may_have(&self, id: &Uuid) -> bool {
        let (lowest, highest) = self.ids;
        !self.ids_bytes().is_empty() && (lowest..=highest).contains(id)
    }

    /// The trimmed events with this id.
    pub(crate) fn with_id(&self, id: &Uuid) -> impl Iterator<Item = BaseId> {
        let all = self.ids_bytes();
        let from = all.partition_point(|entry| entry.get(..16) < Some(id.as_bytes()));
        let rest = all.get(from..).unwrap_or_default();
        rest.iter().map_while(id_of).take_while(move |found| found.id == *id)
    }
}

fn id_of(entry: &[u8; ID_BYTES]) -> Option<BaseId> {
    let mut take = Take(entry);
    let (id, stream) = (take.uuid()?, take.u32()?);
    let (version, position) = (take.u64()?, take.u64()?);
    Some(BaseId { id, position, version, stream })
}

type Fields = (BaseEnd, (Uuid, Uuid), [Extent; SECTIONS]);

/// What is counted is never reserved: the sections must fill the file exactly.
fn fields(take: &mut Take<'_>, length: usize) -> Option<Fields> {
    let store = take.uuid()?;
    let (number, first_segment, frame, chain) =
        (take.u64()?, take.u64()?, take.u64()?, take.u32()?);
    take.zeros(4)?;
    let (first_position, last_recorded_at) = (take.u64()?, take.u64()?);
    let (last_id, lowest, highest) = (take.uuid()?, take.uuid()?, take.uuid()?);
    let mut sections = [Extent::default(); SECTIONS];
    let mut start = BASE_HEADER_BYTES;
    for section in &mut sections {
        let (entries, bytes) = (take.u64()?, usize::try_from(take.u64()?).ok()?);
        *section = Extent { entries, start, bytes, crc: take.u32()? };
        take.zeros(4)?;
        start = start.checked_add(bytes.checked_next_multiple_of(ALIGN)?)?;
    }
    take.zeros(4)?;
    let [streams, _, _, ids, _] = &sections;
    let counted = |section: &Extent, size: u64| {
        section.entries.checked_mul(size) == u64::try_from(section.bytes).ok()
    };
    let sane = [number, first_segment, frame, first_position].iter().all(|n| n >> 62 == 0)
        && number >= 1
        && first_segment >= 2
        && first_position >= 1
        && counted(streams, STREAM_BYTES as u64)
        && counted(ids, ID_BYTES as u64)
        && start == length;
    let end = BaseEnd {
        store,
        number,
        first_segment,
        frame,
        chain,
        first_position,
        last_recorded_at,
        last_id,
    };
    sane.then_some((end, (lowest, highest), sections))
}

#[cfg(test)]
mod tests;
