//! Layer 2.1: the directories of the simulated disk: which names are durable, which only cached.
//!
//! Knows: names (after the directory and a slash, if it is not the first one), file numbers and
//! pending changes. Does not know: what is in the files.
//!
//! A change survives a power cut only if the state it started from does: a name cannot be created
//! where the removal of its predecessor was lost. Changes of different names are independent of
//! each other, and a rename happens as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

pub(super) type Table = BTreeMap<String, u64>;

#[derive(Debug, Clone)]
enum Change {
    Create { name: String, file: u64 },
    Rename { from: String, to: String, file: u64, replaced: Option<u64> },
    Remove { name: String, file: u64 },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    cached: Table,
    durable: Table,
    pending: Vec<Change>,
}

impl Names {
    /// A directory that has been on disk for long.
    pub(super) fn settled(table: Table) -> Self {
        Self { cached: table.clone(), durable: table, pending: Vec::new() }
    }

    pub(super) fn cached(&self) -> &Table {
        &self.cached
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The files a power cut may leave under some name.
    pub(super) fn reachable(&self) -> BTreeSet<u64> {
        let created = self.pending.iter().filter_map(|change| match change {
            Change::Create { file, .. } => Some(file),
            _ => None,
        });
        self.durable.values().chain(created).copied().collect()
    }

    pub(super) fn create(&mut self, name: &str, file: u64) {
        self.change(Change::Create { name: name.to_owned(), file });
    }

    /// False if there is no such name.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(file) = self.cached.get(from).copied() else { return false };
        let replaced = self.cached.get(to).copied();
        if from != to {
            self.change(Change::Rename {
                from: from.to_owned(),
                to: to.to_owned(),
                file,
                replaced,
            });
        }
        true
    }

    /// False if there is no such name.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(file) = self.cached.get(name).copied() else { return false };
        self.change(Change::Remove { name: name.to_owned(), file });
        true
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Not a copy of the cache, because that may hold changes a failed sync has dropped.
    pub(super) fn sync(&mut self, directory: &str) {
        for change in self.take_pending(directory) {
            change.apply(&mut self.durable);
        }
    }

    fn take_pending(&mut self, directory: &str) -> Vec<Change> {
        let all = std::mem::take(&mut self.pending);
        let (taken, left) = all.into_iter().partition(|change| change.is_in(directory));
        self.pending = left;
        taken
    }

    /// A sync that failed as on Linux.
    pub(super) fn drop_pages(&mut self, directory: &str) {
        self.take_pending(directory);
    }

    /// Sets or removes a name on disk and in the cache at once.
    pub(super) fn settle(&mut self, name: &str, file: Option<u64>) {
        for table in [&mut self.cached, &mut self.durable] {
            match file {
                Some(file) => table.insert(name.to_owned(), file),
                None => table.remove(name),
            };
        }
    }

    /// The directory after a power cut, if `survives` says which changes reached the disk.
    pub(super) fn after(&self, mut survives: impl FnMut() -> bool) -> Table {
        let mut table = self.durable.clone();
        for change in &self.pending {
            if survives() {
                change.apply(&mut table);
            }
        }
        table
    }
}

/// The name within a directory (empty, or ending with a slash), of a file that is in it.
pub(super) fn within<'a>(directory: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(directory).filter(|rest| !rest.contains('/'))
}

impl Change {
    fn is_in(&self, directory: &str) -> bool {
        let name = match self {
            Self::Create { name, .. } | Self::Remove { name, .. } => name,
            Self::Rename { to, .. } => to,
        };
        within(directory, name).is_some()
    }

    /// Does nothing where the state it started from is not there.
    fn apply(&self, table: &mut Table) {
        match self {
            Self::Create { name, file } => {
                table.entry(name.clone()).or_insert(*file);
            }
            Self::Rename { from, to, file, replaced } => {
                if table.get(from) == Some(file) && table.get(to) == replaced.as_ref() {
                    table.remove(from);
                    table.insert(to.clone(), *file);
                }
            }
            Self::Remove { name, file } => {
                if table.get(name) == Some(file) {
                    table.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, u64)]) -> Table {
        entries.iter().map(|(name, file)| ((*name).to_owned(), *file)).collect()
    }

    /// Everything a power cut may leave.
    fn outcomes(names: &Names) -> BTreeSet<Table> {
        let subsets = 0..1_u64 << names.pending();
        subsets
            .map(|subset| {
                let mut bits = (0..).map(|bit| subset >> bit & 1 == 1);
                names.after(|| bits.next().unwrap())
            })
            .collect()
    }

    #[test]
    fn changes_of_different_names_are_independent() {
        let mut names = Names::default();
        names.create("a", 1);
        names.create("b", 2);
        assert_eq!(outcomes(&names).len(), 4);
    }

    #[test]
    fn a_rename_never_loses_both_names() {
        let mut names = Names::settled(table(&[("new", 1), ("old", 2)]));
        assert!(names.rename("new", "old"));
        let expected = [table(&[("new", 1), ("old", 2)]), table(&[("old", 1)])];
        assert_eq!(outcomes(&names), BTreeSet::from(expected));
    }

    #[test]
    fn a_name_cannot_be_taken_before_it_is_free() {
        let mut names = Names::settled(table(&[("a", 1)]));
        assert!(names.rename("a", "b"));
        names.create("a", 2);
        let expected = [table(&[("a", 1)]), table(&[("b", 1)]), table(&[("a", 2), ("b", 1)])];
        assert_eq!(outcomes(&names), BTreeSet::from(expected));
    }

    #[test]
    fn an_unsynced_removal_may_come_back() {
        let mut names = Names::settled(table(&[("a", 1)]));
        assert!(names.remove("a"));
        assert!(!names.remove("a"));
        assert_eq!(outcomes(&names), BTreeSet::from([table(&[("a", 1)]), table(&[])]));
        names.sync("");
        assert_eq!(outcomes(&names), BTreeSet::from([table(&[])]));
    }

    #[test]
    fn a_sync_is_of_one_directory() {
        let mut names = Names::default();
        names.create("a", 1);
        names.create("fork/a", 1);
        names.sync("fork/");
        let expected = [table(&[("fork/a", 1)]), table(&[("a", 1), ("fork/a", 1)])];
        assert_eq!(outcomes(&names), BTreeSet::from(expected));
    }
}
