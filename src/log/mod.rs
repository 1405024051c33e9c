//! Layer 4.9: many segment files as one log: what exists, recovery, the tail, verification.

mod ahead;
mod base;
mod ending;
mod files;
mod head;
mod headless;
mod keyed;
mod live;
mod recover;
mod scarred;
mod stage;
mod survey;
mod tail;
mod trim;
mod verify;

pub(crate) use ahead::{Runway, Spares};
pub(crate) use base::TrimBase;
pub(crate) use files::{is_ours, is_segment, is_sidecar, replace_file};
pub(crate) use head::{HeadFile, read_heads};
pub(crate) use keyed::KeyedFile;
pub(crate) use live::read_live;
pub(crate) use recover::{Recovered, recover};
pub(crate) use stage::BatchBytes;
pub(crate) use survey::{
    AFTER_OPENING, Claim, LogEnd, SegmentInfo, Survey, damage_error, find_segment, survey,
};
pub(crate) use tail::{CommitFailure, Part, Tail};
pub(crate) use trim::{Trimmable, clear_trimmed, has_trimmed};
pub(crate) use verify::verify_log;
pub use verify::{TornTail, VerifyReport};
