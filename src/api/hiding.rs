//! Layer 7.1: which events a read leaves out or marks because their streams' settings hide them.
//!
//! Knows: settings as they are now, and the time. Does not know: what is read.

use std::collections::HashMap;
use std::fmt;

use crate::engine::Engine;
use crate::sync::Arc;
use crate::types::{HiddenReason, Lifecycle, Timestamp, Version};

/// What hides events, looked up once per stream. A store without any settings is asked once.
pub(super) struct Hiding {
    engine: Arc<Engine>,
    now: Timestamp,
    nothing: bool,
    streams: HashMap<String, (Lifecycle, Version)>,
}

impl fmt::Debug for Hiding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hiding").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Hiding {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let now = Timestamp::from_micros(engine.clock.now());
        let nothing = engine.catalog.read().carried.settings.is_empty();
        Self { engine, now, nothing, streams: HashMap::new() }
    }

    /// Why a stream's event is hidden, if it is.
    pub(super) fn reason(
        &mut self,
        stream: &str,
        event: (Version, Timestamp),
    ) -> Option<HiddenReason> {
        if self.nothing {
            return None;
        }
        if !self.streams.contains_key(stream) {
            let found = self.look_up(stream);
            self.streams.insert(stream.to_owned(), found);
        }
        let (lifecycle, last) = self.streams.get(stream)?;
        lifecycle.hides(*last, event, self.now)
    }

    /// The settings of a stream and its last version, and the time that counts.
    pub(super) fn look_up(&self, stream: &str) -> (Lifecycle, Version) {
        let catalog = self.engine.catalog.read();
        let lifecycle = catalog.carried.lifecycle(stream);
        let last = match lifecycle == Lifecycle::default() {
            true => Version::NONE,
            false => catalog.known_head(stream).map(|(last, _)| last).unwrap_or_default(),
        };
        (lifecycle, last)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }
}
