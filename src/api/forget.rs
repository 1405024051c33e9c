//! Layer 7.5: the verbs of subjects: forget one, list keys, take them out and in.
//!
//! Knows: what each verb means. Does not know: how keys are kept.

use std::path::Path;

use uuid::Uuid;

use super::store::Store;
use crate::disk::{Disk, RealDisk};
use crate::log::{KeyState, read_keys, write_keys};
use crate::types::{Error, ErrorKind, InClear, Position, Result, Timestamp};

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
    /// What was stored in the clear, and is not forgotten.
    pub in_clear: InClear,
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
    /// Events that were stored in the clear are not forgotten: the receipt counts them, for which
    /// the whole log is read. Of a subject that has only such events it names no key.
    ///
    /// # Errors
    /// `NotFound` when the subject never had a key and no event in the clear, or there should be a
    /// keyring and is none. `DiskFull`: nothing was forgotten. `InDoubt`: open again and forget
    /// again. `Poisoned`, `Closed`, `Io`.
    pub fn forget(&self, subject: &str) -> Result<Forgotten> {
        let engine = self.engine();
        let (destroyed, in_clear) = match engine.forget(subject) {
            Err(error) if error.kind() == ErrorKind::NotFound && !engine.lacks_keyring() => {
                let in_clear = self.in_clear(subject)?;
                if in_clear.events == 0 {
                    return Err(error);
                }
                let nothing = (engine.clock.now(), Vec::new(), true, self.last_position());
                (nothing, in_clear)
            }
            // The keys are destroyed: a receipt there must be.
            destroyed => (destroyed?, self.in_clear(subject).unwrap_or(InClear::of([None]))),
        };
        let (at, keys, overwritten, through) = destroyed;
        let (subject, at) = (subject.to_owned(), Timestamp::from_micros(at));
        Ok(Forgotten { subject, at, keys, through, overwritten, in_clear })
    }

    /// How much of a subject is stored in the clear, and cannot be forgotten: appended before the
    /// store had a keyring, or with
    /// [`subjects_in_clear`](crate::Options::subjects_in_clear). Reads the whole log.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// let store = Store::options().subjects_in_clear(true).in_memory()?;
    /// let moved = NewEvent::json_text("Moved", r#"{"to": "Turin"}"#).subject("ada");
    /// store.append("Person-ada", Expect::Any, [moved])?;
    /// assert_eq!(store.in_clear("ada")?.events, 1);
    /// assert_eq!(store.in_clear("bob")?.events, 0);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`, `Io`. Damage is stepped over, and told by [`InClear::whole`].
    pub fn in_clear(&self, subject: &str) -> Result<InClear> {
        let mut failed = None;
        let events = self.read_all().into_iter().filter_map(|event| match event {
            Ok(event) => {
                let counts = event.subject() == Some(subject) && event.is_in_clear();
                counts.then(|| Some(event.position()))
            }
            Err(error) if error.kind() == ErrorKind::Damaged => Some(None),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let found = InClear::of(events);
        failed.map_or(Ok(found), Err)
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
