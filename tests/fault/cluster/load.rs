//! Commands that are sent all the time while something happens to the nodes, by clients that repeat what was not answered at
//! another node; and what they were told, to be compared with the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flexcore_test_support::Client;
use http::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Cluster;
use crate::checker::Log;
use crate::rig::{API, STEP};

/// The pause of a lane between two commands.
const PACE: Duration = Duration::from_millis(40);
/// How long a client waits for an answer before it asks another node.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause of a client that was told to come back, or that found nobody.
const AGAIN: Duration = Duration::from_millis(20);
/// For how long a command is repeated.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The load; each lane is a client that changes a pipeline of its own.
pub(super) struct Load {
    lanes: Vec<JoinHandle<Lane>>,
    shared: Arc<Shared>,
}

struct Shared {
    doors: Mutex<Vec<Client>>,
    stop: AtomicBool,
}

/// What one client was told.
#[derive(Default)]
struct Lane {
    acknowledged: Vec<Uuid>,
    /// How long each command took, repeats included.
    took: Vec<Duration>,
    /// The most that one command was sent.
    most_sent: usize,
}

/// What all clients were told.
pub(super) struct Told {
    acknowledged: Vec<Uuid>,
    /// The longest that each lane waited for an answer: no shorter than the time for which its shard had no owner.
    pub(super) gaps: Vec<Duration>,
    pub(super) most_sent: usize,
}

impl Load {
    /// Begins to change so many pipelines through all nodes.
    pub(super) async fn begin(cluster: &Cluster, lanes: usize) -> Self {
        for n in 0..lanes {
            cluster.rig.pipeline(&name(n), 1).await;
        }
        let (doors, stop) = (Mutex::new(cluster.clients()), AtomicBool::new(false));
        let shared = Arc::new(Shared { doors, stop });
        let lanes = (0..lanes).map(|n| tokio::spawn(lane(n, Arc::clone(&shared)))).collect();
        Self { lanes, shared }
    }

    /// From now on the nodes are reached so, as after a restart on another port.
    pub(super) fn doors(&self, cluster: &Cluster) {
        *self.shared.doors.lock().unwrap_or_else(PoisonError::into_inner) = cluster.clients();
    }

    /// Ends it; each lane ends with an acknowledged command.
    pub(super) async fn end(self) -> Told {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut told = Told { acknowledged: Vec::new(), gaps: Vec::new(), most_sent: 0 };
        for lane in self.lanes {
            let lane = lane.await.expect("a lane panics with the reason");
            told.acknowledged.extend(lane.acknowledged);
            told.gaps.push(lane.took.into_iter().max().unwrap_or_default());
            told.most_sent = told.most_sent.max(lane.most_sent);
        }
        told.gaps.sort_unstable();
        told
    }
}

impl Told {
    /// **S3, S6**: what was acknowledged is in the log, and nothing is there twice.
    pub(super) fn check(&self, log: &Log) {
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for event in &log.0 {
            if let Some(id) = event.data["state"]["load"].as_str() {
                *found.entry(id).or_default() += 1;
            }
        }
        assert!(found.values().all(|count| *count == 1), "a command happened twice: {found:?}");
        for id in &self.acknowledged {
            assert!(found.contains_key(id.to_string().as_str()), "acknowledged, and lost: {id}");
        }
        assert!(!self.acknowledged.is_empty());
    }

    /// In a line: how many were acknowledged, and the gaps.
    pub(super) fn line(&self) -> String {
        let at = |share: f64| self.gaps[((self.gaps.len() - 1) as f64 * share).round() as usize].as_millis();
        format!(
            "{} commands acknowledged, the longest wait of each of {} lanes: p50 {} ms, p90 {} ms, most {} ms; one was sent at most {} times",
            self.acknowledged.len(),
            self.gaps.len(),
            at(0.5),
            at(0.9),
            at(1.0),
            self.most_sent
        )
    }
}

fn name(n: usize) -> String {
    format!("load-{n}")
}

async fn lane(n: usize, shared: Arc<Shared>) -> Lane {
    let path = format!("{API}/pipelines/{}/bookmarks/{STEP}", name(n));
    let mut lane = Lane::default();
    let mut turn = n;
    while !shared.stop.load(Ordering::SeqCst) {
        let id = Uuid::now_v7();
        let body = json!({"state": {"load": id}}).to_string();
        let (began, mut sent, mut seen) = (Instant::now(), 0, String::new());
        loop {
            assert!(began.elapsed() < GIVE_UP, "{path}: not acknowledged, last seen: {seen}");
            turn += 1;
            sent += 1;
            let door = {
                let doors = shared.doors.lock().unwrap_or_else(PoisonError::into_inner);
                doors[turn % doors.len()].clone()
            };
            let door = door.with_header("idempotency-key", &id.to_string());
            let asked = door.request(Method::PUT, &path, Some("application/json"), body.clone());
            match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok(reply)) if (200..300).contains(&reply.status) => break,
                Ok(Ok(reply)) if reply.status == 503 => seen = reply.text,
                Ok(Ok(reply)) => panic!("{path}: {} {}", reply.status, reply.text),
                Ok(Err(error)) => seen = error,
                Err(_) => seen = "no answer".to_owned(),
            }
            tokio::time::sleep(AGAIN).await;
        }
        lane.acknowledged.push(id);
        lane.took.push(began.elapsed());
        lane.most_sent = lane.most_sent.max(sent);
        tokio::time::sleep(PACE).await;
    }
    lane
}
