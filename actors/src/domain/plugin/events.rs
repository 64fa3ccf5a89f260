//! What happens to a plugin. Payloads are immutable contracts: a changed shape is a new schema version.

use serde::{Deserialize, Serialize};

use super::manifest::{Capabilities, Manifest};
use crate::domain::codec::event_set;
use crate::domain::ids::{ExecutionId, Incarnation, Name};
use crate::domain::outcome::{Cause, Usage};

/// It became known, with what it is granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRegistered {
    /// What it is.
    pub manifest: Manifest,
}

/// Its manifest changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRevised {
    /// What it is now.
    pub manifest: Manifest,
}

/// It may be executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEnabled {}

/// It may not be executed for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDisabled {}

/// It is never executed again; its name stays reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRetired {}

/// The attempt of a step that a plugin works for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub step: Name,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// It was admitted to an attempt and is being started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginExecutionStarted {
    /// For which attempt.
    #[serde(flatten)]
    pub attempt: AttemptId,
    /// How many programs of it.
    pub programs: u32,
    /// The life of the node that runs it.
    pub incarnation: Incarnation,
    /// The manifest's version.
    pub plugin_version: String,
    /// What it was granted.
    pub capabilities: Capabilities,
}

/// Everything it started for an attempt is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginExecutionCompleted {
    /// For which attempt.
    #[serde(flatten)]
    pub attempt: AttemptId,
    /// Why it did not complete; absent when it did.
    pub cause: Option<Cause>,
    /// What it used, its programs together.
    pub usage: Usage,
}

/// Its circuit opened: too many crashes in a short time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginQuarantined {
    /// The last of the crashes.
    pub cause: Cause,
    /// How many crashes were counted.
    pub failures: u32,
}

/// An operator closed its circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReleased {}

event_set! {
    /// What can happen to a plugin.
    PluginEvent {
        PluginRegistered = 1,
        PluginRevised = 1,
        PluginEnabled = 1,
        PluginDisabled = 1,
        PluginRetired = 1,
        PluginExecutionStarted = 1,
        PluginExecutionCompleted = 1,
        PluginQuarantined = 1,
        PluginReleased = 1,
    }
}
