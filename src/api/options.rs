//! Layer 7.5: how a store is opened.
//!
//! Knows: every choice, its default and its unit. Does not know: how it is carried out.

use std::path::Path;
use std::time::Duration;

use super::store::Store;
use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, MemDisk, RealDisk};
use crate::engine::{open_follower, open_writer, salvage};
use crate::sync::Arc;
#[cfg(feature = "forget")]
use crate::types::Keyring;
use crate::types::{Durability, Error, ErrorKind, IdScope, Recovery, Result, Salvaged, Settings};

/// How a store is opened; see [`Store::options`]. Nothing here can panic: what does not fit
/// together is an `Invalid` error of `open`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use factlog::{Durability, Store};
/// let store = Store::options()
///     .durability(Durability::Sync)
///     .segment_bytes(16 << 20)
///     .open(dir.path().join("orders"))?;
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    settings: Settings,
    create: bool,
    clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { settings: Settings::default(), create: true, clock: Arc::new(SystemClock) }
    }
}

impl Options {
    /// When an append is answered, and what a power cut may take. A store can be opened with
    /// another mode each time. Default: [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// Within what an event id is unique. Counts only when the store is made. Default: the store.
    pub fn id_scope(mut self, scope: IdScope) -> Self {
        self.settings.id_scope = scope;
        self
    }

    /// What opening for writing does about damage. Default: [`Recovery::Refuse`].
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.settings.recovery = recovery;
        self
    }

    /// Size of a segment file in bytes, 16 KiB to just below 4 GiB. Default: 64 MiB.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.settings.segment_bytes = bytes;
        self
    }

    /// Most bytes of data in one event, up to 64 MiB. Default: 1 MiB.
    pub fn event_data_max(mut self, bytes: usize) -> Self {
        self.settings.limits.event_data_max = bytes;
        self
    }

    /// What may wait to be committed before appenders feel backpressure, in bytes and in batches.
    /// Default: 64 MiB, 16,384.
    pub fn queue(mut self, bytes: usize, batches: usize) -> Self {
        self.settings.limits.queue_bytes = bytes;
        self.settings.limits.queue_batches = batches;
        self
    }

    /// Whether the store is made when the directory is absent or empty. Default: true.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Makes every index from the log alone, ignoring sidecars. Default: false.
    pub fn rebuild_index(mut self, rebuild: bool) -> Self {
        self.settings.rebuild_index = rebuild;
        self
    }

    /// Whether sealed segments are mapped into memory or read with positioned reads. Mapped, a
    /// foreign truncation of a file kills this process. Default: true.
    pub fn map_segments(mut self, map: bool) -> Self {
        self.settings.map_segments = map;
        self
    }

    /// Begins every commit on a 4096-byte block of its own, for disks that may damage bytes beside
    /// those being written when the power fails. Costs up to a block per commit. Default: false.
    pub fn align_commit(mut self, align: bool) -> Self {
        self.settings.align_commit = align;
        self
    }

    /// Whether the store has threads of its own to prepare space, make sidecars and commit batches
    /// nobody waits for. Without them the callers do that work, which makes tests repeatable; a
    /// submitted batch is then committed when its ticket is waited for,
    /// [`Durability::Interval`] is not kept by any timer, and a read-only store stays as it was
    /// when it was opened. Default: true.
    pub fn background_threads(mut self, background: bool) -> Self {
        self.settings.background = background;
        self
    }

    /// What readers of a salvaged store are told about positions whose events were lost. Nobody
    /// knows whose they were, so by default each is a `Damaged` error to every read that may have
    /// wanted it, to conditions, and to questions about streams that may have gone on there.
    /// Accepted, they are stepped over, and are an error only to who asks for such a position or
    /// version.
    /// A store that was never salvaged has none. Default: false.
    ///
    /// ```
    /// # use factlog::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let salvaged = dir.path().join("salvaged");
    /// let store = Store::options().accept_lost(true).open(&salvaged)?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn accept_lost(mut self, accept: bool) -> Self {
        self.settings.accept_lost = accept;
        self
    }

    /// How often a read-only store looks for what another process has written. Default: 1 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Encrypts the data of every event that names a subject, with a key of that subject's that
    /// [`Store::forget`] can destroy. A keyring beside the log is used also when nothing is said
    /// here, so that what was begun encrypted is never gone on with in clear.
    ///
    /// ```
    /// # use factlog::{Expect, Keyring, NewEvent, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Store::options().keyring(Keyring::beside()).open(dir.path())?;
    /// let moved = NewEvent::json_text("Moved", r#"{"to": "Turin"}"#).subject("ada");
    /// store.append("Person-ada", Expect::Any, [moved])?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    #[cfg(feature = "forget")]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.settings.keyring = Some(keyring);
        self
    }

    /// Also takes events that name a subject when nothing encrypts them, because the store has no
    /// keyring: their data is stored in the clear, and [cannot be
    /// forgotten](crate::guide::forgetting). Without this they are refused. A store that has a
    /// keyring encrypts whatever is said here.
    ///
    /// ```
    /// # use factlog::{ErrorKind, Expect, NewEvent, Store};
    /// let moved = || NewEvent::json_text("Moved", r#"{"to": "Turin"}"#).subject("ada");
    /// let refused = Store::in_memory()?.append("Person-ada", Expect::Any, [moved()]);
    /// assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Invalid));
    ///
    /// let store = Store::options().subjects_in_clear(true).in_memory()?;
    /// store.append("Person-ada", Expect::Any, [moved()])?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    pub fn subjects_in_clear(mut self, allow: bool) -> Self {
        self.settings.subjects_in_clear = allow;
        self
    }

    /// Where the time comes from. Default: the operating system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(super) fn segment_bytes_wanted(&self) -> u64 {
        self.settings.segment_bytes
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(super) fn salvage_into(
        self,
        from: Arc<dyn Disk>,
        to: &Arc<dyn Disk>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Salvaged> {
        self.settings.check()?;
        salvage(from, to, (&self.settings, self.clock.now()), progress)
    }

    /// Opens the store in a directory for writing; there is one writer at a time.
    ///
    /// # Errors
    /// `Locked`, `Damaged`, `Unsupported`, `NotFound` (with `create(false)`), `Invalid`, `Io`.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        self.open_on(Arc::new(RealDisk::new(path.as_ref())))
    }

    /// Opens the store in a directory for reading, beside a writer in another process or alone.
    /// Takes no lock, writes nothing, follows the writer, and works around damage, which its
    /// [`Store::open_report`] lists.
    ///
    /// ```
    /// # use factlog::{Store};
    /// # use std::time::Duration;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// Store::open(path)?.close()?;
    /// let options = Store::options().map_segments(false).poll_interval(Duration::from_millis(10));
    /// let reader = options.open_read_only(path)?;
    /// assert!(reader.open_report().clean);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `Damaged` (when not even the head checks), `Unsupported`, `Io`.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Store> {
        self.open_read_only_on(Arc::new(RealDisk::new(path.as_ref())))
    }

    /// Opens a store in memory: nothing survives its last handle.
    ///
    /// # Errors
    /// `Invalid` when the options do not fit together.
    pub fn in_memory(self) -> Result<Store> {
        self.open_on(Arc::new(MemDisk::new()))
    }

    /// Opens the store on any [`Disk`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use factlog::{Store, disk::MemDisk};
    /// let disk = MemDisk::new();
    /// Store::options().open_on(Arc::new(disk.clone()))?.close()?;
    /// let again = Store::options().create(false).open_on(Arc::new(disk))?;
    /// assert!(again.open_report().clean);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_on(self, disk: Arc<dyn Disk>) -> Result<Store> {
        if !self.create && !holds_store(&*disk)? {
            let text = format!("there is no store in {}", disk.location());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let started = open_writer(disk, self.clock, self.settings)?;
        Ok(Store::of(started.engine, started.threads))
    }

    /// Opens the store on any [`Disk`] for reading.
    ///
    /// # Errors
    /// As [`Options::open_read_only`].
    pub fn open_read_only_on(self, disk: Arc<dyn Disk>) -> Result<Store> {
        let started = open_follower(disk, self.clock, self.settings)?;
        Ok(Store::of(started.engine, started.threads))
    }
}

