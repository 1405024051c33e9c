//! Layer 7.7: the small files: heads of the log, marks, keyed files, sidecars, heads, bases.
//!
//! Knows: what must hold for every input. Does not know: which inputs there are.

use uuid::Uuid;

use super::input::Input;
use super::repair;
use super::segment::STORE;
use crate::disk::{Access, Disk, MemDisk};
use crate::engine::{SavedCheckpoint, Snapshot};
use crate::format::{
    Base, FileName, Head, LIVE_BYTES, LiveMark, Purpose, SegmentHeader, Take, name_of,
};
use crate::index::{Binding, HeadsFile, SegmentLookup, Sidecar, encode_heads};
use crate::log::KeyedFile;
use crate::sync::Arc;
use crate::types::{ErrorKind, Version};

/// Head file, live file or the block before a segment's frames. Input: which one and whether its
/// checksum is made true, then the bytes. What decodes is, encoded again, the bytes it came from.
pub fn head(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let mut file = input.0.to_vec();
    let repaired = how & 1 != 0;
    match how >> 1 {
        0 => {
            if repaired {
                repair::whole(&mut file);
            }
            match Head::decode(&file, "head-0") {
                Ok(head) => {
                    assert_eq!(head.encode(), file, "a head with something else in it");
                    assert!(head.first_segment >= 1);
                    let _ = head.origin_of(head.first_segment);
                }
                Err(error) => check_refusal(error.kind()),
            }
        }
        1 => {
            file.resize(LIVE_BYTES, 0);
            if repaired {
                repair::live(&mut file);
            }
            if let Some(mark) = LiveMark::newest(&file, STORE) {
                assert_eq!(mark.store, STORE, "the mark of another store");
                let slots = [0, 4096].map(|at| file.get(at..at + 68));
                assert!(slots.contains(&Some(&mark.encode())), "a mark with something else in it");
            }
        }
        _ => {
            file.resize(4096, 0);
            if repaired {
                repair::segment_header(&mut file);
            }
            match SegmentHeader::decode(&file, "segment") {
                Ok(header) => {
                    let (mut again, depth) = (header.encode(), file.get(56).copied());
                    again.iter_mut().skip(56).take(1).for_each(|byte| {
                        *byte = depth.unwrap_or_default();
                    });
                    assert_eq!(again.get(..4092), file.get(..4092));
                }
                Err(error) => check_refusal(error.kind()),
            }
        }
    }
}

fn check_refusal(kind: ErrorKind) {
    assert!(matches!(kind, ErrorKind::Damaged | ErrorKind::Unsupported), "refused as {kind:?}");
}

/// A keyed file: read, written to, and read again. Input: whether it holds snapshots and whether
/// its checksums are made true, then the bytes.
pub fn keyed(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let (name, purpose, kind) = match how & 2 {
        0 => (FileName::Checkpoints, Purpose::Checkpoints, 1),
        _ => (FileName::Snapshots, Purpose::Snapshots, 2),
    };
    let mut file = input.0.to_vec();
    if how & 1 != 0 {
        repair::keyed(&mut file, STORE, kind);
    }
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    if disk.create_root().is_err() || !put(&*disk, &name_of(name), &file) {
        return;
    }
    let load = || KeyedFile::load(disk.clone(), STORE, name, purpose);
    let Ok(mut found) = load() else { return };
    let before = contents(&found);
    let damaged = found.refuse_damage().is_err();
    for (_, value) in &before {
        check_value(value.as_deref().unwrap_or_default());
    }
    let key = b"one more";
    if found.put(key, Some(b"value")).is_err() {
        return;
    }
    let Ok(after) = load() else { return };
    assert!(after.refuse_damage().is_ok(), "written behind damage");
    assert_eq!(after.get(key).ok().flatten().as_deref(), Some(b"value".as_slice()));
    let kept: Vec<_> = contents(&after).into_iter().filter(|(known, _)| known != key).collect();
    let wanted: Vec<_> = before.into_iter().filter(|(known, _)| known != key).collect();
    assert!(damaged || kept == wanted, "writing one entry changed another");
    assert!(kept.iter().all(|entry| wanted.contains(entry)), "an entry came from nowhere");
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) -> bool {
    disk.open(name, Access::Create).is_ok_and(|file| file.write_at(bytes, 0).is_ok())
}

fn contents(file: &KeyedFile) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut all: Vec<_> =
        file.keys().map(|key| (key.to_vec(), file.get(key).ok().flatten())).collect();
    all.sort();
    all
}

fn check_value(value: &[u8]) {
    if let Some(checkpoint) = SavedCheckpoint::decode(value) {
        assert_eq!(checkpoint.encode(), value);
    }
    if let Some(snapshot) = Snapshot::decode(value) {
        assert_eq!(snapshot.encode(), value);
        assert!(snapshot.data.len() <= value.len());
    }
}

/// A sidecar. Input: whether its checksums are made true and it is bound to what it says, then the
/// bytes. A forged one may answer wrongly, but only within its own bounds.
pub fn sidecar(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let mut file = input.0.to_vec();
    if how & 1 != 0 {
        repair::sidecar(&mut file);
    }
    let Some(binding) = binding_in(&file) else { return };
    let other = Binding { chain: !binding.chain, ..binding };
    assert!(Sidecar::open(file.as_slice(), &other).is_err(), "bound to something else");
    let checked = Sidecar::open(file.as_slice(), &binding);
    let Ok(sidecar) = Sidecar::open_unchecked(file.as_slice(), &binding) else {
        assert!(checked.is_err());
        return;
    };
    // Until it is checked it may be asked too: readers compare every answer with the event itself.
    ask(&sidecar, file.len(), &mut input);
}

