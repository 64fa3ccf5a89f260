//! What is needed from the outside, as traits: the event store with the tree over it, snapshots, the read models, secrets, tokens,
//! the plugin host, the log of programs, who signs checkpoints and where copies of them go, time and ids.
//! Adapters live outside; nothing here names one.

pub mod batch;
pub mod checkpoints;
pub mod clock;
pub mod cluster;
pub mod event_store;
pub mod head;
pub mod import_store;
pub mod integrity_store;
pub mod log_store;
pub mod plugin_host;
pub mod read_models;
pub mod registry;
pub mod secret_store;
pub mod snapshot_store;
pub mod subscription_store;
pub mod token_store;

pub use checkpoints::{OutsideCheckpoints, Signer};
pub use clock::{Clock, IdSource, Uptime};
pub use cluster::{ClusterStore, Hints, PeerService, Peers};
pub use event_store::EventStore;
pub use import_store::ImportStore;
pub use integrity_store::IntegrityStore;
pub use log_store::LogStore;
pub use plugin_host::PluginHost;
pub use read_models::ReadModels;
pub use secret_store::SecretStore;
pub use snapshot_store::SnapshotStore;
pub use subscription_store::SubscriptionStore;
pub use token_store::TokenStore;

/// What an asynchronous call of a port returns; boxed, so that ports can be trait objects.
pub type BoxFuture<'a, T> = futures::future::BoxFuture<'a, T>;
