//! The plugin host: runs the programs of one attempt of a step and tells how they ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::BoxFuture;
use crate::domain::ids::{ExecutionId, Name};
use crate::domain::outcome::{AttemptReport, Cause};
use crate::domain::plugin::{Leads, Manifest};
use crate::domain::problem::Problems;
use crate::domain::secret::SecretPlace;

/// Everything a host needs to run one attempt.
#[derive(Debug, Clone)]
pub struct PipeSpec {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub step: Name,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The programs, in the order of the pipe; one or more.
    pub programs: Vec<ProgramSpec>,
    /// The bookmark to start from (`--state`); `None` at the first run and with `--from-scratch`.
    pub state: Option<Value>,
    /// How long the programs have to end by themselves when they are stopped.
    pub grace: Duration,
    /// Answers the calls that programs of the flexcore protocol make.
    pub calls: Arc<dyn Calls>,
}

/// A call of a program, as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The program, by its index in the pipe.
    pub program: usize,
    /// The program's own number of the call: a repetition within the attempt records nothing again.
    pub id: u64,
    /// The call's name.
    pub api: String,
    /// Its arguments, without the values of secrets.
    pub arguments: Value,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallRefusal {
    /// The program's manifest does not grant it.
    #[error("not granted: add it to capabilities.api of the manifest")]
    NotGranted,
    /// It is wrong, or could not be carried out; a person's sentence.
    #[error("{0}")]
    Failed(String),
}

/// Answers calls: the inside does, and decides who may make which.
pub trait Calls: std::fmt::Debug + Send + Sync {
    /// Carries out a call and gives its answer. Whatever it records, it records once for each [`Asked::id`], and not
    /// when the execution was cancelled before.
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Value, CallRefusal>>;
}

/// One program of a pipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProgramSpec {
    /// The plugin's manifest: command, protocol, environment, limits, capabilities.
    pub manifest: Manifest,
    /// Where paths that it is granted led by links when it was registered: they must lead there still. Absent where
    /// nobody looked.
    pub leads: Option<Leads>,
    /// Its configuration, every `${…}` replaced but those of secrets.
    pub config: Value,
    /// Where in the configuration secrets belong. The host writes them there for the program alone: nothing that holds
    /// their values is given back, logged or recorded.
    pub secrets: Vec<SecretPlace>,
    /// Its Singer catalog, passed only when one was given.
    pub catalog: Option<Value>,
    /// Patterns of streams and properties to select (`stream.property`), empty for the program's own default.
    pub select: Vec<String>,
    /// The operation, for `command` and `flexcore` programs.
    pub operation: Option<String>,
    /// Parameters of the operation.
    pub parameters: Value,
}

/// What a host tells while the programs run. The channel is bounded; the host waits when it is full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostEvent {
    /// Something that stands before the programs' start takes long, such as building an environment; in words for
    /// people.
    Preparing(String),
    /// A program was started, by its index in the pipe.
    Started {
        /// The index.
        program: usize,
        /// Its process id.
        pid: u32,
    },
    /// Every program has ended; what they left is being removed.
    CleaningUp,
    /// The last program reached this bookmark, in order. Never `null` or an empty object.
    State(Value),
}

/// How an attempt ended: `cause` is absent when every program completed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Why it did not complete; a program that ended because of our own signal is no cause of its own.
    pub cause: Option<Cause>,
    /// What was measured.
    pub report: AttemptReport,
}

/// Live counters of a running attempt, read by anyone without a message.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records relayed.
    pub records: AtomicU64,
    /// Bytes relayed.
    pub bytes: AtomicU64,
    /// Milliseconds spent waiting for the upstream program.
    pub upstream_ms: AtomicU64,
    /// Milliseconds spent waiting for the downstream program.
    pub downstream_ms: AtomicU64,
    /// How full the pipe to the downstream program is, in per mille.
    pub fill_per_mille: AtomicU64,
}

impl Progress {
    /// Reads a counter.
    #[must_use]
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// What a node found when it looked whether it could run a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// What stands in the way, by the manifest's fields.
    pub problems: Problems,
    /// Granted paths that lead elsewhere by symbolic links, and where to.
    pub elsewhere: Leads,
    /// What the plugin would lack if it were started now, by the manifest's fields: no reason to refuse it, for it may
    /// be there until then.
    pub lacking: Problems,
}

/// Runs programs.
pub trait PluginHost: Send + Sync + 'static {
    /// Runs one attempt to its end; returns only when everything it started is proven gone. Cancelling `stop` ends
    /// the programs in an orderly way (end of input and SIGTERM, after `grace` SIGKILL of the tree); the end is then
    /// reported without a cause of its own unless a program had failed before. Dropping the future kills everything.
    fn run<'a>(
        &'a self,
        spec: PipeSpec,
        events: mpsc::Sender<HostEvent>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> BoxFuture<'a, AttemptEnd>;

    /// Makes sure that the plugin's program and environment are there, building the environment when it is not.
    /// The text is a person's sentence with the cure.
    fn prepare<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<(), Cause>>;

    /// Looks whether this node could run the plugin: its paths, limits and program, as far as that shows without
    /// executing it. An environment is not built for that.
    fn examine<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Examination>;
}
