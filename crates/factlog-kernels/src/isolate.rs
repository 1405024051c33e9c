//! Layer 1.4: a corner of the machine where nothing is left behind, and what the machine allows.
//!
//! Knows: namespaces, and what each campaign needs. Does not know: campaigns.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::filesystems::tool;
use crate::process::myself;
use crate::trouble::{Outcome, Trouble};

/// Set in the environment of the process inside.
const INSIDE: &str = "FACTLOG_KERNELS_INSIDE";
/// Where the directory in memory may be, hiding what others have there.
const PLACES: &[&str] = &["/dev/shm", "/mnt"];

/// Runs this program again, with mounts and processes of its own: when it ends, however it ends,
/// all its processes die, and its mounts and their loop devices go. Inside it answers a directory
/// in memory: a kill takes nothing from it, and it goes like the rest.
pub fn enter() -> Outcome<PathBuf> {
    if std::env::var_os(INSIDE).is_some() {
        let place = PLACES.iter().map(Path::new).find(|place| place.is_dir());
        let Some(place) = place else { return Err(Trouble::Machine(format!("no {PLACES:?}"))) };
        tool(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(place))?;
        return Ok(place.into());
    }
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]);
    inside.args(["--kill-child=KILL", "--"]).arg(myself()?).args(std::env::args_os().skip(1));
    let error = inside.env(INSIDE, "1").exec(); // comes back only when it fails
    Err(Trouble::Machine(format!("cannot isolate: {error}")))
}

/// What a campaign needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Need {
    Kills,
    Faults,
    CrashStates,
}

/// Why the machine does not allow it, if it does not.
pub fn lacks(need: Need) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, for namespaces and mounts".into());
    }
    let tools: &[&str] = match need {
        Need::Kills => &["unshare", "strace"],
        Need::Faults => &["unshare", "strace", "mount", "umount", "mkfs.ext4"],
        Need::CrashStates => &["unshare", "mount", "umount", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs"],
    };
    if let Some(tool) = tools.iter().find(|tool| !is_there(tool)) {
        return Some(format!("{tool} is not installed"));
    }
    if !succeeds("unshare", &["--mount", "--pid", "--fork", "true"]) {
        return Some("it may not make namespaces".into());
    }
    let devices: &[&str] = match need {
        Need::Kills => &[],
        Need::Faults => &["/dev/loop-control"],
        Need::CrashStates => &["/dev/loop-control", "/dev/fuse"],
    };
    if let Some(device) = devices.iter().find(|device| !Path::new(device).exists()) {
        return Some(format!("there is no {device}"));
    }
    if need != Need::CrashStates && !succeeds("strace", &["-o", "/dev/null", "true"]) {
        return Some("it may not trace processes".into());
    }
    None
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).exists())
}

fn succeeds(tool: &str, arguments: &[&str]) -> bool {
    Command::new(tool).args(arguments).output().is_ok_and(|output| output.status.success())
}
