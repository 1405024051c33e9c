//! Layer 8.9: the typed layer: events with a schema, and models that decide.

mod cache;
mod codec;
mod content;
mod decide;
mod doctor;
mod emit;
mod event;
mod inside;
mod load;
mod metadata;
mod parts;
mod scope;
mod snapshots;
mod testing;
mod traits;
mod typed;
mod upcast;
mod variant;

pub use cache::{Cached, ModelCache};
#[cfg(feature = "bincode")]
pub use codec::Bincode;
pub use codec::{Codec, Json};
pub(crate) use decide::append_all;
pub use decide::{DecideError, Decided, Decider};
pub use doctor::{Diagnosis, Doctor, Prognosis, StoredType};
pub use emit::{Emit, Emits};
pub use event::{Event, tag};
pub use metadata::Metadata;
pub use scope::Scope;
pub use snapshots::Snapshots;
pub use testing::{Given, Outcome};
pub use traits::{Boundary, Model};
pub use typed::{Typed, TypedEvents};
pub use upcast::{EventType, Upcast};
