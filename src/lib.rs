//! factlog
#![allow(dead_code, unused_imports)]
mod clock;
mod format;
mod sync;
mod types;
pub use types::*;
