//! Things that happen at the wrong moment: a pause between two starts, a runner that dies, a store whose answer is
//! lost for good, a clock that lags, executions that want what the other holds. Each must end well and leak nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flexcore_actors::domain::ids::{CommandId, ExecutionId, StreamId};
use flexcore_actors::domain::projection::View;
use flexcore_actors::limits::{COMMIT_RESENDS, MAX_EVENT_BYTES};
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::{EventStore, IdSource};
use flexcore_actors::runtime::api::{ApiError, CommandKind, ExecutionFilter, PageRequest};
use flexcore_actors::testkit::{Fault, ManualClock, MemoryStore};
use serde_json::{Value, json};

use crate::gate::Gate;
use crate::world::{DEADLINE, World, plugin, step};

/// Waits for something that no view shows.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "{what} was not reached in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pipeline(steps: &Value, executions: u32, on_conflict: &str) -> Value {
    json!({"steps": steps, "concurrency": {"executions": executions, "on_conflict": on_conflict}})
}

/// As many lost answers as the committer has patience: what it stored, nobody is told.
fn answers_lost_for_good() -> Vec<Fault> {
    vec![Fault::AnswerLost; COMMIT_RESENDS as usize + 1]
}

#[tokio::test]
async fn a_step_whose_start_a_pause_overtook_does_not_run() {
    let (world, gate) = Gate::world().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 4)).await;
    gate.hold("StepStarted");
    let id = world.start(json!([step("first", json!([])), step("second", json!([]))])).await;
    gate.caught().await;
    let name = id.to_string();
    let pause = world.submit(CommandKind::PauseExecution, &name, json!({}));
    tokio::join!(
        async { pause.await.unwrap() },
        // the pause waits in the mailbox, behind the start of the first step and before that of the second
        async {
            let mailbox = || world.api.aggregate(&StreamId::execution(id)).unwrap().mailbox;
            until("the pause in the mailbox", || mailbox() >= 2).await;
            gate.open();
        }
    );
    world.until(id, |view| view.steps[0].status == "completed").await;
    until("the end of the first run", || world.host.running.load(Ordering::SeqCst) == 0).await;
    world.ok(CommandKind::ResumeExecution, &id.to_string(), json!({})).await;
    assert_eq!(world.ended(id).await.status, "completed");
    let mut runs: Vec<_> = world.host.runs.lock().unwrap().iter().map(|run| run.0.clone()).collect();
    runs.sort();
    assert_eq!(runs, ["first", "second"], "each ran once");
}

#[tokio::test]
async fn a_panicking_worker_gives_its_permit_back() {
    let world = World::new().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 1)).await;
    let id = world.start(json!([step("a", json!([{"panic": true, "attempt": 1}]))])).await;
    assert_eq!(world.ended(id).await.status, "completed");
}

/// Panics once, when it is told to: the only way to make a healthy runner fail.
#[derive(Default)]
struct Trap(AtomicBool);

impl IdSource for Trap {
    fn uuid(&self) -> uuid::Uuid {
        System.uuid()
    }

    fn fraction(&self) -> f64 {
        assert!(!self.0.swap(false, Ordering::SeqCst), "the test says so");
        System.fraction()
    }
}

#[tokio::test]
async fn a_runner_that_dies_leaks_neither_permits_nor_itself() {
    let store = Arc::new(MemoryStore::new());
    let (edge, trap) = (Arc::clone(&store) as Arc<dyn EventStore>, Arc::new(Trap::default()));
    let world = World::with(store, edge, Arc::new(System), Arc::clone(&trap) as _).await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 2)).await;
    let mut slow = step("b", json!([]));
    slow["depends_on"] = json!(["a"]);
    let hangs = step("hangs", json!([{"hang": true, "attempt": 1}]));
    let steps = json!([hangs, step("a", json!([])), slow]);
    world.ok(CommandKind::CreatePipeline, "p", json!({ "steps": steps })).await;
    // the first end that the runner records is that of step a, while the other step runs
    trap.0.store(true, Ordering::SeqCst);
    let id = world.start_again().await;
    let view = world.ended(id).await;
    assert_eq!(view.status, "completed");
    assert_eq!(view.steps[0].attempts[0].cause.as_ref().unwrap().kind.as_str(), "lost_node");
    let tap = world.api.plugin(&"tap".parse().unwrap()).await.unwrap();
    assert_eq!(tap.executions.running, 0, "its permits were given back");
    until("the end of all runners", || world.api.metrics().executions_running == 0).await;
}

