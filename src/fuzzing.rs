//! Layer 7.6: bodies of the fuzz targets, shared with the tests that replay their corpora.
//!
//! Knows: how to feed arbitrary bytes to the readers of files. Does not know: fuzzers. Nothing here
//! is part of the public promise. A body fails by panicking, hanging or asking for too much memory.

use crate::api::Store;
use crate::disk::{Disk, SimDisk};
use crate::format::{
    Expected, FileName, Head, LiveMark, SegmentHeader, Step, Walker, decode_event, find_header,
    keyed_step, name_of,
};
use crate::sync::Arc;
use crate::types::{Expect, NewEvent, Position, Version};
use uuid::Uuid;

/// Frames and records: any bytes, walked as a segment.
pub fn scan(bytes: &[u8]) {
    let _ = SegmentHeader::decode(bytes, "fuzz");
    let _ = Head::decode(bytes, "fuzz");
    let _ = LiveMark::newest(bytes, Uuid::nil());
    let mut source = bytes;
    let _ = keyed_step(&mut source, 0, 0);
    let seed = 0;
    let end = bytes.len() as u64;
    let mut at = 0;
    while let Ok(Some((offset, header))) = find_header(&mut source, at..end, seed) {
        let expected = Expected {
            number: header.number,
            position: header.first_position,
            chain: header.chain,
            epoch_min: 0,
            epoch_max: u32::MAX,
        };
        let mut walker = Walker::new(seed, offset, expected);
        walker.jump(offset, &header);
        while let Ok(Step::Frame(frame)) = walker.step(&mut source) {
            for (_, record) in frame.records() {
                let event = decode_event(&record);
                let _ = event.map(|event| (event.tags().count(), event.correlation().is_some()));
            }
        }
        at = offset + 8;
    }
}

/// A whole directory: a small sound store with bytes of its files replaced as the input says,
/// opened for writing and for reading, and read through. Input: pieces of file number u8, offset
/// u16, length u8 and that many bytes.
pub fn recover(bytes: &[u8]) {
    let disk = sound_store();
    damage(&disk, bytes);
    for read_only in [true, false] {
        let opened = open(&disk, read_only);
        let Some(store) = opened else { continue };
        for event in store.read_all().into_iter().chain(store.read_stream("Order-1")) {
            let _ = event.map(|event| event.data().len());
        }
        let _ = (store.checkpoints(), store.snapshot("Order-1", "state"), store.verify());
    }
}

fn open(disk: &SimDisk, read_only: bool) -> Option<Store> {
    let options = Store::options().background_threads(false).segment_bytes(16 << 10);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    match read_only {
        true => options.open_read_only_on(disk).ok(),
        false => options.open_on(disk).ok(),
    }
}

/// A store of two segments with a checkpoint and a snapshot, made the same way every time.
fn sound_store() -> SimDisk {
    let disk = SimDisk::new(1);
    let Some(store) = open(&disk, false) else { return disk };
    for number in 0..40_u8 {
        let event = NewEvent::binary("Placed", vec![number; 400]).tag(format!("n:{number}"));
        let _ = store.append(format!("Order-{}", number % 3), Expect::Any, [event]);
    }
    let _ = store.save_checkpoint("view", Position::new(7));
    let _ = store.save_snapshot("Order-1", "state", (Version::new(2), 1), "state");
    drop(store);
    disk
}

fn damage(disk: &SimDisk, mut bytes: &[u8]) {
    let mut names = disk.file_names();
    names.retain(|name| *name != name_of(FileName::Lock));
    names.sort();
    while let Some(([file, low, high, length], rest)) = bytes.split_first_chunk::<4>() {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = rest;
        let Some(name) = names.get(usize::from(*file) % names.len().max(1)) else { return };
        let mut content = disk.read_file(name).unwrap_or_default();
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        if piece.is_empty() {
            content.truncate(at);
        }
        for (place, byte) in content.iter_mut().skip(at).zip(piece) {
            *place = *byte;
        }
        disk.write_file(name, content);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_can_be_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::scan(&bytes);
        }

        #[test]
        fn any_damage_can_be_opened(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            super::recover(&bytes);
        }
    }

    #[test]
    fn the_sound_store_is_read_whole() {
        let disk = super::sound_store();
        let store = super::open(&disk, false).unwrap();
        assert_eq!(store.read_all().into_iter().map(Result::unwrap).count(), 40);
        assert!(store.stats().segments >= 2);
    }
}
