//! Layer 0.3: where the keys of subjects are kept, and how.
//!
//! Knows: what the caller chose. Does not know: keys of subjects, or files.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// Where the keys of subjects are kept; see [`Options::keyring`](crate::Options::keyring).
///
/// ```
/// # use factlog::{Keyring, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let from_a_vault = [7; 32];
/// let keyring = Keyring::in_directory(dir.path().join("keys")).wrapped_by(from_a_vault);
/// let store = Store::options().keyring(keyring).open(dir.path().join("orders"))?;
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Keyring {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) wrapping: Option<Zeroizing<[u8; 32]>>,
    pub(crate) anew: bool,
}

impl Keyring {
    /// In the file `keyring` in the store's own directory. A copy of the directory then holds data
    /// and keys together; a [backup](crate::guide::forgetting) should not.
    pub fn beside() -> Self {
        Self::default()
    }

    /// In the file `keyring` in another directory, which is made if need be and belongs to one
    /// store: on another disk, say, or outside of what is backed up.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), ..Self::default() }
    }

    /// The keys are encrypted with this one, which the store keeps nowhere: without it nothing of
    /// any subject can be read. Keys that were not wrapped before are, when a store is opened for
    /// writing with it.
    pub fn wrapped_by(mut self, key: [u8; 32]) -> Self {
        self.wrapping = Some(Zeroizing::new(key));
        self
    }

    /// Begins a new keyring where the store has had one that is not there any more: after a
    /// restore without keys, say. What was encrypted with lost keys stays unreadable, unless they
    /// are imported yet. Without this, such a store refuses events that name a subject.
    pub fn anew(mut self) -> Self {
        self.anew = true;
        self
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("directory", &self.directory)
            .field("wrapped", &self.wrapping.is_some())
            .field("anew", &self.anew)
            .finish()
    }
}
