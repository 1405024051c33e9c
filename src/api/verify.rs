//! Layer 7.0: verification of a log that is not opened.
//!
//! Knows: the directory. Does not know: what is checked (`log/verify.rs`).

use std::path::Path;

use crate::disk::{Disk, RealDisk};
use crate::engine::{IndexCheck, check_indexes};
use crate::log::{VerifyReport, verify_beside, verify_log, verify_segment};
use crate::sync::Arc;
use crate::types::{Error, ErrorKind, Result};

/// Checks every checksum and every link of the log in a directory, and what is saved beside it,
/// without opening it: takes no lock and writes nothing, also beside a writer. `progress` hears
/// bytes done and bytes in all.
///
/// ```
/// # use factlog::{Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path();
/// # Store::open(path)?;
/// let report = factlog::verify(path, &mut |_, _| ())?;
/// assert!(report.clean);
/// # Ok::<(), factlog::Error>(())
/// ```
///
/// # Errors
/// `NotFound`, `Damaged` (when not even the head checks), `Unsupported`, `Io`.
pub fn verify(path: impl AsRef<Path>, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport> {
    Verify::of(path).run(progress)
}

/// What is verified, beyond or short of everything: see [`Verify::run`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Verify {
    disk: Arc<dyn Disk>,
    deep: bool,
    segment: Option<u64>,
}

impl Verify {
    /// The log in this directory.
    pub fn of(path: impl AsRef<Path>) -> Self {
        Self::on(Arc::new(RealDisk::new(path.as_ref())))
    }

    /// The log on any [`Disk`].
    pub fn on(disk: Arc<dyn Disk>) -> Self {
        Self { disk, deep: false, segment: None }
    }

    /// Also makes every index anew in memory, out of the log, and compares it with what is there:
    /// sidecars of sealed segments and of parts of the newest one byte for byte, and the file of
    /// streams' heads stream by stream: [`VerifyReport::doubtful`].
    pub fn deep(mut self, deep: bool) -> Self {
        self.deep = deep;
        self
    }

    /// Only this segment, and what names its ends.
    pub fn segment(mut self, number: u64) -> Self {
        self.segment = Some(number);
        self
    }

    /// Verifies as [`verify`] does, without opening the store. `progress` hears bytes done and
    /// bytes in all.
    ///
    /// ```
    /// # use factlog::{Store};
    /// use factlog::Verify;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// # Store::open(path)?;
    /// let report = Verify::of(path).deep(true).run(&mut |_, _| ())?;
    /// assert!(report.clean && report.doubtful.is_empty());
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`verify`]; `NotFound` when there is no such segment.
    pub fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport> {
        if let Err(error) = self.disk.list()
            && error.kind() == std::io::ErrorKind::NotFound
        {
            let text = format!("there is no store in {}", self.disk.location());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let mut report = match self.segment {
            Some(number) => verify_segment(&*self.disk, number)?,
            None => verify_log(&*self.disk, progress)?,
        };
        if self.segment.is_none() {
            verify_beside(&self.disk, &mut report)?;
        }
        if self.deep {
            let IndexCheck { doubtful, absent } =
                check_indexes(&*self.disk, self.segment, progress)?;
            (report.doubtful, report.absent) = (doubtful, absent);
        }
        Ok(report)
    }
}
