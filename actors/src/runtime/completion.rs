//! The reaction to an execution's end: its pipeline records that it has completed, lets go of its bookmarks and admits
//! the next. It comes by a durable subscription, so it happens whoever ended the execution and whatever crashed since;
//! that a pipeline records it once is the pipeline's to decide.

use std::sync::Arc;

use super::aggregate::SubmitError;
use super::services::{InternalRequest, Services};
use super::subscription::{Handler, HandlerError};
use crate::domain::event::RecordedEvent;
use crate::domain::execution::Phase;
use crate::domain::ids::{Category, CommandId, Name, StreamId};
use crate::domain::pipeline::{Outcome, PipelineCommand};
use crate::ports::BoxFuture;
use crate::ports::event_store::EventFilter;

/// The types of the events that end an execution.
const ENDS: [&str; 3] = ["ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"];

/// Completes pipelines' executions.
pub(super) struct CompletePipelines {
    pub(super) services: Arc<Services>,
}

impl Handler for CompletePipelines {
    fn name(&self) -> Name {
        Name::new("complete-pipelines").expect("a constant that is a name")
    }

    fn filter(&self) -> EventFilter {
        EventFilter { kinds: ENDS.map(str::to_owned).to_vec(), ..EventFilter::default() }
    }

    fn handle<'a>(&'a self, event: &'a RecordedEvent) -> BoxFuture<'a, Result<(), HandlerError>> {
        Box::pin(async move {
            match self.complete(event).await {
                Ok(()) => Ok(()),
                Err(
                    error @ (SubmitError::Unavailable(_) | SubmitError::Overloaded | SubmitError::Fenced),
                ) => Err(HandlerError::Away(error.to_string())),
                Err(error) => Err(HandlerError::Failed(error.to_string())),
            }
        })
    }
}

impl CompletePipelines {
    async fn complete(&self, event: &RecordedEvent) -> Result<(), SubmitError> {
        // events of others may have the same type
        if event.stream.category() != Category::Execution {
            return Ok(());
        }
        let execution = self.services.executions.read(&event.stream).await?;
        let outcome = match execution.phase {
            Some(Phase::Completed) => Outcome::Completed,
            Some(Phase::Cancelled) => Outcome::Cancelled,
            _ => Outcome::Failed,
        };
        let (Some(id), Some(name)) = (execution.id, &execution.pipeline) else { return Ok(()) };
        let stream = StreamId::pipeline(name);
        // after a restart the last ones come again: what is done is not asked for
        if !self.services.pipelines.read(&stream).await?.open.contains(&id) {
            return Ok(());
        }
        let command = PipelineCommand::Complete { execution: id, outcome, cause: execution.cause.clone() };
        let request = InternalRequest {
            id: Some(CommandId::derived(event.id.0, "complete-pipeline")),
            ..InternalRequest::of(event.origin.correlation_id)
        };
        self.services.command(&self.services.pipelines, &stream, command, request).await.map(drop)
    }
}
