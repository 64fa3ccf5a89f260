//! Executions that run to their end: order, retries, bookmarks, permits, idempotency.

use flexcore_actors::domain::ids::CommandId;
use flexcore_actors::domain::ids::StreamId;
use flexcore_actors::runtime::api::{ApiError, CommandKind};
use serde_json::json;
use std::sync::atomic::Ordering;

use crate::world::{World, plugin, step};

#[tokio::test]
async fn a_pipeline_runs_and_leaves_its_whole_story() {
    let world = World::with_tap().await;
    let id = world.start(json!([step("a", json!([{"state": {"n": 1}}, {"state": {"n": 2}}]))])).await;
    let view = world.ended(id).await;
    assert_eq!((view.status, view.steps[0].attempts.len()), ("completed", 1));
    world.until_last("pipeline-p", "PipelineCompleted").await;
    let execution = StreamId::execution(id);
    assert_eq!(
        world.kinds(execution.as_str()).await,
        ["ExecutionQueued", "ExecutionStarted", "StepStarted", "StepCompleted", "ExecutionCompleted"]
    );
    assert_eq!(
        world.kinds("pipeline-p").await,
        ["PipelineCreated", "PipelineStarted", "BookmarkAcquired", "BookmarkAdvanced", "PipelineCompleted"]
    );
    assert_eq!(
        world.kinds("plugin-tap").await,
        ["PluginRegistered", "PluginEnabled", "PluginExecutionStarted", "PluginExecutionCompleted"]
    );
    let bookmarks = world.api.bookmarks(&"p".parse().unwrap()).await.unwrap();
    assert_eq!(bookmarks.items[0].state, json!({"n": 2}), "the last state is always stored");
    let again = world.start_again().await;
    world.ended(again).await;
    let states: Vec<_> = world.host.runs.lock().unwrap().iter().map(|run| run.2.clone()).collect();
    assert_eq!(states, [None, Some(json!({"n": 2}))], "the next execution begins at the bookmark");
}

#[tokio::test]
async fn a_failed_attempt_is_followed_by_another_from_the_bookmark() {
    let world = World::with_tap().await;
    let script = json!([{"state": {"n": 7}, "attempt": 1}, {"fail": "signal", "attempt": 1}]);
    let view = world.ended(world.start(json!([step("a", script)])).await).await;
    assert_eq!(view.status, "completed");
    assert_eq!(view.steps[0].attempts.iter().map(|a| a.status).collect::<Vec<_>>(), ["failed", "completed"]);
    let runs = world.host.runs.lock().unwrap().clone();
    assert_eq!(runs[1], ("a".to_owned(), 2, Some(json!({"n": 7}))));
}

#[tokio::test]
async fn attempts_are_bounded_and_what_depends_on_them_is_skipped() {
    let world = World::with_tap().await;
    let mut after = step("after", json!([]));
    after["depends_on"] = json!(["a"]);
    let mut alarm = step("alarm", json!([]));
    alarm["depends_on"] = json!(["a"]);
    alarm["when"] = json!("any_failed");
    let id = world.start(json!([step("a", json!([{"fail": "exit"}])), after, alarm])).await;
    let view = world.ended(id).await;
    assert_eq!(view.status, "failed");
    assert_eq!(view.cause.unwrap().kind.as_str(), "exit");
    let steps: Vec<_> = view.steps.iter().map(|s| (s.status, s.attempts.len())).collect();
    assert_eq!(steps, [("failed", 3), ("skipped", 0), ("completed", 1)]);
}

#[tokio::test]
async fn a_panicking_worker_is_a_failed_attempt() {
    let world = World::with_tap().await;
    let id = world.start(json!([step("a", json!([{"panic": true, "attempt": 1}]))])).await;
    let view = world.ended(id).await;
    assert_eq!(view.status, "completed");
    assert_eq!(view.steps[0].attempts[0].cause.as_ref().unwrap().kind.as_str(), "lost_node");
}

