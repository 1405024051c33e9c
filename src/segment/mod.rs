//! Layer 3.9: one segment file: reading it, judging its end.

mod bytes;
mod verdict;
mod walk;

pub(crate) use bytes::{FileSource, SegmentBytes, read_event, source_of};
pub(crate) use verdict::{EndFacts, EndVerdict, judge_end};
pub(crate) use walk::{
    Place, TailWalk, WalkEnd, certificates_after, certified_extent, last_time, last_used_byte,
    later_header, walk_tail,
};
