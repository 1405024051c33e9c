//! Layer 1.3: file systems on loop devices: made, mounted, unmounted, and never left behind.
//!
//! Knows: the tools and their peculiarities. Does not know: stores.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use crate::image::{Image, PAGE};
use crate::trouble::{Outcome, Trouble};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

pub const KINDS: [Kind; 3] = [Kind::Ext4, Kind::Xfs, Kind::Btrfs];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest that its tool makes, in bytes; almost all of it stays a hole.
    fn size(self) -> u64 {
        match self {
            Self::Ext4 => 24 << 20,
            Self::Xfs => 300 << 20,
            Self::Btrfs => 112 << 20,
        }
    }

    /// Pages that must be whole before the journal is even looked for: the superblocks. Real disks
    /// write 4096 bytes whole, which these file systems rely on there and nowhere else.
    pub fn superblocks(self) -> &'static [u64] {
        match self {
            Self::Ext4 | Self::Xfs => &[0],
            Self::Btrfs => &[(64 << 10) / PAGE, (64 << 20) / PAGE],
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,nodiscard"],
            Self::Xfs => &["-q", "-f", "-K"],
            Self::Btrfs => &["-q", "-f", "-K"],
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Btrfs => "loop,noatime",
            Self::Xfs => "loop,noatime,nouuid",
        }
    }

    /// Makes an empty file system.
    pub fn make(self, scratch: &Path) -> Outcome<Image> {
        let file = self.make_file(scratch, self.size())?;
        let image = Image::load(&file)?;
        std::fs::remove_file(&file).map_err(Trouble::io("cannot remove an image"))?;
        Ok(image)
    }

    /// The same in a file.
    pub fn make_file(self, scratch: &Path, size: u64) -> Outcome<PathBuf> {
        let path = scratch.join(format!("blank-{self}"));
        let made = File::create(&path).and_then(|file| file.set_len(size));
        made.map_err(Trouble::io("cannot make an image"))?;
        tool(Command::new(format!("mkfs.{self}")).args(self.arguments()).arg(&path))?;
        Ok(path)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = KINDS.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("{name} is not ext4, xfs or btrfs"))
    }
}

/// A mounted file system; its loop device goes with it.
#[derive(Debug)]
pub struct Mounted {
    point: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    /// Mounts an image on an empty directory, which replays its journal.
    pub fn new(kind: Kind, image: &Path, point: &Path) -> Outcome<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", kind.name(), "-o", kind.options()]).arg(image).arg(point);
        tool(&mut mount)?;
        Ok(Self { point: point.into(), is_mounted: true })
    }

    /// A file system in memory, of so many bytes.
    pub fn in_memory(bytes: u64, point: &Path) -> Outcome<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(point);
        tool(&mut mount)?;
        Ok(Self { point: point.into(), is_mounted: true })
    }

    /// Unmounts it. In a process of its own: the file system may wait for its disk, which is here.
    pub fn unmount(mut self) -> Outcome<()> {
        self.is_mounted = false;
        tool(Command::new("umount").arg(&self.point)).map(drop)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            // Somebody may still be in it; it goes when he does.
            let _: Outcome<String> = tool(Command::new("umount").arg("-l").arg(&self.point));
        }
    }
}

/// Runs a tool that must succeed; answers what it said.
pub fn tool(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(Trouble::io(format!("{command:?}")))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(said);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Trouble::Machine(format!("{command:?}: {} {said}", complaint.trim())))
}
