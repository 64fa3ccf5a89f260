//! Pipes that fail: the cause names the right program, and the target keeps whole records.

use flexcore_actors::domain::outcome::{Cause, CauseKind};
use flexcore_actors::domain::plugin::{PluginType, Protocol};
use flexcore_actors::domain::quantity::Bytes;
use flexcore_actors::ports::plugin_host::{AttemptEnd, ProgramSpec};
use serde_json::json;

use crate::plugins::testing::{Bench, program, sample_tap, sample_target, sh_tap, sh_target, step};

fn kinds(end: &AttemptEnd) -> Vec<Option<CauseKind>> {
    end.report.programs.iter().map(|p| p.cause.as_ref().map(|c| c.kind)).collect()
}

/// Runs `tap` into a target that keeps what it gets; with the cause and the lines that were kept.
async fn into_file(bench: &Bench, tap: ProgramSpec) -> (Cause, Vec<String>) {
    let (end, _) = bench.run(step(vec![tap, sh_target(&format!("cat >{}", bench.path("out")))])).await;
    assert_eq!(kinds(&end)[1], None, "the target got a clean end of its input");
    (end.cause.expect("it failed"), bench.read("out").lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn an_exit_code_is_named() {
    let bench = Bench::new();
    let (cause, lines) =
        into_file(&bench, sample_tap(json!({"exit_after": {"records": 10, "code": 3}}))).await;
    assert_eq!((cause.kind, &cause.detail["exit_code"]), (CauseKind::Exit, &json!(3)));
    assert!(cause.message.starts_with("sample-tap ended with exit code 3"), "{}", cause.message);
    assert_eq!(lines.iter().filter(|l| l.contains("RECORD")).count(), 10);
}

#[tokio::test]
async fn a_signal_is_named_and_half_a_line_is_not_kept() {
    let bench = Bench::new();
    let (cause, lines) = into_file(&bench, sample_tap(json!({"half_line_after": 5}))).await;
    assert_eq!((cause.kind, &cause.detail["name"]), (CauseKind::Signal, &json!("SIGABRT")));
    assert!(lines.iter().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()), "{lines:?}");
    assert_eq!(lines.iter().filter(|l| l.contains("RECORD")).count(), 5);
}

#[tokio::test]
async fn a_bad_line_is_named_and_what_came_before_is_kept() {
    let bench = Bench::new();
    let (cause, lines) = into_file(&bench, sample_tap(json!({"garbage_after": 7, "records": 100_000}))).await;
    assert_eq!(cause.kind, CauseKind::ProtocolError);
    assert_eq!(cause.detail["line"], json!(lines.len() + 1), "{}", cause.message);
    assert_eq!(lines.iter().filter(|l| l.contains("RECORD")).count(), 7);
}

#[tokio::test]
async fn configuration_is_hidden_in_what_a_bad_line_shows() {
    let bench = Bench::new();
    let mut tap = sh_tap("echo connecting with hunter2");
    tap.config = json!({"password": "hunter2"});
    let (cause, _) = into_file(&bench, tap).await;
    assert!(cause.message.contains("connecting with ***"), "{}", cause.message);
}

#[tokio::test]
async fn a_line_over_the_limit_is_named_with_the_cure() {
    let bench = Bench::new();
    let mut tap = sample_tap(json!({"records": 1, "huge_line": 2 << 20}));
    tap.manifest.limits.line = Bytes::mib(1);
    let (cause, lines) = into_file(&bench, tap).await;
    assert_eq!(cause.kind, CauseKind::ProtocolError);
    assert!(cause.message.contains("limits.line"), "{}", cause.message);
    assert!(lines.iter().all(|l| l.len() < 1 << 20));
}

#[tokio::test]
async fn a_dead_target_is_the_cause_and_the_tap_is_not() {
    let bench = Bench::new();
    let tap = || sample_tap(json!({"records": 10_000_000}));
    let (end, _) = bench.run(step(vec![tap(), sample_target(json!({"fail_after": 10}))])).await;
    assert_eq!(kinds(&end), [Some(CauseKind::Cancelled), Some(CauseKind::Exit)]);
    assert!(end.cause.unwrap().message.starts_with("sample-target"));

    let (end, _) = bench.run(step(vec![tap(), sample_target(json!({"crash_after": 10}))])).await;
    assert_eq!(end.cause.as_ref().unwrap().kind, CauseKind::Signal);
    assert_eq!(kinds(&end)[0], Some(CauseKind::Cancelled));

    let (end, _) = bench.run(step(vec![tap(), sh_target("head -n 1 >/dev/null")])).await;
    let cause = end.cause.unwrap();
    assert_eq!(cause.kind, CauseKind::ProtocolError, "exit 0 with unread input is no success");
    assert!(cause.message.contains("before the end of its input"), "{}", cause.message);
}

#[tokio::test]
async fn a_target_that_dies_ends_a_tap_that_says_nothing() {
    let bench = Bench::new();
    let (end, _) = bench.run(step(vec![sh_tap("exec sleep 1000"), sh_target("exit 4")])).await;
    assert_eq!(kinds(&end), [Some(CauseKind::Cancelled), Some(CauseKind::Exit)]);
}

#[tokio::test]
async fn a_target_that_stops_reading_but_stays_is_the_cause() {
    let bench = Bench::new();
    let target = sh_target("exec <&-; sleep 1000");
    let (end, _) = bench.run(step(vec![sample_tap(json!({"records": 10_000_000})), target])).await;
    assert_eq!(kinds(&end), [Some(CauseKind::Cancelled), Some(CauseKind::ProtocolError)]);
    assert_eq!(end.cause.unwrap().kind, CauseKind::ProtocolError);
}

#[tokio::test]
async fn a_failing_tap_is_the_cause_also_when_its_target_fails_of_it() {
    let bench = Bench::new();
    for _ in 0..5 {
        let (end, _) = bench.run(step(vec![sh_tap("exit 3"), sh_target("cat; exit 1")])).await;
        let cause = end.cause.as_ref().unwrap();
        assert_eq!((cause.kind, &cause.detail["exit_code"]), (CauseKind::Exit, &json!(3)));
        assert_eq!(kinds(&end), [Some(CauseKind::Exit), Some(CauseKind::Exit)]);
    }
}

#[tokio::test]
async fn children_of_a_failed_tap_do_not_hold_the_pipe_open() {
    let bench = Bench::new();
    let tap = sample_tap(json!({"spawn_child": true, "crash_after": 3}));
    let (cause, _) = into_file(&bench, tap).await;
    assert_eq!(cause.kind, CauseKind::Signal);
}

#[tokio::test]
async fn a_program_out_of_time_is_ended() {
    let bench = Bench::new();
    let mut tap = sample_tap(json!({"hang_after": 3, "ignore_sigterm": true}));
    tap.manifest.limits.wall_time = Some(std::time::Duration::from_millis(500));
    let (cause, lines) = into_file(&bench, tap).await;
    assert_eq!(cause.kind, CauseKind::Timeout);
    assert!(cause.message.contains("limits.wall_time (500ms)"), "{}", cause.message);
    assert_eq!(lines.iter().filter(|l| l.contains("RECORD")).count(), 3);
}

#[tokio::test]
async fn a_memory_hog_is_named_as_such() {
    let bench = Bench::new();
    let mut tap = sample_tap(json!({"allocate": 512 << 20, "hang_after": 0}));
    tap.manifest.limits.memory = Bytes::mib(64);
    let (cause, _) = into_file(&bench, tap).await;
    assert_eq!((cause.kind, &cause.detail["limit_bytes"]), (CauseKind::Oom, &json!(64 << 20)));
}

#[tokio::test]
async fn a_missing_program_starts_nothing() {
    let bench = Bench::new();
    let touch = sh_tap(&format!("touch {}", bench.path("touched")));
    let missing = program("gone", PluginType::Loader, Protocol::Singer, &["no-such-program"]);
    let (end, _) = bench.run(step(vec![touch.clone(), missing])).await;
    let cause = end.cause.clone().unwrap();
    assert_eq!(cause.kind, CauseKind::StartFailed);
    assert!(cause.message.contains("no-such-program"), "{}", cause.message);
    assert_eq!(kinds(&end), [None, Some(CauseKind::StartFailed)]);

    // found, but cannot be executed: only the launcher notices
    std::fs::write(bench.path("broken"), "#!/no/such/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bench.path("broken"), mode).unwrap();
    let broken = program("broken", PluginType::Loader, Protocol::Singer, &[&bench.path("broken")]);
    let (end, _) = bench.run(step(vec![touch, broken])).await;
    assert_eq!(end.cause.unwrap().kind, CauseKind::StartFailed);
    assert!(!std::path::Path::new(&bench.path("touched")).exists(), "the tap was not started");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_harmless() {
    let bench = Bench::new();
    let mut tap = sample_tap(json!({"records": 100, "stderr_flood": 8 << 20}));
    tap.manifest.limits.output = Bytes::mib(1);
    let (end, _) = bench.run(step(vec![tap, sample_target(json!({}))])).await;
    assert_eq!(end.cause, None);
    assert!(bench.logs.say("limits.output of 1MiB") && bench.logs.say("dropped beyond"));
    let kept: usize = bench.logs.texts().iter().map(String::len).sum();
    assert!(kept < 2 << 20, "{kept}");
}

#[tokio::test]
async fn a_bookmark_too_large_for_an_event_is_refused() {
    let bench = Bench::new();
    let script = r#"cat >/dev/null; printf '{"x":"'; head -c 3000000 /dev/zero | tr '\0' x; echo '"}'"#;
    let (end, states) = bench.run(step(vec![sh_tap(":"), sh_target(script)])).await;
    let cause = end.cause.unwrap();
    assert_eq!((cause.kind, states.len()), (CauseKind::ProtocolError, 0));
    assert!(cause.message.contains("bookmark"), "{}", cause.message);
}

#[tokio::test]
async fn only_singer_programs_can_be_piped() {
    let bench = Bench::new();
    let command = program("cmd", PluginType::Processor, Protocol::Command, &["true"]);
    let cause = bench.run(step(vec![sh_tap(":"), command])).await.0.cause.unwrap();
    assert_eq!(cause.kind, CauseKind::StartFailed);
    assert!(cause.message.contains("cmd cannot be part of a pipe"), "{}", cause.message);
}
