//! Three nodes on one store: any of them answers anything, and what one of them did goes on at another.

mod placement;
mod rig;
mod singletons;

use std::time::Duration;

use flexcore_actors::domain::ids::{ExecutionId, StreamId};
use flexcore_actors::runtime::api::{ApiError, CommandKind};
use flexcore_actors::runtime::node::Loss;
use flexcore_actors::runtime::views::Phase;
use jiff::SignedDuration;
use serde_json::json;

use self::rig::{Kind, Member, Rig, settled, until};
use crate::world::{DEADLINE, plugin, step};

fn pipeline(name: &str) -> StreamId {
    format!("pipeline-{name}").parse().unwrap()
}

/// A pipeline whose shard a node owns, defined through another.
async fn pipeline_of(rig: &Rig, through: &Member, owner: &str, script: serde_json::Value) -> String {
    for n in 0.. {
        let name = format!("p{n}");
        if rig.owner(&pipeline(&name)).await == owner {
            let payload = json!({"steps": [step("load", script.clone())]});
            if through.submit(CommandKind::CreatePipeline, &name, payload).await.is_ok() {
                return name;
            }
        }
    }
    unreachable!("every node owns some")
}

async fn run(through: &Member, pipeline: &str) -> ExecutionId {
    through.ok(CommandKind::StartPipeline, pipeline, json!({})).await.execution_id.unwrap()
}

