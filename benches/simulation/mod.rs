//! A cluster of many real nodes in one thread, on the in-memory store and network and in simulated time: nothing waits
//! for a real second, and whatever passes between nodes and store is counted. What a node does is the product's own code.
//! Never in here: what the figures mean, or how they are shown.

mod idle;
pub mod measured;
mod ports;
mod seed;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::ids::{CommandId, CorrelationId, Name, Shard, StreamId};
use flexcore_actors::ports::cluster::{ClusterView, Member, MemberState, Ownership};
use flexcore_actors::ports::{ClusterStore, IdSource};
use flexcore_actors::runtime::api::{Api, ApiError, Command, CommandKind, Context};
use flexcore_actors::runtime::cluster::{ClusterPorts, Timings};
use flexcore_actors::runtime::integrity::IntegrityPorts;
use flexcore_actors::runtime::node::{Node, Ports};
use flexcore_actors::testkit::{
    ManualClock, MemoryNetwork, MemoryReadModels, MemorySnapshots, MemoryStore, MemorySubscriptions,
    integrity_ports,
};
use serde_json::Value;
use tokio::time::Instant;

use self::idle::Idle;
use self::ports::{Counters, Door, End, SimulatedTime};
pub use self::ports::{Counts, What};

/// How often it is looked whether the shards still move, and for how long they must have stood still.
const LOOK: Duration = Duration::from_millis(10);
const STILL: Duration = Duration::from_secs(3);
/// How long after the last change what it caused still counts.
const ECHO: Duration = Duration::from_millis(100);
/// When a cluster that does not come to rest is given up, in simulated time.
const RESTLESS: Duration = Duration::from_secs(120);
/// How long a node that leaves may take.
const GRACE: Duration = Duration::from_secs(10);
/// How often a node without room is asked again, and for how long, on the machine's clock.
const ROOM_LOOK: Duration = Duration::from_millis(50);
const ROOM: Duration = Duration::from_secs(5);
/// Chooses nodes and aggregates.
const SEED: u64 = 7;

/// What one change of the cluster cost.
#[derive(Debug, Clone)]
pub struct Change {
    /// What passed until the shards stood still.
    pub counts: Counts,
    /// Hints that arrived.
    pub heard: u64,
    /// Hints that found the queue of a listener full.
    pub missed: u64,
    /// Until the shards stood still, in simulated time.
    pub took: Duration,
    /// Shards whose owner changed.
    pub moved: usize,
    /// Claims of a shard: more than `moved` if some moved more than once.
    pub claimed: u64,
    /// Shards that went from one node that was there before and after to another such node.
    pub reshuffled: usize,
}

struct Living {
    name: Name,
    node: Node,
    api: Api,
    door: Arc<Door>,
    /// Actors that it had when it was idle.
    actors: u64,
}

/// The cluster.
pub struct Simulation {
    store: Arc<MemoryStore>,
    network: Arc<MemoryNetwork>,
    subscriptions: Arc<MemorySubscriptions>,
    models: Arc<MemoryReadModels>,
    counters: Arc<Counters>,
    time: Arc<SimulatedTime>,
    ids: Arc<ManualClock>,
    nodes: Vec<Living>,
    /// Cut off; they go on with what they can do alone.
    lost: Vec<Living>,
    started: usize,
    aggregates: usize,
}

/// Runs a simulation to its end on a runtime of one thread whose time is simulated.
pub fn simulate<T>(simulation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread").block_on(simulation)
}

impl Simulation {
    /// One node, whose store holds so many pipelines that nobody has in memory.
    pub async fn new(aggregates: usize) -> Self {
        let time = SimulatedTime::begin();
        let mut simulation = Self {
            store: Arc::new(MemoryStore::new()),
            network: MemoryNetwork::new(),
            subscriptions: Arc::new(MemorySubscriptions::new(Arc::clone(&time) as _)),
            models: Arc::new(MemoryReadModels::default()),
            counters: Arc::default(),
            time,
            ids: Arc::new(ManualClock::new(SEED)),
            nodes: Vec::new(),
            lost: Vec::new(),
            started: 0,
            aggregates,
        };
        simulation.start().await;
        // it opens the read models and ends, so that they can be told that they know the pipelines already
        seed::until_open(&simulation.models).await;
        let first = simulation.nodes.remove(0);
        first.node.shutdown(GRACE).await;
        seed::pipelines(&simulation.store, &*simulation.ids, aggregates).await;
        seed::project(&simulation.store, &simulation.models).await;
        simulation.start().await;
        simulation
    }

