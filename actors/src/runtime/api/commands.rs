//! Commands of the contract: each is read, checked and submitted to its aggregate. The one command path.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::super::aggregate::{Directory, Identity, Submission, SubmitError, Submitted, from_first};
use super::super::services::request_hash;
use super::queries::store_away;
use super::{Accepted, Api, ApiError, Command, CommandKind, Context};
use crate::domain::aggregate::{Aggregate, Rejection};
use crate::domain::event::Origin;
use crate::domain::execution::ExecutionCommand;
use crate::domain::ids::{Category, CommandId, ExecutionId, Name, StreamId};
use crate::domain::pipeline::PipelineCommand;
use crate::domain::plugin::PluginCommand;
use crate::domain::problem::Problems;
use crate::domain::reader::Object;

/// When a client should try again after an overload or outage, seconds.
const RETRY_AFTER: u64 = 1;

impl Api {
    /// Carries out one command; returns when it is durable. A caller that goes away does not stop it.
    ///
    /// # Errors
    /// Every kind of [`ApiError`].
    pub async fn submit(&self, command: Command) -> Result<Accepted, ApiError> {
        let api = self.clone();
        let task = tokio::spawn(async move { api.dispatch(command).await });
        match tokio::time::timeout(crate::limits::REQUEST_TIMEOUT, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => {
                tracing::error!(error = &panic as &dyn std::error::Error, "a command failed");
                Err(ApiError::Internal)
            }
            Err(_) => {
                Err(ApiError::Unavailable { what: "the event store".to_owned(), retry_after: RETRY_AFTER })
            }
        }
    }

    async fn dispatch(&self, command: Command) -> Result<Accepted, ApiError> {
        let request = Request::new(self, &command);
        let identity = request.identity;
        let target = target(&command);
        let answer = self.carry_out(request, command).await;
        // what was carried out once is answered so, also where what is asked would no longer be right
        let refused =
            matches!(answer, Err(ApiError::Invalid(_) | ApiError::NotFound { .. } | ApiError::Conflict(_)));
        match target {
            Some((name, stream)) if refused && identity.idempotent => {
                let first = self.first_answer(identity, name, &stream).await?;
                first.map_or(answer, Ok)
            }
            _ => answer,
        }
    }

    /// The answer to a command that was carried out before.
    async fn first_answer(
        &self,
        Identity { id, request_hash: hash, .. }: Identity,
        name: String,
        stream: &StreamId,
    ) -> Result<Option<Accepted>, ApiError> {
        match self.services.shared.store.find_command(stream, id).await.map_err(store_away)? {
            Some((first, _)) if first != hash => Err(ApiError::CommandReused),
            Some((_, committed)) => Ok(Some(accepted(id, &name, from_first(&committed)))),
            None => Ok(None),
        }
    }

    async fn carry_out(&self, request: Request, command: Command) -> Result<Accepted, ApiError> {
        let Command { kind, aggregate_id: id, payload, .. } = command;
        match kind {
            CommandKind::CreatePipeline | CommandKind::RevisePipeline => {
                self.define_pipeline(request, kind, &id, &payload).await
            }
            CommandKind::RegisterPlugin | CommandKind::RevisePlugin => {
                self.define_plugin(request, kind, &id, &payload).await
            }
            CommandKind::ActivatePipeline => {
                self.pipeline_command(request, &id, PipelineCommand::Activate).await
            }
            CommandKind::PausePipeline => self.pipeline_command(request, &id, PipelineCommand::Pause).await,
            CommandKind::ResumePipeline => self.pipeline_command(request, &id, PipelineCommand::Resume).await,
            CommandKind::ArchivePipeline => {
                self.pipeline_command(request, &id, PipelineCommand::Archive).await
            }
            CommandKind::StartPipeline => self.start_pipeline(request, &id, &payload).await,
            CommandKind::SetBookmark | CommandKind::ClearBookmark => {
                self.change_bookmark(request, kind, &id, &payload).await
            }
            CommandKind::CancelExecution => {
                self.execution_command(request, &id, ExecutionCommand::Cancel).await
            }
            CommandKind::PauseExecution => {
                self.execution_command(request, &id, ExecutionCommand::Pause).await
            }
            CommandKind::ResumeExecution => {
                self.execution_command(request, &id, ExecutionCommand::Resume).await
            }
            CommandKind::RetryExecution => Err(ApiError::NotBuilt("retrying an execution from a step")),
            CommandKind::EnablePlugin => self.plugin_command(request, &id, PluginCommand::Enable).await,
            CommandKind::DisablePlugin => self.plugin_command(request, &id, PluginCommand::Disable).await,
            CommandKind::RetirePlugin => self.plugin_command(request, &id, PluginCommand::Retire).await,
            CommandKind::ReleasePlugin => self.release_plugin(request, &id).await,
            CommandKind::ExecutePlugin => self.execute_plugin(request, &id, &payload).await,
        }
    }

    async fn release_plugin(&self, request: Request, id: &str) -> Result<Accepted, ApiError> {
        let stream = StreamId::plugin(&parse::<Name>("plugin", id)?);
        // both quarantines that a plugin can be in: that of its programs, and that of its actor
        self.release(&stream).await;
        self.plugin_command(request, id, PluginCommand::Release).await
    }

    pub(super) async fn pipeline_command(
        &self,
        request: Request,
        id: &str,
        command: PipelineCommand,
    ) -> Result<Accepted, ApiError> {
        let stream = StreamId::pipeline(&parse::<Name>("pipeline", id)?);
        self.send(&self.services.pipelines, "pipeline", id, &stream, command, request).await
    }

