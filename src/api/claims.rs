//! Layer 7.3: names that one runner of this store uses at a time.
//!
//! Knows: which are taken. Does not know: what runs under them.

use std::collections::HashSet;

use crate::sync::{Arc, Mutex};
use crate::types::{Error, ErrorKind, Result};

/// The names taken in an open store.
pub(super) type Claims = Arc<Mutex<HashSet<String>>>;

/// A name that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    name: String,
}

impl Claim {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.name);
    }
}

pub(super) fn claim(claims: &Claims, name: &str) -> Result<Claim> {
    if !claims.lock().insert(name.to_owned()) {
        let text = format!("{name:?} is running already in this process");
        return Err(Error::new(ErrorKind::Locked, text));
    }
    Ok(Claim { claims: claims.clone(), name: name.to_owned() })
}
