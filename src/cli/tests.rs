//! Commands against a node that answers from a script: what they ask for, what they print, how they end.

use clap::Parser as _;
use serde_json::{Value, json};

use super::args::{Cli, Command};
use super::client::{Client, escaped};
use super::failure::{Exit, Failure};
use super::refusal::exit_of;
use super::testing::{Act, FakeNode, Output, captured};
use super::{apply, events, executions, pipelines, plugins, run};

mod apply_tests;

use Act::{Answer, Busy, HangUp};

/// Does what `words` say against `node`.
async fn flexcore(node: &FakeNode, words: &[&str]) -> (Result<(), Failure>, Output) {
    let (mut terminal, output) = captured();
    let words: Vec<&str> = std::iter::once("flexcore").chain(words.iter().copied()).collect();
    let client = node.client();
    let t = &mut terminal;
    let result = match Cli::try_parse_from(words).unwrap().command {
        Command::Apply(args) => apply::apply(&client, t, args).await,
        Command::Run(args) => run::run(&client, t, args).await,
        Command::Exec(args) => run::exec(&client, t, args).await,
        Command::Pipelines(command) => pipelines::pipelines(&client, t, command).await,
        Command::Bookmarks(command) => pipelines::bookmarks(&client, t, command).await,
        Command::Plugins(command) => plugins::plugins(&client, t, command).await,
        Command::Executions(command) => executions::executions(&client, t, command).await,
        Command::Events(args) => events::events(&client, t, args).await,
        other => panic!("not a client's command: {other:?}"),
    };
    if let Err(failure) = &result {
        terminal.failure(failure);
    }
    (result, output)
}

fn execution(status: &str) -> Value {
    json!({"id": "e1", "kind": "pipeline", "pipeline": "p", "status": status,
        "queued_at": "2026-01-01T00:00:00Z", "started_at": "2026-01-01T00:00:00Z",
        "ended_at": (status != "running").then_some("2026-01-01T00:00:02Z"),
        "cause": (status == "failed").then(|| json!({"kind": "exit", "message": "tap exited with 3"})),
        "result": (status == "completed").then(|| json!({"rows": 7})),
        "steps": [{"name": "load", "status": status, "attempts": [{"number": 1, "status": status,
            "started_at": "2026-01-01T00:00:00Z", "records": 10, "bytes": 100}]}]})
}

#[test]
fn statuses_become_exit_codes() {
    for (status, exit) in [
        (400, Exit::Usage),
        (422, Exit::Usage),
        (401, Exit::Unauthorised),
        (403, Exit::Unauthorised),
        (404, Exit::NotFound),
        (409, Exit::Conflict),
        (412, Exit::Conflict),
        (429, Exit::Unavailable),
        (503, Exit::Unavailable),
        (500, Exit::Failed),
        (501, Exit::Failed),
    ] {
        assert_eq!(exit_of(status), exit, "{status}");
    }
    let codes =
        [Exit::Failed, Exit::Usage, Exit::NotFound, Exit::Conflict, Exit::Unauthorised, Exit::Unavailable];
    assert_eq!(codes.map(|exit| exit as u8), [1, 2, 3, 4, 5, 6], "the contract's numbers");
}

#[test]
fn what_goes_into_a_path_cannot_leave_it() {
    assert_eq!(escaped("a/b?c&d=é"), "a%2Fb%3Fc%26d%3D%C3%A9");
    assert_eq!(escaped(".."), "%2E%2E");
    assert_eq!(escaped("a.b-c_d~1"), "a.b-c_d~1");
}

#[test]
fn servers_that_cannot_be() {
    for bad in ["localhost:8080", "https://x", "http://", "ftp://x", "http://x/api"] {
        assert_eq!(Client::new(bad, None).err().unwrap().exit, Exit::Usage, "{bad}");
    }
    assert!(Client::new("http://127.0.0.1:1/", None).is_ok());
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unavailable_and_says_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(&format!("http://{free}"), None).unwrap();
    let failure = Failure::from(client.get("/status").await.unwrap_err());
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.message.contains("connection refused"), "{}", failure.message);
    assert!(failure.hint.unwrap().contains("flexcore serve"));
}

