//! What happens to an execution. Payloads are immutable contracts: a changed shape is a new schema version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::codec::event_set;
use crate::domain::ids::{ExecutionId, Name};
use crate::domain::outcome::{AttemptReport, Cause, Usage};
use crate::domain::pipeline::Step;

/// It was asked for; holds everything it will run, frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionQueued {
    /// Its id.
    pub execution: ExecutionId,
    /// The pipeline it runs; absent when it runs a plugin alone.
    pub pipeline: Option<Name>,
    /// The plugin it runs alone.
    pub plugin: Option<Name>,
    /// The pipeline's revision.
    pub revision: Option<u64>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Its parameters, defaults filled in.
    pub parameters: Map<String, Value>,
    /// Whether its first attempts ignore the bookmarks.
    pub from_scratch: bool,
}

/// It began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionStarted {
    /// The node that runs it.
    pub node: String,
}

/// Cancel is durable: nothing of it is started any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionCancelRequested {}

/// Nothing new is started until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionPaused {}

/// It goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionResumed {}

/// An attempt of a step began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStarted {
    /// The step.
    pub step: Name,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The node that runs it.
    pub node: String,
}

/// An attempt failed and another follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRetryScheduled {
    /// The step.
    pub step: Name,
    /// The attempt that failed.
    pub attempt: u32,
    /// Why.
    pub cause: Cause,
    /// What was measured.
    pub report: AttemptReport,
    /// When the next is due.
    pub due: Timestamp,
}

/// A step ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCompleted {
    /// The step.
    pub step: Name,
    /// The attempt that did it.
    pub attempt: u32,
    /// What was measured.
    pub report: AttemptReport,
}

/// A step ended otherwise, for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepFailed {
    /// The step.
    pub step: Name,
    /// Its last attempt.
    pub attempt: u32,
    /// Why.
    pub cause: Cause,
    /// What was measured.
    pub report: AttemptReport,
}

/// A step will not run, because of how those before it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSkipped {
    /// The step.
    pub step: Name,
    /// Why, for people.
    pub reason: String,
}

/// All steps ended, none failed. One of the three terminal events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionCompleted {
    /// What its programs used together; `peak_memory_bytes` is the largest.
    pub usage: Usage,
    /// Records relayed by its completed attempts.
    pub records: u64,
}

/// All steps ended, at least one failed. One of the three terminal events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionFailed {
    /// Why the first of them failed.
    pub cause: Cause,
    /// What its programs used together.
    pub usage: Usage,
    /// Records relayed by its completed attempts.
    pub records: u64,
}

/// It was cancelled and everything it started is proven gone. One of the three terminal events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionCancelled {
    /// What its programs used together.
    pub usage: Usage,
    /// Records relayed by its completed attempts.
    pub records: u64,
}

event_set! {
    /// What can happen to an execution.
    ExecutionEvent {
        ExecutionQueued = 1,
        ExecutionStarted = 1,
        ExecutionCancelRequested = 1,
        ExecutionPaused = 1,
        ExecutionResumed = 1,
        StepStarted = 1,
        StepRetryScheduled = 1,
        StepCompleted = 1,
        StepFailed = 1,
        StepSkipped = 1,
        ExecutionCompleted = 1,
        ExecutionFailed = 1,
        ExecutionCancelled = 1,
    }
}
