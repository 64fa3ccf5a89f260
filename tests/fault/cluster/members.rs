//! Members that come and go: killed, asked to end, hanging for a while or for long, strangers.

use std::time::{Duration, Instant};

use flexcore_test_support::{Node, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{Cluster, PATIENCE, PIPELINES, accepted, member, pipeline};
use crate::rig::{API, execution};

/// Shorter than the guard: the node misses renewals, and nobody else notices.
const SHORT: Duration = Duration::from_secs(3);

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
    eprintln!("every pipeline took commands {} ms after the kill", gap.as_millis());
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
    eprintln!("{} commands took {} ms after the handover", 2 * PIPELINES, began.elapsed().as_millis());
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
    eprintln!("{} executions of the hanging node were done by others", executions.len());
    cluster.check().await;
}

#[tokio::test]
async fn a_node_that_does_not_know_the_secret_reaches_nobody() {
    let cluster = Cluster::start().await;
    let database = cluster._database.as_ref().expect("it has one of its own").url();
    let stranger = member("d", &database, &cluster.redis.url())
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

#[tokio::test]
async fn a_node_that_hangs_for_a_moment_loses_nothing() {
    let cluster = Cluster::start().await;
    let before = cluster.divided(3).await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    cluster.others[1].send(Signal::SIGSTOP);
    tokio::time::sleep(SHORT).await;
    cluster.others[1].send(Signal::SIGCONT);
    cluster.all_completed(&ids).await;
    assert_eq!(cluster.divided(3).await, before, "no shard has moved, no member came or went");
    for id in &ids {
        let attempts = execution(&cluster.rig.node.client(), id).await["steps"][0]["attempts"].clone();
        assert_eq!(attempts.as_array().map(Vec::len), Some(1), "{attempts:#}");
    }
    cluster.check().await;
}

#[tokio::test]
async fn what_one_node_does_for_all_another_does_when_it_is_killed() {
    let mut cluster = Cluster::start().await;
    let seen = cluster.seen().await;
    let owner = |name: &str| {
        let all = seen["singletons"].as_array().expect("a list").iter();
        let found = all.clone().find(|singleton| singleton["name"] == name).expect("it is there");
        found["owner"].as_str().expect("somebody does it").to_owned()
    };
    let victims = [owner("projections"), owner("sealer")];
    eprintln!("projections are at {}, the sealer at {}", victims[0], victims[1]);
    let began = Instant::now();
    // the first node stays: it is asked
    for (n, name) in [(1, "c"), (0, "b")] {
        if victims.iter().any(|victim| victim == name) {
            let node: &mut Node = &mut cluster.others[n];
            node.kill9().await;
            cluster.others.remove(n);
        }
    }
    let client = cluster.rig.node.client();
    let pause = json!({"command_type": "PausePipeline", "aggregate_id": pipeline(0), "payload": {}});
    let reply = wait_for("a command is accepted", PATIENCE, async || {
        let reply = client.post(&format!("{API}/commands"), &pause).await;
        if reply.status == 200 { Ok(reply.json) } else { Err(reply.text) }
    })
    .await;
    let position = reply["result"]["position"].as_u64().expect("it was recorded somewhere");
    wait_for("lists show it", PATIENCE, async || {
        let reply = client.get(&format!("{API}/pipelines?limit=100&min_position={position}")).await;
        if reply.status == 200 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    wait_for("it is sealed", PATIENCE, async || {
        let reply = client.get(&format!("{API}/integrity")).await.expect(200).json;
        if reply["checkpoint"]["size"].as_u64() >= Some(position) { Ok(()) } else { Err(reply) }
    })
    .await;
    eprintln!("a command was taken, listed and sealed {} ms after the kill", began.elapsed().as_millis());
    cluster.check().await;
}
