//! The sample's faults happen, and happen as they are named: a fault that does not come makes other tests lie.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use flexcore_plugins::frames::{self, FrameError, FromPlugin, ToPlugin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Running, json_file, messages, run, sample, text, wait_until};

fn with_config(mode: &str, config: &Value, input: &[u8]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let config = json_file(directory.path(), "config.json", config);
    run(sample().arg(mode).arg("--config").arg(config), input)
}

#[test]
fn a_tap_without_faults_numbers_its_records_and_resumes() {
    let directory = tempfile::tempdir().unwrap();
    let config = json_file(directory.path(), "config.json", &json!({"records": 25, "state_every": 10}));
    let all = run(sample().arg("tap").arg("--config").arg(&config), b"");
    assert_eq!(messages(&all.stdout, "RECORD").len(), 25);
    let states = messages(&all.stdout, "STATE");
    assert_eq!(states.len(), 3);
    let state = json_file(directory.path(), "state.json", &states[1]["value"]);
    let rest = run(sample().arg("tap").arg("--config").arg(&config).arg("--state").arg(state), b"");
    let ids: Vec<_> =
        messages(&rest.stdout, "RECORD").iter().map(|m| m["record"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [21, 22, 23, 24, 25]);
}

#[test]
fn a_tap_crashes_exits_and_prints_what_it_is_told_to() {
    let crash = with_config("tap", &json!({"records": 9, "crash_after": 4}), b"");
    assert_eq!(crash.status.signal(), Some(Signal::SIGABRT as i32));
    assert_eq!(messages(&crash.stdout, "RECORD").len(), 4);
    let exit = with_config("tap", &json!({"exit_after": {"records": 0, "code": 3}}), b"");
    assert_eq!((exit.status.code(), messages(&exit.stdout, "RECORD").len()), (Some(3), 0));
    let half = with_config("tap", &json!({"half_line_after": 2}), b"");
    assert!(!half.stdout.ends_with(b"\n") && half.status.signal().is_some());
    let odd = json!({"records": 1, "garbage_after": 1, "blank_lines": 2, "null_state": true, "nan": true});
    let odd = text(&with_config("tap", &odd, b"").stdout);
    assert!(odd.contains("}\n\n\n{") && odd.contains("\nINFO ") && odd.contains(r#""value":NaN"#), "{odd}");
    assert!(odd.ends_with("{\"type\":\"STATE\",\"value\":null}\n"));
    let large =
        json!({"records": 1, "huge_line": 5_000_000, "stderr_flood": 3_000_000, "allocate": 10_000_000});
    let large = with_config("tap", &large, b"");
    assert!(large.status.success());
    assert!(text(&large.stdout).lines().any(|line| line.len() > 5_000_000));
    assert!(large.stderr.len() > 3_000_000);
}

#[test]
fn a_marker_lets_the_retry_succeed() {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({"records": 5, "crash_after": 2, "once_marker": directory.path().join("marker")});
    assert!(with_config("tap", &config, b"").status.signal().is_some());
    let retry = with_config("tap", &config, b"");
    assert!(retry.status.success());
    assert_eq!(messages(&retry.stdout, "RECORD").len(), 5);
}

#[test]
fn a_hanging_program_ignores_sigterm_and_leaves_a_child_in_its_own_session() {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({"hang_after": 1, "ignore_sigterm": true, "spawn_child": true});
    let config = json_file(directory.path(), "config.json", &config);
    let mut running = Running::start(sample().args(["tap", "--config"]).arg(config));
    running.line(); // SCHEMA
    running.line(); // its only record
    let pid = running.child.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
    assert_eq!(blocked, 1 << (Signal::SIGTERM as i32 - 1));
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let child: i32 = children.trim().parse().unwrap();
    let session = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().parse::<i32>().unwrap()
    };
    wait_until("the child leads a session", || session() == child);
    running.kill();
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
}

#[test]
fn a_target_counts_fails_and_keeps_its_state_to_itself() {
    let input = with_config("tap", &json!({"records": 20, "state_every": 10}), b"").stdout;
    let counted = with_config("target", &json!({}), &input);
    assert_eq!(text(&counted.stdout).lines().count(), 3);
    assert!(text(&counted.stderr).contains(r#""value":20"#));
    let silent = with_config("target", &json!({"exit_without_state": true}), &input);
    assert_eq!((silent.status.code(), silent.stdout.len()), (Some(0), 0));
    let failed = with_config("target", &json!({"fail_after": 15}), &input);
    assert_eq!((failed.status.code(), text(&failed.stdout).lines().count()), (Some(1), 1));
}

#[test]
fn a_command_answers_with_its_result_file_and_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let result = directory.path().join("result.json");
    let output = run(
        sample()
            .args(["command", "--flag", "x"])
            .env("FLEXCORE_OPERATION", "greet")
            .env("FLEXCORE_PARAMETERS", r#"{"day": "today", "exit_code": 3}"#)
            .env("FLEXCORE_RESULT", &result),
        b"12345",
    );
    assert_eq!(output.status.code(), Some(3));
    let result: Value = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
    assert_eq!((&result["operation"], &result["parameters"]["day"]), (&json!("greet"), &json!("today")));
    assert_eq!((&result["arguments"], &result["stdin_bytes"]), (&json!(["--flag", "x"]), &json!(5)));
}

/// Frames until the first that cannot be read, or the end.
fn execute(config: Value, more: &[ToPlugin]) -> (Vec<FromPlugin>, Option<FrameError>, Output) {
    let mut input = Vec::new();
    let (execution_id, operation) = ("e".to_owned(), "run".to_owned());
    let execute = ToPlugin::Execute { execution_id, operation, config, parameters: json!({"day": 1}) };
    for message in std::iter::once(&execute).chain(more) {
        frames::write(&mut input, message).unwrap();
    }
    let output = run(sample().arg("flexcore"), &input);
    let mut reader = &output.stdout[..];
    let mut frames = Vec::new();
    let error = loop {
        match frames::read(&mut reader) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    (frames, error, output)
}

#[test]
fn frames_begin_with_hello_and_end_with_a_result() {
    let (frames, error, output) = execute(json!({"records": 4, "state_every": 2}), &[]);
    assert!(error.is_none() && output.status.success(), "{error:?} {}", text(&output.stderr));
    assert!(matches!(&frames[0], FromPlugin::Hello { protocol: 1, .. }));
    let records = frames.iter().filter(|frame| matches!(frame, FromPlugin::Record { .. })).count();
    let progress = frames.iter().filter(|frame| matches!(frame, FromPlugin::Progress { .. })).count();
    assert_eq!((records, progress), (4, 2));
    let Some(FromPlugin::Result { result }) = frames.last() else { panic!("{:?}", frames.last()) };
    assert_eq!((&result["records"], &result["parameters"]), (&json!(4), &json!({"day": 1})));
}

#[test]
fn a_call_is_answered_and_its_answer_used() {
    let config = json!({"records": 0, "call": {"api": "bookmarks.read", "arguments": {"step": "a"}}});
    let answer = ToPlugin::Result { id: 1, result: json!({"state": 7}) };
    let (frames, ..) = execute(config.clone(), &[answer]);
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, FromPlugin::Call { id: 1, api, .. } if api == "bookmarks.read"))
    );
    let Some(FromPlugin::Result { result }) = frames.last() else { panic!("{:?}", frames.last()) };
    assert_eq!(result["answer"], json!({"state": 7}));
    let (_, _, unanswered) = execute(config, &[]);
    assert_eq!(unanswered.status.code(), Some(1));
}

#[test]
fn frames_have_the_faults_they_are_told_to_have() {
    let (_, error, _) = execute(json!({"malformed_frame": true}), &[]);
    assert!(matches!(error, Some(FrameError::Malformed(_))), "{error:?}");
    let (_, error, _) = execute(json!({"oversize_frame": true}), &[]);
    assert!(matches!(error, Some(FrameError::TooLarge(_))), "{error:?}");
    let (frames, ..) = execute(json!({"records": 0, "result_twice": true}), &[]);
    assert!(matches!(frames.as_slice(), [.., FromPlugin::Result { .. }, FromPlugin::Result { .. }]));
    let (frames, ..) = execute(json!({"records": 0, "output_after_result": true}), &[]);
    assert!(matches!(frames.as_slice(), [.., FromPlugin::Result { .. }, FromPlugin::Log { .. }]));
    let (frames, _, output) = execute(json!({"error": "no luck"}), &[]);
    assert_eq!(frames.last(), Some(&FromPlugin::Error { message: "no luck".into() }));
    assert!(output.status.success());
    let (_, _, crashed) = execute(json!({"crash_after": 3}), &[]);
    assert_eq!(crashed.status.signal(), Some(Signal::SIGABRT as i32));
}

#[test]
fn cancel_ends_the_work_with_an_error_frame() {
    let mut running = Running::start(sample().arg("flexcore"));
    let mut stdin = running.stdin.take().unwrap();
    let execute = ToPlugin::Execute {
        execution_id: "e".into(),
        operation: "run".into(),
        config: json!({"records": 100_000_000}),
        parameters: Value::Null,
    };
    frames::write(&mut stdin, &execute).unwrap();
    frames::write(&mut stdin, &ToPlugin::Cancel).unwrap();
    stdin.flush().unwrap();
    let output = running.finish();
    let mut reader = &output.stdout[..];
    let mut last = None;
    while let Some(frame) = frames::read(&mut reader).unwrap() {
        last = Some(frame);
    }
    assert_eq!(last, Some(FromPlugin::Error { message: "cancelled".into() }));
}
