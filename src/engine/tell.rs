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

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use crate::api::Store;
    use crate::disk::{Fault, FaultCall, FaultKind, SimDisk};
    use crate::sync::{Arc, Mutex};
    use crate::types::{Expect, NewEvent};

    /// Keeps level and message of every event with our target.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    struct Message(String);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0 += &format!(" {value:?}");
            }
        }
    }

    impl Subscriber for Heard {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "factlog"
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut message = Message(event.metadata().level().to_string());
            event.record(&mut message);
            self.0.lock().push(message.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn opening_rolling_and_poisoning_are_told_once_each() {
        let heard = Heard::default();
        tracing::subscriber::with_default(heard.clone(), || {
            let disk = SimDisk::new(1);
            let options = Store::options().segment_bytes(16 << 10).background_threads(false);
            let store = options.open_on(Arc::new(disk.clone())).unwrap();
            let tick = || NewEvent::binary("Ticked", vec![7; 9 << 10]);
            store.append("Clock-1", Expect::Any, [tick()]).unwrap();
            store.append("Clock-1", Expect::Any, [tick()]).unwrap();
            disk.inject(Fault::from(FaultCall::Sync, 0, FaultKind::Os(5)));
            store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")]).unwrap_err();
            store.append("Clock-1", Expect::Any, [NewEvent::binary("Ticked", "")]).unwrap_err();
        });
        assert_eq!(*heard.0.lock(), ["INFO opened", "INFO rolled", "WARN poisoned"]);
    }
}
