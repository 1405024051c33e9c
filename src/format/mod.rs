//! Layer 1.9: bytes to values and back, pure; nothing here opens a file or knows the time.

mod base;
mod body;
mod bytes;
mod checksum;
mod control;
mod frame;
mod head;
mod keyed;
mod live;
mod names;
mod record;
mod remains;
mod scan;
#[cfg(feature = "forget")]
mod sealed;
mod segment;
mod stub;

pub(crate) use base::{
    BASE_HEADER_BYTES, Base, BaseCheckpoint, BaseEnd, BaseId, BaseParts, BaseStream,
};
#[cfg(any(test, feature = "sim"))]
pub(crate) use body::encode_event;
#[cfg(feature = "forget")]
pub(crate) use body::{binding_of, with_data};
pub(crate) use body::{decode_event, encode_event_with};
pub(crate) use bytes::{Put, Take};
#[cfg(any(test, feature = "sim"))]
pub(crate) use checksum::crc_from;
pub(crate) use checksum::{crc, segment_seed};
pub(crate) use control::{
    CheckpointRecord, LOST_RANGE_MOST, LOST_SEGMENT_MOST, LostRange, LostReason, Opening,
    Predecessor, Seal, SettingsRecord, positions_of,
};
pub(crate) use frame::{
    BatchPart, FRAME_HEADER_BYTES, FrameHeader, FrameKind, chain_after, patch_header, records_crc,
};
pub(crate) use head::{ANCESTORS_MAX, Ancestor, Head};
pub(crate) use keyed::{
    KEYED_ALIGN, KEYED_VALUE_MAX, KeyedEntry, KeyedStep, encode_keyed, keyed_seed, keyed_step,
};
pub(crate) use live::{LIVE_BYTES, LiveMark};
pub(crate) use names::{FileName, KeptFile, Purpose, name_of};
pub(crate) use record::{
    RECORD_HEAD_BYTES, Record, RecordHead, RecordKind, patch_record, push_record,
};
pub(crate) use remains::each_whole_record;
pub(crate) use scan::{Bad, Expected, Frame, Source, Step, Walker, find_header};
#[cfg(feature = "forget")]
pub(crate) use sealed::{SECRET_BYTES, Secret, key_of, seal, unseal};
pub(crate) use segment::{REWRITE_GUESSED, REWRITE_NOT_KNOWN, SEGMENT_HEADER_BYTES, SegmentHeader};
pub(crate) use stub::{head_in_frame, push_stub};
