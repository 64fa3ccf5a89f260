//! What happens to a plugin. Payloads are immutable contracts: a changed shape is a new schema version.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::capabilities::Capabilities;
use super::manifest::Manifest;
use super::policy::Granted;
use crate::domain::codec::event_set;
use crate::domain::ids::{ExecutionId, Incarnation, Name};
use crate::domain::outcome::{Cause, Usage};

/// It became known, with what it is granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRegistered {
    /// What it is.
    pub manifest: Manifest,
    /// What it is granted.
    pub granted: Granted,
}

/// Its manifest changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRevised {
    /// What it is now.
    pub manifest: Manifest,
    /// What it is granted now.
    pub granted: Granted,
}

/// It may be executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEnabled {}

/// It may not be executed for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDisabled {}

/// It is never executed again; its name stays reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRetired {}

/// The attempt of a step that a plugin works for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub step: Name,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// It was admitted to an attempt and is being started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginExecutionStarted {
    /// For which attempt.
    #[serde(flatten)]
    pub attempt: AttemptId,
    /// How many programs of it.
    pub programs: u32,
    /// The life of the node that runs it.
    pub incarnation: Incarnation,
    /// The manifest's version.
    pub plugin_version: String,
    /// What it was granted.
    pub capabilities: Capabilities,
    /// The digest of the policy that allowed it; absent where there was none.
    pub policy: Option<String>,
}

/// Everything it started for an attempt is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginExecutionCompleted {
    /// For which attempt.
    #[serde(flatten)]
    pub attempt: AttemptId,
    /// Why it did not complete; absent when it did.
    pub cause: Option<Cause>,
    /// What it used, its programs together.
    pub usage: Usage,
}

/// Its circuit opened: too many crashes in a short time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginQuarantined {
    /// The last of the crashes.
    pub cause: Cause,
    /// How many crashes were counted.
    pub failures: u32,
    /// The last lines that it logged before the last of them.
    pub log_tail: Vec<String>,
}

/// An operator closed its circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReleased {}

event_set! {
    /// What can happen to a plugin.
    PluginEvent {
        PluginRegistered = 2 from [registered_with_grants],
        PluginRevised = 2 from [registered_with_grants],
        PluginEnabled = 1,
        PluginDisabled = 1,
        PluginRetired = 1,
        PluginExecutionStarted = 2 from [started_under_a_policy],
        PluginExecutionCompleted = 1,
        PluginQuarantined = 2 from [quarantined_without_a_log],
        PluginReleased = 1,
    }
}

/// Version 1 knew no policy: what the manifest asked for was granted. It knew neither secrets nor calls.
fn registered_with_grants(fields: &mut Map<String, Value>) {
    let Some(manifest) = fields.get_mut("manifest").and_then(Value::as_object_mut) else { return };
    let capabilities = manifest.entry("capabilities").or_insert_with(|| Value::Object(Map::new()));
    if let Some(capabilities) = capabilities.as_object_mut() {
        without_secrets_and_calls(capabilities);
    }
    let granted = json!({"capabilities": capabilities, "policy": null});
    fields.insert("granted".to_owned(), granted);
}

/// Version 1 knew no policy, and neither secrets nor calls.
fn started_under_a_policy(fields: &mut Map<String, Value>) {
    if let Some(capabilities) = fields.get_mut("capabilities").and_then(Value::as_object_mut) {
        without_secrets_and_calls(capabilities);
    }
    fields.insert("policy".to_owned(), Value::Null);
}

/// Version 1 kept no log.
fn quarantined_without_a_log(fields: &mut Map<String, Value>) {
    fields.insert("log_tail".to_owned(), json!([]));
}

fn without_secrets_and_calls(capabilities: &mut Map<String, Value>) {
    for key in ["secrets", "api"] {
        capabilities.entry(key).or_insert_with(|| json!([]));
    }
}
