//! Wall clocks that are wrong by an hour: of the processes of a node alone, by Debian's `faketime`, never the machine's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use flexcore_test_support::wait_for;

use super::{Cluster, PATIENCE, PIPELINES, accepted, execute_from_scratch, pipeline};
use crate::rig::{API, execution};

/// How far an hour is, with what a test takes.
const ABOUT_AN_HOUR: Duration = Duration::from_secs(50 * 60);

/// The library that says another time, as Debian installs it.
fn library() -> PathBuf {
    let folder = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    PathBuf::from(folder).join("libfaketimeMT.so.1")
}

#[tokio::test]
async fn wrong_clocks_change_no_owner_and_hold_nothing_up() {
    assert!(library().exists(), "the test command installs the package libfaketime: {}", library().display());
    let mut cluster = Cluster::start_with(|name, builder| match name {
        "b" | "c" => builder
            .env("LD_PRELOAD", library().to_str().expect("a path of ours"))
            .env("FAKETIME", if name == "b" { "-1h" } else { "+1h" })
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1"),
        _ => builder,
    })
    .await;
    let (before, lives) = (cluster.divided(3).await, cluster.lives().await);
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    cluster.all_completed(&ids).await;
    assert_eq!(cluster.divided(3).await, before, "no shard has moved");
    assert_eq!(cluster.lives().await, lives);
    let log = cluster.check().await;
    // the clocks are wrong indeed
    let now = jiff::Timestamp::now();
    for (node, ahead) in [("b", false), ("c", true)] {
        let event = log.0.iter().rev().find(|event| event.node == node).expect("each has recorded something");
        let off = event.timestamp.duration_since(now);
        assert_eq!(off.is_positive(), ahead, "{node}: {off}");
        assert!(off.unsigned_abs() > ABOUT_AN_HOUR, "{node}: {off}");
    }
    // the one that is ahead is killed in between: who goes on does not wait for its hour
    let mut ids = Vec::new();
    for n in 0..PIPELINES {
        ids.push(execute_from_scratch(&cluster.rig.node.client(), n).await);
    }
    wait_for("records are copied", PATIENCE, async || {
        let mut copied = 0;
        for id in &ids {
            let execution = execution(&cluster.rig.node.client(), id).await;
            copied +=
                usize::from(execution["steps"][0]["attempts"].as_array().is_some_and(|all| !all.is_empty()));
        }
        if copied == PIPELINES { Ok(()) } else { Err(copied) }
    })
    .await;
    let began = Instant::now();
    cluster.others[1].kill9().await;
    cluster.others.truncate(1);
    let clients = cluster.clients();
    for n in 0..PIPELINES {
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/pause", pipeline(n))).await;
        accepted(&clients[n % 2], &format!("{API}/pipelines/{}/resume", pipeline(n))).await;
    }
    eprintln!("every pipeline took commands {} ms after the kill", began.elapsed().as_millis());
    cluster.all_over(&ids).await;
    cluster.check().await;
}
