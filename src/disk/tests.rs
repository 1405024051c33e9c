//! Layer 2.4: the contract in `api.rs`, asked of every disk.
//!
//! Knows: what all three must do alike. Does not know: which one it is talking to.

use std::io::ErrorKind;

use super::*;

/// Answers another opening of the same directory at each call.
type Opening<'a> = &'a dyn Fn() -> Box<dyn Disk>;

/// Runs the test on a real, a memory and a simulated disk whose directory is yet to be made.
fn on_every_new_disk(test: impl Fn(Opening<'_>)) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store");
    test(&|| Box::new(RealDisk::new(&path)));
    let mem = MemDisk::new();
    test(&|| Box::new(mem.clone()));
    let sim = SimDisk::new(1);
    test(&|| Box::new(sim.clone()));
}

fn on_every_disk(test: impl Fn(&dyn Disk)) {
    on_every_new_disk(|opening| {
        let disk = opening();
        disk.create_root().unwrap();
        test(&*disk);
    });
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    disk.open(name, Access::Create).unwrap().write_at(bytes, 0).unwrap();
}

fn get(disk: &dyn Disk, name: &str) -> Vec<u8> {
    content(&*disk.open(name, Access::Read).unwrap())
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![9; 100_000];
    let length = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(length);
    bytes
}

fn sorted(disk: &dyn Disk) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.sort();
    names
}

#[track_caller]
fn refused<T>(result: std::io::Result<T>, kind: ErrorKind) {
    assert_eq!(result.err().unwrap().kind(), kind);
}

#[test]
fn nothing_is_found_before_the_root_is_made() {
    on_every_new_disk(|opening| {
        let disk = opening();
        refused(disk.list(), ErrorKind::NotFound);
        refused(disk.open("a", Access::Create), ErrorKind::NotFound);
        refused(disk.lock("LOCK"), ErrorKind::NotFound);
        disk.create_root().unwrap();
        disk.create_root().unwrap();
        assert!(disk.list().unwrap().is_empty());
    });
}

#[test]
fn another_opening_sees_the_same_files() {
    on_every_new_disk(|opening| {
        let disk = opening();
        disk.create_root().unwrap();
        put(&*disk, "a", b"hello");
        drop(disk);
        assert_eq!(get(&*opening(), "a"), b"hello");
    });
}

#[test]
fn create_refuses_what_exists_and_open_what_does_not() {
    on_every_disk(|disk| {
        refused(disk.open("a", Access::Write), ErrorKind::NotFound);
        refused(disk.open("a", Access::Read), ErrorKind::NotFound);
        put(disk, "a", b"1");
        refused(disk.open("a", Access::Create), ErrorKind::AlreadyExists);
        assert_eq!(get(disk, "a"), b"1");
    });
}

