//! What the runtime needs from the outside, as traits: the event store, snapshots, the read models, the plugin host,
//! the log of programs, time and ids. Adapters live outside; nothing here names one.

pub mod batch;
pub mod clock;
pub mod event_store;
pub mod head;
pub mod log_store;
pub mod plugin_host;
pub mod read_models;
pub mod snapshot_store;

pub use clock::{Clock, IdSource};
pub use event_store::EventStore;
pub use log_store::LogStore;
pub use plugin_host::PluginHost;
pub use read_models::ReadModels;
pub use snapshot_store::SnapshotStore;

/// What an asynchronous call of a port returns; boxed, so that ports can be trait objects.
pub type BoxFuture<'a, T> = futures::future::BoxFuture<'a, T>;
