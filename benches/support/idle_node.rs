//! A whole node inside the benchmark's process that runs no programs: for what is measured of actors, stores and read
//! models. Nothing here knows what is compared, and nothing prints.

use std::sync::Arc;

use anyhow::Result;
use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::ids::{CorrelationId, ExecutionId};
use flexcore_actors::domain::outcome::{AttemptReport, Cause, CauseKind};
use flexcore_actors::domain::plugin::Manifest;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::log_store::LogLine;
use flexcore_actors::ports::plugin_host::{AttemptEnd, Examination, HostEvent, PipeSpec, Progress};
use flexcore_actors::ports::{
    BoxFuture, EventStore, IdSource, LogStore, PluginHost, ReadModels, SnapshotStore, SubscriptionStore,
};
use flexcore_actors::runtime::api::{Command, CommandKind, Context};
use flexcore_actors::runtime::integrity::IntegrityPorts;
use flexcore_actors::runtime::node::{Node, Ports};
use flexcore_actors::testkit::{
    MemoryReadModels, MemorySnapshots, MemoryStore, MemorySubscriptions, integrity_ports,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// No programs and no logs: nothing runs here.
struct Nothing;

impl PluginHost for Nothing {
    fn run<'a>(
        &'a self,
        _: PipeSpec,
        _: mpsc::Sender<HostEvent>,
        _: Arc<Progress>,
        _: CancellationToken,
    ) -> BoxFuture<'a, AttemptEnd> {
        let cause = Some(Cause::new(CauseKind::StartFailed, "nothing runs in a benchmark"));
        Box::pin(async move { AttemptEnd { cause, report: AttemptReport::default() } })
    }

    fn prepare<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Result<(), Cause>> {
        Box::pin(async { Ok(()) })
    }

    fn examine<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Examination> {
        Box::pin(async { Examination::default() })
    }
}

impl LogStore for Nothing {
    fn append(&self, _: ExecutionId, _: &[LogLine]) {}

    fn read(
        &self,
        _: ExecutionId,
        after: u64,
        _: usize,
    ) -> BoxFuture<'_, std::io::Result<(Vec<LogLine>, u64)>> {
        Box::pin(async move { Ok((Vec::new(), after)) })
    }
}

/// Starts the node on PostgreSQL with everything it keeps there; only the checkpoints' copies outside are in memory.
#[allow(dead_code, reason = "not every benchmark has one")]
pub async fn on_postgres(store: &Arc<PostgresStore>) -> Result<Node> {
    let stores = Stores {
        events: Arc::clone(store) as _,
        read_models: Arc::new(store.read_models()?),
        snapshots: Arc::clone(store) as _,
        subscriptions: Arc::clone(store) as _,
    };
    let integrity =
        IntegrityPorts { store: Arc::clone(store) as _, ..integrity_ports(Arc::clone(store) as _) };
    start(stores, integrity).await
}

/// Starts the node with everything in memory.
#[allow(dead_code, reason = "not every benchmark has one")]
pub async fn in_memory(store: Arc<MemoryStore>) -> Result<Node> {
    let stores = Stores {
        events: Arc::clone(&store) as _,
        read_models: Arc::new(MemoryReadModels::default()),
        snapshots: Arc::new(MemorySnapshots::default()),
        subscriptions: Arc::new(MemorySubscriptions::new(Arc::new(System))),
    };
    start(stores, integrity_ports(store)).await
}

struct Stores {
    events: Arc<dyn EventStore>,
    read_models: Arc<dyn ReadModels>,
    snapshots: Arc<dyn SnapshotStore>,
    subscriptions: Arc<dyn SubscriptionStore>,
}

async fn start(stores: Stores, integrity: IntegrityPorts) -> Result<Node> {
    let Stores { events: store, read_models, snapshots, subscriptions } = stores;
    let (host, logs) = (Arc::new(Nothing), Arc::new(Nothing));
    let (clock, ids) = (Arc::new(System), Arc::new(System));
    let policy = Arc::default();
    let ports =
        Ports { store, read_models, snapshots, subscriptions, host, logs, policy, integrity, clock, ids };
    Ok(Node::start("bench", ports).await?)
}

/// A command as a user's request makes it, with an id of its own.
pub fn command(kind: CommandKind, name: &str, payload: Value) -> Command {
    let correlation_id = CorrelationId(System.uuid());
    let context = Context { actor: "bench".to_owned(), correlation_id, command_id: None, if_match: None };
    Command { kind, aggregate_id: name.to_owned(), payload, context }
}
