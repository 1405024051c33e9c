//! Layer 7.0: which events a read or a subscription is about.
//!
//! Knows: the four sources. Does not know: how their events are found.

use crate::types::{Query, Result, StreamKey, StreamName};

/// What to follow.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Source {
    /// Every event.
    All,
    /// One stream; it need not exist yet.
    Stream(StreamName),
    /// The streams of a category.
    Category(String),
    /// What matches a query.
    Query(Query),
}

impl Source {
    /// One stream, named as in any other call.
    ///
    /// ```
    /// use factlog::{Source, Start, Store};
    /// let store = Store::in_memory()?;
    /// let subscription = store.subscribe(Source::stream("Order-42")?).start(Start::End)?;
    /// # Ok::<(), factlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when a string is not a legal name.
    pub fn stream(stream: impl StreamKey) -> Result<Self> {
        Ok(Self::Stream(stream.stream_name()?.into_owned()))
    }

    /// The streams of a category.
    pub fn category(category: impl Into<String>) -> Self {
        Self::Category(category.into())
    }
}
