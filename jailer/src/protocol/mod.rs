//! What daemon and launcher say to each other: types and their wire form, for both sides and for tests.
//!
//! A message is a 4-byte big-endian length and a MessagePack map with named fields ([`frames`]). No system call that
//! changes a process belongs here.

mod connection;
pub mod frames;

use crate::cgroup::CgroupSpec;
pub use connection::{Connection, MOST_CONNECTIONS};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Daemon to launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The first message, once, with the program's descriptors attached (`SCM_RIGHTS`) in the order standard input (only
    /// if [`Policy::stdin`]), output, error.
    Start(Box<Policy>),
    /// `SIGTERM` to the program's process group now and `SIGKILL` to the whole tree when the grace has passed.
    Stop {
        /// Milliseconds; at most [`limits::GRACE_MAX`](crate::limits::GRACE_MAX), a longer one is shortened to it. A second
        /// order can only bring the end nearer.
        grace_ms: u64,
    },
    /// `SIGKILL` to the whole tree now.
    Kill,
    /// The program may run until then: from there on the tree is stopped, until a later order of this kind, and killed
    /// [`limits::FROZEN_MAX`](crate::limits::FROZEN_MAX) later. Without such an order there is no such moment.
    Lease {
        /// Milliseconds of [`since_boot`](crate::since_boot).
        until_ms: u64,
    },
}

/// What to run and under which restrictions.
///
/// Unknown fields are refused: a field that this launcher does not know is a restriction that it cannot enforce, and then
/// nothing must start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The [`BUILD`](crate::BUILD) of who asks; a launcher of another one starts nothing.
    pub build: String,
    /// The argument vector; the first is the path that is executed, absolute (names are resolved by the daemon).
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(String, String)>,
    /// The private scratch directory, absolute; it becomes the working directory. With namespaces it is a file system of the
    /// program's own in memory, under the same path, and what is in the host's directory is not seen.
    pub workdir: PathBuf,
    /// Whether a descriptor for standard input is sent; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Resource limits.
    pub limits: Limits,
    /// Whether the program may start others. Threads and executing another program in place are always possible.
    pub subprocess: bool,
    /// Whether it may make sockets of the internet families. With namespaces they reach a network of its own; without, the
    /// host's.
    pub internet: bool,
    /// The mechanisms that must hold. One that fails is never left out: nothing starts.
    pub isolation: Isolation,
    /// What the program sees of the host beside [`base`](crate::base).
    pub view: Vec<Shown>,
    /// Files that the launcher makes for the program, in its private memory where there are namespaces.
    pub files: Vec<PlacedFile>,
    /// The control group to make for the tree; without one its memory is measured.
    pub cgroup: Option<CgroupSpec>,
    /// A file below the working directory that is handed out with the end ([`Ended::result`]).
    pub result: Option<PathBuf>,
    /// What it may connect to. With namespaces it reaches nothing else; the sockets that stand for these go out with the
    /// start ([`Report::Started`]).
    pub connect: Vec<Connection>,
}

/// An order of any build, as far as it says of which.
#[derive(Deserialize)]
pub(crate) enum AnyOrder {
    /// See [`Order::Start`].
    Start(AnyPolicy),
}

/// A policy of any build.
#[derive(Deserialize)]
pub(crate) struct AnyPolicy {
    /// See [`Policy::build`]; builds before it had the field say none.
    #[serde(default)]
    pub(crate) build: String,
}

/// The mechanisms of isolation, each wholly on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    /// User, mount, process, network, System V, host name and cgroup namespaces, and a root file system of the program's own.
    pub namespaces: bool,
    /// Landlock: the kernel's access rules by path, which hold even where a mount should fail to.
    pub landlock: bool,
    /// The system call filter.
    pub seccomp: bool,
}

/// A file or directory of the host that the program sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Where it is on the host, without any symbolic link: one that appears later is refused, not followed.
    pub source: PathBuf,
    /// Where the program sees it.
    pub target: PathBuf,
    /// Whether it may be changed.
    pub write: bool,
}

/// A file that the launcher makes, with its missing parents; it belongs to the program's user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacedFile {
    /// Absolute. Below the working directory the program may change it; elsewhere (with namespaces) it may not.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// What is in it.
    #[serde(with = "bytes")]
    pub content: Vec<u8>,
}

