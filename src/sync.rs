//! Layer 0.0: the locks and atomics the crate uses, named in one place.
//!
//! Knows: which implementations are used. Does not know: what they guard.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::OnceLock;
#[cfg(feature = "model")]
pub(crate) use std::sync::Weak;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
