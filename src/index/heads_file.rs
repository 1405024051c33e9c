//! Layer 5.3: where every stream stood at the end of a sealed segment, as a file.
//!
//! Knows: its bytes, how they are checked, and how a stream is found in them where they lie:
//! opening reads the file once for its checksum and builds nothing. Does not know: when it is made
//! or believed. It saves an opening from reading every sidecar; like a sidecar it is never evidence
//! about the log, and what is doubtful in it is made again.
//!
//! ```text
//!   0  magic "FACTHDS\0"        8
//!   8  heads format version     u16  2
//!  10  zeros                    2
//!  12  settings                 u32
//!  16  store                    16   from here to `first position`: the end of the segment that it
//!                                    was made for, as in a sidecar
//!  32  segment                  u64
//!  40  start offset             u64
//!  48  end offset               u64
//!  56  end frame                u64
//!  64  chain value              u32
//!  68  events                   u32  of that segment
//!  72  first position           u64
//!  80  streams                  u64
//!  88  checkpoints              u64
//!  96  hash key                 2 x u64, see hash.rs
//! 112  directory                as in a sidecar (layout.rs), for the hash of the name
//!      streams                  24 per stream, in the order of the hash, one more that ends the
//!                               last: fingerprint u32, start in names u32, version u64, last
//!                               position u64
//!      names                    the names, one after the other
//!      checkpoints, as in a sidecar: the newest carried by the log under each name
//!      settings, as in a sidecar: the newest of each stream that has any
//!      checksum                 u32  of all before
//! ```

use std::ops::Deref;

use super::hash::HashKey;
use super::heads::Head;
use super::layout::{Binding, Directory, directory, directory_bytes, fingerprint_of};
use super::lookup::{CheckpointEntry, SettingsEntry};
use crate::format::{Put, Take, crc};
use crate::types::{Position, Version};

const MAGIC: &[u8; 8] = b"FACTHDS\0";
/// A file of another version is doubtful and made again. 2 has the settings of streams.
const HEADS_VERSION: u16 = 2;
const HEADER_BYTES: usize = 112;
const ENTRY_BYTES: usize = 24;

/// A heads file over its bytes, which have been checked.
#[derive(Debug)]
pub(crate) struct HeadsFile<B> {
    bytes: B,
    binding: Binding,
    key: HashKey,
    /// Where the directory, the streams, the names end.
    ends: [usize; 3],
    /// The last position there can be.
    last: Position,
    checkpoints: Vec<CheckpointEntry>,
    settings: Vec<SettingsEntry>,
}

/// The file of these heads, each stream once, checkpoints and settings: those at the end that
/// `binding` names. `None` when they are too many for it.
pub(crate) fn encode_heads<'a>(
    binding: &Binding,
    heads: &[(&str, Head)],
    checkpoints: impl ExactSizeIterator<Item = &'a CheckpointEntry>,
    settings: impl ExactSizeIterator<Item = &'a SettingsEntry>,
) -> Option<Vec<u8>> {
    let key = HashKey::random();
    let mut sorted: Vec<(u64, &(&str, Head))> =
        heads.iter().map(|head| (key.bytes(head.0.as_bytes()), head)).collect();
    sorted.sort_unstable_by_key(|(hash, _)| *hash);
    let names: usize = heads.iter().map(|(name, _)| name.len()).sum();
    let mut out = Vec::with_capacity(HEADER_BYTES + heads.len() * (ENTRY_BYTES + 1) + names);
    out.put(MAGIC);
    out.put_u16(HEADS_VERSION);
    out.put_u16(0);
    out.put_u32(u32::try_from(settings.len()).ok()?);
    binding.encode(&mut out);
    out.put_u64(u64::try_from(heads.len()).ok()?);
    out.put_u64(u64::try_from(checkpoints.len()).ok()?);
    out.put_u64(key.first);
    out.put_u64(key.second);
    out.put(&directory(sorted.iter().map(|(hash, _)| *hash))?);
    let mut start = 0;
    for (hash, (name, head)) in &sorted {
        out.put_u32(fingerprint_of(*hash, heads.len()));
        out.put_u32(u32::try_from(start).ok()?);
        out.put_u64(head.version.get());
        out.put_u64(head.last_position.get());
        start += name.len();
    }
    out.put_u32(0);
    out.put_u32(u32::try_from(start).ok()?);
    out.put(&[0; 16]);
    sorted.iter().for_each(|(_, (name, _))| out.put(name.as_bytes()));
    checkpoints.for_each(|entry| entry.encode(&mut out));
    settings.for_each(|entry| entry.encode(&mut out));
    out.put_u32(crc(&out));
    Some(out)
}

