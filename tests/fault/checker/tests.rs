//! The checker refuses every log that breaks a rule; a checker that cannot fail would prove nothing.

use serde_json::json;

use super::*;

/// A log of `(stream, type, data)`.
fn log(events: &[(&str, &str, Value)]) -> Log {
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    let mut log = Vec::new();
    for (n, (stream, kind, data)) in events.iter().enumerate() {
        let version = versions.entry(stream).or_default();
        *version += 1;
        log.push(Event {
            position: n as u64 + 1,
            stream: (*stream).to_owned(),
            version: *version,
            id: n.to_string(),
            kind: (*kind).to_owned(),
            data: data.clone(),
            node: "n".to_owned(),
            timestamp: Timestamp::UNIX_EPOCH,
        });
    }
    Log(log)
}

fn advanced(attempt: u64, sequence: u64, line: u64) -> Value {
    json!({"name": "p/s", "step": "s", "execution": "e", "attempt": attempt, "sequence": sequence,
           "state": {"bookmarks": {"rows": {"files": {"f": {"line": line}}}}}})
}

/// A run whose first attempt was lost.
fn good() -> Vec<(&'static str, &'static str, Value)> {
    let attempt = |n: u64| json!({"execution": "e", "step": "s", "attempt": n, "name": "p/s"});
    vec![
        ("pipeline-p", "PipelineStarted", json!({"execution": "e"})),
        ("execution-e", "ExecutionQueued", json!({"execution": "e"})),
        ("execution-e", "ExecutionStarted", json!({})),
        ("execution-e", "StepStarted", attempt(1)),
        ("plugin-t", "PluginExecutionStarted", attempt(1)),
        ("pipeline-p", "BookmarkAcquired", attempt(1)),
        ("pipeline-p", "BookmarkAdvanced", advanced(1, 3, 500)),
        ("plugin-t", "PluginExecutionCompleted", attempt(1)),
        ("execution-e", "StepRetryScheduled", attempt(1)),
        ("execution-e", "StepStarted", attempt(2)),
        ("plugin-t", "PluginExecutionStarted", attempt(2)),
        ("pipeline-p", "BookmarkAcquired", attempt(2)),
        ("pipeline-p", "BookmarkAdvanced", advanced(2, 1, 900)),
        ("plugin-t", "PluginExecutionCompleted", attempt(2)),
        ("execution-e", "StepCompleted", attempt(2)),
        ("execution-e", "ExecutionCompleted", json!({})),
        ("pipeline-p", "PipelineCompleted", json!({"execution": "e", "outcome": "completed"})),
    ]
}

#[test]
fn a_good_log_passes() {
    let log = log(&good());
    log.check();
    assert_eq!(log.beginnings("e"), [(1, 0), (2, 500)]);
}

#[test]
fn a_log_that_lacks_any_end_or_beginning_is_refused() {
    // bookmark moves may be left out (12), and beginning is no event of its own to others (2)
    let optional = [2, 6, 12];
    for left_out in (0..good().len()).filter(|n| !optional.contains(n)) {
        let mut events = good();
        let (_, kind, _) = events.remove(left_out);
        let refused = std::panic::catch_unwind(|| log(&events).check()).is_err();
        assert!(refused, "without event {left_out}, {kind}, the log passed");
    }
}

#[test]
fn what_must_not_follow_is_refused() {
    for (at, stream, kind, data) in [
        (9, "execution-e", "ExecutionCancelRequested", json!({})), // then attempt 2 starts
        (16, "execution-e", "ExecutionFailed", json!({})),
        (16, "execution-e", "StepSkipped", json!({})),
        (4, "execution-e", "StepStarted", json!({"step": "s", "attempt": 2})),
        (13, "pipeline-p", "BookmarkAdvanced", advanced(2, 2, 899)),
        (13, "pipeline-p", "BookmarkAdvanced", advanced(2, 1, 901)),
        (13, "pipeline-p", "BookmarkAdvanced", advanced(1, 9, 901)),
        (5, "plugin-t", "PluginExecutionStarted", json!({"execution": "e", "step": "s", "attempt": 1})),
        (17, "pipeline-p", "PipelineCompleted", json!({"execution": "e", "outcome": "completed"})),
    ] {
        let mut events = good();
        events.insert(at, (stream, kind, data));
        let refused = std::panic::catch_unwind(|| log(&events).check()).is_err();
        assert!(refused, "with {kind} at {at} the log passed");
    }
}