#[test]
fn a_name_cannot_lead_elsewhere() {
    on_every_disk(|disk| {
        for name in ["", ".", "..", "/a", "a/b", "../a", "a\0"] {
            refused(disk.open(name, Access::Create), ErrorKind::InvalidInput);
            refused(disk.rename(name, "b"), ErrorKind::InvalidInput);
            refused(disk.rename("b", name), ErrorKind::InvalidInput);
            refused(disk.remove(name), ErrorKind::InvalidInput);
            refused(disk.lock(name), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_gap_reads_as_zeros_and_a_read_ends_with_the_file() {
    on_every_disk(|disk| {
        let file = disk.open("a", Access::Create).unwrap();
        file.write_at(b"end", 5000).unwrap();
        file.write_at(b"start", 0).unwrap();
        file.write_at(b"", 9000).unwrap();
        assert_eq!(file.size().unwrap(), 5003);
        let bytes = content(&*file);
        assert_eq!((&bytes[..6], &bytes[4999..]), (&b"start\0"[..], &b"\0end"[..]));
        assert_eq!(file.read_at(&mut [0; 4], 5001).unwrap(), 2);
        assert_eq!(file.read_at(&mut [0; 4], 6000).unwrap(), 0);
        assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    });
}

#[test]
fn a_reader_cannot_change_anything_but_can_sync() {
    on_every_disk(|disk| {
        put(disk, "a", b"hello");
        let file = disk.open("a", Access::Read).unwrap();
        refused(file.write_at(b"x", 0), ErrorKind::PermissionDenied);
        refused(file.allocate(100), ErrorKind::PermissionDenied);
        refused(file.set_size(1), ErrorKind::PermissionDenied);
        file.sync().unwrap();
        assert_eq!(content(&*file), b"hello");
    });
}

#[test]
fn allocate_extends_with_zeros_and_never_shrinks() {
    on_every_disk(|disk| {
        let file = disk.open("a", Access::Create).unwrap();
        file.write_at(b"hello", 0).unwrap();
        file.allocate(10).unwrap();
        file.allocate(0).unwrap();
        file.allocate(7).unwrap();
        assert_eq!(content(&*file), b"hello\0\0\0\0\0");
    });
}

#[test]
fn set_size_cuts_and_extends_with_zeros() {
    on_every_disk(|disk| {
        let file = disk.open("a", Access::Create).unwrap();
        file.write_at(b"hello", 0).unwrap();
        file.set_size(2).unwrap();
        file.set_size(4).unwrap();
        assert_eq!(content(&*file), b"he\0\0");
    });
}

#[test]
fn rename_replaces_and_open_files_keep_their_bytes() {
    on_every_disk(|disk| {
        put(disk, "old", b"old");
        put(disk, "new", b"new");
        let old = disk.open("old", Access::Read).unwrap();
        let new = disk.open("new", Access::Write).unwrap();
        disk.rename("new", "old").unwrap();
        new.write_at(b"N", 0).unwrap();
        assert_eq!(content(&*old), b"old");
        assert_eq!(get(disk, "old"), b"New");
        assert_eq!(sorted(disk), ["old"]);
        refused(disk.rename("new", "old"), ErrorKind::NotFound);
        disk.rename("old", "old").unwrap();
        assert_eq!(sorted(disk), ["old"]);
    });
}

#[test]
fn a_removed_file_lives_on_in_open_handles() {
    on_every_disk(|disk| {
        put(disk, "a", b"hello");
        let file = disk.open("a", Access::Write).unwrap();
        disk.remove("a").unwrap();
        refused(disk.remove("a"), ErrorKind::NotFound);
        put(disk, "a", b"other");
        file.write_at(b"H", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(content(&*file), b"Hello");
        assert_eq!(get(disk, "a"), b"other");
    });
}

#[test]
fn map_shows_the_beginning_and_refuses_more_than_there_is() {
    on_every_disk(|disk| {
        put(disk, "a", b"hello");
        let file = disk.open("a", Access::Read).unwrap();
        assert_eq!(&*file.map(4).unwrap(), b"hell");
        assert!(file.map(0).unwrap().is_empty());
        refused(file.map(6), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn only_one_opening_holds_the_lock_until_it_lets_go() {
    on_every_new_disk(|opening| {
        let disk = opening();
        disk.create_root().unwrap();
        let lock = disk.lock("LOCK").unwrap().unwrap();
        assert_eq!(sorted(&*disk), ["LOCK"]);
        assert!(disk.lock("LOCK").unwrap().is_none());
        assert!(opening().lock("LOCK").unwrap().is_none());
        drop(disk);
        assert!(opening().lock("LOCK").unwrap().is_none());
        drop(lock);
        assert!(opening().lock("LOCK").unwrap().is_some());
        assert!(opening().lock("LOCK").unwrap().is_some());
    });
}

#[test]
fn an_offset_beyond_all_files_is_refused() {
    on_every_disk(|disk| {
        let file = disk.open("a", Access::Create).unwrap();
        refused(file.write_at(b"x", u64::MAX), ErrorKind::InvalidInput);
        refused(file.set_size(u64::MAX), ErrorKind::InvalidInput);
        assert_eq!(file.size().unwrap(), 0);
    });
}

#[test]
fn synced_files_are_still_there() {
    on_every_disk(|disk| {
        put(disk, "a", b"hello");
        disk.open("a", Access::Read).unwrap().sync().unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(get(disk, "a"), b"hello");
    });
}

/// Runs the test on two directories that can share files.
fn on_every_pair(test: impl Fn(&dyn Disk, &dyn Disk)) {
    let root = tempfile::tempdir().unwrap();
    let real = [RealDisk::new(root.path().join("a")), RealDisk::new(root.path().join("b"))];
    let mem = [MemDisk::new(), MemDisk::new()];
    let sim = SimDisk::new(1);
    let sims = [sim.clone(), sim.directory("b")];
    let pairs: [[&dyn Disk; 2]; 3] =
        [[&real[0], &real[1]], [&mem[0], &mem[1]], [&sims[0], &sims[1]]];
    for [from, to] in pairs {
        from.create_root().unwrap();
        to.create_root().unwrap();
        test(from, to);
    }
}

#[test]
fn a_link_is_a_second_name_for_the_same_bytes() {
    on_every_pair(|from, to| {
        put(from, "a", b"hello");
        from.link("a", to, "b").unwrap();
        assert_eq!((sorted(from), sorted(to)), (vec!["a".to_owned()], vec!["b".to_owned()]));
        to.open("b", Access::Write).unwrap().write_at(b"J", 0).unwrap();
        assert_eq!(get(from, "a"), b"Jello");
        from.remove("a").unwrap();
        assert_eq!(get(to, "b"), b"Jello");
    });
}

#[test]
fn a_link_takes_no_name_that_is_taken_and_none_that_is_not_there() {
    on_every_pair(|from, to| {
        put(from, "a", b"1");
        put(to, "b", b"2");
        refused(from.link("a", to, "b"), ErrorKind::AlreadyExists);
        refused(from.link("x", to, "c"), ErrorKind::NotFound);
        refused(from.link("a", to, "../c"), ErrorKind::InvalidInput);
        assert_eq!((get(to, "b"), sorted(to)), (b"2".to_vec(), vec!["b".to_owned()]));
    });
}

#[test]
fn directories_of_different_kinds_share_nothing() {
    let (mem, sim) = (MemDisk::new(), SimDisk::new(1));
    mem.create_root().unwrap();
    sim.create_root().unwrap();
    put(&mem, "a", b"1");
    put(&sim, "a", b"1");
    refused(mem.link("a", &sim, "b"), ErrorKind::CrossesDevices);
    refused(sim.link("a", &mem, "b"), ErrorKind::CrossesDevices);
    refused(sim.link("a", &SimDisk::new(1), "b"), ErrorKind::CrossesDevices);
}

#[test]
fn a_link_on_the_simulated_disk_waits_for_the_sync_of_its_own_directory() {
    let disk = SimDisk::new(1);
    let fork = disk.directory("fork");
    disk.create_root().unwrap();
    fork.create_root().unwrap();
    let file = disk.open("a", Access::Create).unwrap();
    file.write_at(b"1", 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    disk.link("a", &fork, "a").unwrap();
    disk.sync_dir().unwrap();
    let there = |fork: &SimDisk| fork.file_names() == ["a"];
    let after: Vec<bool> = (0..2).map(|bits| there(&fork.after_power_cut_exact(bits))).collect();
    assert_eq!(after, [false, true]);
    fork.sync_dir().unwrap();
    assert!((0..20).all(|seed| there(&fork.after_power_cut(seed))));
    let cut = fork.after_power_cut(1);
    assert_eq!(get(&cut, "a"), b"1");
}
