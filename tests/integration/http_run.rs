//! What programs that run add to the HTTP interface: executions, their logs, cancel, results of plugins.

use flexcore_test_support::{Reply, wait_for};
use serde_json::{Value, json};

use crate::world::{API, DEADLINE, World, items, pipe_step, text};

#[tokio::test]
async fn an_execution_shows_what_happened() {
    let world = World::start().await;
    let execution = world.run_pipe("p", "tap", json!({"records": 250, "state_every": 100})).await;
    assert_eq!(execution["status"], "completed", "{execution:#}");
    for key in [
        "id",
        "kind",
        "pipeline",
        "plugin",
        "parent_id",
        "revision",
        "cause",
        "cancel_requested",
        "node",
        "parameters",
        "queued_at",
        "started_at",
        "ended_at",
        "steps",
        "correlation_id",
        "version",
        "position",
    ] {
        assert!(execution.get(key).is_some(), "no {key}: {execution:#}");
    }
    let attempt = &execution["steps"][0]["attempts"][0];
    assert_eq!(
        attempt["streams"],
        json!({"sample": {"read": 250, "written": 250, "rejected": 0}}),
        "{attempt:#}"
    );
    assert!(
        attempt["waits"]["upstream_ms"].is_u64() && attempt["waits"]["downstream_ms"].is_u64(),
        "{attempt:#}"
    );
    let programs = attempt["programs"].as_array().unwrap();
    assert_eq!(programs.iter().map(|p| text(&p["plugin"])).collect::<Vec<_>>(), ["tap", "target"]);
    for program in programs {
        assert_eq!(program["exit_code"], 0);
        assert!(program["usage"]["peak_memory_bytes"].as_u64().unwrap() > 0, "{program:#}");
    }

    let id = text(&execution["id"]);
    let events = world.get(&format!("/executions/{id}/events")).await.expect(200).json;
    let types: Vec<_> = items(&events).iter().map(|event| text(&event["type"])).collect();
    assert_eq!(
        types,
        ["ExecutionQueued", "ExecutionStarted", "StepStarted", "StepCompleted", "ExecutionCompleted"]
    );
    let timeline = world.get(&format!("/executions/{id}/timeline")).await.expect(200).json;
    assert_eq!(
        (&items(&timeline)[0]["step"], &items(&timeline)[0]["status"]),
        (&json!("load"), &json!("completed"))
    );
    let bookmarks = world.get("/pipelines/p/bookmarks").await.expect(200).json;
    let bookmark = &items(&bookmarks)[0];
    assert_eq!((&bookmark["step"], &bookmark["name"]), (&json!("load"), &json!("p/load")));
    assert_eq!(bookmark["execution_id"], id);
    let pipeline = world.get("/pipelines/p").await.json;
    assert!(pipeline["last_execution"].to_string().contains(&id), "{pipeline:#}");
    let target = world.get("/plugins/target").await.json;
    assert_eq!(target["executions"], json!({"total": 1, "completed": 1, "failed": 0, "running": 0}));
}

#[tokio::test]
async fn executions_are_filtered_and_paged() {
    let world = World::start().await;
    world.define("good", &json!([{"name": "a", "plugin": "work"}])).await;
    world.define("bad", &json!([{"name": "a", "plugin": "work", "parameters": {"exit_code": 4}, "retry": {"attempts": 1}}])).await;
    let mut started = Vec::new();
    for pipeline in ["good", "bad", "good"] {
        let id = world.launch(pipeline).await;
        world.ended(&id).await;
        started.push(id);
    }
    let ids = async |query: &str| -> Vec<String> {
        let list = world.list(&format!("/executions?{query}")).await.expect(200).json;
        items(&list).iter().map(|item| text(&item["id"])).collect()
    };
    let newest_first: Vec<_> = started.iter().rev().cloned().collect();
    assert_eq!(ids("limit=9").await, newest_first);
    assert_eq!(ids("pipeline=good").await, [newest_first[0].clone(), newest_first[2].clone()]);
    assert_eq!(ids("status=failed").await, [started[1].clone()]);
    assert_eq!(ids("kind=plugin&plugin=none").await, Vec::<String>::new());
    let first = world.get("/executions?limit=2").await.json;
    let cursor = text(&first["next_cursor"]);
    assert_eq!(ids(&format!("limit=2&cursor={cursor}")).await, [started[0].clone()]);
}

