//! Programs run on a node that has the labels and the memory for them, whoever owns their pipeline; the owner records.

use flexcore_actors::domain::ids::{ExecutionId, StreamId};
use flexcore_actors::runtime::api::{ApiError, CommandKind};
use serde_json::{Value, json};

use super::rig::{Kind, Member, Rig, settled, until};
use super::{ended, pipeline_of, run};
use crate::world::plugin;

/// A plugin for nodes of a zone, whose programs may make calls.
fn in_zone(zone: &str) -> Value {
    let mut plugin = plugin("tap", 50);
    plugin["node_selector"] = json!({"zone": zone});
    plugin
}

fn runs(node: &Member) -> usize {
    node.host.runs.lock().unwrap().len()
}

fn running(node: &Member) -> u32 {
    node.host.running.load(std::sync::atomic::Ordering::SeqCst)
}

/// The nodes of each attempt of an execution's first step, with its cause.
async fn attempts(rig: &Rig, id: ExecutionId) -> Vec<(String, Value)> {
    let stream = StreamId::execution(id);
    let mut attempts = Vec::new();
    for event in rig.events().await.into_iter().filter(|event| event.stream == stream) {
        let data: Value = rmp_serde::from_slice(&event.payload).unwrap();
        if event.kind == "StepStarted" {
            attempts.push((data["node"].as_str().unwrap().to_owned(), Value::Null));
        } else if let (Some(last), Some(kind)) = (attempts.last_mut(), data["cause"].get("kind")) {
            last.1 = kind.clone();
        }
    }
    attempts
}

