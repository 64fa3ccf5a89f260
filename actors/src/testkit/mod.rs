//! What tests of this crate and of the adapters outside share: an in-memory event store and read models, a clock that stands
//! still, and the conformance suites of the ports. Behind the feature `testkit`; never part of a shipped program.

#[macro_use]
pub mod conformance;
#[macro_use]
pub mod read_models;

mod clock;
mod integrity;
mod memory;
mod memory_read_models;
mod network;
mod secrets;
mod snapshots;
mod subscriptions;
mod tokens;

pub use clock::{ManualClock, RunningTime};
pub use integrity::{
    MemoryCheckpoints, MemoryIntegrity, TestSigner, held_singleton, integrity_ports, seal_log,
};
pub use memory::{Fault, MemoryStore};
pub use memory_read_models::MemoryReadModels;
pub use network::{MemoryNetwork, NetworkEnd};
pub use secrets::MemorySecrets;
pub use snapshots::MemorySnapshots;
pub use subscriptions::MemorySubscriptions;
pub use tokens::MemoryTokens;
