//! From aggregates to what readers see.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::live::{Live, LiveAttempt};
use super::super::views::{
    AttemptView, BookmarkView, EventMetadata, EventView, ExecutionCounts, ExecutionView, PipelineView,
    PluginView, StepView,
};
use crate::domain::event::RecordedEvent;
use crate::domain::execution::{Attempt, Execution, StepPhase, StepState};
use crate::domain::ids::{CorrelationId, ExecutionId, Position};
use crate::domain::outcome::{CauseKind, ProgramReport, Usage, Waits};
use crate::domain::pipeline::Pipeline;
use crate::domain::plugin::Plugin;
use crate::ports::plugin_host::Progress;

fn json_of<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

pub(super) fn pipeline(state: &Pipeline) -> Option<PipelineView> {
    let definition = state.definition.as_ref()?;
    Some(PipelineView {
        name: definition.name.clone(),
        revision: state.revision,
        status: state.status.as_str(),
        description: definition.description.clone(),
        owner: definition.owner.clone(),
        parameters: json_of(&definition.parameters),
        concurrency: json_of(&definition.concurrency),
        priority: definition.priority,
        steps: json_of(&definition.steps),
        schedule: None,
        next_tick: None,
        last_execution: state.last_execution,
        open_executions: state.open.clone(),
        version: state.version,
        created_at: state.created_at,
        updated_at: state.updated_at,
    })
}

pub(in crate::runtime) fn bookmarks(state: &Pipeline) -> Vec<BookmarkView> {
    let reached = state.bookmarks.iter().filter_map(|(name, bookmark)| {
        Some(BookmarkView {
            step: bookmark.step.clone(),
            name: name.clone(),
            state: bookmark.state.clone()?,
            execution_id: bookmark.reached_by,
            updated_at: bookmark.updated_at,
            version: bookmark.version,
        })
    });
    reached.collect()
}

pub(super) fn plugin(state: &Plugin, now: Timestamp) -> Option<PluginView> {
    let manifest = state.manifest.as_ref()?;
    Some(PluginView {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        stream_version: state.version,
        kind: json_of(&manifest.kind),
        protocol: json_of(&manifest.protocol),
        status: state.status.as_str(),
        health: state.health(now),
        capabilities: json_of(&manifest.capabilities),
        limits: json_of(&manifest.limits),
        manifest: json_of(manifest),
        executions: ExecutionCounts {
            total: state.total,
            completed: state.completed,
            failed: state.failed,
            running: state.running.len() as u64,
        },
        last_error: state.last_error.clone(),
        quarantine: state.quarantined.clone(),
        updated_at: state.updated_at,
    })
}

/// What an execution's view needs beyond its state.
pub(super) struct ExecutionContext<'a> {
    pub id: ExecutionId,
    pub correlation_id: CorrelationId,
    pub position: Position,
    pub live: &'a Live,
}

pub(super) fn execution(state: &Execution, context: &ExecutionContext<'_>) -> Option<ExecutionView> {
    let phase = state.phase?;
    let result = state.plugin.as_ref().and_then(|_| state.steps.first()?.attempts.last());
    Some(ExecutionView {
        id: context.id,
        kind: if state.plugin.is_some() { "plugin" } else { "pipeline" },
        pipeline: state.pipeline.clone(),
        plugin: state.plugin.clone(),
        parent_id: None,
        revision: state.revision,
        status: phase.as_str(),
        cause: state.cause.clone(),
        cancel_requested: state.cancel_requested,
        node: state.node.clone(),
        parameters: Value::Object(state.parameters.clone()),
        queued_at: state.queued_at?,
        started_at: state.started_at,
        ended_at: state.ended_at,
        steps: state.steps.iter().map(|s| step(s, context)).collect(),
        result: result.map(|attempt| attempt.report.result.clone()).unwrap_or_default(),
        correlation_id: context.correlation_id,
        version: state.version,
        position: context.position,
    })
}

fn step(state: &StepState, context: &ExecutionContext<'_>) -> StepView {
    let live = context.live.find(context.id, &state.step.name);
    let due = match state.phase {
        StepPhase::Retrying { due } => Some(due),
        _ => None,
    };
    let waiting_for = live.as_ref().and_then(|live| live.waiting_for());
    let view = |attempt: &Attempt| match &live {
        Some(live) if attempt.ended_at.is_none() => running_attempt(attempt, live),
        _ => ended_attempt(attempt),
    };
    StepView {
        name: state.step.name.clone(),
        status: state.phase.as_str(),
        next_attempt_at: due,
        waiting_for,
        attempts: state.attempts.iter().map(view).collect(),
    }
}

fn ended_attempt(attempt: &Attempt) -> AttemptView {
    let report = &attempt.report;
    let status = match (&attempt.cause, attempt.ended_at) {
        (_, None) => "running",
        (None, _) => "completed",
        (Some(cause), _) if cause.kind == CauseKind::Cancelled => "cancelled",
        (Some(_), _) => "failed",
    };
    AttemptView {
        number: attempt.number,
        phase: None,
        status,
        cause: attempt.cause.clone(),
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        programs: report.programs.clone(),
        streams: report.streams.clone(),
        records: report.streams.values().map(|s| s.read).sum(),
        bytes: report.bytes,
        waits: report.waits,
        pipe_fill_per_mille: None,
        result: report.result.clone(),
    }
}

/// The counts of a running attempt are live; those by stream are known when it has ended.
fn running_attempt(attempt: &Attempt, live: &LiveAttempt) -> AttemptView {
    let programs = live.programs().into_iter().map(|(plugin, pid)| ProgramReport {
        plugin,
        pid,
        exit_code: None,
        cause: None,
        usage: Usage::default(),
        network: None,
        sandbox: None,
        warm: false,
        denials: Vec::new(),
    });
    let progress = &live.progress;
    AttemptView {
        number: attempt.number,
        status: "running",
        phase: Some(live.phase()),
        cause: None,
        started_at: attempt.started_at,
        ended_at: None,
        programs: programs.collect(),
        streams: BTreeMap::new(),
        records: Progress::get(&progress.records),
        bytes: Progress::get(&progress.bytes),
        waits: Waits {
            upstream_ms: Progress::get(&progress.upstream_ms),
            downstream_ms: Progress::get(&progress.downstream_ms),
        },
        pipe_fill_per_mille: Some(Progress::get(&progress.fill_per_mille)),
        result: Value::Null,
    }
}

pub(super) fn event(recorded: RecordedEvent) -> EventView {
    // a payload that cannot be read is shown as such: an operator must still see that the event is there
    let data = recorded.data().unwrap_or_else(|error| json!({ "unreadable": error.to_string() }));
    EventView {
        id: recorded.id,
        stream: recorded.stream,
        version: recorded.version,
        position: recorded.position,
        kind: recorded.kind,
        schema_version: recorded.schema_version,
        timestamp: recorded.recorded_at,
        data,
        metadata: EventMetadata {
            actor: recorded.origin.actor,
            node: recorded.node,
            correlation_id: recorded.origin.correlation_id,
            causation_id: recorded.origin.causation_id,
        },
    }
}
