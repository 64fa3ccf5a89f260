//! How programs and attempts end, and what was measured. Pure values; who produces them is the plugin host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::Name;

/// Why something did not complete. The set is closed: scripts and dashboards match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The program ended with another exit code than 0.
    Exit,
    /// The program died of a signal that was not ours.
    Signal,
    /// The program exceeded its memory limit.
    Oom,
    /// A time limit passed.
    Timeout,
    /// The program broke its protocol: bad Singer line, malformed frame.
    ProtocolError,
    /// The program could not be started.
    StartFailed,
    /// The sandbox ended or refused the program.
    SandboxDenied,
    /// The node or worker that ran it is gone.
    LostNode,
    /// The counts of two sides differ.
    CountsDiffer,
    /// It was cancelled.
    Cancelled,
}

impl CauseKind {
    /// The bare word used in events, HTTP and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Oom => "oom",
            Self::Timeout => "timeout",
            Self::ProtocolError => "protocol_error",
            Self::StartFailed => "start_failed",
            Self::SandboxDenied => "sandbox_denied",
            Self::LostNode => "lost_node",
            Self::CountsDiffer => "counts_differ",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the plugin's circuit counts it. Exit codes and memory do not count: one pipeline's bad
    /// configuration must not quarantine a plugin for everyone.
    #[must_use]
    pub const fn opens_circuit(self) -> bool {
        matches!(self, Self::Signal | Self::ProtocolError | Self::StartFailed)
    }
}

/// Why an attempt, a program or an execution ended without completing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The bare word.
    pub kind: CauseKind,
    /// One sentence for a person: what happened to which program.
    pub message: String,
    /// Facts for programs: `{"exit_code": 3}`, `{"signal": 9}`, `{"line": 17}` …
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

impl Cause {
    /// A cause without facts beyond its message.
    #[must_use]
    pub fn new(kind: CauseKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: serde_json::Value::Null }
    }

    /// The same with facts for programs.
    #[must_use]
    pub fn with_detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }
}

/// What a program used, measured by the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From exec to the end, milliseconds.
    pub wall_ms: u64,
    /// User and system time of the whole process tree, milliseconds.
    pub cpu_ms: u64,
    /// The largest resident memory seen, bytes.
    pub peak_memory_bytes: u64,
}

/// How one program of an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramReport {
    /// The plugin it belongs to.
    pub plugin: Name,
    /// Its process id; absent when it never started.
    pub pid: Option<u32>,
    /// Its exit code; absent when it died of a signal or never started.
    pub exit_code: Option<i32>,
    /// Why it did not complete; absent when it did.
    pub cause: Option<Cause>,
    /// What it used.
    pub usage: Usage,
    /// What it did with the network; absent when it neither reached nor tried anything that could be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkUse>,
    /// How it was isolated; absent when it never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxUsed>,
    /// What it was denied beside the network, in the order of the first time; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<Denial>,
    /// Whether it was an interpreter that had been started ahead; its processor time counts what it imported, too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub warm: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Something that a program tried and may not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What it tried.
    #[serde(flatten)]
    pub what: Denied,
    /// Why it may not.
    pub reason: String,
    /// How often.
    pub times: u64,
}

/// What can be denied to a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denied {
    /// A call of the flexcore protocol, by its name.
    Call(String),
    /// A dangerous system call, by its name.
    SystemCall(String),
}

/// Most different denials of one kind that are listed of a program.
pub const MAX_DENIALS: usize = 32;

/// Adds a denial to those of a program, which stay bounded: what is beyond that is not listed.
pub fn add_denial(denials: &mut Vec<Denial>, what: Denied, reason: impl Into<String>, times: u64) {
    if let Some(known) = denials.iter_mut().find(|denial| denial.what == what) {
        known.times += times;
    } else if denials.len() < MAX_DENIALS {
        denials.push(Denial { what, reason: reason.into(), times });
    }
}

/// The isolation that a program ran with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxUsed {
    /// `strict`, `no-cgroup`, `no-userns` or `none`.
    pub level: String,
    /// The mechanisms that its host lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What a program did with the network, as far as it went through the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUse {
    /// Connections that reached their host.
    pub connections: u64,
    /// Bytes that the program sent.
    pub sent_bytes: u64,
    /// Bytes that it received.
    pub received_bytes: u64,
    /// What it was denied, in the order of the first time; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<Unreached>,
    /// What it was granted and did not reach, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Unreached>,
    /// How often anything was denied or failed beyond what is listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
}

/// A host that a program did not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreached {
    /// The host, as the program named it.
    pub host: String,
    /// The port; absent where only the name was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Why.
    pub reason: String,
    /// How often.
    pub times: u64,
}

const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Records of one Singer stream that passed through a pipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCounts {
    /// Records the first program wrote.
    pub read: u64,
    /// Records the last program was given.
    pub written: u64,
    /// Records that were refused on the way.
    pub rejected: u64,
}

/// How long the two sides of a pipe made the other wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// Time the relay waited for the program before it to write, milliseconds: the upstream is the slow side.
    pub upstream_ms: u64,
    /// Time the relay waited for the program after it to read, milliseconds: the downstream is the slow side.
    pub downstream_ms: u64,
}

/// Everything measured about one attempt of a step, whether or not it completed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// One entry a program, in the order of the pipe.
    pub programs: Vec<ProgramReport>,
    /// Records by Singer stream.
    #[serde(default)]
    pub streams: BTreeMap<String, StreamCounts>,
    /// Bytes relayed between the programs.
    #[serde(default)]
    pub bytes: u64,
    /// Who waited for whom.
    #[serde(default)]
    pub waits: Waits,
    /// The object that a `command` or `flexcore` program wrote as its result.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub result: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::{NetworkUse, ProgramReport, Unreached};
    use serde_json::json;

    #[test]
    fn what_was_recorded_before_networks_were_is_read_and_written_as_it_was() {
        let before = json!({
            "plugin": "tap", "pid": 7, "exit_code": 0, "cause": null,
            "usage": {"wall_ms": 1, "cpu_ms": 1, "peak_memory_bytes": 1},
        });
        let read: ProgramReport = serde_json::from_value(before.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), before);
        let unreached = Unreached {
            host: "evil.example".to_owned(),
            port: None,
            reason: "not granted".to_owned(),
            times: 2,
        };
        let network = NetworkUse { connections: 1, denials: vec![unreached], ..NetworkUse::default() };
        let after = ProgramReport { network: Some(network), ..read };
        let bytes = rmp_serde::to_vec_named(&after).unwrap();
        assert_eq!(rmp_serde::from_slice::<ProgramReport>(&bytes).unwrap(), after);
        let shown = json!({
            "connections": 1, "sent_bytes": 0, "received_bytes": 0,
            "denials": [{"host": "evil.example", "reason": "not granted", "times": 2}],
        });
        assert_eq!(serde_json::to_value(&after).unwrap()["network"], shown);
    }
}
