//! Hints over a real Redis: they arrive, and nothing that happens to Redis or its connections is more than a gap.

use std::time::Duration;

use flexcore::redis::{RedisHints, Station};
use flexcore_actors::domain::ids::{Incarnation, Name};
use flexcore_actors::ports::cluster::{Heard, Hint, Hints};
use flexcore_test_support::{PrivateRedis, redis_prefix, redis_url, wait_for};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

fn station(prefix: &str, node: &str) -> Station {
    let incarnation = Incarnation(Uuid::now_v7());
    Station { prefix: prefix.to_owned(), node: Name::new(node).unwrap(), incarnation }
}

/// Waits until this is heard; what comes before it is left out.
async fn hears(heard: &mut Receiver<Heard>, wanted: &Heard) {
    let found = async { while heard.recv().await.as_ref().expect("the listener lives") != wanted {} };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{wanted:?} was not heard"));
}

/// Publishes until the other has heard it: a hint may be lost, while its repetition tells that hints pass again.
async fn reaches(from: &RedisHints, hint: Hint, heard: &mut Receiver<Heard>, wanted: &Heard) {
    let passed = async {
        loop {
            from.publish(hint.clone());
            if timeout(Duration::from_millis(200), hears(heard, wanted)).await.is_ok() {
                break;
            }
        }
    };
    timeout(PATIENCE, passed).await.expect("hints pass again");
}

#[tokio::test]
async fn hints_arrive_and_a_node_does_not_hear_itself() {
    let (prefix, url) = (redis_prefix(), redis_url());
    let (a, b) = (station(&prefix, "a"), station(&prefix, "b"));
    let (from_a, from_b) = (a.incarnation, b.incarnation);
    let (a, b) = (RedisHints::start(&url, a).unwrap(), RedisHints::start(&url, b).unwrap());
    let (mut at_a, mut at_b) = (a.listen(), b.listen());
    hears(&mut at_a, &Heard::Gap).await;
    hears(&mut at_b, &Heard::Gap).await;
    assert!(a.connected() && b.connected());
    let updated = Hint::PluginUpdated { plugin: Name::new("tap").unwrap() };
    reaches(&a, Hint::Hello, &mut at_b, &Heard::Hint { from: from_a, hint: Hint::Hello }).await;
    reaches(&b, updated.clone(), &mut at_a, &Heard::Hint { from: from_b, hint: updated }).await;
    a.publish(Hint::Shards);
    hears(&mut at_b, &Heard::Hint { from: from_a, hint: Hint::Shards }).await;
    while let Ok(heard) = at_a.try_recv() {
        assert!(!matches!(heard, Heard::Hint { from, .. } if from == from_a), "{heard:?}");
    }
    let other = RedisHints::start(&url, station(&redis_prefix(), "c")).unwrap();
    let mut at_other = other.listen();
    hears(&mut at_other, &Heard::Gap).await;
    a.publish(Hint::Left);
    hears(&mut at_b, &Heard::Hint { from: from_a, hint: Hint::Left }).await;
    assert!(at_other.try_recv().is_err(), "another cluster's hints are its own");
}

#[tokio::test]
async fn whatever_happens_to_the_server_is_a_gap_and_passes() {
    let mut redis = PrivateRedis::start().await;
    let (a, b) = (station("x:", "a"), station("x:", "b"));
    let wanted = Heard::Hint { from: a.incarnation, hint: Hint::Shards };
    let (a, b) = (RedisHints::start(&redis.url(), a).unwrap(), RedisHints::start(&redis.url(), b).unwrap());
    let mut at_b = b.listen();
    reaches(&a, Hint::Shards, &mut at_b, &wanted).await;

    for kind in ["pubsub", "normal"] {
        assert!(redis.command(&format!("CLIENT KILL TYPE {kind} SKIPME yes")).starts_with(':'));
        hears(&mut at_b, &Heard::Gap).await;
        reaches(&a, Hint::Shards, &mut at_b, &wanted).await;
    }
    redis.kill();
    wait_for("the loss is noticed", PATIENCE, async || if b.connected() { Err("connected") } else { Ok(()) })
        .await;
    redis.start_again().await;
    hears(&mut at_b, &Heard::Gap).await;
    reaches(&a, Hint::Shards, &mut at_b, &wanted).await;

    redis.pause(true);
    wait_for("the hang is noticed", PATIENCE, async || if b.connected() { Err("connected") } else { Ok(()) })
        .await;
    redis.pause(false);
    reaches(&a, Hint::Shards, &mut at_b, &wanted).await;

    assert_eq!(redis.command("FLUSHALL"), "+OK");
    reaches(&a, Hint::Shards, &mut at_b, &wanted).await;
    let lasts = wait_for("the node's key is there again", PATIENCE, async || {
        let lasts: i64 = redis.command("TTL x:node:b").trim_start_matches(':').parse().unwrap();
        if lasts > 0 { Ok(lasts) } else { Err(lasts) }
    });
    assert!(lasts.await <= 10);
}

#[tokio::test]
async fn without_a_server_nothing_waits_and_what_is_not_sent_is_counted() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hints = RedisHints::start(&format!("redis://{nobody}"), station("x:", "a")).unwrap();
    for _ in 0..1_000 {
        hints.publish(Hint::Shards);
    }
    assert!(!hints.connected());
    assert!(hints.dropped() > 0);
}
