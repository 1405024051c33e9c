//! Layer 6.2: whose data is encrypted, with which key, and what of it cannot be read.
//!
//! Knows: when a store has a keyring and when an event must be refused for want of one. Does not
//! know: how keys are kept, or how data is laid out. Nothing that should be encrypted is written in
//! clear, and no event is queued before its key is durable.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::clock::{Clock, monotonic};
use crate::disk::{Disk, RealDisk};
use crate::format::{FileName, Secret, binding_of, key_of, name_of, seal, unseal, with_data};
use crate::log::{KeyState, KeyedFile, KeyringFile, Keys};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, RwLock};
use crate::types::{
    DataState, Error, ErrorKind, EventRef, Result, SUBJECT_MAX, Settings, Timestamp, has_control,
    random_bytes,
};

type Stamp = Option<(Vec<u8>, u64)>;

/// The subjects of a store.
#[derive(Debug)]
pub(crate) struct Subjects {
    disk: Arc<dyn Disk>,
    store: Uuid,
    wrapping: Option<Secret>,
    /// The head says that data of subjects is encrypted.
    encrypts: AtomicBool,
    /// Who only reads looks again this often: keys come, and keys are destroyed.
    looks: Option<Duration>,
    ring: RwLock<Option<KeyringFile>>,
    looked: Mutex<(Option<Instant>, Stamp)>,
}

/// Encrypts one event's data.
pub(crate) struct Sealer {
    key: Uuid,
    secret: Secret,
    pending: bool,
}

impl Sealer {
    /// The key, if it is not durable yet: see [`Subjects::settle`].
    pub(crate) fn pending(&self) -> Option<Uuid> {
        self.pending.then_some(self.key)
    }

    pub(crate) fn seal(&self, binding: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let sealed =
            random_bytes().and_then(|nonce| seal((self.key, &self.secret), nonce, binding, data));
        sealed.ok_or_else(|| Error::new(ErrorKind::Io, "the system has no random numbers"))
    }
}

impl Subjects {
    fn of(disk: &Arc<dyn Disk>, store: Uuid, settings: &Settings) -> Self {
        let keyring = settings.keyring.as_ref();
        let elsewhere = keyring.and_then(|keyring| keyring.directory.as_ref());
        let wrapping = keyring.and_then(|keyring| keyring.wrapping.as_ref());
        Self {
            disk: match elsewhere {
                Some(directory) => Arc::new(RealDisk::new(directory)),
                None => disk.clone(),
            },
            store,
            wrapping: wrapping.map(|key| Secret::new(**key)),
            encrypts: AtomicBool::new(false),
            looks: None,
            ring: RwLock::new(None),
            looked: Mutex::default(),
        }
    }

    /// Of a store opened for writing. `encrypts` is what the head says; it must say yes before the
    /// first event is encrypted.
    pub(crate) fn for_writing(
        disk: &Arc<dyn Disk>,
        store: Uuid,
        settings: &Settings,
        (encrypts, crashed): (bool, bool),
    ) -> Result<Self> {
        let mut subjects = Self::of(disk, store, settings);
        let wanted = settings.keyring.as_ref();
        let begin = wanted.is_some_and(|keyring| keyring.anew || !encrypts);
        let found = KeyringFile::load(&subjects.disk, store, subjects.wrapping.as_ref())?;
        let ring = match found {
            Some(mut ring) => {
                ring.settle_found(crashed)?;
                Some(ring)
            }
            None if begin => Some(subjects.create()?),
            None => None,
        };
        subjects.encrypts = AtomicBool::new(encrypts || ring.is_some());
        subjects.ring = RwLock::new(ring);
        Ok(subjects)
    }

    /// Of a store opened for reading: the keyring is looked for when an event asks for it.
    pub(crate) fn for_reading(disk: &Arc<dyn Disk>, store: Uuid, settings: &Settings) -> Self {
        Self { looks: Some(settings.poll_interval), ..Self::of(disk, store, settings) }
    }

    fn create(&self) -> Result<KeyringFile> {
        let place = self.disk.location();
        let failed = |e| Error::io(format!("cannot make the directory {place}"), e);
        self.disk.create_root().map_err(failed)?;
        KeyringFile::create(&self.disk, self.store, self.wrapping.as_ref())
    }

