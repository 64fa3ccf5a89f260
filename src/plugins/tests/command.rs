//! Programs of the command protocol.

use flexcore_actors::domain::outcome::CauseKind;
use flexcore_actors::domain::plugin::{PluginType, Protocol};
use flexcore_actors::ports::plugin_host::{HostEvent, ProgramSpec};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::plugins::testing::{Bench, program, step};

fn sh(script: &str) -> ProgramSpec {
    program("cmd", PluginType::Processor, Protocol::Command, &["sh", "-c", script, "cmd"])
}

#[tokio::test]
async fn it_gets_what_was_asked_and_gives_a_result() {
    let bench = Bench::new();
    let mut command = sh(concat!(
        r#"printf '{"operation":"%s","parameters":%s,"args":"%s","stdin":"%s","env":"%s"}' "#,
        r#""$FLEXCORE_OPERATION" "$FLEXCORE_PARAMETERS" "$*" "$(cat)" "$GREETING" >"$FLEXCORE_RESULT"; "#,
        "echo out; echo err >&2"
    ));
    command.config = json!({"args": ["-n", 5], "stdin": "input", "env": {"GREETING": "hello"}});
    command.operation = Some("count".to_owned());
    command.parameters = json!({"day": 1});
    let (end, _) = bench.run(step(vec![command])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    let expected = json!({"operation": "count", "parameters": {"day": 1}, "args": "-n 5", "stdin": "input", "env": "hello"});
    assert_eq!(end.report.result, expected);
    let mut logged = bench.logs.texts();
    logged.sort();
    assert_eq!(logged, ["err", "out"]);
}

#[tokio::test]
async fn its_exit_code_decides() {
    let bench = Bench::new();
    let (end, _) = bench.run(step(vec![sh(r#"echo '{"a":1}' >"$FLEXCORE_RESULT"; exit 3"#)])).await;
    let cause = end.cause.unwrap();
    assert_eq!((cause.kind, &cause.detail["exit_code"]), (CauseKind::Exit, &json!(3)));
    assert_eq!(end.report.result, json!({"a": 1}), "what it left tells why");
    let (end, _) = bench.run(step(vec![sh("exit 0")])).await;
    assert_eq!((end.cause, end.report.result), (None, Value::Null));
}

#[tokio::test]
async fn a_result_must_be_an_object() {
    let bench = Bench::new();
    let (end, _) = bench.run(step(vec![sh(r#"echo '[1]' >"$FLEXCORE_RESULT""#)])).await;
    assert_eq!(end.cause.unwrap().kind, CauseKind::ProtocolError);
    let (end, _) = bench.run(step(vec![sh(r#"echo '[1]' >"$FLEXCORE_RESULT"; kill -9 $$"#)])).await;
    assert_eq!(end.cause.unwrap().kind, CauseKind::Signal, "how it ended says more");
}

#[tokio::test]
async fn it_is_stopped_and_timed() {
    let bench = Bench::new();
    let stop = CancellationToken::new();
    let started = |event: &HostEvent| matches!(event, HostEvent::Started { .. });
    let (end, _) = bench.run_until(step(vec![sh("trap '' TERM; sleep 1000")]), stop, started).await;
    assert_eq!(
        (end.cause, end.report.programs[0].cause.as_ref().unwrap().kind),
        (None, CauseKind::Cancelled)
    );
    let mut slow = sh("sleep 1000");
    slow.manifest.limits.wall_time = Some(std::time::Duration::from_millis(200));
    assert_eq!(bench.run(step(vec![slow])).await.0.cause.unwrap().kind, CauseKind::Timeout);
}

#[tokio::test]
async fn its_clean_up_is_the_last_that_is_told() {
    let bench = Bench::new();
    let told = std::sync::Mutex::new(Vec::new());
    let note = |event: &HostEvent| {
        told.lock().unwrap().push(std::mem::discriminant(event));
        false
    };
    bench.run_until(step(vec![sh("exit 0")]), CancellationToken::new(), note).await;
    let started = HostEvent::Started { program: 0, pid: 1 };
    let expected = [started, HostEvent::CleaningUp].map(|event| std::mem::discriminant(&event));
    assert_eq!(told.into_inner().unwrap(), expected);
}

#[tokio::test]
async fn what_cannot_be_passed_is_said_before_the_start() {
    let bench = Bench::new();
    let mut large = sh(":");
    large.parameters = json!({"x": "y".repeat(200_000)});
    let mut bad_args = sh(":");
    bad_args.config = json!({"args": "-n"});
    let mut reserved = sh(":");
    reserved.config = json!({"env": {"FLEXCORE_RESULT": "/etc/passwd"}});
    for (command, part) in
        [(large, "FLEXCORE_PARAMETERS"), (bad_args, "config.args"), (reserved, "config.env")]
    {
        let cause = bench.run(step(vec![command])).await.0.cause.unwrap();
        assert_eq!(cause.kind, CauseKind::StartFailed);
        assert!(cause.message.contains(part), "{}", cause.message);
    }
}

#[tokio::test]
async fn a_dangerous_system_call_is_refused_and_stands_beside_the_cause() {
    let bench = Bench::new();
    let cause = bench.run(step(vec![sh("unshare --net true; exit 3")])).await.0.cause.unwrap();
    let denials = json!([{"system_call": "unshare", "reason": "other namespaces", "times": 1}]);
    assert_eq!(cause.detail["denials"], denials, "{cause:?}");
    assert!(bench.logs.say("it was denied the system call unshare: other namespaces"));
}