impl<B: Deref<Target = [u8]>> HeadsFile<B> {
    /// Checks every byte, and that `is_end` knows the end it was made for. What checks but was
    /// never written by [`encode_heads`] gives wrong answers and nothing worse.
    ///
    /// # Errors
    /// Why the file is doubtful.
    pub(crate) fn open(file: B, is_end: impl FnOnce(&Binding) -> bool) -> Result<Self, String> {
        let body = file.len().checked_sub(4).and_then(|length| file.split_at_checked(length));
        let (body, sum) = body.ok_or("it is shorter than its checksum")?;
        if Take(sum).u32() != Some(crc(body)) {
            return Err("it does not check".into());
        }
        let mut take = Take(body);
        if take.slice(MAGIC.len()) != Some(MAGIC) {
            return Err("it is not a heads file".into());
        }
        if take.u16() != Some(HEADS_VERSION) {
            return Err("its heads format version is another".into());
        }
        let header = take.zeros(2).and_then(|()| Some((take.u32()?, Binding::decode(&mut take)?)));
        let (settings, binding) = header.ok_or("it is shorter than its header")?;
        if !is_end(&binding) && !planted!(HeadsFileTrusted) {
            return Err("it was made for other bytes of the log".into());
        }
        let impossible = "it has impossible values";
        let parts = Self::parts(&mut take, &binding).ok_or(impossible)?;
        let settings = settings_of(&mut take, settings, &binding).ok_or(impossible)?;
        let (key, ends, last, checkpoints) = parts;
        Ok(Self { bytes: file, binding, key, ends, last, checkpoints, settings })
    }

    /// What is counted is never reserved: only bytes that are there take memory.
    fn parts(
        take: &mut Take<'_>,
        binding: &Binding,
    ) -> Option<(HashKey, [usize; 3], Position, Vec<CheckpointEntry>)> {
        let (streams, count) = (usize::try_from(take.u64()?).ok()?, take.u64()?);
        let last =
            binding.first_position.get().checked_add(binding.events.into())?.checked_sub(1)?;
        let key = HashKey { first: take.u64()?, second: take.u64()? };
        let directory = take.slice(directory_bytes(streams))?;
        Directory::open(directory)?;
        let entries = take.slice(streams.checked_add(1)?.checked_mul(ENTRY_BYTES)?)?;
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        let names = name_start(entries.last()?)?;
        take.slice(names)?;
        let mut checkpoints = Vec::new();
        for _ in 0..count {
            let entry = CheckpointEntry::decode(take)?;
            (entry.frame <= binding.end_frame && entry.position.get() <= last).then_some(())?;
            checkpoints.push(entry);
        }
        let directory_end = HEADER_BYTES + directory.len();
        let streams_end = directory_end + entries.len() * ENTRY_BYTES;
        let ends = [directory_end, streams_end, streams_end + names];
        Some((key, ends, Position::new(last), checkpoints))
    }

    /// The end that it was made for.
    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    pub(crate) fn checkpoints(&self) -> &[CheckpointEntry] {
        &self.checkpoints
    }

    pub(crate) fn settings(&self) -> &[SettingsEntry] {
        &self.settings
    }

    /// How many streams.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.entries().len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn entries(&self) -> &[[u8; ENTRY_BYTES]] {
        let [from, to, _] = self.ends;
        self.bytes.get(from..to).unwrap_or_default().as_chunks().0
    }

    fn name(&self, from: usize, to: usize) -> Option<&str> {
        let [_, start, end] = self.ends;
        let names = self.bytes.get(start..end)?;
        std::str::from_utf8(names.get(from..to)?).ok()
    }

    fn head(&self, entry: &[u8; ENTRY_BYTES]) -> Option<Head> {
        let mut take = Take(entry.get(8..)?);
        let (version, position) = (take.u64()?, take.u64()?);
        let sane = (1..=position).contains(&version) && position <= self.last.get();
        let (version, last_position) = (Version::new(version), Position::new(position));
        sane.then_some(Head { version, last_position })
    }

    /// Where a stream stands.
    pub(crate) fn get(&self, stream: &str) -> Option<Head> {
        let hash = self.key.bytes(stream.as_bytes());
        let [end, ..] = self.ends;
        let directory = Directory::open(self.bytes.get(HEADER_BYTES..end)?)?;
        let entries = self.entries();
        let range = directory.range(hash)?;
        let bucket = entries.get(range.clone())?;
        let wanted = directory.fingerprint(hash);
        let read = |entry: &[u8; ENTRY_BYTES]| Take(entry).u32().unwrap_or_default();
        let first = bucket.partition_point(|entry| read(entry) < wanted);
        let from = range.start + first;
        entries.get(from..)?.windows(2).take(range.end - from).find_map(|pair| {
            let [entry, next] = pair else { return None };
            let same = read(entry) == wanted
                && self.name(name_start(entry)?, name_start(next)?) == Some(stream);
            same.then(|| self.head(entry)).flatten()
        })
    }

    /// Every stream, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Head)> {
        self.entries().windows(2).filter_map(|pair| {
            let [entry, next] = pair else { return None };
            Some((self.name(name_start(entry)?, name_start(next)?)?, self.head(entry)?))
        })
    }
}

/// The last of a file: the settings of so many streams.
fn settings_of(take: &mut Take<'_>, count: u32, binding: &Binding) -> Option<Vec<SettingsEntry>> {
    let mut settings = Vec::new();
    for _ in 0..count {
        let entry = SettingsEntry::decode(take)?;
        (entry.frame <= binding.end_frame).then_some(())?;
        settings.push(entry);
    }
    take.0.is_empty().then_some(settings)
}