    /// Whether the head has to say that data of subjects is encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        self.encrypts.load(Ordering::Acquire)
    }

    /// The head says so from now on.
    pub(crate) fn begin(&self) {
        self.encrypts.store(true, Ordering::Release);
    }

    /// What encrypts the next event of a subject; `None` in a store that encrypts nothing.
    ///
    /// # Errors
    /// `NotFound` when this store encrypts and its keyring is not there.
    pub(crate) fn sealer(&self, subject: &str, clock: &dyn Clock) -> Result<Option<Sealer>> {
        // What is no subject at all is refused where events are checked.
        if !self.encrypts()
            || subject.is_empty()
            || subject.len() > SUBJECT_MAX
            || has_control(subject)
        {
            return Ok(None);
        }
        let mut ring = self.ring.write();
        let ring = ring.as_mut().ok_or_else(|| self.missing())?;
        let (key, secret, pending) =
            ring.for_subject(subject, Timestamp::from_micros(clock.now()))?;
        Ok(Some(Sealer { key, secret, pending }))
    }

    /// Makes the keys durable with which events were encrypted.
    pub(crate) fn settle(&self, used: &[Uuid]) -> Result<()> {
        if used.is_empty() {
            return Ok(());
        }
        self.ring.write().as_mut().ok_or_else(|| self.missing())?.settle(used)
    }

    fn missing(&self) -> Error {
        let (name, place) = (name_of(FileName::Keyring), self.disk.location());
        let text = format!(
            "this store encrypts what it keeps of subjects, and there is no {name} in {place}: \
             say where it is, import its keys, or begin a new keyring"
        );
        Error::new(ErrorKind::NotFound, text)
    }

    /// The event as it was given, if its data is encrypted and can be had; otherwise without data,
    /// and knowing why. The data is then in `scratch`.
    ///
    /// # Errors
    /// `Damaged` when the data is not what was encrypted, or the keyring is damaged; `Io`.
    pub(crate) fn open<'a>(
        &self,
        event: EventRef<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<EventRef<'a>> {
        let Some(sealed) = event.sealed() else { return Ok(event) };
        let key = key_of(sealed).unwrap_or_default();
        let found = self.look_up(key).map_err(|error| error.at(event.position()))?;
        let secret = match found {
            Ok(secret) => secret,
            Err(why) => return Ok(event.without_data(why)),
        };
        let data = unseal(&secret, &binding_of(&event), sealed).ok_or_else(|| {
            let text = format!("data of event {} does not decrypt", event.position());
            Error::new(ErrorKind::Damaged, text).at(event.position())
        })?;
        Ok(with_data(event, &data, scratch))
    }

    fn look_up(&self, key: Uuid) -> Result<Result<Secret, DataState>> {
        if let Some(interval) = self.looks {
            self.look(interval)?;
        }
        let found = self.known(key);
        if self.looks.is_some() && matches!(found, Err(DataState::NoKey)) {
            // It may have been made since: a key is durable before its first event is.
            self.look(Duration::ZERO)?;
            return Ok(self.known(key));
        }
        Ok(found)
    }

    fn known(&self, key: Uuid) -> Result<Secret, DataState> {
        let ring = self.ring.read();
        match ring.as_ref().and_then(|ring| ring.keys().get(&key)).map(|entry| &entry.state) {
            Some(KeyState::Here(secret)) => Ok(secret.clone()),
            Some(KeyState::Wrapped(_)) => Err(DataState::Wrapped),
            Some(KeyState::Forgotten(_)) => Err(DataState::Forgotten),
            None => Err(DataState::NoKey),
        }
    }

    /// Reads the keyring again if it is another than the one that was read, unless that was looked
    /// at less than `interval` ago.
    fn look(&self, interval: Duration) -> Result<()> {
        let mut looked = self.looked.lock();
        if looked.0.is_some_and(|at| at.elapsed() < interval) {
            return Ok(());
        }
        let stamp = || KeyedFile::stamp(&*self.disk, FileName::Keyring);
        let mut before = stamp()?;
        while looked.0.is_none() || before != looked.1 {
            let ring = KeyringFile::load(&self.disk, self.store, self.wrapping.as_ref());
            // One that was replaced while it was read may look like anything.
            let after = stamp()?;
            if after == before {
                *self.ring.write() = ring?;
                *looked = (Some(monotonic()), before);
                return Ok(());
            }
            before = after;
        }
        looked.0 = Some(monotonic());
        Ok(())
    }

    /// Destroys a subject's keys.
    pub(crate) fn forget(&self, subject: &str, now: u64) -> Result<(Vec<Uuid>, bool)> {
        let mut ring = self.ring.write();
        let ring = ring.as_mut().ok_or_else(|| self.missing())?;
        ring.forget(subject, Timestamp::from_micros(now))
    }

    /// Every key that is or was there.
    pub(crate) fn keys(&self) -> Result<Keys> {
        if let Some(interval) = self.looks {
            self.look(interval)?;
        }
        let ring = self.ring.read();
        Ok(ring.as_ref().map(|ring| ring.keys().clone()).unwrap_or_default())
    }

    /// Takes keys in; makes the keyring if there is none.
    pub(crate) fn import(&self, keys: Keys) -> Result<(u64, u64)> {
        let mut ring = self.ring.write();
        let ring = match &mut *ring {
            Some(ring) => ring,
            none => none.insert(self.create()?),
        };
        ring.merge(keys)
    }
}
