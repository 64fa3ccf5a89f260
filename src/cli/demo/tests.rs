//! The story against a node that answers from a script; the process that is killed is a real one.

use std::process::{Child, Command};

use super::super::testing::{Act, FakeNode, Output, captured};
use super::*;

use Act::Answer;

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn view(status: &str, attempts: Value) -> Act {
    let steps = json!([{"name": "extract-load", "status": "running", "attempts": attempts}]);
    Answer(200, json!({"id": "e1", "status": status, "queued_at": "2026-01-01T00:00:00Z", "steps": steps}))
}

fn first_attempt(pids: &[u32], killed: bool) -> Value {
    let programs: Vec<Value> = pids.iter().map(|pid| json!({"plugin": "x", "pid": pid})).collect();
    let cause = killed.then(|| json!({"kind": "signal", "message": "flexcore-tap-file died of signal 9"}));
    json!({"number": 1, "status": "running", "started_at": "2026-01-01T00:00:00Z", "programs": programs,
        "ended_at": killed.then_some("2026-01-01T00:00:02Z"), "cause": cause})
}

fn second_attempt() -> Value {
    json!({"number": 2, "status": "completed", "started_at": "2026-01-01T00:00:03Z",
        "ended_at": "2026-01-01T00:00:05Z", "records": 1_100})
}

async fn told(home: &Home, ends: u64) -> (Result<(), Failure>, Output, bool) {
    let (mut tap, mut target) = (sleeper(), sleeper());
    let pids = [tap.id(), target.id()];
    let ok = || Answer(200, json!({}));
    let event = |kind: &str| json!({"type": kind, "stream": "execution-e1"});
    let mut stored = vec![event("StepStarted"), event("StepStarted")];
    stored.extend((0..ends).map(|_| event("ExecutionCompleted")));
    let both = json!([first_attempt(&pids, true), second_attempt()]);
    let node = FakeNode::start(vec![
        ("POST /plugins", ok()),
        ("POST /pipelines/seattle-weather/execute", Answer(202, json!({"execution_id": "e1"}))),
        ("POST /pipelines/seattle-weather/activate", ok()),
        ("POST /pipelines", ok()),
        ("GET /pipelines/seattle-weather/bookmarks", Answer(200, json!({"items": []}))),
        (
            "GET /pipelines/seattle-weather/bookmarks",
            Answer(200, json!({"items": [{"state": {"bookmarks": {STREAM: {"line": 401}}}}]})),
        ),
        ("GET /executions/e1", view("running", json!([]))),
        ("GET /executions/e1", view("running", json!([first_attempt(&pids, false)]))),
        ("GET /executions/e1", view("running", json!([first_attempt(&pids, false)]))),
        ("GET /executions/e1", view("running", json!([first_attempt(&pids, true)]))),
        ("GET /executions/e1", view("running", both.clone())),
        ("GET /executions/e1", view("completed", both)),
        ("GET /events", Answer(200, json!({"items": stored, "next_cursor": null}))),
        (
            "POST /integrity/verify",
            Answer(202, json!({"id": "v1", "state": "intact", "events": 3, "sealed": 3})),
        ),
    ])
    .await;
    let (mut terminal, output) = captured();
    let mut story = Story::new(&mut terminal);
    let result = tell(&mut story, home, &format!("http://{}", node.address)).await;
    target.kill().unwrap();
    target.wait().unwrap();
    let only_the_tap = std::os::unix::process::ExitStatusExt::signal(&tap.wait().unwrap()) == Some(9);
    (result, output, only_the_tap)
}

/// Writes the data set's records as the target would, without the last `missing`, and the first ten twice.
fn deliver(home: &Home, missing: usize) {
    let source = std::fs::read_to_string(home.path().join("in/seattle-weather.csv")).unwrap();
    let days: Vec<&str> = source.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    let delivered = days[..days.len() - missing].iter().chain(&days[..10]);
    let text: String = delivered.map(|day| format!("{}\n", json!({"date": day}))).collect();
    std::fs::write(home.out_dir().join("seattle_weather.jsonl"), text).unwrap();
}

#[tokio::test]
async fn the_story_is_told_in_order_and_proved() {
    let home = Home::make(None).unwrap();
    home.write_data_set().unwrap();
    deliver(&home, 0);
    let (result, output, killed) = told(&home, 1).await;
    assert_eq!(result, Ok(()), "{}", output.out());
    assert!(killed, "the tap dies of SIGKILL");
    let out = output.out();
    let lines: Vec<&str> = out.lines().collect();
    let parts = [
        "  1  data set    1,461 days",
        "  2  plugin      flexcore-tap-file",
        "  3  plugin      flexcore-target-file",
        "  4  pipeline    seattle-weather",
        "  5  run         execution e1",
        "  6  programs    ",
        "  7  bookmark    stored: everything up to line 401",
        "  8  kill -9     ",
        "  9  attempt 1   failed, signal: flexcore-tap-file died of signal 9",
        " 10  attempt 2   started",
        " 11  attempt 2   completed: 1,100 records",
        " 12  run         completed",
        " 13  target      1,471 lines, 1,461 distinct records",
        " 14  verified    1,461 records in the source, 1,461 in the target; 10 delivered again",
        " 15  events      3 stored",
    ];
    for (line, part) in lines.iter().zip(parts) {
        assert!(line.starts_with(part), "{part:?}\n{out}");
    }
    assert!(
        out.contains(" 16  intact      every hash of 3 events verified, 3 under a signed checkpoint"),
        "{out}"
    );
    assert!(out.contains("     EVENT TYPE           COUNT\n     ExecutionCompleted       1\n     StepStarted              2\n"), "{out}");
    home.remove().unwrap();
}

#[tokio::test]
async fn a_lost_record_is_a_failure() {
    let home = Home::make(None).unwrap();
    home.write_data_set().unwrap();
    deliver(&home, 1);
    let (result, _, _) = told(&home, 1).await;
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.exit, failure.message.as_str()),
        (Exit::Failed, "the source has 1461 records, the target 1460 distinct ones")
    );
    home.remove().unwrap();
}

#[tokio::test]
async fn an_execution_that_ends_twice_is_a_failure() {
    let home = Home::make(None).unwrap();
    home.write_data_set().unwrap();
    deliver(&home, 0);
    let (result, _, _) = told(&home, 2).await;
    assert!(result.unwrap_err().message.contains("must end exactly once"));
    home.remove().unwrap();
}

#[test]
fn a_bookmark_is_told_by_its_line() {
    let state = json!({"bookmarks": {STREAM: {"files": {"a.csv": {"line": 1_201, "bytes": 9}}}}});
    assert!(describe_bookmark(&state).contains("line 1,201"));
    assert!(describe_bookmark(&json!({"x": 1})).contains("durable"));
}
