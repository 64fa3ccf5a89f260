//! Calls of a real program of the flexcore protocol: what its manifest grants is done, what it does not is denied and seen.

use serde_json::{Value, json};

use crate::world::{World, items, program, text};

async fn world(api: &[&str]) -> World {
    let world = World::start().await;
    let manifest = json!({
        "kind": "Plugin", "name": "notify", "version": "1.0.0", "type": "processor", "protocol": "flexcore",
        "command": [program("flexcore-sample"), "flexcore"], "capabilities": {"api": api},
    });
    world.post("/plugins", &manifest).await.expect(201);
    world
}

fn calling(plugin: &str, api: &str, arguments: &Value) -> Value {
    json!({"name": "call", "plugin": plugin, "retry": {"attempts": 1},
           "config": {"records": 1, "call": {"api": api, "arguments": arguments}}})
}

#[tokio::test]
async fn a_granted_call_publishes_an_event_and_reads_bookmarks() {
    let world = world(&["events.publish", "bookmarks.read"]).await;
    let event = json!({"stream": "external-orders", "type": "orders.loaded", "data": {"orders": 7}});
    world.define("tell", &json!([calling("notify", "events.publish", &event)])).await;
    let id = world.launch("tell").await;
    assert_eq!(world.ended(&id).await["status"], "completed");
    let list = world.list("/events?aggregate_id=external-orders").await.expect(200).json;
    let [published] = items(&list) else { panic!("one event: {list:#}") };
    assert_eq!(published["type"], "EventPublished");
    let by = json!({"execution": id, "step": "call", "attempt": 1, "plugin": "notify"});
    assert_eq!(published["data"], json!({"type": "orders.loaded", "data": {"orders": 7}, "by": by}));
    assert_eq!(
        published["metadata"]["correlation_id"],
        world.get(&format!("/executions/{id}")).await.json["correlation_id"]
    );
    let step = calling("notify", "bookmarks.read", &json!({}));
    world.define("look", &json!([step])).await;
    let bookmark =
        world.client.put("/api/v1/flexcore/pipelines/look/bookmarks/call", &json!({"state": {"n": 1}})).await;
    bookmark.expect(200);
    let looked = world.ended(&world.launch("look").await).await;
    let answer = &looked["steps"][0]["attempts"][0]["result"]["answer"];
    assert_eq!(answer["items"][0]["state"], json!({"n": 1}), "{looked:#}");
    assert_eq!(world.cli(&["verify"]).await.code, 0, "what was published is sealed as everything is");
}

#[tokio::test]
async fn a_call_that_is_not_granted_is_denied_and_stands_beside_the_cause() {
    let world = world(&["bookmarks.read"]).await;
    let event = json!({"stream": "external-orders", "type": "orders.loaded"});
    let mut step = calling("notify", "events.publish", &event);
    step["config"]["error"] = json!("nobody was told");
    world.define("tell", &json!([step])).await;
    let id = world.launch("tell").await;
    let ended = world.ended(&id).await;
    assert_eq!(ended["cause"]["kind"], "exit");
    let denials = json!([{"call": "events.publish", "reason": "not granted", "times": 1}]);
    assert_eq!(ended["cause"]["detail"]["denials"], denials);
    assert_eq!(ended["steps"][0]["attempts"][0]["programs"][0]["denials"], denials);
    let log = world.get(&format!("/executions/{id}/logs")).await.expect(200).text;
    assert!(log.contains("it was denied the call events.publish: not granted; capabilities.api"), "{log}");
    assert_eq!(items(&world.list("/events?aggregate_id=external-orders").await.expect(200).json).len(), 0);
    let unknown = json!({
        "kind": "Plugin", "name": "other", "version": "1", "type": "processor", "protocol": "flexcore",
        "command": ["true"], "capabilities": {"api": ["events.publsh"]},
    });
    let refused = world.post("/plugins", &unknown).await.expect(422).json;
    assert_eq!(text(&refused["errors"][0]["field"]), "capabilities.api[0]");
    assert!(text(&refused["errors"][0]["message"]).contains("did you mean \"events.publish\"?"), "{refused}");
}
