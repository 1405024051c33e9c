//! Layer 1.5: entries of a keyed file (saved checkpoints, snapshots): newest per key counts.
//!
//! Knows: the layout of one entry. Does not know: what keys and values mean.
//!
//! ```text
//!  0  magic "FLK0"     u32
//!  4  key length       u32  1 to 4095
//!  8  value length     u32
//! 12  removed          u32  1 = the key has no value any more, else 0
//! 16  sequence         u64  grows by one per entry
//! 24  body checksum    u32  over key, value and padding
//! 28  head checksum    u32  over bytes 0 to 28 and the offset (u64), from the file's seed:
//!                          that of the store's UUID and one byte, 1 = checkpoints, 2 = snapshots
//! 32  key, value, zeros to a multiple of 8
//! ```

use std::io;

use uuid::Uuid;

use super::bytes::{Put, Take};
use super::checksum::{crc, crc_from};
use super::scan::Source;

pub(crate) const KEYED_ALIGN: u64 = 8;
const MAGIC: u32 = u32::from_le_bytes(*b"FLK0");
const HEAD_BYTES: usize = 32;
const KEY_MAX: u32 = 4095;
/// Largest value in bytes: a snapshot is read into memory whole.
pub(crate) const KEYED_VALUE_MAX: usize = 64 << 20;

/// What every checksum in a keyed file starts from; `kind` keeps one kind of file from passing for
/// another.
pub(crate) fn keyed_seed(store: Uuid, kind: u8) -> u32 {
    crc_from(crc(store.as_bytes()), &[kind])
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyedEntry<'a> {
    pub sequence: u64,
    pub key: &'a [u8],
    /// `None`: removed.
    pub value: Option<&'a [u8]>,
    /// Where the entry ends in the file.
    pub end: u64,
}

/// What stands at a place of a keyed file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyedStep<'a> {
    Entry(KeyedEntry<'a>),
    /// The file ends here.
    End,
    Bad,
}

/// An entry to be written at `offset`.
pub(crate) fn encode_keyed(seed: u32, offset: u64, entry: &KeyedEntry<'_>) -> Vec<u8> {
    let value = entry.value.unwrap_or_default();
    let mut body = Vec::with_capacity(entry.key.len() + value.len() + 8);
    body.put(entry.key);
    body.put(value);
    body.resize(body.len().next_multiple_of(8), 0);
    let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
    out.put_u32(MAGIC);
    out.put_u32(u32::try_from(entry.key.len()).unwrap_or(u32::MAX));
    out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    out.put_u32(u32::from(entry.value.is_none()));
    out.put_u64(entry.sequence);
    out.put_u32(crc(&body));
    let sum = crc_from(seed, &out);
    out.put_u32(crc_from(sum, &offset.to_le_bytes()));
    out.put(&body);
    out
}

/// The entry at `offset`.
pub(crate) fn keyed_step<'s>(
    source: &'s mut dyn Source,
    seed: u32,
    offset: u64,
) -> io::Result<KeyedStep<'s>> {
    let head = source.bytes(offset, HEAD_BYTES)?;
    if head.is_empty() {
        return Ok(KeyedStep::End);
    }
    let Some((sizes, sequence, body_crc)) = decode_head(head, seed, offset) else {
        return Ok(KeyedStep::Bad);
    };
    let (key_length, value_length, removed) = sizes;
    let length = (key_length + value_length).next_multiple_of(8);
    let bytes = source.bytes(offset + HEAD_BYTES as u64, length)?;
    if bytes.len() < length || crc(bytes) != body_crc {
        return Ok(KeyedStep::Bad);
    }
    let (key, rest) = bytes.split_at_checked(key_length).unwrap_or_default();
    let value = rest.get(..value_length).filter(|_| !removed);
    let end = offset + (HEAD_BYTES + length) as u64;
    Ok(KeyedStep::Entry(KeyedEntry { sequence, key, value, end }))
}

fn decode_head(head: &[u8], seed: u32, offset: u64) -> Option<((usize, usize, bool), u64, u32)> {
    let mut take = Take(head);
    let magic = take.u32()?;
    let (key, value, removed) = (take.u32()?, take.u32()?, take.u32()?);
    let (sequence, body_crc, sum) = (take.u64()?, take.u32()?, take.u32()?);
    let start = crc_from(seed, head.get(..28)?);
    let sane = magic == MAGIC
        && (1..=KEY_MAX).contains(&key)
        && value as usize <= KEYED_VALUE_MAX
        && removed <= 1;
    // So that counting on from it cannot overflow.
    let sane = sane && sequence >> 62 == 0;
    let checks = crc_from(start, &offset.to_le_bytes()) == sum;
    (sane && checks).then_some(((key as usize, value as usize, removed == 1), sequence, body_crc))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: u32 = 5;

    fn entry() -> Vec<u8> {
        let entry = KeyedEntry { sequence: 7, key: b"name", value: Some(b"12345"), end: 0 };
        encode_keyed(STORE, 0, &entry)
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let bytes = entry();
        let mut source = bytes.as_slice();
        let KeyedStep::Entry(read) = keyed_step(&mut source, STORE, 0).unwrap() else { panic!() };
        assert_eq!((read.sequence, read.key), (7, b"name".as_slice()));
        assert_eq!((read.value, read.end), (Some(b"12345".as_slice()), bytes.len() as u64));
        assert_eq!(keyed_step(&mut source, STORE, read_end(&bytes)).unwrap(), KeyedStep::End);
    }

    fn read_end(bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = entry();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keyed_step(&mut bad.as_slice(), STORE, 0).unwrap(), KeyedStep::Bad, "{bit}");
        }
        for cut in 1..good.len() {
            assert_eq!(keyed_step(&mut &good[..cut], STORE, 0).unwrap(), KeyedStep::Bad, "{cut}");
        }
        assert_eq!(keyed_step(&mut good.as_slice(), 6, 0).unwrap(), KeyedStep::Bad);
    }
}
