//! Layer 4.3: keys in a file of their own, apart from every store: written once, read whole.
//!
//! Knows: the file. Does not know: the keyring they came from, or the one they go to. The file
//! holds keys in clear: whoever has it and a copy of the log can read everything.

use uuid::Uuid;

use super::files::failed;
use super::keyring::{KeyState, Keys, decode, encode};
use crate::disk::{Access, Disk};
use crate::format::{KEYED_ALIGN, KeyedEntry, KeyedStep, encode_keyed, keyed_seed, keyed_step};
use crate::types::{Error, ErrorKind, Result};

/// In the place of a keyed file's kind; the store is none.
const APART: u8 = 4;

fn seed() -> u32 {
    keyed_seed(Uuid::nil(), APART)
}

/// Writes the keys, and the marks of those that were forgotten, into a new file, durably.
///
/// # Errors
/// `Invalid` when the name is taken, or a key is wrapped and cannot be unwrapped; `DiskFull`, `Io`.
pub(crate) fn write_keys(disk: &dyn Disk, name: &str, keys: &Keys) -> Result<()> {
    let mut bytes = Vec::new();
    for (at, (id, entry)) in keys.iter().enumerate() {
        if matches!(entry.state, KeyState::Wrapped(_)) {
            let text = "the keys are wrapped: open the store with `Keyring::wrapped_by`";
            return Err(Error::invalid(text));
        }
        let (value, sequence) = (encode(*id, entry, None)?, at as u64 + 1);
        let entry = KeyedEntry { sequence, key: id.as_bytes(), value: Some(&value), end: 0 };
        bytes.append(&mut encode_keyed(seed(), bytes.len() as u64, &entry));
    }
    let file = match disk.open(name, Access::Create) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let text = format!("{name} is there already; keys are written into a new file");
            return Err(Error::invalid(text));
        }
        other => other.map_err(failed("create", name))?,
    };
    let written = file.write_at(&bytes, 0).map_err(failed("write", name));
    let written = written.and_then(|()| file.sync().map_err(failed("sync", name)));
    let written = written
        .and_then(|()| disk.sync_dir().map_err(failed("sync the directory after making", name)));
    written.inspect_err(|_| {
        // Half a file of keys helps nobody.
        let _ = disk.remove(name);
    })
}

/// Reads what [`write_keys`] wrote.
///
/// # Errors
/// `NotFound`; `Damaged` when any of it does not check; `Io`.
pub(crate) fn read_keys(disk: &dyn Disk, name: &str) -> Result<Keys> {
    let file = match disk.open(name, Access::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("there is no file {name} in {}", disk.location());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        other => other.map_err(failed("open", name))?,
    };
    let size = file.size().map_err(failed("read", name))?;
    let mut source = crate::segment::FileSource::new(file, size);
    let (mut keys, mut at) = (Keys::new(), 0);
    while at < size {
        let bad = || Error::damaged(name, at, "this is not a whole file of keys");
        let step = keyed_step(&mut source, seed(), at).map_err(failed("read", name))?;
        let KeyedStep::Entry(KeyedEntry { key, value: Some(value), end, .. }) = step else {
            return Err(bad());
        };
        let id = Uuid::from_slice(key).map_err(|_| bad())?;
        keys.insert(id, decode(id, value, None).ok_or_else(bad)?);
        at = end.next_multiple_of(KEYED_ALIGN);
    }
    Ok(keys)
}
