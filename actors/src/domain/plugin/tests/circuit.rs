//! The circuit: what opens it, what does not, and how it closes.

use std::time::Duration;

use super::*;
use crate::domain::plugin::state::Quarantine;
use crate::limits::{CIRCUIT_FAILURES, CIRCUIT_WINDOW, LOG_TAIL_CHARS, LOG_TAIL_LINES};

/// Admits and ends one attempt.
fn ends(story: &mut PluginStory, kind: Option<CauseKind>) -> Vec<PluginEvent> {
    story.does(admit(1, 1));
    story.does(finish(1, kind))
}

/// A plugin that crashed so often, without opening its circuit.
fn crashed(times: usize) -> PluginStory {
    let mut story = registered(&json!({}));
    for _ in 0..times {
        assert_eq!(ends(&mut story, Some(CauseKind::Signal)).len(), 1);
    }
    story
}

#[test]
fn crashes_within_the_window_open_it() {
    for kind in [CauseKind::Signal, CauseKind::ProtocolError, CauseKind::StartFailed] {
        let mut story = crashed(CIRCUIT_FAILURES - 1);
        assert_eq!(story.state.health(story.now), "backing_off");
        story.wait(CIRCUIT_WINDOW - Duration::from_millis(1));
        let events = ends(&mut story, Some(kind));
        let log_tail = vec!["a last word".to_owned()];
        let opened = PluginQuarantined { cause: cause(kind), failures: 5, log_tail: log_tail.clone() };
        assert_eq!(events[1..], [opened.into()]);
        let since = story.now;
        let quarantine = Quarantine { cause: cause(kind), failures: 5, log_tail, since };
        assert_eq!(story.state.quarantined, Some(quarantine));
        assert_eq!(story.state.health(story.now), "quarantined");
        let message = format!(
            "plugin copy is quarantined (copy ended with {}): an operator has to release it",
            kind.as_str()
        );
        assert_eq!(waits(story.refuses(admit(2, 1))), message);
    }
}

#[test]
fn of_a_log_as_much_is_kept_as_an_event_may_hold() {
    let mut story = crashed(CIRCUIT_FAILURES - 1);
    story.does(admit(1, 1));
    let mut lines: Vec<String> = (0..LOG_TAIL_LINES).map(|n| format!("line {n}")).collect();
    lines.push("é".repeat(LOG_TAIL_CHARS + 1));
    let PluginCommand::Complete { attempt, incarnation, cause, usage, .. } =
        finish(1, Some(CauseKind::Signal))
    else {
        unreachable!("it is made so")
    };
    story.does(PluginCommand::Complete { attempt, incarnation, cause, usage, log_tail: lines });
    let kept = story.state.quarantined.unwrap().log_tail;
    assert_eq!((kept.len(), kept[0].as_str()), (LOG_TAIL_LINES, "line 1"));
    assert_eq!(kept.last().unwrap(), &format!("{}…", "é".repeat(LOG_TAIL_CHARS)));
}

#[test]
fn crashes_further_apart_do_not() {
    let mut story = crashed(CIRCUIT_FAILURES - 1);
    story.wait(CIRCUIT_WINDOW);
    assert_eq!(ends(&mut story, Some(CauseKind::Signal)).len(), 1);
    assert_eq!(story.state.health(story.now), "backing_off");
    assert_eq!(story.state.crashes.len(), 1, "old ones are forgotten");
    story.wait(CIRCUIT_WINDOW);
    assert_eq!(story.state.health(story.now), "healthy");
}

#[test]
fn what_a_configuration_can_cause_never_opens_it() {
    let kinds = [
        CauseKind::Exit,
        CauseKind::Oom,
        CauseKind::Timeout,
        CauseKind::SandboxDenied,
        CauseKind::LostNode,
        CauseKind::CountsDiffer,
        CauseKind::Cancelled,
    ];
    for kind in kinds {
        let mut story = crashed(CIRCUIT_FAILURES - 1);
        for _ in 0..2 * CIRCUIT_FAILURES {
            assert_eq!(ends(&mut story, Some(kind)).len(), 1, "{kind:?}");
        }
        assert_eq!(story.state.quarantined, None, "{kind:?}");
        assert_eq!(story.state.last_error, Some(cause(kind)));
    }
}

#[test]
fn a_success_clears_the_count() {
    let mut story = crashed(CIRCUIT_FAILURES - 1);
    ends(&mut story, None);
    assert_eq!(story.state.health(story.now), "healthy");
    for _ in 0..CIRCUIT_FAILURES - 1 {
        assert_eq!(ends(&mut story, Some(CauseKind::Signal)).len(), 1);
    }
    assert_eq!(ends(&mut story, Some(CauseKind::Signal)).len(), 2);
}

#[test]
fn it_opens_once_and_an_operator_closes_it() {
    let mut story = registered(&json!({}));
    let many = u128::try_from(CIRCUIT_FAILURES).unwrap() + 2;
    (1..=many).for_each(|n| drop(story.does(admit(n, 1))));
    let opened = (1..=many)
        .flat_map(|n| story.does(finish(n, Some(CauseKind::Signal))))
        .filter(|event| matches!(event, PluginEvent::PluginQuarantined(_)))
        .count();
    assert_eq!(opened, 1);
    assert_eq!(story.does(PluginCommand::Release), [PluginReleased {}.into()]);
    assert_eq!(story.does(PluginCommand::Release), [], "it is closed already");
    assert_eq!(story.state.health(story.now), "healthy");
    for _ in 0..CIRCUIT_FAILURES - 1 {
        assert_eq!(ends(&mut story, Some(CauseKind::Signal)).len(), 1, "it counts anew");
    }
}

#[test]
fn a_success_of_what_still_ran_does_not_close_it() {
    let mut story = registered(&json!({}));
    story.does(admit(9, 1));
    for _ in 0..CIRCUIT_FAILURES {
        ends(&mut story, Some(CauseKind::Signal));
    }
    story.does(finish(9, None));
    assert_eq!(story.state.health(story.now), "quarantined");
}
