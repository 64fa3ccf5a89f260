//! Programs that misbehave: each way ends the execution once, with the cause that tells it from the others and a
//! sentence that names the program and what to do.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::world::{World, items, pipe_step, text};

/// The cause of an execution that failed.
#[track_caller]
fn cause(execution: &Value) -> (String, String) {
    assert_eq!(execution["status"], "failed", "{execution:#}");
    (text(&execution["cause"]["kind"]), text(&execution["cause"]["message"]))
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// The events that may end an execution: there must be one.
async fn ends(world: &World, execution: &Value) -> usize {
    let id = text(&execution["id"]);
    let events = world.get(&format!("/executions/{id}/events?limit=1000")).await.expect(200).json;
    let is_end = |event: &&Value| {
        ["ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"]
            .iter()
            .any(|end| event["type"] == *end)
    };
    items(&events).iter().filter(is_end).count()
}

#[tokio::test]
async fn a_missing_program_is_a_start_that_failed() {
    let world = World::start().await;
    // it is there when its plugin is registered, and gone when it is to run
    let program = world.file("no-such-program", "#!/bin/sh\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = json!({"name": "absent", "version": "1.0.0", "type": "processor", "protocol": "command",
                          "command": [program]});
    world.post("/plugins", &manifest).await.expect(201);
    std::fs::remove_file(&program).unwrap();
    let reply = world.post("/plugins/absent/execute", &json!({})).await.expect(200).json;
    let (kind, message) = cause(&reply);
    assert_eq!(kind, "start_failed");
    says(
        &message,
        &["absent could not be started", "no-such-program does not exist", "correct its manifest's command"],
    );
    let done = world.cli(&["exec", "absent"]).await.expect(1);
    done.says("start_failed: absent could not be started").says("flexcore executions logs");
}

#[tokio::test]
async fn an_exit_code_is_told() {
    let world = World::start().await;
    let config = json!({"exit_after": {"records": 10, "code": 3}});
    let execution = world.run_pipe("p", "tap", config).await;
    let (kind, message) = cause(&execution);
    assert_eq!(kind, "exit");
    says(&message, &["tap ended with exit code 3"]);
    let attempt = &execution["steps"][0]["attempts"][0];
    assert_eq!(attempt["programs"][0]["exit_code"], 3, "{attempt:#}");
    assert_eq!(ends(&world, &execution).await, 1);
    world.cli(&["run", "p"]).await.expect(1).says("exit: tap ended with exit code 3");
}

#[tokio::test]
async fn garbage_is_named_by_its_line_and_what_came_before_is_delivered() {
    let world = World::start().await;
    let execution = world.run_pipe("p", "tap", json!({"garbage_after": 10})).await;
    let (kind, message) = cause(&execution);
    assert_eq!(kind, "protocol_error");
    // a SCHEMA, ten records, the garbage
    says(&message, &["tap: line 12 of its output is not a Singer message", "must log to standard error"]);
    let streams = &execution["steps"][0]["attempts"][0]["streams"];
    assert_eq!(streams["sample"]["written"], 10, "{execution:#}");
    assert_eq!(ends(&world, &execution).await, 1);
}

#[tokio::test]
async fn half_a_line_is_not_passed_on() {
    let world = World::start().await;
    let execution = world.run_pipe("p", "tap", json!({"half_line_after": 5})).await;
    let (kind, message) = cause(&execution);
    assert_eq!(kind, "signal");
    says(&message, &["tap was ended by SIGABRT"]);
    let attempt = &execution["steps"][0]["attempts"][0];
    assert_eq!(attempt["streams"]["sample"]["written"], 5, "{attempt:#}");
    assert_eq!(attempt["programs"][1]["exit_code"], 0, "the target has a clean end: {attempt:#}");
}

#[tokio::test]
async fn a_line_over_its_limit_is_refused_with_the_limit() {
    let world = World::start().await;
    let execution = world.run_pipe("p", "short", json!({"huge_line": 5_000})).await;
    let (kind, message) = cause(&execution);
    assert_eq!(kind, "protocol_error");
    says(&message, &["short: line 2", "longer than limits.line (1024 bytes)", "raise limits.line"]);
}

