//! Which events a reading verb is about: a target, and filters over it.
//!
//! Knows: `$all`, `$ce-Category`, stream names, and the filters' meaning. Does not know: how events
//! are read or printed.

use std::path::Path;

use clap::Args;
use factlog::{Query, QueryItem, RecordedEvent, Store, StreamName};

use crate::args::Global;
use crate::exit::Failure;
use crate::output::{Messages, counted};
use crate::verbs::damage::said;

const ALL: &str = "$all";
const CATEGORY_PREFIX: &str = "$ce-";

/// Filters; every one given must hold.
#[derive(Debug, Default, Args)]
pub struct FilterArgs {
    /// Only streams of this category (the part of the name before the first -)
    #[arg(long, value_name = "CATEGORY")]
    pub category: Option<String>,
    /// Only this event type; given several times, any of them
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events with this tag; given several times, with all of them
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Only events with this $correlationId in their metadata
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Only events with this text in their stream, type, tags, metadata or data
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
}

impl FilterArgs {
    /// What the store's indexes can answer.
    pub fn query(&self) -> Option<Query> {
        if self.types.is_empty() && self.tags.is_empty() && self.correlation.is_none() {
            return None;
        }
        let mut item = QueryItem::new().of_types(self.types.iter().cloned());
        for tag in &self.tags {
            item = item.tag(tag.as_str());
        }
        if let Some(id) = &self.correlation {
            item = item.correlation(id);
        }
        Some(item.into())
    }

    /// Whether events must be looked at one by one, beyond the query and the target.
    pub fn looks_at_each(&self, target: &Target) -> bool {
        let told = matches!(target, Target::Category(name) if Some(name) == self.category.as_ref());
        self.grep.is_some() || (self.category.is_some() && !told)
    }

    /// Whether the event passes what the query does not say.
    pub fn keeps(&self, event: &RecordedEvent) -> bool {
        self.category.as_deref().is_none_or(|category| event.category() == Some(category))
            && self.grep.as_deref().is_none_or(|text| contains(event, text))
    }
}

fn contains(event: &RecordedEvent, text: &str) -> bool {
    let within = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(whole) => whole.contains(text),
        Err(_) => bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes()),
    };
    event.stream().contains(text)
        || event.event_type().contains(text)
        || event.tags().any(|tag| tag.contains(text))
        || within(event.metadata())
        || within(event.data())
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    All,
    Stream(StreamName),
    Category(String),
}

impl Target {
    /// From what stands on the command line. Without a stream, `--category` is the target.
    ///
    /// # Errors
    /// Usage, when it is not a legal name.
    pub fn named(name: Option<&str>, category: Option<&str>) -> Result<Self, Failure> {
        match name {
            None | Some(ALL) => {
                Ok(category.map_or(Self::All, |name| Self::Category(name.to_owned())))
            }
            Some(name) => match name.strip_prefix(CATEGORY_PREFIX) {
                Some("") => Err(Failure::Usage("$ce- needs a category: $ce-Order".into())),
                Some(category) => Ok(Self::Category(category.to_owned())),
                None => Ok(Self::Stream(StreamName::new(name)?)),
            },
        }
    }

    /// That the stream or category asked for by name is there.
    ///
    /// # Errors
    /// Not found.
    pub fn must_exist(&self, store: &Store) -> Result<(), Failure> {
        let missing = match self {
            Self::All => None,
            Self::Stream(stream) => store
                .head(stream)?
                .is_none()
                .then(|| format!("there is no stream {stream}; `factlog streams` lists them")),
            Self::Category(name) => {
                let there = store.categories(name)?.iter().any(|category| category.name == *name);
                (!there).then(|| {
                    format!(
                        "there is no category {name}; `factlog streams --categories` lists them"
                    )
                })
            }
        };
        missing.map_or(Ok(()), |text| Err(Failure::NotFound(text)))
    }
}

/// Opens the store to read it, and says what of it cannot be read.
///
/// # Errors
/// As `Store::open_read_only`.
pub fn open_to_read(global: &Global) -> Result<Store, Failure> {
    let dir = global.dir()?;
    let store = global.options().open_read_only(&dir).map_err(|error| no_store(&dir, error))?;
    let messages = Messages::new(global);
    for damage in &store.open_report().damage {
        messages.warn(format!("factlog: {}; run `factlog verify`", said(damage)));
    }
    opened(&store, &dir, &messages);
    Ok(store)
}

/// With `--verbose`: what opening found, and how long it took.
pub fn opened(store: &Store, dir: &Path, messages: &Messages) {
    let report = store.open_report();
    messages.explain(|| {
        let ms = report.elapsed.as_secs_f64() * 1e3;
        let (events, segments) =
            (counted(report.events, "event"), counted(report.segments, "segment"));
        format!("opened {} in {ms:.1} ms: {events} in {segments}", dir.display())
    });
    for index in &report.sidecars_rebuilt {
        messages.explain(|| format!("{}: {}; made from the log", index.file, index.why));
    }
}

/// A missing store said with its directory and the next step.
pub fn no_store(dir: &Path, error: factlog::Error) -> Failure {
    // What was begun there and not finished says so itself.
    if !error.message().starts_with("there is no store") {
        return error.into();
    }
    Failure::NotFound(format!(
        "there is no store in {}; `factlog append` and `factlog import` create one",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart() {
        let named = |name, category| Target::named(name, category).unwrap();
        assert_eq!(named(None, None), Target::All);
        assert_eq!(named(Some("$all"), None), Target::All);
        assert_eq!(named(Some("$ce-Order"), None), Target::Category("Order".into()));
        assert_eq!(named(None, Some("Order")), Target::Category("Order".into()));
        let stream = StreamName::new("Order-1").unwrap();
        assert_eq!(named(Some("Order-1"), Some("Other")), Target::Stream(stream));
        assert!(Target::named(Some("$ce-"), None).is_err());
        assert!(Target::named(Some(""), None).is_err());
    }

    #[test]
    fn only_what_indexes_cannot_answer_is_looked_at_one_by_one() {
        let order = Target::Category("Order".into());
        let filter = FilterArgs { category: Some("Order".into()), ..FilterArgs::default() };
        assert!(!filter.looks_at_each(&order));
        assert!(filter.looks_at_each(&Target::Category("Other".into())));
        assert!(filter.query().is_none());
        let filter = FilterArgs { types: vec!["A".into()], ..FilterArgs::default() };
        assert!(!filter.looks_at_each(&Target::All));
        assert!(filter.query().is_some());
    }
}
