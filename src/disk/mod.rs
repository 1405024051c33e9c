//! Layer 2.3: the operating system, real, in memory and simulated.

mod api;
mod map;
mod mem;
mod real;
#[cfg(any(test, feature = "sim"))]
mod sim;

pub use api::{Access, Disk, DiskFile, DiskLock};
pub use map::Mapped;
pub use mem::MemDisk;
pub use real::RealDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim::{Fault, SimDisk};
