//! Every piece of every file: nothing is left out, nothing panics, whatever the bytes are.

use std::ops::ControlFlow;
use std::sync::Arc;

use factlog::disk::SimDisk;
use factlog::{Dump, ErrorKind, Expect, Piece, PieceValue, Repair, Verify};

use crate::rig::{Random, cases, event, open, options, sample};

const SEGMENT_1: &str = "00000000000000000001.seg";
const SIDECAR_1: &str = "00000000000000000001.idx";

fn closed() -> SimDisk {
    let disk = SimDisk::new(1);
    sample(&disk).close().unwrap();
    disk
}

fn pieces(dump: &Dump, name: &str) -> factlog::Result<Vec<Piece>> {
    let mut all = Vec::new();
    dump.file(name, |piece| {
        all.push(piece);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

fn on(disk: &SimDisk) -> Dump {
    Dump::on(Arc::new(disk.clone()))
}

fn number(piece: &Piece, name: &str) -> u64 {
    let found = piece.fields.iter().find(|(field, _)| *field == name);
    match found {
        Some((_, PieceValue::Number(number))) => *number,
        other => panic!("{name}: {other:?}"),
    }
}

/// The pieces of depth 0 lie one behind the other from the first byte to the last.
fn covers(pieces: &[Piece], size: u64) {
    let mut at = 0;
    for piece in pieces.iter().filter(|piece| piece.depth == 0 && piece.kind != "end") {
        assert_eq!(piece.offset, at, "{piece:?}");
        at = piece.offset + piece.bytes;
    }
    assert_eq!(at, size, "{:?}", pieces.last());
}

#[test]
fn every_byte_of_every_file_is_in_a_piece_and_every_event_is_shown() {
    let disk = closed();
    let dump = on(&disk);
    let mut positions = Vec::new();
    for name in dump.files().unwrap() {
        let all = pieces(&dump, &name).unwrap();
        covers(&all, disk.read_file(&name).unwrap().len() as u64);
        // Beyond a named end may lie what was cut, or prepared.
        let bad: Vec<_> = all.iter().filter(|piece| piece.problem.is_some()).collect();
        assert!(bad.is_empty(), "{name}: {bad:?}");
        let events = all.iter().filter(|piece| piece.kind == "event");
        positions.extend(events.map(|piece| number(piece, "position")));
    }
    assert_eq!(positions, (1..=16).collect::<Vec<_>>());
}

#[test]
fn a_part_of_a_file_is_shown_from_an_offset_on() {
    let disk = closed();
    let all = pieces(&on(&disk), SEGMENT_1).unwrap();
    let frames: Vec<&Piece> = all.iter().filter(|piece| piece.kind == "batch frame").collect();
    let second = frames[1].offset;
    let rest = pieces(&on(&disk).from(second), SEGMENT_1).unwrap();
    let wanted: Vec<_> = all.iter().filter(|piece| piece.offset >= second).cloned().collect();
    assert_eq!(rest, wanted);
    // An offset is what an error names: whatever holds it is shown, and what came before is not.
    for within in [second + 1, second + 64, second + frames[1].bytes - 1] {
        let shown = pieces(&on(&disk).from(within), SEGMENT_1).unwrap();
        let held = all.iter().filter(|piece| piece.offset + piece.bytes > within);
        assert_eq!(shown, held.cloned().collect::<Vec<_>>(), "from {within}");
        assert_eq!(shown[0], *frames[1], "from {within}");
    }
    let heads = pieces(&on(&disk).headers_only(true), SEGMENT_1).unwrap();
    assert!(heads.iter().all(|piece| piece.depth == 0) && heads.len() < all.len());
}

#[test]
fn a_flipped_bit_is_shown_where_it_is() {
    let disk = closed();
    let bytes = disk.read_file(SEGMENT_1).unwrap();
    let at = bytes.windows(6).position(|window| window == b"\"n\":1,").unwrap() as u64;
    disk.flip_bit(SEGMENT_1, at, 0);
    let all = pieces(&on(&disk), SEGMENT_1).unwrap();
    let bad: Vec<&Piece> = all.iter().filter(|piece| piece.problem.is_some()).collect();
    assert_eq!(bad.len(), 2, "the frame and the record: {bad:?}");
    assert!(bad.iter().all(|piece| (piece.offset..piece.offset + piece.bytes).contains(&at)));
    assert_eq!(number(bad[1], "position"), 2);
}

/// A file that lies alone says itself which store it is of; without its block somebody must.
#[test]
fn a_file_that_lies_alone_is_shown() {
    let (disk, alone) = (closed(), SimDisk::new(2));
    alone.write_file("found.bin", disk.read_file(SEGMENT_1).unwrap());
    alone.write_file(SEGMENT_1, disk.read_file(SEGMENT_1).unwrap());
    let wanted = pieces(&on(&disk), SEGMENT_1).unwrap();
    let kinds = |all: &[Piece]| all.iter().filter(|p| p.kind == "event").count();
    for name in ["found.bin", SEGMENT_1] {
        assert_eq!(kinds(&pieces(&on(&alone), name).unwrap()), kinds(&wanted));
    }
    alone.flip_bit(SEGMENT_1, 20, 1);
    let error = pieces(&on(&alone), SEGMENT_1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let (_, PieceValue::Text(store)) = &wanted[0].fields[0] else { panic!() };
    let named = on(&alone).store(store.parse().unwrap());
    assert_eq!(kinds(&pieces(&named, SEGMENT_1).unwrap()), kinds(&wanted));
    let missing = pieces(&on(&alone), "head-0").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn campaign_whatever_the_bytes_are_every_one_of_them_is_shown() {
    let disk = closed();
    let names = on(&disk).files().unwrap();
    for case in 0..cases(150) {
        let mut random = Random::new(case);
        let hit = disk.copy();
        for _ in 0..=random.below(4) {
            let name = &names[random.below(names.len() as u64) as usize];
            let mut bytes = hit.read_file(name).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = random.below(bytes.len() as u64) as usize;
            let to = (at + 1 + random.below(3000) as usize).min(bytes.len());
            match random.below(5) {
                0 => bytes[at..to].fill(0),
                1 => bytes.truncate(at),
                2 => bytes[at..to].fill_with(|| random.next() as u8),
                _ => bytes[at] ^= 1 << random.below(8),
            }
            hit.write_file(name, bytes);
        }
        for name in &names {
            let size = hit.read_file(name).unwrap().len() as u64;
            match pieces(&on(&hit), name) {
                Ok(all) => covers(&all, size),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{case}: {error}"),
            }
        }
    }
}

#[test]
fn a_deep_verification_compares_indexes_with_the_log() {
    let disk = closed();
    let verify =
        |disk: &SimDisk| Verify::on(Arc::new(disk.clone())).deep(true).run(&mut |_, _| ()).unwrap();
    let sound = verify(&disk);
    assert!(sound.clean && sound.doubtful.is_empty(), "{sound:?}");
    assert!(sound.absent.is_empty(), "{sound:?}");
    let hit = disk.copy();
    hit.flip_bit(SIDECAR_1, 400, 1);
    let report = verify(&hit);
    assert!(report.clean && report.absent.is_empty(), "an index is no part of the log");
    assert_eq!(report.doubtful.len(), 1);
    assert_eq!(report.doubtful[0].file, SIDECAR_1);
    open(&hit).unwrap().close().unwrap();
    // What can be made at any time and is not there yet is no fault.
    let without = disk.copy();
    without.remove_file(SIDECAR_1);
    let report = verify(&without);
    assert!(report.clean && report.doubtful.is_empty(), "{report:?}");
    assert_eq!(report.absent.len(), 1);
    assert_eq!(report.absent[0].file, SIDECAR_1);
}

/// Sidecars alone were compared: a wrong version in the heads file, or a part that was another's,
/// passed as sound.
#[test]
fn a_deep_verification_looks_at_heads_and_parts_too() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for number in 0..40 {
        let stream = format!("S-{}", number % 4);
        store.append(&*stream, Expect::Any, [event(number, 1500)]).unwrap();
    }
    store.close().unwrap();
    open(&disk).unwrap().close().unwrap();
    let verify =
        |disk: &SimDisk| Verify::on(Arc::new(disk.clone())).deep(true).run(&mut |_, _| ()).unwrap();
    let doubtful = |disk: &SimDisk| {
        let report = verify(disk);
        assert!(report.clean, "{report:?}");
        report.doubtful.into_iter().map(|index| index.file).collect::<Vec<_>>()
    };
    assert_eq!(doubtful(&disk), [""; 0]);
    let mut heads = disk.read_file("heads").unwrap();
    // Where S-0 stands: its version, right before its last position.
    let newest = u64::from_le_bytes(heads[80..88].try_into().unwrap());
    assert_eq!(newest, 4, "streams");
    let at = (1..heads.len() - 20)
        .find(|at| {
            let number = |at: usize| u64::from_le_bytes(heads[at..at + 8].try_into().unwrap());
            (2..=10).contains(&number(*at)) && (20..=40).contains(&number(at + 8))
        })
        .unwrap();
    heads[at] -= 1;
    let body = heads.len() - 4;
    let sum = crc32fast::hash(&heads[..body]).to_le_bytes();
    heads[body..].copy_from_slice(&sum);
    let wrong = disk.copy();
    wrong.write_file("heads", heads);
    assert_eq!(doubtful(&wrong), ["heads"]);
    let torn = disk.copy();
    torn.flip_bit("heads", 100, 1);
    assert_eq!(doubtful(&torn), ["heads"]);
    let is_part = |name: &String| name.ends_with(".idx") && name.contains('-');
    let parts: Vec<_> = disk.file_names().into_iter().filter(is_part).collect();
    assert!(!parts.is_empty(), "{:?}", disk.file_names());
    for part in parts {
        let torn = disk.copy();
        torn.flip_bit(&part, 300, 1);
        assert_eq!(doubtful(&torn), [part]);
    }
    // A repair throws away what is wrong, and the opening makes it anew.
    let repair = options().repair_on(Arc::new(wrong.clone()), Repair::Write, &mut |_, _| ());
    assert!(repair.unwrap().sidecars_rebuilt.iter().any(|index| index.file == "heads"));
    assert_eq!(doubtful(&wrong), [""; 0]);
}

#[test]
fn one_segment_is_verified_alone() {
    let disk = closed();
    let verify =
        |number: u64| Verify::on(Arc::new(disk.clone())).segment(number).run(&mut |_, _| ());
    let mut events = 0;
    for number in 1..=3 {
        let report = verify(number).unwrap();
        assert!(report.clean && report.segments == 1, "{report:?}");
        events += report.events;
    }
    assert_eq!(events, 16);
    assert_eq!(verify(9).unwrap_err().kind(), ErrorKind::NotFound);
    disk.flip_bit(SEGMENT_1, 4096 + 300, 1);
    assert!(!verify(1).unwrap().clean);
    assert!(verify(2).unwrap().clean);
}
