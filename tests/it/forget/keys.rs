//! The keyring: where it is, what happens without it, wrapped keys, keys taken out and in.

use std::sync::Arc;

use factlog::disk::{Disk, SimDisk};
use factlog::{ErrorKind, Expect, Keyring, NewEvent, Options, Store};

use super::{SECRET, holds, readable, ringed, said, talk, without_data};
use crate::rig::{open, options, read_only};

const WRAPPING: [u8; 32] = [0x5a; 32];

fn on(how: Options, disk: &SimDisk) -> factlog::Result<Store> {
    how.open_on(Arc::new(disk.clone()))
}

/// What stands in the keyring for a key: its subject, two times, and the key.
fn secret_of(disk: &SimDisk, subject: &str) -> Vec<u8> {
    let file = disk.read_file("keyring").unwrap();
    let named = [&[u8::try_from(subject.len()).unwrap()], subject.as_bytes()].concat();
    let at = file.windows(named.len()).position(|window| window == named).unwrap();
    let start = at + named.len() + 16;
    file[start..start + 32].to_vec()
}

#[test]
fn a_destroyed_key_is_in_no_file_any_more() {
    let disk = SimDisk::new(1);
    let store = talk(&disk);
    let (ada, bob) = (secret_of(&disk, "ada"), secret_of(&disk, "bob"));
    assert!(holds(&disk, &ada) && holds(&disk, &bob));
    // The old file's bytes, though it loses its name.
    disk.link("keyring", &disk, "linked").unwrap();
    store.forget("ada").unwrap();
    assert!(!holds(&disk, &ada), "the key is still on the disk");
    assert!(holds(&disk, &bob));
    for seed in 0..20 {
        assert!(!holds(&disk.after_power_cut(seed), &ada), "a power cut brings it back: {seed}");
    }
}

/// Found while planning: a rewrite that was cut leaves keys under its temporary name.
#[test]
fn what_a_cut_rewrite_left_is_overwritten() {
    let disk = SimDisk::new(1);
    let store = talk(&disk);
    let before = disk.operations();
    let spare = disk.copy();
    store.forget("ada").unwrap();
    let took = disk.operations() - before;
    drop(store);
    for cut in 0..took {
        let disk = spare.copy();
        let left = disk.after_kill();
        let store = ringed(&left).unwrap();
        left.crash_at(left.operations() + cut);
        let _ = store.forget("ada");
        drop(store);
        let left = left.after_kill();
        let bob = secret_of(&left, "bob");
        let store = ringed(&left).unwrap();
        assert!(left.read_file("new-10.tmp").is_none(), "cut {cut}");
        store.forget("bob").unwrap();
        assert!(!holds(&left, &bob), "cut {cut}");
    }
}

/// Nobody forgets to say `keyring` and writes in clear what was encrypted before.
#[test]
fn a_keyring_that_is_there_is_used_without_being_asked_for() {
    let disk = SimDisk::new(1);
    talk(&disk).close().unwrap();
    let store = open(&disk).unwrap();
    store.append("Person-ada", Expect::Any, [said("ada", 5), said("eve", 6)]).unwrap();
    assert!(!holds(&disk, SECRET.as_bytes()));
    for (subject, number) in [("ada", 1), ("ada", 5), ("eve", 6)] {
        readable(&store, subject, number);
    }
}

