//! Event payloads as they were once written stay readable for ever: `fixtures/events/<Type>.v<schema>.msgpack` holds
//! the stored bytes, the `.json` beside it what they must be read as today.
//!
//! A new event type, or a new schema version, needs a sample in [`samples`]; then
//! `FLEXCORE_WRITE_FIXTURES=1 cargo test -p flexcore-actors --test event_fixtures` writes the files that are missing.
//! A file that exists is never written again: when it cannot be read any more, the reader is wrong (see upcasting
//! in `domain/upcast.rs`), not the file.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "fixtures/states.rs"]
mod states; // what the same events lead to, as snapshots keep it

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use flexcore_actors::domain::audit::*;
use flexcore_actors::domain::codec::{Encoded, EventSet};
use flexcore_actors::domain::execution::*;
use flexcore_actors::domain::external::*;
use flexcore_actors::domain::ids::{CorrelationId, ExecutionId, Incarnation, Name};
use flexcore_actors::domain::outcome::*;
use flexcore_actors::domain::pipeline::*;
use flexcore_actors::domain::plugin::*;
use serde_json::{Value, json};
use uuid::Uuid;

const WRITE: &str = "FLEXCORE_WRITE_FIXTURES";

fn file(kind: &str, schema: u16, extension: &str) -> PathBuf {
    let name = format!("{kind}.v{schema}.{extension}");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events").join(name)
}

/// All event types with the schema version that is written today, which every version before led to.
fn kinds() -> Vec<(&'static str, u16)> {
    [PipelineEvent::KINDS, ExecutionEvent::KINDS, PluginEvent::KINDS, ExternalEvent::KINDS, AuditEvent::KINDS]
        .concat()
}

/// Reads a payload with whichever set knows its type, and gives it as it would be written today.
fn read(kind: &str, schema: u16, payload: &[u8]) -> Encoded {
    let knows = |kinds: &[(&str, u16)]| kinds.iter().any(|(known, _)| *known == kind);
    if knows(PipelineEvent::KINDS) {
        PipelineEvent::decode(kind, schema, payload).unwrap().encode()
    } else if knows(ExecutionEvent::KINDS) {
        ExecutionEvent::decode(kind, schema, payload).unwrap().encode()
    } else if knows(ExternalEvent::KINDS) {
        ExternalEvent::decode(kind, schema, payload).unwrap().encode()
    } else if knows(AuditEvent::KINDS) {
        AuditEvent::decode(kind, schema, payload).unwrap().encode()
    } else {
        PluginEvent::decode(kind, schema, payload).unwrap().encode()
    }
}

fn as_json(payload: &[u8]) -> Value {
    rmp_serde::from_slice(payload).unwrap()
}

#[test]
fn every_event_type_has_a_fixture() {
    let samples = samples();
    for (kind, schema) in kinds() {
        for earlier in 1..schema {
            let kept = file(kind, earlier, "msgpack").exists() && file(kind, earlier, "json").exists();
            assert!(kept, "{kind} v{earlier} was written once: its fixture must stay");
        }
        let path = file(kind, schema, "msgpack");
        let sample = samples.iter().find(|s| s.kind == kind && s.schema_version == schema);
        let sample = sample.unwrap_or_else(|| panic!("add a sample of {kind} in schema version {schema}"));
        if !path.exists() && std::env::var(WRITE).is_ok_and(|v| v == "1") {
            fs::write(&path, &sample.payload).unwrap();
            let text = serde_json::to_string_pretty(&as_json(&sample.payload)).unwrap() + "\n";
            fs::write(file(kind, schema, "json"), text).unwrap();
        }
        assert!(path.exists(), "{kind} v{schema} has no fixture: run this test once with {WRITE}=1");
    }
}