impl Store {
    /// Opens the store in a directory for writing, with safe defaults; makes it when the directory
    /// is absent or empty.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::default().open(path)
    }

    /// Opens the store in a directory for reading, beside a writer in another process or alone.
    ///
    /// ```
    /// # use factlog::{Delivery, Expect, NewEvent, Source, Start, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let writer = Store::open(path)?;
    /// let reader = Store::open_read_only(path)?; // in this process or another
    /// writer.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let mut all = reader.subscribe(Source::All).start(Start::Beginning)?;
    /// while !matches!(all.next()?, Delivery::Event(_)) {}
    /// assert_eq!(reader.last_position().get(), 1);
    /// assert!(reader.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")]).is_err());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Options::open_read_only`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Options::default().open_read_only(path)
    }

    /// A store in memory, for tests: the same behaviour, but nothing survives.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io` when no thread can be started.
    pub fn in_memory() -> Result<Self> {
        Options::default().in_memory()
    }

    /// How to open a store otherwise.
    pub fn options() -> Options {
        Options::default()
    }
}

/// Whether the directory has anything of a store in it.
fn holds_store(disk: &dyn Disk) -> Result<bool> {
    match disk.list() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("cannot list {}", disk.location()), error)),
        Ok(names) => Ok(names.iter().any(|name| crate::log::is_ours(name))),
    }
}
