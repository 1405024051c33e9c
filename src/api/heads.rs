//! Layer 7.5: the verbs of where streams stand: heads and lists.
//!
//! Knows: what each verb means. Does not know: where heads are kept.

use super::info::{CategoryInfo, StreamHead, StreamInfo};
use super::store::Store;
use crate::types::{ErrorKind, Position, RecordedEvent, Result, StreamKey, StreamName, Version};

impl Store {
    /// Where a stream stands; `None` when it has no events.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store, Version};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// let version = store.head("Clock-1")?.map_or(Version::NONE, |head| head.version);
    /// store.append("Clock-1", Expect::Version(version), [NewEvent::binary("Ticked", "")])?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` name, `Closed`; `Damaged` in a store opened read-only around damage, when a lost
    /// event may have been a later one of this stream. [`Read`](crate::Read) tells the events that
    /// are there.
    pub fn head(&self, stream: impl StreamKey) -> Result<Option<StreamHead>> {
        let name = stream.stream_name()?;
        self.engine().refuse_closed()?;
        let (found, lifecycle) = {
            let catalog = self.engine().catalog.read();
            (catalog.known_head(name.as_str()), catalog.carried.lifecycle(name.as_str()))
        };
        let last = found.map_or(Position::START, |(_, last)| last);
        self.engine().refuse_doubt_after(last)?;
        Ok(found.map(|(version, last_position)| StreamHead {
            version,
            last_position,
            state: lifecycle.state(version),
        }))
    }

    /// The last event of a stream.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")])?;
    /// assert!(store.last_event("Clock-1")?.is_some_and(|event| event.event_type() == "Ticked"));
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` name, `Damaged`, `Closed`, `Io`.
    pub fn last_event(&self, stream: impl StreamKey) -> Result<Option<RecordedEvent>> {
        let name = stream.stream_name()?;
        match self.head(name.as_ref())? {
            Some(head) => match self.event_at(head.last_position) {
                // It was hidden before it was reclaimed.
                Err(error) if error.kind() == ErrorKind::Deleted => Ok(None),
                found => self.shown(name.as_str(), found?),
            },
            None => Ok(None),
        }
    }

    /// The streams whose names begin with `prefix`, sorted by name. In a store opened read-only
    /// around damage they are told as far as their events can be read.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Order-1", Expect::Any, [NewEvent::binary("Placed", "")])?;
    /// let orders = store.streams("Order-")?;
    /// assert_eq!(orders[0].name.as_str(), "Order-1");
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`.
    pub fn streams(&self, prefix: &str) -> Result<Vec<StreamInfo>> {
        self.engine().refuse_closed()?;
        let mut all = Vec::new();
        let catalog = self.engine().catalog.read();
        for (name, head) in catalog.heads.all(prefix) {
            // The index may be ahead of what can be read.
            let (version, last_position) = match head.last_position <= catalog.last {
                true => (head.version, head.last_position),
                false => catalog.view().head(name).unwrap_or_default(),
            };
            if let Ok(name) = StreamName::new(name)
                && version > Version::NONE
            {
                let state = catalog.carried.lifecycle(name.as_str()).state(version);
                all.push(StreamInfo { name, version, last_position, state });
            }
        }
        Ok(all)
    }

    /// The categories that begin with `prefix`, sorted, with how many streams each has.
    ///
    /// ```
    /// # use factlog::{Expect, NewEvent, Store};
    /// # let store = Store::in_memory()?;
    /// store.append("Order-1", Expect::Any, [NewEvent::binary("Placed", "")])?;
    /// assert_eq!(store.categories("")?[0].name, "Order");
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`.
    pub fn categories(&self, prefix: &str) -> Result<Vec<CategoryInfo>> {
        self.engine().refuse_closed()?;
        let catalog = self.engine().catalog.read();
        let found = catalog.heads.categories(prefix, &catalog.carried);
        Ok(found.into_iter().map(|(name, streams)| CategoryInfo { name, streams }).collect())
    }
}
