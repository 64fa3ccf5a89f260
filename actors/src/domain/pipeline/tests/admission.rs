//! Which executions a pipeline accepts, admits, keeps waiting or replaces, and how it closes them.

use super::*;
use crate::domain::codec::EventSet;
use crate::domain::execution::{ExecutionEvent, ExecutionQueued};
use crate::domain::ids::StreamId;
use crate::domain::outcome::{Cause, CauseKind};
use crate::limits::MAX_QUEUED_EXECUTIONS;

#[test]
fn a_start_opens_the_execution_with_everything_it_will_run() {
    for status in [Status::Draft, Status::Active] {
        let mut story = in_status(status);
        story.does(PipelineCommand::Revise(Box::new(definition(&json!({"owner": "data-team"})))));
        let parameters = Map::from_iter([("day".to_owned(), json!("2026-01-01"))]);
        let decision = story.decides(PipelineCommand::Start {
            execution: execution(7),
            parameters: parameters.clone(),
            from_scratch: true,
        });
        let started = PipelineStarted { execution: execution(7), revision: 2, replaces: vec![] };
        assert_eq!(decision.events, [started.into()]);
        let stream = StreamId::execution(execution(7));
        assert_eq!(decision.wakeups, [(stream.clone(), Some(story.now))]);
        assert_eq!(decision.answer.execution_id, Some(execution(7)));
        let [(opened, first)] = decision.opens.as_slice() else { panic!("{:?}", decision.opens) };
        assert_eq!((opened, first.len(), first[0].kind), (&stream, 1, "ExecutionQueued"));
        let queued = ExecutionEvent::decode(first[0].kind, first[0].schema_version, &first[0].payload);
        let expected = ExecutionQueued {
            execution: execution(7),
            pipeline: Some(name("customers")),
            plugin: None,
            revision: Some(2),
            steps: definition(&json!({})).steps,
            parameters,
            from_scratch: true,
        };
        assert_eq!(queued.unwrap(), expected.into());
        assert_eq!((open(&story), story.state.last_execution), (vec![execution(7)], Some(execution(7))));
    }
}

#[test]
fn a_paused_or_archived_pipeline_starts_nothing() {
    let paused = wrong_state(in_status(Status::Paused).refuses(start(1)));
    assert_eq!(paused, "pipeline customers is paused and cannot be started: resume it first");
    let archived = wrong_state(in_status(Status::Archived).refuses(start(1)));
    assert_eq!(
        archived,
        "pipeline customers is archived and cannot be started: create another under a new name"
    );
}

#[test]
fn one_too_many_waits_and_is_admitted_in_order() {
    let mut story = draft(&json!({"concurrency": {"executions": 2}}));
    for n in 1..=4 {
        assert_eq!(story.does(start(n)).len(), 1);
    }
    let admitted = |story: &PipelineStory| -> Vec<u128> {
        (1..=5).filter(|n| story.state.admits(execution(*n))).collect()
    };
    assert_eq!(admitted(&story), [1, 2]);
    story.does(complete(1));
    assert_eq!(admitted(&story), [2, 3]);
    story.does(complete(4));
    assert_eq!(admitted(&story), [2, 3], "one that waited and was cancelled frees no place");
    story.does(complete(2));
    story.does(complete(3));
    assert_eq!(admitted(&story), [0_u128; 0]);
}

#[test]
fn the_queue_is_bounded_beyond_what_runs() {
    for on_conflict in ["queue", "replace"] {
        let mut story = draft(&json!({"concurrency": {"executions": 3, "on_conflict": on_conflict}}));
        let most = u128::try_from(MAX_QUEUED_EXECUTIONS).unwrap() + 3;
        for n in 0..most {
            story.does(start(n));
        }
        assert_eq!(
            story.refuses(start(most)),
            Rejection::Overloaded("executions of pipeline customers".to_owned())
        );
        story.does(complete(0));
        assert_eq!(story.does(start(most)).len(), 1);
    }
}

#[test]
fn reject_refuses_one_too_many() {
    let mut story = draft(&json!({"concurrency": {"executions": 2, "on_conflict": "reject"}}));
    story.does(start(1));
    story.does(start(2));
    assert_eq!(
        wrong_state(story.refuses(start(3))),
        "pipeline customers has 2 open executions, and its concurrency is 2: wait for one to end, or cancel it"
    );
    story.does(complete(1));
    assert_eq!(story.does(start(3)).len(), 1);
}

#[test]
fn replace_names_the_oldest_that_have_to_go() {
    let mut story = draft(&json!({"concurrency": {"executions": 2, "on_conflict": "replace"}}));
    let mut replaced = |n| {
        let events = story.does(start(n));
        let [PipelineEvent::PipelineStarted(started)] = events.as_slice() else { panic!("{events:?}") };
        started.replaces.clone()
    };
    assert_eq!(replaced(1), []);
    assert_eq!(replaced(2), []);
    assert_eq!(replaced(3), [execution(1)]);
    assert_eq!(replaced(4), [execution(1), execution(2)], "the first has not ended yet");
    assert!(!story.state.admits(execution(3)), "it waits for the end of the one that it replaces");
    story.does(complete(1));
    assert!(story.state.admits(execution(3)));
}

#[test]
fn an_execution_is_completed_once() {
    let mut story = draft(&json!({}));
    story.does(start(1));
    let cause = Some(Cause::new(CauseKind::Exit, "copy ended with exit code 3"));
    let command =
        PipelineCommand::Complete { execution: execution(1), outcome: Outcome::Failed, cause: cause.clone() };
    let decision = story.decides(command.clone());
    let completed = PipelineCompleted { execution: execution(1), outcome: Outcome::Failed, cause };
    assert_eq!(decision.events, [completed.into()]);
    assert_eq!(decision.wakeups, [(StreamId::execution(execution(1)), None)]);
    assert_eq!(open(&story), []);
    assert_eq!(story.decides(command).events, [], "a reaction that is tried again changes nothing");
    assert_eq!(story.does(complete(9)), [], "nor does one about an execution that was never started");
}

#[test]
fn executions_end_in_every_status_of_their_pipeline() {
    for command in [PipelineCommand::Pause, PipelineCommand::Archive] {
        let mut story = in_status(Status::Active);
        story.does(start(1));
        story.does(command);
        assert_eq!(story.does(complete(1)).len(), 1);
    }
}

#[test]
fn a_revision_changes_how_many_run() {
    let mut story = draft(&json!({"concurrency": {"executions": 2}}));
    (1..=2).for_each(|n| drop(story.does(start(n))));
    let narrower = definition(&json!({"concurrency": {"executions": 1}}));
    story.does(PipelineCommand::Revise(Box::new(narrower)));
    assert!(story.state.admits(execution(1)) && !story.state.admits(execution(2)));
}
