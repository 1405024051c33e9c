//! Layer 1.1: a disk for a loop device: one file of a FUSE file system, kept in memory.
//!
//! Knows: FUSE's calls, what is to be written down and what is to fail. Does not know: what the
//! bytes mean.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::image::Image;
use crate::said::Said;
use crate::tape::Entry;
use crate::trouble::{Outcome, Trouble};

const NAME: &str = "disk-";
const FOREVER: Duration = Duration::from_secs(3600);
/// The number of the first disk's file; the root is 1.
const FIRST_INODE: u64 = 2;

/// Writes that contain these bytes fail, so many times, after a delay.
#[derive(Debug, Clone)]
pub struct Failing {
    pub containing: Vec<u8>,
    pub times: u64,
    pub after: Duration,
}

#[derive(Debug, Default)]
struct Content {
    image: Image,
    /// Tells one content from the one before: each has a file of its own.
    number: u64,
    tape: Option<Vec<Entry>>,
    failing: Option<Failing>,
}

/// The disk as its owner sees it.
#[derive(Debug)]
pub struct Device {
    content: Arc<Mutex<Content>>,
    point: PathBuf,
    session: Option<BackgroundSession>,
}

impl Device {
    /// Mounts the file system on an empty directory.
    pub fn mount(point: &Path) -> Outcome<Self> {
        let content = Arc::new(Mutex::new(Content::default()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("factlog-kernels".into())];
        let session = fuser::spawn_mount(Server { content: content.clone() }, point, &config);
        let session = session.map_err(Trouble::io("cannot mount a FUSE file system"))?;
        Ok(Self { content, point: point.into(), session: Some(session) })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        lock(&self.content)
    }

    /// Puts another disk in; answers the path of its file.
    pub fn insert(&self, image: Image) -> PathBuf {
        let mut content = self.content();
        let number = content.number + 1;
        *content = Content { image, number, ..Content::default() };
        self.point.join(format!("{NAME}{number}"))
    }

    /// From now on everything is written down.
    pub fn record(&self) {
        self.content().tape = Some(Vec::new());
    }

    /// Writes down what was said.
    pub fn said(&self, said: Said) {
        if let Some(tape) = &mut self.content().tape {
            tape.push(Entry::Said(said));
        }
    }

    /// Ends the recording and answers it.
    pub fn recorded(&self) -> Vec<Entry> {
        self.content().tape.take().unwrap_or_default()
    }

    pub fn fail(&self, failing: Failing) {
        self.content().failing = Some(failing);
    }

    /// What is on the disk now.
    pub fn image(&self) -> Image {
        self.content().image.clone()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Whoever still holds its files open is left with errors.
            let _: std::io::Result<()> = session.umount_and_join();
        }
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Server {
    content: Arc<Mutex<Content>>,
}

impl Server {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_root = inode == INodeNo::ROOT;
        let size = if is_root { 0 } else { lock(&self.content).image.size() };
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: if is_root { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Whether this write is one of those that fail.
    fn fails(&self, bytes: &[u8]) -> Option<Duration> {
        let mut content = lock(&self.content);
        let failing = content.failing.as_mut().filter(|failing| failing.times > 0)?;
        let needle = &failing.containing;
        if !bytes.windows(needle.len().max(1)).any(|part| part == needle) {
            return None;
        }
        failing.times -= 1;
        Some(failing.after)
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME)?.parse::<u64>().ok());
        match number.filter(|number| *number == lock(&self.content).number) {
            Some(number) => {
                let attributes = self.attributes(INodeNo(FIRST_INODE + number));
                reply.entry(&FOREVER, &attributes, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // The kernel keeps no copy: what the file system writes arrives here, in order.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let content = lock(&self.content);
        let rest = content.image.size().saturating_sub(offset);
        let size = usize::try_from(u64::from(size).min(rest)).unwrap_or(0);
        let mut buffer = vec![0; size];
        content.image.read(offset, &mut buffer);
        drop(content);
        reply.data(&buffer);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if let Some(after) = self.fails(bytes) {
            thread::sleep(after);
            return reply.error(Errno::EIO);
        }
        let mut content = lock(&self.content);
        content.image.write(offset, bytes);
        if let Some(tape) = &mut content.tape {
            tape.push(Entry::Write { offset, bytes: bytes.to_vec() });
        }
        drop(content);
        reply.written(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let Some(tape) = &mut lock(&self.content).tape {
            tape.push(Entry::Flush);
        }
        reply.ok();
    }
}
