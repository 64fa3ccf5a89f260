//! The HTTP interface of a real node, route by route: statuses, shapes and headers that other programs are written
//! against. What running programs adds to it is in `http_run`.

use http::Method;
use serde_json::{Value, json};

use flexcore_test_support::{Client, Reply};

use crate::world::{API, World, items, text};

/// Asks without a body.
async fn bare(client: &Client, method: Method, path: &str) -> Reply {
    client.request(method, path, None, "").await.unwrap()
}

fn pipeline() -> Value {
    json!({"name": "p", "description": "one step", "owner": "me", "steps": [{"name": "a", "plugin": "work"}]})
}

/// The object has these keys.
#[track_caller]
fn has(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no {key}: {value:#}");
    }
}

#[tokio::test]
async fn the_node_says_how_it_is() {
    let world = World::start().await;
    let health = world.client.get("/health").await.expect(200);
    assert_eq!((&health.json["status"], &health.json["service"]), (&json!("ok"), &json!("flexcore")));
    let ready = world.client.get("/ready").await.expect(200);
    assert_eq!(ready.json["dependencies"]["event_store"]["status"], "up", "{}", ready.text);
    has(&world.get("/status").await.expect(200).json, &["service", "version", "node", "dependencies"]);
    let metrics = world.client.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").unwrap().contains("text"), "{:?}", metrics.headers);
    assert!(metrics.text.contains("flexcore_events_appended_total 10\n"), "{}", metrics.text);
    assert!(metrics.text.ends_with("# EOF\n"), "OpenMetrics has an end");
    let labels = "flexcore_http_request_duration_seconds_count{method=\"POST\",route=\"/api/v1/flexcore/plugins\",status=\"201\"} 5";
    assert!(metrics.text.contains(labels), "{}", metrics.text);
    let head = bare(&world.client, Method::HEAD, "/health").await.expect(200);
    assert_eq!(head.text, "");
}

#[tokio::test]
async fn unknown_paths_and_methods_and_what_is_not_built_have_their_status() {
    let world = World::start().await;
    for (method, path, status, kind) in [
        (Method::GET, "/nowhere".to_owned(), 404, "no-such-route"),
        (Method::GET, format!("{API}/nowhere"), 404, "no-such-route"),
        (Method::GET, format!("{API}/pipelines/none"), 404, "not-found"),
        (Method::GET, format!("{API}/plugins/none/status"), 404, "not-found"),
        (Method::GET, format!("{API}/executions/no-uuid"), 404, "not-found"),
        (Method::POST, format!("{API}/pipelines/none/execute"), 404, "not-found"),
        (Method::POST, "/health".to_owned(), 405, "method-not-allowed"),
        (Method::DELETE, format!("{API}/events"), 405, "method-not-allowed"),
        (Method::POST, format!("{API}/pipelines/none/backfill"), 501, "not-built"),
        (Method::POST, format!("{API}/events"), 501, "not-built"),
        (Method::GET, format!("{API}/ws/pipelines/p/status"), 501, "not-built"),
        (Method::GET, "/openapi.json".to_owned(), 501, "not-built"),
    ] {
        let reply = bare(&world.client, method.clone(), &path).await.expect(status);
        assert_eq!(reply.json["type"], format!("urn:flexcore:problem:{kind}"), "{method} {path}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        if status == 405 {
            assert!(reply.header("allow").unwrap().contains("GET"), "{:?}", reply.headers);
        }
    }
}

#[tokio::test]
async fn a_pipeline_lives_from_draft_to_archive() {
    let world = World::start().await;
    let dry = world.post("/pipelines?dry_run=true", &pipeline()).await.expect(200);
    assert_eq!(dry.json, json!({"action": "create"}));
    let created = world.post("/pipelines", &pipeline()).await.expect(201);
    assert_eq!(created.header("location"), Some("/api/v1/flexcore/pipelines/p"));
    has(
        &created.json,
        &[
            "name",
            "revision",
            "status",
            "description",
            "owner",
            "steps",
            "schedule",
            "next_tick",
            "last_execution",
            "version",
        ],
    );
    assert_eq!((&created.json["status"], &created.json["revision"]), (&json!("draft"), &json!(1)));
    let tag = created.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", created.json["version"]));

    let mut changed = pipeline();
    changed["description"] = json!("changed");
    let guarded = world.client.clone().with_header("if-match", &tag);
    let put = guarded.put(&format!("{API}/pipelines/p"), &changed).await.expect(200);
    assert_eq!(put.json["revision"], 2);
    let stale = guarded.put(&format!("{API}/pipelines/p"), &pipeline()).await.expect(412);
    assert_eq!(stale.json["type"], "urn:flexcore:problem:version-mismatch");
    world
        .client
        .put(&format!("{API}/pipelines/none"), &json!({"steps": [{"name": "a", "plugin": "work"}]}))
        .await
        .expect(404);

    let revisions = world.get("/pipelines/p/revisions").await.expect(200).json;
    let descriptions: Vec<_> = items(&revisions).iter().map(|r| &r["definition"]["description"]).collect();
    assert_eq!(descriptions, ["one step", "changed"]);
    for (action, status, events) in [
        ("activate", "active", 1),
        ("activate", "active", 0),
        ("pause", "paused", 1),
        ("resume", "active", 1),
    ] {
        let reply = world.post(&format!("/pipelines/p/{action}"), &json!({})).await.expect(200).json;
        assert_eq!(
            (&reply["status"], &reply["events_generated"]),
            (&json!(status), &json!(events)),
            "{action}"
        );
    }
    world.post("/pipelines/p/pause", &json!({})).await.expect(200);
    world.post("/pipelines/p/execute", &json!({})).await.expect(409);
    let archived = bare(&world.client, Method::DELETE, &format!("{API}/pipelines/p")).await.expect(200);
    assert_eq!(archived.json["status"], "archived");
    world.post("/pipelines/p/execute", &json!({})).await.expect(409);
    world.get("/pipelines/p").await.expect(200);
}

