//! Permits: how many programs run at once, in whose life, and what is lost with a node.

use super::*;
use crate::domain::ids::StreamId;

fn in_life(n: u128, incarnation: Incarnation) -> PluginCommand {
    let granted = granted(&manifest(&json!({})));
    PluginCommand::Admit { attempt: attempt(n), programs: 1, incarnation, granted }
}

#[test]
fn an_admission_records_what_is_granted_and_where_it_runs() {
    let mut story = registered(&json!({}));
    let decision = story.decides(admit(1, 2));
    let started = PluginExecutionStarted {
        attempt: attempt(1),
        programs: 2,
        incarnation: life(1),
        plugin_version: "1".to_owned(),
        capabilities: manifest(&json!({})).capabilities,
        policy: None,
    };
    assert_eq!(decision.events, [started.into()]);
    let stream = StreamId::plugin(&name("copy"));
    assert_eq!(decision.wakeups, [(stream.clone(), Some(story.now))], "a starting node looks at it");
    assert_eq!(story.does(admit(1, 2)), [], "asked again it holds its permit already");
    let decision = story.decides(finish(1, None));
    let usage = Usage { wall_ms: 7, cpu_ms: 5, peak_memory_bytes: 3 };
    assert_eq!(
        decision.events,
        [PluginExecutionCompleted { attempt: attempt(1), cause: None, usage }.into()]
    );
    assert_eq!(decision.wakeups, [(stream, None)], "nothing runs any more");
    assert_eq!(story.does(finish(1, None)), [], "it ends once");
    let state = &story.state;
    assert_eq!((state.total, state.completed, state.failed, state.last_error.as_ref()), (1, 1, 0, None));
}

#[test]
fn as_many_programs_run_as_the_manifest_allows() {
    let mut story = registered(&json!({"concurrency": 3}));
    story.does(admit(1, 2));
    story.does(admit(2, 1));
    assert_eq!(waits(story.refuses(admit(3, 1))), "all 3 permits of plugin copy are in use");
    assert_eq!(story.decides(finish(2, None)).wakeups, [], "another still runs");
    assert_eq!(waits(story.refuses(admit(3, 2))), "all 3 permits of plugin copy are in use");
    assert_eq!(story.does(admit(3, 1)).len(), 1);
    assert_eq!(story.state.programs_running(), 3);
}

#[test]
fn a_step_that_never_fits_is_told_so() {
    let story = registered(&json!({"concurrency": 2}));
    assert_eq!(
        wrong_state(story.refuses(admit(1, 3))),
        "the step needs 3 programs of plugin copy at once, whose concurrency is 2: raise it"
    );
}

#[test]
fn a_grant_of_before_a_revision_admits_nothing() {
    let mut story = registered(&json!({}));
    let narrower = manifest(&json!({"capabilities": {}}));
    story.does(revise(narrower.clone()));
    assert_eq!(waits(story.refuses(admit(1, 1))), "plugin copy was revised meanwhile");
    let granted = Granted { policy: Some("sha256:1".to_owned()), ..granted(&narrower) };
    let again = PluginCommand::Admit { attempt: attempt(1), programs: 1, incarnation: life(1), granted };
    let events = story.does(again);
    let [PluginEvent::PluginExecutionStarted(started)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (&started.capabilities, started.policy.as_deref()),
        (&narrower.capabilities, Some("sha256:1"))
    );
}

#[test]
fn a_lower_concurrency_holds_for_the_next() {
    let mut story = registered(&json!({"concurrency": 3}));
    (1..=3).for_each(|n| drop(story.does(admit(n, 1))));
    story.does(revise(manifest(&json!({"concurrency": 1}))));
    story.does(finish(1, None));
    waits(story.refuses(admit(4, 1)));
    story.does(finish(2, None));
    story.does(finish(3, None));
    assert_eq!(story.does(admit(4, 1)).len(), 1);
}

#[test]
fn s8_an_attempt_belongs_to_one_life_of_a_node() {
    let mut story = registered(&json!({}));
    story.does(admit(1, 1));
    let expected = format!("attempt 1 of step load of execution {} was given to another node", execution(1));
    assert_eq!(story.refuses(in_life(1, life(2))), Rejection::Stale(expected.clone()));
    let late = PluginCommand::Complete {
        attempt: attempt(1),
        incarnation: life(2),
        cause: None,
        usage: Usage::default(),
        log_tail: Vec::new(),
    };
    assert_eq!(story.refuses(late), Rejection::Stale(expected));
    assert_eq!(story.state.running.len(), 1);
}

#[test]
fn what_ran_in_other_lives_is_lost_and_its_late_end_changes_nothing() {
    let mut story = registered(&json!({}));
    for (n, incarnation) in [(1, life(1)), (2, life(2)), (3, life(3))] {
        story.does(in_life(n, incarnation));
    }
    let decision = story.decides(PluginCommand::Lose { ended: vec![life(3), life(1), life(9)] });
    let lost: Vec<(AttemptId, Option<CauseKind>)> = decision
        .events
        .iter()
        .map(|event| match event {
            PluginEvent::PluginExecutionCompleted(e) => (e.attempt.clone(), e.cause.as_ref().map(|c| c.kind)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lost, [(attempt(1), Some(CauseKind::LostNode)), (attempt(3), Some(CauseKind::LostNode))]);
    assert_eq!(decision.wakeups, [], "the second still runs");
    assert_eq!(story.does(finish(1, None)), []);
    assert_eq!(story.does(PluginCommand::Lose { ended: vec![life(1), life(3)] }), []);
    let stream = StreamId::plugin(&name("copy"));
    let decision = story.decides(PluginCommand::Lose { ended: vec![life(2)] });
    assert_eq!((decision.events.len(), decision.wakeups), (1, vec![(stream, None)]));
    assert_eq!((story.state.failed, story.state.health(story.now)), (3, "healthy"), "no crash of the plugin");
}
