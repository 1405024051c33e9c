//! Layer 7.5: taking data of hidden events away, and what is answered where it stood.
//!
//! Knows: what a caller is told. Does not know: how a segment is rewritten, or which events a
//! stream's settings hide.

use super::hiding::Hiding;
use super::store::Store;
use crate::types::{EventRef, HiddenReason, ReclaimReport, Result};

impl Store {
    /// Gives back the space of events that their streams' settings hide: deleted, truncated, beyond
    /// what is kept, too old. Every segment but the newest that holds such events is written anew
    /// without their data; see [`Retention`](crate::Retention) for what hides them.
    ///
    /// What is left of an event keeps position, version, time, id, stream and type: numbers stay
    /// without gaps, an id that was stored is still known, and every checksum and link holds. Tags,
    /// subject, metadata and data are gone from the files of this store, though not from copies,
    /// and not before the last reader is done that began before. Nothing that is taken away comes
    /// back, also when bounds are widened later. Reads leave such events out unless they
    /// [mark](crate::Hidden::Mark) them; asked for by name they are
    /// [`Deleted`](crate::ErrorKind::Deleted). It can be stopped at any point, by a crash too, and
    /// repeated. Appends and reads go on meanwhile.
    ///
    /// ```
    /// use factlog::{Expect, NewEvent, Retention, Store};
    /// let store = Store::options().segment_bytes(16 << 10).background_threads(false).in_memory()?;
    /// for n in 0..10 {
    ///     let measured = NewEvent::binary("Measured", vec![n; 4_000]);
    ///     store.append("Sensor-1", Expect::Any, [measured])?;
    /// }
    /// store.retain("Sensor-1", Retention::default().keep_last(2))?;
    /// let report = store.reclaim()?;
    /// assert!(report.events >= 6 && report.bytes > 6 * 4_000);
    /// assert_eq!(store.read_all().count()?, 10 - report.events);
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DiskFull` or `Io`: the segment it came to is as it was, or serves its old bytes until the
    /// next call; `InDoubt`: the store is poisoned, and the segment is the old or the new one,
    /// whole; `Poisoned`, `Closed`, `Invalid` in a store opened read-only. Segments with damage are
    /// left as they are, and reported.
    pub fn reclaim(&self) -> Result<ReclaimReport> {
        let mut hiding = Hiding::new(self.engine().clone());
        self.reclaim_where(|event| {
            hiding.reason(event.stream(), (event.version(), event.recorded_at()))
        })
    }

    /// Takes the data of all events away for which `verdict` gives a reason, in every segment but
    /// the newest, by writing these segments anew. It is there for the layer that knows which
    /// events a stream's settings hide, and for tests; nothing that is taken away comes back.
    ///
    /// What is left of an event keeps position, version, time, id, stream and type: numbers stay
    /// without gaps, an id that was stored is still known, and every checksum and link holds. Tags,
    /// subject, metadata and data are gone from the files of this store, though not from copies,
    /// and not before the last reader is done that began before. Reads leave such events out; asked
    /// for by name they are [`ErrorKind::Deleted`](crate::ErrorKind::Deleted). It can be stopped at
    /// any point, by a crash too, and repeated.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, HiddenReason, Store};
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let report = store.reclaim_where(|event| {
    ///     (event.stream() == "Clock-1").then_some(HiddenReason::Deleted)
    /// })?;
    /// assert_eq!(report.events, 0); // all there is stands in the newest segment
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DiskFull` or `Io`: the segment it came to is as it was, or serves its old bytes until the
    /// next call; `InDoubt`: the store is poisoned, and the segment is the old or the new one,
    /// whole; `Poisoned`, `Closed`, `Invalid`.
    #[doc(hidden)]
    pub fn reclaim_where(
        &self,
        mut verdict: impl FnMut(&EventRef<'_>) -> Option<HiddenReason>,
    ) -> Result<ReclaimReport> {
        self.engine().reclaim(&mut verdict)
    }
}
