//! Layer 8.3: snapshots of models, by policy.
//!
//! Knows: how a state becomes bytes and when. Does not know: models. The events decide: a snapshot
//! that cannot be read, is of another shape or does not match the stream is as good as none.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Json};
use crate::api::Store;
use crate::types::{Error, ErrorKind, Result, StreamName, Version};

/// When the state of a model is saved, and under which name; see
/// [`Model::snapshots`](crate::Model::snapshots).
///
/// ```
/// # use factlog::{Event, Expect, Model, NewEvent, Scope, Snapshots, Store};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # enum Clock { Ticked }
/// #[derive(Default, Serialize, Deserialize)]
/// struct Ticks {
///     count: u64,
/// }
///
/// impl Model for Ticks {
///     type Event = Clock;
///     fn scope(&self) -> Scope {
///         Scope::stream("Clock", 1)
///     }
///     fn apply(&mut self, _: Clock) {
///         self.count += 1;
///     }
///     fn snapshots() -> Option<Snapshots<Self>> {
///         // Count the schema version up whenever the struct or `apply` changes.
///         Some(Snapshots::every(100, "ticks").schema_version(1))
///     }
/// }
/// # let store = Store::in_memory()?;
/// # let tick = || NewEvent::of(&Clock::Ticked);
/// for _ in 0..250 {
///     store.append("Clock-1", Expect::Any, [tick()?])?;
/// }
/// store.decide(Ticks::default(), |_| Ok::<_, ()>([Clock::Ticked])).ok();
/// assert!(store.snapshot("Clock-1", "ticks")?.is_some());
/// assert_eq!(store.load(Ticks::default())?.count, 251); // 250 from the snapshot
/// # Ok::<(), factlog::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Snapshots<M> {
    pub(super) every: u64,
    name: &'static str,
    schema_version: u16,
    write: fn(&M) -> Result<Vec<u8>>,
    read: fn(&[u8]) -> Result<M>,
}

impl<M: Serialize + DeserializeOwned> Snapshots<M> {
    /// Saved by the decision that has folded so many events or more since the last snapshot, as
    /// JSON under this name.
    pub fn every(events: u64, name: &'static str) -> Self {
        let read = |data: &[u8]| Json::decode(PhantomData::<M>, data);
        Self { every: events.max(1), name, schema_version: 1, write: Json::encode, read }
    }

    /// The version of the state's shape and meaning; 1 unless said. Snapshots of another are passed
    /// over.
    pub fn schema_version(mut self, version: u16) -> Self {
        self.schema_version = version;
        self
    }
}

impl<M> Snapshots<M> {
    pub(super) fn load(&self, store: &Store, stream: &StreamName) -> Result<Option<(M, Version)>> {
        let saved = match store.snapshot(stream, self.name) {
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
            // What cannot be read is none: the events are all there.
            saved => saved.ok().flatten(),
        };
        let fits = saved.filter(|saved| saved.schema_version == self.schema_version);
        Ok(fits.and_then(|saved| Some(((self.read)(&saved.data).ok()?, saved.version))))
    }

    pub(super) fn save(
        &self,
        store: &Store,
        stream: &StreamName,
        state: &M,
        version: Version,
    ) -> Result<Version> {
        let data = (self.write)(state).map_err(|why| {
            let text = format!("snapshot {:?} cannot be written", self.name);
            Error::new(ErrorKind::Invalid, text).in_stream(stream.as_str()).because(why)
        })?;
        store.save_snapshot(stream, self.name, (version, self.schema_version), data)?;
        Ok(version)
    }
}
