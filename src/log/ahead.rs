//! Layer 4.2: space and segments prepared ahead of the writer, by another thread.
//!
//! Knows: who owns which bytes of the segment that is written. Does not know: frames.

use super::files::{START_END, failed, prepare_segment};
use super::head::HeadFile;
use crate::disk::{Access, Disk};
use crate::format::{FileName, SegmentHeader, name_of};
use crate::sync::{Arc, Condvar, Mutex};
use crate::types::Result;

/// Space is prepared in pieces of at most this size: whoever overtakes waits for one.
const PIECE_MOST: u64 = 4 << 20;
/// How far ahead space is prepared: as much as was written since opening, between these. What a
/// small store costs stays small, and what an opening after a crash looks through stays bounded.
const HORIZON_LEAST: u64 = 256 << 10;
const HORIZON_MOST: u64 = 32 << 20;
/// From so many bytes per write on, a second write of every byte costs more than a file that grows.
const BULK_BYTES: u64 = 2 << 20;

/// How much is written, and in which portions: what decides how far ahead space is prepared.
#[derive(Debug, Default)]
pub(super) struct Pace {
    total: u64,
    /// Bytes per write, of the last few.
    portion: u64,
}

impl Pace {
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.total = self.total.saturating_add(bytes);
        self.portion = self.portion - self.portion / 8 + bytes / 8;
    }

    /// How many bytes should be ready ahead; `None` when it does not pay.
    pub(super) fn horizon(&self) -> Option<u64> {
        (self.portion < BULK_BYTES).then(|| self.total.clamp(HORIZON_LEAST, HORIZON_MOST))
    }
}

/// Zero-written space ahead of the writer. A byte has one owner: below `ready` the writer, in the
/// range being prepared the preparer, beyond that whoever takes it first under the lock.
#[derive(Debug)]
pub(crate) struct Runway {
    name: String,
    capacity: u64,
    state: Mutex<RunwayState>,
    landed: Condvar,
}

#[derive(Debug)]
struct RunwayState {
    ready: u64,
    in_flight: bool,
    /// Somebody will prepare more.
    asked: bool,
}

impl Runway {
    pub(super) fn new(name: String, capacity: u64, ready: u64) -> Self {
        let state = Mutex::new(RunwayState { ready, in_flight: false, asked: false });
        Self { name, capacity, state, landed: Condvar::new() }
    }

    /// The segment it lies in.
    pub(crate) fn segment(&self) -> &str {
        &self.name
    }

    /// Makes everything below `end` the writer's; answers how far it was ready.
    pub(super) fn claim(&self, end: u64) -> u64 {
        let mut state = self.state.lock();
        while state.in_flight && state.ready < end {
            self.landed.wait(&mut state);
        }
        let ready = state.ready;
        state.ready = ready.max(end);
        ready
    }

    /// Whether less than up to `end` is ready and nobody was asked yet; he is asked now.
    pub(super) fn asks_for(&self, end: u64) -> bool {
        let mut state = self.state.lock();
        let asks = !state.asked && !state.in_flight && state.ready < end.min(self.capacity);
        state.asked |= asks;
        asks
    }

    /// Zero-writes and syncs the next piece towards `end`, through a file of its own: two syncs of
    /// one open file would share one error report.
    pub(crate) fn prepare(&self, disk: &dyn Disk, end: u64) -> Result<()> {
        let (from, size) = {
            let mut state = self.state.lock();
            state.asked = false;
            let end = end.min(self.capacity);
            if state.in_flight || state.ready >= end {
                return Ok(());
            }
            state.in_flight = true;
            (state.ready, (end - state.ready).min(PIECE_MOST))
        };
        let mut landing = Landing { runway: self, ready: None };
        let done = self.write_zeros(disk, from, size);
        landing.ready = done.is_ok().then_some(from + size);
        done
    }

    fn write_zeros(&self, disk: &dyn Disk, from: u64, size: u64) -> Result<()> {
        let file = disk.open(&self.name, Access::Write).map_err(failed("open", &self.name))?;
        let piece = vec![0; usize::try_from(size.min(1 << 20)).unwrap_or(0)];
        let mut at = from;
        while at < from + size {
            let rest = usize::try_from(from + size - at).unwrap_or(usize::MAX).min(piece.len());
            let zeros = piece.get(..rest).unwrap_or_default();
            file.write_at(zeros, at).map_err(failed("prepare space in", &self.name))?;
            at += rest as u64;
        }
        file.sync().map_err(failed("sync prepared space in", &self.name))
    }
}

/// Ends a preparation, also one that panics: the writer waits for it.
struct Landing<'a> {
    runway: &'a Runway,
    ready: Option<u64>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut state = self.runway.state.lock();
        state.in_flight = false;
        if let Some(ready) = self.ready {
            state.ready = state.ready.max(ready);
        }
        self.runway.landed.notify_all();
    }
}

/// Prepares empty segments and lists them in the head, each once.
#[derive(Debug)]
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    head: Arc<HeadFile>,
    capacity: u64,
    prepared: Mutex<u64>,
    /// The space of the newest one, with its number. Not behind the lock that is held while a file
    /// is made: a writer asks for it.
    newest: Mutex<Option<(u64, Arc<Runway>)>>,
}

impl Spares {
    pub(crate) fn new(disk: Arc<dyn Disk>, head: Arc<HeadFile>, capacity: u64, last: u64) -> Self {
        Self { disk, head, capacity, prepared: Mutex::new(last), newest: Mutex::default() }
    }

    /// Makes sure that segment `number` exists, synced and listed.
    pub(crate) fn ensure(&self, number: u64, now: u64) -> Result<()> {
        let mut prepared = self.prepared.lock();
        if *prepared >= number {
            return Ok(());
        }
        let head = self.head.get();
        let header = SegmentHeader {
            store: head.store,
            number,
            id_scope: head.id_scope,
            capacity: self.capacity,
            created_at: now,
            rewrite: 0,
        };
        prepare_segment(&*self.disk, &header)?;
        self.head.update(|head| head.last_segment = head.last_segment.max(number))?;
        *prepared = number;
        let name = name_of(FileName::Segment(number));
        let runway = Runway::new(name, self.capacity, START_END.min(self.capacity));
        *self.newest.lock() = Some((number, Arc::new(runway)));
        Ok(())
    }

    /// The space of segment `number`, if it was prepared since opening.
    pub(super) fn runway(&self, number: u64) -> Option<Arc<Runway>> {
        let newest = self.newest.lock();
        newest.as_ref().filter(|(of, _)| *of == number).map(|(_, runway)| runway.clone())
    }

    /// Gives the space of a segment that was not begun back, but for what it was made with.
    pub(super) fn give_back(&self, number: u64) {
        let Some(runway) = self.runway(number) else { return };
        if runway.claim(u64::MAX) > START_END
            && let Ok(file) = self.disk.open(&runway.name, Access::Write)
        {
            // Failing that costs space only.
            let _ = file.set_size(START_END);
        }
    }
}
