//! Layer 8.2: which events a model is folded from, and how far it is.
//!
//! Knows: streams and queries. Does not know: models, stores. A name that is not legal is told when
//! the model is used, so that `Model::scope` cannot fail.

use std::fmt::Display;

use crate::types::{Position, Query, Result, StreamName, Version};

/// Which events a model is folded from, and with that the boundary within which its decisions are
/// consistent: a stream, or a query over all of them.
///
/// ```
/// use factlog::{Query, Scope, tag};
/// let account = Scope::stream("Account", "alice"); // the stream `Account-alice`
/// let course = Scope::from(Query::tags([tag("course", "c1")]));
/// # let _ = (account, course);
/// ```
#[derive(Debug, Clone)]
pub struct Scope(pub(super) Result<Place>);

#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    Stream(StreamName),
    Query(Query),
}

impl Place {
    /// A text that is the same for the same place, and for no other.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Stream(stream) => format!("={stream}"),
            Self::Query(query) => format!("{query:?}"),
        }
    }
}

/// How far a model is folded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resumed {
    /// Of its stream, the version of the last event folded in.
    pub version: Version,
    /// Everything up to here is folded in.
    pub position: Position,
    /// How many events were folded in since a snapshot was saved, or resumed from.
    pub since_snapshot: u64,
}

impl Scope {
    /// The stream of one thing in a category.
    pub fn stream(category: &str, id: impl Display) -> Self {
        Self(StreamName::of(category, id).map(Place::Stream))
    }

    /// Everything that matches. An item that names no type means the types of the model's events.
    pub fn query(query: impl Into<Query>) -> Self {
        Self(Ok(Place::Query(query.into())))
    }
}

impl From<StreamName> for Scope {
    fn from(stream: StreamName) -> Self {
        Self(Ok(Place::Stream(stream)))
    }
}

impl From<Query> for Scope {
    fn from(query: Query) -> Self {
        Self::query(query)
    }
}