#[test]
fn every_fixture_is_still_read_as_it_was_meant() {
    let (mut seen, kinds) = (BTreeSet::new(), kinds());
    for entry in fs::read_dir(file("x", 1, "json").parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "msgpack") {
            continue;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (kind, schema) = stem.split_once(".v").unwrap();
        let schema = schema.parse().unwrap();
        let read = read(kind, schema, &fs::read(&path).unwrap());
        assert!(kinds.contains(&(read.kind, read.schema_version)), "{stem} reads as today's shape");
        let expected = fs::read_to_string(file(kind, schema, "json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(read.kind, kind);
        assert_eq!(as_json(&read.payload), expected, "{stem}");
        seen.insert(stem);
    }
    assert!(seen.len() >= kinds.len(), "too few fixtures: {seen:?}");
}

#[test]
fn what_a_later_version_adds_is_ignored_and_what_it_knows_alone_is_named() {
    let payload = rmp_serde::to_vec_named(&json!({"node": "n1", "added_later": [1, 2]})).unwrap();
    let read = ExecutionEvent::decode("ExecutionStarted", 1, &payload).unwrap();
    assert_eq!(read, ExecutionStarted { node: "n1".to_owned() }.into());
    for (kind, schema) in [("ExecutionStarted", 2), ("ExecutionTeleported", 1), ("PipelineCreated", 1)] {
        let error = ExecutionEvent::decode(kind, schema, &payload).unwrap_err().to_string();
        assert!(error.contains(kind) && error.contains("newer version"), "{error}");
    }
    let error = ExecutionEvent::decode("ExecutionStarted", 1, &[0xc1]).unwrap_err().to_string();
    assert_eq!(error, "payload of ExecutionStarted cannot be read");
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn execution() -> ExecutionId {
    ExecutionId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001))
}

fn cause() -> Cause {
    Cause::new(CauseKind::Exit, "tap-csv ended with exit code 3").with_detail(json!({"exit_code": 3}))
}

fn usage() -> Usage {
    Usage { wall_ms: 1_500, cpu_ms: 700, peak_memory_bytes: 10_485_760 }
}

fn report() -> AttemptReport {
    let program = ProgramReport {
        plugin: name("tap-csv"),
        pid: Some(4711),
        exit_code: Some(3),
        cause: Some(cause()),
        usage: usage(),
        network: None,
        sandbox: None,
        denials: Vec::new(),
        warm: false,
    };
    AttemptReport {
        programs: vec![program],
        streams: [("customers".to_owned(), StreamCounts { read: 10, written: 9, rejected: 1 })].into(),
        bytes: 1_100,
        waits: Waits { upstream_ms: 5, downstream_ms: 70 },
        result: json!({"ok": false}),
    }
}

fn definition() -> Definition {
    read_definition(&json!({
        "name": "customers", "description": "Load customers", "owner": "data-team", "priority": 7,
        "parameters": {"day": {"type": "string", "default": "${today}"}, "n": {"type": "integer"}},
        "concurrency": {"executions": 2, "on_conflict": "replace"},
        "steps": [
            {"name": "load", "bookmark": "seen", "timeout": "30m",
             "retry": {"attempts": 5, "initial": "1.5s", "factor": 1.5, "max": "1m", "jitter": 0.1, "on": ["crash", "timeout"]},
             "pipe": [{"plugin": "tap-csv", "config": {"files": ["${param.day}"]}, "catalog": {"streams": []}, "select": ["*.*"]},
                      {"plugin": "target-jsonl"}]},
            {"name": "transform", "plugin": "dbt", "operation": "run", "parameters": {"full": true},
             "depends_on": ["load"], "when": "all_done"}]
    }))
    .unwrap()
}

fn manifest() -> Manifest {
    read_manifest(&json!({
        "name": "tap-csv", "version": "1.0.0", "type": "extractor", "protocol": "singer", "command": ["tap-csv", "-v"],
        "environment": {"python": {"requirements": ["tap-csv==1.0.0"]}},
        "config_schema": {"type": "object"}, "concurrency": 3,
        "capabilities": {"read": ["/data/in"], "write": ["${workdir}/out"], "connect": ["db:5432"], "env": ["TZ"], "subprocess": true},
        "limits": {"memory": "1GiB", "cpus": 0.5, "cpu_time": "10m", "wall_time": "1h", "file_size": "1GiB"}
    }))
    .unwrap()
}

fn granted() -> Granted {
    let capabilities = Capabilities {
        secrets: vec!["DB_PASSWORD".to_owned()],
        api: vec!["events.publish".to_owned()],
        ..manifest().capabilities
    };
    Granted { capabilities, policy: Some("sha256:00ff".to_owned()), leads: None }
}

fn attempt() -> AttemptId {
    AttemptId { execution: execution(), step: name("load"), attempt: 2 }
}

/// One event of every type, with every field set.
fn samples() -> Vec<Encoded> {
    let mut samples: Vec<Encoded> = pipeline_samples().iter().map(EventSet::encode).collect();
    samples.extend(execution_samples().iter().map(EventSet::encode));
    samples.extend(plugin_samples().iter().map(EventSet::encode));
    samples.extend(external_samples().iter().map(EventSet::encode));
    samples.extend(audit_samples().iter().map(EventSet::encode));
    samples
}

fn external_samples() -> Vec<ExternalEvent> {
    let by = Publisher { execution: execution(), step: name("load"), attempt: 2, plugin: name("notify") };
    let data = json!({"orders": 7, "of": null});
    vec![EventPublished { kind: "orders.loaded".to_owned(), data, by }.into()]
}

fn audit_samples() -> Vec<AuditEvent> {
    let refused = RequestRefused {
        address: "127.0.0.1".to_owned(),
        actor: "anonymous@127.0.0.1".to_owned(),
        method: "POST".to_owned(),
        path: "/api/v1/flexcore/pipelines/customers/execute".to_owned(),
        status: 409,
        correlation_id: CorrelationId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0009)),
        count: 3,
    };
    let accepted = RequestAccepted {
        address: "127.0.0.1".to_owned(),
        actor: "anonymous@127.0.0.1".to_owned(),
        action: "EnablePlugin".to_owned(),
        stream: Some("plugin-tap-csv".parse().unwrap()),
        status: 200,
        correlation_id: CorrelationId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_000a)),
        count: 2,
    };
    vec![refused.into(), accepted.into()]
}

