//! What daemon and launcher say to each other: types and their wire form, for both sides and for tests.
//!
//! A message is a 4-byte big-endian length and a MessagePack map with named fields ([`frames`]). No system call that
//! changes a process belongs here.

pub mod frames;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Daemon to launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The first message, once, with the program's descriptors attached (`SCM_RIGHTS`) in the order standard input (only
    /// if [`Policy::stdin`]), output, error.
    Start(Policy),
    /// `SIGTERM` to the program's process group now and `SIGKILL` to the whole tree when the grace has passed.
    Stop {
        /// Milliseconds; at most [`limits::GRACE_MAX`](crate::limits::GRACE_MAX), a longer one is shortened to it. A second
        /// order can only bring the end nearer.
        grace_ms: u64,
    },
    /// `SIGKILL` to the whole tree now.
    Kill,
}

/// What to run and under which restrictions.
///
/// Unknown fields are refused: a field that this launcher does not know is a restriction that it cannot enforce, and then
/// nothing must start. This is where the isolation of namespaces and Landlock adds its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The argument vector; the first is the path that is executed, absolute (names are resolved by the daemon).
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(String, String)>,
    /// The private scratch directory, absolute; it becomes the working directory.
    pub workdir: PathBuf,
    /// Whether a descriptor for standard input is sent; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Resource limits.
    pub limits: Limits,
}

/// Resource limits. All but memory are the kernel's rlimits and bind each process, not their sum; a hard limit that the
/// launcher itself runs under is never exceeded. Core dumps are always off: they would hold secrets.
///
/// The number of processes is not here: `RLIMIT_NPROC` counts all processes of a user, so without a user namespace (and
/// for the superuser at all) it would count the wrong ones. The size of the scratch directory is not limited yet either:
/// it takes a mount of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of resident memory of the whole tree together; measured several times a second.
    pub memory_bytes: Option<u64>,
    /// Seconds of processor time of each process; `SIGXCPU` when they are used up.
    pub cpu_seconds: Option<u64>,
    /// Open descriptors of each process.
    pub open_files: Option<u64>,
    /// Bytes of the largest file a process may write; `SIGXFSZ` beyond.
    pub file_bytes: Option<u64>,
}

/// Launcher to daemon. `Started` or `StartFailed` comes first; `Ended` once after `Started`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The program was executed.
    Started {
        /// Its process id, which is also its session and process group.
        pid: i32,
    },
    /// Nothing runs.
    StartFailed(StartFailure),
    /// The program ended and everything it started is gone, but for [`Ended::survivors`].
    Ended(Ended),
}

/// Why a program did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// Where it failed.
    pub stage: Stage,
    /// The system's error number, 0 if the failure is none of the system's.
    pub errno: i32,
    /// For a person: what failed on what, and the cure.
    pub message: String,
}

/// The steps of a start, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading and checking the policy and its descriptors.
    Policy,
    /// Making the launcher ready: reaper of the tree, signals.
    Prepare,
    /// Creating the process.
    Fork,
    /// Tying the program's life to the launcher's.
    ParentDeath,
    /// Its own session and process group.
    Session,
    /// Default signal handling.
    Signals,
    /// Resource limits.
    Limits,
    /// Standard streams, and closing everything else.
    Descriptors,
    /// Entering the working directory.
    WorkingDirectory,
    /// No new privileges.
    Privileges,
    /// Giving up every capability, the superuser's too.
    Capabilities,
    /// The system call filter.
    SystemCalls,
    /// Executing the program.
    Exec,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The cause.
    pub outcome: Outcome,
    /// What the whole tree used.
    pub usage: Usage,
    /// Processes that were still there [`limits::KILL_WAIT`](crate::limits::KILL_WAIT) after `SIGKILL`; empty in all but
    /// broken machines. As long as one exists the end of the tree is not proven. It holds the program's own id when those
    /// who are left change too quickly to be named.
    pub survivors: Vec<i32>,
}

/// The cause of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The program exited with this code.
    Exit(i32),
    /// A signal with this number ended it.
    Signal(i32),
    /// Its tree exceeded [`Limits::memory_bytes`] and was killed.
    OutOfMemory {
        /// The limit, bytes.
        limit: u64,
        /// What was measured, bytes.
        peak: u64,
    },
}

/// What a tree of processes used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Milliseconds from the fork of the program to the end of its tree.
    pub wall_ms: u64,
    /// Milliseconds of processor time, user and system, of every process of the tree that was waited for (a process whose
    /// parent ignores `SIGCHLD` is counted nowhere by the kernel).
    pub cpu_ms: u64,
    /// Bytes: the highest resident memory seen, either of the largest single process or of the measured sum of the tree,
    /// where pages that processes share count once for each. Never below the few MiB of the launcher's own fork.
    pub peak_memory_bytes: u64,
}

/// Why a policy can never be executed. Values are not repeated: arguments and environment may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No program.
    #[error("argv is empty: name the program to run")]
    NoProgram,
    /// The program or the working directory is not an absolute path.
    #[error("{field} is not an absolute path: {path}")]
    NotAbsolute {
        /// `argv[0]` or `workdir`.
        field: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A NUL byte, which ends a string for the kernel.
    #[error("{field} contains a NUL byte, which no argument, variable or path can hold")]
    Nul {
        /// Which string, by place or variable name.
        field: String,
    },
    /// An environment variable's name is empty or contains `=` or NUL.
    #[error("env name at index {index} is empty or contains '=' or NUL")]
    VariableName {
        /// Its place.
        index: usize,
    },
}

impl Policy {
    /// Checks what can be checked without touching the system.
    ///
    /// # Errors
    /// The first [`PolicyError`] in the order argv, environment, working directory.
    pub fn check(&self) -> Result<(), PolicyError> {
        let program =
            self.argv.first().filter(|program| !program.is_empty()).ok_or(PolicyError::NoProgram)?;
        absolute("argv[0]", Path::new(program))?;
        for (index, argument) in self.argv.iter().enumerate() {
            no_nul(argument.as_bytes(), || format!("argv[{index}]"))?;
        }
        for (index, (name, value)) in self.env.iter().enumerate() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(PolicyError::VariableName { index });
            }
            no_nul(value.as_bytes(), || format!("env {name}"))?;
        }
        absolute("workdir", &self.workdir)?;
        no_nul(self.workdir.as_os_str().as_encoded_bytes(), || "workdir".to_owned())
    }
}

impl Order {
    /// A [`Order::Stop`] with this grace.
    #[must_use]
    pub fn stop(grace: Duration) -> Self {
        Self::Stop { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }
    }
}

fn absolute(field: &'static str, path: &Path) -> Result<(), PolicyError> {
    if path.is_absolute() { Ok(()) } else { Err(PolicyError::NotAbsolute { field, path: path.to_owned() }) }
}

fn no_nul(bytes: &[u8], field: impl FnOnce() -> String) -> Result<(), PolicyError> {
    if bytes.contains(&0) { Err(PolicyError::Nul { field: field() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
