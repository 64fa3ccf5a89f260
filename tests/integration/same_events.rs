//! The store is a detail: the same pipelines on PostgreSQL and on SQLite leave the same events. What differs from
//! run to run anyway (ids, times, process ids, what was used) is replaced by what it is.

use std::collections::BTreeMap;

use flexcore_test_support::{Node, TestDatabase};
use serde_json::{Map, Value, json};

use crate::world::{World, items, pipe_step, text};

/// What measures the run rather than tells what happened.
const MEASURED: [&str; 6] = ["wall_ms", "cpu_ms", "peak_memory_bytes", "upstream_ms", "downstream_ms", "pid"];

#[tokio::test]
async fn the_same_pipelines_leave_the_same_events_on_both_stores() {
    let database = TestDatabase::create().await;
    let builder = Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_NODE_NAME", "n1");
    let sqlite = history(builder).await;
    let builder = Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_NODE_NAME", "n1");
    let postgres = history(builder.env("FLEXCORE_DATABASE_URL", database.url())).await;

    assert!(sqlite.len() > 60, "only {} events: the story is not told", sqlite.len());
    for (n, (left, right)) in sqlite.iter().zip(&postgres).enumerate() {
        assert_eq!(left, right, "event {n} differs (SQLite left, PostgreSQL right)");
    }
    assert_eq!(sqlite.len(), postgres.len());
    let rows = database.connect().await.query_one("SELECT count(*) FROM event", &[]).await;
    assert!(rows.is_ok_and(|row| row.get::<_, i64>(0) > 60), "it was PostgreSQL that kept them");
}

/// Runs the pipelines one after the other and returns all events of all streams, normalised.
async fn history(builder: flexcore_test_support::NodeBuilder) -> Vec<Value> {
    let world = World::with(builder.start().await).await;
    // several steps of which one resumes; a failure with what it skips; a retry from a bookmark; a cancel
    let after = |step: Value, after: &str| {
        let mut step = step;
        step["depends_on"] = json!([after]);
        step
    };
    let work = |name: &str, code: u8| json!({"name": name, "plugin": "work", "parameters": {"exit_code": code}, "retry": {"attempts": 1}});
    world
        .define(
            "several",
            &json!([
                pipe_step("load", "tap", json!({"records": 250, "state_every": 250})),
                after(work("then", 0), "load"),
            ]),
        )
        .await;
    world.define("failing", &json!([work("breaks", 4), after(work("skipped", 0), "breaks"),])).await;
    let marker = world.node.folder().join("marker");
    let mut retried = pipe_step(
        "load",
        "tap",
        json!({"records": 100, "state_every": 100, "crash_after": 0, "once_marker": marker}),
    );
    retried["retry"] = json!({"attempts": 2, "initial": "10ms", "jitter": 0});
    world.define("retried", &json!([retried])).await;
    world.define("cancelled", &json!([pipe_step("load", "tap", json!({"hang_after": 0}))])).await;
    for pipeline in ["several", "several", "failing", "retried"] {
        let id = world.launch(pipeline).await;
        world.ended(&id).await;
        settled(&world, pipeline).await;
    }
    let id = world.launch("cancelled").await;
    // the schema has been relayed: otherwise its bytes are counted on one store and not on the other
    let relayed = |e: &Value| e["steps"][0]["attempts"][0]["bytes"].as_u64().is_some_and(|bytes| bytes > 0);
    world.until(&id, "relays", relayed).await;
    world.post(&format!("/executions/{id}/cancel"), &json!({})).await.expect(202);
    world.ended(&id).await;
    settled(&world, "cancelled").await;

    let list = world.get("/events?limit=1000").await.expect(200).json;
    assert!(list["next_cursor"].is_null(), "the story fits in one page");
    normalised(&world, items(&list))
}

/// The pipeline records the end of its execution a moment later; the next one must not begin before.
async fn settled(world: &World, pipeline: &str) {
    let stream = format!("/events?aggregate_id=pipeline-{pipeline}&limit=1000");
    flexcore_test_support::wait_for(
        "the pipeline has seen its execution end",
        crate::world::DEADLINE,
        async || {
            let events = world.get(&stream).await.expect(200).json;
            let count = |kind: &str| items(&events).iter().filter(|event| event["type"] == kind).count();
            let (started, completed) = (count("PipelineStarted"), count("PipelineCompleted"));
            if started == completed { Ok(()) } else { Err((started, completed)) }
        },
    )
    .await;
}

/// Events by stream, streams by their first event: streams of one step advance beside each other, so only the order
/// within each is the same every time.
fn normalised(world: &World, events: &[Value]) -> Vec<Value> {
    let mut ids = BTreeMap::new();
    let folder = world.node.folder().to_string_lossy().into_owned();
    let mut streams: Vec<(String, Vec<Value>)> = Vec::new();
    for event in events {
        let clean = clean(event, &mut ids, &folder);
        let stream = text(&clean["stream"]);
        match streams.iter_mut().find(|(name, _)| *name == stream) {
            Some((_, list)) => list.push(clean),
            None => streams.push((stream, vec![clean])),
        }
    }
    streams.sort_by(|(a, _), (b, _)| a.cmp(b));
    streams.into_iter().flat_map(|(_, list)| list).collect()
}

fn clean(event: &Value, ids: &mut BTreeMap<String, String>, folder: &str) -> Value {
    let stream = replaced(&event["stream"], ids, folder);
    json!({
        "stream": stream,
        "version": event["version"],
        "type": event["type"],
        "schema_version": event["schema_version"],
        "data": replaced(&event["data"], ids, folder),
        "actor": event["metadata"]["actor"],
        "node": event["metadata"]["node"],
    })
}

/// The same value with ids numbered in order of appearance, and times, measures and the node's folder named.
fn replaced(value: &Value, ids: &mut BTreeMap<String, String>, folder: &str) -> Value {
    match value {
        Value::String(text) => Value::String(replaced_text(text, ids, folder)),
        Value::Array(list) => list.iter().map(|item| replaced(item, ids, folder)).collect(),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let measured = MEASURED.contains(&key.as_str()) && value.is_number();
                let value = if measured { json!(format!("<{key}>")) } else { replaced(value, ids, folder) };
                (key.clone(), value)
            };
            Value::Object(map.iter().map(entry).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn replaced_text(text: &str, ids: &mut BTreeMap<String, String>, folder: &str) -> String {
    if looks_like_a_time(text) {
        return "<time>".to_owned();
    }
    let text = text.replace(folder, "<folder>");
    let (prefix, id) = text.strip_prefix("execution-").map_or(("", text.as_str()), |id| ("execution-", id));
    if !looks_like_an_id(id) {
        return text;
    }
    let next = format!("<id {}>", ids.len());
    format!("{prefix}{}", ids.entry(id.to_owned()).or_insert(next))
}

fn looks_like_an_id(text: &str) -> bool {
    text.len() == 36
        && text
            .char_indices()
            .all(|(n, c)| if [8, 13, 18, 23].contains(&n) { c == '-' } else { c.is_ascii_hexdigit() })
}

fn looks_like_a_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && text.ends_with('Z') && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':'
}
