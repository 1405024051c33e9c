//! Ctrl-C: end with code 130 and leave no temporary directory behind.
//!
//! Knows: one directory to remove, if any. Does not know: what was going on; stores are safe
//! against being killed at any moment.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::exit::INTERRUPTED;

static TEMPORARY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// From now on Ctrl-C ends the process with code 130.
pub fn arm() {
    // Without the handler Ctrl-C still ends the process, by the signal itself.
    let _ = ctrlc::set_handler(|| {
        let directory = TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(directory) = directory {
            let _ = std::fs::remove_dir_all(directory);
        }
        std::process::exit(i32::from(INTERRUPTED));
    });
}

/// Removes this directory as well when interrupted.
pub fn also_remove(directory: &Path) {
    *TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.to_path_buf());
}
