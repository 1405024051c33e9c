//! Layer 8.2: which events a model is folded from.
//!
//! Knows: streams and queries. Does not know: models, stores. A name that is not legal is told when
//! the model is used, so that `Model::scope` cannot fail.

use std::fmt::Display;

use crate::types::{Query, Result, StreamName};

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
