//! Layer 7.5: the verbs of a stream's life: delete, bury, retain.
//!
//! Knows: what each verb means. Does not know: how settings are kept, or which reads honour them.

use super::store::Store;
use crate::engine::Appended;
#[cfg(feature = "model")]
use crate::types::StreamName;
use crate::types::{Expect, Result, Retention, StreamKey, StreamState, Version};

impl Store {
    /// Deletes a stream, softly: reads of it find nothing any more, and whoever expects that it
    /// exists is refused. Its next event makes it live again, with versions that go on. Of a stream
    /// that is deleted already nothing is written.
    ///
    /// The events stay in the log: reads of the whole log and subscriptions see them.
    ///
    /// ```
    /// use factlog::{Expect, NewEvent, Store, StreamState, Version};
    /// let store = Store::in_memory()?;
    /// store.append("Cart-1", Expect::NoStream, [NewEvent::binary("Filled", "")])?;
    /// store.delete_stream("Cart-1", Expect::Version(Version::new(1)))?;
    /// assert_eq!(store.read_stream("Cart-1").count()?, 0);
    /// assert_eq!(store.stream_state("Cart-1")?, StreamState::SoftDeleted(Version::new(1)));
    ///
    /// store.append("Cart-1", Expect::NoStream, [NewEvent::binary("Filled", "")])?;
    /// let event = store.read_stream("Cart-1").to_vec()?.remove(0);
    /// assert_eq!(event.version(), Version::new(2));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` when it never had an event; `Conflict`, `Deleted` as for an append; `DiskFull`,
    /// `InDoubt`, `Poisoned`.
    pub fn delete_stream(&self, stream: impl StreamKey, expect: Expect) -> Result<()> {
        self.batch().delete(stream, expect).commit().map(settled)
    }

    /// Deletes a stream for ever: it cannot be read, and no event can be appended to it again. A
    /// name that never had an event can be buried too.
    ///
    /// ```
    /// use factlog::{ErrorKind, Expect, NewEvent, Store};
    /// let store = Store::in_memory()?;
    /// store.append("Cart-1", Expect::NoStream, [NewEvent::binary("Filled", "")])?;
    /// store.tombstone_stream("Cart-1", Expect::Any)?;
    /// let refused = store.append("Cart-1", Expect::Any, [NewEvent::binary("Filled", "")]);
    /// assert_eq!(refused.unwrap_err().kind(), ErrorKind::Deleted);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Conflict`, `Deleted` as for an append; `DiskFull`, `InDoubt`, `Poisoned`.
    pub fn tombstone_stream(&self, stream: impl StreamKey, expect: Expect) -> Result<()> {
        self.batch().tombstone(stream, expect).commit().map(settled)
    }

    /// Says how much of a stream is shown, in place of what was said before; also of a stream that
    /// is yet to get its first event. Bounds can be widened again as long as the events' bytes are
    /// there.
    ///
    /// ```
    /// use factlog::{Expect, NewEvent, Retention, Store, Version};
    /// let store = Store::in_memory()?;
    /// let events = (0..5).map(|n| NewEvent::binary("Measured", vec![n]));
    /// store.append("Sensor-1", Expect::Any, events)?;
    /// store.retain("Sensor-1", Retention::default().truncate_before(Version::new(4)))?;
    /// let shown: Vec<_> = store.read_stream("Sensor-1").to_vec()?;
    /// assert_eq!(shown[0].version(), Version::new(4));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`: bounds that would keep nothing for good, or a truncation beyond the stream's end;
    /// nothing is changed. `Deleted` of a tombstoned stream; `DiskFull`, `InDoubt`, `Poisoned`.
    pub fn retain(&self, stream: impl StreamKey, retention: Retention) -> Result<()> {
        self.batch().retain(stream, retention).commit().map(settled)
    }

    /// How much of a stream is shown.
    ///
    /// ```
    /// # use factlog::{Retention, Store};
    /// # let store = Store::in_memory()?;
    /// assert_eq!(store.retention("Sensor-1")?, Retention::default()); // all of it
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` name, `Closed`.
    pub fn retention(&self, stream: impl StreamKey) -> Result<Retention> {
        let name = stream.stream_name()?;
        self.engine().refuse_closed()?;
        let catalog = self.engine().catalog.read();
        Ok(catalog.carried.lifecycle(name.as_str()).retention)
    }

    /// Where a stream stands in its life.
    ///
    /// ```
    /// # use factlog::{Store, StreamState};
    /// # let store = Store::in_memory()?;
    /// assert_eq!(store.stream_state("Cart-1")?, StreamState::Never);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` name, `Damaged` when damage may hide a later event, `Closed`.
    pub fn stream_state(&self, stream: impl StreamKey) -> Result<StreamState> {
        let name = stream.stream_name()?;
        let head = self.head(name.as_ref())?;
        let last = head.map_or(Version::NONE, |head| head.version);
        let catalog = self.engine().catalog.read();
        Ok(catalog.carried.lifecycle(name.as_str()).state(last))
    }
}

#[cfg(feature = "model")]
impl Store {
    /// Whether state folded up to this version of a stream is worth going on from.
    pub(crate) fn is_reached_by(&self, stream: &StreamName, version: Version) -> bool {
        let catalog = self.engine().catalog.read();
        catalog.carried.lifecycle(stream.as_str()).is_reached_by(version)
    }
}

/// What was written has no number that a caller could use.
fn settled(_: Appended) {}
