//! Neighbours and set-up for the tests of the plugin host: real programs under the real launcher, logs in memory.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flexcore_actors::domain::ids::{ExecutionId, Name};
use flexcore_actors::domain::plugin::{Capabilities, Limits, Manifest, PluginType, Protocol};
use flexcore_actors::domain::secret::{SecretName, SecretValue};
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::clock::System;
use flexcore_actors::ports::log_store::{LogLine, LogStore};
use flexcore_actors::ports::plugin_host::{
    Asked, AttemptEnd, CallRefusal, Calls, HostEvent, PipeSpec, PluginHost, ProgramSpec, Progress,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::limits::MAX_FRAME;
use super::{LocalHost, Secrets, Settings};
use crate::compose;

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SAMPLE: &str = "flexcore-sample";

/// Makes this test binary answer to the sample's name, as the `flexcore` binary does; the launcher's is answered to by
/// the tests of the sandbox.
#[used]
#[unsafe(link_section = ".init_array")]
static ANSWER_TO_THE_SAMPLES_NAME: extern "C" fn() = {
    extern "C" fn answer() {
        let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let name = line.split(|b| *b == 0).next().unwrap_or_default();
        let name = Path::new(std::ffi::OsStr::from_bytes(name)).file_name();
        if name == Some(SAMPLE.as_ref()) {
            let code = flexcore_plugins::sample::main();
            let code = (0..=u8::MAX).find(|n| std::process::ExitCode::from(*n) == code);
            std::process::exit(code.map_or(1, i32::from));
        }
    }
    answer
};

/// A log that keeps everything.
#[derive(Debug, Default)]
pub struct MemoryLogs(Mutex<Vec<LogLine>>);

impl MemoryLogs {
    /// The texts of all lines, in order.
    pub fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|line| line.text.clone()).collect()
    }

    /// Whether a line contains `part`.
    pub fn say(&self, part: &str) -> bool {
        self.texts().iter().any(|text| text.contains(part))
    }
}

impl LogStore for MemoryLogs {
    fn append(&self, _: ExecutionId, lines: &[LogLine]) {
        self.0.lock().unwrap().extend_from_slice(lines);
    }

    fn read(
        &self,
        _: ExecutionId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::io::Result<(Vec<LogLine>, u64)>> {
        let after = usize::try_from(after).unwrap();
        let lines: Vec<LogLine> = self.0.lock().unwrap().iter().skip(after).take(limit).cloned().collect();
        let next = (after + lines.len()) as u64;
        Box::pin(std::future::ready(Ok((lines, next))))
    }
}

/// A host over a directory of its own.
pub struct Bench {
    pub host: LocalHost,
    pub logs: Arc<MemoryLogs>,
    pub data: TempDir,
    /// Beside its data, which is granted to nobody.
    files: TempDir,
    pub progress: Arc<Progress>,
}

/// Secrets without a vault.
struct Vaultless(BTreeMap<SecretName, SecretValue>);

impl Secrets for Vaultless {
    fn reveal<'a>(
        &'a self,
        names: &'a [SecretName],
    ) -> BoxFuture<'a, Result<BTreeMap<SecretName, SecretValue>, String>> {
        let found = names.iter().map(|name| {
            let value = self.0.get(name).ok_or_else(|| format!("the secret {name} does not exist"))?;
            Ok((name.clone(), value.clone()))
        });
        Box::pin(std::future::ready(found.collect()))
    }

    fn missing<'a>(&'a self, names: &'a [SecretName]) -> BoxFuture<'a, Result<Vec<SecretName>, String>> {
        let missing = names.iter().filter(|name| !self.0.contains_key(name)).cloned().collect();
        Box::pin(std::future::ready(Ok(missing)))
    }
}

impl Bench {
    pub fn new() -> Self {
        Self::made(("GRANTED", "granted value"), &[])
    }

    /// With one variable more in the daemon's environment than the tests were started with.
    pub fn with(name: &str, value: &str) -> Self {
        Self::made((name, value), &[])
    }

    /// A host with these secrets.
    pub fn with_secrets(secrets: &[(&str, &[u8])]) -> Self {
        Self::made(("GRANTED", "granted value"), secrets)
    }

    fn made((name, value): (&str, &str), secrets: &[(&str, &[u8])]) -> Self {
        let secrets = secrets.iter().map(|(name, value)| {
            (SecretName::new(*name).unwrap(), SecretValue::new(value.to_vec()).unwrap())
        });
        let secrets = secrets.collect();
        let data = tempfile::tempdir().unwrap();
        let files = tempfile::tempdir().unwrap();
        let own = data.path().join("bin");
        std::fs::create_dir(&own).unwrap();
        let binary = std::env::current_exe().unwrap();
        std::os::unix::fs::symlink(&binary, own.join(SAMPLE)).unwrap();
        let logs = Arc::new(MemoryLogs::default());
        let mut variables: BTreeMap<String, String> = std::env::vars().collect();
        variables.insert(name.to_owned(), value.to_owned());
        let settings = Settings {
            launcher: compose::launcher(binary),
            logs: logs.clone(),
            clock: Arc::new(System),
            data_dir: data.path().to_owned(),
            own_programs: vec![own],
            variables,
            secrets: Arc::new(Vaultless(secrets)),
            warm_interpreters: 1,
        };
        let host = LocalHost::new(settings).unwrap();
        Self { host, logs, data, files, progress: Arc::default() }
    }

