//! Layer 0.9: the words, the bounds and the errors; nothing here knows bytes, files or threads.

#[cfg(feature = "bincode")]
mod codec;
mod data;
mod error;
mod event;
mod expect;
mod fresh;
pub(crate) mod json;
#[cfg(feature = "forget")]
mod keyring;
mod lifecycle;
mod limits;
mod position;
mod query;
mod reclaimed;
mod recorded;
mod report;
mod settings;
mod stream;
mod trim;

#[cfg(feature = "forget")]
pub use data::InClear;
pub use error::{Conflict, Error, ErrorKind, Result};
pub use event::{ContentType, IntoEvent, NewEvent};
pub use expect::Expect;
#[cfg(feature = "forget")]
pub use keyring::Keyring;
pub use lifecycle::{Hidden, HiddenReason, Retention, StreamState};
pub use limits::Limits;
pub use position::{Position, Timestamp, Version};
pub use query::{Query, QueryItem};
pub use reclaimed::{ReclaimReport, RewrittenSegment};
pub use recorded::{EventRef, RecordedEvent, Tags};
pub use report::{
    Damage, IndexOrigin, OpenReport, Piece, PieceValue, RepairStep, Repaired, Salvaged, SetAside,
    SidecarRebuilt,
};
pub use settings::{Durability, IdScope, Recovery, Settings};
pub use stream::{StreamKey, StreamName};
pub use trim::{Trim, Trimmed};

#[cfg(all(feature = "bincode", feature = "model"))]
pub(crate) use codec::{from_bincode, to_bincode};
pub(crate) use data::DataState;
#[cfg(feature = "forget")]
pub(crate) use fresh::random_bytes;
pub(crate) use lifecycle::{Lifecycle, StreamChange};
pub(crate) use limits::{
    BATCH_BYTES_MAX, EVENT_TYPE_MAX, METADATA_MAX, NAME_MAX, STREAM_NAME_MAX, SUBJECT_MAX, TAG_MAX,
    TAGS_MAX,
};
pub(crate) use recorded::BodyLayout;
pub(crate) use stream::{category, has_control};