#[tokio::test]
async fn a_plugin_lives_from_registration_to_retirement() {
    let world = World::start().await;
    let plugin = world.get("/plugins/work").await.expect(200);
    has(
        &plugin.json,
        &[
            "name",
            "version",
            "stream_version",
            "type",
            "protocol",
            "status",
            "health",
            "capabilities",
            "limits",
            "executions",
            "last_error",
        ],
    );
    assert_eq!((&plugin.json["status"], &plugin.json["health"]), (&json!("enabled"), &json!("healthy")));
    assert_eq!(plugin.json["executions"], json!({"total": 0, "completed": 0, "failed": 0, "running": 0}));
    assert_eq!(plugin.header("etag"), Some(format!("\"{}\"", plugin.json["stream_version"]).as_str()));
    let manifest =
        json!({"version": "1.0.1", "type": "processor", "protocol": "command", "command": ["true"]});
    let revised = world.client.put(&format!("{API}/plugins/work"), &manifest).await.expect(200);
    assert_eq!(revised.json["version"], "1.0.1");
    assert_eq!(world.post("/plugins/work/disable", &json!({})).await.expect(200).json["status"], "disabled");
    world.post("/plugins/work/execute", &json!({})).await.expect(409);
    assert_eq!(world.post("/plugins/work/enable", &json!({})).await.expect(200).json["status"], "enabled");
    let retired = bare(&world.client, Method::DELETE, &format!("{API}/plugins/work")).await.expect(200);
    assert_eq!(retired.json["status"], "retired");
    world.post("/plugins/work/execute", &json!({})).await.expect(409);
    let reply = world.post("/pipelines", &pipeline()).await.expect(422);
    assert_eq!(
        reply.json["errors"][0]["field"], "steps[0].plugin",
        "a retired plugin is no plugin: {}",
        reply.text
    );
}

#[tokio::test]
async fn a_repeated_request_is_one_change() {
    let world = World::start().await;
    world.post("/pipelines", &pipeline()).await.expect(201);
    let once = world.client.clone().with_header("idempotency-key", "nightly-1");
    let path = format!("{API}/pipelines/p/execute");
    let first = once.post(&path, &json!({})).await.expect(202);
    has(&first.json, &["execution_id", "pipeline_id", "status", "started_at"]);
    let again = once.post(&path, &json!({})).await.expect(202);
    assert_eq!(first.json["execution_id"], again.json["execution_id"]);
    let other = once.post(&path, &json!({"from_scratch": true})).await.expect(422);
    assert_eq!(other.json["type"], "urn:flexcore:problem:command-reused");
    assert_eq!(items(&world.list("/executions?pipeline=p").await.json).len(), 1);

    let create = world.client.clone().with_header("idempotency-key", "create-q");
    let body = json!({"name": "q", "steps": [{"name": "a", "plugin": "work"}]});
    create.post(&format!("{API}/pipelines"), &body).await.expect(201);
    create.post(&format!("{API}/pipelines"), &body).await.expect(201);
    world.post("/pipelines", &body).await.expect(409);
}

#[tokio::test]
async fn lists_come_in_pages_that_miss_and_repeat_nothing() {
    let world = World::start().await;
    let mut names = Vec::new();
    let mut cursor = String::new();
    for _ in 0..4 {
        let page = world.list(&format!("/plugins?limit=2{cursor}")).await.expect(200).json;
        names.extend(items(&page).iter().map(|plugin| text(&plugin["name"])));
        has(&page, &["items", "next_cursor", "position"]);
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["framed", "short", "tap", "target", "work"]);

    let mut positions = Vec::new();
    let mut after = 0;
    loop {
        let page = world.get(&format!("/events?limit=3&after={after}")).await.expect(200).json;
        let Some(last) = items(&page).last() else { break };
        after = last["position"].as_u64().unwrap();
        positions.extend(items(&page).iter().map(|event| event["position"].as_u64().unwrap()));
    }
    assert_eq!(positions, (1..=10).collect::<Vec<u64>>(), "gapless");
    world.get("/events?min_position=10").await.expect(200);
    let early = world.get("/events?min_position=1000").await.expect(503);
    assert!(early.header("retry-after").is_some(), "{:?}", early.headers);
}

