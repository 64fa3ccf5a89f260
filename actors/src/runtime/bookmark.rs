//! Writes the bookmark of one attempt: holds it, then stores the latest state now and then. Each store commits only
//! while the execution is not cancelled (S7) and only by the attempt that holds the bookmark (S9).

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::admission::Guarded;
use super::aggregate::{Directory, SubmitError};
use super::retry;
use super::services::Services;
use super::worker::Work;
use crate::domain::aggregate::Rejection;
use crate::domain::execution::Execution;
use crate::domain::ids::{CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::outcome::{Cause, CauseKind};
use crate::domain::pipeline::{BookmarkAdvanced, Pipeline, PipelineCommand};
use crate::ports::BoxFuture;

/// A bookmark found when it was acquired.
pub(super) struct Found {
    pub state: Value,
    pub reached_by: Option<ExecutionId>,
}

/// The one writer of a bookmark while its attempt runs.
pub(super) struct BookmarkWriter {
    held: Held,
    changes: Option<watch::Receiver<Arc<Pipeline>>>,
    sequence: u64,
    pending: Option<Value>,
}

/// The bookmark and who holds it.
#[derive(Clone)]
struct Held {
    services: Arc<Services>,
    execution: watch::Receiver<Arc<Execution>>,
    id: ExecutionId,
    correlation_id: CorrelationId,
    stream: StreamId,
    name: String,
    step: Name,
    attempt: u32,
}

impl BookmarkWriter {
    pub(super) fn new(work: &Work, pipeline: Name, name: String) -> Self {
        let held = Held {
            services: Arc::clone(&work.services),
            execution: work.execution.clone(),
            id: work.id,
            correlation_id: work.correlation_id,
            stream: StreamId::pipeline(&pipeline),
            name,
            step: work.step.name.clone(),
            attempt: work.attempt,
        };
        Self { held, changes: None, sequence: 0, pending: None }
    }

    /// Takes the bookmark for this attempt; answers what it holds.
    pub(super) async fn acquire(&mut self) -> Result<Option<Found>, SubmitError> {
        let held = &self.held;
        let command = PipelineCommand::AcquireBookmark {
            name: held.name.clone(),
            step: held.step.clone(),
            execution: held.id,
            attempt: held.attempt,
        };
        let (_, changes) = held.pipelines().follow(&held.stream).await?;
        self.changes = Some(changes);
        held.guarded(command).await?;
        let pipeline = held.pipelines().read(&held.stream).await?;
        let bookmark = pipeline.bookmarks.get(&held.name);
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

    /// Stores the latest state, if there is a new one; newer states may be reached meanwhile. The store fails with
    /// why the bookmark can no longer be moved by this attempt, which must fail with it: what it does from here on
    /// would be done again.
    pub(super) fn store_latest(&mut self) -> Option<BoxFuture<'static, Result<(), Cause>>> {
        let (state, held) = (self.pending.take()?, self.held.clone());
        let advanced = BookmarkAdvanced {
            name: held.name.clone(),
            step: held.step.clone(),
            execution: held.id,
            attempt: held.attempt,
            sequence: self.sequence,
            state,
        };
        Some(Box::pin(async move { held.store(advanced).await }))
    }
}

impl Held {
    async fn store(&self, advanced: BookmarkAdvanced) -> Result<(), Cause> {
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
        let (services, execution) = (&*self.services, &self.execution);
        let guarded = Guarded { services, execution, id: self.id, correlation_id: self.correlation_id };
        guarded.submit_once(self.pipelines(), &self.stream, command, None).await.map(drop)
    }

    fn pipelines(&self) -> &Directory<Pipeline> {
        &self.services.pipelines
    }
}
