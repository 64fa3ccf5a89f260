//! What readers see: the shapes of the contract, ready to be serialised. Wire formats are decided outside; the
//! field names here are the contract's and are never renamed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::{CorrelationId, EventId, ExecutionId, Name, Position, StreamId, Version};
use crate::domain::outcome::{Cause, ProgramReport, StreamCounts, Waits};
use crate::domain::plugin::Quarantine;
use crate::domain::projection::{AuditedEvent, Bucket};

/// A page of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; absent at the end.
    pub next_cursor: Option<String>,
    /// The position that the page reflects at least.
    pub position: Position,
}

/// A pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineView {
    /// Its name.
    pub name: Name,
    /// How often its definition was revised, from 1.
    pub revision: u64,
    /// `draft`, `active`, `paused` or `archived`.
    pub status: &'static str,
    /// For people.
    pub description: String,
    /// Who to ask.
    pub owner: String,
    /// Declared parameters with type and default.
    pub parameters: Value,
    /// How many executions at once, and what to do with more.
    pub concurrency: Value,
    /// 0 to 9.
    pub priority: u8,
    /// The steps as defined.
    pub steps: Value,
    /// Not supported yet: always absent.
    pub schedule: Option<Value>,
    /// Not supported yet: always absent.
    pub next_tick: Option<Timestamp>,
    /// The latest execution.
    pub last_execution: Option<ExecutionId>,
    /// Executions that have not ended, oldest first.
    pub open_executions: Vec<ExecutionId>,
    /// The version of its stream (the ETag).
    pub version: Version,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// A revision of a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct RevisionView {
    /// From 1.
    pub revision: u64,
    /// When.
    pub created_at: Timestamp,
    /// By whom.
    pub actor: String,
    /// The definition.
    pub definition: Value,
}

/// A bookmark.
#[derive(Debug, Clone, Serialize)]
pub struct BookmarkView {
    /// The step.
    pub step: Name,
    /// The bookmark's name.
    pub name: String,
    /// The Singer state.
    pub state: Value,
    /// The execution that reached it; absent when an operator set it.
    pub execution_id: Option<ExecutionId>,
    /// When.
    pub updated_at: Timestamp,
    /// The version of the pipeline's stream at which it was stored.
    pub version: Version,
}

/// A plugin.
#[derive(Debug, Clone, Serialize)]
pub struct PluginView {
    /// Its name.
    pub name: Name,
    /// The manifest's version.
    pub version: String,
    /// The version of its stream (the ETag).
    pub stream_version: Version,
    /// `extractor`, `loader` …
    #[serde(rename = "type")]
    pub kind: Value,
    /// `singer`, `command`, `flexcore`.
    pub protocol: Value,
    /// `registered`, `enabled`, `disabled`, `retired`.
    pub status: &'static str,
    /// `healthy`, `backing_off`, `quarantined`.
    pub health: &'static str,
    /// What it may touch.
    pub capabilities: Value,
    /// How much it may use.
    pub limits: Value,
    /// The whole manifest.
    pub manifest: Value,
    /// Counts of its executions.
    pub executions: ExecutionCounts,
    /// Why its last failed execution failed.
    pub last_error: Option<Cause>,
    /// Why nothing of it is started, while it is quarantined.
    pub quarantine: Option<Quarantine>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// Counts of a plugin's executions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ExecutionCounts {
    /// All that were started.
    pub total: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended otherwise.
    pub failed: u64,
    /// Not ended.
    pub running: u64,
}

/// An execution.
#[derive(Debug, Clone, Serialize)]
pub struct ExecutionView {
    /// Its id.
    pub id: ExecutionId,
    /// `pipeline` or `plugin`.
    pub kind: &'static str,
    /// The pipeline, when it runs one.
    pub pipeline: Option<Name>,
    /// The plugin, when it runs one alone.
    pub plugin: Option<Name>,
    /// The execution that started it.
    pub parent_id: Option<ExecutionId>,
    /// The pipeline's revision it runs.
    pub revision: Option<u64>,
    /// `queued`, `running`, `paused`, `completed`, `failed`, `cancelled`.
    pub status: &'static str,
    /// Why it did not complete.
    pub cause: Option<Cause>,
    /// Whether a cancel is recorded.
    pub cancel_requested: bool,
    /// The node that runs it.
    pub node: Option<String>,
    /// Its parameters.
    pub parameters: Value,
    /// When it was asked for.
    pub queued_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its steps, in the order of the definition.
    pub steps: Vec<StepView>,
    /// The result a stand-alone program wrote.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The version of its stream (the ETag).
    pub version: Version,
    /// The position of its last event.
    pub position: Position,
}