#[tokio::test]
async fn one_more_execution_replaces_only_the_oldest() {
    let world = World::with_tap().await;
    // without bookmarks, which would make one execution wait for the other
    world.ok(CommandKind::RegisterPlugin, "task", task("task", 9)).await;
    let steps = json!([{"name": "a", "plugin": "task", "config": {"script": [{"hang": true}]}}]);
    world.ok(CommandKind::CreatePipeline, "p", pipeline(&steps, 2, "replace")).await;
    let (first, second) = (world.start_again().await, world.start_again().await);
    world.until(second, |view| view.steps[0].status == "running").await;
    let third = world.start_again().await;
    assert_eq!(world.ended(first).await.status, "cancelled");
    world.until(third, |view| view.steps[0].status == "running").await;
    let second = world.api.execution(second).await.unwrap();
    assert_eq!((second.status, second.cancel_requested), ("running", false));
}

/// A plugin without bookmarks.
fn task(name: &str, concurrency: u32) -> Value {
    json!({"name": name, "version": "1", "type": "processor", "protocol": "command", "command": [name],
           "concurrency": concurrency})
}

#[tokio::test]
async fn executions_never_wait_for_each_other_in_a_circle() {
    let world = World::new().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 1)).await;
    let mut second = step("second", json!([]));
    second["depends_on"] = json!(["first"]);
    let steps = json!([step("first", json!([])), second]);
    world.ok(CommandKind::CreatePipeline, "p", pipeline(&steps, 3, "queue")).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.start_again().await);
    }
    for id in ids {
        assert_eq!(world.ended(id).await.status, "completed");
    }
}

#[tokio::test]
async fn a_retry_comes_also_when_the_clock_lags_behind_the_timer() {
    let clock = Arc::new(ManualClock::seeded());
    let store = Arc::new(MemoryStore::new());
    let edge = Arc::clone(&store) as Arc<dyn EventStore>;
    let world = World::with(store, edge, Arc::clone(&clock) as _, Arc::new(System)).await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 4)).await;
    let id = world.start(json!([step("a", json!([{"fail": "exit", "attempt": 1}]))])).await;
    world.until(id, |view| view.steps[0].next_attempt_at.is_some()).await;
    let handled = || runner_handled(&world, id);
    let before = handled();
    until("the timer to fire before its time", || handled() >= before + 3).await;
    clock.advance(Duration::from_millis(11));
    assert_eq!(world.ended(id).await.status, "completed");
}

