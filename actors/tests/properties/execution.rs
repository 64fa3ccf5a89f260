//! Executions: one terminal event and nothing after it, S7, S8, and liveness: any graph with any outcomes comes to
//! its end when a runner does what `actions` says, and a cancel at any moment ends it as cancelled.

use std::collections::{BTreeMap, BTreeSet};

use flexcore_actors::domain::execution::{
    Action, Execution, ExecutionCommand, ExecutionEvent, ExecutionQueued, Phase,
};
use flexcore_actors::domain::ids::Name;
use flexcore_actors::domain::outcome::{AttemptReport, Cause, ProgramReport, StreamCounts, Usage};
use flexcore_actors::domain::pipeline::{Step, read_definition};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, json};

use crate::history::History;
use crate::{COMMANDS, config, execution_id, name};

/// Most steps of a random graph.
const STEPS: usize = 7;
/// A bound on what a runner does for one execution: steps × (attempts + lost ones) × 2, with room.
const ROUNDS: usize = 1_000;

/// A random acyclic graph, listed in a random order.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<u8>(), select(vec!["all_succeeded", "all_done", "any_failed"]), 1..4_u32);
    prop::collection::vec(step, 1..=STEPS)
        .prop_map(|steps| {
            let step = |(n, (before, when, attempts)): (usize, (u8, &str, u32))| {
                let depends_on: Vec<String> =
                    (0..n).filter(|i| before >> i & 1 == 1).map(|i| format!("s{i}")).collect();
                json!({"name": format!("s{n}"), "plugin": "copy", "when": when, "depends_on": depends_on,
                       "retry": {"attempts": attempts, "initial": "1s", "jitter": 0.5}})
            };
            let steps: Vec<_> = steps.into_iter().enumerate().map(step).collect();
            read_definition(&json!({"name": "p", "steps": steps})).unwrap().steps
        })
        .prop_shuffle()
}

fn queued(steps: Vec<Step>) -> History<Execution> {
    let mut history = History::new();
    let queued = ExecutionQueued {
        execution: execution_id(1),
        pipeline: Some(name("p")),
        plugin: None,
        revision: Some(3),
        steps,
        parameters: Map::from_iter([("n".to_owned(), json!(-0.5))]),
        from_scratch: true,
    };
    history.record(&queued.into());
    history
}

fn report(n: u64) -> Box<AttemptReport> {
    let usage = Usage { wall_ms: n, cpu_ms: n, peak_memory_bytes: n };
    let program = ProgramReport {
        plugin: name("copy"),
        pid: None,
        exit_code: Some(-1),
        cause: None,
        usage,
        network: None,
        sandbox: None,
        denials: Vec::new(),
        warm: false,
    };
    let counts = StreamCounts { read: n, written: n, rejected: 0 };
    let streams = BTreeMap::from_iter([("é".to_owned(), counts)]);
    Box::new(AttemptReport { programs: vec![program], streams, bytes: n, ..AttemptReport::default() })
}

fn finish(step: Name, attempt: u32, cause: Option<Cause>, n: u64) -> ExecutionCommand {
    let fraction = (n % 1_000) as f64 / 1_000.0;
    ExecutionCommand::FinishAttempt { step, attempt, cause, report: report(n), fraction }
}

fn command() -> impl Strategy<Value = ExecutionCommand> {
    let step = || (0..STEPS).prop_map(|n| name(&format!("s{n}")));
    let node = || "n1".to_owned();
    prop_oneof![
        4 => Just(ExecutionCommand::Begin { node: node() }),
        30 => (step(), 1..4_u32)
            .prop_map(move |(step, attempt)| ExecutionCommand::StartStep { step, attempt, node: node() }),
        30 => (step(), 1..4_u32, crate::end(), any::<u64>())
            .prop_map(|(step, attempt, cause, n)| finish(step, attempt, cause, n)),
        1 => Just(ExecutionCommand::Cancel),
        3 => Just(ExecutionCommand::Pause),
        6 => Just(ExecutionCommand::Resume),
    ]
}

fn starts(state: &Execution) -> bool {
    state.actions().iter().any(|action| matches!(action, Action::Start { .. }))
}

/// What must hold of every state.
fn check_state(state: &Execution) {
    assert!(!(state.cancel_requested || state.ended()) || !starts(state), "S7");
    assert!(!state.ended() || state.actions().is_empty(), "nothing is left to do at the end");
    for step in &state.steps {
        let numbers = step.attempts.iter().map(|a| a.number);
        assert!(
            numbers.eq(1..=u32::try_from(step.attempts.len()).unwrap()),
            "attempts are numbered 1, 2, 3 …"
        );
        let live = step.attempts.iter().filter(|a| a.ended_at.is_none()).count();
        assert!(live <= 1, "S8");
    }
}

