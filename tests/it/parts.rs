//! Indexes of parts of the newest segment: opening scans less, and answers the same.

use factlog::disk::SimDisk;
use factlog::{ErrorKind, Expect, Position, Store};

use crate::rig::{answers, event, open};

/// The index of the first part of a segment.
fn first_part(number: u64) -> String {
    format!("{number:020}-{:010}.idx", 4096 + 144)
}

fn segment(number: u64) -> String {
    format!("{number:020}.seg")
}

fn parts(disk: &SimDisk) -> Vec<String> {
    let is_part = |name: &String| name.ends_with(".idx") && name.contains('-');
    disk.file_names().into_iter().filter(is_part).collect()
}

fn append(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let stream = ["A-1", "B-1"][number as usize % 2];
        store.append(stream, Expect::Any, [event(number, 700)]).unwrap();
    }
}

#[test]
fn a_long_tail_is_indexed_in_parts_that_follow_each_other() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, 0..10);
    assert_eq!(parts(&disk).len(), 2, "{:?}", disk.file_names());
    let batch = store.batch().append("C-1", Expect::Any, [event(10, 50)]);
    batch.checkpoint("carried", Position::new(7)).commit().unwrap();
    let before = answers(&store).unwrap();
    store.close().unwrap();
    let store = open(&disk).unwrap();
    assert_eq!(answers(&store).unwrap(), before);
    assert_eq!(store.checkpoint("carried").unwrap(), Some(Position::new(7)));
    assert_eq!(store.stats().segments, 1, "parts are not segments");
    append(&store, 0..10);
    assert_eq!(store.last_position(), Position::new(11), "every id was known");
}

/// The opening does not read what a part covers: a bit flipped there shows when the event is read.
#[test]
fn opening_does_not_scan_what_a_part_covers() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, 0..9);
    store.close().unwrap();
    disk.flip_bit(&segment(1), 4096 + 144 + 600, 1);
    let store = open(&disk.copy()).unwrap();
    assert_eq!(store.event_at(Position::new(1)).unwrap_err().kind(), ErrorKind::Damaged);
    assert!(store.event_at(Position::new(2)).is_ok());
    disk.remove_file(&first_part(1));
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Damaged, "without it the scan does");
}

/// Two continuations of one store, byte for byte as long: the index of one is not the other's.
#[test]
fn a_part_that_the_log_does_not_confirm_is_ignored() {
    let disk = SimDisk::new(1);
    open(&disk).unwrap().close().unwrap();
    let other = disk.copy();
    for (disk, from) in [(&disk, 0), (&other, 20)] {
        let store = open(disk).unwrap();
        append(&store, from..from + 9);
        store.close().unwrap();
    }
    let before = answers(&open(&disk.copy()).unwrap()).unwrap();
    let names = parts(&disk);
    assert_eq!(names, parts(&other));
    for name in names {
        disk.write_file(&name, other.read_file(&name).unwrap());
    }
    assert_eq!(answers(&open(&disk).unwrap()).unwrap(), before);
}

#[test]
fn a_segment_that_was_opened_in_parts_is_sealed_with_one_sidecar() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, 0..9);
    store.close().unwrap();
    let store = open(&disk).unwrap();
    append(&store, 9..20);
    assert_eq!(store.stats().segments, 2);
    let of_first: Vec<_> = disk
        .file_names()
        .into_iter()
        .filter(|name| name.starts_with("00000000000000000001"))
        .collect();
    assert_eq!(of_first, ["00000000000000000001.idx", "00000000000000000001.seg"]);
    let before = answers(&store).unwrap();
    store.close().unwrap();
    let store = open(&disk).unwrap();
    assert_eq!(store.open_report().sidecars_rebuilt, []);
    assert_eq!(answers(&store).unwrap(), before);
}

#[test]
fn without_its_parts_a_store_answers_the_same() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, 0..9);
    let before = answers(&store).unwrap();
    store.close().unwrap();
    for lost in parts(&disk) {
        let disk = disk.copy();
        disk.remove_file(&lost);
        let store = open(&disk).unwrap();
        assert_eq!(answers(&store).unwrap(), before, "without {lost}");
        append(&store, 30..36);
        let before = answers(&store).unwrap();
        store.close().unwrap();
        assert_eq!(answers(&open(&disk).unwrap()).unwrap(), before, "without {lost}, later");
    }
}
