//! Layer 7.1: the order in which a read comes to the events of a view.
//!
//! Knows: segments, bounds, direction. Does not know: which of the candidates are wanted.

use crate::engine::{Candidates, Segment, View, Wanted, candidates, segment_at};
use crate::sync::Arc;
use crate::types::Position;

/// Goes through the candidates of every segment of a view, in order.
#[derive(Debug)]
pub(super) struct Walk {
    view: View,
    wanted: Wanted,
    bounds: (Position, Position),
    backward: bool,
    /// The segments still to come.
    segments: std::ops::Range<usize>,
    current: Option<(Arc<Segment>, Candidates, std::ops::Range<usize>)>,
}

impl Walk {
    pub(super) fn new(
        view: View,
        wanted: Wanted,
        bounds: (Position, Position),
        backward: bool,
    ) -> Self {
        let (low, high) = bounds;
        let segments = match (segment_at(&view.segments, low), segment_at(&view.segments, high)) {
            (_, None) => 0..0,
            _ if low > high => 0..0,
            (first, Some(last)) => first.unwrap_or(0)..last + 1,
        };
        Self { view, wanted, bounds, backward, segments, current: None }
    }

    pub(super) fn nowhere() -> Self {
        let bounds = (Position::new(1), Position::START);
        Self::new(View::default(), Wanted::All, bounds, false)
    }

    pub(super) fn next(&mut self) -> Option<(&Segment, u32)> {
        let ordinal = loop {
            if let Some((segment, found, left)) = &mut self.current {
                let at = if self.backward { left.next_back() } else { left.next() };
                if let Some(ordinal) = at.and_then(|at| found.get(at)) {
                    if let (false, Candidates::List(list)) = (self.backward, &*found) {
                        foresee(segment, list.get(left.clone()).unwrap_or_default());
                    }
                    break ordinal;
                }
            }
            let next = match self.backward {
                true => self.segments.next_back(),
                false => self.segments.next(),
            };
            let segment = self.view.segments.get(next?)?.clone();
            let (low, high) = self.bounds;
            let from = segment.ordinal_of(low).unwrap_or(0);
            let events = segment.events();
            let to = segment.ordinal_of(high).map_or(0, |last| last.saturating_add(1)).min(events);
            let found = candidates(&segment, &self.wanted, from..to, self.view.accept_lost);
            let all = 0..found.len();
            self.current = Some((segment, found, all));
        };
        let (segment, ..) = self.current.as_ref()?;
        Some((segment, ordinal))
    }
}

/// Events of a list lie apart: those that are read soon are fetched while others are checked.
fn foresee(segment: &Segment, left: &[u32]) {
    const AHEAD: usize = 4;
    if let Some(ordinal) = left.get(2 * AHEAD) {
        segment.foresee_place(*ordinal);
    }
    if let Some(ordinal) = left.get(AHEAD) {
        segment.foresee(*ordinal);
    }
}
