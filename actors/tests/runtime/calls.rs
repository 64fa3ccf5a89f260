//! Calls of programs: granted or not, once, and never behind a cancel (S7).

use flexcore_actors::ports::plugin_host::CallRefusal;
use flexcore_actors::runtime::api::CommandKind;
use serde_json::{Value, json};

use crate::world::{World, plugin, step};

/// A world with `tap` and `caller`, which may make these calls.
async fn world(api: &[&str]) -> World {
    let world = World::with_tap().await;
    let mut caller = plugin("caller", 1);
    caller["protocol"] = json!("flexcore");
    caller["capabilities"] = json!({"api": api});
    world.ok(CommandKind::RegisterPlugin, "caller", caller).await;
    world
}

fn calling(script: Value) -> Value {
    let mut calling = step("calling", script);
    calling["plugin"] = json!("caller");
    calling
}

fn publish(id: u64, n: u64, key: Option<&str>) -> Value {
    let arguments =
        json!({"stream": "external-orders", "type": "orders.loaded", "data": {"n": n}, "key": key});
    json!({"call": "events.publish", "id": id, "arguments": arguments})
}

async fn published(world: &World) -> Vec<Value> {
    let events = world.events().await.into_iter();
    events.filter(|e| e.stream.as_str() == "external-orders").map(|e| e.data().unwrap()).collect()
}

#[tokio::test]
async fn an_event_is_published_once_for_each_call_and_key() {
    let world = world(&["events.publish"]).await;
    let twice = |id, n, key| [publish(id, n, key), publish(id, n, key)];
    let mut script = [twice(1, 1, None), twice(2, 2, Some("k"))].concat();
    script.push(json!({"fail": "exit", "attempt": 1}));
    let id = world.start(json!([calling(json!(script))])).await;
    assert_eq!(world.ended(id).await.status, "completed");
    let events = published(&world).await;
    // the second attempt calls anew; what has a key stays one
    assert_eq!(events.iter().map(|e| e["data"]["n"].clone()).collect::<Vec<_>>(), [1, 2, 1]);
    let by = json!({"execution": id, "step": "calling", "attempt": 1, "plugin": "caller"});
    assert_eq!((&events[0]["type"], &events[0]["by"]), (&json!("orders.loaded"), &by));
    let versions: Vec<u64> =
        world.answers().into_iter().map(|answer| answer.unwrap()["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [1, 1, 2, 2, 3, 3, 2, 2]);
}

#[tokio::test]
async fn bookmarks_of_the_own_pipeline_are_read() {
    let world = world(&["bookmarks.read"]).await;
    let read = |step: Value| json!({"call": "bookmarks.read", "arguments": {"step": step}});
    let mut calling = calling(json!([read(Value::Null), read(json!("a")), read(json!("calling"))]));
    calling["depends_on"] = json!(["a"]);
    let id = world.start(json!([step("a", json!([{"state": {"n": 1}}])), calling])).await;
    assert_eq!(world.ended(id).await.status, "completed");
    let answers: Vec<Value> = world.answers().into_iter().map(Result::unwrap).collect();
    assert_eq!(
        (&answers[0]["items"][0]["step"], &answers[0]["items"][0]["state"]),
        (&json!("a"), &json!({"n": 1}))
    );
    assert_eq!(answers[1], answers[0]);
    assert_eq!(answers[2], json!({"items": []}));
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_what_is_wrong_is_named() {
    let world = world(&["events.publish"]).await;
    let wrong = json!({"call": "events.publish", "arguments": {"stream": "pipeline-p", "type": "t"}});
    let unknown = json!({"call": "events.publsh", "arguments": {}});
    let script = json!([{"call": "bookmarks.read", "arguments": {}}, wrong, unknown]);
    let id = world.start(json!([calling(script)])).await;
    assert_eq!(world.ended(id).await.status, "completed");
    let answers: Vec<CallRefusal> = world.answers().into_iter().map(Result::unwrap_err).collect();
    assert_eq!(answers[0], CallRefusal::NotGranted);
    assert!(answers[1].to_string().contains("arguments.stream: expected external-<name>"), "{}", answers[1]);
    assert!(answers[2].to_string().contains("did you mean \"events.publish\"?"), "{}", answers[2]);
    assert_eq!(published(&world).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_cancelled_execution_publishes_nothing() {
    let world = world(&["events.publish"]).await;
    let script = json!([{"await_stop": true}, publish(1, 1, None)]);
    let id = world.start(json!([calling(script)])).await;
    world.until(id, |view| view.steps[0].attempts.first().is_some_and(|a| a.programs[0].pid.is_some())).await;
    world.ok(CommandKind::CancelExecution, &id.to_string(), json!({})).await;
    assert_eq!(world.ended(id).await.status, "cancelled");
    let refused = world.answers().remove(0).unwrap_err();
    assert_eq!(refused, CallRefusal::Failed("the execution was cancelled".to_owned()));
    assert_eq!(published(&world).await, Vec::<Value>::new());
}