async fn ended(through: &Member, id: ExecutionId) -> String {
    let view = through.api.wait_execution(id, DEADLINE).await.unwrap();
    assert!(view.ended_at.is_some(), "not ended in time: {view:#?}");
    view.status.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_and_the_owner_does_it() {
    let (rig, [a, b, c]) = Rig::three().await;
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    for owner in [&a, &b, &c] {
        let name = pipeline_of(&rig, &a, owner.name.as_str(), json!([])).await;
        let id = run(&b, &name).await;
        assert_eq!(ended(&c, id).await, "completed");
        let stream = StreamId::execution(id);
        assert_eq!(stream.shard(), pipeline(&name).shard(), "an execution lies where its pipeline does");
        for (kind, node) in rig.told(&stream).await {
            assert_eq!(node, owner.name.as_str(), "{kind}");
        }
        assert_eq!(owner.host.runs.lock().unwrap().len(), 1, "its programs run at its owner");
        for any in [&a, &b, &c] {
            assert_eq!(any.api.pipeline(&name.parse().unwrap()).await.unwrap().name.as_str(), name);
        }
    }
    assert!(rig.network.asked() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_at_one_is_seen_and_cancelled_through_another() {
    let (rig, [a, b, c]) = Rig::three().await;
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    let name = pipeline_of(&rig, &b, "c", json!([{"hang": true}])).await;
    let id = run(&a, &name).await;
    for any in [&a, &b, &c] {
        until("its programs are seen", async || {
            let view = any.api.execution(id).await.unwrap();
            let attempt = view.steps[0].attempts.first();
            attempt
                .is_some_and(|attempt| attempt.phase == Some(Phase::Executing) && attempt.programs.len() == 1)
        })
        .await;
    }
    assert_eq!(b.api.logs(id, 0, 10).await.unwrap().0[0].text, "said at c");
    a.ok(CommandKind::CancelExecution, &id.to_string(), json!(null)).await;
    assert_eq!(ended(&b, id).await, "cancelled");
    assert_eq!(c.host.runs.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_follow_who_comes_and_who_goes() {
    let rig = Rig::new();
    let a = rig.start("a").await;
    assert_eq!(a.api.cluster().own_shards, 256, "the first has everything at once");
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    let b = rig.start("b").await;
    settled(&[&a, &b]).await;
    let c = rig.start("c").await;
    settled(&[&a, &b, &c]).await;
    assert_eq!(a.api.cluster().members.len(), 3);
    // commands go on while shards move
    let going = async {
        for n in 0..60 {
            let payload = json!({"steps": [step("load", json!([]))]});
            a.ok(CommandKind::CreatePipeline, &format!("p{n}"), payload).await;
        }
    };
    let leaving = b.node.shutdown(Duration::from_secs(10));
    tokio::join!(going, leaving);
    settled(&[&a, &c]).await;
    for n in 0..60 {
        let stream = pipeline(&format!("p{n}"));
        let told = rig.told(&stream).await;
        assert_eq!(told.len(), 1, "once, whatever moved: {told:?}");
        c.api.pipeline(&format!("p{n}").parse().unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_node_ran_goes_on_at_another() {
    let (rig, [a, b, c]) = Rig::three().await;
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    // hangs in its first attempt only
    let script = json!([{"attempt": 1, "hang": true}]);
    let name = pipeline_of(&rig, &a, "c", script).await;
    let id = run(&a, &name).await;
    until("it runs at c", async || c.host.runs.lock().unwrap().len() == 1).await;
    c.cut_off(&rig);
    assert_eq!(ended(&b, id).await, "completed");
    settled(&[&a, &b]).await;
    let runs = a.host.runs.lock().unwrap().len() + b.host.runs.lock().unwrap().len();
    assert_eq!(runs, 1, "the second attempt, once");
    let view = a.api.execution(id).await.unwrap();
    let attempts = &view.steps[0].attempts;
    assert_eq!(attempts.len(), 2, "{attempts:#?}");
    let owner = rig.owner(&pipeline(&name)).await;
    let told = rig.told(&StreamId::execution(id)).await;
    let since = told.iter().position(|(_, node)| *node == owner).unwrap();
    assert!(
        told[since..].iter().all(|(_, node)| *node == owner),
        "the lost node wrote nothing more: {told:?}"
    );
    // the permit that it held is given back
    let tap = a.api.plugin(&"tap".parse().unwrap()).await.unwrap();
    assert_eq!(tap.executions.running, 0, "{tap:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_does_not_wait_for_the_hour_by_which_a_lost_node_was_ahead() {
    let rig = Rig::new();
    let [a, b] = [rig.start("a").await, rig.start("b").await];
    let c = rig.start_as("c", Kind { off: SignedDuration::from_hours(1), ..Kind::default() }).await;
    settled(&[&a, &b, &c]).await;
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    let script = json!([{"attempt": 1, "fail": "exit"}]);
    let mut patient = step("load", script);
    patient["retry"] = json!({"attempts": 2, "initial": "3s", "max": "3s", "jitter": 0});
    let name = (0..).map(|n| format!("p{n}"));
    let mut id = None;
    for name in name.take(50) {
        if rig.owner(&pipeline(&name)).await == "c" {
            a.ok(CommandKind::CreatePipeline, &name, json!({"steps": [patient]})).await;
            id = Some(run(&a, &name).await);
            break;
        }
    }
    let id = id.expect("c owns one of fifty");
    until("its retry is scheduled", async || {
        rig.told(&StreamId::execution(id)).await.iter().any(|(kind, _)| kind == "StepRetryScheduled")
    })
    .await;
    c.cut_off(&rig);
    assert_eq!(ended(&b, id).await, "completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_renew_serves_nothing() {
    let (rig, [a, b, c]) = Rig::three().await;
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    let name = pipeline_of(&rig, &a, "c", json!([])).await;
    c.api.pipeline(&name.parse().unwrap()).await.unwrap();
    c.cut_off(&rig);
    until("its guard has ended", async || c.api.cluster().guard_left_ms == 0).await;
    // S5: what it still has in memory is not shown
    let read = c.api.pipeline(&name.parse().unwrap()).await;
    assert!(matches!(read, Err(ApiError::Unavailable { .. })), "{read:?}");
    settled(&[&a, &b]).await;
    a.ok(CommandKind::ActivatePipeline, &name, json!({})).await;
    // back again, it learns that it is dead and ends
    c.line.cut.store(false, std::sync::atomic::Ordering::SeqCst);
    let lost = tokio::time::timeout(DEADLINE, c.node.lost()).await.unwrap();
    assert_eq!(lost, Loss::Superseded);
    assert_eq!(c.api.cluster().own_shards, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_answer_is_lost_happens_once() {
    let (rig, [a, b, c]) = Rig::three().await;
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 50)).await;
    let name = pipeline_of(&rig, &a, "b", json!([])).await;
    for through in [&a, &c] {
        rig.network.lose_answers(2);
        let id = run(through, &name).await;
        assert_eq!(ended(&b, id).await, "completed");
    }
    until("the pipeline knows both ends", async || {
        b.api.pipeline(&name.parse().unwrap()).await.unwrap().open_executions.is_empty()
    })
    .await;
    let started = rig.told(&pipeline(&name)).await;
    let started = started.iter().filter(|(kind, _)| kind == "PipelineStarted").count();
    assert_eq!(started, 2);
}
