//! Layer 7.6: backup, restore and fork.
//!
//! Knows: what each verb means. Does not know: how it is done.

use std::fmt;
use std::path::Path;

use uuid::Uuid;

use super::options::Options;
use super::store::Store;
use crate::disk::{Disk, RealDisk};
use crate::engine::{BranchPlan, Branched};
use crate::sync::Arc;
use crate::types::{Position, Result, Timestamp};

/// How a backup is made; see [`Store::backup`].
#[must_use]
pub struct BackupOptions<'a> {
    plan: BranchPlan,
    progress: Option<Box<dyn FnMut(u64, u64) + 'a>>,
}

impl Default for BackupOptions<'_> {
    fn default() -> Self {
        let plan = BranchPlan { verify: true, ..BranchPlan::default() };
        Self { plan, progress: None }
    }
}

impl fmt::Debug for BackupOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupOptions").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl<'a> BackupOptions<'a> {
    /// The last position that goes along. Default: everything that is durable when it begins.
    pub fn through(mut self, position: Position) -> Self {
        self.plan.through = Some(position);
        self
    }

    /// Whether everything is read back and every checksum checked, what an earlier backup left
    /// included; what does not check there is copied again. Default: true.
    pub fn verify(mut self, verify: bool) -> Self {
        self.plan.verify = verify;
        self
    }

    /// Whether what the store has trimmed since goes from an earlier backup too. Default: false:
    /// such a run is refused, because the backup may be all that is left of those events.
    pub fn follow_trim(mut self, follow_trim: bool) -> Self {
        self.plan.follow_trim = follow_trim;
        self
    }

    /// Tells what would be copied, and what let go; writes nothing. Default: false.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.plan.dry_run = dry_run;
        self
    }

    /// Hears bytes done and bytes in all, after each segment.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

/// How a fork or a restored store is made on any disk; see [`Store::fork_on`] and [`restore_on`].
#[must_use]
pub struct BranchOptions<'a> {
    verify: bool,
    dry_run: bool,
    progress: Option<Box<dyn FnMut(u64, u64) + 'a>>,
}

impl Default for BranchOptions<'_> {
    fn default() -> Self {
        Self { verify: true, dry_run: false, progress: None }
    }
}

impl fmt::Debug for BranchOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BranchOptions").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

impl<'a> BranchOptions<'a> {
    /// Whether segments that a fork shares are read and every checksum in them checked, as of those
    /// that are copied: damage is not passed on in silence. Without it a fork of any size is made
    /// at once. Default: true.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Tells what would be made, and writes nothing. Default: false.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Hears bytes done and bytes in all, after each segment.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    fn make(self, source: &Store, disk: &Arc<dyn Disk>, plan: BranchPlan) -> Result<BranchReport> {
        let mut progress = self.progress.unwrap_or_else(|| Box::new(|_, _| ()));
        let plan = BranchPlan { verify: self.verify, dry_run: self.dry_run, ..plan };
        let done = source.engine().branch(disk, plan, &mut *progress)?;
        Ok(BranchReport {
            store: (!self.dry_run).then_some(done.store),
            origin: source.engine().store,
            position: done.position,
            last_recorded_at: recorded(&done),
            segments: done.segments,
            segments_linked: done.brought.linked,
            bytes_copied: done.brought.bytes,
            checkpoints: done.checkpoints,
            snapshots: done.snapshots,
        })
    }
}

/// What a backup holds now, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The store it is a backup of.
    pub store: Uuid,
    /// Its last event: what was asked, rounded down to a whole batch.
    pub position: Position,
    /// When that event was recorded; `None` when there is none.
    pub last_recorded_at: Option<Timestamp>,
    /// Segments of its log.
    pub segments: u64,
    /// Bytes of its log.
    pub bytes: u64,
    /// Segments of these that were copied now; the others were there.
    pub segments_copied: u64,
    /// Bytes that were copied.
    pub bytes_copied: u64,
    /// The first and the last position that an earlier backup held and that went from it with this
    /// run, because the store has trimmed them: see [`BackupOptions::follow_trim`].
    pub let_go: Option<(Position, Position)>,
    /// Checkpoints saved beside the log; those that batches carry are in it.
    pub checkpoints: u64,
    /// Snapshots saved beside the log.
    pub snapshots: u64,
}

