//! Layer 4.1: a file of keyed entries, newest per key (saved checkpoints, snapshots, keys).
//!
//! Knows: appending, syncing, throwing dead entries away by a rewrite. Does not know: what keys and
//! values mean. Written ends are never overwritten: behind a torn entry the file is rewritten
//! first.

use std::collections::HashMap;

use uuid::Uuid;

use super::files::{create_temporary, failed, put_in_place, wipe, wipe_leftover};
use crate::disk::{Access, Disk, DiskFile};
use crate::format::{
    FileName, KEYED_ALIGN, KEYED_VALUE_MAX, KeyedEntry, KeyedStep, Purpose, encode_keyed,
    keyed_seed, keyed_step, name_of,
};
use crate::segment::FileSource;
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Result};

/// Dead bytes are thrown away when they outweigh the living and this much.
const REWRITE_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    end: u64,
    removed: bool,
}

/// One keyed file.
#[derive(Debug)]
pub(crate) struct KeyedFile {
    disk: Arc<dyn Disk>,
    seed: u32,
    name: String,
    purpose: Purpose,
    file: Option<Arc<dyn DiskFile>>,
    entries: HashMap<Vec<u8>, Entry>,
    sequence: u64,
    end: u64,
    /// How long the file was when it was read.
    size: u64,
    /// The file does not end cleanly at `end`: rewrite before the next entry.
    ragged: bool,
    /// The first entry that does not check although later ones do.
    damaged: Option<u64>,
    failed: Option<Error>,
}

impl KeyedFile {
    /// Reads the file; one that does not exist is empty.
    pub(crate) fn load(
        disk: Arc<dyn Disk>,
        store: Uuid,
        file: FileName,
        purpose: Purpose,
    ) -> Result<Self> {
        let name = name_of(file);
        let mut keyed = Self {
            seed: seed_of(store, purpose),
            purpose,
            file: None,
            entries: HashMap::new(),
            sequence: 0,
            end: 0,
            size: 0,
            ragged: false,
            damaged: None,
            failed: None,
            name,
            disk,
        };
        keyed.read()?;
        Ok(keyed)
    }

    /// Makes the file anew out of these entries, each key once; without any there is no file.
    pub(crate) fn make(
        disk: &dyn Disk,
        store: Uuid,
        (file, purpose): (FileName, Purpose),
        entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<()> {
        let seed = keyed_seed(store, u8::from(purpose == Purpose::Snapshots) + 1);
        let temporary = name_of(FileName::Temporary(purpose));
        let (mut into, mut offset) = (None, 0);
        for (sequence, (key, value)) in (1..).zip(entries) {
            let file = match &into {
                Some(file) => file,
                None => into.insert(create_temporary(disk, &temporary)?),
            };
            let entry = KeyedEntry { sequence, key: &key, value: Some(&value), end: 0 };
            let bytes = encode_keyed(seed, offset, &entry);
            file.write_at(&bytes, offset).map_err(failed("write", &temporary))?;
            offset += bytes.len() as u64;
        }
        let Some(into) = into else { return Ok(()) };
        into.sync().map_err(failed("sync", &temporary))?;
        put_in_place(disk, &temporary, &name_of(file))
    }

    fn read(&mut self) -> Result<()> {
        let file = match self.disk.open(&self.name, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("open", &self.name))?,
        };
        let size = file.size().map_err(failed("read", &self.name))?;
        let mut source = FileSource::new(file, u64::MAX);
        let (mut at, mut bad_from) = (0, None);
        while at < size {
            match keyed_step(&mut source, self.seed, at).map_err(failed("read", &self.name))? {
                KeyedStep::Entry(entry) => {
                    if let Some(bad) = bad_from.take() {
                        self.damaged = self.damaged.or(Some(bad));
                    }
                    let place =
                        Entry { offset: at, end: entry.end, removed: entry.value.is_none() };
                    self.sequence = self.sequence.max(entry.sequence);
                    self.entries.insert(entry.key.to_vec(), place);
                    at = entry.end;
                    self.end = at;
                }
                KeyedStep::End => break,
                KeyedStep::Bad => {
                    bad_from = bad_from.or(Some(at));
                    at += KEYED_ALIGN;
                }
            }
        }
        self.size = size;
        self.ragged = self.end != size || self.damaged.is_some();
        Ok(())
    }

