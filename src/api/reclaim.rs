//! Layer 7.5: taking data of hidden events away, and what is answered where it stood.
//!
//! Knows: what a caller is told. Does not know: how a segment is rewritten, or which events a
//! stream's settings hide.

use super::store::Store;
use crate::types::{EventRef, ReclaimReport, Reclaimed, Result};

impl Store {
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
    /// # use factlog::{Expect, NewEvent, Reclaimed, Store};
    /// # let store = Store::in_memory()?;
    /// # store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let report = store.reclaim_where(|event| {
    ///     (event.stream() == "Clock-1").then_some(Reclaimed::Deleted)
    /// })?;
    /// assert_eq!(report.events, 0); // all there is stands in the newest segment
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `DiskFull` or `Io`: the segment it came to is as it was, or serves its old bytes until the
    /// next call; `InDoubt`: the store is poisoned, and the segment is the old or the new one,
    /// whole; `Poisoned`, `Closed`, `Invalid`. `verdict` must not call the store.
    #[doc(hidden)]
    pub fn reclaim_where(
        &self,
        mut verdict: impl FnMut(&EventRef<'_>) -> Option<Reclaimed>,
    ) -> Result<ReclaimReport> {
        self.engine().reclaim(&mut verdict)
    }
}
