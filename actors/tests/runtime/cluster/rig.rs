//! Several nodes in one process: one store, one network, each node with a host of its own and a line to the store that can
//! be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{
    Category, CommandId, CorrelationId, Epoch, ExecutionId, Incarnation, Name, Position, Shard, StreamId,
    Version,
};
use flexcore_actors::domain::labels::Labels;
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::cluster::{ClusterView, Join, Joined, MemberState, Renewed};
use flexcore_actors::ports::event_store::{
    AppendOutcome, EventFilter, StoreError, StoredCommand, StreamOrder, Wakeup,
};
use flexcore_actors::ports::log_store::{LogLine, LogStream};
use flexcore_actors::ports::{BoxFuture, Clock, ClusterStore, EventStore, LogStore};
use flexcore_actors::runtime::api::{Accepted, Api, ApiError, Command, CommandKind, Context};
use flexcore_actors::runtime::cluster::{ClusterPorts, Timings};
use flexcore_actors::runtime::integrity::IntegrityPorts;
use flexcore_actors::runtime::node::{Node, Ports};
use flexcore_actors::testkit::{
    MemoryIntegrity, MemoryNetwork, MemoryReadModels, MemorySnapshots, MemoryStore, MemorySubscriptions,
    RunningTime, integrity_ports,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::host::ScriptedHost;
use crate::world::DEADLINE;

/// Short enough to wait for, long enough for a machine that is busy.
pub const TIMINGS: Timings = Timings {
    renew: Duration::from_millis(100),
    guard: Duration::from_millis(1_600),
    lease: Duration::from_millis(2_000),
    unbroken: Duration::from_millis(2_500),
};

/// What is particular about a node.
pub struct Kind {
    /// By how much its clock is wrong.
    pub off: SignedDuration,
    pub labels: Labels,
    /// What its programs may be promised.
    pub memory: u64,
}

impl Default for Kind {
    fn default() -> Self {
        Self { off: SignedDuration::ZERO, labels: Labels::new(), memory: u64::MAX }
    }
}

impl Kind {
    /// A node of this zone.
    pub fn zone(zone: &str) -> Self {
        Self { labels: [("zone".to_owned(), zone.to_owned())].into(), ..Self::default() }
    }
}

/// What all nodes share.
pub struct Rig {
    pub store: Arc<MemoryStore>,
    pub network: Arc<MemoryNetwork>,
    subscriptions: Arc<MemorySubscriptions>,
    read_models: Arc<MemoryReadModels>,
    integrity: Arc<MemoryIntegrity>,
}

/// One of them.
pub struct Member {
    pub name: Name,
    pub node: Node,
    pub api: Api,
    pub host: Arc<ScriptedHost>,
    pub line: Arc<Line>,
}

impl Rig {
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self {
            integrity: Arc::new(MemoryIntegrity::new(Arc::clone(&store) as _)),
            store,
            network: MemoryNetwork::new(),
            subscriptions: Arc::new(MemorySubscriptions::new(Arc::new(System))),
            read_models: Arc::new(MemoryReadModels::default()),
        }
    }

    /// Starts a node and waits for nothing.
    pub async fn start(&self, name: &str) -> Member {
        self.start_as(name, Kind::default()).await
    }

    /// Starts a node of a kind.
    pub async fn start_as(&self, name: &str, Kind { off, labels, memory }: Kind) -> Member {
        let name = Name::new(name).unwrap();
        let line = Arc::new(Line { inner: Arc::clone(&self.store), cut: AtomicBool::new(false) });
        let (host, end) = (Arc::new(ScriptedHost::default()), self.network.end(&name));
        let cluster = ClusterPorts {
            store: Arc::clone(&line) as _,
            home: Uuid::now_v7(),
            address: Some(format!("{name}:1")),
            labels,
            memory,
            peers: Arc::clone(&end) as _,
            hints: end,
            uptime: Arc::new(RunningTime::default()),
            timings: TIMINGS,
        };
        let ports = Ports {
            store: Arc::clone(&line) as _,
            read_models: Arc::clone(&self.read_models) as _,
            snapshots: Arc::new(MemorySnapshots::default()),
            subscriptions: Arc::clone(&self.subscriptions) as _,
            host: Arc::clone(&host) as _,
            logs: Arc::new(OneLine(name.clone())),
            policy: Arc::default(),
            integrity: IntegrityPorts {
                store: Arc::clone(&self.integrity) as _,
                ..integrity_ports(Arc::clone(&line) as _)
            },
            clock: Arc::new(Wrong(off)),
            ids: Arc::new(System),
            cluster,
        };
        let node = Node::start(name.as_str(), ports).await.unwrap();
        self.network.connect(&name, node.peer_service());
        let api = node.api();
        Member { name, node, api, host, line }
    }

    /// Three nodes, among whom the shards are divided.
    pub async fn three() -> (Self, [Member; 3]) {
        let rig = Self::new();
        let nodes = [rig.start("a").await, rig.start("b").await, rig.start("c").await];
        settled(&nodes.iter().collect::<Vec<_>>()).await;
        (rig, nodes)
    }

    pub async fn events(&self) -> Vec<RecordedEvent> {
        self.store.read_all(Position(0), 100_000, &EventFilter::default()).await.unwrap()
    }

    /// The types of all events of a stream, in order, with the nodes that stored them.
    pub async fn told(&self, stream: &StreamId) -> Vec<(String, String)> {
        let events = self.events().await.into_iter().filter(|event| event.stream == *stream);
        events.map(|event| (event.kind, event.node)).collect()
    }

    /// The name of the node that owns a stream.
    pub async fn owner(&self, stream: &StreamId) -> String {
        let view = self.store.view().await.unwrap();
        view.shards[usize::from(stream.shard().0)].owner.as_ref().unwrap().to_string()
    }
}