    /// Makes durable what was found: a writer that was killed may have left entries that only the
    /// page cache holds, and what has been answered must not go back in a power cut. After a crash
    /// even a sync is no proof: the pages of one that failed may be in the cache and count as
    /// written. So checkpoints and keys are then copied into a new file; snapshots may be large,
    /// and may be lost.
    pub(crate) fn settle(&mut self, crashed: bool) -> Result<()> {
        let file = match self.disk.open(&self.name, Access::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("open", &self.name))?,
        };
        if planted!(SavedEntriesNotSettled) {
            return Ok(());
        }
        // Also an empty file: a cut that is not durable brings entries back.
        file.sync().map_err(failed("sync", &self.name))?;
        self.file = Some(file);
        let copied = crashed && self.purpose != Purpose::Snapshots && self.end > 0;
        if copied && self.damaged.is_none() && !planted!(SavedEntriesNotCopied) {
            self.rewrite()?;
        }
        Ok(())
    }

    /// The first byte that does not check although later entries do: acknowledged bytes are
    /// damaged.
    pub(crate) fn refuse_damage(&self) -> Result<()> {
        match self.damaged {
            Some(offset) => Err(Error::damaged(&*self.name, offset, "saved entry does not check")),
            None => Ok(()),
        }
    }

    /// Whether something follows the last entry that checks.
    pub(crate) fn is_torn(&self) -> bool {
        self.ragged
    }

    /// Where that begins, and how many bytes it has.
    pub(crate) fn torn_end(&self) -> Option<(u64, u64)> {
        self.ragged.then_some((self.end, self.size.saturating_sub(self.end)))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(entry) = self.entries.get(key).filter(|entry| !entry.removed) else {
            return Ok(None);
        };
        let file = self.disk.open(&self.name, Access::Read).map_err(failed("open", &self.name))?;
        let mut source = FileSource::sparing(file, entry.end);
        match keyed_step(&mut source, self.seed, entry.offset)
            .map_err(failed("read", &self.name))?
        {
            KeyedStep::Entry(found) if found.key == key => Ok(found.value.map(<[u8]>::to_vec)),
            _ => Err(Error::damaged(&*self.name, entry.offset, "saved entry does not check")),
        }
    }

    /// Every living key with its value, in the order in which they stand in the file.
    pub(crate) fn living(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let living = self.entries.iter().filter(|(_, entry)| !entry.removed);
        let mut places: Vec<_> = living.map(|(key, entry)| (entry.offset, key)).collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        places.sort_unstable();
        let file = self.disk.open(&self.name, Access::Read).map_err(failed("open", &self.name))?;
        let mut source = FileSource::new(file, self.end);
        let mut all = Vec::with_capacity(places.len());
        for (offset, key) in places {
            match keyed_step(&mut source, self.seed, offset).map_err(failed("read", &self.name))? {
                KeyedStep::Entry(KeyedEntry { key: found, value: Some(value), .. })
                    if found == key =>
                {
                    all.push((key.clone(), value.to_vec()));
                }
                _ => return Err(Error::damaged(&*self.name, offset, "saved entry does not check")),
            }
        }
        Ok(all)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(|(_, entry)| !entry.removed).map(|(key, _)| key.as_slice())
    }

    /// Saves a value (or its removal); durable when this returns.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.put_all(&[(key, value)])
    }

    /// Saves several with one sync; after a crash there may be the first few of them.
    pub(crate) fn put_all(&mut self, new: &[(&[u8], Option<&[u8]>)]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let given = new.iter().filter_map(|(_, value)| *value).map(<[u8]>::len).max().unwrap_or(0);
        if given > KEYED_VALUE_MAX {
            let text = format!("saved value has {given} bytes, allowed are {KEYED_VALUE_MAX}");
            return Err(Error::invalid(text));
        }
        if self.ragged || self.mostly_dead() {
            self.rewrite()?;
        }
        let file = self.open_for_writing()?;
        let (mut bytes, mut placed, mut sequence) = (Vec::new(), Vec::new(), self.sequence);
        for (key, value) in new {
            sequence += 1;
            let offset = self.end + bytes.len() as u64;
            let entry = KeyedEntry { sequence, key, value: *value, end: 0 };
            bytes.append(&mut encode_keyed(self.seed, offset, &entry));
            let end = self.end + bytes.len() as u64;
            placed.push((key.to_vec(), Entry { offset, end, removed: value.is_none() }));
        }
        let unsynced = planted!(KeyNotSynced) && self.purpose == Purpose::Keyring;
        let sync = || if unsynced { Ok(()) } else { file.sync() };
        let written = file
            .write_at(&bytes, self.end)
            .map_err(|error| (true, failed("write", &self.name)(error)))
            .and_then(|()| sync().map_err(|e| (false, failed("sync", &self.name)(e))));
        if let Err((before_sync, error)) = written {
            return Err(self.take_back(&file, before_sync, error));
        }
        self.end += bytes.len() as u64;
        self.sequence = sequence;
        self.entries.extend(placed);
        Ok(())
    }

    /// After a failed write: a full disk is a clean refusal if the bytes can be cut off durably;
    /// anything else ends writing until the store is opened again.
    fn take_back(&mut self, file: &Arc<dyn DiskFile>, before_sync: bool, error: Error) -> Error {
        let refused = before_sync
            && error.kind() == ErrorKind::DiskFull
            && file.set_size(self.end).and_then(|()| file.sync()).is_ok();
        if refused {
            return error;
        }
        if !before_sync {
            // The cache would show it to the next process, though a power cut may take it away.
            let _ = file.set_size(self.end);
        }
        self.give_up(error)
    }

    /// Ends writing until the store is opened again: what is on disk is not known.
    fn give_up(&mut self, error: Error) -> Error {
        let text = format!("an earlier write to {} failed", self.name);
        self.failed = Some(Error::new(ErrorKind::Poisoned, text).because(error.clone()));
        Error::new(ErrorKind::InDoubt, format!("cannot save to {}", self.name)).because(error)
    }

    fn open_for_writing(&mut self) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = match self.disk.open(&self.name, Access::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = self.disk.open(&self.name, Access::Create);
                let file = file.map_err(failed("create", &self.name))?;
                let named = match planted!(CheckpointNameNotSynced) {
                    true => Ok(()),
                    false => self.disk.sync_dir(),
                };
                let what = "sync the directory after making";
                named.map_err(failed(what, &self.name)).map_err(|error| self.give_up(error))?;
                file
            }
            other => other.map_err(failed("open", &self.name))?,
        };
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Shows every entry that is still in the file, oldest first; `None` for a removal.
    pub(crate) fn each(&self, mut visit: impl FnMut(&[u8], Option<&[u8]>)) -> Result<()> {
        let file = match self.disk.open(&self.name, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("open", &self.name))?,
        };
        let mut source = FileSource::new(file, self.end);
        let mut at = 0;
        while at < self.end {
            match keyed_step(&mut source, self.seed, at).map_err(failed("read", &self.name))? {
                KeyedStep::Entry(entry) => {
                    visit(entry.key, entry.value);
                    at = entry.end;
                }
                KeyedStep::Bad => at += KEYED_ALIGN,
                KeyedStep::End => break,
            }
        }
        Ok(())
    }

    fn mostly_dead(&self) -> bool {
        let living: u64 = self.entries.values().map(|entry| entry.end - entry.offset).sum();
        self.end > REWRITE_BYTES && self.end > 2 * living
    }

    /// Writes the living entries into a new file. A damaged one is kept out; the caller has been
    /// told by `refuse_damage`.
    pub(super) fn rewrite(&mut self) -> Result<()> {
        let mut living = self.living()?;
        living.sort_unstable();
        self.replace(&living).map(drop)
    }

    /// Puts a new file with exactly these entries in the place of the old one, durably. Answers
    /// whether the bytes of the old one were overwritten, which is done where they are secret.
    pub(crate) fn replace(&mut self, living: &[(Vec<u8>, Vec<u8>)]) -> Result<bool> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let (mut parts, mut entries, mut sequence) = (Vec::new(), HashMap::new(), self.sequence);
        for (key, value) in living {
            sequence += 1;
            let offset = parts.len() as u64;
            let entry = KeyedEntry { sequence, key, value: Some(value), end: 0 };
            parts.append(&mut encode_keyed(self.seed, offset, &entry));
            let end = parts.len() as u64;
            entries.insert(key.clone(), Entry { offset, end, removed: false });
        }
        let secret = self.purpose == Purpose::Keyring;
        let temporary = name_of(FileName::Temporary(self.purpose));
        if secret {
            wipe_leftover(&*self.disk, &temporary);
        }
        let file = create_temporary(&*self.disk, &temporary)?;
        file.write_at(&parts, 0).map_err(failed("write", &temporary))?;
        if !planted!(ForgottenUnsynced) {
            file.sync().map_err(failed("sync", &temporary))?;
        }
        // Opened while it has its name; it lives on without it.
        let old = secret.then(|| self.disk.open(&self.name, Access::Write).ok()).flatten();
        self.file = None;
        put_in_place(&*self.disk, &temporary, &self.name).map_err(|error| self.give_up(error))?;
        (self.entries, self.sequence, self.end) = (entries, sequence, parts.len() as u64);
        (self.ragged, self.damaged) = (false, None);
        // The new file is durable, so the old bytes are nobody's any more.
        Ok(old.is_some_and(|old| planted!(KeyBytesLeft) || wipe(&*old).is_ok()))
    }

    /// What tells one state of the file from another: the first entry, which a new file has anew,
    /// and the size, with which it grows. `None` without a file.
    pub(crate) fn stamp(disk: &dyn Disk, file: FileName) -> Result<Option<(Vec<u8>, u64)>> {
        let name = name_of(file);
        let opened = match disk.open(&name, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open", &name))?,
        };
        let mut first = vec![0; 32];
        let read = opened.read_at(&mut first, 0).map_err(failed("read", &name))?;
        first.truncate(read);
        Ok(Some((first, opened.size().map_err(failed("read", &name))?)))
    }
}

