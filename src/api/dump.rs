//! Layer 7.0: one file of a store, piece by piece.
//!
//! Knows: how it is asked for. Does not know: what stands where (`log/dump.rs`).

use std::ops::ControlFlow;
use std::path::Path;

use uuid::Uuid;

use crate::disk::{Disk, RealDisk};
use crate::log::{DumpBounds, dump_file, dumpable};
use crate::sync::Arc;
use crate::types::{Error, Piece, Result};

/// How a file is dumped; see [`Dump::file`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Dump {
    disk: Arc<dyn Disk>,
    bounds: DumpBounds,
}

impl Dump {
    /// Of files in this directory, which may be a whole store or hold a single file of one.
    pub fn of(path: impl AsRef<Path>) -> Self {
        Self::on(Arc::new(RealDisk::new(path.as_ref())))
    }

    /// Of files on any [`Disk`].
    pub fn on(disk: Arc<dyn Disk>) -> Self {
        Self { disk, bounds: DumpBounds::default() }
    }

    /// Only pieces that end behind this offset, in bytes: the first is the frame, or the gap, that
    /// it is in. Of frames before it only the headers are read.
    pub fn from(mut self, offset: u64) -> Self {
        self.bounds.from = offset;
        self
    }

    /// Only frames, without the records in them.
    pub fn headers_only(mut self, only: bool) -> Self {
        self.bounds.headers_only = only;
        self
    }

    /// The store it is of, where neither the file nor a head beside it says so any more.
    pub fn store(mut self, store: Uuid) -> Self {
        self.bounds.store = Some(store);
        self
    }

    /// The files there that have a format.
    ///
    /// # Errors
    /// `Io`.
    pub fn files(&self) -> Result<Vec<String>> {
        dumpable(&*self.disk)
    }

    /// Visits every piece of a file in the order of offsets, also of a damaged one, until `visit`
    /// breaks. It judges nothing: a [`Piece`] whose `problem` is set may be torn, dead or damaged,
    /// which [`verify`](crate::verify) tells apart.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// use factlog::Dump;
    /// use std::ops::ControlFlow;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// # let store = Store::open(path)?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// # store.close()?;
    /// let mut events = 0;
    /// Dump::of(path).file("00000000000000000001.seg", |piece| {
    ///     println!("{:08x} {}", piece.offset, piece.kind);
    ///     events += usize::from(piece.kind == "event");
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(events, 1);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when nothing says which store the file is of; `Unsupported`, `Io`.
    pub fn file(&self, name: &str, mut visit: impl FnMut(Piece) -> ControlFlow<()>) -> Result<()> {
        match self.disk.open(name, crate::disk::Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!("there is no {name} in {}", self.disk.location());
                return Err(Error::new(crate::types::ErrorKind::NotFound, text));
            }
            _ => {}
        }
        dump_file(&*self.disk, name, self.bounds, &mut |piece| visit(piece).is_continue())
    }
}
