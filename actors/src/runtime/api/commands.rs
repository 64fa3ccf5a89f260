//! Commands of the contract: each is read, checked and submitted to its aggregate. The one command path.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::super::aggregate::{Directory, Submission, SubmitError, Submitted};
use super::super::runner;
use super::super::services::request_hash;
use super::{Accepted, Api, ApiError, Command, CommandKind, Context};
use crate::domain::aggregate::{Aggregate, Rejection};
use crate::domain::codec::EventSet;
use crate::domain::event::Origin;
use crate::domain::execution::{ExecutionCommand, ExecutionEvent, ExecutionQueued};
use crate::domain::ids::{CommandId, ExecutionId, Name, StreamId};
use crate::domain::pipeline::{
    Definition, PipelineCommand, Step, StepProgram, When, read_definition, resolve_parameters,
    schema_problems, validate,
};
use crate::domain::plugin::{Manifest, PluginCommand, Status, read_manifest};
use crate::domain::problem::Problems;
use crate::domain::reader::Object;
use crate::domain::retry::RetryPolicy;

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

    /// Checks a definition (`kind: Plugin` or `Pipeline`) without storing it, and says what applying it would do:
    /// `create`, `revise` or `unchanged`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with every problem.
    pub async fn check(&self, payload: &Value) -> Result<&'static str, ApiError> {
        if payload.get("kind").and_then(Value::as_str) == Some("Plugin") {
            let manifest = read_manifest(payload).map_err(ApiError::Invalid)?;
            let known = self.read_plugin(&manifest.name).await?;
            return Ok(action(known.manifest.as_ref(), &manifest));
        }
        let definition = self.sound_definition(payload, None).await?;
        let known = self.read_pipeline(&definition.name).await?;
        Ok(action(known.definition.as_ref(), &definition))
    }

    async fn dispatch(&self, command: Command) -> Result<Accepted, ApiError> {
        let request = Request::new(self, &command);
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

    async fn define_pipeline(
        &self,
        request: Request,
        kind: CommandKind,
        id: &str,
        payload: &Value,
    ) -> Result<Accepted, ApiError> {
        let definition = self.sound_definition(payload, Some(id)).await?;
        let stream = StreamId::pipeline(&definition.name);
        let id = definition.name.to_string();
        let command = match kind {
            CommandKind::CreatePipeline => PipelineCommand::Create(Box::new(definition)),
            _ => PipelineCommand::Revise(Box::new(definition)),
        };
        self.send(&self.services.pipelines, "pipeline", &id, &stream, command, request).await
    }

    async fn define_plugin(
        &self,
        request: Request,
        kind: CommandKind,
        id: &str,
        payload: &Value,
    ) -> Result<Accepted, ApiError> {
        let manifest = read_manifest(&named(payload, id)?).map_err(ApiError::Invalid)?;
        let name = manifest.name.clone();
        let command = match kind {
            CommandKind::RegisterPlugin => PluginCommand::Register(Box::new(manifest)),
            _ => PluginCommand::Revise(Box::new(manifest)),
        };
        self.plugin_command(request, name.as_str(), command).await
    }

    /// Reads a definition and checks it against the plugins it names.
    async fn sound_definition(&self, payload: &Value, id: Option<&str>) -> Result<Definition, ApiError> {
        let payload = named(payload, id.unwrap_or_default())?;
        let definition = read_definition(&payload).map_err(ApiError::Invalid)?;
        let mut plugins: BTreeMap<Name, Manifest> = BTreeMap::new();
        for program in definition.steps.iter().flat_map(|step| &step.pipe) {
            if !plugins.contains_key(&program.plugin) {
                let plugin = self.read_plugin(&program.plugin).await?;
                let usable = plugin.manifest.clone().filter(|_| plugin.status != Status::Retired);
                plugins.extend(usable.map(|manifest| (manifest.name.clone(), manifest)));
            }
        }
        validate(&definition, &plugins).map_err(ApiError::Invalid)?;
        Ok(definition)
    }

    async fn start_pipeline(
        &self,
        request: Request,
        id: &str,
        payload: &Value,
    ) -> Result<Accepted, ApiError> {
        let name = parse::<Name>("pipeline", id)?;
        let (mut parameters, mut from_scratch) = (Map::new(), false);
        read_body(payload, |body| {
            parameters = body.value("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
            from_scratch = body.boolean("from_scratch").unwrap_or_default();
        })?;
        let pipeline = self.read_pipeline(&name).await?;
        let Some(definition) = &pipeline.definition else { return Err(not_found("pipeline", id)) };
        let today = self.services.shared.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let parameters =
            resolve_parameters(&definition.parameters, &parameters, today).map_err(ApiError::Invalid)?;
        let execution = self.fresh_execution();
        let command = PipelineCommand::Start { execution, parameters, from_scratch };
        let correlation_id = request.origin.correlation_id;
        let stream = StreamId::pipeline(&name);
        let accepted = self.send(&self.services.pipelines, "pipeline", id, &stream, command, request).await?;
        self.run(&accepted, execution, correlation_id).await;
        Ok(accepted)
    }

    async fn execute_plugin(
        &self,
        request: Request,
        id: &str,
        payload: &Value,
    ) -> Result<Accepted, ApiError> {
        let name = parse::<Name>("plugin", id)?;
        let plugin = self.read_plugin(&name).await?;
        let Some(manifest) = &plugin.manifest else { return Err(not_found("plugin", id)) };
        let execution = self.fresh_execution();
        let queued = lone_execution(execution, manifest, payload)?;
        let command = PluginCommand::Execute { execution, queued: ExecutionEvent::from(queued).encode() };
        let correlation_id = request.origin.correlation_id;
        let accepted = self.plugin_command(request, id, command).await?;
        self.run(&accepted, execution, correlation_id).await;
        Ok(accepted)
    }

    /// Starts the runner of a new execution; a repeated command names an older one, which has its own.
    async fn run(
        &self,
        accepted: &Accepted,
        execution: ExecutionId,
        correlation_id: crate::domain::ids::CorrelationId,
    ) {
        if accepted.execution_id == Some(execution) {
            runner::start(
                std::sync::Arc::clone(&self.services),
                &self.tree.runners,
                execution,
                correlation_id,
            )
            .await;
        }
    }

    async fn change_bookmark(
        &self,
        request: Request,
        kind: CommandKind,
        id: &str,
        payload: &Value,
    ) -> Result<Accepted, ApiError> {
        let (mut step, mut state) = (None, None);
        read_body(payload, |body| {
            step = body.name("step");
            if kind == CommandKind::SetBookmark {
                state = body.value("state").cloned();
                if state.as_ref().and_then(Value::as_object).is_none_or(Map::is_empty) {
                    body.problem("state", "expected a Singer state: an object with at least one key; to begin anew, clear the bookmark");
                }
            }
        })?;
        let step = step.ok_or(ApiError::Internal)?;
        let known = self.read_pipeline(&parse::<Name>("pipeline", id)?).await?;
        if known.definition.is_some() && known.step(&step).is_none() {
            return Err(not_found("step", step.as_str()));
        }
        let command = match (kind, state) {
            (CommandKind::SetBookmark, Some(state)) => PipelineCommand::SetBookmark { step, state },
            _ => PipelineCommand::ClearBookmark { step },
        };
        self.pipeline_command(request, id, command).await
    }

    async fn release_plugin(&self, request: Request, id: &str) -> Result<Accepted, ApiError> {
        let stream = StreamId::plugin(&parse::<Name>("plugin", id)?);
        // both quarantines that a plugin can be in: that of its programs, and that of its actor
        self.release(&stream).await;
        self.plugin_command(request, id, PluginCommand::Release).await
    }

    async fn pipeline_command(
        &self,
        request: Request,
        id: &str,
        command: PipelineCommand,
    ) -> Result<Accepted, ApiError> {
        let stream = StreamId::pipeline(&parse::<Name>("pipeline", id)?);
        self.send(&self.services.pipelines, "pipeline", id, &stream, command, request).await
    }

    async fn plugin_command(
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

    async fn send<A: Aggregate>(
        &self,
        directory: &Directory<A>,
        kind: &'static str,
        id: &str,
        stream: &StreamId,
        command: A::Command,
        request: Request,
    ) -> Result<Accepted, ApiError> {
        let command_id = request.id;
        let Submitted { version, position, events, answer } = directory
            .submit(stream, request.submission(command))
            .await
            .map_err(|error| refused(error, kind, id))?;
        Ok(Accepted {
            command_id,
            aggregate_id: id.to_owned(),
            version,
            position,
            events_generated: events,
            execution_id: answer.execution_id,
        })
    }

    fn fresh_execution(&self) -> ExecutionId {
        ExecutionId(self.services.shared.ids.uuid())
    }
}

/// What goes along with a command on its way to the aggregate.
struct Request {
    id: CommandId,
    idempotent: bool,
    hash: [u8; 32],
    origin: Origin,
    if_match: Option<crate::domain::ids::Version>,
}

impl Request {
    fn new(api: &Api, command: &Command) -> Self {
        let Context { actor, correlation_id, command_id, if_match } = command.context.clone();
        let id = command_id.unwrap_or_else(|| CommandId(api.services.shared.ids.uuid()));
        let payload = command.payload.to_string();
        let hash = request_hash(&[
            command.kind.as_str().as_bytes(),
            command.aggregate_id.as_bytes(),
            payload.as_bytes(),
        ]);
        let origin = Origin { actor, correlation_id, causation_id: Some(id.0) };
        Self { id, idempotent: command_id.is_some(), hash, origin, if_match }
    }

    fn submission<C>(self, command: C) -> Submission<C> {
        let Self { id, idempotent, hash, origin, if_match } = self;
        Submission { command, id, idempotent, request_hash: hash, origin, if_match, guard: None }
    }
}

pub(super) fn not_found(kind: &'static str, id: &str) -> ApiError {
    ApiError::NotFound { kind, id: id.to_owned() }
}

/// A name or id from outside. One that cannot exist is not found rather than malformed: it names no thing.
fn parse<T: FromStr>(kind: &'static str, id: &str) -> Result<T, ApiError> {
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

/// The payload of a definition with its name: given in the path, in the payload, or the same in both.
fn named(payload: &Value, id: &str) -> Result<Value, ApiError> {
    let mut payload = payload.clone();
    if let (Some(map), false) = (payload.as_object_mut(), id.is_empty()) {
        let name = map.entry("name").or_insert_with(|| Value::from(id));
        if name.as_str() != Some(id) {
            let mut problems = Problems::default();
            problems
                .add("name", format!("the request names {id:?}, the definition another: make them the same"));
            return Err(ApiError::Invalid(problems));
        }
    }
    Ok(payload)
}

/// Reads a body of optional fields; unknown ones are problems.
fn read_body(payload: &Value, read: impl FnOnce(&mut Object<'_>)) -> Result<(), ApiError> {
    let empty = Value::Object(Map::new());
    let problems = std::rc::Rc::default();
    let mut body = Object::open(if payload.is_null() { &empty } else { payload }, "", &problems);
    read(&mut body);
    body.finish();
    problems.take().into_result(()).map_err(ApiError::Invalid)
}

/// The first event of an execution of one plugin alone: a graph of one step.
fn lone_execution(
    execution: ExecutionId,
    manifest: &Manifest,
    payload: &Value,
) -> Result<ExecutionQueued, ApiError> {
    let object = || Value::Object(Map::new());
    let (mut operation, mut config, mut parameters) = (None, object(), object());
    read_body(payload, |body| {
        operation = body.text("operation").map(str::to_owned);
        config = body.value("config").cloned().unwrap_or_else(object);
        parameters = body.value("parameters").cloned().unwrap_or_else(object);
        for (key, value) in [("config", &config), ("parameters", &parameters)] {
            if !value.is_object() {
                body.problem(key, "expected an object");
            }
        }
    })?;
    let problems = schema_problems(manifest, &config, "config");
    problems.into_result(()).map_err(ApiError::Invalid)?;
    let program = StepProgram {
        plugin: manifest.name.clone(),
        config,
        catalog: None,
        select: Vec::new(),
        operation,
        parameters: parameters.clone(),
    };
    let step = Step {
        name: manifest.name.clone(),
        pipe: vec![program],
        bookmark: None,
        retry: RetryPolicy::never(),
        timeout: None,
        depends_on: Vec::new(),
        when: When::AllSucceeded,
    };
    Ok(ExecutionQueued {
        execution,
        pipeline: None,
        plugin: Some(manifest.name.clone()),
        revision: None,
        steps: vec![step],
        parameters: parameters.as_object().cloned().unwrap_or_default(),
        from_scratch: true,
    })
}

fn action<T: PartialEq>(known: Option<&T>, new: &T) -> &'static str {
    match known {
        None => "create",
        Some(known) if known == new => "unchanged",
        Some(_) => "revise",
    }
}
