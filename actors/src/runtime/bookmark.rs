//! Writes the bookmark of one attempt: holds it, then stores the latest state now and then. Each store commits only
//! while the execution is not cancelled (S7) and only by the attempt that holds the bookmark (S9).

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::aggregate::{Directory, SubmitError};
use super::retry;
use super::services::Services;
use super::worker::{Work, guarded};
use crate::domain::aggregate::Rejection;
use crate::domain::execution::Execution;
use crate::domain::ids::{CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::outcome::{Cause, CauseKind};
use crate::domain::pipeline::{BookmarkAdvanced, Pipeline, PipelineCommand};

/// A bookmark found when it was acquired.
pub(super) struct Found {
    pub state: Value,
    pub reached_by: Option<ExecutionId>,
}

/// The one writer of a bookmark while its attempt runs.
pub(super) struct BookmarkWriter {
    services: Arc<Services>,
    execution: watch::Receiver<Arc<Execution>>,
    id: ExecutionId,
    correlation_id: CorrelationId,
    stream: StreamId,
    name: String,
    step: Name,
    attempt: u32,
    changes: Option<watch::Receiver<Arc<Pipeline>>>,
    sequence: u64,
    pending: Option<Value>,
}

impl BookmarkWriter {
    pub(super) fn new(work: &Work, pipeline: Name, name: String) -> Self {
        Self {
            services: Arc::clone(&work.services),
            execution: work.execution.clone(),
            id: work.id,
            correlation_id: work.correlation_id,
            stream: StreamId::pipeline(&pipeline),
            name,
            step: work.step.name.clone(),
            attempt: work.attempt,
            changes: None,
            sequence: 0,
            pending: None,
        }
    }

    /// Takes the bookmark for this attempt; answers what it holds.
    pub(super) async fn acquire(&mut self) -> Result<Option<Found>, SubmitError> {
        let command = PipelineCommand::AcquireBookmark {
            name: self.name.clone(),
            step: self.step.clone(),
            execution: self.id,
            attempt: self.attempt,
        };
        let (_, changes) = self.pipelines().follow(&self.stream).await?;
        self.changes = Some(changes);
        self.guarded(command).await?;
        let pipeline = self.pipelines().read(&self.stream).await?;
        let bookmark = pipeline.bookmarks.get(&self.name);
        Ok(bookmark.and_then(|b| Some(Found { state: b.state.clone()?, reached_by: b.reached_by })))
    }

    /// Changes of the pipeline since the last try to acquire.
    pub(super) fn changes(&mut self) -> Option<&mut watch::Receiver<Arc<Pipeline>>> {
        self.changes.as_mut()
    }

    /// The programs reached a state; an older one that was not stored yet is passed over.
    pub(super) fn reached(&mut self, state: Value) {
        self.sequence += 1;
        self.pending = Some(state);
    }

    /// Stores the latest state, if there is a new one.
    ///
    /// # Errors
    /// Why the bookmark can no longer be moved by this attempt, which must fail with it: what it does from here on
    /// would be done again.
    pub(super) async fn store(&mut self) -> Result<(), Cause> {
        let Some(state) = self.pending.take() else { return Ok(()) };
        let advanced = BookmarkAdvanced {
            name: self.name.clone(),
            step: self.step.clone(),
            execution: self.id,
            attempt: self.attempt,
            sequence: self.sequence,
            state,
        };
        let command = PipelineCommand::AdvanceBookmark(Box::new(advanced));
        let stored = retry::until_known(&self.services, "bookmark", || self.guarded(command.clone())).await;
        stored.map_err(|error| match error {
            SubmitError::Rejected(Rejection::Stale(why)) => Cause::new(CauseKind::Cancelled, why),
            SubmitError::Rejected(why) => Cause::new(
                CauseKind::ProtocolError,
                format!("bookmark {} cannot be stored: {why}", self.name),
            ),
            error => {
                Cause::new(CauseKind::LostNode, format!("bookmark {} cannot be stored: {error}", self.name))
            }
        })
    }

    async fn guarded(&self, command: PipelineCommand) -> Result<(), SubmitError> {
        let (services, execution) = (&self.services, &self.execution);
        guarded(services, execution, self.id, self.correlation_id, self.pipelines(), &self.stream, command)
            .await
    }

    fn pipelines(&self) -> &Directory<Pipeline> {
        &self.services.pipelines
    }
}
