//! Layer 4.1: the head file in its two generations.
//!
//! Knows: which generation counts and how the next is written. Does not know: why it changes. A new
//! generation never touches the file of the newest, so a crash while writing leaves that one.

use super::files::{read_small, replace_file};
use crate::disk::Disk;
use crate::format::{FileName, Head, Purpose, name_of};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::types::{ErrorKind, Result};

const HEAD_BYTES_MAX: u64 = 64 << 10;

/// What the two generations say.
#[derive(Debug, Default)]
pub(crate) struct HeadsRead {
    pub newest: Option<Head>,
    /// A generation that is missing or does not check: it may have been the newest.
    pub damaged: Option<String>,
}

/// Reads both generations.
///
/// # Errors
/// `Unsupported` when either is of a newer format: then the other may be older than what exists.
pub(crate) fn read_heads(disk: &dyn Disk) -> Result<HeadsRead> {
    let mut read = HeadsRead::default();
    let mut missing = None;
    for generation in [0, 1] {
        let name = name_of(FileName::Head(generation));
        let Some(bytes) = read_small(disk, &name, HEAD_BYTES_MAX)? else {
            missing = Some(name);
            continue;
        };
        match Head::decode(&bytes, &name) {
            Ok(head) if read.newest.as_ref().is_none_or(|n| n.generation < head.generation) => {
                read.newest = Some(head);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(_) => read.damaged = Some(name),
        }
    }
    // Only the very first generation has no sibling.
    if read.newest.as_ref().is_some_and(|head| head.generation > 1) {
        read.damaged = read.damaged.or(missing);
    }
    Ok(read)
}

/// The head of a store open for writing.
#[derive(Debug)]
pub(crate) struct HeadFile {
    disk: Arc<dyn Disk>,
    head: Mutex<Head>,
    /// A change failed, and a crash may bring it about all the same.
    in_doubt: AtomicBool,
}

impl HeadFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, head: Head) -> Self {
        Self { disk, head: Mutex::new(head), in_doubt: AtomicBool::new(false) }
    }

    /// What it says now.
    pub(crate) fn get(&self) -> Head {
        self.head.lock().clone()
    }

    /// Changes it; the change is durable when this returns.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Head)) -> Result<()> {
        let mut head = self.head.lock();
        let mut next = head.clone();
        change(&mut next);
        next.generation += 1;
        let odd = next.generation % 2 == 1 || planted!(HeadInPlace);
        let name = name_of(FileName::Head(u8::from(odd)));
        self.in_doubt.store(true, Ordering::Release);
        replace_file(&*self.disk, Purpose::Head, &name, &[&next.encode()])?;
        self.in_doubt.store(false, Ordering::Release);
        *head = next;
        Ok(())
    }

    /// Makes sure that a change which failed does not come about.
    pub(crate) fn settle(&self) -> Result<()> {
        match self.in_doubt.load(Ordering::Acquire) {
            true => self.update(|_| ()),
            false => Ok(()),
        }
    }
}