impl std::fmt::Debug for PlacedFile {
    /// Without the content, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlacedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Bytes as MessagePack's binary, not as a list of numbers.
mod bytes {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Resource limits. Memory, processes and scratch bind the whole tree; the others are the kernel's rlimits and bind each
/// process. A hard limit that the launcher itself runs under is never exceeded. Core dumps are always off: they would
/// hold secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of memory of the whole tree together; without a control group it is the resident memory, measured several times
    /// a second.
    pub memory_bytes: Option<u64>,
    /// Seconds of processor time of each process; `SIGXCPU` when they are used up.
    pub cpu_seconds: Option<u64>,
    /// Open descriptors of each process.
    pub open_files: Option<u64>,
    /// Bytes of the largest file a process may write; `SIGXFSZ` beyond.
    pub file_bytes: Option<u64>,
    /// Processes and threads of the whole tree at one time; `EAGAIN` beyond. Binds only with namespaces: elsewhere the kernel
    /// would count everything that the user runs.
    pub processes: Option<u64>,
    /// Bytes of the private file system: working directory, `/tmp` and `/dev/shm` together; `ENOSPC` beyond. Binds only with
    /// namespaces.
    pub scratch_bytes: Option<u64>,
    /// Thousandths of a processor that the tree may use, at least 10; binds only with a control group.
    pub millicpus: Option<u32>,
}

/// Launcher to daemon. `Started` or `StartFailed` comes first; `Ended` once after `Started`, with the descriptor of the
/// result attached if [`Ended::result`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The program was executed. With namespaces the sockets of [`network::open`](crate::network::open) are attached: a listener
    /// for each of [`Policy::connect`], and the name service's.
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
    /// The user that the program runs as.
    User,
    /// Finding what the program is to see of the host.
    View,
    /// The control group.
    Cgroup,
    /// Entering new namespaces.
    Namespaces,
    /// Making the program's network.
    Network,
    /// Making the program's root file system.
    Root,
    /// Making the files that the policy brings.
    Files,
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
    /// The kernel's access rules by path.
    Landlock,
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
    /// Whether [`Policy::result`] is there as a file; its descriptor is attached then, open for reading.
    pub result: bool,
    /// Dangerous calls that it made, of the first [`limits::MOST_NOTICED`](crate::limits::MOST_NOTICED). A launcher of an
    /// earlier build tells none.
    #[serde(default)]
    pub refused: Vec<Refused>,
}

/// A system call that is never for a program, and that it made all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its name.
    pub call: String,
    /// What it is for.
    pub why: String,
    /// How often.
    pub times: u64,
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
    /// Its lease ran out long ago ([`Order::Lease`]), and it was killed.
    LeaseOver,
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
    /// A path that contains `..`.
    #[error("{field} contains '..', which may lead anywhere: {}", path.display())]
    Climbs {
        /// Which one.
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
    /// A host whose name is not one.
    #[error("connect host is not the name or address of a host: {host}")]
    Host {
        /// The name, as far as it can be shown.
        host: String,
    },
    /// More connections than descriptors can be passed for.
    #[error("{count} connections are too many: at most {MOST_CONNECTIONS}")]
    Connections {
        /// How many there are.
        count: usize,
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
        plain("workdir", &self.workdir)?;
        for shown in &self.view {
            plain("view source", &shown.source)?;
            plain("view target", &shown.target)?;
        }
        self.files.iter().try_for_each(|file| plain("files", &file.path))?;
        self.result.iter().try_for_each(|result| plain("result", result))?;
        match self.connect.len() {
            count if count > MOST_CONNECTIONS => Err(PolicyError::Connections { count }),
            _ => self.connect.iter().try_for_each(Connection::check),
        }
    }
}

impl Order {
    /// A [`Order::Stop`] with this grace.
    #[must_use]
    pub fn stop(grace: Duration) -> Self {
        Self::Stop { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }
    }

    /// A [`Order::Lease`] until this moment of [`since_boot`](crate::since_boot).
    #[must_use]
    pub fn lease(until: Duration) -> Self {
        Self::Lease { until_ms: u64::try_from(until.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A path that leads where its text says.
fn plain(field: &'static str, path: &Path) -> Result<(), PolicyError> {
    absolute(field, path)?;
    no_nul(path.as_os_str().as_encoded_bytes(), || field.to_owned())?;
    let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
    if climbs { Err(PolicyError::Climbs { field, path: path.to_owned() }) } else { Ok(()) }
}

fn absolute(field: &'static str, path: &Path) -> Result<(), PolicyError> {
    if path.is_absolute() { Ok(()) } else { Err(PolicyError::NotAbsolute { field, path: path.to_owned() }) }
}

fn no_nul(bytes: &[u8], field: impl FnOnce() -> String) -> Result<(), PolicyError> {
    if bytes.contains(&0) { Err(PolicyError::Nul { field: field() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