async fn two_and_one_in_the_dmz() -> (Rig, [Member; 3]) {
    let rig = Rig::new();
    let nodes = [rig.start("a").await, rig.start("b").await, rig.start_as("c", Kind::zone("dmz")).await];
    settled(&nodes.iter().collect::<Vec<_>>()).await;
    nodes[0].ok(CommandKind::RegisterPlugin, "tap", in_zone("dmz")).await;
    (rig, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_run_where_their_labels_are_and_the_owner_records() {
    let (rig, [a, b, c]) = two_and_one_in_the_dmz().await;
    let name = pipeline_of(&rig, &b, "a", json!([{"state": {"n": 1}}, {"state": {"n": 2}}])).await;
    let id = run(&b, &name).await;
    assert_eq!(ended(&b, id).await, "completed");
    assert_eq!([runs(&a), runs(&b), runs(&c)], [0, 0, 1]);
    assert_eq!(attempts(&rig, id).await, [("c".to_owned(), Value::Null)]);
    for (kind, node) in rig.told(&StreamId::execution(id)).await {
        assert_eq!(node, "a", "{kind}");
    }
    let bookmarks = c.api.bookmarks(&name.parse().unwrap()).await.unwrap();
    assert_eq!(bookmarks.items[0].state, json!({"n": 2}));
    let id = run(&c, &name).await;
    assert_eq!(ended(&c, id).await, "completed");
    assert_eq!(c.host.runs.lock().unwrap()[1].2, Some(json!({"n": 2})), "it begins where the first ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_answered_by_the_owner() {
    let rig = Rig::new();
    let [a, c] = [rig.start("a").await, rig.start_as("c", Kind::zone("dmz")).await];
    settled(&[&a, &c]).await;
    let mut plugin = in_zone("dmz");
    (plugin["protocol"], plugin["capabilities"]) = (json!("flexcore"), json!({"api": ["bookmarks.read"]}));
    a.ok(CommandKind::RegisterPlugin, "tap", plugin).await;
    let script = json!([{"call": "bookmarks.read", "id": 1, "arguments": {}}, {"call": "events.publish", "id": 2, "arguments": {}}]);
    let name = pipeline_of(&rig, &a, "a", script).await;
    let id = run(&a, &name).await;
    assert_eq!(ended(&a, id).await, "completed");
    let answers = c.host.answers.lock().unwrap().clone();
    assert_eq!(answers[0], Ok(json!({"items": []})));
    assert!(answers[1].as_ref().unwrap_err().to_string().starts_with("not granted"), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_waits_for_a_node_and_says_for_which() {
    let rig = Rig::new();
    let [a, c] = [rig.start("a").await, rig.start_as("c", Kind::zone("dmz")).await];
    settled(&[&a, &c]).await;
    let refused = a.submit(CommandKind::RegisterPlugin, "tap", in_zone("lan")).await;
    assert!(
        matches!(&refused, Err(ApiError::Invalid(problems)) if problems.0[0].field == "node_selector"),
        "{refused:?}"
    );
    a.ok(CommandKind::RegisterPlugin, "tap", in_zone("dmz")).await;
    let name = pipeline_of(&rig, &a, "a", json!([])).await;
    let Member { node, .. } = c;
    node.shutdown(std::time::Duration::from_secs(5)).await;
    settled(&[&a]).await;
    let id = run(&a, &name).await;
    let waits = async || a.api.execution(id).await.unwrap().steps[0].waiting_for.clone();
    until("it says what it waits for", async || waits().await.is_some_and(|what| what.contains("zone=dmz")))
        .await;
    let d = rig.start_as("d", Kind::zone("dmz")).await;
    assert_eq!(ended(&a, id).await, "completed");
    assert_eq!((runs(&a), runs(&d)), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_loses_the_attempt_and_another_goes_on() {
    let (rig, [a, _b, c]) = two_and_one_in_the_dmz().await;
    let d = rig.start_as("d", Kind::zone("dmz")).await;
    let name = pipeline_of(&rig, &a, "a", json!([{"attempt": 1, "hang": true}])).await;
    let id = run(&a, &name).await;
    until("it runs", async || running(&c) + running(&d) == 1).await;
    let (lost, other) = if running(&c) == 1 { (&c, &d) } else { (&d, &c) };
    lost.cut_off(&rig);
    assert_eq!(ended(&a, id).await, "completed");
    let of = |node: &Member| node.name.to_string();
    assert_eq!(attempts(&rig, id).await, [(of(lost), json!("lost_node")), (of(other), Value::Null)]);
    until("nobody listens, so they are killed", async || running(lost) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_end_with_the_owner_that_listens() {
    let (rig, [a, b, c]) = two_and_one_in_the_dmz().await;
    let name = pipeline_of(&rig, &b, "a", json!([{"attempt": 1, "hang": true}])).await;
    let id = run(&b, &name).await;
    until("it runs", async || running(&c) == 1).await;
    a.cut_off(&rig);
    assert_eq!(ended(&b, id).await, "completed");
    let both = [("c".to_owned(), json!("lost_node")), ("c".to_owned(), Value::Null)];
    assert_eq!(attempts(&rig, id).await, both);
    assert_eq!(c.host.most_running.load(std::sync::atomic::Ordering::SeqCst), 1, "one after the other (S8)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_said_last_is_asked_where_it_ran() {
    let (rig, [a, b, _c]) = two_and_one_in_the_dmz().await;
    let name = pipeline_of(&rig, &a, "a", json!([{"fail": "signal"}])).await;
    let mut id = run(&a, &name).await;
    assert_eq!(ended(&a, id).await, "failed", "three attempts");
    id = run(&a, &name).await;
    let said = async || {
        let events = rig.events().await;
        let quarantined = events.iter().find(|event| event.kind == "PluginQuarantined")?;
        let data: Value = rmp_serde::from_slice(&quarantined.payload).unwrap();
        Some(data["log_tail"].clone())
    };
    until("five crashes are too many", async || said().await.is_some()).await;
    assert_eq!(said().await, Some(json!(["said at c"])));
    let (lines, _) = b.api.logs(id, 0, 10).await.unwrap();
    assert_eq!(lines[0].text, "said at c", "and so is all of its log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_what_runs_elsewhere() {
    let (rig, [a, _b, c]) = two_and_one_in_the_dmz().await;
    let name = pipeline_of(&rig, &a, "a", json!([{"hang": true}])).await;
    let id = run(&a, &name).await;
    until("it runs", async || running(&c) == 1).await;
    a.ok(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
    assert_eq!(ended(&a, id).await, "cancelled");
    assert_eq!(running(&c), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_gives_back_what_it_ran_for_others() {
    let (rig, [a, _b, c]) = two_and_one_in_the_dmz().await;
    let name = pipeline_of(&rig, &a, "a", json!([{"attempt": 1, "hang": true}])).await;
    let id = run(&a, &name).await;
    until("it runs", async || running(&c) == 1).await;
    let host = std::sync::Arc::clone(&c.host);
    let Member { node, .. } = c;
    node.shutdown(std::time::Duration::from_secs(5)).await;
    assert_eq!(host.running.load(std::sync::atomic::Ordering::SeqCst), 0);
    let _d = rig.start_as("d", Kind::zone("dmz")).await;
    assert_eq!(ended(&a, id).await, "completed");
    // while it is not yet known to end it may be given another, which it gives back
    let mut attempts = attempts(&rig, id).await;
    assert_eq!(attempts.pop(), Some(("d".to_owned(), Value::Null)));
    assert!(
        !attempts.is_empty()
            && attempts.iter().all(|attempt| *attempt == ("c".to_owned(), json!("lost_node"))),
        "{attempts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_go_where_there_is_memory_for_them() {
    let rig = Rig::new();
    let with = |memory: u64| Kind { memory: memory << 20, ..Kind::default() };
    let (a, b) = (rig.start_as("a", with(700)).await, rig.start_as("b", with(4_000)).await);
    settled(&[&a, &b]).await;
    // 512 MiB each, unless the manifest says otherwise
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    let name = pipeline_of(&rig, &a, "a", json!([{"hang": true}])).await;
    let other = pipeline_of(&rig, &a, "a", json!([{"hang": true}])).await;
    let first = run(&a, &name).await;
    until("the first runs at its owner", async || running(&a) == 1).await;
    let second = run(&a, &other).await;
    until("the second where there is room", async || running(&b) == 1).await;
    for id in [first, second] {
        a.ok(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
        assert_eq!(ended(&a, id).await, "cancelled");
    }
}
