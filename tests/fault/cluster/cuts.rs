//! The network between a node and what it needs is cut, both ways or one way: requests or answers go nowhere, and nobody is
//! told. Lines are relays on the loopback address (`Relay`), so a cut is seen as silence, as with packets that are dropped.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flexcore_test_support::{Client, Line, PrivateRedis, Relay, TestDatabase, wait_for};
use http::Method;
use serde_json::json;
use uuid::Uuid;

use super::{Cluster, PATIENCE, PIPELINES, accepted, pipeline};
use crate::rig::{API, STEP};

/// How long a request may wait for another node that does not answer.
const ANSWER: Duration = Duration::from_secs(15);

/// The lines of the node `c`.
struct Lines {
    store: Relay,
    redis: Relay,
    /// Over which the others reach it.
    peers: Relay,
    _database: TestDatabase,
}

fn free_port() -> u16 {
    // free now; whoever takes it in between makes the start fail, loudly
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("a listener has an address").port()
}

/// A cluster whose node `c` has lines that can be cut.
async fn with_lines() -> (Cluster, Lines) {
    let (database, redis) = (TestDatabase::create().await, PrivateRedis::start().await);
    let url = database.url();
    let config = database.config();
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let server = local(config.get_ports().first().copied().unwrap_or(5432));
    let port = free_port();
    let lines = Lines {
        store: Relay::to(server).await,
        redis: Relay::to(redis.url().trim_start_matches("redis://").parse().expect("an address")).await,
        peers: Relay::to(local(port)).await,
        _database: database,
    };
    let over = url.replace(&format!(":{}/", server.port()), &format!(":{}/", lines.store.address().port()));
    assert_ne!(over, url, "the database's URL has the server's port");
    let cluster = Cluster::with(&url, redis, |name, builder| {
        if name != "c" {
            return builder;
        }
        builder
            .env("FLEXCORE_DATABASE_URL", over.clone())
            .env("FLEXCORE_CLUSTER_REDIS_URL", format!("redis://{}", lines.redis.address()))
            .env("FLEXCORE_GRPC_LISTEN", format!("127.0.0.1:{port}"))
            .env("FLEXCORE_CLUSTER_ADVERTISE", lines.peers.address().to_string())
    })
    .await;
    (cluster, lines)
}

/// A pipeline that the node `c` owns.
async fn owned(cluster: &Cluster) -> String {
    let ids = cluster.execute_all().await;
    cluster.all_completed(&ids).await;
    let of_c = cluster.executions_of("c", &ids).await;
    let n = ids.iter().position(|id| of_c.contains(id)).expect("one of six pipelines is c's");
    pipeline(n)
}

async fn lost_from_the_store(line: Line) {
    let (mut cluster, lines) = with_lines().await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    let c = cluster.others.remove(1);
    lines.store.set(line);
    let began = Instant::now();
    let clients = cluster.clients();
    for n in 0..PIPELINES {
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/pause", pipeline(n))).await;
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/resume", pipeline(n))).await;
    }
    eprintln!("every pipeline took commands {} ms after the cut ({line:?})", began.elapsed().as_millis());
    c.client().get("/ready").await.expect(503);
    // S5: what it holds in memory is not shown once others may have changed it
    for n in 0..PIPELINES {
        let path = format!("{API}/pipelines/{}", pipeline(n));
        let reply = c.client().get(&path).await;
        let shown =
            reply.status == 503 || reply.json["version"] == clients[0].get(&path).await.json["version"];
        assert!(shown, "{} {}", reply.status, reply.text);
    }
    cluster.divided(2).await;
    cluster.all_completed(&ids).await;
    lines.store.set(Line::Whole);
    let mut c = c;
    let status = c.exited().await;
    assert_eq!(status.code(), Some(1), "{}", c.log());
    cluster.check().await;
}

#[tokio::test]
async fn a_node_that_is_cut_from_the_store_loses_its_shards_and_ends_when_it_is_back() {
    lost_from_the_store(Line::Cut).await;
}

#[tokio::test]
async fn a_node_that_the_store_does_not_answer_loses_its_shards_too() {
    lost_from_the_store(Line::AnswersLost).await;
}

#[tokio::test]
async fn a_node_that_hears_no_hints_goes_on() {
    let (cluster, lines) = with_lines().await;
    let (before, lives) = (cluster.divided(3).await, cluster.lives().await);
    for line in [Line::AnswersLost, Line::RequestsLost, Line::Cut] {
        lines.redis.set(line);
        let ids = cluster.execute_all().await;
        cluster.all_completed(&ids).await;
        lines.redis.set(Line::Whole);
        cluster.hints("up").await;
    }
    assert_eq!(cluster.divided(3).await, before, "no shard has moved");
    assert_eq!(cluster.lives().await, lives);
    cluster.check().await;
}

/// Sets a bookmark, as a command that can be told apart.
async fn set(client: &Client, pipeline: &str, id: Uuid) -> Result<u16, String> {
    let path = format!("{API}/pipelines/{pipeline}/bookmarks/{STEP}");
    let body = json!({"state": {"load": id}}).to_string();
    let client = client.clone().with_header("idempotency-key", &id.to_string());
    let reply = client.request(Method::PUT, &path, Some("application/json"), body).await?;
    if [200, 503].contains(&reply.status) { Ok(reply.status) } else { Err(reply.text) }
}

#[tokio::test]
async fn a_node_that_the_others_cannot_reach_keeps_its_own() {
    let (cluster, lines) = with_lines().await;
    let (before, lives) = (cluster.divided(3).await, cluster.lives().await);
    let name = owned(&cluster).await;
    let (first, c) = (cluster.rig.node.client(), cluster.others[1].client());
    for line in [Line::RequestsLost, Line::AnswersLost, Line::Cut] {
        lines.peers.set(line);
        let (id, began) = (Uuid::now_v7(), Instant::now());
        assert_eq!(set(&first, &name, id).await, Ok(503), "{line:?}: its owner does not answer");
        assert!(began.elapsed() < ANSWER, "{line:?}: {:?}", began.elapsed());
        // the owner itself goes on
        assert_eq!(set(&c, &name, Uuid::now_v7()).await, Ok(200), "{line:?}");
        lines.peers.set(Line::Whole);
        wait_for("it is answered again", PATIENCE, async || match set(&first, &name, id).await {
            Ok(200) => Ok(()),
            other => Err(other),
        })
        .await;
        let log = cluster.log().await;
        let times = log.0.iter().filter(|event| event.data["state"]["load"] == json!(id)).count();
        assert_eq!(times, 1, "{line:?}: a command whose request or answer was late happens once");
    }
    assert_eq!(cluster.divided(3).await, before, "no shard has moved");
    assert_eq!(cluster.lives().await, lives);
    cluster.check().await;
}
