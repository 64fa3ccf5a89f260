//! Round trips to an aggregate's actor that is in memory: through the directory alone, through the way in of gateways
//! (which also makes the answer's shape), and with sixteen callers at once. No disk, no network, no program.
//!
//! Run it with `cargo bench --profile dist --bench actor`.

#[path = "support/commands.rs"]
mod commands;
#[path = "support/idle_node.rs"]
mod idle_node;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use flexcore_actors::domain::ids::{Name, Position, StreamId};
use flexcore_actors::domain::pipeline::Pipeline;
use flexcore_actors::ports::clock::System;
use flexcore_actors::runtime::aggregate::{Directory, Shared, Snapshots};
use flexcore_actors::runtime::api::{Api, CommandKind};
use flexcore_actors::runtime::cluster::Cluster;
use flexcore_actors::runtime::committer::Committer;
use flexcore_actors::runtime::inspect::Inspector;
use flexcore_actors::runtime::node::Node;
use flexcore_actors::runtime::supervisor::SupervisorHandle;
use flexcore_actors::testkit::conformance::own_all;
use flexcore_actors::testkit::{
    MemoryReadModels, MemorySnapshots, MemoryStore, MemorySubscriptions, integrity_ports,
};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use self::idle_node::Stores;

const PIPELINE: &str = "orders";
/// Callers at once, more than there are processors.
const CALLERS: u64 = 16;

/// A node with one plugin and one pipeline.
async fn node(store: Arc<MemoryStore>) -> anyhow::Result<Node> {
    let stores = Stores {
        events: Arc::clone(&store) as _,
        cluster: Arc::clone(&store) as _,
        read_models: Arc::new(MemoryReadModels::default()),
        snapshots: Arc::new(MemorySnapshots::default()),
        subscriptions: Arc::new(MemorySubscriptions::new(Arc::new(System))),
    };
    let node = idle_node::start(stores, integrity_ports(store)).await?;
    let plugin =
        json!({"name": "tap", "version": "1", "type": "extractor", "protocol": "singer", "command": ["tap"]});
    let steps = json!({"steps": [{"name": "load", "plugin": "tap"}]});
    for (kind, id, payload) in
        [(CommandKind::RegisterPlugin, "tap", plugin), (CommandKind::CreatePipeline, PIPELINE, steps)]
    {
        node.api().submit(commands::command(kind, id, payload)).await?;
    }
    Ok(node)
}

/// A directory of pipelines by itself, on a store that a node has filled.
async fn directory(store: Arc<MemoryStore>) -> anyhow::Result<Arc<Directory<Pipeline>>> {
    let ids = Arc::new(System);
    let supervisor = SupervisorHandle::spawn("pipelines", Inspector::new("bench"), ids.clone(), None).await?;
    let committer =
        Committer::start("bench", Arc::clone(&store) as _, Arc::new(System), &supervisor, Position(0)).await;
    let shared = Shared {
        cluster: Cluster::owning(
            Name::new("bench")?,
            Arc::clone(&store) as _,
            &own_all(&*store, "bench").await,
        ),
        store,
        committer,
        clock: Arc::new(System),
        ids,
        snapshots: Snapshots::new(Arc::new(MemorySnapshots::default())),
        recoveries: Semaphore::new(1),
        replays: Semaphore::new(1),
    };
    Ok(Arc::new(Directory::new(supervisor, Arc::new(shared))))
}

/// `rounds` reads one after the other, inside a task as the runtime makes them: outside, a call costs a thread switch.
fn reads(
    runtime: &Runtime,
    directory: &Arc<Directory<Pipeline>>,
    stream: &StreamId,
    rounds: u64,
) -> Duration {
    let (directory, stream) = (Arc::clone(directory), stream.clone());
    let task = runtime.spawn(async move {
        let began = Instant::now();
        for _ in 0..rounds {
            black_box(directory.read(&stream).await.expect("the pipeline is in memory"));
        }
        began.elapsed()
    });
    runtime.block_on(task).expect("the task does not panic")
}

fn views(runtime: &Runtime, api: &Api, name: &Name, callers: u64, rounds: u64) -> Duration {
    let began = Instant::now();
    let tasks = (0..callers).map(|_| {
        let (api, name) = (api.clone(), name.clone());
        runtime.spawn(async move {
            for _ in 0..rounds.div_ceil(callers) {
                black_box(api.pipeline(&name).await.expect("the pipeline is in memory"));
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        runtime.block_on(task).expect("the task does not panic");
    }
    began.elapsed()
}

fn main() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let store = Arc::new(MemoryStore::new());
    let (api, alone, name) = runtime.block_on(async {
        let node = node(store.clone()).await?;
        anyhow::Ok((node.api(), directory(store.clone()).await?, Name::new(PIPELINE)?))
    })?;
    let stream = StreamId::pipeline(&name);
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("directory read", |b| {
        b.iter_custom(|rounds| reads(&runtime, &alone, &stream, rounds));
    });
    criterion.bench_function("pipeline view, one caller", |b| {
        b.iter_custom(|rounds| views(&runtime, &api, &name, 1, rounds));
    });
    criterion.bench_function("pipeline view, 16 callers", |b| {
        b.iter_custom(|rounds| views(&runtime, &api, &name, CALLERS, rounds));
    });
    criterion.final_summary();
    Ok(())
}