    pub(super) async fn plugin_command(
        &self,
        request: Request,
        id: &str,
        command: PluginCommand,
    ) -> Result<Accepted, ApiError> {
        let stream = StreamId::plugin(&parse::<Name>("plugin", id)?);
        self.send(&self.services.plugins, "plugin", id, &stream, command, request).await
    }

    async fn execution_command(
        &self,
        request: Request,
        id: &str,
        command: ExecutionCommand,
    ) -> Result<Accepted, ApiError> {
        let stream = StreamId::execution(parse::<ExecutionId>("execution", id)?);
        self.send(&self.services.executions, "execution", id, &stream, command, request).await
    }

    pub(super) async fn send<A: Aggregate>(
        &self,
        directory: &Directory<A>,
        kind: &'static str,
        id: &str,
        stream: &StreamId,
        command: A::Command,
        request: Request,
    ) -> Result<Accepted, ApiError> {
        let command_id = request.identity.id;
        let submitted = directory.submit(stream, request.submission(command)).await;
        Ok(accepted(command_id, id, submitted.map_err(|error| refused(error, kind, id))?))
    }
}

fn accepted(command_id: CommandId, id: &str, submitted: Submitted) -> Accepted {
    let Submitted { version, position, events, answer } = submitted;
    Accepted {
        command_id,
        aggregate_id: id.to_owned(),
        version,
        position,
        events_generated: events,
        execution_id: answer.execution_id,
        warnings: Problems::default(),
    }
}

/// The name (or id) and the stream of the aggregate that a command is for.
fn target(command: &Command) -> Option<(String, StreamId)> {
    let named = command.payload.get("name").and_then(Value::as_str).unwrap_or_default();
    let given = command.aggregate_id.as_str();
    let id = if given.is_empty() { named } else { given };
    let stream = match command.kind.category() {
        Category::Pipeline => StreamId::pipeline(&id.parse().ok()?),
        Category::Plugin => StreamId::plugin(&id.parse().ok()?),
        Category::Execution => StreamId::execution(id.parse().ok()?),
        Category::External | Category::Audit => return None,
    };
    Some((id.to_owned(), stream))
}

/// What goes along with a command on its way to the aggregate.
pub(super) struct Request {
    identity: Identity,
    pub(super) origin: Origin,
    if_match: Option<crate::domain::ids::Version>,
}

impl Request {
    fn new(api: &Api, command: &Command) -> Self {
        let Context { actor, correlation_id, command_id, if_match } = command.context.clone();
        let id = command_id.unwrap_or_else(|| CommandId(api.services.shared.ids.uuid()));
        let payload = command.payload.to_string();
        let request_hash = request_hash(&[
            command.kind.as_str().as_bytes(),
            command.aggregate_id.as_bytes(),
            payload.as_bytes(),
        ]);
        let origin = Origin { actor, correlation_id, causation_id: Some(id.0) };
        let identity = Identity { id, idempotent: command_id.is_some(), request_hash };
        Self { identity, origin, if_match }
    }

    fn submission<C>(self, command: C) -> Submission<C> {
        let Self { identity, origin, if_match } = self;
        Submission { command, identity: Some(identity), origin, if_match, guard: None }
    }
}

pub(super) fn not_found(kind: &'static str, id: &str) -> ApiError {
    ApiError::NotFound { kind, id: id.to_owned() }
}

/// A name or id from outside. One that cannot exist is not found rather than malformed: it names no thing.
pub(super) fn parse<T: FromStr>(kind: &'static str, id: &str) -> Result<T, ApiError> {
    id.parse().map_err(|_| not_found(kind, id))
}

pub(super) fn refused(error: SubmitError, kind: &'static str, id: &str) -> ApiError {
    match error {
        SubmitError::Rejected(Rejection::NotFound) => not_found(kind, id),
        SubmitError::Rejected(Rejection::Invalid(problems)) => ApiError::Invalid(problems),
        SubmitError::Rejected(Rejection::Overloaded(what)) => {
            ApiError::Overloaded { what, retry_after: RETRY_AFTER }
        }
        SubmitError::Rejected(rejection) => ApiError::Conflict(rejection.to_string()),
        SubmitError::PreconditionFailed { expected, actual } => {
            ApiError::PreconditionFailed { expected, actual }
        }
        SubmitError::CommandReused => ApiError::CommandReused,
        SubmitError::Overloaded => {
            ApiError::Overloaded { what: format!("{kind} {id}"), retry_after: RETRY_AFTER }
        }
        SubmitError::Unavailable(what) => ApiError::Unavailable { what, retry_after: RETRY_AFTER },
        SubmitError::Fenced => ApiError::Unavailable {
            what: "this node, which was replaced,".to_owned(),
            retry_after: RETRY_AFTER,
        },
        SubmitError::GuardFailed => ApiError::Internal,
    }
}

/// Reads a body of optional fields; unknown ones are problems.
pub(super) fn read_body(payload: &Value, read: impl FnOnce(&mut Object<'_>)) -> Result<(), ApiError> {
    let empty = Value::Object(Map::new());
    let problems = std::rc::Rc::default();
    let mut body = Object::open(if payload.is_null() { &empty } else { payload }, "", &problems);
    read(&mut body);
    body.finish();
    problems.take().into_result(()).map_err(ApiError::Invalid)
}
