//! Layer 7.9: the verbs.

mod append;
mod branch;
#[cfg_attr(not(feature = "model"), expect(dead_code, reason = "nobody runs anything"))]
mod claims;
mod dump;
#[cfg(feature = "forget")]
mod forget;
mod heads;
mod hiding;
#[cfg(feature = "model")]
mod identity;
mod info;
mod lifecycle;
mod mend;
mod options;
mod read;
mod reclaim;
mod saved;
mod source;
mod store;
#[cfg(feature = "stream")]
mod stream;
mod subscribe;
mod trim;
mod verify;
mod walk;

#[cfg(feature = "model")]
pub(crate) use crate::engine::{Appended, Batch, Late, MakeBatch, StreamAppended, caught, inside};
pub use append::{BatchBuilder, Ticket};
pub use branch::{
    BackupOptions, BackupReport, BranchOptions, BranchReport, RestoreTo, restore, restore_on,
};
#[cfg(feature = "model")]
pub(crate) use claims::Claim;
pub use dump::Dump;
#[cfg(feature = "forget")]
pub use forget::{Forgotten, KeyInfo, KeysImported};
#[cfg(feature = "model")]
pub(crate) use identity::StoreIdentity;
pub use info::{CategoryInfo, CheckpointInfo, Stats, StreamHead, StreamInfo};
pub use mend::{Repair, repair, salvage};
pub use options::Options;
pub use read::{Events, Read};
pub use source::Source;
pub use store::Store;
#[cfg(feature = "stream")]
pub use stream::DeliveryStream;
pub use subscribe::{Delivery, Start, SubscribeOptions, Subscription};
pub use verify::{Verify, verify};
