//! Layer 7.5: the verbs of subjects: forget one, list keys, take them out and in.
//!
//! Knows: what each verb means. Does not know: how keys are kept.

use std::path::Path;

use uuid::Uuid;

use super::store::Store;
use crate::disk::{Disk, RealDisk};
use crate::log::{KeyState, read_keys, write_keys};
use crate::types::{Error, Position, Result, Timestamp};

/// What [`Store::forget`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forgotten {
    /// Whose data it was.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// The keys that were destroyed, by their ids, which say nothing about the keys. Empty when
    /// the subject had been forgotten before, and nothing was recorded of it since.
    pub keys: Vec<Uuid>,
    /// Every event of the subject up to this position is without its data now.
    pub through: Position,
    /// Whether the place on disk where the keys had been was overwritten as well. They are gone
    /// from the file in any case.
    pub overwritten: bool,
}

/// A key in the keyring, or the mark of one that was destroyed. Never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Its id, which stands in every event that was encrypted with it.
    pub id: Uuid,
    /// Whose it is.
    pub subject: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was destroyed, if it was.
    pub forgotten_at: Option<Timestamp>,
}

/// What [`Store::import_keys`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeysImported {
    /// Keys that were not in the keyring.
    pub added: u64,
    /// Keys that had been forgotten where they came from, and are now forgotten here.
    pub forgotten: u64,
}

impl Store {
    /// Destroys the keys of a subject, durably: the data of every event that names it is gone for
    /// ever, here and in every copy of the log. The events stay, with position, stream, version,
    /// type, id, tags and metadata; reads tell that they are
    /// [forgotten](crate::EventRef::is_forgotten).
    ///
    /// What is recorded of the subject later gets a new key. What the application has derived from
    /// the data, in snapshots, caches, tables and tags, it must forget itself: see
    /// [the guide](crate::guide::forgetting).
    ///
    /// ```
    /// # use factlog::{Expect, Keyring, NewEvent, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Store::options().keyring(Keyring::beside()).open(dir.path())?;
    /// let moved = NewEvent::json_text("Moved", r#"{"to": "Turin"}"#).subject("ada");
    /// store.append("Person-ada", Expect::Any, [moved])?;
    ///
    /// let receipt = store.forget("ada")?;
    /// assert_eq!((receipt.keys.len(), receipt.through.get()), (1, 1));
    /// let event = store.last_event("Person-ada")?.expect("the event stays");
    /// assert!(event.is_forgotten() && event.data().is_empty());
    /// assert_eq!(event.event_type(), "Moved");
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` when the subject never had a key, or there is no keyring. `DiskFull`: nothing
    /// was forgotten. `InDoubt`: open again and forget again. `Poisoned`, `Closed`, `Io`.
    pub fn forget(&self, subject: &str) -> Result<Forgotten> {
        let (at, keys, overwritten, through) = self.engine().forget(subject)?;
        let (subject, at) = (subject.to_owned(), Timestamp::from_micros(at));
        Ok(Forgotten { subject, at, keys, through, overwritten })
    }

    /// The keys in the keyring and the marks of those that were destroyed, sorted by subject and
    /// time.
    ///
    /// ```
    /// # use factlog::Store;
    /// # let store = Store::in_memory()?;
    /// for key in store.keys()? {
    ///     println!("{} of {}, forgotten: {:?}", key.id, key.subject, key.forgotten_at);
    /// }
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Damaged` when the keyring is, `Closed`, `Io`.
    pub fn keys(&self) -> Result<Vec<KeyInfo>> {
        let keys = self.engine().keys()?.into_iter().map(|(id, entry)| KeyInfo {
            id,
            subject: entry.subject,
            made_at: entry.made_at,
            forgotten_at: match entry.state {
                KeyState::Forgotten(at) => Some(at),
                KeyState::Here(_) | KeyState::Wrapped(_) => None,
            },
        });
        let mut keys: Vec<KeyInfo> = keys.collect();
        keys.sort_by(|a, b| (&a.subject, a.made_at, a.id).cmp(&(&b.subject, b.made_at, b.id)));
        Ok(keys)
    }

    /// Writes every key into a new file, apart from the store and from its backups: whoever has
    /// both can read everything. The keys stand in it as they are, also if the keyring wraps them.
    /// Keep it as long as you keep secrets, and write a new one, and destroy the old, after each
    /// [`Store::forget`]. Answers how many keys are in it.
    ///
    /// ```
    /// # use factlog::{Expect, Keyring, NewEvent, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::options().keyring(Keyring::beside()).open(dir.path().join("store"))?;
    /// # let safe = dir.path();
    /// assert_eq!(store.export_keys(safe.join("orders.keys"))?, 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when the file exists or the keys are wrapped with a key that was not given;
    /// `Damaged`, `DiskFull`, `Closed`, `Io`.
    pub fn export_keys(&self, file: impl AsRef<Path>) -> Result<u64> {
        let (directory, name) = split(file.as_ref())?;
        self.export_keys_on(&directory, &name)
    }

    /// The same into a file of any [`Disk`].
    ///
    /// # Errors
    /// As [`Self::export_keys`].
    pub fn export_keys_on(&self, disk: &dyn Disk, name: &str) -> Result<u64> {
        let keys = self.engine().keys()?;
        write_keys(disk, name, &keys)?;
        let here = |state: &KeyState| !matches!(state, KeyState::Forgotten(_));
        Ok(keys.values().filter(|entry| here(&entry.state)).count() as u64)
    }

    /// Takes the keys of a file in: after a restore, say. A key that was forgotten here stays
    /// forgotten, and one that was forgotten where the file was written is forgotten here too.
    ///
    /// ```
    /// # use factlog::{Expect, Keyring, NewEvent, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = |name| dir.path().join(name);
    /// let store = Store::options().keyring(Keyring::beside()).open(path("store"))?;
    /// let moved = NewEvent::json_text("Moved", "{}").subject("ada");
    /// store.append("Person-ada", Expect::Any, [moved])?;
    /// store.export_keys(path("orders.keys"))?;
    /// store.forget("ada")?;
    /// assert_eq!(store.import_keys(path("orders.keys"))?.added, 0); // gone is gone
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `Damaged` (nothing was taken in); `DiskFull`, `InDoubt`, `Poisoned`, `Closed`,
    /// `Io`.
    pub fn import_keys(&self, file: impl AsRef<Path>) -> Result<KeysImported> {
        let (directory, name) = split(file.as_ref())?;
        self.import_keys_on(&directory, &name)
    }

    /// The same from a file of any [`Disk`].
    ///
    /// # Errors
    /// As [`Self::import_keys`].
    pub fn import_keys_on(&self, disk: &dyn Disk, name: &str) -> Result<KeysImported> {
        let (added, forgotten) = self.engine().import_keys(read_keys(disk, name)?)?;
        Ok(KeysImported { added, forgotten })
    }
}

/// A file's directory and its name there.
fn split(file: &Path) -> Result<(RealDisk, String)> {
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        Error::invalid(format!("{} is not a name for a file of keys", file.display()))
    })?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((RealDisk::new(parent.unwrap_or(Path::new("."))), name.to_owned()))
}
