//! The gateway in front of a whole node on an in-memory store, asked as a client asks. The host runs no programs:
//! what a step's configuration says is what happens.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flexcore_actors::domain::ids::{ExecutionId, Name};
use flexcore_actors::domain::outcome::{AttemptReport, Cause, ProgramReport, Usage};
use flexcore_actors::domain::plugin::Manifest;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::log_store::{LogLine, LogStream};
use flexcore_actors::ports::plugin_host::{AttemptEnd, Examination, HostEvent, PipeSpec, Progress};
use flexcore_actors::ports::{BoxFuture, LogStore, PluginHost};
use flexcore_actors::runtime::cluster::ClusterPorts;
use flexcore_actors::runtime::node::{Node, Ports};
use flexcore_actors::testkit::{
    MemoryReadModels, MemorySnapshots, MemoryStore, MemorySubscriptions, RunningTime, integrity_ports,
};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

mod access;
mod stream;

use super::service::Gateway;
use super::table::BASE;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// `{"hang": true}` runs until it is stopped, `{"state": …}` reaches a bookmark; the result is what was asked.
struct Host;

impl PluginHost for Host {
    fn run<'a>(
        &'a self,
        spec: PipeSpec,
        events: mpsc::Sender<HostEvent>,
        _: Arc<Progress>,
        stop: CancellationToken,
    ) -> BoxFuture<'a, AttemptEnd> {
        Box::pin(async move {
            let first = &spec.programs[0];
            if let Some(state) = first.config.get("state") {
                events.send(HostEvent::State(state.clone())).await.unwrap();
            }
            if first.config["hang"] == json!(true) {
                stop.cancelled().await;
            }
            let usage = Usage { wall_ms: 4, cpu_ms: 2, peak_memory_bytes: 1 << 20 };
            let plugin = first.manifest.name.clone();
            let program = ProgramReport {
                plugin,
                pid: Some(1),
                exit_code: Some(0),
                cause: None,
                usage,
                network: None,
                sandbox: None,
                warm: false,
                denials: Vec::new(),
            };
            let result = json!({"operation": first.operation, "parameters": first.parameters});
            let report = AttemptReport { programs: vec![program], result, ..AttemptReport::default() };
            AttemptEnd { cause: None, report }
        })
    }

    fn prepare<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Result<(), Cause>> {
        Box::pin(async { Ok(()) })
    }

    fn examine<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Examination> {
        Box::pin(async { Examination::default() })
    }
}

/// Three lines for every execution.
struct Logs;

impl LogStore for Logs {
    fn append(&self, _: ExecutionId, _: &[LogLine]) {}