fn binding_in(file: &[u8]) -> Option<Binding> {
    Binding::decode(&mut Take(file.get(16..)?))
}

fn ask(index: &impl SegmentLookup, size: usize, input: &mut Input<'_>) {
    let events = index.events();
    assert!(events as usize <= size / 4, "more events than have room");
    let mut streams = Vec::new();
    index.for_each_stream(&mut |part| {
        assert!(part.name.len() <= size && part.count as usize <= size / 4);
        streams.push(part.name.to_owned());
    });
    assert!(streams.len() <= size / 16);
    for name in streams.iter().map(String::as_str).take(8).chain(["A-1", "nobody", ""]) {
        let Some(run) = index.stream(name) else { continue };
        let length = run.len();
        assert!(length as usize <= size / 4);
        for at in [0, 1, length / 2, length.saturating_sub(1), length, u32::MAX] {
            assert!(run.ordinal(at).is_none() || at < length);
        }
        let _ = (run.version(Version::new(1)), run.version(Version::new(u64::MAX)));
    }
    for hash in [0, u64::MAX, 1 << 63, input.number64()] {
        let forward = index.term(hash).take(size + 1).count();
        assert!(forward <= size, "a list longer than its bytes");
        assert!(index.term(hash).rev().take(size + 1).count() <= size);
        let middle = index.term(hash).nth(forward / 2).unwrap_or_default();
        let above = index.term(hash).above(middle).take(size + 1).count();
        assert!(above <= size && index.term(hash).up_to(middle).take(size + 1).count() <= size);
    }
    for id in [Uuid::nil(), Uuid::max(), Uuid::from_u128(0x5EED_0000), Uuid::from_u128(1)] {
        assert!(index.ids(&id).take(size + 1).count() <= size / 8);
    }
    assert_eq!(index.offset(events), None, "an event beyond the last");
    let readable = (0..events).filter_map(|ordinal| index.offset(ordinal)).count();
    assert!(readable <= events as usize);
    let mut checkpoints = 0;
    index.for_each_checkpoint(&mut |_| checkpoints += 1);
    assert!(checkpoints <= size / 34);
    let _ = (index.first_position(), index.last_recorded_at(), index.damaged());
}

/// A heads file. Input: whether its checksum is made true, then the bytes.
pub fn heads(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut file = input.0.to_vec();
    if input.byte() & 1 != 0 {
        file = input.0.to_vec();
        repair::whole(&mut file);
    }
    let mut asked = None;
    let opened = HeadsFile::open(&*file, |binding| {
        asked = Some(*binding);
        true
    });
    let Ok(found) = opened else { return };
    assert_eq!(asked.as_ref(), Some(found.binding()), "another end than was asked about");
    assert!(found.len() as usize <= file.len() / 24);
    let last = found.binding().first_position.get() + u64::from(found.binding().events) - 1;
    let all: Vec<_> = found.iter().collect();
    for (name, head) in &all {
        assert!(head.last_position.get() <= last && head.version.get() >= 1);
        // Found under a name is one that is listed under it, if what was never written finds any.
        let listed = |known| all.contains(&(name, known));
        assert!(found.get(name).is_none_or(listed));
    }
    let again =
        encode_heads(found.binding(), &all, found.checkpoints().iter(), found.settings().iter());
    let again = again.map(|again| HeadsFile::open(again, |_| true).map(|again| again.len()));
    assert_eq!(again, Some(Ok(found.iter().count().try_into().unwrap_or(u32::MAX))));
}

/// A trim base. Input: whether its checksums are made true, then the bytes. A forged one may answer
/// wrongly, but only within its own bounds.
pub fn base(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let mut file = input.0.to_vec();
    if how & 1 != 0 {
        repair::base(&mut file);
    }
    let found = match Base::open(&*file, "base") {
        Ok(found) => found,
        Err(error) => return check_refusal(error.kind()),
    };
    let end = *found.end();
    assert!(end.first_segment >= 2 && end.first_position >= 1 && end.number >= 1);
    let streams: Vec<_> = found.streams().collect();
    assert!(streams.len() <= found.len() && found.len() <= file.len() / 32);
    for stream in &streams {
        assert!(stream.last_position < end.first_position && stream.version >= 1);
        // Found under a name is one that is listed under it, if what was never written finds any.
        assert!(found.stream(stream.name).is_none_or(|known| streams.contains(&known)));
    }
    assert!(found.stream("nobody").is_none_or(|known| known.name == "nobody"));
    assert!(found.checkpoints().count() <= file.len() / 34);
    let _ = found.ids_check();
    let ids: Vec<_> = found.ids().collect();
    assert!(ids.len() <= file.len() / 36);
    let asked = ids.iter().map(|listed| listed.id).take(8);
    for id in asked.chain([Uuid::nil(), Uuid::max()]) {
        assert!(found.with_id(&id).all(|known| known.id == id && ids.contains(&known)));
        let _ = found.may_have(&id);
    }
    for listed in ids.iter().take(8) {
        let _ = found.stream_at(listed.stream);
    }
}
