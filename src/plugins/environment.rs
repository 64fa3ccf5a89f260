//! Private Python environments: one directory for each set of requirements, built once with `venv` and `pip`, shared
//! by every execution that needs it.
//!
//! Builds run packages' own code, so they are jailed: they write the environment alone and reach nothing but the index.
//!
//! A directory is whole when its marker file is there. It is built in its final place, because the scripts in it name
//! their interpreter by absolute path; builders take turns by a file lock, and what a broken build left is removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::ids::Name;
use flexcore_actors::domain::plugin::{Limits, PythonEnvironment};
use flexcore_actors::domain::quantity::Bytes;
use flexcore_actors::ports::plugin_host::HostEvent;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::capture::{Captured, Helper, HelperError, capture};
use super::host::Host;
use super::launch::{Jail, Shown, Status};
use super::limits::{BUILD_LOG, BUILD_MEMORY, BUILD_POLL, BUILD_SCRATCH, BUILD_TIMEOUT};
use super::log::ProgramLog;
use super::scratch::Scratch;
use super::sources::Sources;
use super::{surroundings, view};

/// Under the data directory.
const DIRECTORY: &str = "environments";
/// The file whose presence says that an environment is whole.
const MARKER: &str = ".complete";
/// The `index` that means whatever pip is configured to use.
const DEFAULT_INDEX: &str = "default";
/// Variables of the daemon that tell pip how to reach the index.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
/// The same for its TLS library, and exceptions.
const PASSED: [&str; 4] = ["NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"];
/// Prints where the interpreter really is, where it was installed, and what an environment depends on.
const IDENTIFY: &str = "import sys; print(getattr(sys, '_base_executable', sys.executable)); print(sys.base_prefix); \
                        print(sys.version, sys.base_prefix)";

/// Why there is no environment: a person's sentence, or that it was stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Unbuilt {
    /// What failed and the cure.
    Failed(String),
    /// Nobody wants it any more.
    Stopped,
}

/// The directory of programs of an environment, built if it is not there yet.
///
/// # Errors
/// [`Unbuilt`]
pub async fn ensure(
    host: &Host,
    wanted: &PythonEnvironment,
    audience: Option<Audience<'_>>,
    stop: &CancellationToken,
) -> Result<PathBuf, Unbuilt> {
    let option = wanted.requirements.iter().find(|r| r.trim_start().starts_with('-'));
    if let Some(option) = option {
        return Err(Unbuilt::Failed(format!(
            "requirement {option:?} is an option of pip: list packages only, such as tap-csv==1.0.0"
        )));
    }
    let build = Build { host, wanted, audience, stop };
    let (python, place) = build.place().await?;
    if !place.join(MARKER).exists() {
        build.alone(&place, python).await?;
    }
    Ok(place.join("bin"))
}

/// The directory of programs of an environment, if it was built.
///
/// # Errors
/// [`Unbuilt`], when there is no Python to build it with.
pub async fn find(
    host: &Host,
    wanted: &PythonEnvironment,
    stop: &CancellationToken,
) -> Result<Option<PathBuf>, Unbuilt> {
    let place = Build { host, wanted, audience: None, stop }.place().await?.1;
    Ok(place.join(MARKER).exists().then(|| place.join("bin")))
}

/// Who is told of a build: it may take minutes.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    /// The plugin.
    pub plugin: &'a Name,
    /// Its log, for later.
    pub log: &'a ProgramLog,
    /// Whoever looks at the attempt now.
    pub events: &'a mpsc::Sender<HostEvent>,
}

/// The interpreter that environments are made with.
#[derive(Debug)]
pub struct Python {
    /// Itself, and not a script that looks for it.
    executable: String,
    /// Where it is installed.
    prefix: PathBuf,
    /// Version and place: with another one an environment is another.
    identity: String,
}

struct Build<'a> {
    host: &'a Host,
    wanted: &'a PythonEnvironment,
    audience: Option<Audience<'a>>,
    stop: &'a CancellationToken,
}

