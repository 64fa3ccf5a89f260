//! Commands that start something or move a bookmark: their bodies are read and checked here.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::runner;
use super::commands::{Request, not_found, parse, read_body};
use super::{Accepted, Api, ApiError, CommandKind};
use crate::domain::execution::ExecutionQueued;
use crate::domain::ids::{CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::pipeline::{
    PipelineCommand, Step, StepProgram, When, resolve_parameters, schema_problems, secret_places,
    secret_problems,
};
use crate::domain::plugin::{Manifest, PluginCommand};
use crate::domain::retry::RetryPolicy;

/// Ids that are drawn at most for one that lies in a given shard.
const ID_DRAWS: usize = 256 * 20;

impl Api {
    pub(super) async fn start_pipeline(
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
        let stream = StreamId::pipeline(&name);
        let execution = self.fresh_execution(&stream);
        let command = PipelineCommand::Start { execution, parameters, from_scratch };
        let correlation_id = request.origin.correlation_id;
        let accepted = self.send(&self.services.pipelines, "pipeline", id, &stream, command, request).await?;
        self.run(&accepted, execution, correlation_id).await;
        Ok(accepted)
    }

    pub(super) async fn execute_plugin(
        &self,
        request: Request,
        id: &str,
        payload: &Value,
    ) -> Result<Accepted, ApiError> {
        let name = parse::<Name>("plugin", id)?;
        let plugin = self.read_plugin(&name).await?;
        let Some(manifest) = &plugin.manifest else { return Err(not_found("plugin", id)) };
        let execution = self.fresh_execution(&StreamId::plugin(&name));
        let queued = lone_execution(execution, manifest, payload)?;
        let command = PluginCommand::Execute { execution, queued: Box::new(queued) };
        let correlation_id = request.origin.correlation_id;
        let accepted = self.plugin_command(request, id, command).await?;
        self.run(&accepted, execution, correlation_id).await;
        Ok(accepted)
    }

    pub(super) async fn change_bookmark(
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

    /// Starts the runner of a new execution; a repeated command names an older one, which has its own. Where another node
    /// owns it, that one has done so.
    async fn run(&self, accepted: &Accepted, execution: ExecutionId, correlation_id: CorrelationId) {
        let own = self.services.owns(&StreamId::execution(execution));
        if own && accepted.execution_id == Some(execution) {
            runner::start(Arc::clone(&self.services), &self.tree.runners, execution, correlation_id).await;
        }
    }

    /// A new execution in the shard of what starts it, so that both have one owner and begin in one append. One id in
    /// 256 lies there.
    fn fresh_execution(&self, starter: &StreamId) -> ExecutionId {
        let mut fresh = std::iter::repeat_with(|| ExecutionId(self.services.shared.ids.uuid()));
        let fits = |id: &ExecutionId| StreamId::execution(*id).shard() == starter.shard();
        let found = fresh.by_ref().take(ID_DRAWS).find(fits);
        // one in a hundred million: it begins all the same while both shards are one node's
        found.unwrap_or_else(|| ExecutionId(self.services.shared.ids.uuid()))
    }
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
    let mut problems = secret_problems(manifest, &config, &parameters, "");
    if secret_places(&config, None).is_empty() {
        problems.0.extend(schema_problems(manifest, &config, "config").0);
    }
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
