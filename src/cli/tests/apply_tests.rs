//! `apply` against a scripted node.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::failure::Exit;
use super::super::testing::{Act, FakeNode};
use super::flexcore;

use Act::Answer;

/// A file with a pipeline first and the plugin it needs second.
fn definitions() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("defs.yaml");
    let text = "kind: Pipeline\nname: p\nsteps:\n  - name: s\n    plugin: new-tap\n    retry:\n      attempts: 0\n---\nkind: Plugin\nname: new-tap\n";
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn problems(errors: &[(&str, &str)]) -> Act {
    let errors: Vec<Value> =
        errors.iter().map(|(field, message)| json!({"field": field, "message": message})).collect();
    Answer(422, json!({"title": "invalid", "errors": errors}))
}

#[tokio::test]
async fn apply_shows_every_problem_where_it_was_written_and_does_nothing() {
    let node = FakeNode::start(vec![
        ("POST /plugins?dry_run=true", problems(&[("version", "version is required")])),
        (
            "POST /pipelines?dry_run=true",
            problems(&[("steps[0].retry.attempts", "expected at least 1"), ("schedle", "unknown key")]),
        ),
        ("GET /pipelines/p", Answer(404, json!({}))),
        ("GET /plugins/new-tap", Answer(404, json!({}))),
    ])
    .await;
    let (dir, path) = definitions();
    let (result, _) = flexcore(&node, &["apply", "-f", path.to_str().unwrap()]).await;
    let failure = result.unwrap_err();
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, "3 problems, nothing was applied"));
    let shown: Vec<String> =
        failure.details.iter().map(|line| line.replace(&format!("{}/", dir.path().display()), "")).collect();
    assert_eq!(
        shown,
        [
            "defs.yaml:9:1: version: version is required",
            "defs.yaml:1:1: schedle: unknown key",
            "defs.yaml:7:7: steps[0].retry.attempts: expected at least 1",
        ]
    );
    assert!(node.seen_words().iter().all(|what| what.contains("dry_run") || what.starts_with("GET")));
}

#[tokio::test]
async fn apply_creates_plugins_first_and_activates_what_it_creates() {
    let node = FakeNode::start(vec![
        ("POST /plugins?dry_run=true", Answer(200, json!({"action": "create"}))),
        // the node cannot know yet that the same file brings the plugin
        ("POST /pipelines?dry_run=true", problems(&[("steps[0].plugin", "unknown plugin \"new-tap\"")])),
        ("POST /plugins", Answer(201, json!({}))),
        ("POST /pipelines/p/activate", Answer(200, json!({}))),
        ("POST /pipelines", Answer(201, json!({}))),
        ("GET /plugins/new-tap", Answer(200, json!({"status": "enabled"}))),
        ("GET /pipelines/p", Answer(404, json!({}))),
        ("GET /pipelines/p", Answer(200, json!({"status": "draft"}))),
    ])
    .await;
    let (_dir, path) = definitions();
    let (result, output) = flexcore(&node, &["apply", "-f", path.to_str().unwrap()]).await;
    assert_eq!(result, Ok(()), "{}", output.err());
    let words: Vec<Vec<String>> =
        output.out().lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert_eq!(words, [["plugin", "new-tap", "created"], ["pipeline", "p", "created"]]);
    let changes: Vec<String> = node
        .seen_words()
        .into_iter()
        .filter(|what| !what.starts_with("GET") && !what.contains("dry_run"))
        .collect();
    assert_eq!(changes, ["POST /plugins", "POST /pipelines", "POST /pipelines/p/activate"]);
}

#[tokio::test]
async fn apply_revises_what_is_there_and_a_dry_run_shows_the_difference() {
    let script = || {
        vec![
            ("POST /plugins?dry_run=true", Answer(200, json!({"action": "unchanged"}))),
            ("POST /pipelines?dry_run=true", Answer(200, json!({"action": "revise"}))),
            ("PUT /pipelines/p", Answer(200, json!({}))),
            ("GET /plugins/new-tap", Answer(200, json!({"status": "disabled"}))),
            (
                "GET /pipelines/p/revisions",
                Answer(
                    200,
                    json!({"items": [{"definition": {"name": "p",
                "steps": [{"name": "s", "plugin": "new-tap", "retry": {"attempts": 3}}]}}]}),
                ),
            ),
            ("GET /pipelines/p", Answer(200, json!({"status": "paused"}))),
        ]
    };
    let (_dir, path) = definitions();
    let node = FakeNode::start(script()).await;
    let (result, output) = flexcore(&node, &["apply", "-f", path.to_str().unwrap()]).await;
    assert_eq!(result, Ok(()));
    assert!(output.out().contains("unchanged") && output.out().contains("revised"), "{}", output.out());
    let changes: Vec<String> = node
        .seen_words()
        .into_iter()
        .filter(|what| !what.starts_with("GET") && !what.contains("dry_run"))
        .collect();
    assert_eq!(changes, ["PUT /pipelines/p"], "what an operator disabled or paused stays so");

    let node = FakeNode::start(script()).await;
    let (result, output) = flexcore(&node, &["apply", "--dry-run", "-f", path.to_str().unwrap()]).await;
    assert_eq!(result, Ok(()));
    assert!(
        output.out().contains("would revise\n    ~ steps[0].retry.attempts: 3 -> 0\n"),
        "{}",
        output.out()
    );
    assert!(node.seen_words().iter().all(|what| what.contains("dry_run") || what.starts_with("GET")));
}

#[tokio::test]
async fn apply_refuses_what_is_no_definition_before_asking() {
    let node = FakeNode::start(vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.yaml");
    for (text, said) in [
        (
            "kind: Pipline\nname: a\n",
            "x.yaml:1:1: kind: \"Pipline\" is not Plugin or Pipeline; did you mean Pipeline?",
        ),
        ("name: a\n", "kind is required"),
        ("kind: Plugin\n", "name is required"),
        (
            "kind: Plugin\nname: a\n---\nkind: Plugin\nname: a\n",
            "x.yaml:5:1: name: the plugin \"a\" is here twice",
        ),
        ("a: 1\na: 2\n", "x.yaml:2:1: the key \"a\" stands here twice"),
        ("# nothing\n", "holds no document"),
    ] {
        std::fs::write(&path, text).unwrap();
        let (result, output) = flexcore(&node, &["apply", "-f", path.to_str().unwrap()]).await;
        assert_eq!(result.unwrap_err().exit, Exit::Usage, "{text}");
        assert!(output.err().contains(said), "{text}: {}", output.err());
    }
    assert_eq!(node.seen(), []);
}
