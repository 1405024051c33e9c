//! Layer 2.3: two syncs of one file at a time, and one write that fails under both.
//!
//! A kernel reports a failed write once per open file description. Two syncs of the same
//! description share that one report: one of them answers success although nothing of it is on
//! disk. This is why the store has one sync in flight per description. Knows: how to see it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::device::{Device, Failing};
use crate::filesystems::{KINDS, Kind, Mounted, tool};
use crate::image::{Image, PAGE};
use crate::process::myself;
use crate::trouble::{Outcome, Trouble};

const NEW: [u8; 16] = *b"new, and lost...";
/// Long enough for both syncs to wait for the same write.
const DELAY: Duration = Duration::from_millis(300);

/// What the two syncs answered on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    /// Syncs that failed, of two of one description and of two descriptions.
    pub failed_shared: u64,
    pub failed_apart: u64,
}

/// Shows it on each file system.
pub fn show(scratch: &Path) -> Outcome<Vec<Seen>> {
    let (fuse, point) = (scratch.join("fuse"), scratch.join("point"));
    for folder in [&fuse, &point] {
        std::fs::create_dir_all(folder).map_err(Trouble::io("cannot make a directory"))?;
    }
    let device = Device::mount(&fuse)?;
    let mut seen = Vec::new();
    for kind in KINDS {
        let blank = kind.make(scratch)?;
        let failed = |shared| one(&device, (kind, &blank), &point, shared);
        let answers = Seen { kind, failed_shared: failed(true)?, failed_apart: failed(false)? };
        if (answers.failed_shared, answers.failed_apart) != (1, 2) {
            return Err(Trouble::Machine(format!("this kernel reports otherwise: {answers:?}")));
        }
        seen.push(answers);
    }
    Ok(seen)
}

fn one(device: &Device, disk: (Kind, &Image), point: &Path, shared: bool) -> Outcome<u64> {
    let (kind, blank) = disk;
    let mounted = Mounted::new(kind, &device.insert(blank.clone()), point)?;
    device.fail(Failing { containing: NEW.to_vec(), times: 1, after: DELAY });
    let mut writer = Command::new(myself()?);
    writer.arg("overlap").arg("--file").arg(point.join("file"));
    if shared {
        writer.arg("--shared");
    }
    let answers = tool(&mut writer)?;
    if contains(&device.image()) {
        return Err(Trouble::Machine(format!("{kind}: the write did not fail")));
    }
    mounted.unmount()?;
    Ok(answers.split_whitespace().filter(|answer| *answer == "failed").count() as u64)
}

fn contains(image: &Image) -> bool {
    let mut page = vec![0; usize::try_from(PAGE).unwrap_or(0)];
    (0..image.size() / PAGE).any(|number| {
        image.read(number * PAGE, &mut page);
        page.windows(NEW.len()).any(|part| part == NEW)
    })
}

/// The process that syncs twice at a time: it is not the one that serves the disk.
pub fn write(file: &PathBuf, shared: bool) -> Outcome<()> {
    let lost = "cannot prepare a file";
    let open = |path: &PathBuf| OpenOptions::new().read(true).write(true).open(path);
    let prepare = || {
        // Old bytes first, so that the new ones need no new place.
        File::create(file)?.write_all(&vec![1; 64 << 10])?;
        let (one, two) = (open(file)?, open(file)?);
        one.sync_all()?;
        two.sync_all()?;
        one.write_all_at(&NEW, 16 << 10)?;
        Ok::<_, io::Error>((one, two))
    };
    let (one, two) = prepare().map_err(Trouble::io(lost))?;
    let start = Barrier::new(2);
    let sync = |file: &File| {
        start.wait();
        if file.sync_data().is_ok() { "synced" } else { "failed" }
    };
    let other = if shared { &one } else { &two };
    let answers = thread::scope(|scope| {
        let first = scope.spawn(|| sync(&one));
        let second = sync(other);
        first.join().map(|first| format!("{first} {second}"))
    });
    let answers = answers.map_err(|_| Trouble::Machine("a thread died".into()))?;
    writeln!(io::stdout(), "{answers}").map_err(Trouble::io("nobody listens"))
}
