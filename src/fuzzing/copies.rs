//! Layer 7.7: backups and forks of a program's store, and what must be found of them after a crash.
//!
//! Knows: what a copy may hold, ended or cut. Does not know: how it is made.

use super::input::Input;
use super::model::Model;
use crate::api::{BackupOptions, BranchOptions, Options, Store};
use crate::disk::{Disk, SimDisk};
use crate::sync::Arc;
use crate::types::{ErrorKind, Hidden, Position, Result};

const COPIES_MAX: usize = 3;
const BACKUP: &str = "backup";

/// A copy that was begun.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    directory: String,
    /// Its last position, or the highest it may be while it is not done; of a backup the least.
    position: u64,
    /// Whether it was told to be done.
    done: bool,
}

/// Makes a fork, or the backup if there is room for no more forks.
pub(super) fn copy(
    disk: &SimDisk,
    store: &Store,
    (model, copies): (&Model, &mut Vec<Copy>),
    input: &mut Input<'_>,
) -> Result<()> {
    let (first, events) = (store.first_position().get(), model.events());
    let how = u64::from(input.byte());
    if events == 0 {
        return Ok(());
    }
    if how.is_multiple_of(2) || copies.len() >= COPIES_MAX {
        return back_up(disk, store, (events, copies));
    }
    let least = first.saturating_sub(1).max(1);
    let position = least + how % (events - least + 1);
    let directory = format!("fork-{}", copies.len());
    copies.push(Copy { directory, position, done: false });
    let Some(newest) = copies.last_mut() else { return Ok(()) };
    let to: Arc<dyn Disk> = Arc::new(disk.directory(&newest.directory));
    let report = store.fork_on(Position::new(position), to, BranchOptions::default())?;
    // It ends with a whole batch.
    let mut end = 0;
    let ends = model.stored.iter().map(|batch| {
        end += batch.len() as u64;
        end
    });
    let wanted = ends.take_while(|end| *end <= position).last().unwrap_or(0);
    assert_eq!(report.position.get(), wanted, "a fork at {position}");
    *newest = Copy { position: wanted, done: true, ..newest.clone() };
    Ok(())
}

fn back_up(disk: &SimDisk, store: &Store, (events, copies): (u64, &mut Vec<Copy>)) -> Result<()> {
    let at = copies.iter().position(|copy| copy.directory == BACKUP).unwrap_or(copies.len());
    if at == copies.len() {
        copies.push(Copy { directory: BACKUP.into(), position: 0, done: false });
    }
    let to: Arc<dyn Disk> = Arc::new(disk.directory(BACKUP));
    match store.backup_on(to, BackupOptions::default()) {
        Ok(report) => {
            assert_eq!(report.position.get(), events, "everything durable is in a backup");
            if let Some(copy) = copies.get_mut(at) {
                *copy = Copy { position: events, done: true, ..copy.clone() };
            }
            Ok(())
        }
        // What the backup has was trimmed here: it stays as it is.
        Err(error) if error.kind() == ErrorKind::Trimmed => Ok(()),
        Err(error) => Err(error),
    }
}

impl Copy {
    /// It is no store, or the right one; and what was told to be done is there.
    pub(super) fn check(&self, disk: &SimDisk, model: &Model) {
        let at: Arc<dyn Disk> = Arc::new(disk.directory(&self.directory));
        let options = Options::default().background_threads(false);
        let copy = match options.open_read_only_on(at) {
            Ok(copy) => copy,
            Err(error) => {
                let excused = match error.kind() {
                    ErrorKind::NotFound => !self.done,
                    kind => kind == ErrorKind::Io,
                };
                assert!(excused, "{self:?}: {error:?}");
                return;
            }
        };
        let last = copy.last_position().get();
        let fits = match self.directory == BACKUP {
            true => last >= self.position,
            false => last == self.position || !self.done && last < self.position,
        };
        assert!(fits, "{self:?}: {last}");
        let events = match copy.read_all().hidden(Hidden::Mark).to_vec() {
            Ok(events) => events,
            Err(error) => {
                assert!(error.kind() == ErrorKind::Io, "{self:?}: {error:?}");
                return;
            }
        };
        let trimmed = copy.first_position().get() - 1;
        assert_eq!(trimmed + events.len() as u64, last, "{self:?}");
        // Of what is older than the log begins now the model knows as much.
        for (event, fact) in events.iter().zip(model.facts_from(trimmed + 1)) {
            let without = event.reclaimed().is_some() || fact.secret;
            let right = fact.is_named(event) && (without || fact.is_told(event));
            assert!(right, "{self:?}: {event:?}, sent {fact:?}");
        }
        let known = model.events();
        assert!(last <= known, "{self:?} has {last} events of {known}");
    }
}
