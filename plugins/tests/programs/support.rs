//! Starting the programs and waiting for them under a deadline. No test of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far longer than anything here takes; only a hang reaches it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Lines of a program that may wait to be looked at; then its pipe fills and it waits too.
const LINES_AHEAD: usize = 1024;

pub fn tap() -> Command {
    Command::new(env!("CARGO_BIN_EXE_flexcore-tap-file"))
}

pub fn target() -> Command {
    Command::new(env!("CARGO_BIN_EXE_flexcore-target-file"))
}

pub fn sample() -> Command {
    Command::new(env!("CARGO_BIN_EXE_flexcore-sample"))
}

/// The data set that ships with the programs.
pub fn weather() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/seattle-weather.csv")
}

/// Writes `value` into a file of the directory and answers its path.
pub fn json_file(directory: &Path, name: &str, value: &Value) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, value.to_string()).unwrap();
    path
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn messages(output: &[u8], kind: &str) -> Vec<Value> {
    let all = text(output);
    let parsed = all.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|message| message["type"] == kind).collect()
}

/// Runs to the end with this input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut running = Running::start(command);
    let mut stdin = running.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || {
        let _ = stdin.write_all(&input); // a program that has ended early takes no more
    });
    let output = running.finish();
    feeding.join().unwrap();
    output
}

/// A running program whose output is collected as it comes; killed when dropped.
pub struct Running {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    collected: Vec<u8>,
    stderr: Option<std::thread::JoinHandle<Vec<u8>>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(LINES_AHEAD);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                if stdout.read_until(b'\n', &mut line).unwrap() == 0 || sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut all = Vec::new();
            stderr.read_to_end(&mut all).unwrap();
            all
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, collected: Vec::new(), stderr: Some(stderr) }
    }

    /// The next line of standard output.
    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(DEADLINE).expect("a line within the deadline");
        self.collected.extend_from_slice(&line);
        text(&line)
    }

    /// Closes its input and waits for its end.
    pub fn finish(mut self) -> Output {
        self.stdin = None;
        let mut status = None;
        wait_until("the program ends", || {
            // Reading on: a full pipe must not keep it from ending.
            self.collected.extend(self.lines.try_iter().flatten());
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.collected.extend(self.lines.iter().flatten());
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Output { status: status.unwrap(), stdout: std::mem::take(&mut self.collected), stderr }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition, and fails by name when it does not come.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