/// A step of an execution.
#[derive(Debug, Clone, Serialize)]
pub struct StepView {
    /// Its name.
    pub name: Name,
    /// `waiting`, `running`, `completed`, `failed`, `cancelled`, `skipped`.
    pub status: &'static str,
    /// When the next attempt is due, while it waits for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// What its running attempt waits for before its programs can start, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// An attempt of a step; while it runs the counts are live.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptView {
    /// From 1.
    pub number: u32,
    /// `running`, `completed`, `failed`, `cancelled`.
    pub status: &'static str,
    /// `initialising`, `executing` or `cleaning_up`, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why it did not complete.
    pub cause: Option<Cause>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its programs, in the order of the pipe.
    pub programs: Vec<ProgramReport>,
    /// Records by Singer stream.
    pub streams: BTreeMap<String, StreamCounts>,
    /// Records relayed.
    pub records: u64,
    /// Bytes relayed.
    pub bytes: u64,
    /// Who waited for whom.
    pub waits: Waits,
    /// How full the pipe to the last program is now, in per mille; only while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipe_fill_per_mille: Option<u64>,
    /// The object that a `command` or `flexcore` program wrote as its result.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub result: Value,
}

/// Where an attempt that runs is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Permits, environments, sandboxes: nothing of its programs runs yet.
    #[default]
    Initialising,
    /// Its programs run.
    Executing,
    /// They have ended; what they left is removed and recorded.
    CleaningUp,
}

/// An event.
#[derive(Debug, Clone, Serialize)]
pub struct EventView {
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: Version,
    /// Its place in the store.
    pub position: Position,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of its data's shape.
    pub schema_version: u16,
    /// When it was recorded.
    pub timestamp: Timestamp,
    /// What happened.
    pub data: Value,
    /// Who, where and why.
    pub metadata: EventMetadata,
}

/// Who, where and why.
#[derive(Debug, Clone, Serialize)]
pub struct EventMetadata {
    /// Who asked.
    pub actor: String,
    /// The node that recorded it.
    pub node: String,
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The event or command that led to it.
    pub causation_id: Option<uuid::Uuid>,
}

/// One actor, with those it supervises.
#[derive(Debug, Clone, Serialize)]
pub struct ActorView {
    /// Its id within the node.
    pub id: String,
    /// What it is: `supervisor`, `pipeline`, `execution`, `plugin`, `runner`, `committer` …
    pub kind: &'static str,
    /// `starting`, `running`, `backing_off`, `quarantined`, `stopped`.
    pub state: &'static str,
    /// Messages waiting.
    pub mailbox: u64,
    /// How long it has been busy with the current message, milliseconds; 0 when idle.
    pub busy_ms: u64,
    /// Messages handled.
    pub handled: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// Its last failure.
    pub last_error: Option<String>,
    /// The version of its stream, for aggregates.
    pub version: Option<Version>,
    /// The epoch of its shard, for aggregates.
    pub epoch: Option<u64>,
    /// The node.
    pub node: String,
    /// Those it supervises.
    pub children: Vec<ActorView>,
}

/// A read model and how far it has come.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectionView {
    /// Its name.
    pub name: &'static str,
    /// `live`, `rebuilding` (lists show the rows of before meanwhile), or `waiting` (they stand still, because they
    /// have the shape of another version of the program).
    pub status: &'static str,
    /// The position that its lists reflect at least.
    pub position: Position,
    /// Events that its lists do not reflect yet.
    pub lag: u64,
    /// How long ago the last event was recorded that they reflect, while there are later ones.
    pub lag_ms: u64,
    /// The generation that lists show.
    pub generation: u32,
    /// How far the generation has come that is being built.
    pub rebuild: Option<RebuildView>,
    /// Events folded since the node started.
    pub events: u64,
    /// Events left out of what its lists show, because they could not be folded.
    pub parked: u64,
}

/// How far a rebuild has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RebuildView {
    /// The position it has reached.
    pub position: Position,
    /// The position it has to reach now.
    pub target: Position,
}

