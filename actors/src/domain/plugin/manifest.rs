//! The manifest: what a plugin is, what it may touch and how much it may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::capabilities::Capabilities;
use crate::domain::ids::Name;
use crate::domain::labels::Labels;
use crate::domain::quantity::{Bytes, bytes_text, optional_duration_text};

/// A program FlexCore may run, as the file format has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its unique name.
    pub name: Name,
    /// The author's version.
    pub version: String,
    /// Its place in a pipe.
    #[serde(rename = "type")]
    pub kind: PluginType,
    /// How FlexCore speaks with it.
    pub protocol: Protocol,
    /// Program and arguments; the program is resolved inside the plugin's environment.
    pub command: Vec<String>,
    /// Where the program comes from, when it is not on the host already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// JSON Schema for a step's `config`; `{}` accepts everything.
    #[serde(default)]
    pub config_schema: Value,
    /// What it may touch.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// How much it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Simultaneous executions, cluster-wide.
    pub concurrency: u32,
    /// Labels of the nodes that may run it; all of them must be there.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub node_selector: Labels,
}

/// The role of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginType {
    /// Starts a pipe: reads from a source.
    Extractor,
    /// Ends a pipe: writes to a destination.
    Loader,
    /// Transforms data where it lies (dbt).
    Transformer,
    /// Stands between extractor and loader.
    Mapper,
    /// Any program that stands alone.
    Processor,
    /// Serves others.
    Service,
}

/// How FlexCore speaks with a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Singer messages on standard input and output.
    Singer,
    /// The exit code decides.
    Command,
    /// MessagePack frames on descriptors 0 and 1.
    Flexcore,
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// A private Python virtual environment, built once from the package index.
    pub python: PythonEnvironment,
}

/// What goes into a virtual environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonEnvironment {
    /// Requirements as pip has them (`tap-csv==1.0.0`).
    pub requirements: Vec<String>,
    /// `default` for the machine's configured index.
    pub index: String,
}

/// How much one execution may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Resident memory of the whole process tree.
    #[serde(with = "bytes_text")]
    pub memory: Bytes,
    /// Processors.
    pub cpus: f64,
    /// Processes.
    pub processes: u32,
    /// Open files.
    pub open_files: u32,
    /// Private scratch space.
    #[serde(with = "bytes_text")]
    pub scratch: Bytes,
    /// The longest Singer line.
    #[serde(with = "bytes_text")]
    pub line: Bytes,
    /// Log and result; a relayed stream is never capped.
    #[serde(with = "bytes_text")]
    pub output: Bytes,
    /// Processor time; none is unlimited.
    #[serde(with = "optional_duration_text", skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Duration>,
    /// Time from start to end; none is unlimited.
    #[serde(with = "optional_duration_text", skip_serializing_if = "Option::is_none")]
    pub wall_time: Option<Duration>,
    /// The largest file it may write; none is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<Bytes>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Bytes::mib(512),
            cpus: 1.0,
            processes: 64,
            open_files: 256,
            scratch: Bytes::mib(256),
            line: Bytes::mib(128),
            output: Bytes::mib(64),
            cpu_time: None,
            wall_time: None,
            file_size: None,
        }
    }
}

/// Simultaneous executions when the manifest names none.
pub const DEFAULT_CONCURRENCY: u32 = 8;