    /// Members and owners as the store has them; not counted.
    pub async fn view(&self) -> ClusterView {
        self.store.view().await.expect("the store in memory answers")
    }

    /// More nodes start at the same time.
    pub async fn join(&mut self, more: usize) -> Change {
        let before = self.mark().await;
        for _ in 0..more {
            self.start().await;
        }
        self.settle(before).await
    }

    /// A node leaves as one does that is told to end.
    pub async fn leave(&mut self) -> Change {
        let before = self.mark().await;
        let leaving = self.nodes.remove(self.nodes.len() / 2);
        leaving.node.shutdown(GRACE).await;
        self.settle(before).await
    }

    /// A node loses the store and the others from one moment to the next.
    pub async fn lose(&mut self) -> Change {
        let before = self.mark().await;
        let lost = self.nodes.remove(self.nodes.len() / 2);
        lost.door.close();
        self.network.cut(&lost.name);
        self.lost.push(lost);
        self.settle(before).await
    }

    /// What passes while nothing happens for so long.
    pub async fn idle(&self, time: Duration) -> Counts {
        let before = self.counters.now();
        tokio::time::sleep(time).await;
        self.counters.now().since(&before)
    }

    /// Archives pipelines, one after another, each through a node of chance; what that took.
    pub async fn command(&self, commands: usize) -> Counts {
        let before = self.counters.now();
        for name in self.some_pipelines(commands) {
            let context = Context {
                actor: "simulation".to_owned(),
                correlation_id: CorrelationId(self.ids.uuid()),
                command_id: Some(CommandId(self.ids.uuid())),
                if_match: None,
            };
            let (kind, aggregate_id) = (CommandKind::ArchivePipeline, name.to_string());
            let command = Command { kind, aggregate_id, payload: Value::Null, context };
            let answer = self.any().api.submit(command).await;
            answer.unwrap_or_else(|error| panic!("{name} was not archived: {error}"));
        }
        self.counters.now().since(&before)
    }

    /// Reads pipelines, one after another, each through a node of chance. A node that has no room left is asked again
    /// when it may make some, which is by the clock of the machine.
    pub async fn read(&self, pipelines: usize) {
        for name in self.some_pipelines(pipelines) {
            let (node, began) = (self.any(), std::time::Instant::now());
            while let Err(error) = node.api.pipeline(&name).await {
                let full = matches!(error, ApiError::Overloaded { .. }) && began.elapsed() < ROOM;
                assert!(full, "{name} was not read: {error}");
                std::thread::sleep(ROOM_LOOK);
            }
        }
    }

