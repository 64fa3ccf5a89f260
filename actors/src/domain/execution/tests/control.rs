//! Cancel (S7), pause and resume, in every phase; and that the end is the end.

use super::*;
use crate::domain::ids::StreamId;

/// Two steps, the second after the first.
fn two() -> Value {
    json!([{"name": "a", "plugin": "copy"}, {"name": "b", "plugin": "copy", "depends_on": ["a"]}])
}

/// The same execution in each phase.
fn in_every_phase() -> Vec<(Phase, ExecutionStory)> {
    let mut paused = begun(&two());
    paused.does(ExecutionCommand::Pause);
    let mut completed = begun(&two());
    run(&mut completed, "a", None);
    run(&mut completed, "b", None);
    let mut failed = begun(&two());
    run(&mut failed, "a", Some(CauseKind::SandboxDenied));
    let mut cancelled = begun(&two());
    cancelled.does(ExecutionCommand::Cancel);
    let stories = [
        (Phase::Queued, queued(&two())),
        (Phase::Running, begun(&two())),
        (Phase::Paused, paused),
        (Phase::Completed, completed),
        (Phase::Failed, failed),
        (Phase::Cancelled, cancelled),
    ];
    stories.into_iter().inspect(|(phase, story)| assert_eq!(story.state.phase, Some(*phase))).collect()
}

#[test]
fn nothing_can_be_asked_of_an_execution_that_does_not_exist() {
    let all =
        [begin(), start("a", 1), finish("a", 1, None), ExecutionCommand::Cancel, ExecutionCommand::Pause];
    for command in all {
        assert_eq!(Story::<Execution>::new().refuses(command), Rejection::NotFound);
    }
}

#[test]
fn what_has_ended_cannot_be_controlled() {
    for (phase, story) in in_every_phase().into_iter().filter(|(phase, _)| phase.ended()) {
        let past = match phase {
            Phase::Cancelled => "been cancelled",
            phase => phase.as_str(),
        };
        let expected = format!("execution {} has already {past}: start another", execution(1));
        for command in [ExecutionCommand::Cancel, ExecutionCommand::Pause, ExecutionCommand::Resume] {
            assert_eq!(wrong_state(story.refuses(command)), expected);
        }
        stale(story.refuses(start("a", 1)));
        stale(story.refuses(start("b", 1)));
        assert_eq!(story.state.actions(), []);
        let mut story = story;
        assert_eq!(story.does(begin()), []);
        assert_eq!(story.does(finish("a", 1, None)), []);
    }
}

#[test]
fn a_cancel_ends_what_does_not_run_at_once() {
    for (phase, mut story) in in_every_phase().into_iter().filter(|(phase, _)| !phase.ended()) {
        let events = story.does(ExecutionCommand::Cancel);
        assert_eq!(short(&events), ["ExecutionCancelRequested", "cancelled"], "{phase:?}");
        assert_eq!(story.state.phase, Some(Phase::Cancelled));
        assert!(story.state.steps.iter().all(|s| s.phase == StepPhase::Cancelled));
        assert_eq!(story.state.cause.as_ref().map(|c| c.kind), Some(CauseKind::Cancelled));
    }
}

#[test]
fn s7_from_the_cancel_on_nothing_starts_and_the_end_waits_for_what_runs() {
    let mut story = begun(&json!([
        {"name": "a", "plugin": "copy"}, {"name": "b", "plugin": "copy"},
        {"name": "c", "plugin": "copy"}, {"name": "after", "plugin": "copy", "depends_on": ["a"], "when": "all_done"}]));
    story.does(start("a", 1));
    story.does(start("b", 1));
    assert_eq!(short(&story.does(ExecutionCommand::Cancel)), ["ExecutionCancelRequested"]);
    let stop = |step| Action::Stop { step: name(step), attempt: 1 };
    assert_eq!(story.state.actions(), [stop("a"), stop("b")]);
    assert_eq!(story.does(ExecutionCommand::Cancel), [], "again changes nothing");
    for command in [ExecutionCommand::Pause, ExecutionCommand::Resume] {
        let expected = format!("execution {} is being cancelled: start another", execution(1));
        assert_eq!(wrong_state(story.refuses(command)), expected);
    }
    stale(story.refuses(start("c", 1)));
    // whatever the program died of, it died of the cancel; what completed meanwhile has completed
    let ended = story.does(finish("a", 1, Some(CauseKind::Signal)));
    assert_eq!(short(&ended), ["failed a 1: cancelled"]);
    assert_eq!(story.state.actions(), [stop("b")]);
    stale(story.refuses(start("after", 1)));
    assert_eq!(short(&story.does(finish("b", 1, None))), ["completed b 1", "cancelled"]);
    let phases: Vec<&str> = story.state.steps.iter().map(|s| s.phase.as_str()).collect();
    assert_eq!(phases, ["cancelled", "completed", "cancelled", "cancelled"]);
}

