//! From a program's specification to something that can be started: its environment, path, files and variables.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flexcore_actors::domain::ids::Name;
use flexcore_actors::domain::outcome::{Cause, CauseKind};
use flexcore_actors::domain::plugin::{Limits, Manifest, PluginType, Protocol};
use flexcore_actors::ports::plugin_host::ProgramSpec;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::environment::{self, Audience, Unbuilt};
use super::host::{Attempt, Host};
use super::launch::{Jail, PlacedFile, Start};
use super::log::{LogIdentity, ProgramLog};
use super::redact::Redactor;
use super::scratch::Scratch;
use super::warm::{self, Fixed, Waiting};
use super::{command, discover, secrets, states, surroundings, view};

/// A program that can be started.
#[derive(Debug)]
pub struct Prepared {
    /// The plugin.
    pub plugin: Name,
    /// Its place in a pipe.
    pub kind: PluginType,
    /// How FlexCore speaks with it.
    pub protocol: Protocol,
    /// Arguments; the first is an absolute path.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Its private directory.
    pub workdir: PathBuf,
    /// What it may use.
    pub limits: Limits,
    /// What it sees and may do.
    pub jail: Jail,
    /// Where its lines go.
    pub log: ProgramLog,
    /// Hides its configuration.
    pub redactor: Redactor,
    /// Of a script in a Python environment: what its next execution can be started ahead with.
    pub fixed: Option<Fixed>,
    /// The interpreter that waits to become it.
    pub warm: Mutex<Option<Waiting>>,
}

/// Why a program cannot be started.
#[derive(Debug)]
pub enum Refusal {
    /// What is wrong.
    Cause(Cause),
    /// Nobody wants it any more.
    Stopped,
}

impl Refusal {
    /// A start that failed.
    pub fn start_failed(plugin: &Name, why: impl std::fmt::Display) -> Self {
        Self::Cause(start_failed(plugin, why))
    }
}

/// The cause of a start that failed.
pub fn start_failed(plugin: &Name, why: impl std::fmt::Display) -> Cause {
    Cause::new(CauseKind::StartFailed, format!("{plugin} could not be started: {why}"))
        .with_detail(json!({"plugin": plugin}))
}

/// A program's path and where its companions are looked for.
#[derive(Debug)]
pub struct Located {
    /// The path to execute.
    pub path: String,
    /// The directories of `PATH`.
    pub directories: Vec<PathBuf>,
    /// The directory of its environment's programs.
    pub environment: Option<PathBuf>,
}

/// Makes everything of program `n` that stands before its start.
///
/// # Errors
/// [`Refusal`]
pub(super) async fn prepare(
    host: &Host,
    attempt: &Attempt<'_>,
    n: usize,
    scratch: &Scratch,
) -> Result<Prepared, Refusal> {
    let Attempt { spec, events, stop, .. } = attempt;
    let program = &spec.programs[n];
    let manifest = &program.manifest;
    let plugin = &manifest.name;
    let identity = LogIdentity { execution: spec.execution, step: spec.step.clone(), plugin: plugin.clone() };
    let hides = Redactor::of_secrets(&program.config, &manifest.config_schema).and(attempt.hides);
    let log = ProgramLog::new(host.logs.clone(), host.clock.clone(), identity, manifest.limits.output, hides);
    let located = locate(host, manifest, Some(Audience { plugin, log: &log, events }), stop).await?;
    if let Some(why) = host.launcher.refusal() {
        let message = format!("{plugin} was not started: this node lacks isolation that is required: {why}");
        return Err(Refusal::Cause(Cause::new(CauseKind::SandboxDenied, message)));
    }
    let workdir = scratch.program(n).map_err(|e| Refusal::start_failed(plugin, e))?;
    let granted = &attempt.granted[n];
    let view = view::of(
        host,
        manifest,
        program.leads.as_ref(),
        Path::new(&located.path),
        located.environment.as_deref(),
    )
    .map_err(|why| Refusal::start_failed(plugin, why))?;
    let secrets_dir = secrets::directory(host, scratch, n, &view);
    let own = secrets::variables(manifest, granted, &secrets_dir);
    let result = (manifest.protocol == Protocol::Command).then(|| workdir.join(command::RESULT));
    let interpreter = located.environment.as_deref();
    let interpreter =
        interpreter.and_then(|environment| warm::interpreter(Path::new(&located.path), environment));
    let mut prepared = Prepared {
        plugin: plugin.clone(),
        kind: manifest.kind,
        protocol: manifest.protocol,
        argv: std::iter::once(located.path).chain(manifest.command.iter().skip(1).cloned()).collect(),
        env: surroundings::variables(
            &located.directories,
            &workdir,
            &manifest.capabilities,
            &host.variables,
            own,
        ),
        workdir,
        limits: manifest.limits.clone(),
        jail: Jail {
            view,
            files: secrets::files(granted, &secrets_dir),
            subprocess: manifest.capabilities.subprocess,
            result,
            connect: manifest.capabilities.connect.clone(),
        },
        log,
        redactor: Redactor::new(&program.config).and(attempt.hides),
        fixed: None,
        warm: Mutex::new(None),
    };
    if let Some(interpreter) = interpreter {
        prepared.look_for_warm(host, interpreter);
    }
    if manifest.protocol == Protocol::Singer {
        let state = spec.state.as_ref().filter(|_| n == 0 && manifest.kind == PluginType::Extractor);
        singer_files(host, program, state, &mut prepared, stop).await?;
    }
    Ok(prepared)
}

