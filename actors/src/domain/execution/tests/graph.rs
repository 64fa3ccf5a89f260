//! The step graph: what may start when, what is skipped, and how an execution ends.

use super::*;
use crate::domain::outcome::{ProgramReport, StreamCounts, Usage};

/// A step of one attempt that depends on others.
fn step(step: &str, when: &str, depends_on: &[&str]) -> Value {
    json!({"name": step, "plugin": "copy", "depends_on": depends_on, "when": when, "retry": {"attempts": 1}})
}

fn names(story: &ExecutionStory) -> Vec<String> {
    startable(story).into_iter().map(|(step, _)| step).collect()
}

#[test]
fn nothing_starts_before_it_begins() {
    let mut story = queued(&json!([step("a", "all_succeeded", &[])]));
    assert_eq!(story.state.actions(), []);
    stale(story.refuses(start("a", 1)));
    assert_eq!(short(&story.does(begin())), ["ExecutionStarted"]);
    assert_eq!(story.does(begin()), [], "a repeated begin changes nothing");
    assert_eq!(story.state.actions(), [Action::Start { step: name("a"), attempt: 1, due: None }]);
}

#[test]
fn branches_run_in_parallel_and_join() {
    let mut story = begun(&json!([
        step("a", "all_succeeded", &[]),
        step("b", "all_succeeded", &["a"]),
        step("c", "all_succeeded", &["a"]),
        step("d", "all_succeeded", &["b", "c"])
    ]));
    assert_eq!(names(&story), ["a"]);
    assert_eq!(run(&mut story, "a", None), ["completed a 1"]);
    assert_eq!(names(&story), ["b", "c"]);
    story.does(start("c", 1));
    assert_eq!(names(&story), ["b"]);
    assert_eq!(story.state.actions()[1], Action::Keep { step: name("c"), attempt: 1 });
    run(&mut story, "b", None);
    assert_eq!(names(&story), [""; 0], "d waits for c too");
    story.does(finish("c", 1, None));
    assert_eq!(names(&story), ["d"]);
    assert_eq!(run(&mut story, "d", None), ["completed d 1", "completed"]);
    assert_eq!((story.state.phase, story.state.actions()), (Some(Phase::Completed), vec![]));
    assert_eq!(story.state.ended_at, Some(story.now));
}

#[test]
fn a_failure_skips_what_needs_success_and_everything_behind_it() {
    let mut story = begun(&json!([
        step("d", "all_succeeded", &["c"]),
        step("c", "all_succeeded", &["b"]),
        step("b", "all_succeeded", &["a"]),
        step("a", "all_succeeded", &[])
    ]));
    let expected = [
        "failed a 1: exit",
        "skipped b: a failed",
        "skipped c: b skipped",
        "skipped d: c skipped",
        "failed: a ended with exit",
    ];
    assert_eq!(run(&mut story, "a", Some(CauseKind::Exit)), expected);
    assert_eq!(story.state.cause.as_ref().map(|c| c.kind), Some(CauseKind::Exit));
}

#[test]
fn other_branches_go_on_after_a_failure() {
    let mut story = begun(&json!([
        step("a", "all_succeeded", &[]),
        step("b", "all_succeeded", &[]),
        step("c", "all_succeeded", &["b"])
    ]));
    assert_eq!(run(&mut story, "a", Some(CauseKind::Oom)), ["failed a 1: oom"]);
    assert_eq!(run(&mut story, "b", None), ["completed b 1"]);
    assert_eq!(run(&mut story, "c", None), ["completed c 1", "failed: a ended with oom"]);
}

#[test]
fn all_done_runs_after_any_end() {
    for (cause, end) in [(None, "completed"), (Some(CauseKind::Exit), "failed: a ended with exit")] {
        let mut story = begun(&json!([
            step("a", "all_succeeded", &[]),
            step("b", "all_succeeded", &["a"]),
            step("after", "all_done", &["a", "b"])
        ]));
        run(&mut story, "a", cause);
        if cause.is_none() {
            assert_eq!(names(&story), ["b"], "all_done waits for all");
            run(&mut story, "b", None);
        }
        assert_eq!(names(&story), ["after"]);
        assert_eq!(run(&mut story, "after", None), ["completed after 1", end]);
    }
}