#[test]
fn without_its_keyring_a_store_reads_on_and_takes_nothing_in_clear() {
    let disk = SimDisk::new(1);
    talk(&disk).close().unwrap();
    disk.remove_file("keyring");
    without_data(&read_only(&disk).unwrap(), "ada", 1, ErrorKind::NotFound);
    for how in [options(), options().keyring(Keyring::beside())] {
        let store = on(how, &disk).unwrap();
        without_data(&store, "bob", 3, ErrorKind::NotFound);
        let error = store.append("Person-ada", Expect::Any, [said("ada", 5)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains("no keyring in"), "{error}");
        assert_eq!(store.forget("ada").unwrap_err().kind(), ErrorKind::NotFound);
        let event = NewEvent::json_text("Rained", "{}");
        store.append("Weather-1", Expect::Any, [event]).unwrap();
        store.close().unwrap();
    }
    assert!(!holds(&disk, SECRET.as_bytes()));
    let store = on(options().keyring(Keyring::beside().anew()), &disk).unwrap();
    store.append("Person-ada", Expect::Any, [said("ada", 5)]).unwrap();
    readable(&store, "ada", 5);
    without_data(&store, "ada", 1, ErrorKind::NotFound);
}

#[test]
fn a_store_that_never_had_a_keyring_keeps_subjects_in_clear_if_it_is_told_to() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.append("Person-ada", Expect::Any, [said("ada", 1)]).unwrap();
    assert!(holds(&disk, SECRET.as_bytes()));
    assert_eq!(disk.read_file("keyring"), None);
    store.close().unwrap();
    // What was written in clear before stays so, and cannot be forgotten.
    let store = ringed(&disk).unwrap();
    readable(&store, "ada", 1);
    assert_eq!(store.forget("ada").unwrap().in_clear.events, 1);
    store.append("Person-ada", Expect::Any, [said("ada", 2)]).unwrap();
    assert_eq!(store.forget("ada").unwrap().in_clear.events, 1);
    readable(&store, "ada", 1);
    without_data(&store, "ada", 2, ErrorKind::Forgotten);
}

#[test]
fn a_damaged_keyring_is_told_by_its_name_and_everything_else_is_served() {
    let disk = SimDisk::new(1);
    talk(&disk).close().unwrap();
    let file = disk.read_file("keyring").unwrap();
    // The last entry alone cannot be told from one that was never finished.
    let last = file.windows(4).rposition(|window| window == b"FLK0").unwrap();
    for byte in 0..u64::try_from(last).unwrap() {
        let disk = disk.copy();
        disk.flip_bit("keyring", byte, 3);
        let error = ringed(&disk).err().unwrap_or_else(|| panic!("byte {byte} is not missed"));
        assert_eq!((error.kind(), error.file()), (ErrorKind::Damaged, Some("keyring")), "{byte}");
        let store = read_only(&disk).unwrap();
        let all: Vec<_> = store.read_all().into_iter().collect();
        assert_eq!(all.len(), 5);
        for (at, event) in all.into_iter().enumerate() {
            match event {
                Ok(event) => assert_eq!((at, event.event_type()), (3, "Rained")),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Damaged);
                    assert_eq!(error.file(), Some("keyring"));
                    assert_eq!(error.position().map(|at| at.get()), Some(at as u64 + 1));
                }
            }
        }
    }
}

#[test]
fn a_torn_last_key_was_never_used() {
    let disk = SimDisk::new(1);
    talk(&disk).close().unwrap();
    let file = disk.read_file("keyring").unwrap();
    let last = file.windows(4).rposition(|window| window == b"FLK0").unwrap();
    for cut in last..file.len() {
        let disk = disk.copy();
        disk.write_file("keyring", file[..cut].to_vec());
        let store = ringed(&disk).unwrap();
        // Had it been, its events would say so.
        let lost = store.read_all().to_vec().unwrap();
        let lost = lost.iter().filter(|event| event.readable().is_err());
        assert!(lost.count() > 0);
        store.append("Person-eve", Expect::Any, [said("eve", 6)]).unwrap();
        store.close().unwrap();
        readable(&ringed(&disk).unwrap(), "eve", 6);
    }
}