#[tokio::test]
async fn a_lost_connection_is_repeated_under_the_same_key() {
    let node = FakeNode::start(vec![
        ("POST /pipelines/p/execute", HangUp),
        ("POST /pipelines/p/execute", Answer(202, json!({"execution_id": "e1"}))),
    ])
    .await;
    let (result, output) = flexcore(&node, &["run", "p", "--no-wait"]).await;
    assert_eq!(result, Ok(()));
    assert_eq!(output.out(), "e1\n");
    let seen = node.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].key.is_some() && seen[0].key == seen[1].key);
    assert_eq!(seen[0].token.as_deref(), Some("Bearer sesame"));
}

#[tokio::test]
async fn run_follows_to_the_end_across_a_node_that_goes_away() {
    let node = FakeNode::start(vec![
        ("GET /pipelines/p", Answer(200, json!({"parameters": {"day": {"type": "string"}}}))),
        ("POST /pipelines/p/execute", Answer(202, json!({"execution_id": "e1"}))),
        ("GET /executions/e1", Answer(200, execution("running"))),
        ("GET /executions/e1", Busy(503)),
        ("GET /executions/e1", Answer(200, execution("completed"))),
    ])
    .await;
    let (result, output) = flexcore(&node, &["run", "p", "--param", "day=1", "--from-scratch"]).await;
    assert_eq!(result, Ok(()));
    assert_eq!(output.out(), "execution e1 completed: 10 records in 2.0s\n");
    let err = output.err();
    for line in ["execution e1 of p", "running", "the node is away", "the node is back", "completed"] {
        assert!(err.contains(line), "{line}: {err}");
    }
    let start = node.seen().into_iter().find(|seen| seen.what.starts_with("POST")).unwrap();
    assert_eq!(start.body, json!({"parameters": {"day": "1"}, "from_scratch": true}));
}

#[tokio::test]
async fn a_failed_run_says_why_and_where_to_look() {
    let node = FakeNode::start(vec![
        ("POST /pipelines/p/execute", Answer(202, json!({"execution_id": "e1"}))),
        ("GET /executions/e1", Answer(200, execution("failed"))),
    ])
    .await;
    let (result, output) = flexcore(&node, &["run", "p"]).await;
    assert_eq!(result.unwrap_err().exit, Exit::Failed);
    assert!(output.err().contains("error: execution e1 failed: exit: tap exited with 3"), "{}", output.err());
    assert!(output.err().contains("flexcore executions logs e1"), "{}", output.err());
}

#[tokio::test]
async fn exec_prints_the_bare_result() {
    let node = FakeNode::start(vec![
        ("POST /plugins/report/execute", Answer(202, json!({"execution_id": "e1"}))),
        ("GET /executions/e1", Answer(200, execution("completed"))),
    ])
    .await;
    let (result, output) = flexcore(&node, &["exec", "report", "--operation", "run", "--param", "n=5"]).await;
    assert_eq!(result, Ok(()));
    assert_eq!(serde_json::from_str::<Value>(&output.out()).unwrap(), json!({"rows": 7}));
    assert_eq!(node.seen()[0].body, json!({"operation": "run", "parameters": {"n": 5}}));
}

