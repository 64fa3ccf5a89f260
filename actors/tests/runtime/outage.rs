//! A store that is away or full: whoever is certainly not stored is told soon, and what may be stored is found out, however
//! long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flexcore_actors::limits::{COMMIT_PATIENCE, COMMIT_TRY};
use flexcore_actors::runtime::api::{Accepted, ApiError, CommandKind};
use flexcore_actors::testkit::Fault;
use serde_json::json;

use crate::gate::Gate;
use crate::world::{World, plugin, step};

/// By how much a busy machine may be late.
const LATE: Duration = Duration::from_secs(3);
/// More faults than a test meets.
const MANY: usize = 10_000;

async fn timed(world: &World, name: &str) -> (Result<Accepted, ApiError>, Duration) {
    let began = Instant::now();
    let answer = world.submit(CommandKind::RegisterPlugin, name, plugin(name, 1)).await;
    (answer, began.elapsed())
}

#[track_caller]
fn is_unavailable(answer: &Result<Accepted, ApiError>) {
    assert!(matches!(answer, Err(ApiError::Unavailable { retry_after: 1.., .. })), "{answer:?}");
}

async fn streams(world: &World) -> Vec<String> {
    world.events().await.iter().map(|event| event.stream.as_str().to_owned()).collect()
}

#[tokio::test]
async fn a_store_that_is_away_is_said_soon() {
    let world = World::new().await;
    world.store.inject(vec![Fault::Refused; MANY]);
    let (answer, took) = timed(&world, "tap").await;
    is_unavailable(&answer);
    assert!(took < COMMIT_PATIENCE + COMMIT_TRY + LATE, "{took:?}");
    assert_eq!(streams(&world).await, Vec::<String>::new());
    world.store.heal();
    timed(&world, "tap").await.0.unwrap();
    assert_eq!(streams(&world).await, ["plugin-tap"; 2], "registered and enabled, once");
}

/// Away for a moment is not said at all.
#[tokio::test]
async fn a_short_outage_is_waited_out() {
    let world = World::new().await;
    world.store.inject(vec![Fault::Refused; 4]);
    timed(&world, "tap").await.0.unwrap();
}

#[tokio::test]
async fn what_may_be_stored_is_found_out_beyond_the_patience() {
    for lost in [Fault::RequestLost, Fault::AnswerLost] {
        let world = World::new().await;
        // the first may be stored; what follows says for certain that it is not stored *now*, which proves nothing
        let faults = std::iter::once(lost).chain(std::iter::repeat_n(Fault::Refused, 7));
        world.store.inject(faults);
        let (answer, took) = timed(&world, "tap").await;
        assert_eq!(answer.unwrap().events_generated, 2);
        assert!(took > COMMIT_PATIENCE + COMMIT_TRY, "{took:?}: the bound of the other case was passed");
        assert_eq!(streams(&world).await, ["plugin-tap"; 2], "once, whichever got lost");
    }
}

/// A commit hangs at the store; what waits behind it is not stored, and its caller is not kept.
#[tokio::test]
async fn who_waits_behind_a_store_that_hangs_is_told_soon() {
    let (world, gate) = Gate::world().await;
    world.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 1)).await;
    let world = Arc::new(world);
    gate.hold("PipelineCreated");
    let steps = json!({"steps": [step("s", json!([]))]});
    let there = Arc::clone(&world);
    let hanging = tokio::spawn(async move { there.submit(CommandKind::CreatePipeline, "a", steps).await });
    gate.caught_all(1).await;
    let (answer, took) = timed(&world, "late").await;
    is_unavailable(&answer);
    assert!(took < COMMIT_PATIENCE + LATE, "{took:?}");
    gate.open();
    assert_eq!(hanging.await.unwrap().unwrap().events_generated, 1, "what was sent is waited for");
    assert!(
        !streams(&world).await.contains(&"plugin-late".to_owned()),
        "what was taken back is never stored"
    );
    timed(&world, "late").await.0.unwrap();
    assert_eq!(streams(&world).await.iter().filter(|stream| *stream == "plugin-late").count(), 2);
}
