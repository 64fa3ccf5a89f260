//! A real node: `flexcore serve` in a process of its own, on a free loopback port, with a data directory of its own.
//!
//! It is driven as an operator drives it: by its environment, by signals and over HTTP.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{Client, wait_for};

/// How long a node may take from its start to being ready, on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How long a node may take to drain: over its own default `shutdown.grace` of 20 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(40);
/// How much of the node's log a failure shows.
const LOG_TAIL_LINES: usize = 40;
/// The file in the data directory that holds the address as soon as the node listens.
const ADDRESS_FILE: &str = "http.address";

/// How to start a node.
#[derive(Debug)]
pub struct NodeBuilder {
    program: PathBuf,
    environment: BTreeMap<String, String>,
    data_on: Option<PathBuf>,
}

/// A running node, killed when dropped. Its data directory lives as long as this value.
#[derive(Debug)]
pub struct Node {
    builder: NodeBuilder,
    folder: TempDir,
    starts: u32,
    child: Child,
    address: SocketAddr,
}

impl NodeBuilder {
    /// Sets a variable of the node's environment, such as `FLEXCORE_DATABASE_URL`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Keeps the node's data in this empty folder, such as one on another file system.
    #[must_use]
    pub fn data_on(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_on = Some(folder.into());
        self
    }

    /// Starts the node with an empty data directory and waits until it is ready.
    ///
    /// # Panics
    /// With the end of its log, when it ends or is not ready in time.
    pub async fn start(self) -> Node {
        let folder = TempDir::with_prefix("flexcore-node-").expect("a temporary folder can be made");
        let data = data_dir(folder.path());
        match &self.data_on {
            None => std::fs::create_dir(data).expect("a folder in it can be made"),
            Some(elsewhere) => std::os::unix::fs::symlink(elsewhere, data).expect("a link can be made"),
        }
        let child = self.spawn(folder.path(), 1);
        let mut node =
            Node { builder: self, folder, starts: 1, child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        node.become_ready().await;
        node
    }

    /// The process of the n-th start, with nothing of the test command's own variables in its environment.
    fn spawn(&self, folder: &Path, start: u32) -> Child {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLEXCORE_") {
                command.env_remove(name);
            }
        }
        let log =
            File::create(log_file(folder, start)).expect("a log file can be made in a temporary folder");
        command
            .arg("serve")
            .env("FLEXCORE_DATA_DIR", data_dir(folder))
            .env("FLEXCORE_HTTP_LISTEN", "127.0.0.1:0")
            .envs(&self.environment)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file descriptor can be copied"))
            .stderr(log);
        command.spawn().unwrap_or_else(|e| panic!("start {}: {e}", self.program.display()))
    }
}

impl Node {
    /// A node of this program, with everything by default: the embedded store, alone.
    ///
    /// From the root crate's tests: `Node::of(env!("CARGO_BIN_EXE_flexcore"))`.
    pub fn of(program: impl Into<PathBuf>) -> NodeBuilder {
        NodeBuilder { program: program.into(), environment: BTreeMap::new(), data_on: None }
    }

    /// A client for this node; its address changes with a restart.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Where the node serves HTTP since its last start.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for the `--server` option of the command line.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The node's data directory, the same after a restart.
    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.folder.path())
    }

    /// A folder beside the data directory for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id since the last start.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the node has written to its standard output and error since its last start.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(log_file(self.folder.path(), self.starts)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills the node's process as a crash or the kernel would, and waits until it is gone.
    ///
    /// # Panics
    /// If it had ended before: then it did not die of this.
    pub async fn kill9(&mut self) {
        self.send(Signal::SIGKILL);
        let status = self.ended(READY_DEADLINE).await;
        assert_eq!(
            status.signal(),
            Some(Signal::SIGKILL as i32),
            "the node ended before: {status}{}",
            self.log_tail()
        );
    }

    /// Asks the node to drain and end, and waits for it. An orderly end is exit code 0.
    ///
    /// # Panics
    /// If it is still there after its grace.
    pub async fn sigterm(&mut self) -> ExitStatus {
        self.send(Signal::SIGTERM);
        self.ended(DRAIN_DEADLINE).await
    }

    /// Waits for the node to end by itself.
    ///
    /// # Panics
    /// If it does not.
    pub async fn exited(&mut self) -> ExitStatus {
        self.ended(DRAIN_DEADLINE).await
    }

    /// Sends a signal to the node's process, for instance SIGSTOP.
    ///
    /// # Panics
    /// If it has ended.
    pub fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id fits in its own type");
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|e| panic!("send {signal} to the node: {e}{}", self.log_tail()));
    }

    /// Starts the node again on the same data directory, killing it first if it still runs, and waits until it is
    /// ready. It listens on another port.
    pub async fn restart(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill9().await;
        }
        self.starts += 1;
        self.forget_address();
        self.child = self.builder.spawn(self.folder.path(), self.starts);
        self.become_ready().await;
    }

    /// A killed node leaves its address file behind: the next start must not be taken for ready by it.
    fn forget_address(&self) {
        let file = self.data_dir().join(ADDRESS_FILE);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("remove {}: {error}", file.display())
            }
            _ => {}
        }
    }

    async fn become_ready(&mut self) {
        let file = self.data_dir().join(ADDRESS_FILE);
        self.address = wait_for("the node writes its address", READY_DEADLINE, async || {
            self.must_live();
            let text = std::fs::read_to_string(&file).map_err(|e| format!("{e}{}", self.log_tail()))?;
            text.trim().parse().map_err(|e| format!("{text:?} in {}: {e}", file.display()))
        })
        .await;
        let client = self.client();
        wait_for("GET /ready answers 200", READY_DEADLINE, async || {
            self.must_live();
            match client.request(http::Method::GET, "/ready", None, "").await {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(format!("{}: {}{}", reply.status, reply.text, self.log_tail())),
                Err(error) => Err(format!("{error}{}", self.log_tail())),
            }
        })
        .await;
    }

    fn must_live(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("the node ended at its start: {status}{}", self.log_tail());
        }
    }

    async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        wait_for("the node ends", deadline, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("it runs{}", self.log_tail())),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// The last lines of the log, for the end of a message.
    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("\nthe end of its log:\n{}", lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("warning: cannot end the node: {error}");
        }
        if std::thread::panicking() {
            eprintln!("the failed test's node:{}", self.log_tail());
        }
    }
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn log_file(folder: &Path, start: u32) -> PathBuf {
    folder.join(format!("node-{start}.log"))
}

#[cfg(test)]
mod tests;
