//! Layer 4.9: many segment files as one log: what exists, recovery, the tail, verification.

mod ahead;
mod backup;
mod base;
mod branch;
mod bring;
mod build;
mod dump;
mod ending;
mod files;
mod fresh;
mod head;
mod headless;
mod keyed;
#[cfg(feature = "forget")]
mod keyring;
#[cfg(feature = "forget")]
mod keys_apart;
mod live;
mod mend;
mod pieces;
mod prefix;
mod recover;
mod rewrite;
mod scarred;
mod stage;
mod survey;
mod tail;
mod trim;
mod verify;

pub(crate) use ahead::{Runway, Spares};
pub(crate) use backup::Backup;
pub(crate) use base::TrimBase;
pub(crate) use branch::Branch;
pub(crate) use bring::{Brought, first_head};
pub(crate) use build::{LogBuilder, NewLog, Past, Records};
pub(crate) use dump::{DumpBounds, dump_file, dumpable};
pub(crate) use ending::TailEnd;
pub(crate) use files::{is_ours, is_segment, is_sidecar, replace_file};
pub(crate) use head::{HeadFile, read_heads};
pub(crate) use keyed::{KeyedCopy, KeyedFile};
#[cfg(feature = "forget")]
pub(crate) use keyring::{KeyState, KeyringFile, Keys};
#[cfg(feature = "forget")]
pub(crate) use keys_apart::{read_keys, write_keys};
pub(crate) use live::read_live;
pub(crate) use mend::{Diagnosis, verify_beside};
pub(crate) use prefix::{Prefix, last_id, prefix_of};
pub(crate) use recover::{Recovered, recover};
pub(crate) use rewrite::rewrite_segment;
pub(crate) use stage::BatchBytes;
pub(crate) use survey::{
    AFTER_OPENING, Claim, LogEnd, SegmentInfo, Survey, damage_error, find_segment, survey,
};
pub(crate) use tail::{CommitFailure, Part, Tail};
pub(crate) use trim::{Trimmable, clear_trimmed, has_trimmed};
pub use verify::{TornTail, VerifyReport};
pub(crate) use verify::{verify_log, verify_segment};
