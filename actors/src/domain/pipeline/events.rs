//! What happens to a pipeline. Payloads are immutable contracts: a changed shape is a new schema version.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::Definition;
use crate::domain::codec::event_set;
use crate::domain::ids::{ExecutionId, Name};
use crate::domain::outcome::Cause;

/// It came into being, as a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineCreated {
    /// What it does.
    pub definition: Definition,
}

/// Its definition changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineRevised {
    /// Its number, from 2.
    pub revision: u64,
    /// What it does now.
    pub definition: Definition,
}

/// It left the draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineActivated {}

/// It starts nothing until resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelinePaused {}

/// It goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineResumed {}

/// It never starts again; its name stays reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineArchived {}

/// An execution of it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineStarted {
    /// The execution.
    pub execution: ExecutionId,
    /// The revision it runs.
    pub revision: u64,
    /// Executions that are cancelled for it (`on_conflict: replace`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<ExecutionId>,
}

/// An execution of it ended; its bookmarks are free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineCompleted {
    /// The execution.
    pub execution: ExecutionId,
    /// How.
    pub outcome: Outcome,
    /// Why it did not complete.
    pub cause: Option<Cause>,
}

/// How an execution ended, seen from its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Completed,
    /// Otherwise.
    Failed,
    /// By a cancel.
    Cancelled,
}

/// An attempt holds a bookmark: only it may advance it, until its execution ends or a later attempt takes it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookmarkAcquired {
    /// The bookmark.
    pub name: String,
    /// The step.
    pub step: Name,
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
}

/// The holder reached a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BookmarkAdvanced {
    /// The bookmark.
    pub name: String,
    /// The step.
    pub step: Name,
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
    /// Rises with each state of the attempt; some are never stored.
    pub sequence: u64,
    /// The Singer state.
    pub state: Value,
}

/// An operator set a bookmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BookmarkSet {
    /// The bookmark.
    pub name: String,
    /// The step.
    pub step: Name,
    /// The Singer state.
    pub state: Value,
}

/// An operator cleared a bookmark: the next execution begins at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookmarkCleared {
    /// The bookmark.
    pub name: String,
    /// The step.
    pub step: Name,
}

event_set! {
    /// What can happen to a pipeline.
    PipelineEvent {
        PipelineCreated = 1,
        PipelineRevised = 1,
        PipelineActivated = 1,
        PipelinePaused = 1,
        PipelineResumed = 1,
        PipelineArchived = 1,
        PipelineStarted = 1,
        PipelineCompleted = 1,
        BookmarkAcquired = 1,
        BookmarkAdvanced = 1,
        BookmarkSet = 1,
        BookmarkCleared = 1,
    }
}
