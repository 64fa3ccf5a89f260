//! The disk is full: what has to be stored is refused with 503 and a time, what is stored can be read, nothing that was
//! acknowledged is lost, and once there is room again everything goes on.

use std::time::{Duration, Instant};

use flexcore_test_support::{Client, wait_for};
use serde_json::json;

use crate::checker::Log;
use crate::rig::{API, node};
use crate::server::Server;
use crate::small_disk::SmallDisk;

/// Megabytes of the disk with the embedded store.
const EMBEDDED_DISK: usize = 24;
/// Megabytes of the disk with a PostgreSQL cluster, which is about 40 when it is empty.
const SERVER_DISK: usize = 96;
/// Takes little space ahead, and gives back what it no longer needs.
const SERVER_SETTINGS: &[&str] =
    &["min_wal_size=2MB", "max_wal_size=8MB", "shared_buffers=16MB", "restart_after_crash=on"];
/// Bytes of one definition: some fit into what files had taken before the disk was full.
const DESCRIPTION: usize = 60_000;
/// Definitions that are acknowledged before.
const BEFORE: usize = 5;
/// Definitions after which the disk must have been too small.
const MOST: usize = 1_000;
/// How long a refusal may take on a busy machine: about five seconds, and what it waits for the processor.
const SOON: Duration = Duration::from_secs(10);
/// How long it may take to go on once there is room.
const RECOVERY: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_full_disk_under_the_embedded_store_is_503_until_there_is_room() {
    let disk = SmallDisk::mount(EMBEDDED_DISK);
    let mut node = node().data_on(disk.folder("data")).start().await;
    let (asked, refusal) = overfill(&node.client(), &disk).await;
    assert!(refusal < SOON, "what is certainly not stored is said soon: {refusal:?}");
    disk.free();
    goes_on(&node.client(), &asked).await;
    node.kill9().await;
    node.restart().await;
    holds(&node.client(), &asked).await;
}

#[tokio::test]
async fn a_full_disk_under_postgresql_is_503_until_there_is_room() {
    let disk = SmallDisk::mount(SERVER_DISK);
    let mut server = Server::start_below(disk.path(), SERVER_SETTINGS).await;
    let mut node = node().env("FLEXCORE_DATABASE_URL", server.url()).start().await;
    // a server that could not write its log has ended without an answer: what became of the request is sought for longer
    let (asked, _) = overfill(&node.client(), &disk).await;
    disk.free();
    // a server that could not write its log has ended, and its operator starts it again
    server.restart().await;
    goes_on(&node.client(), &asked).await;
    node.kill9().await;
    node.restart().await;
    holds(&node.client(), &asked).await;
}

/// Defines pipelines until the disk is full and one is refused. Gives their keys, and whether each was acknowledged; and
/// how long the refusal took.
async fn overfill(client: &Client, disk: &SmallDisk) -> (Vec<(String, bool)>, Duration) {
    crate::database::small_pipeline(client).await;
    let mut asked = Vec::new();
    for n in 0..MOST {
        if n == BEFORE {
            disk.fill();
        }
        let key = uuid::Uuid::now_v7().to_string();
        let began = Instant::now();
        let reply = define(client, n, &key).await;
        let took = began.elapsed();
        asked.push((key, reply.status == 201));
        if reply.status == 201 {
            continue;
        }
        assert_eq!(reply.status, 503, "{}", reply.text);
        assert!(n >= BEFORE, "it was refused before the disk was full: {}", reply.text);
        let wait: u64 = reply.header("retry-after").expect("a time").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
        eprintln!("{n} definitions were acknowledged, {} of them with no room left on the disk", n - BEFORE);
        // it lives, and does not forget what it cannot add to
        client.get("/health").await.expect(200);
        return (asked, took);
    }
    panic!("the disk took {MOST} definitions");
}

/// Once there is room, what was refused is asked for again, and everything is there.
async fn goes_on(client: &Client, asked: &[(String, bool)]) {
    let (last, (key, _)) = asked.iter().enumerate().next_back().expect("something was refused");
    wait_for("it goes on", RECOVERY, async || match define(client, last, key).await {
        reply if reply.status == 503 => Err(reply.text),
        reply => Ok(reply.expect(201)),
    })
    .await;
    holds(client, asked).await;
}

/// Every definition is there, once; a repeated request is answered as the first.
async fn holds(client: &Client, asked: &[(String, bool)]) {
    for (n, (key, _)) in asked.iter().enumerate() {
        let found = client.get(&format!("{API}/pipelines/full-{n}")).await.expect(200);
        assert_eq!(found.json["description"].as_str().map(str::len), Some(DESCRIPTION));
        define(client, n, key).await.expect(201);
    }
    let log = Log::settled(client).await;
    log.check();
    let created = log.0.iter().filter(|event| event.kind == "PipelineCreated").count();
    assert_eq!(created, asked.len() + 1, "each is created once, and one was there before");
}

async fn define(client: &Client, n: usize, key: &str) -> flexcore_test_support::Reply {
    let pipeline = json!({
        "kind": "Pipeline", "name": format!("full-{n}"), "description": "d".repeat(DESCRIPTION),
        "steps": [{"name": "nothing", "plugin": "nothing"}],
    });
    client.clone().with_header("idempotency-key", key).post(&format!("{API}/pipelines"), &pipeline).await
}
