//! Layer 9.9: who follows events: projections, process managers, competing consumers.

mod consumers;
mod group;
mod incoming;
mod outbox;
mod park;
mod projection;
mod retry;
mod runner;
mod settings;
mod status;
mod team;
mod work;

pub use consumers::{Consumers, ConsumersStatus};
pub use incoming::Incoming;
pub use outbox::Outbox;
pub use park::Parked;
pub use projection::Projection;
pub use retry::Retry;
pub use runner::Failed;
pub use settings::{Poison, ProjectionOptions};
pub use status::{Control, RunState, Status};
pub use team::ConsumersOptions;
pub use work::Work;
