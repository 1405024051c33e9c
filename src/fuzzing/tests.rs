//! The corpora, and seeded changes of them, through every body.
//!
//! `FACTLOG_CORPUS=write cargo test -p factlog --lib fuzzing` writes the seeds anew.

use std::path::PathBuf;

use super::repair::{Depth, frames};
use super::segment::{BASE, STORE};
use super::*;
use crate::disk::SimDisk;
use crate::format::{Put, Record, RecordKind, patch_record, push_record, push_stub, segment_seed};
use crate::types::{EventRef, HiddenReason, RecordedEvent};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Whether this is the repository: a published package has no corpora.
fn has_corpora() -> bool {
    let there = corpus("").is_dir();
    if !there {
        println!("SKIPPED: fuzz/corpus is not there");
    }
    there
}

/// Every input of a corpus, in the order of names.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(corpus(target)).unwrap().map(Result::unwrap);
    let mut all: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 8] = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, 0x10];
        match self.below(2) {
            0 => TELLING[self.below(8)],
            _ => self.below(256) as u8,
        }
    }

    /// One to eight small changes.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            let length = self.below(9).min(bytes.len() - at);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..at + length)),
                2 => {
                    let copy = bytes[at..at + length].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, copy);
                }
                3 => {
                    for _ in 0..=self.below(6) {
                        bytes.insert(at, self.byte());
                    }
                }
                _ if at < bytes.len() => match self.below(2) {
                    0 => bytes[at] = self.byte(),
                    _ => bytes[at] ^= 1 << self.below(8),
                },
                _ => bytes.push(self.byte()),
            }
        }
    }
}