impl Member {
    pub async fn submit(&self, kind: CommandKind, id: &str, payload: Value) -> Result<Accepted, ApiError> {
        let context = Context {
            actor: "tester".to_owned(),
            correlation_id: CorrelationId(Uuid::now_v7()),
            command_id: None,
            if_match: None,
        };
        self.api.submit(Command { kind, aggregate_id: id.to_owned(), payload, context }).await
    }

    pub async fn ok(&self, kind: CommandKind, id: &str, payload: Value) -> Accepted {
        let answer = self.submit(kind, id, payload).await;
        answer.unwrap_or_else(|error| panic!("{} at {}: {error}", kind.as_str(), self.name))
    }

    /// Cuts it from the store and from the others, as if its machine had lost its network.
    pub fn cut_off(&self, rig: &Rig) {
        rig.network.cut(&self.name);
        self.line.cut.store(true, Ordering::SeqCst);
    }
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until these nodes, and no others, own all shards, each about its share.
pub async fn settled(nodes: &[&Member]) {
    let most = flexcore_actors::runtime::cluster::most_shards(nodes.len());
    until("the shards are divided", async || {
        let of = |node: &&&Member| node.api.cluster();
        let seen: Vec<_> = nodes.iter().map(|node| of(&node)).collect();
        let own: Vec<usize> = seen.iter().map(|status| status.own_shards).collect();
        own.iter().sum::<usize>() == 256
            && own.iter().all(|own| *own <= most)
            && seen.iter().all(|status| status.handoffs == 0 && status.unowned_shards == 0)
    })
    .await;
}

/// A clock that is wrong by this.
struct Wrong(SignedDuration);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        System.now() + self.0
    }
}

/// The log of every execution: one line of the plugin `tap`, which names the node that has it.
struct OneLine(Name);

impl LogStore for OneLine {
    fn append(&self, _: ExecutionId, _: &[LogLine]) {}
    fn read(
        &self,
        _: ExecutionId,
        after: u64,
        _: usize,
    ) -> BoxFuture<'_, std::io::Result<(Vec<LogLine>, u64)>> {
        let line = LogLine {
            time: Timestamp::UNIX_EPOCH,
            step: Name::new("load").unwrap(),
            plugin: Name::new("tap").unwrap(),
            stream: LogStream::Stderr,
            text: format!("said at {}", self.0),
        };
        let lines = if after == 0 { vec![line] } else { Vec::new() };
        Box::pin(std::future::ready(Ok((lines, 1))))
    }
}

/// A node's way to the store.
pub struct Line {
    inner: Arc<MemoryStore>,
    pub cut: AtomicBool,
}

impl Line {
    fn open(&self) -> Result<&MemoryStore, StoreError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { operation: "reach the store", source: "it is cut".into() });
        }
        Ok(&self.inner)
    }
}

impl EventStore for Line {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Vec<AppendOutcome>, StoreError>> {
        Box::pin(async move { self.open()?.append(batch).await })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        after: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move { self.open()?.read_stream(stream, after, limit).await })
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        limit: usize,
        filter: &'a EventFilter,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move { self.open()?.read_all(after, limit, filter).await })
    }

    fn find_command<'a>(
        &'a self,
        stream: &'a StreamId,
        id: CommandId,
    ) -> BoxFuture<'a, Result<Option<StoredCommand>, StoreError>> {
        Box::pin(async move { self.open()?.find_command(stream, id).await })
    }

    fn list_streams<'a>(
        &'a self,
        category: Category,
        after: Option<&'a StreamId>,
        order: StreamOrder,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamId>, StoreError>> {
        Box::pin(async move { self.open()?.list_streams(category, after, order, limit).await })
    }

    fn wakeups<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Wakeup>, StoreError>> {
        Box::pin(async move { self.open()?.wakeups(after, limit).await })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move { self.open()?.head().await })
    }

    fn head_changes(&self) -> watch::Receiver<Position> {
        self.inner.head_changes()
    }
}

impl ClusterStore for Line {
    fn join<'a>(&'a self, join: &'a Join) -> BoxFuture<'a, Result<Joined, StoreError>> {
        Box::pin(async move { self.open()?.join(join).await })
    }

    fn renew(
        &self,
        member: Incarnation,
        state: MemberState,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        Box::pin(async move { self.open()?.renew(member, state, lease).await })
    }

    fn leave(&self, member: Incarnation) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.open()?.leave(member).await })
    }

    fn mark_dead(&self, by: Incarnation, member: Incarnation) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.open()?.mark_dead(by, member).await })
    }

    fn claim<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<Vec<(Shard, Epoch)>, StoreError>> {
        Box::pin(async move { self.open()?.claim(member, shards).await })
    }

    fn release<'a>(
        &'a self,
        member: Incarnation,
        shards: &'a [Shard],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.open()?.release(member, shards).await })
    }

    fn view(&self) -> BoxFuture<'_, Result<ClusterView, StoreError>> {
        Box::pin(async move { self.open()?.view().await })
    }
}
