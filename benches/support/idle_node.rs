//! A whole node inside the benchmark's process that runs no programs: for what is measured of actors, stores and read
//! models. Nothing here knows what is compared, and nothing prints.

use std::sync::Arc;

use anyhow::Result;
use flexcore_actors::domain::ids::ExecutionId;
use flexcore_actors::domain::outcome::{AttemptReport, Cause, CauseKind};
use flexcore_actors::domain::plugin::Manifest;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::log_store::LogLine;
use flexcore_actors::ports::plugin_host::{AttemptEnd, Examination, HostEvent, PipeSpec, Progress};
use flexcore_actors::ports::{
    BoxFuture, ClusterStore, EventStore, LogStore, PluginHost, ReadModels, SnapshotStore, SubscriptionStore,
};
use flexcore_actors::runtime::cluster::ClusterPorts;
use flexcore_actors::runtime::integrity::IntegrityPorts;
use flexcore_actors::runtime::node::{Node, Ports};
use flexcore_actors::testkit::RunningTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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

/// Where it keeps what it keeps.
pub struct Stores {
    pub events: Arc<dyn EventStore>,
    pub cluster: Arc<dyn ClusterStore>,
    pub read_models: Arc<dyn ReadModels>,
    pub snapshots: Arc<dyn SnapshotStore>,
    pub subscriptions: Arc<dyn SubscriptionStore>,
}

/// Starts the node.
pub async fn start(stores: Stores, integrity: IntegrityPorts) -> Result<Node> {
    let Stores { events: store, cluster, read_models, snapshots, subscriptions } = stores;
    let (host, logs) = (Arc::new(Nothing), Arc::new(Nothing));
    let (clock, ids) = (Arc::new(System), Arc::new(System));
    let policy = Arc::default();
    let cluster = ClusterPorts::alone(cluster, Uuid::nil(), Arc::new(RunningTime::default()));
    let ports = Ports {
        store,
        read_models,
        snapshots,
        subscriptions,
        host,
        logs,
        policy,
        integrity,
        clock,
        ids,
        cluster,
    };
    Ok(Node::start("bench", ports).await?)
}
