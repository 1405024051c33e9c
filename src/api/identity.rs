//! Layer 7.5: whether two handles are of the same open store.
//!
//! Knows: what a handle shares with its clones. Does not know: who asks.

use super::store::{Handle, Store};
use crate::sync::{Arc, Weak};

/// An open store, told apart from every other, also from a later one of the same directory. It does
/// not keep the store open.
#[derive(Debug, Clone)]
pub(crate) struct StoreIdentity(Weak<Handle>);

impl PartialEq for StoreIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Store {
    pub(crate) fn identity(&self) -> StoreIdentity {
        StoreIdentity(Arc::downgrade(self.handle()))
    }
}
