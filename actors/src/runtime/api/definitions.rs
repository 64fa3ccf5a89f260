//! Definitions of pipelines and plugins: read, checked against what exists, then created or revised.

use std::collections::BTreeMap;

use serde_json::Value;

use super::commands::Request;
use super::queries::store_away;
use super::{Accepted, Api, ApiError, Checked, CommandKind};
use crate::domain::aggregate::Aggregate as _;
use crate::domain::ids::{Name, StreamId};
use crate::domain::labels::{self, has_all};
use crate::domain::pipeline::{Definition, PipelineCommand, read_leniently, validate};
use crate::domain::plugin::{Granted, Judgement, Manifest, Plugin, PluginCommand, Status, read_manifest};
use crate::domain::problem::Problems;
use crate::domain::reader::nearest;
use crate::ports::event_store::StreamOrder;
use crate::ports::plugin_host::Examination;

/// Plugins among which a misspelt name is looked for.
const SUGGESTIONS: usize = 1_000;

/// A manifest with nothing wrong in it.
struct Sound {
    manifest: Manifest,
    granted: Granted,
    warnings: Problems,
}

impl Api {
    /// Checks a definition (`kind: Plugin` or `Pipeline`) without storing it, and says what applying it would do.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with every problem.
    pub async fn check(&self, payload: &Value) -> Result<Checked, ApiError> {
        if payload.get("kind").and_then(Value::as_str) == Some("Plugin") {
            let Sound { manifest, granted, warnings } = self.sound_manifest(payload, None).await?;
            let known = self.read_plugin(&manifest.name).await?;
            // where links lead is part of what is granted
            let was = known.manifest.as_ref().map(|manifest| (manifest, known.leads.as_ref()));
            let action = action(was.as_ref(), &(&manifest, granted.leads.as_ref()));
            return Ok(Checked { action, warnings });
        }
        let definition = self.sound_definition(payload, None).await?;
        let known = self.read_pipeline(&definition.name).await?;
        let action = action(known.definition.as_ref(), &definition);
        Ok(Checked { action, warnings: Problems::default() })
    }

    pub(super) async fn define_pipeline(
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

    pub(super) async fn define_plugin(
        &self,
        request: Request,
        kind: CommandKind,
        id: &str,
        payload: &Value,
    ) -> Result<Accepted, ApiError> {
        let Sound { manifest, granted, warnings } = self.sound_manifest(payload, Some(id)).await?;
        let name = manifest.name.clone();
        let command = match kind {
            CommandKind::RegisterPlugin => PluginCommand::Register(Box::new(manifest), granted),
            _ => PluginCommand::Revise(Box::new(manifest), granted),
        };
        let accepted = self.plugin_command(request, name.as_str(), command).await?;
        Ok(Accepted { warnings, ..accepted })
    }

    /// Reads a manifest and checks it against the operator's policy and what this node finds of it.
    async fn sound_manifest(&self, payload: &Value, id: Option<&str>) -> Result<Sound, ApiError> {
        let payload = named(payload, id.unwrap_or_default())?;
        let manifest = read_manifest(&payload).map_err(ApiError::Invalid)?;
        let policy = &self.services.policy;
        let Judgement { mut granted, denied } = policy.judge(&manifest);
        let Examination { mut problems, elsewhere, lacking } = self.examine(&manifest).await?;
        problems.add_later(denied);
        if !elsewhere.is_empty() {
            // what is granted is what the links lead to
            problems.add_later(policy.judge(&led(&manifest, &elsewhere)).denied);
        }
        granted.leads = Some(elsewhere);
        problems.into_result(Sound { manifest, granted, warnings: lacking }).map_err(ApiError::Invalid)
    }

    /// What a node finds of a plugin that it may run: this one, if it may.
    async fn examine(&self, manifest: &Manifest) -> Result<Examination, ApiError> {
        let (cluster, wanted) = (&self.services.shared.cluster, &manifest.node_selector);
        if has_all(cluster.labels(), wanted) {
            return Ok(self.services.host.examine(manifest).await);
        }
        let able = cluster.able(wanted);
        if able.is_empty() {
            let mut problems = Problems::default();
            let labels = labels::text(wanted);
            problems.add(
                "node_selector",
                format!("no node with the labels {labels} lives: start one with them (node.labels)"),
            );
            return Err(ApiError::Invalid(problems));
        }
        for member in &able {
            if let Some(found) = cluster.examine_at(member, manifest).await {
                return Ok(found);
            }
        }
        Err(ApiError::Unavailable { what: "a node that could look at the plugin".to_owned(), retry_after: 1 })
    }

    /// Reads a definition and checks it against the plugins it names.
    async fn sound_definition(&self, payload: &Value, id: Option<&str>) -> Result<Definition, ApiError> {
        let payload = named(payload, id.unwrap_or_default())?;
        let (definition, mut problems) = read_leniently(&payload);
        let programs = || definition.steps.iter().flat_map(|step| &step.pipe);
        let mut plugins: BTreeMap<Name, Manifest> = BTreeMap::new();
        for program in programs() {
            if !plugins.contains_key(&program.plugin) {
                plugins.extend(self.usable_plugin(&program.plugin).await?);
            }
        }
        let unknown: Vec<&Name> =
            programs().map(|program| &program.plugin).filter(|name| !plugins.contains_key(name)).collect();
        if !unknown.is_empty() {
            plugins.extend(self.similar_plugins(&unknown).await?);
        }
        if let Err(later) = validate(&definition, &plugins) {
            problems.add_later(later);
        }
        problems.into_result(definition).map_err(ApiError::Invalid)
    }

    /// A plugin that may be named in a definition.
    async fn usable_plugin(&self, name: &Name) -> Result<Option<(Name, Manifest)>, ApiError> {
        let plugin = self.read_plugin(name).await?;
        let usable = plugin.manifest.clone().filter(|_| plugin.status != Status::Retired);
        Ok(usable.map(|manifest| (manifest.name.clone(), manifest)))
    }

    /// For names that no plugin has, the plugins that were perhaps meant: the refusal can then suggest them.
    async fn similar_plugins(&self, unknown: &[&Name]) -> Result<BTreeMap<Name, Manifest>, ApiError> {
        let (category, order) = (Plugin::CATEGORY, StreamOrder::Ascending);
        let streams = self.services.shared.store.list_streams(category, None, order, SUGGESTIONS).await;
        let streams = streams.map_err(store_away)?;
        let names: Vec<&str> = streams.iter().map(StreamId::id).collect();
        let mut similar = BTreeMap::new();
        for name in unknown.iter().filter_map(|name| nearest(name.as_str(), &names)) {
            if let Ok(name) = Name::new(name) {
                similar.extend(self.usable_plugin(&name).await?);
            }
        }
        Ok(similar)
    }
}

/// The manifest with the paths that some of its paths lead to.
fn led(manifest: &Manifest, elsewhere: &BTreeMap<String, String>) -> Manifest {
    let mut led = manifest.clone();
    for path in led.capabilities.read.iter_mut().chain(&mut led.capabilities.write) {
        if let Some(real) = elsewhere.get(path) {
            path.clone_from(real);
        }
    }
    led
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

fn action<T: PartialEq>(known: Option<&T>, new: &T) -> &'static str {
    match known {
        None => "create",
        Some(known) if known == new => "unchanged",
        Some(_) => "revise",
    }
}
