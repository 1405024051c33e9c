//! Layer 7.0: verification of a log that is not opened.
//!
//! Knows: the directory. Does not know: what is checked (`log/verify.rs`).

use std::path::Path;

use crate::disk::{Disk, RealDisk};
use crate::log::{VerifyReport, verify_log};
use crate::types::{Error, ErrorKind, Result};

/// Checks every checksum and every link of the log in a directory, without opening it: takes no
/// lock and writes nothing, also beside a writer. `progress` hears bytes done and bytes in all.
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
    let disk = RealDisk::new(path.as_ref());
    match disk.list() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("there is no store in {}", disk.location());
            Err(Error::new(ErrorKind::NotFound, text))
        }
        _ => verify_log(&disk, progress),
    }
}
