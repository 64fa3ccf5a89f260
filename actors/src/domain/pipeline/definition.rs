//! The definition of a pipeline, as the file format has it: steps, their programs and policies.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::Name;
use crate::domain::quantity::optional_duration_text;
use crate::domain::retry::RetryPolicy;

/// What a pipeline does. Frozen into each execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its unique name.
    pub name: Name,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Who to ask.
    #[serde(default)]
    pub owner: String,
    /// What an execution may be given.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// How many executions at once.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// 0 to 9; kept for the fair queue across pipelines.
    pub priority: u8,
    /// Its steps, in the order of the file.
    pub steps: Vec<Step>,
}

/// The priority of a pipeline that names none.
pub const DEFAULT_PRIORITY: u8 = 5;

/// A parameter of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// What it accepts.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Its value when none is given; without one it must be given.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub default: Value,
}

/// What a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
}

impl ParameterType {
    /// Whether a JSON value is of this type.
    #[must_use]
    pub fn accepts(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }

    /// What it accepts, for people.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }

    /// Reads a value written as text, as the command line has it.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<Value> {
        if self == Self::String {
            return Some(Value::from(text));
        }
        serde_json::from_str(text).ok().filter(|value| self.accepts(value))
    }
}

/// How many executions of a pipeline run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// At most so many.
    pub executions: u32,
    /// What happens to one more.
    pub on_conflict: OnConflict,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { executions: 1, on_conflict: OnConflict::Queue }
    }
}

/// What happens to an execution for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It waits.
    Queue,
    /// It is refused.
    Reject,
    /// The oldest is cancelled for it.
    Replace,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in the pipeline.
    pub name: Name,
    /// Its programs, run together and joined by backpressured streams; often one or two.
    pub pipe: Vec<StepProgram>,
    /// Where its Singer state is kept; `None` for `<pipeline>/<step>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookmark: Option<String>,
    /// When a failed attempt is followed by another.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// How long one attempt may take; none is unlimited.
    #[serde(default, with = "optional_duration_text", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Steps that end before it begins.
    #[serde(default)]
    pub depends_on: Vec<Name>,
    /// How those have to end.
    #[serde(default)]
    pub when: When,
}

impl Step {
    /// The name of the bookmark it reads and advances.
    #[must_use]
    pub fn bookmark_name(&self, pipeline: &Name) -> String {
        self.bookmark.clone().unwrap_or_else(|| format!("{pipeline}/{}", self.name))
    }
}

/// One program of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepProgram {
    /// The plugin.
    pub plugin: Name,
    /// Its configuration, with `${…}` not yet replaced.
    #[serde(default)]
    pub config: Value,
    /// Its Singer catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Value>,
    /// Streams and properties to select.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub select: Vec<String>,
    /// The operation, for `command` and `flexcore` programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Parameters of the operation.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
}

/// How the steps before have to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All well.
    #[default]
    AllSucceeded,
    /// Anyhow.
    AllDone,
    /// At least one failed, or did not run because one before it failed: for cleaning up and telling people.
    AnyFailed,
}
