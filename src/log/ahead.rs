//! Layer 4.2: space and segments prepared ahead of the writer, by another thread.
//!
//! Knows: who owns which bytes of the segment that is written. Does not know: frames.

use super::files::{failed, prepare_segment};
use super::head::HeadFile;
use crate::disk::{Access, Disk};
use crate::format::SegmentHeader;
use crate::sync::{Arc, Condvar, Mutex};
use crate::types::Result;

/// Space is prepared ahead in pieces between these sizes.
const PREPARE_LEAST: u64 = 1 << 20;
const PREPARE_MOST: u64 = 8 << 20;

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
}

impl Runway {
    pub(super) fn new(name: String, capacity: u64, ready: u64) -> Self {
        let state = Mutex::new(RunwayState { ready, in_flight: false });
        Self { name, capacity, state, landed: Condvar::new() }
    }

    /// Makes everything below `end` the writer's.
    pub(super) fn claim(&self, end: u64) {
        let mut state = self.state.lock();
        while state.in_flight && state.ready < end {
            self.landed.wait(&mut state);
        }
        state.ready = state.ready.max(end);
    }

    /// Whether a writer at `offset` will soon need more.
    pub(crate) fn is_short(&self, offset: u64) -> bool {
        let state = self.state.lock();
        !state.in_flight && state.ready < self.capacity && state.ready < offset + PREPARE_LEAST / 2
    }

    /// Zero-writes and syncs the next piece, through a file of its own: two syncs of one open file
    /// would share one error report.
    pub(crate) fn prepare(&self, disk: &dyn Disk) -> Result<()> {
        let (from, size) = {
            let mut state = self.state.lock();
            if state.in_flight || state.ready >= self.capacity {
                return Ok(());
            }
            state.in_flight = true;
            let size = state.ready.clamp(PREPARE_LEAST, PREPARE_MOST);
            (state.ready, size.min(self.capacity - state.ready))
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
}

impl Spares {
    pub(crate) fn new(disk: Arc<dyn Disk>, head: Arc<HeadFile>, capacity: u64, last: u64) -> Self {
        Self { disk, head, capacity, prepared: Mutex::new(last) }
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
        };
        prepare_segment(&*self.disk, &header)?;
        self.head.update(|head| head.last_segment = head.last_segment.max(number))?;
        *prepared = number;
        Ok(())
    }
}