fn runner_handled(world: &World, id: ExecutionId) -> u64 {
    let runners = world.api.actors().children.into_iter().find(|child| child.id == "runners").unwrap();
    runners.children.into_iter().find(|r| r.id == format!("runner-{id}")).map_or(u64::MAX, |r| r.handled)
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_started_without_an_answer_still_runs() {
    let world = World::with_tap().await;
    world.ok(CommandKind::CreatePipeline, "p", json!({"steps": [step("a", json!([]))]})).await;
    world.store.inject(answers_lost_for_good());
    let started = world.submit(CommandKind::StartPipeline, "p", json!({})).await;
    assert!(matches!(started, Err(ApiError::Unavailable { .. })), "{started:?}");
    let head = world.events().await.last().unwrap().position;
    world.api.reflects(View::Executions, head, DEADLINE).await.unwrap();
    let page = PageRequest { cursor: None, limit: 10 };
    let executions = world.api.executions(ExecutionFilter::default(), page).await.unwrap();
    assert_eq!(executions.items.len(), 1, "it was stored");
    let id = executions.items[0].id;
    assert_eq!(world.until(id, |view| view.ended_at.is_some()).await.status, "completed");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_was_stored_without_an_answer_still_cancels() {
    let world = World::with_tap().await;
    let id = world.start(json!([step("a", json!([{"hang": true}]))])).await;
    until("the program", || world.host.running.load(Ordering::SeqCst) == 1).await;
    world.store.inject(answers_lost_for_good());
    let cancelled = world.submit(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
    assert!(cancelled.is_err(), "{cancelled:?}");
    // nobody asks for the execution meanwhile
    until("the end of the program", || world.host.running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(world.until(id, |view| view.ended_at.is_some()).await.status, "cancelled");
}

#[tokio::test]
async fn a_store_that_hangs_does_not_keep_a_node_beyond_its_grace() {
    let (world, gate) = Gate::world().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 4)).await;
    gate.hold("PluginExecutionCompleted");
    world.start(json!([step("a", json!([]))])).await;
    gate.caught().await;
    let began = Instant::now();
    let World { node, host, .. } = world;
    node.shutdown(Duration::from_millis(200)).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(host.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_timeout_stops_the_program_also_while_its_bookmark_cannot_be_stored() {
    let (world, gate) = Gate::world().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 4)).await;
    gate.hold("BookmarkAdvanced");
    let mut slow = step("a", json!([{"state": {"n": 1}}, {"hang": true, "attempt": 1}]));
    slow["timeout"] = json!("1500ms");
    let id = world.start(json!([slow])).await;
    gate.caught().await;
    until("the end of the program", || world.host.running.load(Ordering::SeqCst) == 0).await;
    gate.open();
    let view = world.ended(id).await;
    assert_eq!(view.steps[0].attempts[0].cause.as_ref().unwrap().kind.as_str(), "timeout");
    assert_eq!(view.status, "completed");
}

#[tokio::test]
async fn a_change_of_the_pipeline_wakes_no_execution_that_goes_on_waiting() {
    const WAITING: u64 = 300;
    let world = World::with_tap().await;
    let first = world.start(json!([step("a", json!([{"hang": true}]))])).await;
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(world.start_again().await);
    }
    let handled = || world.api.aggregate(&"pipeline-p".parse().unwrap()).unwrap().handled;
    let last = waiting.pop().unwrap();
    world.until(last, |view| view.status == "queued").await;
    until("the runners to have looked", || waiting.iter().all(|id| runner_handled(&world, *id) > 0)).await;
    let before = handled();
    let steps = json!([step("a", json!([]))]);
    world.ok(CommandKind::RevisePipeline, "p", json!({"steps": steps, "description": "new"})).await;
    world.ok(CommandKind::CancelExecution, &last.to_string(), json!({})).await;
    world.ended(last).await;
    let woken = handled() - before;
    assert!(woken < 20, "{woken} messages for one change");
    world.ok(CommandKind::CancelExecution, &first.to_string(), json!({})).await;
    world.until(waiting[0], |view| view.status != "queued").await;
}

#[tokio::test]
async fn a_paused_pipeline_begins_nothing_that_waits() {
    let world = World::with_tap().await;
    let first = world.start(json!([step("a", json!([{"hang": true}]))])).await;
    let second = world.start_again().await;
    world.ok(CommandKind::ActivatePipeline, "p", json!({})).await;
    world.ok(CommandKind::PausePipeline, "p", json!({})).await;
    world.ok(CommandKind::CancelExecution, &first.to_string(), json!({})).await;
    world.until_last("pipeline-p", "PipelineCompleted").await;
    assert_eq!(world.api.execution(second).await.unwrap().status, "queued");
    world.ok(CommandKind::ResumePipeline, "p", json!({})).await;
    let view = world.until(second, |view| view.status == "running").await;
    let resumed = world.events().await.into_iter().find(|e| e.kind == "PipelineResumed").unwrap();
    assert!(view.started_at.unwrap() >= resumed.recorded_at, "it began while its pipeline was paused");
}

#[tokio::test]
async fn an_end_too_large_to_be_stored_fails_its_attempt_and_says_so() {
    let world = World::with_tap().await;
    let mut large = step("a", json!([{"result_bytes": MAX_EVENT_BYTES}]));
    large["retry"]["attempts"] = json!(1);
    let view = world.ended(world.start(json!([large])).await).await;
    let cause = view.cause.unwrap();
    assert_eq!((view.status, view.steps[0].attempts.len()), ("failed", 1));
    assert_eq!(cause.kind.as_str(), "protocol_error");
    assert!(cause.message.contains("at most"), "{}", cause.message);
    assert_eq!(view.steps[0].attempts[0].programs.len(), 1, "what is small is kept");
}

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer_although_the_world_has_changed() {
    let world = World::with_tap().await;
    let steps = json!([step("a", json!([]))]);
    let create = json!({ "steps": steps });
    let id = || Some(CommandId(uuid::Uuid::now_v7()));
    let (creates, starts, sets) = (id(), id(), id());
    let bookmark = json!({"step": "a", "state": {"n": 1}});
    let firsts = [
        world.submit_as(CommandKind::CreatePipeline, "p", create.clone(), creates).await.unwrap(),
        world.submit_as(CommandKind::SetBookmark, "p", bookmark.clone(), sets).await.unwrap(),
        world.submit_as(CommandKind::StartPipeline, "p", json!({}), starts).await.unwrap(),
    ];
    world.ended(firsts[2].execution_id.unwrap()).await;
    world.until_last("pipeline-p", "PipelineCompleted").await;
    let other = json!({"steps": [step("b", json!([]))], "parameters": {"day": {"type": "string"}}});
    world.ok(CommandKind::RevisePipeline, "p", other).await;
    world.ok(CommandKind::RetirePlugin, "tap", json!({})).await;
    let seconds = [
        world.submit_as(CommandKind::CreatePipeline, "p", create, creates).await.unwrap(),
        world.submit_as(CommandKind::SetBookmark, "p", bookmark, sets).await.unwrap(),
        world.submit_as(CommandKind::StartPipeline, "p", json!({}), starts).await.unwrap(),
    ];
    assert_eq!(firsts, seconds);
}

#[tokio::test]
async fn a_freed_permit_wakes_one_of_the_many_that_wait_for_it() {
    let world = World::new().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 1)).await;
    let steps: Vec<_> = (0..100).map(|n| step(&format!("s{n}"), json!([]))).collect();
    let view = world.ended(world.start(json!(steps)).await).await;
    assert_eq!(view.status, "completed");
    let handled = world.api.aggregate(&"plugin-tap".parse().unwrap()).unwrap().handled;
    assert!(handled < 1_000, "{handled} messages for 100 permits");
}
