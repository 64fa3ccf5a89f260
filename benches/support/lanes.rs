//! Clients that each change one pipeline over and over, all of them in different shards, and repeat at another node what was not
//! answered; how long each had to wait at most while something happened. Nothing here prints.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flexcore_test_support::Client;
use http::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::bench_cluster::{API, BenchCluster, name, shard};

/// The pause of a client between two commands: the least wait that can be told from none.
const PACE: Duration = Duration::from_millis(50);
/// How long a client waits for an answer before it asks another node.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause of a client that was told to come back, or found nobody.
const AGAIN: Duration = Duration::from_millis(20);
/// For how long a command is repeated.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The pipelines of the clients.
pub struct Lanes(Vec<usize>);

impl Lanes {
    /// So many, each in a shard of its own; the pipelines up to eight times as many must be there.
    pub fn of_different_shards(lanes: usize) -> Result<Self> {
        let (mut chosen, mut taken) = (Vec::new(), BTreeSet::new());
        for number in 0..lanes * 8 {
            if chosen.len() < lanes && taken.insert(shard(number)?) {
                chosen.push(number);
            }
        }
        ensure!(chosen.len() == lanes, "only {} different shards", chosen.len());
        Ok(Self(chosen))
    }

    /// The longest wait in ms of each client with its shard while this happens to the cluster, and until each has
    /// been answered after it.
    pub async fn during(
        &self,
        cluster: &mut BenchCluster,
        happens: impl AsyncFnOnce(&mut BenchCluster) -> Result<()>,
    ) -> Result<Vec<(usize, f64)>> {
        let over = Arc::new(AtomicBool::new(false));
        let doors: Vec<Client> = (0..cluster.nodes.len()).map(|node| cluster.client(node)).collect();
        let lanes: Vec<JoinHandle<Result<f64>>> =
            self.0.iter().map(|n| tokio::spawn(lane(*n, doors.clone(), Arc::clone(&over)))).collect();
        happens(cluster).await?;
        over.store(true, SeqCst);
        let mut longest = Vec::new();
        for (number, lane) in self.0.iter().zip(lanes) {
            longest.push((shard(*number)?, lane.await.context("a client failed")??));
        }
        Ok(longest)
    }
}

async fn lane(number: usize, doors: Vec<Client>, over: Arc<AtomicBool>) -> Result<f64> {
    let path = format!("{API}/pipelines/{}/bookmarks/load", name(number));
    let (mut turn, mut longest) = (number, Duration::ZERO);
    loop {
        let last = over.load(SeqCst);
        let id = Uuid::now_v7().to_string();
        let body = json!({"state": {"id": id}}).to_string();
        let (began, mut seen) = (Instant::now(), String::new());
        while began.elapsed() < GIVE_UP {
            turn += 1;
            let door = doors[turn % doors.len()].clone().with_header("idempotency-key", &id);
            let asked = door.request(Method::PUT, &path, Some("application/json"), body.clone());
            match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok(reply)) if (200..300).contains(&reply.status) => {
                    longest = longest.max(began.elapsed());
                    seen.clear();
                    break;
                }
                Ok(Ok(reply)) if reply.status == 503 => seen = reply.text,
                Ok(Ok(reply)) => bail!("{path}: {} {}", reply.status, reply.text),
                Ok(Err(error)) => seen = error,
                Err(_) => seen = "no answer".to_owned(),
            }
            tokio::time::sleep(AGAIN).await;
        }
        ensure!(seen.is_empty(), "{path} was not changed within {GIVE_UP:?}: {seen}");
        if last {
            return Ok(longest.as_secs_f64() * 1e3);
        }
        tokio::time::sleep(PACE).await;
    }
}
