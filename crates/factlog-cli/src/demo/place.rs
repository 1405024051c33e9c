//! What the demo's directory is stored on, since its figures are that disk's.
//!
//! Knows: Linux's list of mounts. Does not know: stores.

use std::fmt;
use std::path::Path;

/// The kind of file system, if it could be told.
pub struct Place(Option<String>);

impl Place {
    /// Whether it forgets everything when the power goes: its figures say nothing about a disk.
    pub fn is_memory(&self) -> bool {
        matches!(self.0.as_deref(), Some("tmpfs" | "ramfs"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(kind) if self.is_memory() => write!(f, "{kind}: in memory, not a disk"),
            Some(kind) => f.write_str(kind),
            None => f.write_str("unknown file system"),
        }
    }
}

/// What `dir` is on.
pub fn of(dir: &Path) -> Place {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    Place(kind_of(&mounts, &dir))
}

/// The type of the last mount over the longest leading part of `dir`.
fn kind_of(mounts: &str, dir: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpx xfs rw 0 0\n";
        let kind = |dir: &str| Place(kind_of(mounts, Path::new(dir)));
        assert_eq!(kind("/home/x").to_string(), "ext4");
        assert!(kind("/tmp/x").is_memory());
        assert_eq!(kind("/tmpx/y").to_string(), "xfs");
        assert_eq!(Place(kind_of("", Path::new("/x"))).to_string(), "unknown file system");
    }
}
