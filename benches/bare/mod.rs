//! The limit that this machine sets: a group-commit log with none of a store's duties.
//!
//! Knows: frames with checksums in one file written with zeros ahead; expected versions; a map from
//! streams to offsets; groups, of which the first waiter leads one on its own thread while the next
//! forms. Does not know: ids, sidecars, recovery, failures. It marks what the hardware gives, and
//! is no product.
#![allow(dead_code, reason = "each benchmark uses what it needs")]

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use crate::workload::{EVENT_TYPE, Fact, METADATA};

/// Length of the records, their number, checksum over their checksums, checksum of this head.
const FRAME_HEAD: usize = 16;
/// Length, checksum, version, id, lengths of stream, type, metadata, data.
const RECORD_HEAD: usize = 44;
const WINDOW: usize = 256 << 10;

pub struct Bare {
    file: File,
    path: PathBuf,
    capacity: u64,
    syncs: bool,
    queue: Mutex<Queue>,
    turns: [Condvar; 2],
    index: RwLock<Index>,
    durable: Mutex<u64>,
    moved: Condvar,
}

#[derive(Default)]
struct Queue {
    /// The number of the group that forms, and how many groups are durable.
    forming: u64,
    done: u64,
    leading: bool,
    bytes: Vec<u8>,
    spare: Vec<u8>,
    /// Stream and place within the group of every record.
    placed: Vec<(u32, u32)>,
    versions: Vec<u64>,
    end: u64,
}

#[derive(Default)]
struct Index {
    streams: HashMap<Box<str>, u32>,
    offsets: Vec<Vec<u64>>,
}

/// An event where it lies.
pub struct Record<'a> {
    pub version: u64,
    pub stream: &'a str,
    pub data: &'a [u8],
}

