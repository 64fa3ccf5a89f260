//! `cargo xtask services` as a user runs it: real servers, and nothing of them left after any kind of end.
#![cfg(test)]

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long servers may take to start or to be gone.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The environment's two addresses, printed by the command that runs beside the servers.
const PRINT_ADDRESSES: &str = r#"echo "$FLEXCORE_TEST_POSTGRES_URL $FLEXCORE_TEST_REDIS_URL""#;

/// Starts the command with a temporary folder of its own, so that what it leaves can be seen.
fn services(folder: &Path, script: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["services", "--", "sh", "-c", &format!("{PRINT_ADDRESSES}; {script}")])
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A folder for one test under the system's, which the servers' account can enter.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flexcore-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A killed command's servers may still be writing their last file.
        wait_until("the folder is removed", || std::fs::remove_dir_all(&self.0).is_ok());
    }
}

/// The `host:port` of each URL in the first line that the command prints.
fn addresses(child: &mut Child) -> Vec<String> {
    let mut line = Vec::new();
    let output = child.stdout.as_mut().unwrap();
    let mut byte = [0_u8];
    while output.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    line.split_whitespace()
        .map(|url| url.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).unwrap().to_owned())
        .collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(POLL);
    }
}

fn all_listen(addresses: &[String]) -> bool {
    addresses.len() == 2 && addresses.iter().all(|address| TcpStream::connect(address).is_ok())
}

fn none_listens(addresses: &[String]) -> bool {
    addresses.iter().all(|address| TcpStream::connect(address).is_err())
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn the_exit_code_is_the_commands_and_nothing_is_left() {
    let folder = Folder::new("exit");
    let mut child = services(&folder.0, "exit 7");
    let addresses = addresses(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(addresses.len(), 2);
    assert!(none_listens(&addresses), "{addresses:?}");
    assert!(folder.is_empty(), "the servers' folder must be removed");
}

#[test]
fn sigterm_ends_the_command_and_the_servers() {
    let folder = Folder::new("sigterm");
    let mut child = services(&folder.0, "exec sleep 600");
    let addresses = addresses(&mut child);
    assert!(all_listen(&addresses), "{addresses:?}");
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(none_listens(&addresses), "{addresses:?}");
    assert!(folder.is_empty(), "the servers' folder must be removed");
}

#[test]
fn the_servers_do_not_outlive_even_a_killed_command() {
    let folder = Folder::new("sigkill");
    let mut child = services(&folder.0, "while kill -0 $PPID 2>/dev/null; do sleep 0.1; done");
    let addresses = addresses(&mut child);
    assert!(all_listen(&addresses), "{addresses:?}");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    wait_until("the servers end", || none_listens(&addresses));
}