/// The default limit is 128 MiB: half of that passes whole, and the node does not hold many copies of it.
#[tokio::test]
async fn a_record_of_64_mib_passes_whole() {
    const RECORD: u64 = 64 << 20;
    /// The line being read, the line being written and slack; a buffer that doubles may hold twice the line.
    const PEAK: u64 = 4 * RECORD;
    let world = World::start().await;
    let before = peak_memory(world.node.pid());
    let execution = world.run_pipe("p", "tap", json!({"huge_line": RECORD, "records": 2})).await;
    assert_eq!(execution["status"], "completed", "{execution:#}");
    let attempt = &execution["steps"][0]["attempts"][0];
    assert_eq!(attempt["streams"]["sample"]["written"], 3, "{attempt:#}");
    assert!(attempt["bytes"].as_u64().unwrap() > RECORD, "{attempt:#}");
    let grown = peak_memory(world.node.pid()) - before;
    assert!(grown < PEAK, "the node's peak grew by {grown} bytes");
}

/// The most memory that the process ever had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_program_that_never_ends_runs_into_its_timeout() {
    let world = World::start().await;
    let mut step = pipe_step("load", "tap", json!({"hang_after": 5, "ignore_sigterm": true}));
    step["timeout"] = json!("1s");
    world.define("p", &json!([step])).await;
    let id = world.launch("p").await;
    let execution = world.ended(&id).await;
    let (kind, message) = cause(&execution);
    assert_eq!(kind, "timeout");
    says(&message, &["step load took longer than its timeout of 1s"]);
    gone(&execution);
    assert_eq!(ends(&world, &execution).await, 1);
}

#[tokio::test]
async fn a_program_that_never_ends_can_be_cancelled() {
    let world = World::start().await;
    world.define("p", &json!([pipe_step("load", "tap", json!({"hang_after": 5})), {"name": "then", "plugin": "work", "depends_on": ["load"]}])).await;
    let id = world.launch("p").await;
    let seen = |execution: &Value| execution["steps"][0]["attempts"][0]["records"] == 5;
    let running = world.until(&id, "has read five records", seen).await;
    assert_eq!(running["steps"][0]["attempts"][0]["phase"], "executing", "{running:#}");
    world.cli(&["executions", "cancel", &id]).await.expect(0);
    let execution = world.ended(&id).await;
    assert_eq!(
        (&execution["status"], &execution["cause"]["kind"]),
        (&json!("cancelled"), &json!("cancelled")),
        "{execution:#}"
    );
    assert_eq!(execution["steps"][1]["attempts"], json!([]), "nothing of it starts any more");
    assert_eq!(execution["steps"][0]["attempts"][0].get("phase"), None, "{execution:#}");
    gone(&execution);
    assert_eq!(ends(&world, &execution).await, 1);
    world.cli(&["executions", "cancel", &id]).await.expect(4);
}

/// No program of an execution is left.
#[track_caller]
fn gone(execution: &Value) {
    for program in execution["steps"][0]["attempts"][0]["programs"].as_array().unwrap() {
        let pid = program["pid"].as_u64().unwrap();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        assert!(!command.contains("flexcore-sample"), "pid {pid} is alive: {command}");
    }
}

#[tokio::test]
async fn a_death_by_signal_is_told_and_retried_as_often_as_asked() {
    let world = World::start().await;
    let mut step = pipe_step("load", "tap", json!({"crash_after": 5}));
    step["retry"] = json!({"attempts": 2, "initial": "10ms", "jitter": 0});
    world.define("p", &json!([step])).await;
    let id = world.launch("p").await;
    let execution = world.ended(&id).await;
    let (kind, message) = cause(&execution);
    assert_eq!(kind, "signal");
    says(&message, &["tap was ended by SIGABRT"]);
    let attempts = execution["steps"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{execution:#}");
    assert!(attempts.iter().all(|attempt| attempt["cause"]["kind"] == "signal"), "{attempts:#?}");
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_told() {
    let world = World::start().await;
    for (fault, part) in [
        ("malformed_frame", "frame"),
        ("oversize_frame", "16777216"),
        ("result_twice", "result"),
        ("output_after_result", "result"),
    ] {
        let body = json!({"config": {"records": 1, fault: true}});
        let reply = world.post("/plugins/framed/execute", &body).await.expect(200).json;
        let (kind, message) = cause(&reply);
        assert_eq!(kind, "protocol_error", "{fault}: {reply:#}");
        says(&message, &["framed", part]);
    }
}