/// A keyed file written anew for another store, entry by entry, and put in place when it is whole.
pub(crate) struct KeyedCopy<'a> {
    disk: &'a dyn Disk,
    seed: u32,
    name: String,
    temporary: String,
    file: Option<Arc<dyn DiskFile>>,
    sequence: u64,
    end: u64,
}

impl<'a> KeyedCopy<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, store: Uuid, file: FileName, purpose: Purpose) -> Self {
        Self {
            disk,
            seed: seed_of(store, purpose),
            name: name_of(file),
            temporary: name_of(FileName::Temporary(purpose)),
            file: None,
            sequence: 0,
            end: 0,
        }
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(create_temporary(self.disk, &self.temporary)?),
        };
        self.sequence += 1;
        let entry = KeyedEntry { sequence: self.sequence, key, value: Some(value), end: 0 };
        let bytes = encode_keyed(self.seed, self.end, &entry);
        file.write_at(&bytes, self.end).map_err(failed("write", &self.temporary))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Puts it in place of what has the name; without entries there is no file. Answers how many
    /// entries there are.
    pub(crate) fn finish(self) -> Result<u64> {
        if let Some(file) = &self.file {
            file.sync().map_err(failed("sync", &self.temporary))?;
            put_in_place(self.disk, &self.temporary, &self.name)?;
            return Ok(self.sequence);
        }
        match self.disk.remove(&self.name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(failed("remove", &self.name)(error)),
            Ok(()) => {
                let synced = self.disk.sync_dir();
                synced.map_err(failed("sync the directory of", &self.name)).map(|()| 0)
            }
        }
    }
}

