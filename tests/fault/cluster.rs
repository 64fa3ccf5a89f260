//! Three nodes on one database: any of them answers for all, and what one of them did is done by the others when it is gone.

use std::time::{Duration, Instant};

use flexcore_test_support::{Client, Node, NodeBuilder, PrivateRedis, TestDatabase, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::checker::Log;
use crate::rig::{API, Rig, execution, is_over, node};

/// How long owners may take to be where they belong, and executions to end.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a command may be answered 503 while its shard has no owner.
const GAP: Duration = Duration::from_secs(40);
const RECORDS: u64 = 4_000;
const RATE: u64 = 250;
/// Fewer than a plugin may run at once.
const PIPELINES: usize = 6;

struct Cluster {
    rig: Rig,
    others: Vec<Node>,
    redis: PrivateRedis,
    _database: TestDatabase, // after the nodes
}

/// A node of the cluster on this database and Redis.
fn member(name: &str, database: &TestDatabase, redis: &PrivateRedis) -> NodeBuilder {
    node()
        .env("FLEXCORE_NODE_NAME", name)
        .env("FLEXCORE_DATABASE_URL", database.url())
        .env("FLEXCORE_CLUSTER_REDIS_URL", redis.url())
        .env("FLEXCORE_CLUSTER_SECRET", "a secret for tests, and for tests alone")
        .env("FLEXCORE_GRPC_LISTEN", "127.0.0.1:0")
}

impl Cluster {
    /// Three nodes that have divided the shards, and pipelines that copy a source.
    async fn start() -> Self {
        let (database, redis) = (TestDatabase::create().await, PrivateRedis::start().await);
        let rig = Rig::of(member("a", &database, &redis)).await;
        rig.write_source(RECORDS);
        let mut others = Vec::new();
        for name in ["b", "c"] {
            others.push(member(name, &database, &redis).start().await);
        }
        let cluster = Self { rig, others, redis, _database: database };
        cluster.divided(3).await;
        for n in 0..PIPELINES {
            cluster.rig.pipeline(&pipeline(n), RATE).await;
            accepted(&cluster.rig.node.client(), &format!("{API}/pipelines/{}/activate", pipeline(n))).await;
        }
        cluster
    }

    fn clients(&self) -> Vec<Client> {
        [&self.rig.node].into_iter().chain(&self.others).map(Node::client).collect()
    }

    /// Waits until so many nodes own all shards, about the same number each, as each of them sees it.
    async fn divided(&self, nodes: usize) -> u64 {
        let mut revision = 0;
        for client in self.clients() {
            revision = wait_for("the shards are divided", PATIENCE, async || {
                let seen = client.get("/api/v1/flexcore/inspect/cluster").await.expect(200).json;
                let own = |node: &Value| node["shards"].as_u64().unwrap_or_default();
                let live: Vec<u64> = seen["nodes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|node| node["state"] == "live")
                    .map(own)
                    .collect();
                let fair = 256 / nodes as u64;
                let even = live.iter().all(|own| (fair / 2..=2 * fair).contains(own));
                let whole = live.len() == nodes && live.iter().sum::<u64>() == 256;
                if whole && even { Ok(seen["revision"].as_u64().unwrap_or_default()) } else { Err(seen) }
            })
            .await;
        }
        revision
    }

    /// The members as the first node sees them, by name, with their shards.
    async fn shards_of(&self, name: &str) -> u64 {
        let seen = self.rig.node.client().get("/api/v1/flexcore/inspect/cluster").await.expect(200).json;
        let nodes = seen["nodes"].as_array().cloned().unwrap_or_default();
        let node = nodes.iter().find(|node| node["name"] == name);
        node.and_then(|node| node["shards"].as_u64()).unwrap_or_default()
    }

    /// Starts an execution of every pipeline, each by another node.
    async fn execute_all(&self) -> Vec<String> {
        let clients = self.clients();
        let mut ids = Vec::new();
        for n in 0..PIPELINES {
            ids.push(execute(&clients[n % clients.len()], n).await);
        }
        ids
    }

    /// Waits until every pipeline has stored a bookmark: then all of them run, with some of the way behind them.
    async fn half_way(&self) {
        for n in 0..PIPELINES {
            self.rig.bookmark_beyond(&pipeline(n), 0).await;
        }
    }

    /// Waits until all of them have completed, asking another node for each.
    async fn all_completed(&self, ids: &[String]) {
        let clients = self.clients();
        for (n, id) in ids.iter().enumerate() {
            let client = &clients[n % clients.len()];
            let end = wait_for("the execution ends", PATIENCE, async || {
                let reply = client.get(&format!("{API}/executions/{id}")).await;
                match reply.status {
                    200 if is_over(&reply.json) => Ok(reply.json),
                    _ => Err(reply.text),
                }
            })
            .await;
            assert_eq!(end["status"], "completed", "{end:#}");
        }
        for n in 0..PIPELINES {
            self.rig.must_hold_all(&pipeline(n), RECORDS);
        }
    }

    /// Those of the executions that this node runs.
    async fn executions_of(&self, name: &str, ids: &[String]) -> Vec<String> {
        let client = self.rig.node.client();
        let mut own = Vec::new();
        for id in ids {
            if execution(&client, id).await["node"] == name {
                own.push(id.clone());
            }
        }
        own
    }

    /// Checks the whole log of the cluster.
    async fn check(&self) {
        Log::settled(&self.rig.node.client()).await.check();
    }
}

fn pipeline(n: usize) -> String {
    format!("copy-{n}")
}

async fn execute(client: &Client, n: usize) -> String {
    let path = format!("{API}/pipelines/{}/execute", pipeline(n));
    let reply = accepted(client, &path).await;
    reply["execution_id"].as_str().expect("an execution has an id").to_owned()
}

/// Posts until it is accepted, as a client does that is told to come back: what is posted is refused, not lost.
async fn accepted(client: &Client, path: &str) -> Value {
    wait_for("the command is accepted", GAP, async || {
        let reply = client.post(path, &json!({})).await;
        match reply.status {
            200..=299 => Ok(reply.json),
            503 => Err(reply.text),
            _ => panic!("{path}: {} {}", reply.status, reply.text),
        }
    })
    .await
}

#[tokio::test]
async fn any_node_answers_for_every_aggregate() {
    let cluster = Cluster::start().await;
    let ids = cluster.execute_all().await;
    cluster.all_completed(&ids).await;
    // each sees the same, whoever owns it
    for id in &ids {
        let mut seen = Vec::new();
        for client in cluster.clients() {
            seen.push(execution(&client, id).await);
        }
        assert!(seen.windows(2).all(|two| two[0]["status"] == two[1]["status"]), "{seen:#?}");
    }
    // a repeated command is known by whichever node gets it
    let path = format!("{API}/commands");
    let command = json!({
        "command_type": "PausePipeline", "aggregate_id": pipeline(0), "payload": {},
        "command_id": "0198c0de-0000-7000-8000-000000000001",
    });
    let mut positions = Vec::new();
    for client in cluster.clients() {
        positions.push(client.post(&path, &command).await.expect(200).json["result"]["position"].clone());
    }
    assert!(positions.windows(2).all(|two| two[0] == two[1]), "{positions:?}");
    cluster.check().await;
}

#[tokio::test]
async fn what_a_killed_node_did_is_done_by_the_others() {
    let mut cluster = Cluster::start().await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    let began = Instant::now();
    cluster.others[1].kill9().await;
    cluster.others.truncate(1);
    let clients = cluster.clients();
    // a command to every aggregate is accepted again
    for n in 0..PIPELINES {
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/pause", pipeline(n))).await;
    }
    let gap = began.elapsed();
    println!("every pipeline took commands {} ms after the kill", gap.as_millis());
    for n in 0..PIPELINES {
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/resume", pipeline(n))).await;
    }
    cluster.divided(2).await;
    cluster.all_completed(&ids).await;
    cluster.check().await;
}

#[tokio::test]
async fn a_node_that_is_asked_to_end_hands_over_first() {
    let mut cluster = Cluster::start().await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    let status = cluster.others[0].sigterm().await;
    assert_eq!(status.code(), Some(0), "{}", cluster.others[0].log());
    cluster.others.remove(0);
    let clients = cluster.clients();
    let began = Instant::now();
    for n in 0..PIPELINES {
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/pause", pipeline(n))).await;
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/resume", pipeline(n))).await;
    }
    println!("{} commands took {} ms after the handover", 2 * PIPELINES, began.elapsed().as_millis());
    cluster.divided(2).await;
    cluster.all_completed(&ids).await;
    cluster.check().await;
}

#[tokio::test]
async fn a_node_that_hangs_loses_its_work_and_its_programs_stand_still_first() {
    let mut cluster = Cluster::start().await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    let paused = cluster.others.remove(1);
    let executions = cluster.executions_of("c", &ids).await;
    paused.send(Signal::SIGSTOP);
    // the others go on with what it did, while it knows nothing of that
    cluster.divided(2).await;
    cluster.all_completed(&ids).await;
    let mut paused = paused;
    paused.send(Signal::SIGCONT);
    let status = paused.exited().await;
    assert_eq!(status.code(), Some(1), "{}", paused.log());
    assert!(paused.log().contains("another node has taken over"), "{}", paused.log());
    println!("{} executions of the hanging node were done by others", executions.len());
    cluster.check().await;
}

#[tokio::test]
async fn without_redis_nothing_moves_and_everything_is_answered() {
    let mut cluster = Cluster::start().await;
    let before = cluster.divided(3).await;
    cluster.redis.kill();
    let clients = cluster.clients();
    for client in &clients {
        wait_for("the loss is seen", PATIENCE, async || {
            let seen = client.get("/api/v1/flexcore/inspect/cluster").await.expect(200).json;
            if seen["redis"]["status"] == "down" { Ok(()) } else { Err(seen) }
        })
        .await;
    }
    let ids = cluster.execute_all().await;
    cluster.all_completed(&ids).await;
    assert_eq!(cluster.divided(3).await, before, "no shard has moved, no member came or went");
    assert!(cluster.shards_of("b").await > 0);
    cluster.redis.start_again().await;
    for client in &clients {
        wait_for("hints pass again", PATIENCE, async || {
            let seen = client.get("/api/v1/flexcore/inspect/cluster").await.expect(200).json;
            if seen["redis"]["status"] == "up" { Ok(()) } else { Err(seen) }
        })
        .await;
    }
    cluster.check().await;
}

#[tokio::test]
async fn a_node_that_does_not_know_the_secret_reaches_nobody() {
    let cluster = Cluster::start().await;
    let database = &cluster._database;
    let stranger = member("d", database, &cluster.redis)
        .env("FLEXCORE_CLUSTER_SECRET", "another secret of more than thirty-two")
        .start()
        .await;
    let mut refused = 0;
    for n in 0..PIPELINES {
        let reply = stranger.client().get(&format!("{API}/pipelines/{}", pipeline(n))).await;
        refused += usize::from(reply.status == 503);
        assert!([200, 503].contains(&reply.status), "{}", reply.text);
    }
    assert!(refused > 0, "three of four pipelines are others': none of them speaks with it");
    let told = cluster.others[0].log().contains("without the cluster's secret")
        || cluster.others[1].log().contains("without the cluster's secret")
        || cluster.rig.node.log().contains("without the cluster's secret");
    assert!(told, "{}", cluster.others[0].log());
}