fn pipeline_samples() -> Vec<PipelineEvent> {
    let (bookmark, step, state) =
        ("seen".to_owned(), name("load"), json!({"bookmarks": {"customers": {"row": 7}}}));
    vec![
        PipelineCreated { definition: definition() }.into(),
        PipelineRevised { revision: 2, definition: definition() }.into(),
        PipelineActivated {}.into(),
        PipelinePaused {}.into(),
        PipelineResumed {}.into(),
        PipelineArchived {}.into(),
        PipelineStarted { execution: execution(), revision: 2, replaces: vec![execution()] }.into(),
        PipelineCompleted { execution: execution(), outcome: Outcome::Failed, cause: Some(cause()) }.into(),
        BookmarkAcquired { name: bookmark.clone(), step: step.clone(), execution: execution(), attempt: 2 }
            .into(),
        BookmarkAdvanced {
            name: bookmark.clone(),
            step: step.clone(),
            execution: execution(),
            attempt: 2,
            sequence: 9,
            state: state.clone(),
        }
        .into(),
        BookmarkSet { name: bookmark.clone(), step: step.clone(), state }.into(),
        BookmarkCleared { name: bookmark, step }.into(),
    ]
}

fn execution_samples() -> Vec<ExecutionEvent> {
    let (step, node) = (name("load"), "n1".to_owned());
    vec![
        ExecutionQueued {
            execution: execution(),
            pipeline: Some(name("customers")),
            plugin: Some(name("tap-csv")),
            revision: Some(2),
            steps: definition().steps,
            parameters: [("day".to_owned(), json!("2026-01-31"))].into_iter().collect(),
            from_scratch: true,
        }
        .into(),
        ExecutionStarted { node: node.clone() }.into(),
        ExecutionCancelRequested {}.into(),
        ExecutionPaused {}.into(),
        ExecutionResumed {}.into(),
        StepStarted { step: step.clone(), attempt: 2, node }.into(),
        StepRetryScheduled {
            step: step.clone(),
            attempt: 2,
            cause: cause(),
            report: report(),
            due: "2026-01-31T00:00:01.5Z".parse().unwrap(),
        }
        .into(),
        StepCompleted { step: step.clone(), attempt: 2, report: report() }.into(),
        StepFailed { step: step.clone(), attempt: 2, cause: cause(), report: report() }.into(),
        StepSkipped { step, reason: "load failed".to_owned() }.into(),
        ExecutionCompleted { usage: usage(), records: 9 }.into(),
        ExecutionFailed { cause: cause(), usage: usage(), records: 9 }.into(),
        ExecutionCancelled { usage: usage(), records: 9 }.into(),
    ]
}

fn plugin_samples() -> Vec<PluginEvent> {
    vec![
        PluginRegistered { manifest: manifest(), granted: granted() }.into(),
        PluginRevised { manifest: manifest(), granted: granted() }.into(),
        PluginEnabled {}.into(),
        PluginDisabled {}.into(),
        PluginRetired {}.into(),
        PluginExecutionStarted {
            attempt: attempt(),
            programs: 2,
            incarnation: Incarnation(Uuid::from_u128(7)),
            plugin_version: "1.0.0".to_owned(),
            capabilities: manifest().capabilities,
            policy: granted().policy,
        }
        .into(),
        PluginExecutionCompleted { attempt: attempt(), cause: Some(cause()), usage: usage() }.into(),
        PluginQuarantined { cause: cause(), failures: 5, log_tail: vec!["Traceback".to_owned()] }.into(),
        PluginReleased {}.into(),
    ]
}