/// The byte in it keeps one kind of file from passing for another.
fn seed_of(store: Uuid, purpose: Purpose) -> u32 {
    let kind = match purpose {
        Purpose::Snapshots => 2,
        Purpose::Keyring => 3,
        _ => 1,
    };
    keyed_seed(store, kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    fn load(disk: &SimDisk) -> KeyedFile {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        disk.create_root().unwrap();
        KeyedFile::load(disk, Uuid::from_u128(1), FileName::Checkpoints, Purpose::Checkpoints)
            .unwrap()
    }

    #[test]
    fn the_newest_value_per_key_survives_a_power_cut() {
        let disk = SimDisk::new(1);
        let mut file = load(&disk);
        file.put(b"a", Some(b"1")).unwrap();
        file.put(b"b", Some(b"2")).unwrap();
        file.put(b"a", Some(b"3")).unwrap();
        file.put(b"b", None).unwrap();
        for seed in 0..50 {
            let file = load(&disk.after_power_cut(seed));
            assert_eq!(file.get(b"a").unwrap().as_deref(), Some(b"3".as_slice()));
            assert_eq!(file.get(b"b").unwrap(), None);
        }
    }

    #[test]
    fn a_torn_entry_leaves_the_one_before_it_and_does_not_stop_later_ones() {
        let disk = SimDisk::new(1);
        let mut file = load(&disk);
        file.put(b"a", Some(b"1")).unwrap();
        file.put(b"a", Some(b"2")).unwrap();
        let bytes = disk.read_file("checkpoints").unwrap();
        for cut in bytes.len() / 2 + 1..bytes.len() {
            let torn = disk.copy();
            torn.write_file("checkpoints", bytes[..cut].to_vec());
            let mut file = load(&torn);
            file.refuse_damage().unwrap();
            assert_eq!(file.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
            file.put(b"a", Some(b"4")).unwrap();
            assert_eq!(load(&torn).get(b"a").unwrap().as_deref(), Some(b"4".as_slice()));
        }
    }

    #[test]
    fn damage_before_later_entries_is_told() {
        let disk = SimDisk::new(1);
        let mut file = load(&disk);
        file.put(b"a", Some(b"1")).unwrap();
        file.put(b"b", Some(b"2")).unwrap();
        disk.flip_bit("checkpoints", 20, 3);
        let error = load(&disk).refuse_damage().unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Damaged, Some(0)));
    }

    #[test]
    fn dead_entries_are_thrown_away() {
        let disk = SimDisk::new(1);
        let mut file = load(&disk);
        let value = vec![7; 100_000];
        for _ in 0..60 {
            file.put(b"a", Some(&value)).unwrap();
        }
        assert!(disk.read_file("checkpoints").unwrap().len() < 2_000_000);
        assert_eq!(load(&disk).get(b"a").unwrap(), Some(value));
    }
}
