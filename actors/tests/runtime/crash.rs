//! Nodes that end, by plan and without: the next one goes on from the events. And a store that comes and goes.

use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::ids::StreamId;
use flexcore_actors::runtime::api::CommandKind;
use flexcore_actors::runtime::node::Loss;
use flexcore_actors::testkit::Fault;
use serde_json::json;

use crate::world::{World, step};

#[tokio::test]
async fn the_next_node_goes_on_where_the_last_one_died() {
    let world = World::with_tap().await;
    let id =
        world.start(json!([step("a", json!([{"state": {"n": 3}}, {"hang": true, "attempt": 1}]))])).await;
    world.until_last("pipeline-p", "BookmarkAdvanced").await;
    // the first node is neither stopped nor drained: like a process that was killed, it just no longer counts
    let next = World::on(Arc::clone(&world.store)).await;
    let view = next.ended(id).await;
    assert_eq!(view.status, "completed");
    let causes: Vec<_> =
        view.steps[0].attempts.iter().map(|a| a.cause.as_ref().map(|c| c.kind.as_str())).collect();
    assert_eq!(causes, [Some("lost_node"), None]);
    assert_eq!(next.host.runs.lock().unwrap()[0].2, Some(json!({"n": 3})), "it goes on from the bookmark");
    let tap = next.api.plugin(&"tap".parse().unwrap()).await.unwrap();
    assert_eq!(
        (tap.executions.total, tap.executions.running),
        (2, 0),
        "the dead node's permit was given back"
    );
}

#[tokio::test]
async fn a_superseded_node_writes_nothing_any_more() {
    let world = World::with_tap().await;
    let id = world.start(json!([step("a", json!([{"hang": true, "attempt": 1}]))])).await;
    world.until(id, |view| view.steps[0].status == "running").await;
    let next = World::on(Arc::clone(&world.store)).await;
    next.ended(id).await;
    let refused = world.submit(CommandKind::DisablePlugin, "tap", json!({})).await;
    assert!(refused.is_err(), "{refused:?}");
    let loss = tokio::time::timeout(Duration::from_secs(5), world.node.lost()).await.unwrap();
    assert_eq!(loss, Loss::Superseded);
}

#[tokio::test]
async fn a_drained_node_leaves_its_executions_to_the_next() {
    let world = World::with_tap().await;
    let id = world.start(json!([step("a", json!([{"hang": true, "attempt": 1}]))])).await;
    world.until(id, |view| view.steps[0].attempts.first().is_some_and(|a| a.programs[0].pid.is_some())).await;
    let World { store, node, .. } = world;
    node.shutdown(Duration::from_secs(10)).await;
    let next = World::on(store).await;
    let view = next.ended(id).await;
    assert_eq!(view.status, "completed");
    assert_eq!(view.steps[0].attempts[0].cause.as_ref().unwrap().message, "the node was shut down");
}

#[tokio::test]
async fn lost_answers_store_nothing_twice() {
    let world = World::with_tap().await;
    let faults = [Fault::AnswerLost, Fault::RequestLost, Fault::Refused].repeat(5);
    world.store.inject(faults);
    let id =
        world.start(json!([step("a", json!([{"state": {"n": 1}}, {"fail": "exit", "attempt": 1}]))])).await;
    assert_eq!(world.ended(id).await.status, "completed");
    let kinds = world.kinds(StreamId::execution(id).as_str()).await;
    let expected = [
        "ExecutionQueued",
        "ExecutionStarted",
        "StepStarted",
        "StepRetryScheduled",
        "StepStarted",
        "StepCompleted",
        "ExecutionCompleted",
    ];
    assert_eq!(kinds, expected);
}