#[tokio::test]
async fn a_timeout_stops_the_attempt() {
    let world = World::with_tap().await;
    let mut slow = step("a", json!([{"hang": true, "attempt": 1}]));
    slow["timeout"] = json!("50ms");
    let view = world.ended(world.start(json!([slow])).await).await;
    assert_eq!(view.status, "completed");
    assert_eq!(view.steps[0].attempts[0].cause.as_ref().unwrap().kind.as_str(), "timeout");
}

#[tokio::test]
async fn permits_bound_what_runs_at_once() {
    let world = World::new().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 2)).await;
    let steps: Vec<_> = (0..10).map(|n| step(&format!("s{n}"), json!([]))).collect();
    let view = world.ended(world.start(json!(steps)).await).await;
    assert_eq!(view.status, "completed");
    assert!(world.host.most_running.load(Ordering::SeqCst) <= 2);
    assert_eq!(world.host.runs.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn executions_of_a_pipeline_queue() {
    let world = World::with_tap().await;
    let first = world.start(json!([step("a", json!([]))])).await;
    let mut ids = vec![first];
    for _ in 0..5 {
        ids.push(world.start_again().await);
    }
    for id in ids {
        assert_eq!(world.ended(id).await.status, "completed");
    }
    assert_eq!(world.host.most_running.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn crashes_quarantine_a_plugin_until_an_operator_releases_it() {
    let world = World::with_tap().await;
    let mut crashing = step("a", json!([{"fail": "signal"}]));
    crashing["retry"]["attempts"] = json!(6);
    let id = world.start(json!([crashing])).await;
    let waiting = world.until(id, |view| view.steps[0].waiting_for.is_some()).await;
    assert!(waiting.steps[0].waiting_for.as_ref().unwrap().contains("quarantined"));
    let tap = world.api.plugin(&"tap".parse().unwrap()).await.unwrap();
    assert_eq!(tap.health, "quarantined");
    world.ok(CommandKind::ReleasePlugin, "tap", json!({})).await;
    let view = world.ended(id).await;
    assert_eq!((view.status, view.steps[0].attempts.len()), ("failed", 6));
}

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer() {
    let world = World::with_tap().await;
    world.start(json!([step("a", json!([]))])).await;
    let id = Some(CommandId(uuid::Uuid::now_v7()));
    let first = world.submit_as(CommandKind::StartPipeline, "p", json!({}), id).await.unwrap();
    let second = world.submit_as(CommandKind::StartPipeline, "p", json!({}), id).await.unwrap();
    assert_eq!(first, second);
    let other = world.submit_as(CommandKind::StartPipeline, "p", json!({"from_scratch": true}), id).await;
    assert_eq!(other, Err(ApiError::CommandReused));
    world.ended(first.execution_id.unwrap()).await;
}

#[tokio::test]
async fn a_plugin_runs_alone() {
    let world = World::with_tap().await;
    let accepted = world.ok(CommandKind::ExecutePlugin, "tap", json!({"config": {"script": []}})).await;
    let view = world.ended(accepted.execution_id.unwrap()).await;
    assert_eq!((view.status, view.kind), ("completed", "plugin"));
    let failing = json!({"config": {"script": [{"fail": "exit"}]}});
    let accepted = world.ok(CommandKind::ExecutePlugin, "tap", failing).await;
    let view = world.ended(accepted.execution_id.unwrap()).await;
    assert_eq!((view.status, view.steps[0].attempts.len()), ("failed", 1));
}

#[tokio::test]
async fn problems_of_shape_and_of_the_whole_are_told_together() {
    let world = World::with_tap().await;
    let steps = json!([
        {"name": "a", "plugin": "tap", "depends_on": ["b"], "timeout": "soon"},
        {"name": "b", "plugin": "tpa", "depends_on": ["a"], "retyr": {}},
        {"name": "B", "plugin": "tap"},
    ]);
    let refused = world.submit(CommandKind::CreatePipeline, "p", json!({"steps": steps})).await;
    let Err(ApiError::Invalid(problems)) = refused else { panic!("{refused:?}") };
    let fields: Vec<_> = problems.0.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(fields, ["steps[0].timeout", "steps[1].retyr", "steps[2].name", "steps", "steps[1].plugin"]);
    assert!(problems.to_string().contains("a → b → a"), "{problems}");
}