#[tokio::test]
async fn events_are_filtered_and_carry_who_and_why() {
    let world = World::start().await;
    let client = world.client.clone().with_header("x-correlation-id", "release-7");
    let reply = client.post(&format!("{API}/pipelines"), &pipeline()).await.expect(201);
    assert_eq!(reply.header("x-correlation-id"), Some("release-7"));
    let events = world.get("/events?aggregate_id=pipeline-p").await.expect(200).json;
    let event = &items(&events)[0];
    has(
        event,
        &["id", "stream", "version", "position", "type", "schema_version", "timestamp", "data", "metadata"],
    );
    has(&event["metadata"], &["actor", "node", "correlation_id", "causation_id"]);
    assert_eq!(event["metadata"]["actor"], "anonymous@127.0.0.1");
    assert_eq!((&event["stream"], &event["version"]), (&json!("pipeline-p"), &json!(1)));
    let derived = event["metadata"]["correlation_id"].clone();
    client.post(&format!("{API}/pipelines/p/activate"), &json!({})).await.expect(200);
    let activated = world.get("/events?event_type=PipelineActivated").await.json;
    assert_eq!(items(&activated)[0]["metadata"]["correlation_id"], derived, "the same text, the same id");

    let time = text(&event["timestamp"]);
    let before = world
        .get(&format!("/events?to_timestamp={time}&event_type=PipelineActivated"))
        .await
        .expect(200)
        .json;
    assert_eq!(items(&before).len(), 0);
    let since = world.get(&format!("/events?from_timestamp={time}")).await.expect(200).json;
    assert_eq!(items(&since).len(), 2);
    assert_eq!(items(&world.get("/events?aggregate_id=pipeline-none").await.expect(200).json).len(), 0);
}

#[tokio::test]
async fn commands_and_queries_do_what_the_routes_do() {
    let world = World::start().await;
    let id = "0198c0de-0000-7000-8000-000000000001";
    let create = json!({"command_type": "CreatePipeline", "command_id": id, "aggregate_id": "p", "payload": pipeline(),
                        "metadata": {"correlation_id": "release-7"}});
    let created = world.post("/commands", &create).await.expect(200).json;
    assert_eq!((&created["command_id"], &created["status"]), (&json!(id), &json!("completed")));
    has(&created["result"], &["aggregate_id", "version", "position", "events_generated"]);
    assert_eq!(
        world.post("/commands", &create).await.expect(200).json,
        created,
        "a repeat is the first answer"
    );
    let activate = json!({"command_type": "ActivatePipeline", "aggregate_id": "p"});
    assert_eq!(world.post("/commands", &activate).await.expect(200).json["result"]["events_generated"], 1);
    let start = json!({"command_type": "StartPipeline", "aggregate_id": "p", "payload": {}});
    let started = world.post("/commands", &start).await.expect(200).json;
    let execution = text(&started["result"]["execution_id"]);
    world.ended(&execution).await;
    world.post("/commands", &json!({"command_type": "Frobnicate"})).await.expect(422);

    let query = async |kind: &str, parameters: Value| {
        let body = json!({"query_type": kind, "parameters": parameters});
        let reply = world.post("/queries", &body).await.expect(200).json;
        assert_eq!(reply["query_type"], kind);
        reply["result"].clone()
    };
    assert_eq!(query("GetPipelineStatus", json!({"name": "p"})).await["status"], "active");
    assert_eq!(items(&query("ListActivePlugins", json!({})).await).len(), 5);
    let history = query("GetExecutionHistory", json!({"pipeline": "p", "limit": 5})).await;
    assert_eq!(items(&history)[0]["id"], execution);
    assert!(query("GetSystemMetrics", json!({})).await.is_object());
    world.post("/queries", &json!({"query_type": "GetEverything"})).await.expect(422);
}

#[tokio::test]
async fn the_inside_can_be_looked_at() {
    let world = World::start().await;
    let tree = world.get("/inspect/actors").await.expect(200).json;
    let mut kinds = Vec::new();
    visit(&tree, &mut kinds);
    for kind in ["supervisor", "committer", "plugin"] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind}: {kinds:?}");
    }
    let top = world.get("/inspect/actors/top?by=busy&limit=3").await.expect(200).json;
    assert_eq!(items(&top).len(), 3);
    world.get("/inspect/actors/top?by=beauty").await.expect(400);
    let plugin = world.get("/inspect/aggregates/plugin-work").await.expect(200).json;
    assert_eq!(plugin["version"], 2, "{plugin:#}");
    assert_eq!(items(&world.get("/inspect/quarantine").await.expect(200).json).len(), 0);
}

/// The kinds of all actors of a tree.
fn visit(actor: &Value, kinds: &mut Vec<String>) {
    kinds.extend(actor["kind"].as_str().map(str::to_owned));
    let below = actor["children"].as_array().or_else(|| actor["items"].as_array());
    below.into_iter().flatten().for_each(|child| visit(child, kinds));
}
