//! The launcher of plugin programs: one small process per program, between the daemon and the program's process tree.
//!
//! The daemon starts `flexcore-jailer` with a stream socket on standard input and sends one [`protocol::Order::Start`]
//! with the program's standard streams. The launcher forks `init` into new namespaces, where it makes a root file system
//! of what the policy shows and starts the program in its own session with a cleared environment, closed descriptors,
//! resource limits, no capabilities, access rules and a system call filter. The launcher reports how the program ended and
//! what it used, and **reaps the whole tree**: whatever the program left behind is killed before the end is reported. The
//! socket is also the lifeline: when the daemon's end closes, for whatever reason, the tree is killed at once.
//!
//! **Invariant:** this process has one thread, from its first instruction to its last; that is what makes `fork` followed
//! by ordinary code sound. Never in here: an async runtime, a thread, a logger, a database, configuration files, or any
//! knowledge of pipelines and protocols of plugins.

pub mod base;
pub mod cgroup;
pub mod limits;
pub mod network;
pub mod process_tree;
pub mod protocol;

mod access;
mod account;
mod control;
mod explain;
mod failure;
mod filter;
mod host;
mod init;
mod lease;
mod memory;
mod namespaces;
mod payload;
mod reaper;
mod root;
mod supervise;
mod trees;
mod user;

pub use lease::since_boot;
use std::process::ExitCode;

/// The name under which the launcher is started; the `flexcore` binary answers to it too, through `argv[0]`.
pub const PROGRAM_NAME: &str = "flexcore-jailer";

/// Which build this is: the version, and a hash of the launcher's sources. Daemon and launcher must be of the same, for what one
/// asks the other must mean and enforce.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("FLEXCORE_JAILER_SOURCES"));

/// With this argument the launcher ends at once and well: the program that a probe of the sandbox starts.
pub const PROBE: &str = "--probe";

/// Runs the launcher on the control socket that is standard input, until the program's tree is gone.
///
/// Must be called before the process has started any thread. Exit code 0 means that the end (or the failed start) was
/// reported or that the daemon had gone and the tree was killed; 1 that the launcher itself could not do its work.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == PROBE) {
        return ExitCode::SUCCESS;
    }
    match supervise::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PROGRAM_NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}
