//! Layer 4.2: the keyring: which keys there are, whose they are, and which were destroyed.
//!
//! Knows: the entries, wrapping, and the order in which a key becomes durable, or is gone. Does not
//! know: events. A destroyed key leaves a mark, so that no copy of it is ever taken in again.
//!
//! ```text
//! about  key: one byte, 0       value: wrapped u8 (0 or 1), of wrapped ones: nothing, encrypted
//! key    key: the key's id, 16  value: state u8 (1 = key, 2 = wrapped key, 3 = forgotten),
//!                               subject length u8, subject, made at u64, forgotten at u64,
//!                               the key: 32 bytes, or those encrypted, or none
//! ```

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::keyed::KeyedFile;
use crate::disk::Disk;
use crate::format::{FileName, Purpose, Put, SECRET_BYTES, Secret, Take, name_of, seal, unseal};
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Result, Timestamp, random_bytes};

const ABOUT: &[u8] = &[0];
const KEY: u8 = 1;
const WRAPPED: u8 = 2;
const FORGOTTEN: u8 = 3;

/// What is known of one key.
#[derive(Debug, Clone)]
pub(crate) struct KeyEntry {
    pub subject: String,
    pub made_at: Timestamp,
    pub state: KeyState,
}

#[derive(Debug, Clone)]
pub(crate) enum KeyState {
    Here(Secret),
    /// Encrypted with a wrapping key that was not given.
    Wrapped(Vec<u8>),
    Forgotten(Timestamp),
}

/// Keys by their ids.
pub(crate) type Keys = BTreeMap<Uuid, KeyEntry>;

/// A keyring file and what it holds.
#[derive(Debug)]
pub(crate) struct KeyringFile {
    file: KeyedFile,
    keys: Keys,
    /// With which key a subject's next event is encrypted.
    newest: HashMap<String, Uuid>,
    /// Made but not durable yet: no event that was encrypted with one may be queued.
    pending: Vec<Uuid>,
    wrapped: bool,
    wrapping: Option<Secret>,
    /// What only the right wrapping key decrypts; kept where that key is not given.
    proof: Vec<u8>,
}

impl KeyringFile {
    /// Reads the keyring in a directory; `None` when there is none.
    ///
    /// # Errors
    /// `Damaged` with the file, `Invalid` when it is not the wrapping key, `Io`.
    pub(crate) fn load(
        disk: &Arc<dyn Disk>,
        store: Uuid,
        wrapping: Option<&Secret>,
    ) -> Result<Option<Self>> {
        if KeyedFile::stamp(&**disk, FileName::Keyring)?.is_none() {
            return Ok(None);
        }
        let mut ring = Self::empty(disk, store, wrapping)?;
        ring.file.refuse_damage()?;
        let entries = ring.file.living()?;
        let name = || name_of(FileName::Keyring);
        // The file was never there without this entry.
        let about = entries.iter().find(|(key, _)| key == ABOUT).map(|(_, value)| &**value);
        let about = about.and_then(<[u8]>::split_first);
        let (flag, proof) = about.ok_or_else(|| {
            Error::damaged(name(), 0, "its first entry does not check, or is of another store")
        })?;
        ring.wrapped = *flag != 0;
        ring.proof = proof.to_vec();
        if ring.wrapped && wrapping.is_some_and(|key| unseal(key, ABOUT, proof).is_none()) {
            let text = "the keys in the keyring are wrapped with another key";
            return Err(Error::invalid(text).in_file(name(), 0));
        }
        for (key, value) in entries.iter().filter(|(key, _)| key != ABOUT) {
            let bad = || Error::damaged(name(), 0, "an entry of the keyring is malformed");
            let id = Take(key).uuid().ok_or_else(bad)?;
            ring.take(id, decode(id, value, wrapping).ok_or_else(bad)?);
        }
        Ok(Some(ring))
    }

    fn empty(disk: &Arc<dyn Disk>, store: Uuid, wrapping: Option<&Secret>) -> Result<Self> {
        let file = KeyedFile::load(disk.clone(), store, FileName::Keyring, Purpose::Keyring)?;
        Ok(Self {
            file,
            keys: Keys::new(),
            newest: HashMap::new(),
            pending: Vec::new(),
            wrapped: wrapping.is_some(),
            wrapping: wrapping.cloned(),
            proof: Vec::new(),
        })
    }