thread_local! {
    static SCRATCH: RefCell<(Vec<u8>, Vec<u32>)> = RefCell::default();
    static EVENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Bare {
    /// A new log over `capacity` bytes of zeros that are on disk.
    pub fn create(folder: &Path, capacity: u64, syncs: bool) -> Self {
        let path = folder.join("bare");
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let zeros = vec![0; 1 << 20];
        for at in 0..capacity.div_ceil(1 << 20) {
            file.write_all_at(&zeros, at << 20).unwrap();
        }
        file.sync_all().unwrap();
        Self::over(file, path, syncs)
    }

    fn over(file: File, path: PathBuf, syncs: bool) -> Self {
        let capacity = file.metadata().unwrap().len();
        Self {
            file,
            path,
            capacity,
            syncs,
            queue: Mutex::default(),
            turns: Default::default(),
            index: RwLock::default(),
            durable: Mutex::new(0),
            moved: Condvar::new(),
        }
    }

    /// Opens a log and scans it.
    pub fn open(path: &Path, syncs: bool) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let log = Self::over(file, path.to_owned(), syncs);
        {
            let (mut index, mut queue) = (log.index.write(), log.queue.lock());
            queue.end = log.walk(0, log.capacity, &mut |offset, record| {
                let stream = index.number_of(record.stream, &mut queue.versions);
                queue.versions[stream as usize] = record.version;
                index.offsets[stream as usize].push(offset);
            });
            *log.durable.lock() = queue.end;
        }
        log
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn sync(&self) {
        self.file.sync_data().unwrap();
    }

    /// Begins again at the front when more than half of the space is used: for writing only.
    pub fn make_room(&self) {
        let mut queue = self.queue.lock();
        if queue.end > self.capacity / 2 {
            queue.end = 0;
            self.index.write().offsets.iter_mut().for_each(Vec::clear);
        }
    }

    /// Appends, durable when it returns; `Err` with the actual version.
    pub fn append(&self, stream: &str, version: u64, facts: &[Fact]) -> Result<(), u64> {
        SCRATCH.with_borrow_mut(|(bytes, starts)| {
            encode(bytes, starts, (stream, version), facts);
            self.commit((stream, version), bytes, starts)
        })
    }

    fn commit(
        &self,
        (stream, version): (&str, u64),
        bytes: &[u8],
        starts: &[u32],
    ) -> Result<(), u64> {
        let known = self.index.read().streams.get(stream).copied();
        let mut queue = self.queue.lock();
        let stream =
            known.unwrap_or_else(|| self.index.write().number_of(stream, &mut queue.versions));
        let actual = &mut queue.versions[stream as usize];
        if *actual != version {
            return Err(*actual);
        }
        *actual += starts.len() as u64;
        let base = queue.bytes.len() as u32;
        queue.bytes.extend_from_slice(bytes);
        queue.placed.extend(starts.iter().map(|start| (stream, base + start)));
        let mine = queue.forming;
        while queue.done <= mine {
            if !queue.leading && queue.forming == mine {
                queue = self.lead(queue);
            } else {
                self.turns[mine as usize % 2].wait(&mut queue);
            }
        }
        Ok(())
    }

    fn lead<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let group = queue.forming;
        queue.leading = true;
        queue.forming += 1;
        let spare = std::mem::take(&mut queue.spare);
        let bytes = std::mem::replace(&mut queue.bytes, spare);
        let placed = std::mem::take(&mut queue.placed);
        let at = queue.end;
        queue.end += bytes.len() as u64;
        assert!(queue.end <= self.capacity, "the space ahead is used up");
        drop(queue);
        self.file.write_all_at(&bytes, at).unwrap();
        if self.syncs {
            self.file.sync_data().unwrap();
        }
        {
            let mut index = self.index.write();
            for (stream, start) in placed {
                index.offsets[stream as usize].push(at + u64::from(start));
            }
        }
        *self.durable.lock() = at + bytes.len() as u64;
        self.moved.notify_all();
        let mut queue = self.queue.lock();
        queue.spare = bytes;
        queue.spare.clear();
        queue.done = group + 1;
        queue.leading = false;
        self.turns[group as usize % 2].notify_all();
        self.turns[(group + 1) as usize % 2].notify_one();
        queue
    }

    /// Every event, checked; answers how many.
    pub fn scan(&self, mut visit: impl FnMut(Record<'_>)) -> u64 {
        let (end, mut events) = (*self.durable.lock(), 0);
        self.walk(0, end, &mut |_, record| {
            events += 1;
            visit(record);
        });
        events
    }

    /// Every event of the frames between two offsets; answers where it ended.
    fn walk(&self, from: u64, end: u64, visit: &mut dyn FnMut(u64, Record<'_>)) -> u64 {
        let (mut window, mut start, mut at) = (Vec::new(), 0, from);
        loop {
            let Some(head) = self.window(&mut window, (&mut start, end), at, FRAME_HEAD) else {
                return at;
            };
            let (length, records) = (number(head, 0) as usize, number(head, 4));
            if length == 0 || crc32fast::hash(&head[..12]) != number(head, 12) {
                return at;
            }
            let sums_wanted = number(head, 8);
            let body = at + FRAME_HEAD as u64;
            let Some(bytes) = self.window(&mut window, (&mut start, end), body, length) else {
                return at;
            };
            let (mut sums, mut place) = (crc32fast::Hasher::new(), 0);
            for _ in 0..records {
                let Some((record, size)) = decode(&bytes[place..]) else { return at };
                sums.update(&bytes[place + 4..place + 8]);
                visit(body + place as u64, record);
                place += size;
            }
            if sums.finalize() != sums_wanted {
                return at;
            }
            at = body + length as u64;
        }
    }

    /// Bytes through a window that moves along; `None` at the end.
    fn window<'a>(
        &self,
        window: &'a mut Vec<u8>,
        (start, end): (&mut u64, u64),
        at: u64,
        length: usize,
    ) -> Option<&'a [u8]> {
        if at + length as u64 > end {
            return None;
        }
        if at < *start || at + length as u64 > *start + window.len() as u64 {
            let size = (end - at).min(length.max(WINDOW) as u64) as usize;
            window.resize(size, 0);
            self.file.read_exact_at(window, at).unwrap();
            *start = at;
        }
        let from = (at - *start) as usize;
        Some(&window[from..from + length])
    }

    /// A whole stream, checked; answers how many events.
    pub fn read_stream(&self, stream: &str, mut visit: impl FnMut(Record<'_>)) -> usize {
        let index = self.index.read();
        let Some(number) = index.streams.get(stream) else { return 0 };
        let offsets = index.offsets[*number as usize].clone();
        drop(index);
        self.read_offsets(&offsets, &mut visit);
        offsets.len()
    }

    /// One event by stream and version.
    pub fn read_one(&self, stream: &str, version: u64, mut visit: impl FnMut(Record<'_>)) -> bool {
        let offset = {
            let index = self.index.read();
            let Some(number) = index.streams.get(stream) else { return false };
            index.offsets[*number as usize].get(version as usize - 1).copied()
        };
        offset.inspect(|offset| self.read_offsets(&[*offset], &mut visit)).is_some()
    }

    /// Events at given places, checked, one read each.
    pub fn read_offsets(&self, offsets: &[u64], visit: &mut dyn FnMut(Record<'_>)) {
        EVENT.with_borrow_mut(|buffer| {
            for offset in offsets {
                buffer.resize(512, 0);
                let read = self.file.read_at(buffer, *offset).unwrap();
                let whole = number(buffer, 0) as usize;
                if whole > read {
                    buffer.resize(whole, 0);
                    self.file.read_exact_at(buffer, *offset).unwrap();
                }
                visit(decode(buffer).expect("an event that checks").0);
            }
        });
    }

    /// The offsets of the events that match.
    pub fn offsets(&self, mut matches: impl FnMut(&Record<'_>) -> bool) -> Vec<u64> {
        let mut found = Vec::new();
        self.walk(0, *self.durable.lock(), &mut |offset, record| {
            if matches(&record) {
                found.push(offset);
            }
        });
        found
    }

    /// The end of what is durable.
    pub fn end(&self) -> u64 {
        *self.durable.lock()
    }

    /// Waits until more than `seen` bytes are durable, then visits what came; answers the new end.
    pub fn follow(&self, seen: u64, wait: Duration, mut visit: impl FnMut(Record<'_>)) -> u64 {
        let mut durable = self.durable.lock();
        if *durable <= seen {
            self.moved.wait_for(&mut durable, wait);
        }
        let end = *durable;
        drop(durable);
        self.walk(seen, end, &mut |_, record| visit(record))
    }
}

impl Index {
    fn number_of(&mut self, stream: &str, versions: &mut Vec<u64>) -> u32 {
        if let Some(number) = self.streams.get(stream) {
            return *number;
        }
        let number = self.offsets.len() as u32;
        self.streams.insert(stream.into(), number);
        self.offsets.push(Vec::new());
        versions.push(0);
        number
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn encode(
    bytes: &mut Vec<u8>,
    starts: &mut Vec<u32>,
    (stream, version): (&str, u64),
    facts: &[Fact],
) {
    bytes.clear();
    bytes.resize(FRAME_HEAD, 0);
    starts.clear();
    let mut sums = crc32fast::Hasher::new();
    for (fact, version) in facts.iter().zip(version + 1..) {
        let start = bytes.len();
        starts.push(start as u32);
        let size = RECORD_HEAD + stream.len() + EVENT_TYPE.len() + METADATA.len() + fact.data.len();
        bytes.extend_from_slice(&(size as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(fact.id.as_bytes());
        for length in [stream.len(), EVENT_TYPE.len()] {
            bytes.extend_from_slice(&(length as u16).to_le_bytes());
        }
        for length in [METADATA.len(), fact.data.len()] {
            bytes.extend_from_slice(&(length as u32).to_le_bytes());
        }
        for part in [stream.as_bytes(), EVENT_TYPE.as_bytes(), METADATA, &fact.data] {
            bytes.extend_from_slice(part);
        }
        let sum = crc32fast::hash(&bytes[start + 8..]).to_le_bytes();
        bytes[start + 4..start + 8].copy_from_slice(&sum);
        sums.update(&sum);
    }
    let length = (bytes.len() - FRAME_HEAD) as u32;
    let head = [length, facts.len() as u32, sums.finalize()];
    for (at, value) in head.into_iter().enumerate() {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }
    let sum = crc32fast::hash(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&sum);
}

/// The record at the front of `bytes` if it checks, and its length.
fn decode(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let size = number(bytes.get(..RECORD_HEAD)?, 0) as usize;
    let record = bytes.get(..size)?;
    if crc32fast::hash(&record[8..]) != number(record, 4) {
        return None;
    }
    let version = u64::from_le_bytes(record[8..16].try_into().unwrap());
    let stream = u16::from_le_bytes(record[32..34].try_into().unwrap()) as usize;
    let stream = std::str::from_utf8(record.get(RECORD_HEAD..RECORD_HEAD + stream)?).ok()?;
    let data = record.get(size.checked_sub(number(record, 40) as usize)?..)?;
    Some((Record { version, stream, data }, size))
}
