//! The parts of the node's answers that commands compute with; everything else is passed on as JSON. Every field is
//! optional here, so that a newer or older node is still understood. Never in here: printing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// An execution.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Execution {
    /// Its id.
    pub id: String,
    /// The pipeline it runs.
    pub pipeline: Option<String>,
    /// The plugin it runs.
    pub plugin: Option<String>,
    /// Its status word.
    pub status: String,
    /// Why it did not complete.
    pub cause: Option<Cause>,
    /// When it was asked for.
    pub queued_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// What a program wrote as its result.
    pub result: Value,
}

/// A step of an execution.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its status word.
    pub status: String,
    /// When its next attempt is due.
    pub next_attempt_at: Option<String>,
    /// What its running attempt waits for, for people.
    pub waiting_for: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// An attempt of a step.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Its status word.
    pub status: String,
    /// Why it did not complete.
    pub cause: Option<Cause>,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Its programs in the order of the pipe.
    pub programs: Vec<Program>,
    /// Records by stream.
    pub streams: BTreeMap<String, Counts>,
    /// Records relayed.
    pub records: u64,
    /// Bytes relayed.
    pub bytes: u64,
    /// Who waited for whom.
    pub waits: Waits,
    /// How full the pipe to the last program is.
    pub pipe_fill_per_mille: Option<u64>,
    /// What a program wrote as its result.
    pub result: Value,
}

/// A program of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Program {
    /// Its plugin.
    pub plugin: String,
    /// Its process id.
    pub pid: Option<i32>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Why it did not complete.
    pub cause: Option<Cause>,
    /// What it used.
    pub usage: Usage,
}

/// What a program used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Milliseconds.
    pub wall_ms: u64,
    /// Milliseconds.
    pub cpu_ms: u64,
    /// Bytes.
    pub peak_memory_bytes: u64,
}

/// Records of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Written by the first program.
    pub read: u64,
    /// Given to the last program.
    pub written: u64,
    /// Refused on the way.
    pub rejected: u64,
}

/// Who waited for whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Waits {
    /// Milliseconds for the program before.
    pub upstream_ms: u64,
    /// Milliseconds for the program after.
    pub downstream_ms: u64,
}

/// Why something did not complete.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// The bare word.
    pub kind: String,
    /// One sentence.
    pub message: String,
}

impl Execution {
    /// Reads the node's answer.
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }

    /// What it runs.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.pipeline.as_deref().or(self.plugin.as_deref()).unwrap_or("")
    }

    /// Records that the attempts of its steps relayed; `None` when there was nothing to relay.
    #[must_use]
    pub fn records(&self) -> Option<u64> {
        self.steps
            .iter()
            .flat_map(|step| &step.attempts)
            .filter_map(Attempt::records_seen)
            .reduce(|a, b| a + b)
    }
}

impl Attempt {
    /// Records relayed so far; `None` when it is one program that gives none, such as a command.
    #[must_use]
    pub fn records_seen(&self) -> Option<u64> {
        let records = self.records.max(self.streams.values().map(|counts| counts.written).sum());
        let relays = records > 0 || self.bytes > 0 || !self.streams.is_empty() || self.programs.len() > 1;
        relays.then_some(records)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind.as_str(), self.message.as_str()) {
            (kind, "") => f.write_str(kind),
            ("", message) => f.write_str(message),
            (kind, message) => write!(f, "{kind}: {message}"),
        }
    }
}