#[test]
fn any_failed_runs_only_after_a_failure() {
    let graph = json!([
        step("a", "all_succeeded", &[]),
        step("b", "all_succeeded", &[]),
        step("clean", "any_failed", &["a", "b"]),
        step("told", "any_failed", &["clean"]),
        step("next", "all_succeeded", &["clean"])
    ]);
    let mut story = begun(&graph);
    run(&mut story, "a", None);
    let expected = [
        "completed b 1",
        "skipped clean: a completed, b completed",
        "skipped told: clean skipped",
        "skipped next: clean skipped",
        "completed",
    ];
    assert_eq!(run(&mut story, "b", None), expected);

    let mut story = begun(&graph);
    run(&mut story, "a", Some(CauseKind::Exit));
    assert_eq!(names(&story), ["b"], "any_failed waits for all");
    run(&mut story, "b", None);
    assert_eq!(names(&story), ["clean"]);
    assert_eq!(run(&mut story, "clean", None), ["completed clean 1", "skipped told: clean completed"]);
    assert_eq!(run(&mut story, "next", None), ["completed next 1", "failed: a ended with exit"]);
}

#[test]
fn any_failed_hears_of_failures_further_up() {
    let mut story = begun(&json!([
        step("extract", "all_succeeded", &[]),
        step("load", "all_succeeded", &["extract"]),
        step("notify", "any_failed", &["load"])
    ]));
    let end = run(&mut story, "extract", Some(CauseKind::Exit));
    assert_eq!(end, ["failed extract 1: exit", "skipped load: extract failed"]);
    assert_eq!(names(&story), ["notify"]);
}

#[test]
fn an_execution_in_which_nothing_runs_completes_at_once() {
    let mut story = queued(&json!([step("a", "any_failed", &[]), step("b", "all_succeeded", &["a"])]));
    let expected = ["ExecutionStarted", "skipped a: ", "skipped b: a skipped", "completed"];
    assert_eq!(short(&story.does(begin())), expected);
}

#[test]
fn a_step_is_started_only_when_it_is_next() {
    let mut story = begun(&json!([step("a", "all_succeeded", &[]), step("b", "all_succeeded", &["a"])]));
    assert_eq!(story.refuses(start("zzz", 1)), Rejection::NotFound);
    for (step, attempt) in [("a", 0), ("a", 2), ("b", 1)] {
        let message = stale(story.refuses(start(step, attempt)));
        assert_eq!(message, format!("attempt {attempt} of step {step} is not to be started now"));
    }
    story.does(start("a", 1));
    stale(story.refuses(start("a", 1)));
    stale(story.refuses(start("a", 2)));
    story.does(finish("a", 1, None));
    stale(story.refuses(start("a", 1)));
}

#[test]
fn what_was_measured_adds_up() {
    let mut story = begun(&json!([step("a", "all_succeeded", &[]), step("b", "all_succeeded", &[])]));
    let report = |wall_ms, written| {
        let usage = Usage { wall_ms, cpu_ms: 2, peak_memory_bytes: wall_ms * 10 };
        let program = ProgramReport {
            plugin: name("copy"),
            pid: Some(7),
            exit_code: Some(0),
            cause: None,
            usage,
            network: None,
            sandbox: None,
            warm: false,
            denials: Vec::new(),
        };
        let counts = StreamCounts { read: 9, written, rejected: 0 };
        let streams = [("x".to_owned(), counts), ("y".to_owned(), counts)].into();
        AttemptReport { programs: vec![program.clone(), program], streams, ..AttemptReport::default() }
    };
    for (step, wall_ms, written) in [("a", 100, 5), ("b", u64::MAX / 10, u64::MAX)] {
        story.does(start(step, 1));
        let ended = ExecutionCommand::FinishAttempt {
            step: name(step),
            attempt: 1,
            cause: None,
            report: Box::new(report(wall_ms, written)),
            fraction: 0.0,
        };
        let events = story.does(ended);
        if step == "a" {
            let expected = Usage { wall_ms: 200, cpu_ms: 4, peak_memory_bytes: 1000 };
            assert_eq!((story.state.usage(), story.state.records()), (expected, 10));
        } else {
            let Some(ExecutionEvent::ExecutionCompleted(end)) = events.last() else { panic!("{events:?}") };
            assert_eq!((end.records, end.usage.cpu_ms), (u64::MAX, 8), "sums stop at the largest number");
        }
    }
}
