//! Tests of the pipeline aggregate, by theme; what they share is here.

mod admission;
mod bookmarks;
mod lifecycle;
mod reading;
mod template;
mod validation;

use serde_json::{Map, Value, json};

use super::*;
use crate::domain::aggregate::Rejection;
use crate::domain::ids::ExecutionId;
use crate::domain::story::{Story, execution, name};

type PipelineStory = Story<Pipeline>;

/// A definition with steps `load` and `check`, and further keys.
fn definition(more: &Value) -> Definition {
    let mut file = json!({"kind": "Pipeline", "name": "customers", "steps": [
        {"name": "load", "plugin": "copy"},
        {"name": "check", "plugin": "copy", "depends_on": ["load"], "bookmark": "seen"},
    ]});
    file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read_definition(&file).unwrap()
}

/// A draft of [`definition`].
fn draft(more: &Value) -> PipelineStory {
    let mut story = Story::new();
    story.does(PipelineCommand::Create(Box::new(definition(more))));
    story
}

/// A pipeline in each state in which it exists.
fn in_status(status: Status) -> PipelineStory {
    let mut story = draft(&json!({}));
    let commands = match status {
        Status::Draft => vec![],
        Status::Active => vec![PipelineCommand::Activate],
        Status::Paused => vec![PipelineCommand::Activate, PipelineCommand::Pause],
        Status::Archived => vec![PipelineCommand::Archive],
    };
    for command in commands {
        story.does(command);
    }
    assert_eq!(story.state.status, status);
    story
}

fn start(n: u128) -> PipelineCommand {
    PipelineCommand::Start { execution: execution(n), parameters: Map::new(), from_scratch: false }
}

fn complete(n: u128) -> PipelineCommand {
    PipelineCommand::Complete { execution: execution(n), outcome: Outcome::Completed, cause: None }
}

/// The text of a refusal that has to be for the state's sake.
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

fn open(story: &PipelineStory) -> Vec<ExecutionId> {
    story.state.open.clone()
}