#[test]
fn keys_in_a_directory_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (log, keys) = (dir.path().join("log"), dir.path().join("safe/keys"));
    let how = || options().keyring(Keyring::in_directory(&keys));
    let store = how().open(&log).unwrap();
    store.append("Person-ada", Expect::Any, [said("ada", 1)]).unwrap();
    store.close().unwrap();
    assert!(keys.join("keyring").exists() && !log.join("keyring").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join("keyring"))), (0o700, 0o600));
    }
    let store = options().open(&log).unwrap();
    without_data(&store, "ada", 1, ErrorKind::NotFound);
    let error = store.append("Person-ada", Expect::Any, [said("ada", 2)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    store.close().unwrap();
    readable(&how().open_read_only(&log).unwrap(), "ada", 1);
    let store = how().open(&log).unwrap();
    store.forget("ada").unwrap();
    without_data(&store, "ada", 1, ErrorKind::Forgotten);
    without_data(&how().open_read_only(&log).unwrap(), "ada", 1, ErrorKind::Forgotten);
}

/// A keyring belongs to one store: the keys of another do not pass for its own.
#[test]
fn the_keyring_of_another_store_is_refused() {
    let (disk, other) = (SimDisk::new(1), SimDisk::new(1));
    talk(&disk).close().unwrap();
    talk(&other).close().unwrap();
    disk.write_file("keyring", other.read_file("keyring").unwrap());
    let error = ringed(&disk).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Damaged, Some("keyring")));
}

