//! Layer 7.5: what the layers above ask of an open store, and applications do not.
//!
//! Knows: what a handle shares with its clones. Does not know: who asks.

use uuid::Uuid;

use super::claims::{Claim, claim};
use super::store::{Handle, Store};
use crate::sync::{Arc, Weak};
use crate::types::{Position, Result, StreamName, Timestamp, Version};

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
        StoreIdentity(Arc::downgrade(&self.0))
    }

    /// Which event stands at a position, also when its data was reclaimed.
    pub(crate) fn id_at(&self, position: Position) -> Result<Option<Uuid>> {
        self.engine().view()?.with_event(position, |event| event.id())
    }

    /// The version that a stream had at a position, whatever of its events can be read.
    pub(crate) fn version_at(&self, stream: &StreamName, position: Position) -> Result<Version> {
        let mut view = self.engine().view()?;
        let known = self.engine().catalog.read().known_head(stream.as_str());
        if let Some((version, last)) = known
            && last <= position
        {
            return Ok(version);
        }
        view.last = view.last.min(position);
        Ok(view.head(stream.as_str()).map_or(Version::NONE, |(version, _)| version))
    }

    /// What time the store's clock shows.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.engine().clock.now())
    }

    /// Takes a name, for the one who runs under it.
    ///
    /// # Errors
    /// `Locked` while somebody else does.
    pub(crate) fn claim(&self, name: &str) -> Result<Claim> {
        crate::engine::check_name(name)?;
        claim(&self.0.claims, name)
    }
}