#[tokio::test]
async fn logs_are_text_json_lines_or_a_stream() {
    let world = World::start().await;
    let parameters = json!({"exit_code": 4, "stderr_flood": 200});
    let step = json!({"name": "a", "plugin": "work", "parameters": parameters, "retry": {"attempts": 1}});
    world.define("p", &json!([step])).await;
    let id = world.launch("p").await;
    let path = format!("{API}/executions/{id}/logs");

    // followed from the start: the answer ends when the execution has ended
    let stream = world.client.get(&format!("{path}?follow=true")).await.expect(200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert!(stream.text.contains("id: 1\ndata: {\"time\":"), "{}", stream.text);
    assert!(stream.text.ends_with("event: end\ndata: {\"status\":\"failed\"}\n\n"), "{}", stream.text);

    let plain = world.client.get(&path).await.expect(200);
    assert_eq!(plain.header("content-type"), Some("text/plain; charset=utf-8"));
    let line = plain.text.lines().find(|line| line.contains("hello from")).expect("what the program says");
    assert!(line.contains(" a/work stdout hello"), "{line}");
    assert!(plain.text.contains(" a/work stderr "), "{}", plain.text);
    let (time, _) = line.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.starts_with("20"), "{time}");
    let lines =
        world.client.clone().with_header("accept", "application/x-ndjson").get(&path).await.expect(200);
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let parsed: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed.len(), plain.text.lines().count());
    assert_eq!((&parsed[0]["step"], &parsed[0]["plugin"]), (&json!("a"), &json!("work")));
    let rest = world.client.get(&format!("{path}?after=1")).await.expect(200);
    assert_eq!(rest.text.lines().count(), parsed.len() - 1);
}

#[tokio::test]
async fn cancel_is_accepted_at_once_and_final() {
    let world = World::start().await;
    world.define("p", &json!([pipe_step("load", "tap", json!({"hang_after": 1}))])).await;
    let id = world.launch("p").await;
    world
        .until(&id, "runs", |execution| execution["steps"][0]["attempts"][0]["programs"][1]["pid"].is_u64())
        .await;
    for _ in 0..2 {
        let reply = world.post(&format!("/executions/{id}/cancel"), &json!({})).await.expect(202);
        assert_eq!(reply.json["cancel_requested"], true);
    }
    let execution = world.ended(&id).await;
    assert_eq!(execution["status"], "cancelled", "{execution:#}");
    world.post(&format!("/executions/{id}/cancel"), &json!({})).await.expect(409);
}

#[tokio::test]
async fn a_command_answers_with_its_result() {
    let world = World::start().await;
    let body = json!({"operation": "greet", "parameters": {"timeout_seconds": 30, "day": "today"}, "metadata": {"for": "me"}});
    let reply = world.post("/plugins/work/execute", &body).await.expect(200).json;
    assert_eq!((&reply["status"], &reply["cause"]), (&json!("completed"), &Value::Null), "{reply:#}");
    assert_eq!(
        (&reply["result"]["operation"], &reply["result"]["parameters"]["day"]),
        (&json!("greet"), &json!("today"))
    );
    assert!(reply["usage"]["wall_ms"].is_u64() && reply["execution_id"].is_string(), "{reply:#}");
    let failed =
        world.post("/plugins/work/execute", &json!({"parameters": {"exit_code": 4}})).await.expect(200).json;
    assert_eq!(
        (&failed["status"], &failed["cause"]["kind"]),
        (&json!("failed"), &json!("exit")),
        "{failed:#}"
    );
    let status = world.get("/plugins/work/status").await.expect(200).json;
    assert_eq!(
        status["executions"],
        json!({"total": 2, "completed": 1, "failed": 1, "running": 0}),
        "{status:#}"
    );
}