/// The store that a fork or a restore has made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BranchReport {
    /// Its name, which is new; `None` of a dry run.
    pub store: Option<Uuid>,
    /// The store it begins as.
    pub origin: Uuid,
    /// Its last event: what was asked, rounded down to a whole batch.
    pub position: Position,
    /// When that event was recorded; `None` when there is none.
    pub last_recorded_at: Option<Timestamp>,
    /// Segments that it has from its origin.
    pub segments: u64,
    /// Segments of these that the two share: hard links, which take no space.
    pub segments_linked: u64,
    /// Bytes that were copied.
    pub bytes_copied: u64,
    /// Checkpoints saved beside the log; those that batches carry are in it.
    pub checkpoints: u64,
    /// Snapshots saved beside the log.
    pub snapshots: u64,
}

/// How much of a backup is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreTo {
    /// All of it.
    End,
    /// Nothing after this position.
    Position(Position),
    /// Nothing that was recorded after this time.
    Time(Timestamp),
}

fn recorded(done: &Branched) -> Option<Timestamp> {
    (done.position > Position::START).then_some(done.last_recorded_at)
}

impl Store {
    /// Makes a backup in a directory, or carries on the one that is there: only new segments are
    /// copied. The store goes on meanwhile, and may be one that another process writes
    /// ([`Store::open_read_only`]). What was durable when it began is in it, with checkpoints and
    /// snapshots that fit.
    ///
    /// A backup is a store directory that nobody can append to: it can be opened read-only,
    /// verified and [restored](crate::restore). A crash leaves the earlier backup, or more of the
    /// log than it had, and the next run goes on.
    ///
    /// ```
    /// # use factlog::{BackupOptions, Expect, NewEvent, Position, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("orders"))?;
    /// # let path = dir.path().join("backup");
    /// store.append("Order-1", Expect::Any, [NewEvent::binary("Placed", "")])?;
    /// let report = store.backup(&path, BackupOptions::default())?;
    /// assert_eq!(report.position, Position::new(1));
    /// assert_eq!(Store::open_read_only(&path)?.last_position(), report.position);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when something else is in the directory, such as a backup of another store or of
    /// another history, or when the log ends before [`BackupOptions::through`]; `Damaged` when the
    /// store is, with the earlier backup as it was; `Trimmed` when the backup ends before the log
    /// begins, or holds events that were trimmed since (see [`BackupOptions::follow_trim`]), and is
    /// as it was; `Locked`, `DiskFull`, `Io`, also when the log is trimmed meanwhile: call again.
    pub fn backup(
        &self,
        directory: impl AsRef<Path>,
        options: BackupOptions<'_>,
    ) -> Result<BackupReport> {
        self.backup_on(Arc::new(RealDisk::new(directory.as_ref())), options)
    }

    /// Makes a backup on any [`Disk`].
    ///
    /// # Errors
    /// As [`Store::backup`].
    pub fn backup_on(
        &self,
        disk: Arc<dyn Disk>,
        options: BackupOptions<'_>,
    ) -> Result<BackupReport> {
        let mut progress = options.progress.unwrap_or_else(|| Box::new(|_, _| ()));
        let done = self.engine().back_up(&disk, options.plan, &mut *progress)?;
        Ok(BackupReport {
            store: done.store,
            position: done.position,
            last_recorded_at: recorded(&done),
            segments: done.segments,
            bytes: done.bytes,
            segments_copied: done.brought.copied,
            bytes_copied: done.brought.bytes,
            let_go: done.let_go,
            checkpoints: done.checkpoints,
            snapshots: done.snapshots,
        })
    }

