//! Layer 6.9: one writer, many readers.

mod batch;
mod branch;
mod catalog;
mod check;
mod close;
mod commit;
mod decide;
mod desk;
mod find;
mod fold;
mod follow;
mod forget;
mod gap;
mod gone;
mod heads;
mod inside;
mod keeper;
mod knowledge;
mod known;
mod lifecycle;
#[cfg(any(test, not(feature = "forget")))]
#[cfg_attr(feature = "forget", expect(dead_code, reason = "only tested in this build"))]
mod no_subjects;
mod open;
mod parts;
mod queue;
mod reclaim;
mod salvage;
mod saved;
mod segment;
mod shared;
mod sidecars;
mod staged;
#[cfg(feature = "forget")]
mod subjects;
mod tell;
mod trim;
mod watch;

pub use batch::{Appended, StreamAppended};
pub(crate) use batch::{Batch, BatchEvent, BatchStream};
#[cfg(feature = "model")]
pub(crate) use batch::{Late, MakeBatch};
pub(crate) use branch::{BranchPlan, Branched};
pub(crate) use catalog::{View, whole};
pub(crate) use check::{IndexCheck, check_indexes};
pub(crate) use commit::{commit_inline, drive};
pub(crate) use decide::check_shape;
pub(crate) use find::{Candidates, Wanted, candidates};
pub(crate) use inside::refuse_inside;
#[cfg(feature = "model")]
pub(crate) use inside::{caught, inside};
pub(crate) use open::{open_follower, open_writer};
pub(crate) use queue::Slot;
pub(crate) use salvage::salvage;
#[cfg(any(test, feature = "sim"))]
pub(crate) use saved::Checkpoint as SavedCheckpoint;
pub use saved::Snapshot;
pub(crate) use segment::{EventReader, Segment, segment_at};
pub(crate) use shared::{Engine, check_name};
pub(crate) use watch::{Mark, Woken};
