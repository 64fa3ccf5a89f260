//! The audit log: a row for every request from outside that changed something, made from its events' origin, and a
//! row for those that were refused, or changed nothing. What the runtime does by itself is not in here: that is the log
//! of events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Indexed, Projection, Rows, View};
use crate::domain::audit::{AuditEvent, RequestAccepted, RequestRefused};
use crate::domain::codec::{CodecError, EventSet};
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Category, CorrelationId, Position, StreamId, Version};

/// The outcomes of a request.
pub const OUTCOMES: &[&str] = &["accepted", "refused"];

/// Events named in one row; a command records far fewer.
const EVENTS: usize = 20;

/// Who asked for what.
#[derive(Debug, Clone, Copy)]
pub struct Audit;

/// One request, or several of one address that were answered alike within a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
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
    pub stream: Option<StreamId>,
    /// The status it was answered with, where no event of its own tells what it did.
    pub status: Option<u16>,
    /// How many requests it stands for.
    pub count: u64,
    /// What it recorded, the first `EVENTS`.
    pub events: Vec<AuditedEvent>,
    /// The command's id, for accepted ones.
    pub command_id: Option<uuid::Uuid>,
    /// What belongs together.
    pub correlation_id: CorrelationId,
    /// The node that took it.
    pub node: String,
    /// The position of its first event.
    pub position: Position,
}

/// An event of an accepted request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedEvent {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its stream.
    pub stream: StreamId,
    /// Its version there.
    pub version: Version,
}

impl Projection for Audit {
    type State = AuditEntry;
    const VIEW: View = View::Audit;
    const SHAPE: u32 = 2;

    fn keys(event: &RecordedEvent) -> Vec<String> {
        key(event).into_iter().collect()
    }

    fn apply(event: &RecordedEvent, rows: &mut Rows<AuditEntry>) -> Result<(), CodecError> {
        let Some(key) = key(event) else { return Ok(()) };
        if event.stream.category() == Category::Audit {
            *rows.at(&key) =
                Some(match AuditEvent::decode(&event.kind, event.schema_version, &event.payload)? {
                    AuditEvent::RequestRefused(refused) => refusal(event, refused),
                    AuditEvent::RequestAccepted(accepted) => unchanged(event, accepted),
                });
            return Ok(());
        }
        let entry = rows.at(&key).get_or_insert_with(|| acceptance(event));
        if entry.events.len() < EVENTS {
            entry.events.push(AuditedEvent {
                kind: event.kind.clone(),
                stream: event.stream.clone(),
                version: event.version,
            });
        }
        Ok(())
    }

    fn indexed(entry: &AuditEntry) -> Indexed {
        Indexed { at: entry.at, tags: vec![Some(entry.actor.clone()), Some(entry.outcome.clone())] }
    }
}

/// The row of an event. The events of one command are one row: they have its id and one time. The same id may be
/// used for another aggregate at another time.
fn key(event: &RecordedEvent) -> Option<String> {
    if event.stream.category() == Category::Audit {
        return Some(event.id.to_string());
    }
    let command = event.origin.causation_id?;
    let by_runtime = event.origin.actor.starts_with("node:");
    (!by_runtime).then(|| format!("{command}@{}", event.recorded_at.as_microsecond()))
}

fn acceptance(event: &RecordedEvent) -> AuditEntry {
    AuditEntry {
        outcome: OUTCOMES[0].to_owned(),
        action: command_of(&event.kind).to_owned(),
        stream: Some(event.stream.clone()),
        command_id: event.origin.causation_id,
        ..blank(event)
    }
}

fn refusal(event: &RecordedEvent, refused: RequestRefused) -> AuditEntry {
    AuditEntry {
        outcome: OUTCOMES[1].to_owned(),
        action: format!("{} {}", refused.method, refused.path),
        status: Some(refused.status),
        count: refused.count,
        actor: refused.actor,
        address: Some(refused.address),
        correlation_id: refused.correlation_id,
        ..blank(event)
    }
}

/// Accepted, and nothing was changed by it.
fn unchanged(event: &RecordedEvent, accepted: RequestAccepted) -> AuditEntry {
    AuditEntry {
        outcome: OUTCOMES[0].to_owned(),
        action: accepted.action,
        stream: accepted.stream,
        status: Some(accepted.status),
        count: accepted.count,
        actor: accepted.actor,
        address: Some(accepted.address),
        correlation_id: accepted.correlation_id,
        ..blank(event)
    }
}

fn blank(event: &RecordedEvent) -> AuditEntry {
    // an actor is a name, or a name and where it asked from
    let address = event.origin.actor.split_once('@').map(|(_, address)| address.to_owned());
    AuditEntry {
        at: event.recorded_at,
        actor: event.origin.actor.clone(),
        address,
        outcome: String::new(),
        action: String::new(),
        stream: None,
        status: None,
        count: 1,
        events: Vec::new(),
        command_id: None,
        correlation_id: event.origin.correlation_id,
        node: event.node.clone(),
        position: event.position,
    }
}

/// The command whose first event this is; the event's own type where there is no such command.
fn command_of(kind: &str) -> &str {
    match kind {
        "PipelineCreated" => "CreatePipeline",
        "PipelineRevised" => "RevisePipeline",
        "PipelineActivated" => "ActivatePipeline",
        "PipelinePaused" => "PausePipeline",
        "PipelineResumed" => "ResumePipeline",
        "PipelineArchived" => "ArchivePipeline",
        "PipelineStarted" => "StartPipeline",
        "BookmarkSet" => "SetBookmark",
        "BookmarkCleared" => "ClearBookmark",
        "ExecutionQueued" => "ExecutePlugin",
        "ExecutionCancelRequested" | "ExecutionCancelled" => "CancelExecution",
        "ExecutionPaused" => "PauseExecution",
        "ExecutionResumed" => "ResumeExecution",
        "PluginRegistered" => "RegisterPlugin",
        "PluginRevised" => "RevisePlugin",
        "PluginEnabled" => "EnablePlugin",
        "PluginDisabled" => "DisablePlugin",
        "PluginRetired" => "RetirePlugin",
        "PluginReleased" => "ReleasePlugin",
        other => other,
    }
}
