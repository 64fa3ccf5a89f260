//! Pipelines: admission, one end an execution, bookmarks that only move forward in their holder's order (S9).

use std::collections::{BTreeMap, BTreeSet};

use flexcore_actors::domain::pipeline::{
    BookmarkAdvanced, Definition, Holder, Outcome, Pipeline, PipelineCommand, PipelineEvent, Status,
    read_definition,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::history::History;
use crate::{COMMANDS, config, execution_id, name};

fn definition() -> impl Strategy<Value = Definition> {
    (1..4_u32, select(vec!["queue", "reject", "replace"]), "[a-z]{0,3}", select(vec!["1.5s", "0.333s", "61s", "0s"]))
        .prop_map(
        |(room, on_conflict, owner, pause)| {
            read_definition(&json!({
                "name": "customers", "owner": owner, "priority": room,
                "concurrency": {"executions": room, "on_conflict": on_conflict},
                "parameters": {"day": {"type": "string", "default": "${today}"}, "n": {"type": "number", "default": 1.25}},
                "steps": [{"name": "load", "plugin": "copy", "timeout": "1h1ms", "retry": {"initial": pause, "max": "2m", "factor": 1.1},
                           "config": {"a": [1, -2, 0.1, null, {"é": true}], "big": u64::MAX}}],
            }))
            .unwrap()
        },
    )
}

/// States as Singer programs print them, the empty ones included.
fn state() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        any::<(i64, String)>().prop_map(|(n, text)| json!({"bookmarks": {"s": {"at": text, "n": n}}})),
        any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(|n| json!({"n": n})),
    ]
}

/// Something asked of a pipeline; executions are told by how many were started after them.
#[derive(Debug, Clone)]
enum Op {
    Start,
    Complete(u128, Outcome),
    Acquire(u128, u32),
    Advance(u128, u32, u64, Value),
    Plain(PipelineCommand),
}

fn op() -> impl Strategy<Value = Op> {
    let lifecycle = vec![PipelineCommand::Activate, PipelineCommand::Pause, PipelineCommand::Resume];
    let outcome = select(vec![Outcome::Completed, Outcome::Failed, Outcome::Cancelled]);
    let back = || 0..4_u128;
    prop_oneof![
        1 => definition().prop_map(|d| Op::Plain(PipelineCommand::Create(Box::new(d)))),
        3 => definition().prop_map(|d| Op::Plain(PipelineCommand::Revise(Box::new(d)))),
        4 => select(lifecycle).prop_map(Op::Plain),
        1 => Just(Op::Plain(PipelineCommand::Archive)),
        20 => Just(Op::Start),
        12 => (back(), outcome).prop_map(|(n, outcome)| Op::Complete(n, outcome)),
        15 => (back(), 1..4_u32).prop_map(|(n, attempt)| Op::Acquire(n, attempt)),
        40 => (back(), 1..4_u32, 0..20_u64, state()).prop_map(|(n, attempt, sequence, state)| {
            Op::Advance(n, attempt, sequence, state)
        }),
        4 => state().prop_map(|state| Op::Plain(PipelineCommand::SetBookmark { step: name("load"), state })),
        4 => select(vec!["load", "other"])
            .prop_map(|step| Op::Plain(PipelineCommand::ClearBookmark { step: name(step) })),
    ]
}

const BOOKMARK: &str = "customers/load";

fn command(op: Op, started: &mut u128) -> PipelineCommand {
    let told = |back: u128| execution_id(started.saturating_sub(back));
    match op {
        Op::Plain(command) => command,
        Op::Complete(back, outcome) => {
            PipelineCommand::Complete { execution: told(back), outcome, cause: None }
        }
        Op::Acquire(back, attempt) => PipelineCommand::AcquireBookmark {
            name: BOOKMARK.to_owned(),
            step: name("load"),
            execution: told(back),
            attempt,
        },
        Op::Advance(back, attempt, sequence, state) => {
            PipelineCommand::AdvanceBookmark(Box::new(BookmarkAdvanced {
                name: BOOKMARK.to_owned(),
                step: name("load"),
                execution: told(back),
                attempt,
                sequence,
                state,
            }))
        }
        Op::Start => {
            *started += 1;
            let execution = execution_id(*started);
            PipelineCommand::Start { execution, parameters: Map::new(), from_scratch: false }
        }
    }
}