impl Build<'_> {
    /// The interpreter to build with, and where the environment is or will be.
    async fn place(&self) -> Result<(&Python, PathBuf), Unbuilt> {
        let python = self.host.python.get_or_try_init(|| self.identify()).await?;
        let place = self.host.data_dir.join(DIRECTORY).join(key(self.wanted, &python.identity));
        Ok((python, place))
    }

    /// Waits for its turn, then builds unless another builder did meanwhile.
    async fn alone(&self, place: &Path, python: &Python) -> Result<(), Unbuilt> {
        if let Some(Audience { plugin, events, .. }) = self.audience {
            let what = format!("the Python environment of {plugin} is being built; this happens once");
            // nobody listens when the attempt is being given up
            let _ = events.send(HostEvent::Preparing(what)).await;
        }
        let _turn = self.turn(place).await?;
        if place.join(MARKER).exists() {
            return Ok(());
        }
        self.remark("building its Python environment; this happens once");
        let started = Instant::now();
        let io =
            |e: io::Error| Unbuilt::Failed(format!("environment {} cannot be written: {e}", place.display()));
        match fs::remove_dir_all(place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
        fs::create_dir_all(place).map_err(io)?;
        self.make(place, python).await?;
        self.install(place, python).await?;
        fs::write(place.join(MARKER), self.wanted.requirements.join("\n") + "\n").map_err(io)?;
        self.remark(format!("its Python environment was built in {} s", started.elapsed().as_secs()));
        Ok(())
    }

    /// The lock under which one builder works; the kernel releases it when the builder dies.
    async fn turn(&self, place: &Path) -> Result<Flock<File>, Unbuilt> {
        let path = place.with_extension("lock");
        let failed = |e: &dyn std::fmt::Display| Unbuilt::Failed(format!("lock {}: {e}", path.display()));
        fs::create_dir_all(place.parent().unwrap_or(place)).map_err(|e| failed(&e))?;
        let open = || OpenOptions::new().create(true).append(true).open(&path);
        let mut file = open().map_err(|e| failed(&e))?;
        let deadline = Instant::now() + BUILD_TIMEOUT;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((file, Errno::EAGAIN)) if Instant::now() < deadline => file,
                Err((_, errno)) => return Err(failed(&errno)),
            };
            tokio::select! {
                () = sleep(BUILD_POLL) => {}
                () = self.stop.cancelled() => return Err(Unbuilt::Stopped),
            }
        }
    }

    async fn make(&self, place: &Path, python: &Python) -> Result<(), Unbuilt> {
        let argv = [&python.executable, "-m", "venv", &place.to_string_lossy()].map(str::to_owned);
        let done = self.run(argv.to_vec(), Some(self.jail(place, python, &Sources::default()))).await?;
        if done.status == Status::Exit(0) {
            return Ok(());
        }
        let printed = String::from_utf8_lossy(&done.stdout).into_owned() + &done.tail.join("\n");
        Err(Unbuilt::Failed(if printed.contains("ensurepip") || printed.contains("No module named venv") {
            "python3 cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)"
                .to_owned()
        } else {
            format!("python3 -m venv failed: {}", last_lines(&printed))
        }))
    }

    async fn install(&self, place: &Path, python: &Python) -> Result<(), Unbuilt> {
        let pip = place.join("bin/python").to_string_lossy().into_owned();
        let sources = self.sources(place, python, &pip).await?;
        let fixed = [
            "-m",
            "pip",
            "install",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar",
            "off",
            "--",
        ];
        let argv = std::iter::once(pip)
            .chain(fixed.map(str::to_owned))
            .chain(self.wanted.requirements.iter().cloned())
            .collect();
        let done = self.run(argv, Some(self.jail(place, python, &sources))).await?;
        let report = place.join("build.log");
        // the log helps a person later; the build does not depend on it
        let _ = fs::write(&report, [&done.stdout[..], done.tail.join("\n").as_bytes()].concat());
        if done.status == Status::Exit(0) {
            return Ok(());
        }
        let place = report.display();
        Err(Unbuilt::Failed(format!(
            "pip install failed: {} (more in {place})",
            last_lines(&done.tail.join("\n"))
        )))
    }

    /// Where pip takes packages from: what its own configuration says, and this environment's.
    async fn sources(&self, place: &Path, python: &Python, pip: &str) -> Result<Sources, Unbuilt> {
        let argv = [pip, "-m", "pip", "config", "list"].map(str::to_owned).to_vec();
        let configuration = Sources::of_files(&self.host.variables);
        let done = self.run(argv, Some(self.jail(place, python, &configuration))).await?;
        let settings = String::from_utf8_lossy(&done.stdout);
        let proxies = PROXIES.iter().filter_map(|name| self.host.variables.get(*name));
        let index = (self.wanted.index != DEFAULT_INDEX).then_some(self.wanted.index.as_str());
        Ok(configuration.and(&settings, index, proxies, &self.wanted.requirements))
    }

    /// The jail of a build: the environment alone may be written, the sources alone be reached.
    fn jail(&self, place: &Path, python: &Python, sources: &Sources) -> Jail {
        let mut view = vec![Shown { source: place.to_owned(), target: place.to_owned(), write: true }];
        let read = sources.paths.iter().chain([&python.prefix]).filter(|path| !view::in_base(path));
        view.extend(read.filter_map(|path| {
            let source = path.canonicalize().ok()?;
            Some(Shown { source, target: path.clone(), write: false })
        }));
        Jail { view, subprocess: true, connect: sources.hosts.clone(), ..Jail::default() }
    }

    /// Asks the host's own interpreter, which is trusted as the host is: only that tells where it is.
    async fn identify(&self) -> Result<Python, Unbuilt> {
        let found = self.find_python()?;
        let done = self.run([&found, "-c", IDENTIFY].map(str::to_owned).to_vec(), None).await?;
        let printed = String::from_utf8_lossy(&done.stdout);
        let mut lines = printed.lines().map(str::to_owned);
        match (done.status, lines.next(), lines.next(), lines.next()) {
            (Status::Exit(0), Some(executable), Some(prefix), Some(identity)) => {
                Ok(Python { executable, prefix: prefix.into(), identity })
            }
            _ => {
                Err(Unbuilt::Failed(format!("{found} does not work: {}", last_lines(&done.tail.join("\n")))))
            }
        }
    }

    fn find_python(&self) -> Result<String, Unbuilt> {
        let daemon_path = self.host.variables.get("PATH").map(std::env::split_paths).into_iter().flatten();
        let directories: Vec<PathBuf> =
            daemon_path.filter(|d| d.is_absolute()).chain(surroundings::directories(None, &[])).collect();
        let found = self.host.launcher.resolve("python3", &directories).map_err(|_| {
            Unbuilt::Failed(
                "python3 was not found: install it (Debian: apt-get install python3 python3-venv)".to_owned(),
            )
        })?;
        Ok(found.to_string_lossy().into_owned())
    }

    async fn run(&self, argv: Vec<String>, jail: Option<Jail>) -> Result<Captured, Unbuilt> {
        let name = format!("build-{}", Uuid::now_v7());
        let scratch = Scratch::create_named(&self.host.data_dir, &name);
        let workdir = scratch
            .as_ref()
            .map_err(io::Error::kind)
            .and_then(|scratch| scratch.program(0).map_err(|error| error.kind()));
        let workdir = workdir
            .map_err(|kind| Unbuilt::Failed(format!("the data directory cannot be written: {kind}")))?;
        let limits = Limits {
            memory: Bytes(BUILD_MEMORY),
            scratch: Bytes(BUILD_SCRATCH),
            open_files: 1_024,
            ..Limits::default()
        };
        let helper = Helper {
            argv,
            env: self.variables(),
            workdir,
            jail,
            limits,
            timeout: BUILD_TIMEOUT,
            max_output: BUILD_LOG,
            log: self.audience.map(|audience| audience.log.clone()),
            log_output: true,
        };
        capture(&*self.host.launcher, helper, self.stop).await.map_err(|error| match error {
            HelperError::Stopped => Unbuilt::Stopped,
            error => Unbuilt::Failed(format!("building the Python environment: {error}")),
        })
    }

    /// As little as a plugin gets, and what pip needs to find the index: its own variables, proxies, and the home
    /// directory with its configuration.
    fn variables(&self) -> Vec<(String, String)> {
        let default_index = self.wanted.index == DEFAULT_INDEX;
        let passes = |name: &str| {
            let of_pip = name.starts_with("PIP_") && (default_index || !name.contains("INDEX_URL"));
            of_pip || name == "HOME" || name == "PATH" || PROXIES.contains(&name) || PASSED.contains(&name)
        };
        let daemon = self.host.variables.iter().filter(|(name, _)| passes(name));
        let mut variables: Vec<_> = daemon.map(|(name, value)| (name.clone(), value.clone())).collect();
        variables.push(("LANG".to_owned(), "C.UTF-8".to_owned()));
        if !default_index {
            // not an argument: an index may carry credentials
            variables.push(("PIP_INDEX_URL".to_owned(), self.wanted.index.clone()));
        }
        variables
    }

    fn remark(&self, text: impl Into<String>) {
        if let Some(Audience { log, .. }) = self.audience {
            log.remark(text);
        }
    }
}

/// What an environment is called: the same for the same requirements, index and interpreter.
fn key(wanted: &PythonEnvironment, python: &str) -> String {
    let mut hash = Sha256::new();
    let parts = wanted.requirements.iter().map(String::as_str).chain([wanted.index.as_str(), python]);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(super::limits::BUILD_TAIL)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_tells_apart_what_matters() {
        let wanted = |requirements: &[&str], index: &str| PythonEnvironment {
            requirements: requirements.iter().map(|r| (*r).to_owned()).collect(),
            index: index.to_owned(),
        };
        let keys = [
            key(&wanted(&["a", "b"], "default"), "3.11"),
            key(&wanted(&["ab"], "default"), "3.11"),
            key(&wanted(&["a", "b"], "https://index"), "3.11"),
            key(&wanted(&["a", "b"], "default"), "3.12"),
        ];
        for (n, one) in keys.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!keys[..n].contains(one), "{n}");
        }
        assert_eq!(keys[0], key(&wanted(&["a", "b"], "default"), "3.11"));
    }
}