    fn read(
        &self,
        _: ExecutionId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::io::Result<(Vec<LogLine>, u64)>> {
        let last = after.max(3.min(after + limit as u64));
        let line = |number: u64| LogLine {
            time: Timestamp::UNIX_EPOCH,
            step: Name::new("load").unwrap(),
            plugin: Name::new("tap").unwrap(),
            stream: LogStream::Stderr,
            text: format!("line {number}"),
        };
        Box::pin(async move { Ok(((after + 1..=last).map(line).collect(), last)) })
    }
}

struct World {
    gateway: Gateway,
    node: Node,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
    body: Value,
}

impl World {
    /// With a plugin `tap` and a pipeline `p` of one step `load`, a draft.
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let (clock, ids) = (Arc::new(System), Arc::new(System));
        let integrity = integrity_ports(Arc::clone(&store) as _);
        let snapshots = Arc::new(MemorySnapshots::default());
        let subscriptions = Arc::new(MemorySubscriptions::new(Arc::new(System)));
        let (host, logs) = (Arc::new(Host), Arc::new(Logs));
        let read_models = Arc::new(MemoryReadModels::default());
        let policy = Arc::default();
        let uptime = Arc::new(RunningTime::default());
        let cluster = ClusterPorts::alone(Arc::clone(&store) as _, Uuid::nil(), uptime);
        let ports = Ports {
            store,
            read_models,
            snapshots,
            subscriptions,
            host,
            logs,
            policy,
            integrity,
            clock,
            ids,
            cluster,
        };
        let node = Node::start("n1", ports).await.unwrap();
        let shutdown = CancellationToken::new();
        let gateway = Gateway::new(node.api(), super::service::tests::anybody(), DEADLINE, shutdown.clone());
        let world = Self { gateway, node, shutdown };
        assert_eq!(world.post("/plugins", tap("tap")).await.status, 201);
        world
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{BASE}{path}"));
        for (name, value) in
            [("host", "localhost"), ("content-type", "application/json")].iter().chain(headers)
        {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let answer = async {
            let (parts, body) = self.gateway.handle(request, Ipv4Addr::LOCALHOST.into()).await.into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        };
        let (parts, body) = tokio::time::timeout(DEADLINE, answer).await.expect("an answer in time");
        let text = String::from_utf8(body.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Reply { status: parts.status.as_u16(), headers: parts.headers, text, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    /// A list that reflects everything acknowledged so far; `path` has a query.
    async fn list(&self, path: &str) -> Reply {
        let position = self.get("/status").await.body["metrics"]["position"].as_u64().unwrap();
        self.get(&format!("{path}&min_position={position}")).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask("POST", path, &[], &body.to_string()).await
    }

    async fn post_bare(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask("POST", path, headers, "").await
    }

    /// Creates the pipeline `p` and starts it.
    async fn start(&self, config: Value) -> String {
        let created = self.post("/pipelines", pipeline(config)).await;
        assert_eq!(created.status, 201, "{created:?}");
        let started = self.post("/pipelines/p/execute", json!({})).await;
        assert_eq!(started.status, 202, "{started:?}");
        started.body["execution_id"].as_str().unwrap().to_owned()
    }

    /// Waits until an execution shows `status`.
    async fn until(&self, id: &str, status: &str) -> Reply {
        let poll = async {
            loop {
                let reply = self.get(&format!("/executions/{id}")).await;
                if reply.body["status"] == status {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, poll).await.expect("the status in time")
    }
}

fn tap(name: &str) -> Value {
    json!({"name": name, "version": "1.0.0", "type": "processor", "protocol": "command", "command": ["true"]})
}

fn pipeline(config: Value) -> Value {
    json!({"name": "p", "steps": [{"name": "load", "plugin": "tap", "config": config}]})
}

#[tokio::test]
async fn a_pipeline_is_created_revised_run_and_archived() {
    let world = World::new().await;
    assert_eq!(
        world.post("/pipelines?dry_run=true", pipeline(json!({}))).await.body,
        json!({"action": "create"})
    );
    let created = world.post("/pipelines", pipeline(json!({}))).await;
    assert_eq!(
        (created.status, created.headers["location"].to_str().unwrap()),
        (201, "/api/v1/flexcore/pipelines/p")
    );
    assert_eq!(created.body["status"], "draft");
    let first = created.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(world.post("/pipelines", pipeline(json!({}))).await.status, 409);
    let revised = pipeline(json!({"a": 1})).to_string();
    let put = world.ask("PUT", "/pipelines/p", &[("if-match", &first)], &revised).await;
    assert_eq!((put.status, &put.body["revision"]), (200, &json!(2)), "{put:?}");
    assert_eq!(world.ask("PUT", "/pipelines/p", &[("if-match", &first)], &revised).await.status, 412);
    let unnamed = json!({"steps": [{"name": "load", "plugin": "tap"}]}).to_string();
    assert_eq!(world.ask("PUT", "/pipelines/q", &[], &unnamed).await.status, 404);
    assert_eq!(world.get("/pipelines/p/revisions").await.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(world.post_bare("/pipelines/p/activate", &[]).await.body["events_generated"], 1);
    let again = world.post_bare("/pipelines/p/activate", &[]).await;
    assert_eq!((again.status, &again.body["events_generated"]), (200, &json!(0)));
    assert_eq!(world.list("/pipelines?limit=1").await.body["items"][0]["name"], "p");
    let archived = world.ask("DELETE", "/pipelines/p", &[], "").await;
    assert_eq!((archived.status, &archived.body["status"]), (200, &json!("archived")));
    assert_eq!(world.post("/pipelines/p/execute", json!({})).await.status, 409);
}

#[tokio::test]
async fn a_repeated_start_is_one_execution() {
    let world = World::new().await;
    world.post("/pipelines", pipeline(json!({}))).await;
    let key = [("idempotency-key", "nightly-1")];
    let first = world.post_bare("/pipelines/p/execute", &key).await;
    assert_eq!((first.status, &first.body["pipeline_id"]), (202, &json!("p")), "{first:?}");
    let second = world.post_bare("/pipelines/p/execute", &key).await;
    assert_eq!(second.body["execution_id"], first.body["execution_id"]);
    assert_eq!(second.headers["location"], first.headers["location"]);
    let other = world.ask("POST", "/pipelines/p/execute", &key, "{\"from_scratch\": true}").await;
    assert_eq!(other.status, 422, "{other:?}");
    assert_eq!(world.list("/executions?pipeline=p").await.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_execution_shows_its_history() {
    let world = World::new().await;
    let id = world.start(json!({})).await;
    let done = world.until(&id, "completed").await;
    assert!(done.headers.contains_key("etag"));
    let events = world.get(&format!("/executions/{id}/events")).await;
    let kinds: Vec<_> = events.body["items"].as_array().unwrap().iter().map(|e| e["type"].clone()).collect();
    assert_eq!(
        (kinds.first(), kinds.last()),
        (Some(&json!("ExecutionQueued")), Some(&json!("ExecutionCompleted")))
    );
    assert_eq!(world.get(&format!("/executions/{id}/timeline")).await.body["items"][0]["step"], "load");
    let filtered =
        world.get(&format!("/events?aggregate_id=execution-{id}&event_type=ExecutionCompleted")).await;
    assert_eq!(filtered.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(filtered.body["items"][0]["metadata"]["node"], "n1");
    let unknown = "0198c0de-0000-7000-8000-000000000001";
    for path in ["", "/events", "/timeline", "/logs"] {
        assert_eq!(world.get(&format!("/executions/{unknown}{path}")).await.status, 404, "{path}");
    }
    assert_eq!(world.post_bare(&format!("/executions/{id}/cancel"), &[]).await.status, 409);
}

#[tokio::test]
async fn logs_are_text_lines_or_a_stream() {
    let world = World::new().await;
    let id = world.start(json!({})).await;
    let text = world.get(&format!("/executions/{id}/logs")).await;
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text.text.lines().next(), Some("1970-01-01T00:00:00Z load/tap stderr line 1"));
    let path = format!("/executions/{id}/logs?after=2");
    let lines = world.ask("GET", &path, &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lines.body["text"], "line 3");
    let events = world.get(&format!("/executions/{id}/logs?follow=true")).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert!(
        events.text.starts_with("id: 1\ndata: {") && events.text.contains("\nid: 3\n"),
        "{}",
        events.text
    );
    assert!(events.text.ends_with("event: end\ndata: {\"status\":\"completed\"}\n\n"), "{}", events.text);
}

#[tokio::test]
async fn a_plugin_alone_answers_with_its_result_or_its_execution() {
    let world = World::new().await;
    let body =
        json!({"operation": "greet", "parameters": {"timeout_seconds": 15}, "metadata": {"for": "me"}});
    let done = world.post("/plugins/tap/execute", body).await;
    assert_eq!((done.status, &done.body["status"]), (200, &json!("completed")), "{done:?}");
    assert_eq!(done.body["result"]["operation"], "greet");
    assert_eq!(done.body["usage"]["peak_memory_bytes"], 1 << 20);
    let hanging = json!({"config": {"hang": true}, "parameters": {"timeout_seconds": 0.01}});
    let late = world.post("/plugins/tap/execute", hanging).await;
    assert_eq!(late.status, 202, "{late:?}");
    let id = late.body["execution_id"].as_str().unwrap();
    let cancelled = world.post_bare(&format!("/executions/{id}/cancel"), &[]).await;
    assert_eq!((cancelled.status, &cancelled.body["cancel_requested"]), (202, &json!(true)), "{cancelled:?}");
    world.until(id, "cancelled").await;
    let early = world.post_bare("/plugins/tap/execute", &[("prefer", "respond-async")]).await;
    assert_eq!((early.status, early.headers["preference-applied"].to_str().unwrap()), (202, "respond-async"));
    assert_eq!(world.post("/plugins/none/execute", json!({})).await.status, 404);
    assert_eq!(world.get("/plugins/tap/status").await.body["status"], "enabled");
}

#[tokio::test]
async fn bookmarks_are_read_set_and_cleared() {
    let world = World::new().await;
    let id = world.start(json!({})).await;
    world.until(&id, "completed").await;
    // the pipeline learns of the end a little later than the execution, and holds the bookmark until then
    let set = async {
        loop {
            let set = world.ask("PUT", "/pipelines/p/bookmarks/load", &[], "{\"state\": {\"n\": 7}}").await;
            if set.status != 409 {
                return set;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let set = tokio::time::timeout(DEADLINE, set).await.expect("the bookmark is released in time");
    assert_eq!((set.status, &set.body["state"]), (200, &json!({"n": 7})), "{set:?}");
    assert_eq!(world.get("/pipelines/p/bookmarks").await.body["items"][0]["step"], "load");
    assert_eq!(world.ask("DELETE", "/pipelines/p/bookmarks/load", &[], "").await.status, 200);
    assert_eq!(world.get("/pipelines/p/bookmarks").await.body["items"], json!([]));
    assert_eq!(world.ask("PUT", "/pipelines/p/bookmarks/load", &[], "{}").await.status, 422);
}

#[tokio::test]
async fn commands_and_queries_speak_of_aggregates() {
    let world = World::new().await;
    let id = "0198c0de-0000-7000-8000-000000000001";
    let create = json!({"command_type": "CreatePipeline", "command_id": id, "payload": pipeline(json!({})),
                        "metadata": {"correlation_id": "release-7"}});
    let created = world.post("/commands", create.clone()).await;
    assert_eq!((created.status, &created.body["status"]), (200, &json!("completed")), "{created:?}");
    assert_eq!(
        (&created.body["command_id"], &created.body["result"]["aggregate_id"]),
        (&json!(id), &json!("p"))
    );
    assert_eq!(created.headers["x-correlation-id"], "release-7");
    assert_eq!(world.post("/commands", create).await.body, created.body);
    let ask = |kind: &str, parameters: Value| json!({"query_type": kind, "parameters": parameters});
    let status = world.post("/queries", ask("GetPipelineStatus", json!({"name": "p"}))).await;
    assert_eq!(status.body["result"]["status"], "draft");
    world.list("/plugins?limit=1").await;
    let plugins = world.post("/queries", ask("ListActivePlugins", json!({}))).await;
    assert_eq!(plugins.body["result"]["items"][0]["name"], "tap");
    let history =
        world.post("/queries", ask("GetExecutionHistory", json!({"pipeline": "p", "limit": 5}))).await;
    assert_eq!(history.body["result"]["items"], json!([]));
    assert!(
        world.post("/queries", ask("GetSystemMetrics", json!({}))).await.body["result"]["actors"].is_u64()
    );
    assert_eq!(world.post("/queries", ask("GetPipelineStatus", json!({"name": "q"}))).await.status, 404);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_field_and_cure() {
    let world = World::new().await;
    let refused = world.post("/pipelines", json!({"name": "p", "stepz": []})).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("did you mean \\\"steps\\\"?"), "{}", refused.text);
    let malformed = world.ask("POST", "/pipelines", &[], "{\"name\": \"p\",\n}").await;
    assert_eq!(malformed.status, 400);
    assert!(malformed.body["detail"].as_str().unwrap().contains("line 2 column 1"), "{malformed:?}");
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(world.ask("POST", "/pipelines", &[], &large).await.status, 413);
    let both = world.post("/plugins", json!({"kind": "Pipeline", "name": "x"})).await;
    assert_eq!((both.status, &both.body["errors"][0]["field"]), (422, &json!("kind")));
}

#[tokio::test]
async fn operators_see_the_actors() {
    let world = World::new().await;
    let tree = world.get("/inspect/actors").await;
    assert!(!tree.body["children"].as_array().unwrap().is_empty());
    let top = world.get("/inspect/actors/top?by=busy&limit=2").await;
    assert_eq!(top.body["items"].as_array().unwrap().len(), 2);
    let plugin = world.get("/inspect/aggregates/plugin-tap").await;
    assert_eq!((plugin.status, &plugin.body["in_memory"]), (200, &json!(true)));
    assert_eq!(world.get("/inspect/aggregates/plugin-none").await.status, 404);
    assert_eq!(world.get("/inspect/quarantine").await.body["items"], json!([]));
    let position = world.list("/plugins?limit=1").await.body["position"].as_u64().unwrap();
    assert_eq!(world.get(&format!("/plugins?min_position={position}")).await.status, 200);
    assert_eq!(world.get("/status").await.body["dependencies"]["event_store"]["status"], "up");
}

#[tokio::test]
async fn read_models_are_shown_and_rebuilt() {
    let world = World::new().await;
    let shown = world.get("/projections").await;
    let names: Vec<_> = shown.body["items"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["pipelines", "plugins", "executions", "metrics", "audit"]);
    assert_eq!(world.list("/plugins?limit=9").await.body["items"].as_array().unwrap().len(), 1);
    let begun = world.post_bare("/projections/plugins/rebuild", &[]).await;
    assert_eq!((begun.status, &begun.body["status"]), (202, &json!("rebuilding")), "{begun:?}");
    let generation = begun.body["generation"].as_u64().unwrap();
    let replaced = async {
        while world.get("/projections").await.body["items"][1]["generation"].as_u64() == Some(generation) {
            assert_eq!(world.get("/plugins").await.body["items"].as_array().unwrap().len(), 1);
            tokio::time::sleep(Duration::from_millis(10)).await; // nothing here waits: who rebuilds needs the thread
        }
    };
    tokio::time::timeout(DEADLINE, replaced).await.expect("rebuilt in time");
    assert_eq!(world.get("/plugins").await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(world.post_bare("/projections/none/rebuild", &[]).await.status, 404);
    let parked = world.get("/projections/plugins/parked?limit=5").await;
    assert_eq!((parked.status, &parked.body["items"]), (200, &json!([])), "{parked:?}");
    assert_eq!(world.get("/projections/none/parked").await.status, 404);
    assert_eq!(world.get("/status").await.body["projections"][1]["name"], "plugins");
}

#[tokio::test]
async fn who_asked_for_what_is_audited_also_when_it_was_refused() {
    let world = World::new().await;
    world.post("/pipelines", pipeline(json!({}))).await;
    assert_eq!(world.post("/pipelines", pipeline(json!({}))).await.status, 409);
    assert_eq!(world.get("/pipelines/none").await.status, 404, "only looked, so no refusal of a change");
    let recorded = async {
        loop {
            let refused = world.get("/audit?outcome=refused").await;
            assert_eq!(refused.status, 200, "{refused:?}");
            if let Some(first) = refused.body["items"].as_array().unwrap().first() {
                return first.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = tokio::time::timeout(DEADLINE, recorded).await.expect("recorded in time");
    assert_eq!(refused["action"], format!("POST {BASE}/pipelines"));
    assert_eq!((&refused["status"], &refused["count"]), (&json!(409), &json!(1)));
    assert_eq!(
        (&refused["actor"], &refused["address"]),
        (&json!("anonymous@127.0.0.1"), &json!("127.0.0.1"))
    );
    let accepted = world.list("/audit?outcome=accepted").await;
    let accepted: Vec<_> =
        accepted.body["items"].as_array().unwrap().iter().map(|item| &item["action"]).collect();
    assert_eq!(accepted, ["CreatePipeline", "RegisterPlugin"], "newest first");
    let everything = world.list("/audit?actor=anonymous%40127.0.0.1").await;
    assert_eq!(everything.body["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_was_accepted_and_changed_nothing_is_audited() {
    let world = World::new().await;
    for _ in 0..2 {
        assert_eq!(world.post_bare("/plugins/tap/enable", &[]).await.status, 200);
    }
    assert_eq!(world.post_bare("/projections/metrics/rebuild", &[]).await.status, 202);
    world.post("/queries", json!({"query_type": "ListActivePlugins"})).await;
    let recorded = async {
        loop {
            let answer = world.get("/audit?outcome=accepted").await;
            let items = answer.body["items"].as_array().unwrap();
            let told: Vec<Value> = items.iter().filter(|item| item["events"] == json!([])).cloned().collect();
            if told.iter().map(|item| item["count"].as_u64().unwrap()).sum::<u64>() == 3 {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(DEADLINE, recorded).await.expect("recorded in time");
    let (enabled, rebuilt): (Vec<_>, Vec<_>) = told.iter().partition(|item| item["action"] == "EnablePlugin");
    assert!(!enabled.is_empty(), "{told:?}");
    for item in enabled {
        assert_eq!(item["aggregate_id"], "plugin-tap");
        assert_eq!((&item["actor"], &item["address"]), (&json!("anonymous@127.0.0.1"), &json!("127.0.0.1")));
        assert_eq!((&item["outcome"], &item["status"]), (&json!("accepted"), &json!(200)));
    }
    let rebuilt: Vec<_> = rebuilt.iter().map(|item| (&item["action"], &item["status"])).collect();
    let action = json!(format!("POST {BASE}/projections/metrics/rebuild"));
    assert_eq!(rebuilt, [(&action, &json!(202))]);
}

#[tokio::test]
async fn system_metrics_come_by_hour_and_day() {
    let world = World::new().await;
    let id = world.start(json!({})).await;
    world.until(&id, "completed").await;
    world.list("/executions?limit=1").await;
    let ask = json!({"query_type": "GetSystemMetrics"});
    let counted = async {
        loop {
            let result = world.post("/queries", ask.clone()).await.body["result"].clone();
            if result["days"][0]["completed"] == 1 {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let result = tokio::time::timeout(DEADLINE, counted).await.expect("counted in time");
    assert!(result["position"].as_u64() > Some(0), "the node's own figures are still there: {result}");
}
