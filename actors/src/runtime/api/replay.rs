//! One resource as it was at a moment of the past, folded from its events alone. The live aggregate is never asked, and
//! nothing that is not in an event is shown: what a program does just now, say.

use super::super::aggregate::{At, Fold, replay};
use super::super::live::Live;
use super::super::views::{ExecutionView, PipelineView, PluginView};
use super::commands::{not_found, refused};
use super::project::{self, ExecutionContext};
use super::{Api, ApiError};
use crate::domain::aggregate::Aggregate;
use crate::domain::event::RecordedEvent;
use crate::domain::execution::Execution;
use crate::domain::ids::{ExecutionId, Name, StreamId};
use crate::domain::pipeline::Pipeline;
use crate::domain::plugin::Plugin;

impl Api {
    /// One pipeline as it was.
    ///
    /// # Errors
    /// When it did not exist then, or the store is away.
    pub async fn pipeline_at(&self, name: &Name, at: At) -> Result<PipelineView, ApiError> {
        let (state, _) = self.past::<Pipeline>(&StreamId::pipeline(name), at).await?;
        project::pipeline(&state).ok_or_else(|| absent("pipeline", name.as_str(), at))
    }

    /// One plugin as it was; its health too is that of the moment.
    ///
    /// # Errors
    /// When it did not exist then, or the store is away.
    pub async fn plugin_at(&self, name: &Name, at: At) -> Result<PluginView, ApiError> {
        let (state, last) = self.past::<Plugin>(&StreamId::plugin(name), at).await?;
        let moment = match at {
            At::Version(_) => last.recorded_at,
            At::Time(time) => time.min(self.services.shared.clock.now()),
        };
        project::plugin(&state, moment).ok_or_else(|| absent("plugin", name.as_str(), at))
    }

    /// One execution as it was. Counts of an attempt that ran then are not known: its events tell them at its end.
    ///
    /// # Errors
    /// When it did not exist then, or the store is away.
    pub async fn execution_at(&self, id: ExecutionId, at: At) -> Result<ExecutionView, ApiError> {
        let (state, last) = self.past::<Execution>(&StreamId::execution(id), at).await?;
        let (correlation_id, position) = (last.origin.correlation_id, last.position);
        let context = ExecutionContext { id, correlation_id, position, live: &Live::default() };
        project::execution(&state, &context).ok_or_else(|| absent("execution", &id.to_string(), at))
    }

    async fn past<A: Aggregate>(&self, stream: &StreamId, at: At) -> Result<(A, RecordedEvent), ApiError> {
        let kind = A::CATEGORY.as_str();
        let fold = replay(&self.services.shared, stream, at).await;
        match fold.map_err(|error| refused(error, kind, stream.id()))? {
            Some(Fold { state, last: Some(last) }) => Ok((state, last)),
            _ => Err(absent(kind, stream.id(), at)),
        }
    }
}

fn absent(kind: &'static str, id: &str, at: At) -> ApiError {
    match at {
        At::Version(version) => not_found(kind, &format!("{id} at version {version}")),
        At::Time(time) => not_found(kind, &format!("{id} at {time}")),
    }
}