fn holder(state: &Pipeline) -> Option<Holder> {
    state.bookmarks.get(BOOKMARK).and_then(|b| b.holder)
}

/// What must hold between a state and the next.
fn check_step(before: &Pipeline, after: &Pipeline) {
    let definition = after.definition.as_ref().unwrap();
    let admitted = after.open.iter().filter(|id| after.admits(**id)).count();
    assert!(admitted <= usize::try_from(definition.concurrency.executions).unwrap());
    assert!(after.revision >= before.revision && after.revision <= before.revision + 1);
    assert!(before.status != Status::Archived || after.status == Status::Archived, "archived for good");
    if let Some(now) = holder(after) {
        assert!(after.open.contains(&now.execution), "only an open execution holds a bookmark");
        if let Some(then) = holder(before).filter(|then| then.execution == now.execution) {
            let order = |holder: Holder| (holder.attempt, holder.sequence);
            assert!(order(now) >= order(then), "S9: {then:?} must not become {now:?}");
        }
    }
    if let (Some(old), Some(new)) = (before.bookmarks.get(BOOKMARK), after.bookmarks.get(BOOKMARK)) {
        let moved = old.state != new.state && old.holder.is_some();
        assert!(
            !moved || new.holder.is_some_and(|h| new.reached_by == Some(h.execution)),
            "S9: only the holder moves it"
        );
        assert!(!moved || new.state.as_ref().is_some_and(|s| !s.is_null() && *s != json!({})));
    }
}

/// What must hold of the events as a whole.
fn check_history(events: &[PipelineEvent]) {
    let (mut open, mut ended, mut sequences) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for event in events {
        match event {
            PipelineEvent::PipelineStarted(e) => {
                assert!(e.replaces.iter().all(|id| open.contains(id)), "only open ones are replaced");
                assert!(open.insert(e.execution));
            }
            PipelineEvent::PipelineCompleted(e) => {
                assert!(open.remove(&e.execution) && ended.insert(e.execution), "an execution ends once");
            }
            PipelineEvent::BookmarkAcquired(e) => {
                sequences.insert((e.execution, e.attempt), 0);
            }
            PipelineEvent::BookmarkAdvanced(e) => {
                assert!(open.contains(&e.execution), "nothing moves after the end");
                let last = sequences.insert((e.execution, e.attempt), e.sequence);
                assert!(last.is_some_and(|last| last < e.sequence), "S9: acquired before, and rising");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_keeps_the_invariants(first in definition(), ops in prop::collection::vec(op(), 1..COMMANDS)) {
        let (mut history, mut started) = (History::<Pipeline>::new(), 0);
        history.submit(PipelineCommand::Create(Box::new(first))).unwrap();
        for op in ops {
            let before = history.state.clone();
            match history.submit(command(op, &mut started)) {
                Ok(_) => check_step(&before, &history.state),
                Err(rejection) => {
                    prop_assert!(!rejection.to_string().is_empty());
                    prop_assert_eq!(&before, &history.state);
                }
            }
        }
        check_history(&history.events);
        prop_assert_eq!(history.replayed(), history.state);
    }

    #[test]
    fn nothing_exists_before_it_is_created(ops in prop::collection::vec(op(), 1..20)) {
        let (mut history, mut started) = (History::<Pipeline>::new(), 0);
        for op in ops {
            let command = command(op, &mut started);
            let creates = matches!(command, PipelineCommand::Create(_)) || history.state.definition.is_some();
            let before = history.state.clone();
            let result = history.submit(command);
            prop_assert!(creates || result.is_err());
            prop_assert!(creates || before == history.state);
        }
    }
}
