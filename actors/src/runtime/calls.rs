//! Answers the calls that programs of an attempt make: of those that there are, each only where the program's manifest,
//! which the policy allowed in full, grants it. What a call records commits only while the execution is not cancelled (S7).

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::admission::Guarded;
use super::aggregate::SubmitError;
use super::api::bookmarks_of;
use super::services::Services;
use super::worker::Work;
use crate::domain::execution::Execution;
use crate::domain::external::{EventPublished, ExternalCommand, Publisher};
use crate::domain::ids::{CommandId, CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::plugin::{Call, known_call};
use crate::ports::BoxFuture;
use crate::ports::plugin_host::{Asked, CallRefusal, Calls, ProgramSpec};

/// The calls of the programs of one attempt.
pub(super) struct ProgramCalls {
    services: Arc<Services>,
    execution: watch::Receiver<Arc<Execution>>,
    id: ExecutionId,
    correlation_id: CorrelationId,
    step: Name,
    attempt: u32,
    /// Each program's plugin, and the calls that its manifest grants.
    programs: Vec<(Name, Vec<String>)>,
}

impl std::fmt::Debug for ProgramCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgramCalls").field("programs", &self.programs).finish_non_exhaustive()
    }
}

impl ProgramCalls {
    pub(super) fn new(work: &Work, programs: &[ProgramSpec]) -> Self {
        let granted = |program: &ProgramSpec| {
            (program.manifest.name.clone(), program.manifest.capabilities.api.clone())
        };
        Self {
            services: Arc::clone(&work.services),
            execution: work.execution.clone(),
            id: work.id,
            correlation_id: work.correlation_id,
            step: work.step.name.clone(),
            attempt: work.attempt,
            programs: programs.iter().map(granted).collect(),
        }
    }

    async fn answer(&self, asked: Asked) -> Result<Value, CallRefusal> {
        let Some((plugin, granted)) = self.programs.get(asked.program) else {
            return Err(CallRefusal::Failed(format!("the attempt has no program {}", asked.program)));
        };
        known_call(&asked.api).map_err(CallRefusal::Failed)?;
        if !granted.contains(&asked.api) {
            return Err(CallRefusal::NotGranted);
        }
        let call = Call::read(&asked.api, &asked.arguments);
        match call.map_err(|problems| CallRefusal::Failed(problems.to_string()))? {
            Call::ReadBookmarks { step } => self.bookmarks(step.as_ref()).await,
            Call::PublishEvent { stream, kind, data, key } => {
                let (step, attempt) = (&self.step, self.attempt);
                let once = match key {
                    Some(key) => format!("publish {step} {plugin} {stream} key {key}"),
                    None => format!("publish {step} {plugin} {stream} attempt {attempt} call {}", asked.id),
                };
                let by =
                    Publisher { execution: self.id, step: step.clone(), attempt, plugin: plugin.clone() };
                self.publish(&stream, EventPublished { kind, data, by }, &once).await
            }
        }
    }

    /// The bookmarks of the execution's own pipeline, in the shape that HTTP gives.
    async fn bookmarks(&self, step: Option<&Name>) -> Result<Value, CallRefusal> {
        let Some(pipeline) = self.execution.borrow().pipeline.clone() else {
            let why = "this execution belongs to no pipeline, and so has no bookmarks";
            return Err(CallRefusal::Failed(why.to_owned()));
        };
        let state = self.services.pipelines.read(&StreamId::pipeline(&pipeline)).await;
        let mut items = bookmarks_of(&*state.map_err(|error| failed(&error))?);
        items.retain(|bookmark| step.is_none_or(|step| bookmark.step == *step));
        Ok(json!({"items": items}))
    }

    /// Publishes an event; `once` is what makes it the same as an earlier one, whose version is answered then.
    async fn publish(
        &self,
        stream: &StreamId,
        event: EventPublished,
        once: &str,
    ) -> Result<Value, CallRefusal> {
        let command = ExternalCommand::Publish(Box::new(event));
        let guarded = Guarded {
            services: &self.services,
            execution: &self.execution,
            id: self.id,
            correlation_id: self.correlation_id,
        };
        let id = CommandId::derived(self.id.0, once);
        let stored = guarded.submit_once(&self.services.externals, stream, command, Some(id)).await;
        let stored = stored.map_err(|error| failed(&error))?;
        Ok(json!({"stream": stream, "version": stored.version, "position": stored.position}))
    }
}

impl Calls for ProgramCalls {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Value, CallRefusal>> {
        Box::pin(Self::answer(self, asked))
    }
}

fn failed(error: &SubmitError) -> CallRefusal {
    CallRefusal::Failed(error.to_string())
}
