//! Layer 6.3: which events of a segment may answer a read, from its index alone.
//!
//! Knows: terms and postings. Does not know: the events: terms are candidates, and the reader
//! compares each event with what was asked before it serves it.

use super::segment::Segment;
use crate::index::{SegmentLookup, Term};
use crate::types::{Query, QueryItem, Version};

/// Ordinals of one segment in ascending order.
#[derive(Debug, Clone)]
pub(crate) enum Candidates {
    Range(std::ops::Range<u32>),
    List(Vec<u32>),
}

impl Candidates {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::List(list) => list.len(),
        }
    }

    fn with(self, lost: &[u32], range: &std::ops::Range<u32>) -> Self {
        match self {
            Self::List(mut list) if !lost.is_empty() => {
                list.extend(lost.iter().copied().filter(|ordinal| range.contains(ordinal)));
                list.sort_unstable();
                list.dedup();
                Self::List(list)
            }
            other => other,
        }
    }

    /// Leaves ascending ordinals out.
    fn without(self, left_out: &[u32]) -> Self {
        let kept = |ordinal: &u32| left_out.binary_search(ordinal).is_err();
        match self {
            Self::Range(range) if !left_out.is_empty() => Self::List(range.filter(kept).collect()),
            other => other,
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<u32> {
        match self {
            Self::Range(range) => {
                let ordinal = range.start.checked_add(u32::try_from(at).ok()?)?;
                (ordinal < range.end).then_some(ordinal)
            }
            Self::List(list) => list.get(at).copied(),
        }
    }
}

/// What is asked of a segment.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    All,
    Stream { name: String, from: Version, to: Version },
    Category(String),
    Query(Query),
}

/// The ordinals within `range` that may be wanted. Damaged ones always may: leaving them out would
/// answer that there is nothing where something was. So may those that a salvage could not save,
/// unless that was accepted.
pub(crate) fn candidates(
    segment: &Segment,
    wanted: &Wanted,
    range: std::ops::Range<u32>,
    accept_lost: bool,
) -> Candidates {
    if range.is_empty() {
        return Candidates::List(Vec::new());
    }
    let list = |index: &dyn SegmentLookup| match wanted {
        Wanted::All => Candidates::Range(range.clone()),
        Wanted::Stream { name, from, to } => {
            Candidates::List(stream_run(index, name, (*from, *to), &range))
        }
        Wanted::Category(name) => {
            Candidates::List(postings(index, &Term::Category(name), &range).collect())
        }
        Wanted::Query(query) => {
            let mut all = Vec::new();
            for item in &query.items {
                all.extend(item_candidates(index, item, &range));
            }
            all.sort_unstable();
            all.dedup();
            Candidates::List(all)
        }
    };
    segment.ask(|index| {
        let found = list(index).with(index.damaged(), &range);
        match accept_lost {
            true => found.without(index.lost()),
            false => found.with(index.lost(), &range),
        }
    })
}

fn stream_run(
    index: &dyn SegmentLookup,
    name: &str,
    (from, to): (Version, Version),
    range: &std::ops::Range<u32>,
) -> Vec<u32> {
    let Some(run) = index.stream(name) else { return Vec::new() };
    let first = run.first_version().get();
    let skip = u32::try_from(from.get().saturating_sub(first)).unwrap_or(u32::MAX);
    let end = u32::try_from(to.next().get().saturating_sub(first)).unwrap_or(u32::MAX);
    // From the end: who follows a stream asks for its newest few.
    let mut found: Vec<u32> = (skip..end.min(run.len()))
        .rev()
        .filter_map(|at| run.ordinal(at))
        .take_while(|ordinal| *ordinal >= range.start)
        .filter(|ordinal| *ordinal < range.end)
        .collect();
    found.reverse();
    found
}

fn postings<'a>(
    index: &'a dyn SegmentLookup,
    term: &Term<'_>,
    range: &std::ops::Range<u32>,
) -> impl Iterator<Item = u32> + use<'a> {
    let found = index.term(term.hash()).up_to(range.end - 1);
    let found = match range.start.checked_sub(1) {
        Some(before) => found.above(before),
        None => found,
    };
    found.into_iter()
}

/// The rarest of the item's parts decides; the reader checks the others.
fn item_candidates(
    index: &dyn SegmentLookup,
    item: &QueryItem,
    range: &std::ops::Range<u32>,
) -> Vec<u32> {
    let tags = item.tags.iter().map(|tag| Term::Tag(tag));
    let correlation = item.correlation.iter().map(|id| Term::Correlation(id));
    let mut best: Option<Vec<u32>> = None;
    for term in tags.chain(correlation) {
        let found: Vec<u32> = postings(index, &term, range).collect();
        best = Some(match best {
            None => found,
            Some(known) => both(&known, &found),
        });
    }
    match best {
        Some(found) => found,
        None => {
            let types = item.types.iter().map(|name| Term::Type(name));
            types.flat_map(|term| postings(index, &term, range)).collect()
        }
    }
}

/// What is in both of two ascending lists.
fn both(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.iter().copied().filter(|ordinal| long.binary_search(ordinal).is_ok()).collect()
}
