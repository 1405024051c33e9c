//! Layer 7.6: repair a store in place, or salvage what checks into a new one.
//!
//! Knows: the order in which a damaged store is put in order, and what is refused. Does not know:
//! how anything is mended (`log/mend.rs`) or copied (`engine/salvage.rs`).

use std::path::Path;

use super::options::Options;
use crate::disk::{Disk, DiskLock, RealDisk};
use crate::engine::{IndexCheck, check_indexes};
use crate::format::{FileName, name_of};
use crate::log::{Diagnosis, first_head, verify_log};
use crate::sync::Arc;
use crate::types::{
    Error, ErrorKind, IdScope, Recovery, Repaired, Result, Salvaged, SidecarRebuilt,
};

/// Whether a repair only tells what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repair {
    /// It changes nothing.
    #[default]
    DryRun,
    /// It does it, and keeps beside whatever it replaces or cuts.
    Write,
}

/// Puts a store in order without losing anything of it: sets a torn end aside and copies what
/// survived after it (as an opening for writing does), makes a lost head anew, gives segments back
/// a header block that no longer checks, and takes entries that do not check out of `checkpoints`
/// and `snapshots`. Everything replaced or cut is kept in `.torn` files beside.
///
/// Events that no longer check cannot be repaired: they are listed in [`Repaired::beyond`], nothing
/// at all is changed, and [`salvage`] is what is left. `progress` hears bytes read and in all.
///
/// ```
/// # use factlog::{Expect, NewEvent, Store};
/// use factlog::{Repair, repair};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path();
/// # let store = Store::open(path)?;
/// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
/// # store.close()?;
/// # for name in ["head-0", "head-1"] { let _ = std::fs::write(path.join(name), "scribble"); }
/// let found = repair(path, Repair::DryRun, &mut |_, _| ())?;
/// assert!(found.beyond.is_empty() && !found.steps.is_empty());
/// let done = repair(path, Repair::Write, &mut |_, _| ())?;
/// assert!(done.steps.iter().all(|step| step.kept_in.is_some()));
/// assert_eq!(Store::open(path)?.last_position().get(), 1);
/// # Ok::<(), factlog::Error>(())
/// ```
///
/// # Errors
/// `NotFound`, `Locked` (somebody has the store open for writing; only when it writes),
/// `Unsupported`, `DiskFull`, `Io`. It may be repeated after any of them.
pub fn repair(
    path: impl AsRef<Path>,
    how: Repair,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Repaired> {
    Options::default().repair_on(Arc::new(RealDisk::new(path.as_ref())), how, progress)
}

/// Makes a new store in `to`, an empty directory or none (or one in which a salvage was
/// interrupted: then it is begun anew), of every event that still checks in `from`: each byte for
/// byte as it was, at the position and version it had. Positions that could not be saved stay in
/// their place as lost ranges, so that positions have no gaps, and are listed in
/// [`Salvaged::missing`]. Who reads the new store is told of them: see [`Options::accept_lost`].
/// What was trimmed from `from` is trimmed from the new store, and known as there.
///
/// The new store has a UUID of its own. Checkpoints and snapshots go along where their event was
/// saved. The ids of lost events are not known any more: an event that was lost and is sent again
/// is stored as a new one. The damaged store is never changed; `to` is no store before everything
/// in it is whole and durable, and it is verified before this returns. `progress` hears segments
/// done and in all.
///
/// ```
/// # use factlog::{Expect, NewEvent, Store};
/// use factlog::salvage;
/// # let dir = tempfile::tempdir().unwrap();
/// # let (from, to) = (dir.path().join("damaged"), dir.path().join("salvaged"));
/// # Store::open(&from)?.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
/// let salvaged = salvage(&from, &to, &mut |_, _| ())?;
/// for lost in &salvaged.missing {
///     println!("{:?} to {:?}: {}", lost.first_position, lost.last_position, lost.what);
/// }
/// assert_eq!(Store::open(&to)?.last_position().get(), salvaged.events + salvaged.lost());
/// # Ok::<(), factlog::Error>(())
/// ```
///
/// # Errors
/// `NotFound`; `Invalid` when something else is in `to`; `Locked` when somebody has `from` open for
/// writing; `Damaged` when not even one segment header checks; `Unsupported`, `DiskFull`, `Io`.
/// What is in `to` after an error or a crash is no store: call it again.
pub fn salvage(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Salvaged> {
    let from = Arc::new(RealDisk::new(from.as_ref()));
    let to = Arc::new(RealDisk::new(to.as_ref()));
    Options::default().salvage_on(from, to, progress)
}

impl Options {
    /// [`repair`] on any [`Disk`].
    ///
    /// # Errors
    /// As [`repair`].
    pub fn repair_on(
        self,
        disk: Arc<dyn Disk>,
        how: Repair,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Repaired> {
        there_is_one(&*disk)?;
        let lock = match how {
            Repair::Write => Some(locked(&*disk)?),
            Repair::DryRun => None,
        };
        let lock_file = name_of(FileName::Lock);
        let found = Diagnosis::of(&disk, progress)?;
        if how == Repair::DryRun && disk.is_locked(&lock_file).unwrap_or(false) {
            // What looks unfinished beside a writer is what it is doing now.
            return Ok(Repaired { writer: true, beyond: found.beyond, ..Repaired::default() });
        }
        let mut repaired = Repaired {
            written: false,
            steps: found.steps(&*disk)?,
            torn: found
                .report
                .torn
                .as_ref()
                .map(|torn| (torn.file.clone(), torn.offset, torn.bytes)),
            frames_rescued: found.frames_to_rescue,
            beyond: found.beyond.clone(),
            ..Repaired::default()
        };
        if !found.beyond.is_empty() {
            return Ok(repaired);
        }
        let IndexCheck { doubtful, absent } = check_indexes(&*disk, None, &mut |_, _| ())?;
        repaired.sidecars_rebuilt = doubtful;
        let there = |file: &str| absent.iter().all(|index| index.file != file);
        let absent_note = |index: &SidecarRebuilt| format!("{}: {}", index.file, index.why);
        if how == Repair::DryRun {
            let made = |note| format!("{note}; whoever opens the store for writing makes it");
            repaired.notes = absent.iter().map(absent_note).map(made).collect();
            return Ok(repaired);
        }
        found.mend(&disk, (self.segment_bytes_wanted(), self.now()))?;
        remove(&*disk, &repaired.sidecars_rebuilt)?;
        let head_lost = found.head_lost();
        drop(lock);
        let recovery = if head_lost { Recovery::RebuildHead } else { Recovery::Refuse };
        let opening = self.create(false);
        let store = opening.clone().recovery(recovery).open_on(disk.clone())?;
        let report = store.open_report();
        store.close()?;
        if head_lost {
            // An opening writes one generation; the other one is still what it was.
            opening.open_on(disk)?.close()?;
        }
        repaired.written = true;
        repaired.set_aside = report.set_aside;
        repaired.frames_rescued = report.frames_rescued;
        let (anew, absent): (Vec<_>, Vec<_>) =
            report.sidecars_rebuilt.into_iter().partition(|index| there(&index.file));
        repaired.sidecars_rebuilt = anew;
        repaired.notes = report.notes;
        repaired.notes.extend(absent.iter().map(absent_note).map(|note| note + "; made"));
        Ok(repaired)
    }

    /// [`salvage`] on any two [`Disk`]s, with segments as large as these options say.
    ///
    /// # Errors
    /// As [`salvage`].
    pub fn salvage_on(
        self,
        from: Arc<dyn Disk>,
        to: Arc<dyn Disk>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Salvaged> {
        let names = there_is_one(&*from)?;
        let lock = name_of(FileName::Lock);
        // Without that file nobody holds the lock; where it cannot be opened, nobody can write.
        let held = match names.contains(&lock) {
            true => from
                .lock(&lock)
                .map_or(Ok(None), |lock| lock.map(Some).ok_or_else(|| busy(&*from)))?,
            false => None,
        };
        refuse_full(&*to)?;
        let create = to.create_root();
        create.map_err(|error| Error::io(format!("cannot make {}", to.location()), error))?;
        let mine = locked(&*to)?;
        let salvaged = self.salvage_into(from, &to, progress)?;
        let report = verify_log(&*to, &mut |_, _| ())?;
        drop((held, mine));
        let whole =
            report.clean && (report.events, report.lost) == (salvaged.events, salvaged.lost());
        match whole || planted!(LossNotListed) {
            true => Ok(salvaged),
            false => Err(Error::new(ErrorKind::Damaged, "the new store does not read back")),
        }
    }
}

/// The names in the directory of a store.
fn there_is_one(disk: &dyn Disk) -> Result<Vec<String>> {
    let missing = || {
        let text = format!("there is no store in {}", disk.location());
        Error::new(ErrorKind::NotFound, text)
    };
    match disk.list() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing()),
        Err(error) => Err(Error::io(format!("cannot list {}", disk.location()), error)),
        Ok(names) if names.iter().any(|name| crate::log::is_ours(name)) => Ok(names),
        Ok(_) => Err(missing()),
    }
}

/// Whatever is there may be wanted, but for what an interrupted salvage left: no store, and said so
/// by its head.
fn refuse_full(disk: &dyn Disk) -> Result<()> {
    match first_head(disk, IdScope::default()) {
        Err(error) if error.kind() == ErrorKind::Damaged => {
            let holds = error.file().unwrap_or("a store that has lost its head").to_owned();
            Err(Error::invalid(format!("{} is not empty: it holds {holds:?}", disk.location())))
        }
        other => other.map(drop),
    }
}

fn locked(disk: &dyn Disk) -> Result<Box<dyn DiskLock>> {
    let place = disk.location();
    let lock = disk.lock(&name_of(FileName::Lock));
    let lock = lock.map_err(|error| Error::io(format!("cannot lock {place}"), error))?;
    lock.ok_or_else(|| busy(disk))
}

fn busy(disk: &dyn Disk) -> Error {
    let text = format!("{} is open for writing elsewhere", disk.location());
    Error::new(ErrorKind::Locked, text)
}

/// Throws indexes away that say something else than the log; the opening makes them anew.
fn remove(disk: &dyn Disk, sidecars: &[SidecarRebuilt]) -> Result<()> {
    for sidecar in sidecars {
        match disk.remove(&sidecar.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("cannot remove {}", sidecar.file), error));
            }
            _ => {}
        }
    }
    Ok(())
}
