//! The same mistakes over HTTP: a problem document that names every field, and nothing is done.

use http::Method;
use serde_json::{Value, json};

use flexcore_test_support::Reply;

use crate::world::{API, World, items};

/// What every problem document has.
#[track_caller]
fn problem(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{}", reply.text);
    let document = &reply.json;
    assert_eq!(document["type"], format!("urn:flexcore:problem:{kind}"), "{document:#}");
    assert_eq!(document["status"], status, "{document:#}");
    for key in ["title", "detail", "instance", "correlation_id"] {
        assert!(document[key].as_str().is_some_and(|text| !text.is_empty()), "no {key}: {document:#}");
    }
    assert_eq!(document["correlation_id"].as_str(), reply.header("x-correlation-id"));
}

/// The fields that a validation problem names, with what is said about each.
fn fields(reply: &Reply) -> Vec<(&str, &str)> {
    let errors = reply.json["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().map(|e| (e["field"].as_str().unwrap(), e["message"].as_str().unwrap())).collect()
}

fn pipeline(steps: Value) -> Value {
    json!({"name": "p", "steps": steps})
}

#[tokio::test]
async fn definitions_that_are_wrong_are_refused_with_their_fields() {
    let world = World::start().await;
    let step = |name: &str, after: &str| json!({"name": name, "plugin": "work", "depends_on": [after]});
    for (body, field, part) in [
        (pipeline(json!([step("a", "b"), step("b", "a")])), "steps", "a cycle: a → b → a"),
        (pipeline(json!([{"name": "a", "plugin": "wrok"}])), "steps[0].plugin", "did you mean \"work\"?"),
        (
            pipeline(json!([{"name": "a", "plugin": "work", "timout": "1s"}])),
            "steps[0].timout",
            "did you mean \"timeout\"?",
        ),
        (
            pipeline(json!([{"name": "a", "plugin": "work", "timeout": "soon"}])),
            "steps[0].timeout",
            "is not a duration",
        ),
        (
            pipeline(json!([{"name": "a", "pipe": [{"plugin": "target"}, {"plugin": "tap"}]}])),
            "steps[0].pipe[0].plugin",
            "ends a pipe",
        ),
        (
            pipeline(json!([{"name": "a", "plugin": "work"}, {"name": "a", "plugin": "work"}])),
            "steps[1].name",
            "duplicate step name",
        ),
        (
            pipeline(json!([{"name": "a", "plugin": "work", "config": {"x": "${param.day}"}}])),
            "steps[0].config.x",
            "day",
        ),
        (pipeline(json!([])), "steps", "required"),
    ] {
        let reply = world.post("/pipelines", &body).await;
        problem(&reply, 422, "validation");
        let found = fields(&reply);
        assert!(found.iter().any(|(f, m)| *f == field && m.contains(part)), "{field}: {part}: {found:?}");
    }
    assert_eq!(items(&world.get("/pipelines").await.json).len(), 0);
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let world = World::start().await;
    let body = pipeline(json!([{"name": "a", "plugin": "work"}]));
    world.post("/pipelines", &body).await.expect(201);
    problem(&world.post("/pipelines", &body).await, 409, "conflict");
    world.client.delete(&format!("{API}/pipelines/p")).await.expect(200);
    let again = world.post("/pipelines", &body).await;
    problem(&again, 409, "conflict");
    assert!(again.text.contains("archived"), "an archived name stays reserved: {}", again.text);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let world = World::start().await;
    let path = format!("{API}/pipelines");
    let send = async |content_type: Option<&str>, body: Vec<u8>| {
        world.client.request(Method::POST, &path, content_type, body).await.unwrap()
    };
    let json_type = Some("application/json");
    let malformed = send(json_type, b"{\"name\": \"p\",\n \"steps\": }".to_vec()).await;
    problem(&malformed, 400, "malformed");
    assert!(malformed.text.contains("line 2 column 11"), "{}", malformed.text);
    problem(&send(json_type, Vec::new()).await, 400, "malformed");
    problem(&send(json_type, b"[1]".to_vec()).await, 422, "validation");
    problem(&send(Some("text/yaml"), b"name: p".to_vec()).await, 415, "unsupported-type");
    problem(&send(json_type, vec![b' '; 2 << 20]).await, 413, "body-too-large");
    // what is just within the limit is read, and found wanting
    problem(&send(json_type, vec![b' '; (1 << 20) - 1]).await, 400, "malformed");
    let deep = "[".repeat(100_000);
    problem(&send(json_type, deep.into_bytes()).await, 400, "malformed");
    assert_eq!(world.client.get("/health").await.status, 200, "and the node goes on");
}

#[tokio::test]
async fn queries_and_headers_that_cannot_be_read_are_refused() {
    let world = World::start().await;
    for path in [
        "/executions?limt=3",
        "/executions?limit=1001",
        "/executions?limit=0",
        "/executions?status=done",
        "/executions?from=yesterday",
        "/executions?cursor=junk",
        "/events?after=x",
        "/pipelines?cursor=..%2F",
    ] {
        problem(&world.get(path).await, 400, "malformed");
    }
    let reply = world.get("/executions?limt=3").await;
    assert!(reply.text.contains("did you mean \\\"limit\\\"?"), "{}", reply.text);
    let client = world.client.clone().with_header("if-match", "seven");
    problem(&client.delete(&format!("{API}/plugins/work")).await, 400, "malformed");
    let stranger = world.client.clone().with_header("origin", "https://evil.example");
    problem(&stranger.post(&format!("{API}/pipelines"), &json!({})).await, 403, "forbidden");
    problem(&world.client.clone().with_header("host", "evil.example").get("/health").await, 403, "forbidden");
}
