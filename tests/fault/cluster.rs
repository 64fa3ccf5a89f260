//! Three nodes on one database: any of them answers for all, and what one of them did is done by the others when it is gone.
//! Here is what the tests of this folder share: the nodes, six pipelines that copy a source, and what can be asked of them.

mod clock;
mod cuts;
mod load;
mod members;
mod placement;
mod rolling;
mod services;
mod soak;

use std::collections::BTreeMap;
use std::time::Duration;

use flexcore_test_support::{Client, Node, NodeBuilder, PrivateRedis, TestDatabase, wait_for};
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
    _database: Option<TestDatabase>, // after the nodes
}

/// A node of the cluster on this database and Redis.
fn member(name: &str, database: &str, redis: &str) -> NodeBuilder {
    node()
        .env("FLEXCORE_NODE_NAME", name)
        .env("FLEXCORE_DATABASE_URL", database)
        .env("FLEXCORE_CLUSTER_REDIS_URL", redis)
        .env("FLEXCORE_CLUSTER_SECRET", "a secret for tests, and for tests alone")
        .env("FLEXCORE_GRPC_LISTEN", "127.0.0.1:0")
}

impl Cluster {
    /// Three nodes that have divided the shards, and pipelines that copy a source.
    async fn start() -> Self {
        Self::start_with(|_, builder| builder).await
    }

    /// The same, each node changed by the test.
    async fn start_with(change: impl Fn(&str, NodeBuilder) -> NodeBuilder) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url();
        Self { _database: Some(database), ..Self::on(&url, change).await }
    }

    /// The same on a database that the test has.
    async fn on(database: &str, change: impl Fn(&str, NodeBuilder) -> NodeBuilder) -> Self {
        Self::with(database, PrivateRedis::start().await, change).await
    }

    /// The same with a Redis that the test has.
    async fn with(
        database: &str,
        redis: PrivateRedis,
        change: impl Fn(&str, NodeBuilder) -> NodeBuilder,
    ) -> Self {
        let made = |name: &str| change(name, member(name, database, &redis.url()));
        let rig = Rig::of(made("a")).await;
        rig.write_source(RECORDS);
        let mut others = Vec::new();
        for name in ["b", "c"] {
            others.push(made(name).start().await);
        }
        let cluster = Self { rig, others, redis, _database: None };
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

    /// The cluster as the first node sees it.
    async fn seen(&self) -> Value {
        self.rig.node.client().get(&format!("{API}/inspect/cluster")).await.expect(200).json
    }

    /// Waits until so many nodes own all shards, about the same number each, as each of them sees it.
    async fn divided(&self, nodes: usize) -> u64 {
        let mut revision = 0;
        for client in self.clients() {
            revision = wait_for("the shards are divided", PATIENCE, async || {
                let seen = client.get(&format!("{API}/inspect/cluster")).await.expect(200).json;
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

    /// The members by name: which life of each, and how it is.
    async fn lives(&self) -> BTreeMap<String, String> {
        let seen = self.seen().await;
        let nodes = seen["nodes"].as_array().cloned().unwrap_or_default();
        let life =
            |node: &Value| (node["name"].to_string(), format!("{} {}", node["incarnation"], node["state"]));
        nodes.iter().map(life).collect()
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

    /// Waits until every node says this of its hints.
    async fn hints(&self, are: &str) {
        for client in self.clients() {
            wait_for(&format!("hints are {are}"), PATIENCE, async || {
                let seen = client.get(&format!("{API}/inspect/cluster")).await.expect(200).json;
                if seen["redis"]["status"] == are { Ok(()) } else { Err(seen) }
            })
            .await;
        }
    }

    /// Whether all of these have ended.
    async fn over(&self, ids: &[String]) -> bool {
        let client = self.rig.node.client();
        for id in ids {
            let reply = client.get(&format!("{API}/executions/{id}")).await;
            if reply.status != 200 || !is_over(&reply.json) {
                return false;
            }
        }
        true
    }

    /// Waits until all of these have ended.
    async fn all_over(&self, ids: &[String]) {
        wait_for(
            "executions end",
            PATIENCE,
            async || if self.over(ids).await { Ok(()) } else { Err("not yet") },
        )
        .await;
    }

    /// The whole log.
    async fn log(&self) -> Log {
        Log::settled(&self.rig.node.client()).await
    }

    /// Checks the whole log of the cluster.
    async fn check(&self) -> Log {
        let log = self.log().await;
        log.check();
        log
    }
}

fn pipeline(n: usize) -> String {
    format!("copy-{n}")
}

async fn execute(client: &Client, n: usize) -> String {
    started(client, n, &json!({})).await
}

/// Starts an execution that copies everything once more.
async fn execute_from_scratch(client: &Client, n: usize) -> String {
    started(client, n, &json!({"from_scratch": true})).await
}

async fn started(client: &Client, n: usize, how: &Value) -> String {
    let reply = posted(client, &format!("{API}/pipelines/{}/execute", pipeline(n)), how).await;
    reply["execution_id"].as_str().expect("an execution has an id").to_owned()
}

/// Gets until it is answered.
async fn answered(client: &Client, path: &str) -> Value {
    wait_for("it is answered", GAP, async || {
        let reply = client.get(path).await;
        if reply.status == 200 { Ok(reply.json) } else { Err(reply.text) }
    })
    .await
}

/// Posts until it is accepted, as a client does that is told to come back: what is posted is refused, not lost.
async fn accepted(client: &Client, path: &str) -> Value {
    posted(client, path, &json!({})).await
}

async fn posted(client: &Client, path: &str, body: &Value) -> Value {
    wait_for("the command is accepted", GAP, async || {
        let reply = client.post(path, body).await;
        match reply.status {
            200..=299 => Ok(reply.json),
            503 => Err(reply.text),
            _ => panic!("{path}: {} {}", reply.status, reply.text),
        }
    })
    .await
}
