//! An idle node on PostgreSQL, as a real one is composed. Nothing here knows what is compared, and nothing prints.

use std::sync::Arc;

use anyhow::Result;
use flexcore::postgres::PostgresStore;
use flexcore_actors::runtime::integrity::IntegrityPorts;
use flexcore_actors::runtime::node::Node;
use flexcore_actors::testkit::integrity_ports;

use super::idle_node::{Stores, start};

/// Starts the node on PostgreSQL with everything it keeps there; only the checkpoints' copies outside are in memory.
pub async fn start_on(store: &Arc<PostgresStore>) -> Result<Node> {
    let stores = Stores {
        events: Arc::clone(store) as _,
        cluster: Arc::clone(store) as _,
        read_models: Arc::new(store.read_models()?),
        snapshots: Arc::clone(store) as _,
        subscriptions: Arc::clone(store) as _,
    };
    let integrity =
        IntegrityPorts { store: Arc::clone(store) as _, ..integrity_ports(Arc::clone(store) as _) };
    start(stores, integrity).await
}