    /// Makes a store of its own in an empty directory that begins as this one up to a position, and
    /// goes its own way from there. Sealed segments are hard links to the same files, which neither
    /// store writes any more; on another file system they are copied. They are read and checked
    /// before (see [`BranchOptions::verify`]). Nothing done to one of the two is seen by the other.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Position, Store, Version};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("orders"))?;
    /// # let path = dir.path().join("what-if");
    /// for event in [NewEvent::binary("Placed", ""), NewEvent::binary("Cancelled", "")] {
    ///     store.append("Order-1", Expect::Any, [event])?;
    /// }
    /// store.fork_at(Position::new(1), &path)?;
    /// let fork = Store::open(&path)?;
    /// let expect = Expect::Version(Version::new(1));
    /// fork.append("Order-1", expect, [NewEvent::binary("Paid", "")])?;
    /// let ours = store.event_at(Position::new(2))?.unwrap();
    /// let theirs = fork.event_at(Position::new(2))?.unwrap();
    /// assert_eq!((ours.event_type(), theirs.event_type()), ("Cancelled", "Paid"));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when something is in the directory, or when the log ends before the position;
    /// `Trimmed` when what came after the position was trimmed; `Damaged`, `Locked`, `DiskFull`,
    /// `Io`. What a failure or a crash leaves is no store; the next try begins anew.
    pub fn fork_at(&self, position: Position, directory: impl AsRef<Path>) -> Result<BranchReport> {
        let disk = Arc::new(RealDisk::new(directory.as_ref()));
        self.fork_on(position, disk, BranchOptions::default())
    }

    /// Makes a fork on any [`Disk`].
    ///
    /// # Errors
    /// As [`Store::fork_at`].
    pub fn fork_on(
        &self,
        position: Position,
        disk: Arc<dyn Disk>,
        options: BranchOptions<'_>,
    ) -> Result<BranchReport> {
        let through = Some(position);
        options.make(self, &disk, BranchPlan { through, link: true, ..BranchPlan::default() })
    }
}

/// Makes a store in an empty directory from a backup (or from any store that nobody has open): all
/// of it, or up to a position or a time. Every byte is copied, read back and checked.
///
/// The new store has a name of its own, because the one it was copied from may live on: whoever
/// kept positions of that one asks for its checkpoints, which are checked against the events.
///
/// ```
/// # use factlog::{BackupOptions, Expect, NewEvent, Position, RestoreTo, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let (backup, path) = (dir.path().join("backup"), dir.path().join("restored"));
/// # let store = Store::open(dir.path().join("orders"))?;
/// # for _ in 0..2 {
/// #     store.append("Order-1", Expect::Any, [NewEvent::binary("Placed", "")])?;
/// # }
/// store.backup(&backup, BackupOptions::default())?;
/// let report = factlog::restore(&backup, &path, RestoreTo::Position(Position::new(1)))?;
/// assert_eq!(report.position, Position::new(1));
/// assert_eq!(Store::open(&path)?.last_position(), report.position);
/// # Ok::<(), factlog::Error>(())
/// ```
///
/// # Errors
/// `NotFound` when there is no backup, or one whose first run did not end; `Invalid` when something
/// is in the directory, or when the backup ends before the position; `Trimmed` when what came after
/// the position or the time was trimmed; `Damaged`, `DiskFull`, `Io`.
/// What a failure or a crash leaves is no store; the next try begins anew.
pub fn restore(
    backup: impl AsRef<Path>,
    directory: impl AsRef<Path>,
    to: RestoreTo,
) -> Result<BranchReport> {
    let backup: Arc<dyn Disk> = Arc::new(RealDisk::new(backup.as_ref()));
    let disk = Arc::new(RealDisk::new(directory.as_ref()));
    restore_on(backup, disk, to, BranchOptions::default())
}

/// Restores from any [`Disk`] onto any other.
///
/// # Errors
/// As [`restore`].
pub fn restore_on(
    backup: Arc<dyn Disk>,
    disk: Arc<dyn Disk>,
    to: RestoreTo,
    options: BranchOptions<'_>,
) -> Result<BranchReport> {
    let source = Options::default().background_threads(false).open_read_only_on(backup)?;
    let through = match to {
        RestoreTo::End => None,
        RestoreTo::Position(position) => Some(position),
        RestoreTo::Time(time) => {
            let after = Timestamp::from_micros(time.micros().saturating_add(1));
            let view = source.engine().view()?;
            let next = view.first_recorded_at_or_after(after)?;
            view.refuse_trimmed_time(next, time)?;
            Some(Position::new(next.get().saturating_sub(1)))
        }
    };
    options.make(&source, &disk, BranchPlan { through, ..BranchPlan::default() })
}
