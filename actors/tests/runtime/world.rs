//! One node on an in-memory store, and what tests ask of it.

use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{CommandId, CorrelationId, ExecutionId, Position};
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::event_store::EventFilter;
use flexcore_actors::ports::log_store::LogLine;
use flexcore_actors::ports::plugin_host::CallRefusal;
use flexcore_actors::ports::{BoxFuture, Clock, EventStore, IdSource, LogStore, ReadModels, SnapshotStore};
use flexcore_actors::runtime::api::{Accepted, Api, ApiError, Command, CommandKind, Context};
use flexcore_actors::runtime::cluster::ClusterPorts;
use flexcore_actors::runtime::node::{Node, Ports};
use flexcore_actors::runtime::views::ExecutionView;
use flexcore_actors::testkit::{
    MemoryReadModels, MemorySnapshots, MemoryStore, MemorySubscriptions, RunningTime, integrity_ports,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::host::ScriptedHost;

/// How long a test waits for what must happen.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct NoLogs;

impl LogStore for NoLogs {
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

pub struct World {
    pub store: Arc<MemoryStore>,
    pub host: Arc<ScriptedHost>,
    pub node: Node,
    pub api: Api,
}

impl World {
    pub async fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    /// A node on a store that may already hold something.
    pub async fn on(store: Arc<MemoryStore>) -> Self {
        let edge = Arc::clone(&store) as Arc<dyn EventStore>;
        Self::with(store, edge, Arc::new(System), Arc::new(System)).await
    }

    /// A node that reaches `store` through `edge`, with a clock and ids of the test's own.
    pub async fn with(
        store: Arc<MemoryStore>,
        edge: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        Self::keeping(store, edge, Arc::new(MemorySnapshots::default()), clock, ids).await
    }

    /// The same with snapshots of the test's own.
    pub async fn keeping(
        store: Arc<MemoryStore>,
        edge: Arc<dyn EventStore>,
        snapshots: Arc<dyn SnapshotStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        let read_models = Arc::new(MemoryReadModels::default());
        Self::made_of(store, edge, snapshots, read_models, clock, ids).await
    }

    /// A node on a store that may already hold something, with read models that may too.
    pub async fn with_models(store: Arc<MemoryStore>, read_models: Arc<dyn ReadModels>) -> Self {
        let edge = Arc::clone(&store) as Arc<dyn EventStore>;
        let snapshots = Arc::new(MemorySnapshots::default());
        Self::made_of(store, edge, snapshots, read_models, Arc::new(System), Arc::new(System)).await
    }

    async fn made_of(
        store: Arc<MemoryStore>,
        edge: Arc<dyn EventStore>,
        snapshots: Arc<dyn SnapshotStore>,
        read_models: Arc<dyn ReadModels>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        let (host, logs) = (Arc::new(ScriptedHost::default()), Arc::new(NoLogs));
        let integrity = integrity_ports(Arc::clone(&edge));
        // empty in each life: what a subscription did before its checkpoint was lost comes again
        let subscriptions = Arc::new(MemorySubscriptions::new(Arc::clone(&clock)));
        let (programs, policy) = (Arc::clone(&host) as _, Arc::default());
        // each life on a store has the home of the one before
        let members = Arc::clone(&store) as _;
        let cluster = ClusterPorts::alone(members, Uuid::nil(), Arc::new(RunningTime::default()));
        let ports = Ports {
            store: edge,
            read_models,
            snapshots,
            subscriptions,
            host: programs,
            logs,
            policy,
            integrity,
            clock,
            ids,
            cluster,
        };
        let node = Node::start("n1", ports).await.unwrap();
        let api = node.api();
        Self { store, host, node, api }
    }

    /// With a plugin `tap` whose concurrency is 4.
    pub async fn with_tap() -> Self {
        let world = Self::new().await;
        world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 4)).await;
        world
    }

    pub async fn submit(&self, kind: CommandKind, id: &str, payload: Value) -> Result<Accepted, ApiError> {
        self.submit_as(kind, id, payload, None).await
    }

    pub async fn submit_as(
        &self,
        kind: CommandKind,
        id: &str,
        payload: Value,
        command_id: Option<CommandId>,
    ) -> Result<Accepted, ApiError> {
        let context = Context {
            actor: "tester".to_owned(),
            correlation_id: CorrelationId(Uuid::now_v7()),
            command_id,
            if_match: None,
        };
        self.api.submit(Command { kind, aggregate_id: id.to_owned(), payload, context }).await
    }

    pub async fn ok(&self, kind: CommandKind, id: &str, payload: Value) -> Accepted {
        self.submit(kind, id, payload).await.unwrap_or_else(|error| panic!("{}: {error}", kind.as_str()))
    }

    /// Defines and starts the pipeline `p` with these steps.
    pub async fn start(&self, steps: Value) -> ExecutionId {
        self.ok(CommandKind::CreatePipeline, "p", json!({ "steps": steps })).await;
        self.start_again().await
    }

    pub async fn start_again(&self) -> ExecutionId {
        self.ok(CommandKind::StartPipeline, "p", json!({})).await.execution_id.unwrap()
    }

    /// Waits for the end of an execution.
    pub async fn ended(&self, id: ExecutionId) -> ExecutionView {
        let view = self.api.wait_execution(id, DEADLINE).await.unwrap();
        assert!(view.ended_at.is_some(), "not ended in time: {view:#?}");
        view
    }

    /// Waits until an execution's view satisfies `condition`.
    pub async fn until(&self, id: ExecutionId, condition: impl Fn(&ExecutionView) -> bool) -> ExecutionView {
        let began = std::time::Instant::now();
        loop {
            let view = self.api.execution(id).await.unwrap();
            if condition(&view) {
                return view;
            }
            assert!(began.elapsed() < DEADLINE, "not reached in time: {view:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the calls of programs were answered, in order.
    pub fn answers(&self) -> Vec<Result<Value, CallRefusal>> {
        self.host.answers.lock().unwrap().clone()
    }

    pub async fn events(&self) -> Vec<RecordedEvent> {
        self.store.read_all(Position(0), 100_000, &EventFilter::default()).await.unwrap()
    }

    /// The types of all events of a stream, in order.
    pub async fn kinds(&self, stream: &str) -> Vec<String> {
        let events = self.events().await;
        events.into_iter().filter(|e| e.stream.as_str() == stream).map(|e| e.kind).collect()
    }

    /// Waits until a stream's last event is of a type.
    pub async fn until_last(&self, stream: &str, kind: &str) {
        let began = std::time::Instant::now();
        while self.kinds(stream).await.last().map(String::as_str) != Some(kind) {
            assert!(began.elapsed() < DEADLINE, "{stream}: {:?}", self.kinds(stream).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn plugin(name: &str, concurrency: u32) -> Value {
    json!({"name": name, "version": "1", "type": "processor", "protocol": "singer", "command": [name],
           "concurrency": concurrency})
}

/// A step that runs `tap` with a script.
pub fn step(name: &str, script: Value) -> Value {
    json!({"name": name, "plugin": "tap", "config": {"script": script},
           "retry": {"attempts": 3, "initial": "10ms", "jitter": 0}})
}
