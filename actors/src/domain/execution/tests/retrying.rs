//! Attempts: retries with their pauses, lost nodes, and ends that come too late.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::limits::MAX_LOST_ATTEMPTS;

/// One step with this retry policy, begun.
fn with_retry(retry: &Value) -> ExecutionStory {
    begun(&json!([{"name": "a", "plugin": "copy", "retry": retry}]))
}

/// Runs the next attempt of the only step, which ends for this cause.
fn attempt(story: &mut ExecutionStory, cause: CauseKind) -> Vec<ExecutionEvent> {
    let [(step, number)] = startable(story).try_into().expect("one attempt is next");
    story.does(start(&step, number));
    story.does(finish(&step, number, Some(cause)))
}

#[test]
fn a_failed_attempt_is_followed_by_another_after_a_pause() {
    let mut story =
        with_retry(&json!({"attempts": 4, "initial": "10s", "factor": 3, "max": "1m", "jitter": 0}));
    for (number, pause) in [(1, 10), (2, 30), (3, 60)] {
        story.wait(Duration::from_secs(1));
        let due = story.now + SignedDuration::from_secs(pause);
        let events = attempt(&mut story, CauseKind::Signal);
        let expected = StepRetryScheduled {
            step: name("a"),
            attempt: number,
            cause: Cause::new(CauseKind::Signal, "a ended with signal"),
            report: AttemptReport::default(),
            due,
        };
        assert_eq!(events, [expected.into()]);
        let next = Action::Start { step: name("a"), attempt: number + 1, due: Some(due) };
        assert_eq!(story.state.actions(), [next]);
    }
    let events = attempt(&mut story, CauseKind::Timeout);
    assert_eq!(short(&events), ["failed a 4: timeout", "failed: a ended with timeout"]);
    let numbers: Vec<u32> = story.state.steps[0].attempts.iter().map(|a| a.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_later_attempt_may_complete_the_step() {
    let mut story = with_retry(&json!({"attempts": 3}));
    assert_eq!(short(&attempt(&mut story, CauseKind::Oom)), ["retry a 1"]);
    story.does(start("a", 2));
    assert_eq!(short(&story.does(finish("a", 2, None))), ["completed a 2", "completed"]);
    assert_eq!(story.state.steps[0].attempts[0].cause.as_ref().map(|c| c.kind), Some(CauseKind::Oom));
    assert_eq!(story.state.steps[0].attempts[1].cause, None);
}

#[test]
fn only_what_the_policy_names_is_tried_again() {
    let ends = [
        (CauseKind::Timeout, true),
        (CauseKind::Exit, false),
        (CauseKind::Signal, false),
        (CauseKind::SandboxDenied, false),
        (CauseKind::CountsDiffer, false),
    ];
    for (cause, again) in ends {
        let mut story = with_retry(&json!({"attempts": 3, "on": ["timeout"]}));
        let events = attempt(&mut story, cause);
        assert_eq!(matches!(events[0], ExecutionEvent::StepRetryScheduled(_)), again, "{cause:?}");
        assert_eq!(story.state.ended(), !again, "{cause:?}");
    }
}

#[test]
fn a_lost_node_uses_up_no_attempt_and_has_a_bound_of_its_own() {
    let mut story = with_retry(&json!({"attempts": 2}));
    for _ in 0..MAX_LOST_ATTEMPTS {
        let events = attempt(&mut story, CauseKind::LostNode);
        let [ExecutionEvent::StepRetryScheduled(retry)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(retry.due, story.now, "at once");
    }
    assert_eq!(short(&attempt(&mut story, CauseKind::Exit)), ["retry a 11"]);
    let (mut lost, mut used_up) = (story.clone(), story);
    assert_eq!(short(&attempt(&mut lost, CauseKind::LostNode))[0], "failed a 12: lost_node");
    assert_eq!(short(&attempt(&mut used_up, CauseKind::Exit))[0], "failed a 12: exit");
}

#[test]
fn the_pause_of_a_lost_node_does_not_lengthen_the_next() {
    let mut story = with_retry(&json!({"attempts": 3, "initial": "10s", "jitter": 0}));
    attempt(&mut story, CauseKind::LostNode);
    attempt(&mut story, CauseKind::Exit);
    let StepPhase::Retrying { due } = story.state.steps[0].phase else { panic!("{:?}", story.state) };
    assert_eq!(due, story.now + SignedDuration::from_secs(10));
}

#[test]
fn an_end_that_is_not_of_the_running_attempt_is_ignored() {
    let mut story = with_retry(&json!({"attempts": 3}));
    for number in [0, 1, 2] {
        assert_eq!(story.does(finish("a", number, None)), [], "nothing runs yet");
    }
    attempt(&mut story, CauseKind::Exit);
    assert_eq!(story.does(finish("a", 1, None)), [], "it has ended already");
    story.does(start("a", 2));
    for number in [1, 3] {
        assert_eq!(story.does(finish("a", number, None)), []);
    }
    assert_eq!(story.does(finish("zzz", 2, None)), []);
    story.does(finish("a", 2, None));
    let ended = story.state.clone();
    for cause in [None, Some(CauseKind::LostNode)] {
        assert_eq!(story.does(finish("a", 2, cause)), []);
    }
    assert_eq!(story.state, ended);
}

#[test]
fn an_attempt_knows_its_node_and_times() {
    let mut story = with_retry(&json!({}));
    let before: Timestamp = story.now;
    story.does(start("a", 1));
    story.wait(Duration::from_secs(5));
    story.does(finish("a", 1, None));
    let attempt = &story.state.steps[0].attempts[0];
    assert_eq!(
        (attempt.node.as_str(), attempt.started_at, attempt.ended_at),
        ("n1", before, Some(story.now))
    );
}