#[tokio::test]
async fn refusals_have_their_exit_code_and_a_hint() {
    let problem = |detail: &str| json!({"title": "refused", "detail": detail, "correlation_id": "c1"});
    let node = FakeNode::start(vec![
        ("GET /pipelines/nope", Answer(404, problem("pipeline \"nope\" does not exist"))),
        ("POST /pipelines/p/activate", Answer(409, problem("it is archived"))),
        ("GET /plugins", Answer(401, problem("no token"))),
        ("GET /executions", Busy(503)),
        ("GET /events", Answer(500, problem("internal error"))),
    ])
    .await;
    for (words, exit, said) in [
        (&["pipelines", "show", "nope"][..], Exit::NotFound, "does not exist"),
        (&["pipelines", "activate", "p"], Exit::Conflict, "it is archived"),
        (&["plugins", "list"], Exit::Unauthorised, "FLEXCORE_TOKEN"),
        (&["executions", "list"], Exit::Unavailable, "try again in 7 s"),
        (&["events"], Exit::Failed, "correlation id c1"),
    ] {
        let (result, output) = flexcore(&node, words).await;
        assert_eq!(result.unwrap_err().exit, exit, "{words:?}");
        assert!(output.err().contains(said), "{words:?}: {}", output.err());
        assert_eq!(output.out(), "", "{words:?}");
    }
}

#[tokio::test]
async fn lists_are_tables_or_the_nodes_answer_over_all_pages() {
    let item =
        |name: &str| json!({"name": name, "status": "active", "revision": 2, "steps": [{}], "owner": "o"});
    let node = FakeNode::start(vec![
        (
            "GET /pipelines?limit=100&cursor=n%3D2",
            Answer(200, json!({"items": [item("b")], "next_cursor": null, "position": 9})),
        ),
        (
            "GET /pipelines?limit=",
            Answer(200, json!({"items": [item("a")], "next_cursor": "n=2", "position": 8})),
        ),
    ])
    .await;
    // 99 are still wanted after the first page
    let node2 = FakeNode::start(vec![
        (
            "GET /pipelines?limit=99&cursor=n%3D2",
            Answer(200, json!({"items": [item("b")], "next_cursor": null, "position": 9})),
        ),
        (
            "GET /pipelines?limit=100",
            Answer(200, json!({"items": [item("a")], "next_cursor": "n=2", "position": 8})),
        ),
    ])
    .await;
    let (result, output) = flexcore(&node2, &["pipelines", "list"]).await;
    assert_eq!(result, Ok(()));
    let out = output.out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("NAME   STATUS   REVISION   STEPS   OWNER"), "{out}");
    assert_eq!(lines.len(), 3, "{out}");
    let (_, output) = flexcore(&node, &["pipelines", "list", "--limit", "1", "--output", "json"]).await;
    let answer: Value = serde_json::from_str(&output.out()).unwrap();
    assert_eq!(
        (answer["items"][0]["name"].as_str(), answer["next_cursor"].as_str()),
        (Some("a"), Some("n=2"))
    );
}

#[tokio::test]
async fn events_filter_on_the_node() {
    let event = json!({"position": 8, "timestamp": "T", "stream": "pipeline-p", "version": 1, "type": "PipelineCreated", "data": {}});
    let node =
        FakeNode::start(vec![("GET /events", Answer(200, json!({"items": [event], "next_cursor": null})))])
            .await;
    let (result, output) = flexcore(
        &node,
        &["events", "pipeline-p", "--after", "7", "--type", "PipelineCreated", "--limit", "5"],
    )
    .await;
    assert_eq!(result, Ok(()));
    assert!(output.out().contains("PipelineCreated"));
    assert_eq!(
        node.seen_words(),
        ["GET /events?limit=5&aggregate_id=pipeline-p&event_type=PipelineCreated&cursor=7"]
    );
}

