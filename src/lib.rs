//! factlog
#![allow(dead_code, unused_imports)]
mod clock;
pub mod disk;
mod format;
mod log;
mod segment;
mod sync;
mod types;
pub use types::*;