/// Runs a body over changes of its corpus; who fails says which.
fn campaign(target: &str, body: Body, runs: u64) {
    let seeds = inputs(target);
    for run in 0..runs {
        let mut random = Random((run + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut bytes = seeds[random.below(seeds.len())].1.clone();
        random.change(&mut bytes);
        let held = std::panic::catch_unwind(|| body(&bytes));
        if let Err(panic) = held {
            println!("{target}, run {run}: {bytes:02x?}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// How often each body runs here: more where it costs microseconds.
fn runs(target: &str, cases: u64) -> u64 {
    match target {
        "directory" | "program" | "query" => cases,
        _ => cases * 20,
    }
}

#[test]
fn every_body_holds_over_its_corpus() {
    for (target, body) in BODIES.iter().copied().filter(|_| has_corpora()) {
        let all = inputs(target);
        assert!(!all.is_empty(), "{target} has no corpus");
        for (name, bytes) in all {
            println!("{target}/{name}");
            body(&bytes);
        }
    }
}

#[test]
fn every_body_holds_over_changes_of_its_corpus() {
    for (target, body) in BODIES.iter().copied().filter(|_| has_corpora()) {
        campaign(target, body, runs(target, 60));
    }
}

/// `FACTLOG_CASES=100000 cargo test --release --lib campaign_fuzzing`
#[test]
fn campaign_fuzzing() {
    let cases = std::env::var("FACTLOG_CASES").ok().and_then(|text| text.parse().ok());
    for (target, body) in BODIES.iter().copied().filter(|_| has_corpora()) {
        campaign(target, body, runs(target, cases.unwrap_or(10)));
    }
}

#[test]
fn the_sound_store_is_read_whole() {
    let (disk, events) = directory::sound_store();
    assert_eq!(events.len(), 40);
    let store = directory::open(&disk, false).unwrap();
    assert_eq!(store.read_all().to_vec().unwrap(), events);
    assert!(store.stats().segments >= 2 && store.open_report().clean);
}

/// Found by the target `directory`: a sidecar that is looked at late did not check, the log under
/// it neither, and a look-up by id answered that there is no such event: only damage found when
/// opening was asked about.
#[test]
fn damage_that_is_found_later_is_an_answer_too() {
    let (a_bit_of_the_sidecar, the_last_events) = ([0, 0, 0, 2, 3], [1, 1, 0x2D, 0x30, 0xFA]);
    directory(&[a_bit_of_the_sidecar, the_last_events].concat());
}

/// What the sound store has left of segments that were trimmed.
fn trim_base() -> Vec<u8> {
    let (disk, _) = directory::sound_store();
    let store = directory::open(&disk, false).unwrap();
    let trim = crate::Trim::keep_events(1).past_checkpoints();
    assert!(store.trim(trim).unwrap().segments > 0);
    disk.read_file("00000000000000000001.base").unwrap()
}

/// The body of a stub, and a segment with some.
fn reclaimed(disk: &SimDisk, event: &RecordedEvent) -> (Vec<u8>, Vec<u8>) {
    let disk = disk.copy();
    let store = directory::open(&disk, false).unwrap();
    let even = |event: &EventRef<'_>| event.position().get().is_multiple_of(2);
    store.reclaim_where(|event| even(event).then_some(HiddenReason::Expired)).unwrap();
    let mut segment = disk.read_file("00000000000000000001.seg").unwrap().split_off(4096);
    segment.truncate(4096);
    frames(&mut segment, BASE, segment_seed(STORE, 1), Depth::ALL);
    let mut record = Vec::new();
    let event = event.as_ref();
    push_record(&mut record, RecordKind::Event, |out| out.put(event.body));
    patch_record(&mut record, 1, (4, 1, 1));
    let mut stub = Vec::new();
    let whole = Record::decode(&record, 1).unwrap();
    push_stub(&mut stub, (&whole, &event), HiddenReason::Truncated, 1);
    (Record::decode(&stub, 1).unwrap().body.to_vec(), segment)
}

/// Files of the sound store, cut to what is used, with every checksum that of the fuzzers' store.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (disk, events) = directory::sound_store();
    let seed = segment_seed(STORE, 1);
    let read = |name: &str| disk.read_file(name).unwrap();
    let mut segment = read("00000000000000000001.seg").split_off(4096);
    segment.truncate(segment.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(8));
    segment.truncate(4096);
    frames(&mut segment, BASE, seed, Depth::ALL);
    let after = |first: &[u8], rest: &[u8]| [first, rest].concat();
    let body = events[3].as_ref().body.to_vec();
    let live = read("live");
    let (stub, rewritten) = reclaimed(&disk, &events[3]);
    let stream = b"Order-42".as_slice();
    vec![
        ("scan", "frames", segment.clone()),
        ("segment", "frames", after(&[31, 0, 1, 0, 2], &segment)),
        ("segment", "bare", after(&[0, 0, 4, 0, 16], &segment)),
        ("event", "placed", body),
        ("event", "stub", stub),
        ("segment", "stubs", after(&[31, 0, 1, 0, 2], &rewritten)),
        ("scan", "stubs", rewritten),
        ("head", "head", after(&[1], &read("head-0"))),
        ("head", "live", after(&[3], &live[..4096 + 68])),
        ("head", "segment", after(&[5], &read("00000000000000000001.seg")[..64])),
        ("keyed", "checkpoints", after(&[1], &read("checkpoints"))),
        ("keyed", "snapshots", after(&[3], &read("snapshots"))),
        #[cfg(feature = "forget")]
        ("keyring", "clear", after(&[1], &keyring::seed(None).0)),
        #[cfg(feature = "forget")]
        ("keyring", "wrapped", after(&[5], &keyring::seed(Some([7; 32])).0)),
        #[cfg(feature = "forget")]
        ("keyring", "apart", after(&[3], &keyring::seed(None).1)),
        ("sidecar", "whole", after(&[1], &read("00000000000000000001.idx"))),
        ("sidecar", "bare", after(&[0], &read("00000000000000000001.idx"))),
        ("heads", "whole", after(&[1], &read("heads"))),
        ("base", "whole", after(&[1], &trim_base())),
        ("base", "bare", after(&[0], &trim_base())),
        ("names", "stream", stream.to_vec()),
        ("names", "file", b"00000000000000000001-0000004096-0000000002.torn".to_vec()),
        ("names", "json", br#"{"k":"v","a":[1.5e-3,true,null,"\u00e9"],"k":"w"}"#.to_vec()),
        ("query", "mixed", (0..120_u8).map(|n| n.wrapping_mul(37)).collect()),
        ("directory", "flip", vec![0, 1, 70, 16, 3]),
        ("directory", "zeros", vec![1, 5, 200, 16, 40]),
        ("directory", "cut", vec![2, 6, 0, 17]),
        ("directory", "gone", vec![3, 4, 0, 0]),
        ("directory", "other", vec![4, 2, 0, 0, 3]),
        ("directory", "early", vec![5, 2, 0, 0]),
        ("directory", "longer", vec![6, 2, 0, 0, 80]),
        ("directory", "forged", vec![7, 2, 40, 16, 4, 9, 0, 0, 0]),
        ("program", "appends", vec![0, 1, 0, 0, 33, 0, 5, 1, 34, 0, 35, 6, 0, 8, 0, 1, 18, 1]),
        ("program", "cut", vec![0, 2, 0, 0, 33, 0, 1, 0, 34, 0, 12, 9, 0, 2, 49, 0, 11, 7, 9, 0]),
        ("program", "full", vec![1, 3, 13, 1, 1, 5, 0, 0, 17, 0, 0, 1, 17, 0, 8, 0, 2, 33, 0]),
        ("program", "sync", vec![0, 4, 0, 0, 33, 0, 13, 0, 0, 2, 0, 1, 50, 0, 10, 6, 0, 9]),
    ]
    .into_iter()
    .chain(removals())
    .collect()
}

/// Programs that take away and copy: large batches fill segments, then one step of each kind, a
/// crash, and once more.
fn removals() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let filled = [2, 1, 0, 0, 17, 0, 0, 0, 17, 0, 0, 2, 17, 0, 0, 1, 33, 0];
    let steps: [(_, &[u8]); 5] = [
        ("trimmed", &[16, 0, 6, 1, 11, 7, 9, 0, 0, 33, 0, 16, 0, 7, 1, 10]),
        ("reclaimed", &[16, 1, 0, 3, 16, 4, 11, 5, 0, 16, 4, 0, 0, 33, 0, 8]),
        ("deleted", &[16, 3, 0, 16, 5, 0, 0, 33, 3, 10, 16, 5, 16, 0, 9, 0, 9]),
        ("forgotten", &[16, 6, 0, 2, 33, 0, 11, 3, 0, 16, 6, 9, 16, 6, 10]),
        ("copied", &[16, 7, 3, 16, 7, 2, 0, 0, 33, 0, 11, 3, 3, 16, 7, 2, 16, 7, 5, 10]),
    ];
    let program = |(name, more)| ("program", name, [filled.as_slice(), more].concat());
    steps.map(program).to_vec()
}

/// Writes the seeds when asked to; else checks that the sound store's files are what they were made
/// for: each does what it is named for.
#[test]
fn seeds_get_past_the_checksums() {
    let write = std::env::var_os("FACTLOG_CORPUS").is_some_and(|what| what == "write");
    for (target, name, bytes) in seeds() {
        if write {
            std::fs::create_dir_all(corpus(target)).unwrap();
            std::fs::write(corpus(target).join(name), &bytes).unwrap();
        }
        let (_, body) = BODIES.iter().find(|(known, _)| *known == target).unwrap();
        body(&bytes);
    }
}
