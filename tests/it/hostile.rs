//! Files that somebody made on purpose: values beyond all reason under checksums that hold, and
//! things that are no files. Opening answers; it does not panic, hang, or ask for memory without
//! end.

use std::sync::Arc;

use factlog::disk::SimDisk;
use factlog::{ErrorKind, Expect, Store};

use crate::rig::{answers, event, open, options, read_only, sample};

const REASONLESS: [u64; 10] = [
    0,
    1,
    7,
    1 << 24,
    (1 << 31) + 8,
    u32::MAX as u64,
    u32::MAX as u64 - 7,
    1 << 40,
    1 << 62,
    u64::MAX,
];

fn crc(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}

fn put(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

fn take(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
}

fn segment(number: u64) -> String {
    format!("{number:020}.seg")
}

/// Opens in every way; whatever comes of it is an answer or a typed error.
fn endure(disk: &SimDisk, what: &str) {
    let settle = |outcome: factlog::Result<Store>, how: &str| {
        let store = match outcome {
            Ok(store) => store,
            Err(error) => {
                let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported, ErrorKind::Invalid];
                assert!(kinds.contains(&error.kind()), "{what}, {how}: {error:?}");
                return;
            }
        };
        let mut seen = 0;
        for read in [store.read_all(), store.read_stream("A-1"), store.read_category("B")] {
            for event in read.into_iter().take(100) {
                seen += u64::from(event.is_ok());
            }
        }
        assert!(seen < 100, "{what}, {how}");
        let _ = (store.checkpoints(), store.snapshot("A-1", "state"), store.verify());
        if how != "read-only" {
            let _ = store.append("A-1", Expect::Any, [event(500, 5)]);
            let _ = store.save_checkpoint("reader", factlog::Position::new(9));
        }
        let _ = store.close();
    };
    settle(read_only(disk), "read-only");
    settle(open(&disk.copy()), "open");
    settle(options().rebuild_index(true).open_on(Arc::new(disk.copy())), "rebuilt");
    let again = disk.copy();
    drop(open(&again));
    settle(open(&again), "again");
}

/// The closed sample, and the sample as a kill leaves it.
fn disks() -> [SimDisk; 2] {
    let disk = SimDisk::new(1);
    let store = sample(&disk);
    let killed = disk.after_kill();
    store.close().unwrap();
    [disk, killed]
}

/// Puts every reasonless value into every field and mends the checksum.
fn twist(disks: &[SimDisk; 2], file: &str, fields: &[(usize, usize)], mend: impl Fn(&mut Vec<u8>)) {
    for disk in disks {
        let Some(bytes) = disk.read_file(file) else { continue };
        let mut mended = bytes.clone();
        mend(&mut mended);
        assert!(mended == bytes, "{file}: the checksum is where and what we think");
        for (at, width) in fields {
            for value in REASONLESS {
                let mut bytes = bytes.clone();
                put(&mut bytes, *at, *width, value);
                mend(&mut bytes);
                let disk = disk.copy();
                disk.write_file(file, bytes);
                endure(&disk, &format!("{value} at {at} of {file}"));
            }
        }
    }
}

#[test]
fn a_head_that_lies() {
    let fields = [(8, 2), (10, 1), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8), (64, 8), (72, 8)];
    for file in ["head-0", "head-1"] {
        twist(&disks(), file, &fields, |bytes| {
            let end = bytes.len() - 4;
            let sum = crc(0, &bytes[..end]);
            put(bytes, end, 4, u64::from(sum));
        });
    }
}

#[test]
fn a_live_file_that_lies() {
    for slot in [0, 4096] {
        let fields = [4, 24, 32, 40, 48, 56].map(|at| (slot + at, if at == 4 { 4 } else { 8 }));
        twist(&disks(), "live", &fields, |bytes| {
            let sum = crc(0, &bytes[slot..slot + 64]);
            put(bytes, slot + 64, 4, u64::from(sum));
        });
    }
}

#[test]
fn a_segment_header_that_lies() {
    let fields = [(8, 2), (10, 1), (11, 1), (12, 4), (32, 8), (40, 8), (48, 8), (56, 1)];
    twist(&disks(), &segment(3), &fields, |bytes| {
        let sum = crc(0, &bytes[..4092]);
        put(bytes, 4092, 4, u64::from(sum));
    });
}

fn seed(bytes: &[u8], number: u64) -> u32 {
    crc(crc(0, &bytes[16..32]), &number.to_le_bytes())
}

/// Where the frames of a segment stand.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut all = Vec::new();
    let mut at = 4096;
    while bytes.get(at..at + 4) == Some(b"FLFR") {
        all.push(at);
        at += take(bytes, at + 4) as usize;
    }
    all
}

/// The store that was killed has no closed frame.
fn mend_frame(bytes: &mut [u8], at: usize, seed: u32) {
    if !bytes[at..].starts_with(b"FLFR") {
        return;
    }
    let sum = crc(crc(seed, &bytes[at..at + 60]), &(at as u64).to_le_bytes());
    put(bytes, at + 60, 4, u64::from(sum));
}