#[test]
fn wrapped_keys_need_the_key_that_wraps_them() {
    let disk = SimDisk::new(1);
    let how = || options().keyring(Keyring::beside().wrapped_by(WRAPPING));
    talk(&disk).close().unwrap();
    let bob = secret_of(&disk, "bob");
    // What was not wrapped before is, at the first opening for writing.
    let store = on(how(), &disk).unwrap();
    assert!(!holds(&disk, &bob), "it is still there in clear");
    store.append("Person-eve", Expect::Any, [said("eve", 5)]).unwrap();
    for (subject, number) in [("ada", 1), ("bob", 2), ("eve", 5)] {
        readable(&store, subject, number);
    }
    store.close().unwrap();
    let disk_of = || Arc::new(disk.clone()) as Arc<dyn Disk>;
    readable(&how().open_read_only_on(disk_of()).unwrap(), "bob", 3);
    without_data(&read_only(&disk).unwrap(), "ada", 1, ErrorKind::Invalid);
    let wrong = options().keyring(Keyring::beside().wrapped_by([1; 32]));
    assert_eq!(on(wrong, &disk).unwrap_err().kind(), ErrorKind::Invalid);
    let store = ringed(&disk).unwrap();
    without_data(&store, "eve", 5, ErrorKind::Invalid);
    let error = store.append("Person-ada", Expect::Any, [said("ada", 6)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    // What can be had without it is forgetting.
    store.forget("ada").unwrap();
    store.close().unwrap();
    let store = on(how(), &disk).unwrap();
    without_data(&store, "ada", 1, ErrorKind::Forgotten);
    readable(&store, "bob", 2);
    assert!(!format!("{:?}", how()).contains("90"), "a key is printed");
}

#[test]
fn keys_taken_out_bring_back_what_was_lost_and_nothing_that_was_forgotten() {
    let (disk, safe) = (SimDisk::new(1), SimDisk::new(2));
    safe.create_root().unwrap();
    let store = talk(&disk);
    assert_eq!(store.export_keys_on(&safe, "all.keys").unwrap(), 2);
    let error = store.export_keys_on(&safe, "all.keys").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // Lost with its directory: it comes back.
    let copy = disk.after_kill();
    copy.remove_file("keyring");
    let restored = open(&copy).unwrap();
    without_data(&restored, "ada", 1, ErrorKind::NotFound);
    let imported = restored.import_keys_on(&safe, "all.keys").unwrap();
    assert_eq!((imported.added, imported.forgotten), (2, 0));
    readable(&restored, "ada", 1);
    restored.append("Person-ada", Expect::Any, [said("ada", 5)]).unwrap();
    readable(&restored, "ada", 5);
    // Forgotten: it does not, and forgetting travels with the keys.
    store.forget("ada").unwrap();
    let imported = store.import_keys_on(&safe, "all.keys").unwrap();
    assert_eq!((imported.added, imported.forgotten), (0, 0));
    without_data(&store, "ada", 1, ErrorKind::Forgotten);
    assert_eq!(store.export_keys_on(&safe, "later.keys").unwrap(), 1);
    let imported = restored.import_keys_on(&safe, "later.keys").unwrap();
    assert_eq!((imported.added, imported.forgotten), (0, 1));
    without_data(&restored, "ada", 1, ErrorKind::Forgotten);
    readable(&restored, "bob", 2);
}

#[test]
fn a_file_of_keys_is_whole_or_refused() {
    let (disk, safe) = (SimDisk::new(1), SimDisk::new(2));
    safe.create_root().unwrap();
    let store = talk(&disk);
    store.export_keys_on(&safe, "k").unwrap();
    let file = safe.read_file("k").unwrap();
    let before = store.keys().unwrap();
    for at in 0..file.len() {
        for cut in [false, true] {
            let mut bytes = file.clone();
            bytes[at] ^= 8;
            bytes.truncate(if cut { at } else { bytes.len() });
            safe.write_file("bad", bytes);
            // A cut between two entries is a smaller file of keys.
            let outcome = store.import_keys_on(&safe, "bad").map_err(|error| error.kind());
            let whole = cut && (at == 0 || file[at..].starts_with(b"FLK0"));
            assert_eq!(outcome.is_ok(), whole, "{at}");
            assert!(whole || outcome == Err(ErrorKind::Damaged), "{at}: {outcome:?}");
        }
    }
    assert_eq!(store.keys().unwrap(), before);
    assert_eq!(store.import_keys_on(&safe, "none").unwrap_err().kind(), ErrorKind::NotFound);
}

/// A store without a keyring that is given keys has one from then on.
#[test]
fn a_store_that_is_given_keys_encrypts_from_then_on() {
    let (disk, other, safe) = (SimDisk::new(1), SimDisk::new(2), SimDisk::new(3));
    safe.create_root().unwrap();
    talk(&disk).export_keys_on(&safe, "k").unwrap();
    let store = open(&other).unwrap();
    store.import_keys_on(&safe, "k").unwrap();
    store.append("Person-ada", Expect::Any, [said("ada", 1)]).unwrap();
    assert!(!holds(&other, SECRET.as_bytes()));
    let left = other.after_power_cut(1);
    left.remove_file("keyring");
    let error = open(&left).unwrap().append("A-1", Expect::Any, [said("ada", 2)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "the head says so as well");
}

/// Backups, what is restored from them, and forks hold the log and no keys.
#[test]
fn copies_of_a_store_hold_no_keys_and_take_nothing_in_clear() {
    let disks: Vec<SimDisk> = (1..=5).map(SimDisk::new).collect();
    let arc = |disk: &SimDisk| Arc::new(disk.clone()) as Arc<dyn Disk>;
    let [disk, backup, restored, fork, safe] = &disks[..] else { unreachable!() };
    safe.create_root().unwrap();
    let store = talk(disk);
    let (ada, bob) = (secret_of(disk, "ada"), secret_of(disk, "bob"));
    store.export_keys_on(safe, "before").unwrap();
    store.backup_on(arc(backup), factlog::BackupOptions::default()).unwrap();
    let end = factlog::RestoreTo::End;
    let options = factlog::BranchOptions::default;
    factlog::restore_on(arc(backup), arc(restored), end, options()).unwrap();
    store.fork_on(factlog::Position::new(4), arc(fork), options()).unwrap();
    for copy in [backup, restored, fork] {
        assert!(copy.read_file("keyring").is_none());
        assert!(!holds(copy, &ada) && !holds(copy, &bob) && !holds(copy, SECRET.as_bytes()));
        without_data(&read_only(copy).unwrap(), "ada", 1, ErrorKind::NotFound);
    }
    store.forget("ada").unwrap();
    store.export_keys_on(safe, "after").unwrap();
    for copy in [restored, fork] {
        let store = open(copy).unwrap();
        let error = store.append("Person-ada", Expect::Any, [said("ada", 9)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "the head is a copy too");
        store.import_keys_on(safe, "after").unwrap();
        without_data(&store, "ada", 1, ErrorKind::Forgotten);
        readable(&store, "bob", 2);
        store.import_keys_on(safe, "before").unwrap();
        without_data(&store, "ada", 1, ErrorKind::Forgotten);
    }
}
