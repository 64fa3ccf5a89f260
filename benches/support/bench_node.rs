//! A real node for a benchmark, with a client; and the same programs as a bare shell pipe. Nothing here knows what is
//! compared, and nothing prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flexcore_test_support::{Client, Node};
use serde_json::{Value, json};

const API: &str = "/api/v1/flexcore";
/// How long one execution may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(600);

/// A node of the program that was built with this benchmark, on the embedded store.
pub struct BenchNode {
    node: Node,
    client: Client,
    poll: Duration,
}

impl BenchNode {
    /// Starts it with these variables; an execution's end is looked for every `poll`.
    pub async fn start(poll: Duration, variables: &[(&str, &str)]) -> Result<Self> {
        program("flexcore-jailer")?;
        let node = Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_LOG", "warn");
        let node = variables.iter().fold(node, |node, (name, value)| node.env(name, *value)).start().await;
        let client = node.client();
        Ok(Self { node, client, poll })
    }

    /// Registers a Singer plugin that may write `folder`, read these places and start programs.
    pub async fn plugin(&self, name: &str, kind: &str, command: &[&str], folder: &Path, read: &[String]) {
        let capabilities = json!({"read": read, "write": [folder], "subprocess": true});
        let manifest = json!({"name": name, "version": "1", "type": kind, "protocol": "singer", "command": command,
            "capabilities": capabilities});
        self.register(&manifest).await;
    }

    /// Registers what a manifest says.
    pub async fn register(&self, manifest: &Value) {
        self.client.post(&format!("{API}/plugins"), manifest).await.expect(201);
    }

    /// Defines a pipeline of one step that pipes these plugins with their configurations.
    pub async fn pipeline(&self, name: &str, pipe: &[(&str, &Value)]) {
        let programs = pipe.iter().map(|(plugin, config)| json!({"plugin": plugin, "config": config}));
        let step = json!({"name": "load", "pipe": programs.collect::<Vec<_>>(), "retry": {"attempts": 1}});
        let definition = json!({"name": name, "steps": [step]});
        self.client.post(&format!("{API}/pipelines"), &definition).await.expect(201);
    }

    /// Runs a pipeline; how long it took from the request until its end was seen, and the execution as shown.
    pub async fn run(&self, pipeline: &str) -> Result<(Duration, Value)> {
        let began = Instant::now();
        let execute = format!("{API}/pipelines/{pipeline}/execute");
        let started = self.client.post(&execute, &json!({})).await.expect(202).json;
        let id = started["execution_id"].as_str().context("an execution without an id")?;
        while began.elapsed() < DEADLINE {
            let execution = self.client.get(&format!("{API}/executions/{id}")).await.expect(200).json;
            if !execution["ended_at"].is_null() {
                let took = began.elapsed();
                ensure!(execution["status"] == "completed", "{pipeline} did not complete: {execution}");
                return Ok((took, execution));
            }
            tokio::time::sleep(self.poll).await;
        }
        bail!("{pipeline} did not end within {DEADLINE:?}")
    }

    /// Processor time that the node itself has used, without its programs.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.node.pid()))?;
        // the fields after the name, which may hold anything, in parentheses
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<u64, _>>()?;
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock ticks")?;
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }
}

/// One of FlexCore's programs, built beside the node's.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_flexcore")).with_file_name(name);
    ensure!(
        path.is_file(),
        "{} is missing: build it with the same profile, `cargo build --profile …`",
        path.display()
    );
    Ok(path)
}

/// Runs a line of shell; how long it took until all of it had ended.
pub fn shell(line: &str) -> Result<Duration> {
    let began = Instant::now();
    let mut command = Command::new("/bin/sh");
    let status = command.arg("-c").arg(line).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let took = began.elapsed();
    ensure!(status.success(), "{line}: {status}");
    Ok(took)
}

/// Writes a configuration into a folder; its path.
pub fn config_file(folder: &Path, name: &str, config: &Value) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
