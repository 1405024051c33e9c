// Layer 8.0: the door: docs, lints, re-exports.
//! factlog
#![allow(dead_code, unused_imports)]
mod api;
mod clock;
pub mod disk;
mod engine;
mod format;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod log;
mod segment;
mod sync;
mod types;
pub use api::*;
pub use clock::{Clock, ManualClock, SystemClock};
pub use engine::{Appended, Snapshot, StreamAppended};
pub use log::{TornTail, VerifyReport};
pub use types::*;
pub use uuid::Uuid;
