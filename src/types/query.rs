//! Layer 0.6: which events matter to a decision.
//!
//! Knows: items, types, tags and when an event matches. Does not know: indexes.

use super::error::{Error, Result};
use super::recorded::EventRef;

/// A set of items; an event matches when it matches any of them.
///
/// ```
/// use factlog::{Query, QueryItem};
/// let query = Query::types(["CourseDefined", "StudentEnrolled"]).tag("course:c1")
///     .or(QueryItem::new().tag("student:s7"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Query {
    pub(crate) items: Vec<QueryItem>,
}

/// One alternative of a [`Query`]: an event matches when its type is one of the types (none given:
/// any), it has all of the tags, and its correlation id is the one given (if any).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct QueryItem {
    pub(crate) types: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) correlation: Option<String>,
}

impl QueryItem {
    /// An item that is not complete until it has a type, a tag or a correlation id.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type; an event must have one of the types.
    pub fn of_type(mut self, event_type: impl Into<String>) -> Self {
        self.types.push(event_type.into());
        self
    }

    /// Adds types.
    pub fn of_types(mut self, types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.types.extend(types.into_iter().map(Into::into));
        self
    }

    /// Adds a tag; an event must have all of the tags.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Asks for one correlation id as well.
    pub fn correlation(mut self, id: impl ToString) -> Self {
        self.correlation = Some(id.to_string());
        self
    }

    pub(crate) fn matches(&self, event: &EventRef<'_>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|t| t == event.event_type()))
            && self.tags.iter().all(|tag| event.tags().any(|have| have == tag))
            && self.correlation.as_deref().is_none_or(|id| event.correlation() == Some(id))
    }

    fn is_empty(&self) -> bool {
        self.types.is_empty() && self.tags.is_empty() && self.correlation.is_none()
    }
}

impl Query {
    /// Events of any of these types.
    pub fn types(types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        QueryItem::new().of_types(types).into()
    }

    /// Events that have all of these tags.
    pub fn tags(tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        tags.into_iter().fold(QueryItem::new(), QueryItem::tag).into()
    }

    /// Events with this `$correlationId`.
    pub fn correlation(id: impl ToString) -> Self {
        QueryItem::new().correlation(id).into()
    }

    /// Asks the newest item for one more tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        match self.items.pop() {
            Some(item) => self.items.push(item.tag(tag)),
            None => self.items.push(QueryItem::new().tag(tag)),
        }
        self
    }

    /// Adds an alternative.
    pub fn or(mut self, item: impl Into<Self>) -> Self {
        self.items.extend(item.into().items);
        self
    }

    /// Whether the event matches.
    #[must_use]
    pub fn matches(&self, event: &EventRef<'_>) -> bool {
        self.items.iter().any(|item| item.matches(event))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.items.is_empty() {
            return Err(Error::invalid("query has no items"));
        }
        if self.items.iter().any(QueryItem::is_empty) {
            return Err(Error::invalid("query item has neither type nor tag"));
        }
        Ok(())
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self { items: vec![item] }
    }
}
