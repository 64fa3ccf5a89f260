//! The private Redis of the test command: one server for all tests, told apart by their key prefixes. And servers of a
//! test's own, for those that harm them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{given_by_the_test_command, wait_for};

/// The server's URL, with its password.
///
/// # Panics
/// Outside the test command.
#[track_caller]
pub fn redis_url() -> String {
    given_by_the_test_command("FLEXCORE_TEST_REDIS_URL")
}

/// A prefix for keys and channels that no other test uses.
pub fn redis_prefix() -> String {
    format!("fc-{}:", uuid::Uuid::now_v7().simple())
}

/// A Redis of one test's own, which may be killed, stopped and started again on its port. It keeps nothing.
pub struct PrivateRedis {
    port: u16,
    server: Child,
    folder: TempDir,
}

impl PrivateRedis {
    /// Starts a server on a free port of the loopback address.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        // free now; whoever takes it in between makes the start fail, loudly
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let folder = tempfile::tempdir().expect("a folder");
        let server = Self::spawn(port, &folder);
        let redis = Self { port, server, folder };
        redis.answers().await;
        redis
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill().expect("the server runs");
        self.server.wait().expect("it is our child");
    }

    /// Stops it, as a hang does, or lets it go on.
    pub fn pause(&self, pause: bool) {
        let signal = if pause { Signal::SIGSTOP } else { Signal::SIGCONT };
        let pid = Pid::from_raw(i32::try_from(self.server.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("the server runs");
    }

    /// Starts it again after [`Self::kill`], on the same port.
    pub async fn start_again(&mut self) {
        self.server = Self::spawn(self.port, &self.folder);
        self.answers().await;
    }

    /// Sends one command without spaces in its arguments; answers the first line of what comes back.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn command(&self, command: &str) -> String {
        self.ask(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    fn spawn(port: u16, folder: &TempDir) -> Child {
        let quiet = || Stdio::null();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
        ]);
        command.arg("--dir").arg(folder.path()).stdin(quiet()).stdout(quiet());
        command.spawn().expect("redis-server is there: the test command installs it")
    }

    fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    async fn answers(&self) {
        let answer = async || match self.ask("PING") {
            Ok(answer) if answer == "+PONG" => Ok(()),
            other => Err(format!("{other:?}")),
        };
        wait_for("redis-server answers", Duration::from_secs(30), answer).await;
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.server.kill().unwrap_or_default();
        self.server.wait().ok();
    }
}
