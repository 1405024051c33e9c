//! Layer 8.3: snapshots of models, by policy.
//!
//! Knows: how a state becomes bytes and when. Does not know: models. The events decide: a snapshot
//! that cannot be read, is of another shape or does not match the events is as good as none.
//!
//! The store keeps snapshots with a stream. That of a query is kept with the stream of the first
//! event that the query finds, which stays the first, under a name made from the query; what it is
//! folded up to stands before the state:
//!
//! ```text
//! position u64, id of the event at that position 16, state
//! ```

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Json};
use super::scope::{Place, Resumed};
use crate::api::Store;
use crate::format::{Put, Take};
use crate::types::{Error, ErrorKind, Position, Result, StreamName, Version};

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
    ///
    /// That of a model scoped to a query is saved too, beside the first event the query finds; it
    /// counts for exactly this query, so that an event type more or less makes it begin anew.
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

/// Where a snapshot is kept: with an event of a stream, under a name.
struct Kept {
    stream: StreamName,
    version: Version,
    name: String,
}

impl<M> Snapshots<M> {
    pub(super) fn load(&self, store: &Store, place: &Place) -> Result<Option<(M, Resumed)>> {
        match self.find(store, place) {
            Err(error) if error.kind() == ErrorKind::Closed => Err(error),
            // What cannot be read is none: the events are all there.
            found => Ok(found.ok().flatten()),
        }
    }

    fn find(&self, store: &Store, place: &Place) -> Result<Option<(M, Resumed)>> {
        let Some(kept) = self.kept(store, place, Version::NONE)? else { return Ok(None) };
        let saved = store.snapshot(kept.stream, &kept.name)?;
        let Some(saved) = saved.filter(|saved| saved.schema_version == self.schema_version) else {
            return Ok(None);
        };
        let (mut resumed, mut data) = (Resumed::default(), &*saved.data);
        match place {
            Place::Stream(_) => resumed.version = saved.version,
            Place::Query(_) => {
                let mut take = Take(data);
                let (Some(position), Some(id)) = (take.u64(), take.uuid()) else {
                    return Ok(None);
                };
                resumed.position = Position::new(position);
                // Of this history: what comes before an event never changes.
                if store.id_at(resumed.position)? != Some(id) {
                    return Ok(None);
                }
                data = take.0;
            }
        }
        Ok(Some(((self.read)(data)?, resumed)))
    }

    pub(super) fn save(
        &self,
        store: &Store,
        place: &Place,
        state: &M,
        resumed: Resumed,
    ) -> Result<Position> {
        let position = resumed.position;
        let state = (self.write)(state).map_err(|why| {
            let text = format!("snapshot {:?} cannot be written", self.name);
            Error::new(ErrorKind::Invalid, text).because(why)
        })?;
        let gone = |what: &str| Error::new(ErrorKind::NotFound, format!("{what} is gone"));
        let kept = self.kept(store, place, resumed.version)?;
        let kept = kept.ok_or_else(|| gone("what the snapshot is kept with"))?;
        let mut data = Vec::new();
        if matches!(place, Place::Query(_)) {
            let last = store.id_at(position)?.ok_or_else(|| gone("what it is folded up to"))?;
            data.put_u64(position.get());
            data.put(last.as_bytes());
        }
        data.put(&state);
        store.save_snapshot(kept.stream, &kept.name, (kept.version, self.schema_version), data)?;
        Ok(position)
    }

    /// `None` when the query finds nothing, so that there is nothing to fold either.
    fn kept(&self, store: &Store, place: &Place, version: Version) -> Result<Option<Kept>> {
        let query = match place {
            Place::Stream(stream) => {
                let (stream, name) = (stream.clone(), self.name.to_owned());
                return Ok(Some(Kept { stream, version, name }));
            }
            Place::Query(query) => query.clone(),
        };
        let first = store.read(query).limit(1).into_iter().next().transpose()?;
        // Should two queries get one name, the state tells whose it is.
        let name = format!("{}~{:08x}", self.name, crc32fast::hash(place.key().as_bytes()));
        Ok(first.and_then(|first| {
            let (stream, version) = (first.stream_name()?, first.version());
            Some(Kept { stream, version, name })
        }))
    }
}
