//! Clusters of real nodes for a benchmark, each on a database and a Redis of its own, and clients that keep them busy.
//! Nothing here knows what is compared, and nothing prints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flexcore_actors::domain::ids::{Name, StreamId};
use flexcore_test_support::{Client, Node, PrivateRedis, TestDatabase};
use serde_json::{Value, json};

/// The root of all paths.
pub const API: &str = "/api/v1/flexcore";
/// How long the shards may take to come to rest, and how long they must have.
const RESTLESS: Duration = Duration::from_secs(120);
const STILL: Duration = Duration::from_millis(1_500);
/// How often it is looked who owns what.
const LOOK: Duration = Duration::from_millis(10);

/// Some nodes on one database.
pub struct BenchCluster {
    pub nodes: Vec<Node>,
    /// How often each of the active pipelines was paused or resumed.
    pub turns: Vec<usize>,
    redis: PrivateRedis,
    database: TestDatabase,
}

impl BenchCluster {
    /// Starts so many nodes and waits until they have divided the shards.
    pub async fn start(nodes: usize) -> Result<Self> {
        let (database, redis) = (TestDatabase::create().await, PrivateRedis::start().await);
        let mut cluster = Self { nodes: Vec::new(), turns: Vec::new(), redis, database };
        for _ in 0..nodes {
            cluster.join().await;
        }
        cluster.settled().await?;
        let plugin = json!({"name": "tap", "version": "1", "type": "extractor", "protocol": "singer", "command": ["/bin/cat"]});
        cluster.client(0).post(&format!("{API}/plugins"), &plugin).await.expect(201);
        Ok(cluster)
    }

    /// One more node; it is ready when this returns.
    pub async fn join(&mut self) {
        let node = Node::of(env!("CARGO_BIN_EXE_flexcore"))
            .env("FLEXCORE_LOG", "warn")
            .env("FLEXCORE_NODE_NAME", format!("n{}", self.nodes.len()))
            .env("FLEXCORE_DATABASE_URL", self.database.url())
            .env("FLEXCORE_CLUSTER_REDIS_URL", self.redis.url())
            .env("FLEXCORE_CLUSTER_SECRET", "a secret for benchmarks, and for them alone")
            .env("FLEXCORE_GRPC_LISTEN", "127.0.0.1:0")
            .start()
            .await;
        self.nodes.push(node);
    }

    /// A node that has ended starts again; nothing moves any more when this returns.
    pub async fn back(&mut self, node: usize) -> Result<()> {
        self.nodes[node].restart().await;
        self.settled().await.map(drop)
    }

    /// A client of one node.
    pub fn client(&self, node: usize) -> Client {
        self.nodes[node].client()
    }

    /// Waits until all shards have owners and none moves any more; when the last of them moved, and how many each node has.
    pub async fn settled(&self) -> Result<(Instant, Vec<u64>)> {
        let (client, began) = (self.client(0), Instant::now());
        let (mut known, mut at) = (Vec::new(), began);
        while began.elapsed() < RESTLESS {
            let seen = client.get(&format!("{API}/inspect/cluster")).await.expect(200).json;
            let nodes = seen["nodes"].as_array().context("no nodes are shown")?;
            let live = nodes.iter().filter(|node| node["state"] == "live");
            let now: Vec<u64> = live.map(|node| node["shards"].as_u64().unwrap_or_default()).collect();
            if now != known {
                (known, at) = (now, Instant::now());
            }
            let whole = known.len() == self.nodes.len() && known.iter().sum::<u64>() == 256;
            if whole && at.elapsed() >= STILL {
                return Ok((at, known));
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("the shards do not come to rest within {RESTLESS:?}: {known:?}")
    }

    /// The number of the node that owns a pipeline, as the first node sees it.
    pub async fn owners(&self) -> Result<Vec<usize>> {
        let seen = self.client(0).get(&format!("{API}/inspect/shards")).await.expect(200).json;
        let owner = |shard: &Value| {
            let name = shard["owner"].as_str().context("a shard without an owner")?;
            Ok(name.trim_start_matches('n').parse()?)
        };
        seen["items"].as_array().context("no shards are shown")?.iter().map(owner).collect()
    }

    /// Creates so many pipelines, and activates them if wanted, through all nodes in turn; how long that took.
    pub async fn pipelines(&mut self, pipelines: usize, clients: usize, active: bool) -> Result<Duration> {
        self.turns = if active { vec![0; pipelines] } else { Vec::new() };
        let (began, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let clients = (0..clients).map(|n| {
            let (client, next) = (self.client(n % self.nodes.len()), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= pipelines {
                        return Ok::<_, anyhow::Error>(());
                    }
                    let steps = json!([{"name": "load", "plugin": "tap"}]);
                    send(&client, "CreatePipeline", number, &json!({"steps": steps})).await?;
                    if active {
                        send(&client, "ActivatePipeline", number, &json!({})).await?;
                    }
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await??;
        }
        Ok(began.elapsed())
    }

    /// Lets so many clients pause and resume the pipelines for a while, each of its own, each command through the next
    /// node; how many commands a second were carried out.
    pub async fn load(&mut self, clients: usize, time: Duration) -> Result<f64> {
        let began = Instant::now();
        let nodes: Vec<Client> = (0..self.nodes.len()).map(|node| self.client(node)).collect();
        let mut own: Vec<Vec<(usize, usize)>> = vec![Vec::new(); clients];
        self.turns.iter().copied().enumerate().for_each(|(n, turn)| own[n % clients].push((n, turn)));
        let clients = own.into_iter().map(|mut own| {
            let nodes = nodes.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < time {
                    let next = done % own.len();
                    let (pipeline, turn) = &mut own[next];
                    toggle(&nodes[done % nodes.len()], *pipeline, *turn).await?;
                    *turn += 1;
                    done += 1;
                }
                Ok::<_, anyhow::Error>((done, own))
            })
        });
        let mut all = 0;
        for client in clients.collect::<Vec<_>>() {
            let (done, own) = client.await??;
            all += done;
            own.into_iter().for_each(|(pipeline, turn)| self.turns[pipeline] = turn);
        }
        Ok(all as f64 / began.elapsed().as_secs_f64())
    }
}

/// The name of a pipeline.
pub fn name(number: usize) -> String {
    format!("p{number:06}")
}

/// The shard of a pipeline.
pub fn shard(number: usize) -> Result<usize> {
    Ok(usize::from(StreamId::pipeline(&Name::new(name(number))?).shard().0))
}

/// Pauses a pipeline in even turns and resumes it in odd ones.
pub async fn toggle(client: &Client, pipeline: usize, turn: usize) -> Result<()> {
    let command = if turn.is_multiple_of(2) { "PausePipeline" } else { "ResumePipeline" };
    send(client, command, pipeline, &json!({})).await
}

async fn send(client: &Client, command: &str, pipeline: usize, payload: &Value) -> Result<()> {
    let body = json!({"command_type": command, "aggregate_id": name(pipeline), "payload": payload});
    let reply = client.post(&format!("{API}/commands"), &body).await;
    ensure!(reply.status == 200, "{command} {}: {} {}", name(pipeline), reply.status, reply.text);
    Ok(())
}