    /// Makes an empty keyring, durably.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        store: Uuid,
        wrapping: Option<&Secret>,
    ) -> Result<Self> {
        let mut ring = Self::empty(disk, store, wrapping)?;
        ring.rewrite(&Keys::new())?;
        Ok(ring)
    }

    /// Makes durable what was found, and wraps what is not wrapped and should be.
    pub(crate) fn settle_found(&mut self, crashed: bool) -> Result<()> {
        self.file.settle(crashed)?;
        if self.wrapping.is_some() && !self.wrapped {
            self.wrapped = true;
            let keys = self.keys.clone();
            self.rewrite(&keys)?;
        }
        Ok(())
    }

    fn take(&mut self, id: Uuid, entry: KeyEntry) {
        let usable = matches!(entry.state, KeyState::Here(_));
        let older =
            |other: &Uuid| self.keys.get(other).is_none_or(|other| other.made_at <= entry.made_at);
        if usable && self.newest.get(&entry.subject).is_none_or(older) {
            self.newest.insert(entry.subject.clone(), id);
        }
        self.keys.insert(id, entry);
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The key for a subject's next event, made now if there is none, and whether it is yet to
    /// become durable.
    pub(crate) fn for_subject(
        &mut self,
        subject: &str,
        now: Timestamp,
    ) -> Result<(Uuid, Secret, bool)> {
        if let Some(id) = self.newest.get(subject)
            && let Some(KeyEntry { state: KeyState::Here(secret), .. }) = self.keys.get(id)
        {
            return Ok((*id, secret.clone(), self.pending.contains(id)));
        }
        if self.wrapped && self.wrapping.is_none() {
            let text = "the keys in the keyring are wrapped: give `Keyring::wrapped_by`";
            return Err(Error::invalid(text));
        }
        let chance = || {
            let text = "the system has no random numbers for a key";
            Error::new(ErrorKind::Io, text)
        };
        let id = Uuid::from_bytes(random_bytes().ok_or_else(chance)?);
        let secret = Secret::new(random_bytes::<SECRET_BYTES>().ok_or_else(chance)?);
        let state = KeyState::Here(secret.clone());
        self.take(id, KeyEntry { subject: subject.to_owned(), made_at: now, state });
        self.pending.push(id);
        Ok((id, secret, true))
    }

    /// Makes these keys durable, and with them all that wait: one sync.
    ///
    /// # Errors
    /// `DiskFull`: nothing was encrypted with them yet that counts. `InDoubt`, `Poisoned`, `Io`.
    pub(crate) fn settle(&mut self, used: &[Uuid]) -> Result<()> {
        let lost = |id: &&Uuid| !self.keys.contains_key(*id);
        if used.iter().any(|id| lost(&id)) {
            let text = "the key of the event's subject could not be kept";
            return Err(Error::new(ErrorKind::DiskFull, text));
        }
        if !used.iter().any(|id| self.pending.contains(id)) {
            return Ok(());
        }
        let encoded = self.pending.iter().filter_map(|id| {
            let entry = self.keys.get(id)?;
            Some(self.encode(*id, entry).map(|value| (*id, value)))
        });
        let encoded = encoded.collect::<Result<Vec<_>>>()?;
        let new: Vec<(&[u8], Option<&[u8]>)> =
            encoded.iter().map(|(id, value)| (&id.as_bytes()[..], Some(&**value))).collect();
        let saved = self.file.put_all(&new);
        for id in std::mem::take(&mut self.pending) {
            // Whoever has encrypted with a key that is not kept must not go on.
            if saved.is_err()
                && let Some(entry) = self.keys.remove(&id)
            {
                self.newest.remove(&entry.subject);
            }
        }
        saved
    }

    /// Destroys every key of a subject: gone from the file, durably, when this returns. Answers
    /// which they were, and whether the bytes they had in the old file were overwritten.
    ///
    /// # Errors
    /// `NotFound` for a subject that never had a key; `DiskFull`, `InDoubt`, `Poisoned`, `Io`.
    pub(crate) fn forget(&mut self, subject: &str, now: Timestamp) -> Result<(Vec<Uuid>, bool)> {
        let mut keys = self.keys.clone();
        let mine = keys.iter_mut().filter(|(_, entry)| entry.subject == subject);
        let (mut destroyed, mut known) = (Vec::new(), false);
        for (id, entry) in mine {
            known = true;
            if !matches!(entry.state, KeyState::Forgotten(_)) {
                entry.state = KeyState::Forgotten(now);
                destroyed.push(*id);
            }
        }
        if !known {
            let text = "there is no key of that subject in the keyring";
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        if destroyed.is_empty() {
            return Ok((destroyed, true));
        }
        let overwritten = self.exchange(keys)?;
        Ok((destroyed, overwritten))
    }

    /// Takes in keys that were exported. What was forgotten here or there is forgotten. Answers
    /// how many keys were not known, and how many are forgotten now that were not.
    pub(crate) fn merge(&mut self, given: Keys) -> Result<(u64, u64)> {
        let (mut keys, mut added, mut forgotten) = (self.keys.clone(), 0, 0);
        for (id, entry) in given {
            let gone = matches!(entry.state, KeyState::Forgotten(_));
            match keys.get(&id).map(|known| &known.state) {
                None if gone => forgotten += 1,
                None => added += 1,
                Some(KeyState::Here(_) | KeyState::Wrapped(_)) if gone => forgotten += 1,
                Some(KeyState::Wrapped(_)) if matches!(entry.state, KeyState::Here(_)) => {}
                Some(_) => continue,
            }
            keys.insert(id, entry);
        }
        self.exchange(keys)?;
        Ok((added, forgotten))
    }

    /// Puts a file with these keys in the place of the old one.
    fn exchange(&mut self, keys: Keys) -> Result<bool> {
        let overwritten = self.rewrite(&keys)?;
        self.pending.clear();
        self.keys.clear();
        self.newest.clear();
        for (id, entry) in keys {
            self.take(id, entry);
        }
        Ok(overwritten)
    }

    fn rewrite(&mut self, keys: &Keys) -> Result<bool> {
        if let Some(wrapping) = self.wrapping.as_ref().filter(|_| self.wrapped) {
            self.proof = encrypted(wrapping, ABOUT, &[])?;
        }
        let about = [&[u8::from(self.wrapped)], &*self.proof].concat();
        let mut entries = vec![(ABOUT.to_vec(), about)];
        for (id, entry) in keys {
            entries.push((id.as_bytes().to_vec(), self.encode(*id, entry)?));
        }
        self.file.replace(&entries)
    }

    fn encode(&self, id: Uuid, entry: &KeyEntry) -> Result<Vec<u8>> {
        let wrapping = self.wrapping.as_ref().filter(|_| self.wrapped);
        encode(id, entry, wrapping)
    }
}

/// An entry's value; its key wrapped if there is what wraps it.
pub(super) fn encode(id: Uuid, entry: &KeyEntry, wrapping: Option<&Secret>) -> Result<Vec<u8>> {
    let (state, forgotten_at, key) = match (&entry.state, wrapping) {
        (KeyState::Here(secret), None) => (KEY, 0, secret.bytes().to_vec()),
        (KeyState::Here(secret), Some(wrapping)) => {
            (WRAPPED, 0, encrypted(wrapping, id.as_bytes(), secret.bytes())?)
        }
        (KeyState::Wrapped(bytes), _) => (WRAPPED, 0, bytes.clone()),
        (KeyState::Forgotten(at), _) => (FORGOTTEN, at.micros(), Vec::new()),
    };
    let mut out = vec![state, u8::try_from(entry.subject.len()).unwrap_or(u8::MAX)];
    out.put(entry.subject.as_bytes());
    out.put_u64(entry.made_at.micros());
    out.put_u64(forgotten_at);
    out.put(&key);
    Ok(out)
}

fn encrypted(wrapping: &Secret, binding: &[u8], secret: &[u8]) -> Result<Vec<u8>> {
    let nonce = random_bytes();
    let sealed = nonce.and_then(|nonce| seal((Uuid::nil(), wrapping), nonce, binding, secret));
    sealed.ok_or_else(|| Error::new(ErrorKind::Io, "the system has no random numbers for a key"))
}

/// What an entry says; `None` when this code could not have written it.
pub(super) fn decode(id: Uuid, value: &[u8], wrapping: Option<&Secret>) -> Option<KeyEntry> {
    let mut take = Take(value);
    let state = take.u8()?;
    let length = take.u8()?;
    let subject = std::str::from_utf8(take.slice(length.into())?).ok()?.to_owned();
    let made_at = Timestamp::from_micros(take.u64()?);
    let forgotten_at = Timestamp::from_micros(take.u64()?);
    let state = match (state, wrapping) {
        (KEY, _) => KeyState::Here(Secret::of(take.0)?),
        (WRAPPED, None) => KeyState::Wrapped(take.0.to_vec()),
        (WRAPPED, Some(wrapping)) => {
            KeyState::Here(Secret::of(&unseal(wrapping, id.as_bytes(), take.0)?)?)
        }
        (FORGOTTEN, _) if take.0.is_empty() => KeyState::Forgotten(forgotten_at),
        _ => return None,
    };
    Some(KeyEntry { subject, made_at, state })
}
