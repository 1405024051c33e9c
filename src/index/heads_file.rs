//! Layer 5.3: where every stream stood at the end of a sealed segment, as a file.
//!
//! Knows: its bytes and how they are checked. Does not know: when it is made or believed. It saves
//! an opening from reading every sidecar; like a sidecar it is never evidence about the log, and
//! what is doubtful in it is made again.
//!
//! ```text
//!   0  magic "FACTHDS\0"        8
//!   8  heads format version     u16
//!  10  zeros                    6
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
//!  96  streams, each: version u64, last position u64, state u8 (0 live, 1 soft-deleted,
//!      2 tombstoned), name length u16, name
//!      checkpoints, as in a sidecar: the newest carried by the log under each name
//!      checksum                 u32  of all before
//! ```

use super::heads::{Head, Heads, StreamState};
use super::layout::Binding;
use super::lookup::CheckpointEntry;
use crate::format::{Put, Take, crc};
use crate::types::{Position, Version};

const MAGIC: &[u8; 8] = b"FACTHDS\0";
/// 0 may still change; a file of another version is doubtful and made again.
const HEADS_VERSION: u16 = 0;

/// What a heads file holds.
#[derive(Debug)]
pub(crate) struct HeadsFile {
    pub binding: Binding,
    pub heads: Heads,
    pub checkpoints: Vec<CheckpointEntry>,
}

/// The file of these heads and checkpoints, which are those at the end that `binding` names.
pub(crate) fn encode_heads<'a>(
    binding: &Binding,
    heads: &Heads,
    checkpoints: impl ExactSizeIterator<Item = &'a CheckpointEntry>,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.put(MAGIC);
    out.put_u16(HEADS_VERSION);
    out.put(&[0; 6]);
    binding.encode(&mut out);
    out.put_u64(heads.len().into());
    out.put_u64(u64::try_from(checkpoints.len()).unwrap_or(u64::MAX));
    for (name, head) in heads.iter() {
        out.put_u64(head.version.get());
        out.put_u64(head.last_position.get());
        out.put_u8(match head.state {
            StreamState::Live => 0,
            StreamState::SoftDeleted => 1,
            StreamState::Tombstoned => 2,
        });
        // A name that heads can hold is shorter than 2^14 bytes.
        out.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
        out.put(name.as_bytes());
    }
    checkpoints.for_each(|entry| entry.encode(&mut out));
    out.put_u32(crc(&out));
    out
}

impl HeadsFile {
    /// Checks everything, and that `is_end` knows the end it was made for.
    ///
    /// # Errors
    /// Why the file is doubtful.
    pub(crate) fn decode(
        file: &[u8],
        is_end: impl FnOnce(&Binding) -> bool,
    ) -> Result<Self, String> {
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
        let binding = take.zeros(6).and_then(|()| Binding::decode(&mut take));
        let binding = binding.ok_or("it is shorter than its header")?;
        if !is_end(&binding) && !planted!(HeadsFileTrusted) {
            return Err("it was made for other bytes of the log".into());
        }
        Self::contents(&mut take, binding).ok_or_else(|| "it has impossible values".into())
    }

    /// What is counted is never reserved: only bytes that are there take memory.
    fn contents(take: &mut Take<'_>, binding: Binding) -> Option<Self> {
        let (streams, count) = (take.u64()?, take.u64()?);
        let last =
            binding.first_position.get().checked_add(binding.events.into())?.checked_sub(1)?;
        let mut heads = Heads::default();
        for _ in 0..streams {
            let (version, position) = (take.u64()?, take.u64()?);
            let state = match take.u8()? {
                0 => StreamState::Live,
                1 => StreamState::SoftDeleted,
                2 => StreamState::Tombstoned,
                _ => return None,
            };
            let length = take.u16()?;
            let name = std::str::from_utf8(take.slice(length.into())?).ok()?;
            let sane = (1..=position).contains(&version) && position <= last;
            let (version, last_position) = (Version::new(version), Position::new(position));
            let held = sane && heads.set(name, Head { version, last_position, state });
            held.then_some(())?;
        }
        let mut checkpoints = Vec::new();
        for _ in 0..count {
            let entry = CheckpointEntry::decode(take)?;
            (entry.frame <= binding.end_frame && entry.position.get() <= last).then_some(())?;
            checkpoints.push(entry);
        }
        let whole = take.0.is_empty() && u64::from(heads.len()) == streams;
        whole.then_some(Self { binding, heads, checkpoints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        }
    }

    fn sample() -> (Vec<(String, Head)>, Vec<CheckpointEntry>, Vec<u8>) {
        let states = [StreamState::Live, StreamState::SoftDeleted, StreamState::Tombstoned];
        let mut heads = Heads::default();
        for (n, state) in (1..=3).zip(states) {
            let (version, last_position) = (Version::new(n), Position::new(n * 6));
            assert!(heads.set(&format!("ü-{n}"), Head { version, last_position, state }));
        }
        let entry = |name: &str, frame| {
            let (position, id) = (Position::new(frame), Uuid::from_u128(frame.into()));
            CheckpointEntry { name: name.into(), position, id, frame }
        };
        let checkpoints = vec![entry("a", 0), entry("b", 12)];
        let bytes = encode_heads(&binding(), &heads, checkpoints.iter());
        (listed(&heads), checkpoints, bytes)
    }

    fn listed(heads: &Heads) -> Vec<(String, Head)> {
        heads.iter().map(|(name, head)| (name.to_owned(), head)).collect()
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
        let read = HeadsFile::decode(&bytes, |found| *found == binding()).unwrap();
        assert_eq!(listed(&read.heads), heads);
        assert_eq!((read.checkpoints, read.binding), (checkpoints, binding()));
        let empty = encode_heads(&binding(), &Heads::default(), [].iter());
        assert_eq!(HeadsFile::decode(&empty, |_| true).unwrap().heads.len(), 0);
        assert!(HeadsFile::decode(&bytes, |_| false).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_doubtful() {
        let (.., good) = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(HeadsFile::decode(&bad, |_| true).is_err(), "{bit}");
        }
        for cut in 0..good.len() {
            assert!(HeadsFile::decode(&good[..cut], |_| true).is_err(), "{cut}");
        }
    }

    #[test]
    fn bytes_that_check_but_were_never_written_are_doubtful_or_harmless() {
        let (.., good) = sample();
        for at in 0..good.len() - 4 {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = HeadsFile::decode(&resealed(bad), |_| true);
            }
        }
        for (at, what) in [(72, "streams"), (80, "checkpoints")] {
            let mut many = good.clone();
            many[at..at + 8].fill(0xFF);
            assert!(HeadsFile::decode(&resealed(many), |_| true).is_err(), "{what}");
        }
        let mut longer = good.clone();
        longer.extend([0; 8]);
        assert!(HeadsFile::decode(&resealed(longer), |_| true).is_err());
    }
}
