//! Tests of the execution aggregate, by theme; what they share is here.

mod control;
mod graph;
mod retrying;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::aggregate::Rejection;
use crate::domain::outcome::{AttemptReport, Cause, CauseKind};
use crate::domain::pipeline::{Step, read_definition};
use crate::domain::story::{Story, execution, name};

type ExecutionStory = Story<Execution>;

fn steps(steps: &Value) -> Vec<Step> {
    read_definition(&json!({"name": "customers", "steps": steps})).unwrap().steps
}

/// An execution of these steps, queued.
fn queued(of: &Value) -> ExecutionStory {
    let mut story = Story::new();
    story.record(ExecutionQueued {
        execution: execution(1),
        pipeline: Some(name("customers")),
        plugin: None,
        revision: Some(1),
        steps: steps(of),
        parameters: Map::new(),
        from_scratch: false,
    });
    story
}

/// An execution of these steps, begun.
fn begun(of: &Value) -> ExecutionStory {
    let mut story = queued(of);
    story.does(begin());
    story
}

fn begin() -> ExecutionCommand {
    ExecutionCommand::Begin { node: "n1".to_owned() }
}

fn start(step: &str, attempt: u32) -> ExecutionCommand {
    ExecutionCommand::StartStep { step: name(step), attempt, node: "n1".to_owned() }
}

fn finish(step: &str, attempt: u32, cause: Option<CauseKind>) -> ExecutionCommand {
    ExecutionCommand::FinishAttempt {
        step: name(step),
        attempt,
        cause: cause.map(|kind| Cause::new(kind, format!("{step} ended with {}", kind.as_str()))),
        report: Box::new(AttemptReport::default()),
        fraction: 0.5,
    }
}

/// What happened, in short: `started a 1`, `skipped c`, `completed`.
fn short(events: &[ExecutionEvent]) -> Vec<String> {
    let one = |event: &ExecutionEvent| match event {
        ExecutionEvent::StepStarted(e) => format!("started {} {}", e.step, e.attempt),
        ExecutionEvent::StepRetryScheduled(e) => format!("retry {} {}", e.step, e.attempt),
        ExecutionEvent::StepCompleted(e) => format!("completed {} {}", e.step, e.attempt),
        ExecutionEvent::StepFailed(e) => {
            format!("failed {} {}: {}", e.step, e.attempt, e.cause.kind.as_str())
        }
        ExecutionEvent::StepSkipped(e) => format!("skipped {}: {}", e.step, e.reason),
        ExecutionEvent::ExecutionFailed(e) => format!("failed: {}", e.cause.message),
        ExecutionEvent::ExecutionCompleted(_) => "completed".to_owned(),
        ExecutionEvent::ExecutionCancelled(_) => "cancelled".to_owned(),
        other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
    };
    events.iter().map(one).collect()
}

/// Runs the first attempt of a step to its end.
fn run(story: &mut ExecutionStory, step: &str, cause: Option<CauseKind>) -> Vec<String> {
    story.does(start(step, 1));
    short(&story.does(finish(step, 1, cause)))
}

/// The steps that may be started now, with their attempts.
fn startable(story: &ExecutionStory) -> Vec<(String, u32)> {
    let start = |action| match action {
        Action::Start { step, attempt, .. } => Some((step.to_string(), attempt)),
        Action::Keep { .. } | Action::Stop { .. } => None,
    };
    story.state.actions().into_iter().filter_map(start).collect()
}

fn wrong_state(rejection: Rejection) -> String {
    match rejection {
        Rejection::WrongState(message) => message,
        other => panic!("expected a wrong state, got {other:?}"),
    }
}

fn stale(rejection: Rejection) -> String {
    match rejection {
        Rejection::Stale(message) => message,
        other => panic!("expected stale, got {other:?}"),
    }
}
