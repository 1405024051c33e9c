//! Layer 8.9: the typed layer: events with a schema, and models that decide.

mod codec;
mod content;
mod doctor;
mod event;
mod metadata;
mod typed;
mod upcast;
mod variant;

#[cfg(feature = "bincode")]
pub use codec::Bincode;
pub use codec::{Codec, Json};
pub use doctor::{Diagnosis, Doctor, Prognosis, StoredType};
pub use event::{Event, tag};
pub use metadata::Metadata;
pub use typed::{Typed, TypedEvents};
pub use upcast::{EventType, Upcast};