#[test]
fn a_frame_header_that_lies() {
    let disks = disks();
    let disk = &disks[0];
    for number in [2, 3] {
        let bytes = disk.read_file(&segment(number)).unwrap();
        let seed = seed(&bytes, number);
        let all = frames(&bytes);
        assert!(all.len() > 2);
        for at in [all[0], all[1], all[all.len() - 1]] {
            let fields = [(4, 4), (8, 8), (16, 8), (24, 8), (32, 4), (36, 4), (40, 1), (41, 1)];
            let more = [(42, 2), (44, 4), (48, 4), (52, 4), (56, 4)];
            let fields: Vec<_> = fields.iter().chain(&more).map(|(f, w)| (at + f, *w)).collect();
            twist(&disks, &segment(number), &fields, |bytes| mend_frame(bytes, at, seed));
        }
    }
}

#[test]
fn a_record_that_lies() {
    let disks = disks();
    let disk = &disks[0];
    let bytes = disk.read_file(&segment(3)).unwrap();
    let seed = seed(&bytes, 3);
    let all = frames(&bytes);
    for frame in [all[0], all[1]] {
        let at = frame + 64;
        let body = 40 + take(&bytes, at + 4).next_multiple_of(8) as usize;
        let head = [(0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (16, 8), (24, 8)];
        let inside = [(40, 8), (48, 8), (56, 4), (58, 1), (59, 1), (60, 2), (62, 1), (64, 4)];
        let fields: Vec<_> = head.iter().chain(&inside).map(|(f, w)| (at + f, *w)).collect();
        twist(&disks, &segment(3), &fields, |bytes| {
            let sum = crc(0, &bytes[at + 40..at + body]);
            put(bytes, at + 32, 4, u64::from(sum));
            let sum = crc(seed, &bytes[at..at + 36]);
            put(bytes, at + 36, 4, u64::from(sum));
            mend_frame(bytes, frame, seed);
        });
    }
}

#[test]
fn a_keyed_file_that_lies() {
    let disks = disks();
    let disk = &disks[0];
    let store = disk.read_file("head-0").unwrap()[16..32].to_vec();
    for (kind, file) in [(1, "checkpoints"), (2, "snapshots")] {
        let seed = crc(crc(0, &store), &[kind]);
        let bytes = disk.read_file(file).unwrap();
        let body = (take(&bytes, 4) + take(&bytes, 8)).next_multiple_of(8);
        let second = 32 + body as usize;
        for at in [0, second] {
            let fields = [(4, 4), (8, 4), (12, 4), (16, 8)].map(|(f, w)| (at + f, w));
            twist(&disks, file, &fields, |bytes| {
                let sum = crc(crc(seed, &bytes[at..at + 28]), &(at as u64).to_le_bytes());
                put(bytes, at + 28, 4, u64::from(sum));
            });
        }
    }
}

#[cfg(unix)]
mod on_a_real_disk {
    use super::*;
    use std::path::Path;

    fn real_store(dir: &Path) {
        let store = options().open(dir).unwrap();
        for number in 1..12 {
            store.append("A-1", Expect::Any, [event(number, 2000)]).unwrap();
        }
        store.save_checkpoint("reader", factlog::Position::new(3)).unwrap();
        store.save_snapshot("A-1", "state", (factlog::Version::new(2), 1), "folded").unwrap();
        assert!(store.stats().segments > 1);
        store.close().unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        for kind in ["link", "pipe", "folder"] {
            let dir = tempfile::tempdir().unwrap();
            real_store(dir.path());
            let names: Vec<_> =
                std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).collect();
            drop(dir);
            for name in names.iter().map(|entry| entry.file_name()) {
                let dir = tempfile::tempdir().unwrap();
                real_store(dir.path());
                let path = dir.path().join(&name);
                let elsewhere = dir.path().with_extension("elsewhere");
                std::fs::rename(&path, &elsewhere).unwrap();
                match kind {
                    "link" => std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
                    "folder" => std::fs::create_dir(&path).unwrap(),
                    _ => {
                        let made = std::process::Command::new("mkfifo").arg(&path).status();
                        assert!(made.unwrap().success());
                    }
                }
                let what = format!("a {kind} in place of {name:?}");
                for outcome in [options().open_read_only(dir.path()), options().open(dir.path())] {
                    match outcome {
                        Ok(store) => check_open(&store, &what),
                        Err(error) => {
                            let kinds = [ErrorKind::Damaged, ErrorKind::Io];
                            assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
                        }
                    }
                }
                std::fs::remove_file(&elsewhere).unwrap();
            }
        }
    }

    fn check_open(store: &Store, what: &str) {
        let (mut good, mut bad) = (0, 0);
        for event in store.read_all() {
            match event {
                Ok(_) => good += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error:?}");
                    bad += 1;
                }
            }
        }
        assert_eq!(good + bad, 11, "{what}: {good} good, {bad} damaged");
    }

    #[test]
    fn a_store_is_not_made_among_other_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("diary.txt"), "dear diary").unwrap();
        let error = options().open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("diary.txt"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the lock and the diary");
    }

    #[test]
    fn foreign_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = ["notes.txt", "1.seg", "head-2", "00000000000000000001.bak", "x.tmp", "core"];
        options().open(dir.path()).unwrap();
        for name in foreign {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        real_store(dir.path());
        let store = options().open(dir.path()).unwrap();
        assert_eq!(answers(&store).unwrap().all.len(), 11);
        drop(store);
        for name in foreign {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), name.as_bytes());
        }
        assert!(dir.path().join("sub").is_dir());
    }
}
