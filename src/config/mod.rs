//! What a node is told before it starts: one typed value from defaults, a file, the environment and flags. Never in
//! here: anything that a definition of a pipeline or plugin says, and any use of the values.

mod cluster;
mod host;
mod layers;
pub mod policy;
mod read;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flexcore_actors::domain::ids::Name;
use flexcore_actors::domain::labels::Labels;
use flexcore_actors::domain::quantity::{Bytes, format_duration};
use serde_json::{Value, json};

use crate::sandbox::level::Requirement;
use crate::telemetry::LogFormat;

pub use layers::Flag;

/// The most connections that can be configured.
pub const MAX_CONNECTIONS: u64 = 65_536;
/// The most Python interpreters that may wait.
pub const MAX_WARM_INTERPRETERS: u64 = 64;
/// The longest [`Config::shutdown_grace`].
pub const MAX_GRACE: Duration = Duration::from_secs(600);

/// Everything a node is told; `config/flexcore.yaml` documents each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `node.name`
    pub node_name: Name,
    /// `node.labels`: what plugins that ask for particular nodes look at.
    pub node_labels: Labels,
    /// `node.memory`: what the programs that run here may be promised together; without it, all of the machine's memory.
    pub node_memory: Option<Bytes>,
    /// `data_dir`
    pub data_dir: PathBuf,
    /// `http.listen`; a loopback address unless [`Config::auth_required`].
    pub http_listen: SocketAddr,
    /// `http.max_connections`: connections served at once.
    pub http_max_connections: usize,
    /// `grpc.listen`: where other nodes of a cluster reach this one.
    pub grpc_listen: SocketAddr,
    /// `cluster`: how this node is one of several; without it, it is alone.
    pub cluster: Option<Cluster>,
    /// `auth.required`: whether every request has to bear a token; without, only loopback addresses are served.
    pub auth_required: bool,
    /// `database.url`; without it the embedded store is used.
    pub database_url: Option<Secret>,
    /// `integrity.key_file`: where the key for checkpoints is; without it, in `data_dir`.
    pub integrity_key_file: Option<PathBuf>,
    /// `integrity.checkpoint_dir`: where copies of checkpoints go; without it, in `data_dir`.
    pub integrity_checkpoint_dir: Option<PathBuf>,
    /// `secrets.key_file`: where the key for secrets is; without it, in `data_dir`.
    pub secrets_key_file: Option<PathBuf>,
    /// `secrets.key`: the key itself, instead of a file.
    pub secrets_key: Option<Secret>,
    /// `archive.dir`: where events are moved to by `flexcore archive`; without it, in `data_dir`.
    pub archive_dir: Option<PathBuf>,
    /// `sandbox.policy`: the file that says what plugins may be granted; without it, whatever they ask for.
    pub sandbox_policy: Option<PathBuf>,
    /// `sandbox.required` and `sandbox.accept_missing`: how much isolation programs must have.
    pub sandbox: Requirement,
    /// `sandbox.warm_interpreters`: Python interpreters that may wait for executions at the same time.
    pub warm_interpreters: usize,
    /// `log`: a filter that [`crate::telemetry::init`] accepts.
    pub log: String,
    /// `log_format`
    pub log_format: LogFormat,
    /// `shutdown.grace`: how long a stopping node lets its work end.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: host::node_name(),
            node_labels: Labels::new(),
            node_memory: None,
            data_dir: PathBuf::from("./flexcore-data"),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            http_max_connections: 1_024,
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            cluster: None,
            auth_required: false,
            database_url: None,
            integrity_key_file: None,
            integrity_checkpoint_dir: None,
            secrets_key_file: None,
            secrets_key: None,
            archive_dir: None,
            sandbox_policy: None,
            sandbox: Requirement::default(),
            warm_interpreters: 4,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

/// How a node is one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `cluster.redis_url`: over which nodes tell each other news.
    pub redis_url: Secret,
    /// `cluster.secret`: by which nodes know each other.
    pub secret: Secret,
    /// `cluster.advertise`: where the others reach this node; without it, at `grpc.listen`.
    pub advertise: Option<String>,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` from being printed.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one who has to present it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// One thing that is wrong, and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `FILE:LINE:COLUMN`, a variable, or a flag.
    pub origin: String,
    /// The key, such as `http.listen`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what would be right; never a secret's value.
    pub message: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Mistake>);

impl fmt::Display for ConfigError {
    /// One line a mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            let colon = if mistake.key.is_empty() { "" } else { ": " };
            write!(f, "{newline}{}: {}{colon}{}", mistake.origin, mistake.key, mistake.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A configuration that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What was ignored, one sentence each: variables that name no key.
    pub warnings: Vec<String>,
}

/// Reads the configuration: defaults, then `file`, then those of `variables` that begin with `FLEXCORE_`, then
/// `flags`; each replaces what came before it.
///
/// # Errors
/// Every mistake at once, each with its place; those of the policy's file once there are no others.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Loaded, ConfigError> {
    let layers = layers::merge(file, variables, flags)?;
    let config = read::config(&layers)?;
    // what it says is used when a node starts; what is wrong with it is said with the rest
    config.sandbox_policy.as_deref().map(policy::read).transpose()?;
    Ok(Loaded { config, warnings: layers.warnings })
}

/// The process's environment, for [`load`]; what is not text is left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Config {
    /// The memory that programs may be promised together here, bytes.
    #[must_use]
    pub fn programs_memory(&self) -> u64 {
        self.node_memory.map(|memory| memory.0).or_else(host::memory).unwrap_or(u64::MAX)
    }

    /// The values under their keys, as a file would have them; secrets are replaced by `<redacted>`.
    #[must_use]
    pub fn redacted(&self) -> Value {
        json!({
            "node": {
                "name": self.node_name.as_str(),
                "labels": self.node_labels,
                "memory": self.node_memory.map(|memory| memory.to_string()),
            },
            "data_dir": self.data_dir.display().to_string(),
            "http": {"listen": self.http_listen.to_string(), "max_connections": self.http_max_connections},
            "grpc": {"listen": self.grpc_listen.to_string()},
            "cluster": {
                "redis_url": self.cluster.as_ref().map(|_| "<redacted>"),
                "secret": self.cluster.as_ref().map(|_| "<redacted>"),
                "advertise": self.cluster.as_ref().and_then(|cluster| cluster.advertise.as_deref()),
            },
            "database": {"url": self.database_url.as_ref().map(|_| "<redacted>")},
            "integrity": {
                "key_file": self.integrity_key_file.as_ref().map(|path| path.display().to_string()),
                "checkpoint_dir": self.integrity_checkpoint_dir.as_ref().map(|path| path.display().to_string()),
            },
            "secrets": {
                "key_file": self.secrets_key_file.as_ref().map(|path| path.display().to_string()),
                "key": self.secrets_key.as_ref().map(|_| "<redacted>"),
            },
            "archive": {"dir": self.archive_dir.as_ref().map(|path| path.display().to_string())},
            "auth": {"required": self.auth_required},
            "sandbox": {
                "policy": self.sandbox_policy.as_ref().map(|path| path.display().to_string()),
                "required": self.sandbox.level.as_str(),
                "accept_missing": self.sandbox.accept_missing.iter().map(|m| m.as_str()).collect::<Vec<_>>(),
                "warm_interpreters": self.warm_interpreters,
            },
            "log": self.log,
            "log_format": self.log_format.as_str(),
            "shutdown": {"grace": format_duration(self.shutdown_grace)},
        })
    }
}

#[cfg(test)]
mod tests;
