//! What every store must do here, and group commit for those that have none.
//!
//! Knows: the least that all can do: durable appends with an expected version and an id that is
//! kept, a scan in global order, a stream, one event. Does not know: any store.

use parking_lot::{Condvar, Mutex};

use crate::workload::Fact;

/// Events for one stream that has `version` events before them.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub stream: &'a str,
    pub version: u64,
    pub facts: &'a [Fact],
}

/// A store as its documentation says to use it. Every call is checked with `unwrap`: a benchmark
/// that fails is no benchmark.
pub trait Peer: Send + Sync {
    /// Durable when it returns.
    fn append(&self, part: Part<'_>);

    /// The length of all data in global order, with the number of events.
    fn scan(&self) -> (u64, u64);

    /// How many events a stream has, after reading them all.
    fn read_stream(&self, stream: &str) -> usize;

    /// Reads one event; false where there is no such read.
    fn read_one(&self, stream: &str, version: u64) -> bool;

    /// Another handle that waits until there is more, where there is such a thing: answers how many
    /// events came.
    fn subscriber(&self) -> Option<Box<dyn FnMut() -> usize + Send>> {
        None
    }
}

/// A store that commits several parts in one transaction.
pub trait ManyAtOnce: Peer {
    fn append_many(&self, parts: &[OwnedPart]);
}

pub struct OwnedPart {
    pub stream: String,
    pub version: u64,
    pub facts: Vec<Fact>,
}

/// Group commit on top: the first who waits commits what has gathered, on its own thread.
pub struct Grouped<P> {
    pub inner: P,
    state: Mutex<Groups>,
    moved: Condvar,
}

#[derive(Default)]
struct Groups {
    parts: Vec<OwnedPart>,
    forming: u64,
    done: u64,
    leading: bool,
}

impl<P: ManyAtOnce> Grouped<P> {
    pub fn over(inner: P) -> Self {
        Self { inner, state: Mutex::default(), moved: Condvar::new() }
    }
}

impl<P: ManyAtOnce> Peer for Grouped<P> {
    fn append(&self, part: Part<'_>) {
        let mut state = self.state.lock();
        state.parts.push(OwnedPart {
            stream: part.stream.to_owned(),
            version: part.version,
            facts: part.facts.to_vec(),
        });
        let mine = state.forming;
        while state.done <= mine {
            if state.leading || state.forming != mine {
                self.moved.wait(&mut state);
                continue;
            }
            state.leading = true;
            state.forming += 1;
            let parts = std::mem::take(&mut state.parts);
            drop(state);
            self.inner.append_many(&parts);
            state = self.state.lock();
            state.done = mine + 1;
            state.leading = false;
            self.moved.notify_all();
        }
    }

    fn scan(&self) -> (u64, u64) {
        self.inner.scan()
    }

    fn read_stream(&self, stream: &str) -> usize {
        self.inner.read_stream(stream)
    }

    fn read_one(&self, stream: &str, version: u64) -> bool {
        self.inner.read_one(stream, version)
    }
}
