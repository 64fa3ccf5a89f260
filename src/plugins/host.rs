//! The plugin host itself: prepares the programs of an attempt and hands them to the session of their protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flexcore_actors::domain::outcome::{AttemptReport, Cause, CauseKind, ProgramReport, Usage};
use flexcore_actors::domain::plugin::{Manifest, Protocol};
use flexcore_actors::ports::plugin_host::{
    AttemptEnd, Examination, HostEvent, PipeSpec, PluginHost, Progress,
};
use flexcore_actors::ports::{BoxFuture, Clock, LogStore};
use futures::FutureExt;
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::environment::Python;
use super::launch::Launch;
use super::limits::EXAMINATIONS;
use super::program::{self, Prepared, Refusal};
use super::redact::Redactor;
use super::scratch::Scratch;
use super::secrets::{self, Granted, Secrets};
use super::warm::Warm;
use super::{command, examine, pipe, session};

/// Runs programs on this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalHost(Arc<Host>);

/// What a host is made of.
pub struct Settings {
    /// Starts programs.
    pub launcher: Arc<dyn Launch>,
    /// Keeps what they print.
    pub logs: Arc<dyn LogStore>,
    /// The time of log lines.
    pub clock: Arc<dyn Clock>,
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// Where FlexCore's own programs are.
    pub own_programs: Vec<PathBuf>,
    /// The daemon's environment variables; only names that a manifest lists reach a program.
    pub variables: BTreeMap<String, String>,
    /// Gives the secrets that a manifest grants.
    pub secrets: Arc<dyn Secrets>,
    /// Python interpreters that may wait for executions at the same time; 0 is none.
    pub warm_interpreters: usize,
}

/// The insides of a host, shared by its attempts.
pub struct Host {
    pub(super) launcher: Arc<dyn Launch>,
    pub(super) logs: Arc<dyn LogStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) data_dir: PathBuf,
    pub(super) own_programs: Vec<PathBuf>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) warm: Arc<Warm>,
    /// Version and place of `python3`, asked once: environments of another one are built anew after a restart.
    pub(super) python: OnceCell<Python>,
    /// Turns to look at a plugin before it is registered.
    pub(super) examinations: Semaphore,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// What every session of an attempt needs besides its programs.
#[derive(Clone)]
pub(super) struct Attempt<'a> {
    /// What to run, with secrets in the configurations: never logged, never given back.
    pub spec: &'a PipeSpec,
    /// The secrets of each program.
    pub granted: &'a [Granted],
    /// Hides them all.
    pub hides: &'a Redactor,
    pub events: mpsc::Sender<HostEvent>,
    pub progress: Arc<Progress>,
    pub stop: CancellationToken,
}