#[tokio::test]
async fn frames_answer_with_their_result() {
    let world = World::start().await;
    let body = json!({"operation": "count", "config": {"records": 7}, "parameters": {}});
    let reply = world.post("/plugins/framed/execute", &body).await.expect(200).json;
    assert_eq!(
        (&reply["status"], &reply["result"]["records"]),
        (&json!("completed"), &json!(7)),
        "{reply:#}"
    );
    assert_eq!(reply["result"]["operation"], "count");
    let bare = world.post("/plugins/framed/execute", &json!({})).await.expect(200).json;
    assert_eq!(bare["status"], "completed", "an operation is optional: {bare:#}");
    let failed = world
        .post("/plugins/framed/execute", &json!({"parameters": {"records": 1, "error": "no disk"}}))
        .await
        .expect(200)
        .json;
    assert_eq!(failed["status"], "failed");
    assert!(failed["cause"]["message"].as_str().unwrap().contains("no disk"), "{failed:#}");
}

#[tokio::test]
async fn a_result_may_come_later() {
    let world = World::start().await;
    let early = world.client.clone().with_header("prefer", "respond-async");
    let reply =
        early.post(&format!("{API}/plugins/work/execute"), &json!({"parameters": {}})).await.expect(202);
    assert_eq!(reply.header("preference-applied"), Some("respond-async"));
    let execution = world.ended(&text(&reply.json["execution_id"])).await;
    assert_eq!((&execution["kind"], &execution["status"]), (&json!("plugin"), &json!("completed")));

    // the time passes first, and nothing is killed
    let body = json!({"config": {"records": 3, "rate": 2}, "parameters": {"timeout_seconds": 0.05}});
    let late = world.post("/plugins/framed/execute", &body).await.expect(202).json;
    let execution = world.ended(&text(&late["execution_id"])).await;
    assert_eq!(
        (&execution["status"], &execution["result"]["records"]),
        (&json!("completed"), &json!(3)),
        "{execution:#}"
    );

    let hanging = json!({"config": {"hang_after": 1}, "parameters": {"timeout_seconds": 0.05}});
    let id = text(&world.post("/plugins/framed/execute", &hanging).await.expect(202).json["execution_id"]);
    world.post(&format!("/executions/{id}/cancel"), &json!({})).await.expect(202);
    assert_eq!(world.ended(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn bookmarks_are_set_cleared_and_guarded_while_held() {
    let world = World::start().await;
    world.define("p", &json!([pipe_step("load", "tap", json!({"records": 10}))])).await;
    let path = format!("{API}/pipelines/p/bookmarks/load");
    world.client.put(&path, &json!({"state": {"bookmarks": {"sample": {"id": 4}}}})).await.expect(200);
    let id = world.launch("p").await;
    let execution = world.ended(&id).await;
    assert_eq!(
        execution["steps"][0]["attempts"][0]["streams"]["sample"]["read"], 6,
        "it goes on from there: {execution:#}"
    );
    // the pipeline learns of the end a little later than the execution, and holds the bookmark until then
    once_released(async || world.client.delete(&path).await).await.expect(200);
    assert_eq!(items(&world.get("/pipelines/p/bookmarks").await.json).len(), 0);
    world.client.put(&path, &json!({})).await.expect(422);
    world.client.put(&path, &json!({"state": null})).await.expect(422);
    world
        .client
        .put(&format!("{API}/pipelines/p/bookmarks/none"), &json!({"state": {"n": 1}}))
        .await
        .expect(404);

    world.define("held", &json!([pipe_step("load", "tap", json!({"hang_after": 1}))])).await;
    let id = world.launch("held").await;
    world.until(&id, "runs", |e| e["steps"][0]["attempts"][0]["programs"][1]["pid"].is_u64()).await;
    let held = format!("{API}/pipelines/held/bookmarks/load");
    world.client.put(&held, &json!({"state": {"n": 1}})).await.expect(409);
    world.client.delete(&held).await.expect(409);
    world.post(&format!("/executions/{id}/cancel"), &json!({})).await.expect(202);
    world.ended(&id).await;
    once_released(async || world.client.put(&held, &json!({"state": {"n": 1}})).await).await.expect(200);
}

/// Asks again while the answer is a conflict.
async fn once_released(ask: impl AsyncFn() -> Reply) -> Reply {
    wait_for("the bookmark is released", DEADLINE, async || {
        let reply = ask().await;
        if reply.status == 409 { Err(reply.text) } else { Ok(reply) }
    })
    .await
}