#[test]
fn s7_a_cancel_while_a_retry_is_due_starts_it_never() {
    let mut story = begun(&two());
    assert_eq!(run(&mut story, "a", Some(CauseKind::Exit)), ["retry a 1"]);
    assert_eq!(startable(&story), [("a".to_owned(), 2)]);
    let events = story.does(ExecutionCommand::Cancel);
    assert_eq!(short(&events), ["ExecutionCancelRequested", "cancelled"]);
    stale(story.refuses(start("a", 2)));
}

#[test]
fn a_lost_node_during_a_cancel_ends_it() {
    let mut story = begun(&two());
    story.does(start("a", 1));
    story.does(ExecutionCommand::Cancel);
    let events = story.does(finish("a", 1, Some(CauseKind::LostNode)));
    assert_eq!(short(&events), ["failed a 1: cancelled", "cancelled"]);
}

#[test]
fn a_pause_lets_what_runs_end_and_starts_nothing_new() {
    let mut story = begun(&two());
    story.does(start("a", 1));
    assert_eq!(short(&story.does(ExecutionCommand::Pause)), ["ExecutionPaused"]);
    assert_eq!(story.does(ExecutionCommand::Pause), []);
    assert_eq!(story.state.actions(), [Action::Keep { step: name("a"), attempt: 1 }]);
    story.does(finish("a", 1, None));
    assert_eq!(story.state.actions(), []);
    stale(story.refuses(start("b", 1)));
    assert_eq!(short(&story.does(ExecutionCommand::Resume)), ["ExecutionResumed"]);
    assert_eq!(story.does(ExecutionCommand::Resume), []);
    assert_eq!(startable(&story), [("b".to_owned(), 1)]);
}

#[test]
fn a_paused_execution_whose_last_step_ends_has_ended() {
    let mut story = begun(&json!([{"name": "a", "plugin": "copy"}]));
    story.does(start("a", 1));
    story.does(ExecutionCommand::Pause);
    assert_eq!(short(&story.does(finish("a", 1, None))), ["completed a 1", "completed"]);
}

#[test]
fn an_execution_paused_in_the_queue_waits_there_again() {
    let mut story = queued(&two());
    assert_eq!(story.does(ExecutionCommand::Resume), [], "it was not paused");
    story.does(ExecutionCommand::Pause);
    assert_eq!(story.does(begin()), []);
    story.does(ExecutionCommand::Resume);
    assert_eq!(story.state.phase, Some(Phase::Queued));
    assert_eq!(short(&story.does(begin())), ["ExecutionStarted"]);
}

#[test]
fn a_plugin_s_own_execution_closes_its_wakeup_and_that_of_a_pipeline_leaves_it_to_the_pipeline() {
    let mut alone = Story::<Execution>::new();
    alone.record(ExecutionQueued {
        execution: execution(1),
        pipeline: None,
        plugin: Some(name("copy")),
        revision: None,
        steps: steps(&json!([{"name": "copy", "plugin": "copy"}])),
        parameters: Map::new(),
        from_scratch: false,
    });
    assert_eq!(alone.decides(begin()).wakeups, []);
    alone.does(start("copy", 1));
    let stream = StreamId::execution(execution(1));
    assert_eq!(alone.decides(finish("copy", 1, None)).wakeups, [(stream, None)]);
    assert_eq!(queued(&two()).decides(ExecutionCommand::Cancel).wakeups, []);
}
