//! A server process of ours: started on a free loopback port, waited for, and certainly ended.
//!
//! What is particular to PostgreSQL or Redis is in `services`.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::account::Account;

/// How long a server may take to answer for the first time, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a server may take to end before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Another program may take the free port before our server does: so often is another one tried.
const PORT_ATTEMPTS: usize = 3;
/// How much of a failed server's log is shown.
const LOG_TAIL_LINES: usize = 20;

/// What a server needs to be started.
pub struct Plan<'a> {
    /// Its name in messages.
    pub name: &'static str,
    /// Who it runs as.
    pub account: Account,
    /// Where its output goes.
    pub log: PathBuf,
    /// The signal that ends it at once and cleanly.
    pub stop_signal: Signal,
    /// The command for a port.
    pub command: &'a dyn Fn(u16) -> Command,
    /// Whether the server of this process id answers on this port.
    pub ready: &'a dyn Fn(u32, u16) -> bool,
}

/// A running server; ended when dropped, and by the kernel should we be killed.
#[derive(Debug)]
pub struct PrivateServer {
    name: &'static str,
    child: Child,
    port: u16,
    stop_signal: Signal,
}

impl PrivateServer {
    /// Starts a server and waits until it answers.
    pub fn start(plan: &Plan<'_>) -> Result<Self> {
        for _ in 1..PORT_ATTEMPTS {
            if let Some(server) = Self::attempt(plan)? {
                return Ok(server);
            }
        }
        match Self::attempt(plan)? {
            Some(server) => Ok(server),
            None => bail!("{} ended at its start; the end of its log:\n{}", plan.name, tail(&plan.log)),
        }
    }

    /// The loopback port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One start: `None` when the server ended by itself, as it does when its port was taken meanwhile.
    fn attempt(plan: &Plan<'_>) -> Result<Option<Self>> {
        let port = free_port()?;
        let log = File::create(&plan.log).with_context(|| format!("cannot write {}", plan.log.display()))?;
        let mut command = (plan.command)(port);
        plan.account.apply(&mut command);
        // A group of its own: Ctrl-C must reach the tests first, and the servers only through us.
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        end_with_us(&mut command, plan.stop_signal);
        let child = command.spawn().with_context(|| format!("cannot start {}", plan.name))?;
        let mut server = Self { name: plan.name, child, port, stop_signal: plan.stop_signal };
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            if server.child.try_wait()?.is_some() {
                return Ok(None);
            }
            if (plan.ready)(server.child.id(), port) {
                return Ok(Some(server));
            }
            std::thread::sleep(POLL);
        }
        bail!(
            "{} did not answer within {START_DEADLINE:?}; the end of its log:\n{}",
            plan.name,
            tail(&plan.log)
        )
    }

    /// Asks the server to end and waits; false when it did not in time.
    fn stop(&mut self) -> bool {
        let asked = i32::try_from(self.child.id())
            .is_ok_and(|pid| kill(Pid::from_raw(pid), self.stop_signal).is_ok());
        let deadline = Instant::now() + STOP_DEADLINE;
        while asked && Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        let ended = matches!(self.child.try_wait(), Ok(Some(_))) || self.stop();
        if !ended {
            eprintln!("warning: {} did not end within {STOP_DEADLINE:?}: killing it", self.name);
            if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
                eprintln!("warning: cannot kill {}: {error}", self.name);
            }
        }
    }
}

/// Has the kernel send `signal` to the command's process when we die, however we die.
fn end_with_us(command: &mut Command, signal: Signal) {
    // SAFETY: the closure runs between fork and exec and makes one system call; it neither allocates nor locks.
    unsafe {
        command.pre_exec(move || prctl::set_pdeathsig(signal).map_err(std::io::Error::from));
    }
}

/// A loopback port that nobody listens on now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free loopback port")?;
    Ok(listener.local_addr()?.port())
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(
        script: &'static str,
        ready: &dyn Fn(u32, u16) -> bool,
    ) -> (Result<PrivateServer>, crate::scratch::Scratch) {
        let scratch = crate::scratch::Scratch::new().unwrap();
        let plan = Plan {
            name: "a shell",
            account: Account::Caller,
            log: scratch.path().join("log"),
            stop_signal: Signal::SIGTERM,
            command: &|port| {
                let mut command = Command::new("sh");
                command.args(["-c", script, "sh", &port.to_string()]);
                command
            },
            ready,
        };
        (PrivateServer::start(&plan), scratch)
    }

    #[test]
    fn a_server_that_ends_by_itself_is_an_error_with_its_log() {
        let (outcome, _scratch) = start("echo the port $1 is bad >&2; exit 3", &|_, _| false);
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("a shell ended at its start") && message.contains("is bad"), "{message}");
    }

    #[test]
    fn dropping_a_server_ends_its_process() {
        let (outcome, _scratch) = start("exec sleep 600", &|_, _| true);
        let server = outcome.unwrap();
        let pid = Pid::from_raw(i32::try_from(server.child.id()).unwrap());
        assert!(kill(pid, None).is_ok(), "the server must run before the drop");
        drop(server);
        assert!(kill(pid, None).is_err(), "the server must be gone and reaped after the drop");
    }
}
