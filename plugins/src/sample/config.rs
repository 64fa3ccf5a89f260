//! What the sample does and which fault it injects. Only data: the faults themselves are elsewhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// Every key is optional; the default is a tap of 1,000 records without a fault.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// Which program to be when the command line names none.
    pub mode: Mode,

    // What a tap, or the flexcore protocol, emits.
    pub records: Option<u64>,
    pub record_bytes: usize,
    pub streams: Option<u64>,
    pub state_every: Option<u64>,
    pub rate: Option<f64>,

    /// Faults are injected only while this file does not exist; it is made first, so that a retry succeeds.
    pub once_marker: Option<PathBuf>,

    // Faults of every program.
    pub crash_after: Option<u64>,
    pub exit_after: Option<ExitAfter>,
    pub hang_after: Option<u64>,
    pub ignore_sigterm: bool,
    pub spawn_child: bool,
    pub stderr_flood: u64,
    pub allocate: u64,

    // Faults of the tap.
    pub garbage_after: Option<u64>,
    pub half_line_after: Option<u64>,
    pub huge_line: usize,
    pub null_state: bool,
    pub nan: bool,
    pub blank_lines: u64,

    // Faults of the target.
    pub fail_after: Option<u64>,
    pub slow_ms: u64,
    pub exit_without_state: bool,

    // The command.
    pub exit_code: u8,

    // The flexcore protocol.
    pub call: Option<Call>,
    pub error: Option<String>,
    pub malformed_frame: bool,
    pub oversize_frame: bool,
    pub result_twice: bool,
    pub output_after_result: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// A Singer tap
    #[default]
    Tap,
    /// A Singer target
    Target,
    /// A command: parameters from $FLEXCORE_PARAMETERS, result into $FLEXCORE_RESULT
    Command,
    /// A plugin of the flexcore protocol
    Flexcore,
    /// What spawn_child leaves behind: waits in a session of its own
    #[serde(skip)]
    #[value(hide = true)]
    Linger,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExitAfter {
    pub records: u64,
    pub code: u8,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub api: String,
    #[serde(default)]
    pub arguments: Value,
}

impl Config {
    /// Records per stream.
    pub fn records(&self) -> u64 {
        self.records.unwrap_or(1_000)
    }

    /// Streams, at least one.
    pub fn streams(&self) -> u64 {
        self.streams.unwrap_or(1).max(1)
    }

    /// Records between two STATE messages, at least one.
    pub fn state_every(&self) -> u64 {
        self.state_every.unwrap_or(100).max(1)
    }

    /// From an object that may hold other keys too, such as the parameters of an operation.
    pub fn from_known_keys(objects: &[&Value]) -> Result<Self, Error> {
        let unusable = |error| Error::invalid(format!("configuration is not usable: {error}"));
        let known = serde_json::to_value(Self::default()).map_err(unusable)?;
        let mut chosen = Map::new();
        for (key, value) in objects.iter().filter_map(|object| object.as_object()).flatten() {
            if known.get(key).is_some() {
                chosen.insert(key.clone(), value.clone());
            }
        }
        serde_json::from_value(Value::Object(chosen)).map_err(unusable)
    }

    /// Without faults once the marker exists. Makes the marker when a fault is still due.
    pub fn consider_marker(mut self) -> Result<Self, Error> {
        let Some(marker) = self.once_marker.take() else { return Ok(self) };
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&marker) {
            Ok(_) => Ok(self),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(self.without_faults()),
            Err(source) => Err(Error::file("make the marker", &marker)(source)),
        }
    }

    fn without_faults(self) -> Self {
        Self {
            mode: self.mode,
            records: self.records,
            record_bytes: self.record_bytes,
            streams: self.streams,
            state_every: self.state_every,
            rate: self.rate,
            slow_ms: self.slow_ms,
            call: self.call,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_marker_injects_the_fault_once_and_keeps_the_work() {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("done");
        let config: Config =
            serde_json::from_value(json!({"records": 7, "crash_after": 3, "once_marker": marker})).unwrap();
        let first = config.clone().consider_marker().unwrap();
        let second = config.consider_marker().unwrap();
        assert_eq!((first.crash_after, second.crash_after), (Some(3), None));
        assert_eq!(second.records(), 7);
    }

    #[test]
    fn parameters_may_hold_other_keys_and_a_config_may_not() {
        let config =
            Config::from_known_keys(&[&json!({"records": 1}), &json!({"day": "x", "records": 2})]).unwrap();
        assert_eq!(config.records(), 2);
        assert!(serde_json::from_value::<Config>(json!({"crash_aftr": 1})).is_err());
    }
}
