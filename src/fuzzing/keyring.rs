//! Layer 7.7: the keyring, and files of keys apart.
//!
//! Knows: what must hold for every input. Does not know: which inputs there are.

use super::input::Input;
use super::repair;
use super::segment::STORE;
use crate::disk::{Access, Disk, MemDisk};
use crate::format::{FileName, Secret, name_of};
use crate::log::{KeyState, KeyringFile, read_keys, write_keys};
use crate::sync::Arc;
use crate::types::{ErrorKind, Timestamp};
use uuid::Uuid;

const WRAPPING: [u8; 32] = [7; 32];

/// A keyring, or a file of keys. Input: whether its checksums are made true, whether it is a file
/// of keys, whether a wrapping key is given; then the bytes. What loads can be forgotten: then the
/// marks are all that is left of it, also after loading again, and a new key can be made.
pub fn keyring(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let mut file = input.0.to_vec();
    let apart = how & 2 != 0;
    if how & 1 != 0 {
        let (store, kind) = if apart { (Uuid::nil(), 4) } else { (STORE, 3) };
        repair::keyed(&mut file, store, kind);
    }
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let name = name_of(FileName::Keyring);
    let made = disk.create_root().and_then(|()| disk.open(&name, Access::Create));
    if made.and_then(|made| made.write_at(&file, 0)).is_err() {
        return;
    }
    if apart {
        return keys_apart(&*disk, &name);
    }
    let wrapping = (how & 4 != 0).then(|| Secret::new(WRAPPING));
    let load = || KeyringFile::load(&disk, STORE, wrapping.as_ref());
    let mut ring = match load() {
        Ok(Some(ring)) => ring,
        Ok(None) => return,
        Err(error) => {
            let told = [ErrorKind::Damaged, ErrorKind::Invalid];
            return assert!(told.contains(&error.kind()), "refused as {:?}", error.kind());
        }
    };
    let known: Vec<Uuid> = ring.keys().keys().copied().collect();
    let subjects: Vec<String> = ring.keys().values().map(|entry| entry.subject.clone()).collect();
    let now = Timestamp::from_micros(9);
    for subject in &subjects {
        assert!(ring.forget(subject, now).is_ok(), "a subject that is there is not forgotten");
    }
    let again = load();
    let left = again.as_ref().ok().and_then(Option::as_ref).map(KeyringFile::keys);
    assert!(left.is_some_and(|keys| keys.keys().copied().eq(known.iter().copied())));
    let gone = |keys: &crate::log::Keys| {
        keys.values().all(|entry| matches!(entry.state, KeyState::Forgotten(_)))
    };
    assert!(left.is_some_and(gone), "a key is left");
    if let Ok((id, secret, pending)) = ring.for_subject("one more", now) {
        assert!(pending && ring.settle(&[id]).is_ok());
        let found = load().ok().flatten();
        let found = found.as_ref().and_then(|ring| ring.keys().get(&id)).map(|entry| &entry.state);
        let same = matches!(found, Some(KeyState::Here(kept)) if kept.bytes() == secret.bytes());
        assert!(same, "a durable key is not there");
    }
}

/// What is read is, written again, read as the same.
fn keys_apart(disk: &dyn Disk, name: &str) {
    match read_keys(disk, name) {
        Ok(keys) => match write_keys(disk, "again", &keys) {
            Ok(()) => {
                let again = read_keys(disk, "again").unwrap_or_default();
                assert!(again.keys().eq(keys.keys()), "keys are lost on the way");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "wrapped"),
        },
        Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{error}"),
    }
}

/// A keyring of the fuzzers' store with a key, a forgotten one, and the same as keys apart.
#[cfg(test)]
pub(super) fn seed(wrapping: Option<[u8; 32]>) -> (Vec<u8>, Vec<u8>) {
    let disk = MemDisk::new();
    disk.create_root().unwrap();
    let wrapping = wrapping.map(Secret::new);
    let (shared, now): (Arc<dyn Disk>, _) = (Arc::new(disk.clone()), Timestamp::from_micros(5));
    let mut ring = KeyringFile::create(&shared, STORE, wrapping.as_ref()).unwrap();
    for subject in ["ada", "bob"] {
        let (id, ..) = ring.for_subject(subject, now).unwrap();
        ring.settle(&[id]).unwrap();
    }
    ring.forget("ada", now).unwrap();
    write_keys(&disk, "apart", ring.keys()).unwrap();
    let read = |name: &str| {
        let file = disk.open(name, Access::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    };
    (read("keyring"), read("apart"))
}