/// A request, or several of one address that were refused alike within a second.
#[derive(Debug, Clone, Serialize)]
pub struct AuditView {
    /// When it was recorded.
    pub at: Timestamp,
    /// Who asked.
    pub actor: String,
    /// From where, when it is known.
    pub address: Option<String>,
    /// `accepted` or `refused`.
    pub outcome: String,
    /// What was asked: a command's type, or method and path.
    pub action: String,
    /// The stream that a command concerned; absent for refused requests.
    pub aggregate_id: Option<StreamId>,
    /// The status it was answered with, where no event of its own tells what it did.
    pub status: Option<u16>,
    /// How many requests it stands for.
    pub count: u64,
    /// The events it recorded, the first of them.
    pub events: Vec<AuditedEvent>,
    /// The command's id.
    pub command_id: Option<uuid::Uuid>,
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The node that took it.
    pub node: String,
    /// The position of its first event.
    pub position: Position,
}

/// What happened on the whole system, by span of time; newest first.
#[derive(Debug, Clone, Serialize)]
pub struct SystemMetrics {
    /// This node's counters and gauges.
    #[serde(flatten)]
    pub node: NodeMetrics,
    /// By hour: at most the last two days.
    pub hours: Vec<Bucket>,
    /// By day: at most the last quarter.
    pub days: Vec<Bucket>,
    /// The position that the spans reflect at least.
    pub reflects: Position,
}

/// What the node is and does.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// `flexcore`.
    pub service: &'static str,
    /// The version of the program.
    pub version: &'static str,
    /// The node's name.
    pub node: String,
    /// This life of it.
    pub incarnation: String,
    /// Since when.
    pub started_at: Timestamp,
    /// Whether it takes new work.
    pub ready: bool,
    /// Each dependency by name.
    pub dependencies: BTreeMap<&'static str, DependencyView>,
    /// The headline figures.
    pub metrics: NodeMetrics,
    /// The read models, and how far they have come.
    pub projections: Vec<ProjectionView>,
}

/// A dependency and how quick it answers.
#[derive(Debug, Clone, Serialize)]
pub struct DependencyView {
    /// `up` or `down`.
    pub status: &'static str,
    /// How long it took to answer just now.
    pub latency_ms: f64,
    /// What is wrong, when it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Counters since the node started, and gauges.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct NodeMetrics {
    /// Actors alive.
    pub actors: u64,
    /// Executions that run on this node.
    pub executions_running: u64,
    /// Executions completed.
    pub executions_completed: u64,
    /// Executions failed.
    pub executions_failed: u64,
    /// Executions cancelled.
    pub executions_cancelled: u64,
    /// Programs started.
    pub programs_started: u64,
    /// Events stored.
    pub events_appended: u64,
    /// Group commits.
    pub commits: u64,
    /// Records relayed by attempts that have ended.
    pub records: u64,
    /// Bytes relayed by attempts that have ended.
    pub bytes: u64,
    /// Position of the last event this node stored.
    pub position: u64,
    /// Actors restarted by their supervisors.
    pub actor_restarts: u64,
    /// Events that the latest checkpoint covers.
    pub sealed_size: u64,
    /// Events that no checkpoint covers yet.
    pub unsealed_events: u64,
    /// Events that the latest checkpoint with a copy outside covers.
    pub published_size: u64,
    /// Checkpoints this node made.
    pub seals: u64,
    /// Attempts to seal, or to copy a checkpoint outside, that failed.
    pub seal_failures: u64,
    /// 1 while the log contradicts what was sealed before.
    pub integrity_alarm: u64,
    /// Snapshots of aggregates saved.
    pub snapshots_saved: u64,
    /// Snapshots that could not be saved.
    pub snapshots_failed: u64,
    /// Snapshots that could not be used: the stream was folded from its beginning.
    pub snapshots_ignored: u64,
}

/// A durable subscription.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionView {
    /// Its name.
    pub name: Name,
    /// Everything up to here was handled, or parked.
    pub position: Position,
    /// How many positions lie between it and the end of the log.
    pub behind: u64,
    /// The node that handles it.
    pub owner: Option<String>,
    /// When that node's lease runs out, unless it is renewed.
    pub lease_until: Option<Timestamp>,
    /// When its checkpoint or lease was last written.
    pub updated_at: Timestamp,
    /// How many events are parked.
    pub parked: u64,
}

/// An event that a subscription could not handle, or a read model could not take in.
#[derive(Debug, Clone, Serialize)]
pub struct ParkedEventView {
    /// The event's position.
    pub position: Position,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was parked, or last tried again.
    pub parked_at: Timestamp,
}