impl LocalHost {
    /// A host with the given neighbours.
    ///
    /// # Errors
    /// When the data directory cannot be made or has no absolute path.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let Settings { launcher, logs, clock, data_dir, own_programs, variables, secrets, warm_interpreters } =
            settings;
        std::fs::create_dir_all(&data_dir)?;
        // scripts in environments name their interpreter by this path, and programs start elsewhere
        let data_dir = data_dir.canonicalize()?;
        let (python, examinations) = (OnceCell::new(), Semaphore::new(EXAMINATIONS));
        let warm = Arc::new(Warm::new(launcher.clone(), data_dir.clone(), warm_interpreters));
        let host = Host {
            launcher,
            logs,
            clock,
            data_dir,
            own_programs,
            variables,
            secrets,
            warm,
            python,
            examinations,
        };
        Ok(Self(Arc::new(host)))
    }

    /// Removes what attempts of a former life of the node left on disk; to be called before the first attempt.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear_leftovers(&self) -> io::Result<()> {
        super::scratch::clear_leftovers(&self.0.data_dir)
    }

    /// How many Python interpreters wait for executions.
    #[must_use]
    pub fn waiting_interpreters(&self) -> usize {
        self.0.warm.len()
    }

    /// Their process ids.
    #[cfg(test)]
    pub(super) fn waiting_pids(&self) -> Vec<u32> {
        self.0.warm.pids()
    }

    async fn attempt(&self, attempt: Attempt<'_>) -> AttemptEnd {
        let spec = attempt.spec;
        let piped = spec.programs.len() > 1;
        if let Some(other) = spec.programs.iter().find(|p| piped && p.manifest.protocol != Protocol::Singer) {
            let plugin = &other.manifest.name;
            let why = format!("{plugin} cannot be part of a pipe: only programs of the singer protocol can");
            return not_started(spec, Some(Cause::new(CauseKind::StartFailed, why)));
        }
        let scratch = match make_scratch(&self.0.data_dir, spec).await {
            Ok(scratch) => scratch,
            Err(error) => {
                let why = format!("the scratch directory cannot be made: {error}; check the data directory");
                return not_started(spec, Some(Cause::new(CauseKind::StartFailed, why)));
            }
        };
        let end = match self.prepare_all(&attempt, &scratch).await {
            Ok(mut programs) => match programs.first().map(|p| p.protocol) {
                Some(Protocol::Command) => command::run(&self.0, &attempt, programs.remove(0)).await,
                Some(Protocol::Flexcore) => session::run(&self.0, &attempt, programs.remove(0)).await,
                _ => pipe::run(&self.0, &attempt, programs).await,
            },
            Err(Refusal::Cause(cause)) => not_started(spec, Some(cause)),
            Err(Refusal::Stopped) => not_started(spec, None),
        };
        // nobody listens when the attempt is being given up
        let _ = attempt.events.send(HostEvent::CleaningUp).await;
        // a plugin may have left many files: not on a thread that others wait for
        let _ = tokio::task::spawn_blocking(move || drop(scratch)).await;
        end
    }

    async fn prepare_all(&self, attempt: &Attempt<'_>, scratch: &Scratch) -> Result<Vec<Prepared>, Refusal> {
        let mut programs = Vec::with_capacity(attempt.spec.programs.len());
        for n in 0..attempt.spec.programs.len() {
            programs.push(program::prepare(&self.0, attempt, n, scratch).await?);
        }
        Ok(programs)
    }
}

impl PluginHost for LocalHost {
    fn run<'a>(
        &'a self,
        spec: PipeSpec,
        events: mpsc::Sender<HostEvent>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> BoxFuture<'a, AttemptEnd> {
        async move {
            let mut spec = spec;
            let granted = match secrets::resolve(&*self.0.secrets, &mut spec, &stop).await {
                Ok(granted) => granted,
                Err(Refusal::Cause(cause)) => return not_started(&spec, Some(cause)),
                Err(Refusal::Stopped) => return not_started(&spec, None),
            };
            let hides = secrets::redactor(&granted);
            let attempt = Attempt { spec: &spec, granted: &granted, hides: &hides, events, progress, stop };
            let mut end = self.attempt(attempt).await;
            secrets::scrub(&mut end, &hides);
            end
        }
        .boxed()
    }

    fn prepare<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<(), Cause>> {
        async move {
            let never = CancellationToken::new();
            program::locate(&self.0, manifest, None, &never).await.map(|_| ()).map_err(
                |refusal| match refusal {
                    Refusal::Cause(cause) => cause,
                    Refusal::Stopped => Cause::new(CauseKind::Cancelled, "nobody asked for this stop"),
                },
            )
        }
        .boxed()
    }

    fn examine<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Examination> {
        examine::examine(&self.0, manifest).boxed()
    }
}

async fn make_scratch(data_dir: &Path, spec: &PipeSpec) -> io::Result<Scratch> {
    let (data_dir, spec) = (data_dir.to_owned(), spec.clone());
    let made = tokio::task::spawn_blocking(move || Scratch::create(&data_dir, &spec));
    made.await.map_err(io::Error::other)?
}

/// The end of an attempt of which nothing ran.
fn not_started(spec: &PipeSpec, cause: Option<Cause>) -> AttemptEnd {
    let blamed = cause.as_ref().and_then(|c| c.detail.get("plugin")).and_then(|p| p.as_str());
    let report = |plugin: &flexcore_actors::domain::ids::Name| ProgramReport {
        plugin: plugin.clone(),
        pid: None,
        exit_code: None,
        cause: cause.clone().filter(|_| blamed == Some(plugin.as_str())),
        usage: Usage::default(),
        network: None,
        sandbox: None,
        denials: Vec::new(),
        warm: false,
    };
    let programs = spec.programs.iter().map(|p| report(&p.manifest.name)).collect();
    AttemptEnd { cause: cause.clone(), report: AttemptReport { programs, ..AttemptReport::default() } }
}