/// Makes sure of a plugin's environment and finds its program.
///
/// # Errors
/// [`Refusal`]
pub async fn locate(
    host: &Host,
    manifest: &Manifest,
    audience: Option<Audience<'_>>,
    stop: &CancellationToken,
) -> Result<Located, Refusal> {
    let plugin = &manifest.name;
    let environment = match &manifest.environment {
        None => None,
        Some(environment) => {
            let built = environment::ensure(host, &environment.python, audience, stop).await;
            Some(built.map_err(|unbuilt| match unbuilt {
                Unbuilt::Failed(why) => Refusal::start_failed(plugin, why),
                Unbuilt::Stopped => Refusal::Stopped,
            })?)
        }
    };
    find(host, manifest, environment.as_deref()).map_err(|why| Refusal::start_failed(plugin, why))
}

/// Finds a plugin's program; `environment` is the directory of programs of its environment.
///
/// # Errors
/// A person's sentence with the cure.
pub fn find(host: &Host, manifest: &Manifest, environment: Option<&Path>) -> Result<Located, String> {
    let program = manifest.command.first().filter(|p| !p.is_empty());
    let program = program.ok_or_else(|| "its manifest's command is empty".to_owned())?;
    let directories = surroundings::directories(environment, &host.own_programs);
    let path = host.launcher.resolve(program, &directories).map_err(|e| e.to_string())?;
    if !path.exists() {
        return Err(format!("{} does not exist; correct its manifest's command", path.display()));
    }
    let environment = environment.map(Path::to_owned);
    Ok(Located { path: path.to_string_lossy().into_owned(), directories, environment })
}

impl Prepared {
    /// Gives the program a private file with this value; answers its path.
    pub fn place(&mut self, name: &str, value: &Value) -> String {
        let path = self.workdir.join(name);
        let shown = path.to_string_lossy().into_owned();
        self.jail.files.push(PlacedFile { path, mode: 0o600, content: value.to_string().into_bytes() });
        shown
    }

    /// Becomes what an interpreter that waits was started with, if there is one.
    fn look_for_warm(&mut self, host: &Host, interpreter: PathBuf) {
        let (program, env, workdir) = (PathBuf::from(&self.argv[0]), self.env.clone(), self.workdir.clone());
        let (limits, jail) = (self.limits.clone(), self.jail.clone());
        let fixed = Fixed { program, interpreter, env, workdir, limits, jail };
        if let Some(waiting) = host.warm.take(&self.plugin, &fixed) {
            let Fixed { env, workdir, jail, .. } = waiting.fixed().clone();
            (self.env, self.workdir, self.jail) = (env, workdir, jail);
            self.warm = Mutex::new(Some(waiting));
        }
        self.fixed = Some(fixed);
    }

    /// What is to be started, with these streams.
    #[must_use]
    pub fn start(&self, stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd) -> Start {
        Start {
            argv: self.argv.clone(),
            env: self.env.clone(),
            workdir: self.workdir.clone(),
            stdin,
            stdout,
            stderr,
            limits: self.limits.clone(),
            jail: Some(self.jail.clone()),
        }
    }
}

/// The configuration as a program expects it: an object.
#[must_use]
pub fn config_of(program: &ProgramSpec) -> Value {
    if program.config.is_null() { json!({}) } else { program.config.clone() }
}

/// `--config`, and `--catalog` and `--state` only when there is one.
async fn singer_files(
    host: &Host,
    program: &ProgramSpec,
    state: Option<&Value>,
    prepared: &mut Prepared,
    stop: &CancellationToken,
) -> Result<(), Refusal> {
    let config = prepared.place("config.json", &config_of(program));
    prepared.argv.extend(["--config".to_owned(), config]);
    if let Some(catalog) = discover::catalog(host, program, prepared, stop).await? {
        let path = prepared.place("catalog.json", &catalog);
        prepared.argv.extend(["--catalog".to_owned(), path]);
    }
    if let Some(state) = state.filter(|state| states::is_bookmark(state)) {
        let path = prepared.place("state.json", state);
        prepared.argv.extend(["--state".to_owned(), path]);
    }
    Ok(())
}
