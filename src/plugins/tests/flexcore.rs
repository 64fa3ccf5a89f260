//! Programs of the flexcore protocol: the sample, well-behaved and not.

use flexcore_actors::domain::outcome::{Cause, CauseKind};
use flexcore_actors::domain::pipeline::secret_places;
use flexcore_actors::domain::plugin::{PluginType, Protocol};
use flexcore_actors::ports::plugin_host::HostEvent;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::plugins::limits::MAX_CALL_BYTES;
use crate::plugins::testing::{Bench, program, sample_plugin, step};

async fn failing(bench: &Bench, config: Value) -> Cause {
    let (end, _) = bench.run(step(vec![sample_plugin(config)])).await;
    end.cause.expect("it failed")
}

#[tokio::test]
async fn it_is_greeted_told_and_heard() {
    let bench = Bench::new();
    let config = json!({"records": 50, "call": {"api": "bookmarks.read", "arguments": {}}});
    let (end, _) = bench.run(step(vec![sample_plugin(config)])).await;
    assert_eq!(end.cause, None, "{:?}", bench.logs.texts());
    assert!(end.report.result.is_object(), "{}", end.report.result);
    assert_eq!(end.report.programs[0].denials.len(), 1, "it was denied the call and completed");
    assert_eq!(end.report.streams.values().map(|s| s.read).collect::<Vec<_>>(), [50]);
}

#[tokio::test]
async fn a_call_is_answered_or_refused_with_what_it_takes() {
    let bench = Bench::with_secrets(&[("PASSWORD", b"tr0ub4dor")]);
    let large = "x".repeat(MAX_CALL_BYTES);
    for (api, arguments, answer) in [
        ("echo", json!({"n": [1, null]}), json!({"n": [1, null]})),
        ("fail", json!({}), json!({"refused": "fail: it cannot be done"})),
        ("echo", json!({"x": large}), json!({"refused": "echo: a call is at most 1 MiB"})),
        ("huge", json!({}), json!({"refused": "huge: its answer is larger than a frame"})),
        (
            "events.publish",
            json!({}),
            json!({"refused": "events.publish: not granted: add it to capabilities.api of the manifest"}),
        ),
    ] {
        let config = json!({"records": 1, "call": {"api": api, "arguments": arguments}});
        let (end, _) = bench.run(step(vec![sample_plugin(config)])).await;
        assert_eq!(end.cause, None, "{api}: {:?}", bench.logs.texts());
        assert_eq!(end.report.result["answer"], answer, "{api}");
    }
    let cure = "capabilities.api of its manifest names those it may make";
    assert!(bench.logs.say(&format!("it was denied the call events.publish: not granted; {cure}")));
}

#[tokio::test]
async fn what_is_told_to_the_runtime_holds_no_secret() {
    let bench = Bench::with_secrets(&[("PASSWORD", b"tr0ub4dor")]);
    let mut plugin = sample_plugin(json!({}));
    plugin.manifest.capabilities.secrets = vec!["PASSWORD".to_owned()];
    plugin.config = json!({"call": {"api": "echo", "arguments": {"password": "it is ${secret.PASSWORD}"}}});
    plugin.secrets = secret_places(&plugin.config, None);
    let (end, _) = bench.run(step(vec![plugin])).await;
    assert_eq!(end.cause, None);
    assert_eq!(end.report.result["answer"], json!({"password": "it is ***"}));
}

#[tokio::test]
async fn denied_calls_stand_beside_the_cause() {
    let bench = Bench::new();
    let config = json!({"call": {"api": "bookmarks.read", "arguments": {}}, "error": "so it failed"});
    let cause = failing(&bench, config).await;
    assert_eq!(cause.kind, CauseKind::Exit);
    let denials = json!([{"call": "bookmarks.read", "reason": "not granted", "times": 1}]);
    assert_eq!(cause.detail["denials"], denials);
}

#[tokio::test]
async fn a_program_that_waits_for_an_answer_can_be_stopped() {
    let bench = Bench::new();
    let stop = CancellationToken::new();
    let started = |event: &HostEvent| matches!(event, HostEvent::Started { .. });
    let config = json!({"call": {"api": "hang", "arguments": {}}});
    let (end, _) = bench.run_until(step(vec![sample_plugin(config)]), stop, started).await;
    assert_eq!(end.report.programs[0].cause.as_ref().unwrap().kind, CauseKind::Cancelled);
}

#[tokio::test]
async fn what_breaks_the_protocol_is_named() {
    let bench = Bench::new();
    for (fault, part) in [
        ("malformed_frame", "not a message of the flexcore protocol"),
        ("oversize_frame", "is the most"),
        ("result_twice", "second result"),
        ("output_after_result", "after its result"),
    ] {
        let cause = failing(&bench, json!({"records": 1, fault: true})).await;
        assert_eq!(cause.kind, CauseKind::ProtocolError, "{fault}: {}", cause.message);
        assert!(cause.message.contains(part), "{fault}: {}", cause.message);
    }
}

#[tokio::test]
async fn its_error_and_its_crash_are_told_apart() {
    let bench = Bench::new();
    let mut plugin = sample_plugin(json!({"records": 1}));
    plugin.parameters = json!({"error": "no such table"});
    let cause = bench.run(step(vec![plugin])).await.0.cause.unwrap();
    assert_eq!(cause.kind, CauseKind::Exit);
    assert!(cause.message.contains("no such table"), "{}", cause.message);
    let cause = failing(&bench, json!({"records": 10, "crash_after": 3})).await;
    assert_eq!(cause.kind, CauseKind::Signal, "{}", cause.message);
    let silent = program("silent", PluginType::Processor, Protocol::Flexcore, &["true"]);
    let cause = bench.run(step(vec![silent])).await.0.cause.unwrap();
    assert_eq!(cause.kind, CauseKind::ProtocolError);
    assert!(cause.message.contains("without a result"), "{}", cause.message);
}

#[tokio::test]
async fn it_is_asked_to_cancel_before_it_is_signalled() {
    let bench = Bench::new();
    let config = json!({"records": 100_000, "rate": 1_000, "ignore_sigterm": true});
    let stop = CancellationToken::new();
    let started = |event: &HostEvent| matches!(event, HostEvent::Started { .. });
    let (end, _) = bench.run_until(step(vec![sample_plugin(config)]), stop, started).await;
    assert_eq!(end.cause, None);
    let program = &end.report.programs[0];
    assert_eq!(program.cause.as_ref().unwrap().kind, CauseKind::Cancelled);
}