    /// Runs to the end; with the bookmarks in order.
    pub async fn run(&self, spec: PipeSpec) -> (AttemptEnd, Vec<Value>) {
        let stop = CancellationToken::new();
        self.run_until(spec, stop, |_| false).await
    }

    /// Runs to the end; cancels `stop` as soon as an event satisfies `enough`.
    pub async fn run_until(
        &self,
        spec: PipeSpec,
        stop: CancellationToken,
        enough: impl Fn(&HostEvent) -> bool,
    ) -> (AttemptEnd, Vec<Value>) {
        let mut spec = spec;
        for program in &mut spec.programs {
            program.manifest.capabilities.write.push(self.files().to_str().unwrap().to_owned());
        }
        let (sender, mut events) = mpsc::channel(4);
        let run = self.host.run(spec, sender, self.progress.clone(), stop.clone());
        let listen = async {
            let mut states = Vec::new();
            while let Some(event) = events.recv().await {
                if enough(&event) {
                    stop.cancel();
                }
                if let HostEvent::State(value) = event {
                    states.push(value);
                }
            }
            states
        };
        let (end, states) = tokio::time::timeout(PATIENCE, async { tokio::join!(run, listen) })
            .await
            .expect("it never ended");
        let left = std::fs::read_dir(self.data.path().join("scratch")).into_iter().flatten().flatten();
        // what waits for the next execution has a directory of its own
        let left: Vec<_> = left.filter(|it| !it.file_name().to_string_lossy().starts_with("warm-")).collect();
        assert!(left.is_empty(), "the scratch directory is gone: {left:?}");
        (end, states)
    }

    /// The directory that every program may write.
    fn files(&self) -> PathBuf {
        self.files.path().to_owned()
    }

    /// The path of a file that every program may write.
    pub fn path(&self, name: &str) -> String {
        self.files().join(name).to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

/// A step of these programs.
pub fn step(programs: Vec<ProgramSpec>) -> PipeSpec {
    PipeSpec {
        execution: ExecutionId(Uuid::now_v7()),
        step: Name::new("step").unwrap(),
        attempt: 1,
        programs,
        state: None,
        grace: Duration::from_secs(2),
        calls: Arc::new(Echo),
    }
}

/// Grants `echo`, which answers with what it is asked, `huge`, `fail` and `hang`, which do so.
#[derive(Debug)]
struct Echo;

impl Calls for Echo {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Value, CallRefusal>> {
        let answer = match asked.api.as_str() {
            "echo" => Ok(asked.arguments),
            "huge" => Ok(json!("x".repeat(MAX_FRAME))),
            "fail" => Err(CallRefusal::Failed("it cannot be done".to_owned())),
            "hang" => return Box::pin(std::future::pending()),
            _ => Err(CallRefusal::NotGranted),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A program of any command.
pub fn program(name: &str, kind: PluginType, protocol: Protocol, command: &[&str]) -> ProgramSpec {
    let manifest = Manifest {
        name: Name::new(name).unwrap(),
        version: "1".to_owned(),
        kind,
        protocol,
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        environment: None,
        config_schema: json!({}),
        capabilities: Capabilities { subprocess: true, ..Capabilities::default() },
        limits: Limits::default(),
        concurrency: 1,
        node_selector: flexcore_actors::domain::labels::Labels::new(),
    };
    ProgramSpec {
        manifest,
        leads: None,
        config: json!({}),
        secrets: Vec::new(),
        catalog: None,
        select: Vec::new(),
        operation: None,
        parameters: json!({}),
    }
}

/// A tap that is a shell script.
pub fn sh_tap(script: &str) -> ProgramSpec {
    program("tap", PluginType::Extractor, Protocol::Singer, &["sh", "-c", script, "tap"])
}

/// A target that is a shell script.
pub fn sh_target(script: &str) -> ProgramSpec {
    program("target", PluginType::Loader, Protocol::Singer, &["sh", "-c", script, "target"])
}

/// The sample as a tap.
pub fn sample_tap(config: Value) -> ProgramSpec {
    let tap = program("sample-tap", PluginType::Extractor, Protocol::Singer, &[SAMPLE, "tap"]);
    ProgramSpec { config, ..tap }
}

/// The sample as a target.
pub fn sample_target(config: Value) -> ProgramSpec {
    let target = program("sample-target", PluginType::Loader, Protocol::Singer, &[SAMPLE, "target"]);
    ProgramSpec { config, ..target }
}

/// The sample as a plugin of the flexcore protocol.
pub fn sample_plugin(config: Value) -> ProgramSpec {
    let plugin = program("sample", PluginType::Processor, Protocol::Flexcore, &[SAMPLE, "flexcore"]);
    ProgramSpec { config, ..plugin }
}
