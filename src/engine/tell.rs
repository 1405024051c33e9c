//! Layer 6.0: what is told to those who listen with the feature `tracing`; without it, nothing.
//!
//! Knows: which moments are worth a line. Does not know: who listens. The target is `factlog`.

use crate::types::{Error, OpenReport};

/// A store was opened.
pub(super) fn opened(place: &str, report: &OpenReport) {
    #[cfg(not(feature = "tracing"))]
    let _ = (place, report);
    #[cfg(feature = "tracing")]
    {
        let OpenReport { created, clean, verdict, segments, events, elapsed, .. } = report;
        tracing::info!(
            target: "factlog",
            place, created, clean, verdict, segments, events, ?elapsed, "opened",
        );
        for kept in &report.set_aside {
            tracing::warn!(target: "factlog", place, ?kept, "torn bytes were set aside");
        }
        for damage in &report.damage {
            tracing::warn!(target: "factlog", place, ?damage, "damage was found");
        }
        for note in &report.notes {
            tracing::warn!(target: "factlog", place, "{note}");
        }
    }
}

/// The log goes on in this segment, whose first event will have this position.
pub(super) fn rolled(segment: u64, first_position: u64) {
    #[cfg(not(feature = "tracing"))]
    let _ = (segment, first_position);
    #[cfg(feature = "tracing")]
    tracing::info!(target: "factlog", segment, first_position, "rolled");
}

/// No further writing until the store is opened again.
pub(super) fn poisoned(place: &str, cause: &Error) {
    #[cfg(not(feature = "tracing"))]
    let _ = (place, cause);
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "factlog", place, %cause, "poisoned");
}
