//! Cancel is durable at once and final (S7).

use flexcore_actors::domain::ids::{ExecutionId, StreamId};
use flexcore_actors::runtime::api::{ApiError, CommandKind};
use serde_json::json;

use crate::world::{World, step};

/// No event that starts something or moves a bookmark lies behind the cancel.
async fn assert_nothing_started_after_cancel(world: &World, id: ExecutionId) {
    let events = world.events().await;
    let stream = StreamId::execution(id);
    let cancel =
        events.iter().position(|e| e.stream == stream && e.kind == "ExecutionCancelRequested").unwrap();
    let text = id.to_string();
    for event in &events[cancel..] {
        let starts = ["StepStarted", "PluginExecutionStarted", "BookmarkAdvanced", "BookmarkAcquired"];
        let of_it = event.data().unwrap().to_string().contains(&text) || event.stream == stream;
        assert!(!(of_it && starts.contains(&event.kind.as_str())), "{} behind the cancel", event.kind);
    }
    let terminal = ["ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"];
    let ends = events.iter().filter(|e| e.stream == stream && terminal.contains(&e.kind.as_str())).count();
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn a_running_execution_is_cancelled() {
    let world = World::with_tap().await;
    let mut after = step("after", json!([]));
    after["depends_on"] = json!(["a"]);
    let id = world.start(json!([step("a", json!([{"state": {"n": 1}}, {"hang": true}])), after])).await;
    world.until(id, |view| view.steps[0].attempts.first().is_some_and(|a| a.programs[0].pid.is_some())).await;
    world.ok(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
    let view = world.ended(id).await;
    assert_eq!((view.status, view.cancel_requested), ("cancelled", true));
    assert_eq!(view.steps.iter().map(|s| s.status).collect::<Vec<_>>(), ["cancelled", "cancelled"]);
    let again = world.submit(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
    assert!(matches!(again, Err(ApiError::Conflict(_))), "{again:?}");
    world.until_last("pipeline-p", "PipelineCompleted").await;
    assert_nothing_started_after_cancel(&world, id).await;
}

#[tokio::test]
async fn a_queued_execution_is_cancelled_without_starting() {
    let world = World::with_tap().await;
    let first = world.start(json!([step("a", json!([{"hang": true}]))])).await;
    let second = world.start_again().await;
    world.ok(CommandKind::CancelExecution, &second.to_string(), json!({})).await;
    assert_eq!(world.ended(second).await.status, "cancelled");
    world.ok(CommandKind::CancelExecution, &first.to_string(), json!({})).await;
    world.ended(first).await;
    assert_nothing_started_after_cancel(&world, second).await;
    assert_eq!(world.host.runs.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn cancel_at_any_moment_starts_nothing() {
    for round in 0..40_u64 {
        let world = World::with_tap().await;
        let steps: Vec<_> = (0..4)
            .map(|n| step(&format!("s{n}"), json!([{"state": {"n": 1}}, {"fail": "exit", "attempt": 1}])))
            .collect();
        let id = world.start(json!(steps)).await;
        tokio::time::sleep(std::time::Duration::from_micros(round * 700)).await;
        // it may have ended just before
        let cancelled = world.submit(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
        let view = world.ended(id).await;
        if cancelled.is_ok() {
            assert_eq!(view.status, "cancelled", "round {round}");
            assert_nothing_started_after_cancel(&world, id).await;
        }
    }
}

#[tokio::test]
async fn a_paused_execution_starts_nothing_until_resumed() {
    let world = World::with_tap().await;
    let mut after = step("after", json!([]));
    after["depends_on"] = json!(["a"]);
    let id = world.start(json!([step("a", json!([{"hang": true, "attempt": 1}])), after])).await;
    world.until(id, |view| view.steps[0].status == "running").await;
    world.ok(CommandKind::PauseExecution, &id.to_string(), json!({})).await;
    assert_eq!(world.until(id, |view| view.status == "paused").await.steps[1].status, "waiting");
    world.ok(CommandKind::ResumeExecution, &id.to_string(), json!({})).await;
    world.ok(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
    assert_eq!(world.ended(id).await.status, "cancelled");
}