fn name_start(entry: &[u8; ENTRY_BYTES]) -> Option<usize> {
    usize::try_from(Take(entry.get(4..)?).u32()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Lifecycle;
    use uuid::Uuid;

    fn binding() -> Binding {
        Binding {
            store: Uuid::from_u128(7),
            segment: 3,
            start_offset: 4240,
            end_offset: 9000,
            end_frame: 12,
            chain: 0xABCD,
            first_position: Position::new(11),
            events: 10,
            rewrite: 0,
        }
    }

    fn open(file: &[u8]) -> Result<HeadsFile<&[u8]>, String> {
        HeadsFile::open(file, |_| true)
    }

    fn sample() -> (Vec<(String, Head)>, Vec<CheckpointEntry>, Vec<u8>) {
        let heads: Vec<(String, Head)> = (1..=3)
            .map(|n| {
                let (version, last_position) = (Version::new(n), Position::new(n * 6));
                (format!("ü-{n}"), Head { version, last_position })
            })
            .collect();
        let entry = |name: &str, frame| {
            let (position, id) = (Position::new(frame), Uuid::from_u128(frame.into()));
            CheckpointEntry { name: name.into(), position, id, frame }
        };
        let checkpoints = vec![entry("a", 0), entry("b", 12)];
        let bytes = encoded(&heads, &checkpoints);
        (heads, checkpoints, bytes)
    }

    fn encoded(heads: &[(String, Head)], checkpoints: &[CheckpointEntry]) -> Vec<u8> {
        let heads: Vec<(&str, Head)> = heads.iter().map(|(name, head)| (&**name, *head)).collect();
        let settings = if heads.is_empty() { vec![] } else { vec![setting()] };
        encode_heads(&binding(), &heads, checkpoints.iter(), settings.iter()).unwrap()
    }

    fn setting() -> SettingsEntry {
        let lifecycle = Lifecycle { tombstoned: true, ..Lifecycle::default() };
        SettingsEntry { stream: "ü-3".into(), lifecycle, frame: 9 }
    }

    fn listed(file: &HeadsFile<&[u8]>) -> Vec<(String, Head)> {
        let mut all: Vec<_> = file.iter().map(|(name, head)| (name.to_owned(), head)).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// The bytes with a checksum that holds again.
    fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let body = bytes.len() - 4;
        let sum = crc(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&sum);
        bytes
    }

    #[test]
    fn heads_come_back_as_they_were() {
        let (heads, checkpoints, bytes) = sample();
        let read = HeadsFile::open(&bytes[..], |found| *found == binding()).unwrap();
        assert_eq!((listed(&read), read.len()), (heads, 3));
        assert_eq!((read.checkpoints(), read.binding()), (&checkpoints[..], &binding()));
        assert_eq!(read.settings(), [setting()]);
        assert!(HeadsFile::open(&bytes[..], |_| false).is_err());
        let bytes = encoded(&[], &[]);
        let empty = open(&bytes).unwrap();
        assert_eq!((empty.len(), empty.get("a"), empty.iter().count()), (0, None, 0));
    }

    #[test]
    fn every_stream_is_found_where_it_lies_and_no_other() {
        for count in [1, 2, 16, 17, 500, 40_000] {
            let head = |n: u64| Head {
                version: Version::new(1),
                last_position: Position::new(1 + n % 20),
            };
            let heads: Vec<_> = (0..count).map(|n| (format!("Stream-{n}"), head(n))).collect();
            let bytes = encoded(&heads, &[]);
            let file = open(&bytes).unwrap();
            assert!(heads.iter().all(|(name, head)| file.get(name) == Some(*head)), "{count}");
            assert!((0..count).all(|n| file.get(&format!("stream-{n}")).is_none()), "{count}");
            assert_eq!(file.iter().count() as u64, count);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_doubtful() {
        let (.., good) = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad).is_err(), "{bit}");
        }
        for cut in 0..good.len() {
            assert!(open(&good[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn bytes_that_check_but_were_never_written_are_doubtful_or_harmless() {
        let (heads, _, good) = sample();
        for at in 0..good.len() - 4 {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut bad = good.clone();
                bad[at] = value;
                let bad = resealed(bad);
                let Ok(file) = open(&bad) else { continue };
                let last = Position::new(20);
                let sane =
                    |head: Head| head.version >= Version::new(1) && head.last_position <= last;
                assert!(file.iter().all(|(_, head)| sane(head)) || at == 68 || at == 72, "{at}");
                assert!(heads.iter().all(|(name, _)| file.get(name).is_none_or(sane)));
            }
        }
        for (at, what) in [(8, "settings"), (80, "streams"), (88, "checkpoints")] {
            let mut many = good.clone();
            many[at..at + 8].fill(0xFF);
            assert!(open(&resealed(many)).is_err(), "{what}");
        }
        let mut longer = good.clone();
        longer.extend([0; 8]);
        assert!(open(&resealed(longer)).is_err());
    }
}
