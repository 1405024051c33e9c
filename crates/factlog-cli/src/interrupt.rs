//! Ctrl-C: end with code 130, say how to go on, and leave no temporary directory behind.
//!
//! Knows: one directory to remove, and one sentence to say, if any. Does not know: what was going
//! on; stores are safe against being killed at any moment.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::exit::INTERRUPTED;

type Sentence = Box<dyn Fn() -> String + Send>;

static SENTENCE: Mutex<Option<Sentence>> = Mutex::new(None);
static TEMPORARY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// From now on Ctrl-C ends the process with code 130.
pub fn arm() {
    // Without the handler Ctrl-C still ends the process, by the signal itself.
    let _ = ctrlc::set_handler(|| {
        let directory = TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(directory) = directory {
            let _ = std::fs::remove_dir_all(directory);
        }
        let sentence = SENTENCE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sentence) = sentence {
            // Behind what a terminal shows of the keys, or of a bar.
            let start = if io::stderr().is_terminal() {
                "
"
            } else {
                ""
            };
            let _ = writeln!(io::stderr(), "{start}factlog: interrupted: {}", sentence());
        }
        std::process::exit(i32::from(INTERRUPTED));
    });
}

/// Says this as well when interrupted: what was done by then, and how to go on.
pub fn say(sentence: impl Fn() -> String + Send + 'static) {
    *SENTENCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(sentence));
}

/// Removes this directory as well when interrupted.
pub fn also_remove(directory: &Path) {
    *TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.to_path_buf());
}
