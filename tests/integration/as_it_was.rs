//! Things as they were at a version or a time, over HTTP and on the command line.

use serde_json::{Value, json};

use crate::world::{World, items, pipe_step, text};

/// A pipeline that was revised and run once, and its execution's id.
async fn world() -> (World, String) {
    let world = World::start().await;
    let step = json!([pipe_step("load", "tap", json!({"records": 3}))]);
    world.post("/pipelines", &json!({"name": "p", "owner": "before", "steps": step})).await.expect(201);
    let revised = json!({"name": "p", "owner": "after", "steps": step});
    let base = crate::world::API;
    world.client.put(&format!("{base}/pipelines/p"), &revised).await.expect(200);
    let id = world.launch("p").await;
    world.ended(&id).await;
    (world, id)
}

/// The events of a stream, oldest first.
async fn events(world: &World, stream: &str) -> Vec<Value> {
    let page = world.get(&format!("/events?aggregate_id={stream}&limit=1000")).await.expect(200);
    items(&page.json).to_vec()
}

#[tokio::test]
async fn every_version_and_time_is_shown_as_it_was() {
    let (world, id) = world().await;
    let first = world.get("/pipelines/p?at_version=1").await.expect(200);
    assert_eq!((&first.json["owner"], &first.json["revision"]), (&json!("before"), &json!(1)));
    assert_eq!(first.header("etag"), Some("\"1\""));
    let recorded = events(&world, "pipeline-p").await;
    let at_revision = text(&recorded[1]["timestamp"]);
    let revised = world.get(&format!("/pipelines/p?at={at_revision}")).await.expect(200);
    assert_eq!((&revised.json["owner"], &revised.json["version"]), (&json!("after"), &json!(2)));
    assert_eq!(revised.json["open_executions"], json!([]));

    let stream = events(&world, &format!("execution-{id}")).await;
    for (n, event) in (1..).zip(&stream) {
        let past = world.get(&format!("/executions/{id}?at_version={n}")).await.expect(200).json;
        let status = match text(&event["type"]).as_str() {
            "ExecutionQueued" => "queued",
            "ExecutionCompleted" => "completed",
            _ => "running",
        };
        assert_eq!((&past["status"], &past["version"]), (&json!(status), &json!(n)), "{past:#}");
        assert_eq!(past["position"], event["position"]);
        assert_eq!(past["correlation_id"], event["metadata"]["correlation_id"]);
    }
    let now = world.get(&format!("/executions/{id}")).await.expect(200).json;
    let last = world.get(&format!("/executions/{id}?at_version={}", stream.len())).await.expect(200).json;
    assert_eq!(last, now, "the last version is what is shown without one");

    let tap = world.get("/plugins/tap?at_version=1").await.expect(200).json;
    assert_eq!((&tap["status"], &tap["executions"]["total"]), (&json!("registered"), &json!(0)));
    world.get("/plugins/tap?at=2999-01-01T00:00:00Z").await.expect(200);
}

#[tokio::test]
async fn moments_that_cannot_be_are_refused() {
    let (world, id) = world().await;
    for resource in ["/pipelines/p", "/plugins/tap", &format!("/executions/{id}")] {
        for absent in ["at_version=0", "at_version=999", "at=2020-01-01T00:00:00Z"] {
            let reply = world.get(&format!("{resource}?{absent}")).await.expect(404);
            assert!(text(&reply.json["detail"]).contains(" at "), "{}", reply.text);
        }
        for bad in [
            "at_version=x",
            "at=yesterday",
            "at=2026-01-01",
            "at=2026-01-01T00:00:00Z&at_version=1",
            "at_versio=1",
        ] {
            world.get(&format!("{resource}?{bad}")).await.expect(400);
        }
    }
    world.get("/pipelines/none?at_version=1").await.expect(404);
    world.get("/pipelines?at_version=1").await.expect(400);
}

#[tokio::test]
async fn the_command_line_shows_the_past() {
    let (world, id) = world().await;
    let time = text(&events(&world, "pipeline-p").await[0]["timestamp"]);
    world.cli(&["pipelines", "show", "p", "--at-version", "1"]).await.expect(0).prints("before");
    world.cli(&["pipelines", "show", "p", "--at", &time]).await.expect(0).prints("before");
    world.cli(&["pipelines", "show", "p"]).await.expect(0).prints("after");
    world.cli(&["plugins", "show", "tap", "--at-version", "1"]).await.expect(0).prints("registered");
    world.cli(&["executions", "show", &id, "--at-version", "1"]).await.expect(0).prints("queued");
    let json = world.cli(&["executions", "show", &id, "--at-version", "1", "-o", "json"]).await.expect(0);
    assert_eq!(json.json()["version"], 1);
    world.cli(&["pipelines", "show", "p", "--at-version", "999"]).await.expect(3).says("does not exist");
    world.cli(&["pipelines", "show", "p", "--at-version", "1", "--at", &time]).await.expect(2);
}