    /// Aggregates in memory, by node.
    pub fn resident(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.api.metrics().actors.saturating_sub(node.actors)).collect()
    }

    /// Shards by node.
    pub async fn shards(&self) -> Vec<usize> {
        let view = self.view().await;
        let owner = |node: &Living| Some(node.name.clone());
        let owned = |node| view.shards.iter().filter(|at| at.owner == owner(node)).count();
        self.nodes.iter().map(owned).collect()
    }

    /// Stored aggregates by node, in memory or not.
    pub async fn stored(&self) -> Vec<usize> {
        let view = self.view().await;
        let mut by_owner: BTreeMap<&Name, usize> = BTreeMap::new();
        let shards = (0..self.aggregates).map(|n| StreamId::pipeline(&seed::name(n)).shard());
        let owners = shards.filter_map(|shard| view.shards[usize::from(shard.0)].owner.as_ref());
        owners.for_each(|owner| *by_owner.entry(owner).or_default() += 1);
        self.nodes.iter().map(|node| by_owner.get(&node.name).copied().unwrap_or_default()).collect()
    }

    fn any(&self) -> &Living {
        let chosen = self.ids.below(self.nodes.len() as u64);
        &self.nodes[usize::try_from(chosen).expect("below their number")]
    }

    /// Different pipelines in no order, others at each time as long as there are.
    fn some_pipelines(&self, many: usize) -> impl Iterator<Item = Name> + use<> {
        // a stride that shares no factor with the number visits each once
        let (all, first) = (self.aggregates, self.ids.random());
        let stride = (1..).map(|n| 7_919 + n).find(|n| gcd(*n, all) == 1).unwrap_or(1);
        let first = usize::try_from(first % all as u64).expect("below their number");
        (0..many.min(all)).map(move |n| seed::name((first + n * stride) % all))
    }

    async fn start(&mut self) {
        let name = Name::new(format!("n{:03}", self.started)).expect("a name");
        self.started += 1;
        let door = Door::new(&self.store, &self.counters);
        let end = End::new(self.network.end(&name), &self.counters);
        let cluster = ClusterPorts {
            store: Arc::clone(&door) as _,
            home: self.ids.uuid(),
            address: Some(format!("{name}.flexcore.example.com:50051")),
            labels: BTreeMap::new(),
            memory: u64::MAX,
            peers: Arc::clone(&end) as _,
            hints: end,
            uptime: Arc::clone(&self.time) as _,
            timings: Timings::default(),
        };
        let ports = Ports {
            store: Arc::clone(&door) as _,
            read_models: Arc::clone(&self.models) as _,
            snapshots: Arc::new(MemorySnapshots::default()),
            subscriptions: Arc::clone(&self.subscriptions) as _,
            host: Arc::new(Idle),
            logs: Arc::new(Idle),
            policy: Arc::default(),
            integrity: IntegrityPorts { store: Arc::new(Idle), ..integrity_ports(Arc::clone(&door) as _) },
            clock: Arc::clone(&self.time) as _,
            ids: Arc::clone(&self.ids) as _,
            cluster,
        };
        let node = Node::start(name.as_str(), ports).await.expect("the node starts");
        self.network.connect(&name, node.peer_service());
        let api = node.api();
        let actors = api.metrics().actors;
        self.nodes.push(Living { name, node, api, door, actors });
    }

    async fn mark(&self) -> Mark {
        let (heard, missed) = self.network.told();
        let (view, counts, began) = (self.view().await, self.counters.now(), Instant::now());
        Mark { view, counts, heard, missed, began }
    }

    /// Waits until every shard has an owner that lives and none moves any more.
    async fn settle(&self, before: Mark) -> Change {
        let (mut view, mut at) = (before.view.clone(), before.began);
        let (mut counts, mut told) = (self.counters.now(), self.network.told());
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.view().await;
            if now.shards != view.shards {
                (view, at) = (now, Instant::now());
            }
            if at.elapsed() <= ECHO {
                (counts, told) = (self.counters.now(), self.network.told());
            }
            let served = |at: &Ownership| at.owner.as_ref().is_some_and(|owner| self.lives(owner));
            if at.elapsed() >= STILL && view.shards.iter().all(served) {
                break;
            }
            assert!(before.began.elapsed() < RESTLESS, "the shards do not come to rest: {:?}", view.members);
        }
        let (was, is) = (&before.view, &view);
        let shards = || (0..=u8::MAX).map(Shard);
        let pairs = || shards().map(|shard| (owner(was, shard), owner(is, shard)));
        let stays =
            |name: &Option<&Name>| name.is_some_and(|name| member(was, name).is_some() && self.lives(name));
        let epochs = |view: &ClusterView| view.shards.iter().map(|at| at.epoch.0).sum::<u64>();
        Change {
            counts: counts.since(&before.counts),
            heard: told.0 - before.heard,
            missed: told.1 - before.missed,
            took: at - before.began,
            moved: pairs().filter(|(was, is)| was != is).count(),
            claimed: epochs(is) - epochs(was),
            reshuffled: pairs().filter(|(was, is)| was != is && stays(was) && stays(is)).count(),
        }
    }

    fn lives(&self, name: &Name) -> bool {
        self.nodes.iter().any(|node| node.name == *name)
    }
}

/// How things were before a change.
struct Mark {
    view: ClusterView,
    counts: Counts,
    heard: u64,
    missed: u64,
    began: Instant,
}

fn owner(view: &ClusterView, shard: Shard) -> Option<&Name> {
    view.shards[usize::from(shard.0)].owner.as_ref()
}

fn member<'v>(view: &'v ClusterView, name: &Name) -> Option<&'v Member> {
    view.members.iter().find(|member| member.name == *name && member.state == MemberState::Live)
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Bytes that one node keeps to find the owner of any aggregate: its view of members and owners, by the sizes of their
/// types and of what those point to, and its own 256 epochs.
pub fn routing_bytes(view: &ClusterView) -> usize {
    let owners = view
        .shards
        .iter()
        .map(|at| size_of::<Ownership>() + at.owner.as_ref().map_or(0, |name| name.as_str().len()));
    let members = view.members.iter().map(|member| {
        let address = member.address.as_ref().map_or(0, String::len);
        size_of::<Member>() + member.name.as_str().len() + address
    });
    const EPOCH: usize = 16;
    owners.sum::<usize>() + members.sum::<usize>() + view.shards.len() * EPOCH
}
