//! Layer 2.4: the operating system, real, in memory and simulated.
//!
//! Knows: which implementation is compiled where. Does not know: anything else.
//!
//! A store opens on any [`Disk`] with [`Options::open_on`](crate::Options::open_on). [`RealDisk`]
//! is a directory of the file system, which [`Store::open`](crate::Store::open) uses; [`MemDisk`]
//! is a directory in memory that outlives the stores on it; `SimDisk`, with the feature `sim`, cuts
//! the power and fails calls on demand. The documentation of [`Disk`] and [`DiskFile`] is the fault
//! model: an implementation of your own must keep it to the letter.

mod api;
#[cfg(any(not(unix), test))]
mod directory_portable;
#[cfg(unix)]
mod directory_unix;
mod image;
mod map;
mod mem;
mod patient;
mod real;
#[cfg(any(test, feature = "sim"))]
mod sim;
#[cfg(any(test, feature = "sim"))]
mod sim_fault;
#[cfg(any(test, feature = "sim"))]
mod sim_inode;
#[cfg(any(test, feature = "sim"))]
mod sim_names;
#[cfg(any(test, feature = "sim"))]
mod sim_random;
#[cfg(any(test, feature = "sim"))]
mod sim_state;

pub use api::{Access, Disk, DiskFile, DiskLock};
pub use map::Mapped;
pub(crate) use map::prefetch;
pub use mem::MemDisk;
pub(crate) use patient::PatientDisk;
pub use real::RealDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim::SimDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim_fault::{Fault, FaultCall, FaultKind};

#[cfg(test)]
mod tests;