/// What must hold of the events as a whole.
fn check_history(events: &[ExecutionEvent]) {
    let (mut running, mut ended) = (BTreeMap::new(), BTreeSet::new());
    let (mut cancelled, mut over) = (false, false);
    for event in events {
        assert!(!over, "nothing after the terminal event: {event:?}");
        match event {
            ExecutionEvent::ExecutionCancelRequested(_) => {
                assert!(!std::mem::replace(&mut cancelled, true), "a cancel is recorded once");
            }
            ExecutionEvent::StepStarted(e) => {
                assert!(!cancelled, "S7");
                assert!(!ended.contains(&e.step), "a step that ended is not started again");
                assert_eq!(running.insert(e.step.clone(), e.attempt), None, "S8");
            }
            ExecutionEvent::StepRetryScheduled(e) => {
                assert!(!cancelled, "S7: no retry after a cancel");
                assert_eq!(running.remove(&e.step), Some(e.attempt));
            }
            ExecutionEvent::StepCompleted(e) => {
                assert_eq!(running.remove(&e.step), Some(e.attempt));
                assert!(ended.insert(e.step.clone()), "a step ends once");
            }
            ExecutionEvent::StepFailed(e) => {
                assert_eq!(running.remove(&e.step), Some(e.attempt));
                assert!(ended.insert(e.step.clone()), "a step ends once");
            }
            ExecutionEvent::StepSkipped(e) => assert!(ended.insert(e.step.clone()), "a step ends once"),
            ExecutionEvent::ExecutionCompleted(_) | ExecutionEvent::ExecutionFailed(_) => {
                assert!(running.is_empty() && !cancelled);
                over = true;
            }
            ExecutionEvent::ExecutionCancelled(_) => {
                assert!(running.is_empty() && cancelled, "it ends when everything it started is gone");
                over = true;
            }
            _ => {}
        }
    }
}

/// Does what `actions` says until nothing is left: starts what may start when it is due, and lets one running
/// attempt end at a time, as `ends` has it. Cancels before round `cancel_at`.
fn drive(history: &mut History<Execution>, ends: &[Option<Cause>], cancel_at: usize) {
    let mut ends = ends.iter().cycle();
    for round in 0..ROUNDS {
        if round == cancel_at && !history.state.ended() {
            history.submit(ExecutionCommand::Cancel).unwrap();
        }
        check_state(&history.state);
        let actions = history.state.actions();
        if history.state.phase == Some(Phase::Queued) {
            history.submit(ExecutionCommand::Begin { node: "n1".to_owned() }).unwrap();
            continue;
        }
        let start = actions.iter().find(|action| matches!(action, Action::Start { .. }));
        let Some(action) = start.or_else(|| actions.get(round % actions.len().max(1))) else { return };
        let command = match action.clone() {
            Action::Start { step, attempt, due } => {
                history.now = due.map_or(history.now, |due| due.max(history.now));
                ExecutionCommand::StartStep { step, attempt, node: "n1".to_owned() }
            }
            Action::Keep { step, attempt } => {
                finish(step, attempt, ends.next().cloned().flatten(), round as u64)
            }
            Action::Stop { step, attempt } => finish(step, attempt, None, round as u64),
        };
        let decision = history.submit(command).unwrap();
        assert!(!decision.events.is_empty(), "what actions says is never without effect");
    }
    panic!("no end after {ROUNDS} rounds: {:?}", history.state);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_keeps_the_invariants(steps in steps(), commands in prop::collection::vec(command(), 1..2 * COMMANDS)) {
        let mut history = queued(steps);
        for command in commands {
            let before = history.state.clone();
            match history.submit(command) {
                Ok(_) => check_state(&history.state),
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
    fn any_graph_comes_to_its_end(steps in steps(), ends in prop::collection::vec(crate::end(), 1..40)) {
        let mut history = queued(steps);
        drive(&mut history, &ends, usize::MAX);
        prop_assert!(matches!(history.state.phase, Some(Phase::Completed | Phase::Failed)), "{:?}", history.state);
        prop_assert!(history.state.steps.iter().all(|s| s.phase.ended()));
        let failed = history.events.iter().any(|e| matches!(e, ExecutionEvent::StepFailed(_)));
        prop_assert_eq!(history.state.phase == Some(Phase::Failed), failed);
        check_history(&history.events);
        prop_assert_eq!(history.replayed(), history.state);
    }

    #[test]
    fn a_cancel_at_any_moment_ends_it_as_cancelled(
        steps in steps(), ends in prop::collection::vec(crate::end(), 1..40), cancel_at in 0..30_usize,
    ) {
        let mut history = queued(steps);
        drive(&mut history, &ends, cancel_at);
        check_history(&history.events);
        let expected_cancelled = history.state.cancel_requested;
        prop_assert_eq!(history.state.phase == Some(Phase::Cancelled), expected_cancelled);
        prop_assert_eq!(history.replayed(), history.state);
    }
}