#[tokio::test]
async fn what_is_shown_can_be_of_the_past() {
    let past = json!({"name": "p", "status": "draft", "version": 3, "steps": []});
    let mut ran = execution("running");
    ran["steps"][0]["attempts"][0]["started_at"] = json!("2026-01-01T00:00:05Z");
    let node = FakeNode::start(vec![
        ("GET /pipelines/p?at_version=3", Answer(200, past.clone())),
        ("GET /plugins/p?at=", Answer(200, past)),
        ("GET /executions/e1?at_version=4", Answer(200, ran.clone())),
        ("GET /executions/e1?at=", Answer(200, ran)),
    ])
    .await;
    let (_, output) = flexcore(&node, &["pipelines", "show", "p", "--at-version", "3"]).await;
    assert!(output.out().contains("draft"), "{}", output.out());
    let (result, _) = flexcore(&node, &["plugins", "show", "p", "--at", "2026-01-31T08:00:00+01:00"]).await;
    assert_eq!(result, Ok(()));
    assert_eq!(node.seen_words()[1], "GET /plugins/p?at=2026-01-31T07%3A00%3A00Z");
    // what ran then had run until then, not until today
    for (flag, moment, took) in [("--at-version", "4", "5.0s"), ("--at", "2026-01-01T00:00:09Z", "9.0s")] {
        let (_, output) = flexcore(&node, &["executions", "show", "e1", flag, moment]).await;
        assert!(output.out().contains(&format!("Took:     {took}")), "{}", output.out());
    }
    for wrong in [
        &["--at", "yesterday"][..],
        &["--at-version", "-1"],
        &["--at", "2026-01-31T08:00:00Z", "--at-version", "1"],
    ] {
        let words = [&["flexcore", "pipelines", "show", "p"], wrong].concat();
        assert!(Cli::try_parse_from(words).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_bookmark_is_printed_bare_set_and_cleared() {
    let list = json!({"items": [{"step": "load", "name": "p/load", "state": {"n": 1}, "version": 3}]});
    let node = FakeNode::start(vec![
        ("GET /pipelines/p/bookmarks", Answer(200, list)),
        ("PUT /pipelines/p/bookmarks/load", Answer(200, json!({}))),
        ("DELETE /pipelines/p/bookmarks/load", Answer(200, json!({}))),
    ])
    .await;
    let (_, output) = flexcore(&node, &["bookmarks", "get", "p", "load"]).await;
    assert_eq!(serde_json::from_str::<Value>(&output.out()).unwrap(), json!({"n": 1}));
    let (result, _) = flexcore(&node, &["bookmarks", "get", "p", "other"]).await;
    assert_eq!(result.unwrap_err().exit, Exit::NotFound);
    let (result, _) = flexcore(&node, &["bookmarks", "set", "p", "load", "--state", "{\"n\": 2}"]).await;
    assert_eq!(result, Ok(()));
    let (result, _) = flexcore(&node, &["bookmarks", "set", "p", "load", "--state", "{n"]).await;
    assert_eq!(result.unwrap_err().exit, Exit::Usage);
    let (result, _) = flexcore(&node, &["bookmarks", "clear", "p", "load"]).await;
    assert_eq!(result, Ok(()));
    let put = node.seen().into_iter().find(|seen| seen.what.starts_with("PUT")).unwrap();
    assert_eq!(put.body, json!({"state": {"n": 2}}));
}

#[test]
fn a_closed_output_ends_quietly() {
    let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert_eq!(failure.exit, Exit::OutputClosed);
    let (mut terminal, output) = captured();
    terminal.failure(&failure);
    assert_eq!(output.err(), "");
}

#[test]
fn the_systemd_unit_starts_a_node_with_flags_that_there_are() {
    let unit = include_str!("../../deploy/systemd/flexcore.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let cli = Cli::try_parse_from(start.split_whitespace()).expect("it can be typed");
    let Command::Serve(serve) = cli.command else { panic!("not serve: {start}") };
    assert_eq!(serve.config.config.as_deref(), Some(std::path::Path::new("/etc/flexcore/flexcore.yaml")));
    assert_eq!(serve.config.data_dir.as_deref(), Some("/var/lib/flexcore"));
    assert!(Cli::try_parse_from(start.replace("--data-dir", "--data").split_whitespace()).is_err());
}
