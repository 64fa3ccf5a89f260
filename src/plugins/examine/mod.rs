//! Looks whether this node could run a plugin, when it is registered: its paths, its limits, its program with
//! interpreter and libraries. Nothing is recorded here, and nothing is asked of a `command` program; programs of other
//! protocols are started for a moment, because only that shows that the sandbox can be made for them.
//!
//! **Boundary:** never in here: what the operator allows, and what a program says or does once it runs.

mod capacity;
mod elf;
mod executable;
mod libraries;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flexcore_actors::domain::plugin::{Manifest, Protocol, WORKDIR};
use flexcore_actors::domain::problem::Problems;
use flexcore_actors::domain::secret::SecretName;
use flexcore_actors::ports::plugin_host::Examination;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::environment::{self, Unbuilt};
use super::host::Host;
use super::launch::{Jail, Start};
use super::limits::TRIAL_TIMEOUT;
use super::program::{Located, find};
use super::scratch::Scratch;
use super::secrets::Secrets;
use super::{surroundings, view};
use capacity::Capacity;
use executable::{Sight, why_not_executable};

/// What a program is asked in its trial: those that know the question answer and end.
const QUESTION: &str = "--about";

/// Looks at everything and reports all that stands in the way.
pub async fn examine(host: &Host, manifest: &Manifest) -> Examination {
    // closed never
    let _turn = host.examinations.acquire().await;
    let (asked, data_dir) = (manifest.clone(), host.data_dir.clone());
    let look = tokio::task::spawn_blocking(move || look_at_grants(&asked, &data_dir));
    let mut examination = look.await.unwrap_or_default();
    if let Err((field, message)) = prove_program(host, manifest).await {
        examination.problems.add(field, message);
    }
    examination.lacking = look_for_secrets(&*host.secrets, manifest).await;
    examination
}

/// Granted secrets that are not there; nothing when that cannot be said now: a start says it.
async fn look_for_secrets(secrets: &dyn Secrets, manifest: &Manifest) -> Problems {
    let granted = &manifest.capabilities.secrets;
    // each is a name: the manifest was read
    let names: Vec<SecretName> = granted.iter().filter_map(|name| SecretName::new(name).ok()).collect();
    let missing = secrets.missing(&names).await.unwrap_or_else(|error| {
        tracing::warn!(plugin = %manifest.name, error, "it cannot be said whether the plugin's secrets are there");
        Vec::new()
    });
    let mut lacking = Problems::default();
    for (n, name) in
        granted.iter().enumerate().filter(|(_, name)| missing.iter().any(|m| m.as_str() == *name))
    {
        let cure = format!("the secret {name} does not exist yet: set it with: flexcore secrets set {name}");
        lacking.add(format!("capabilities.secrets[{n}]"), cure);
    }
    lacking
}

/// Paths and limits.
fn look_at_grants(manifest: &Manifest, data_dir: &Path) -> Examination {
    let mut found = Examination::default();
    let granted = [("read", &manifest.capabilities.read), ("write", &manifest.capabilities.write)];
    for (key, paths) in granted {
        for (n, path) in paths.iter().enumerate().filter(|(_, path)| !path.starts_with(WORKDIR)) {
            match view::place(Path::new(path), data_dir) {
                Ok(real) if real == Path::new(path) => {}
                Ok(real) => drop(found.elsewhere.insert(path.clone(), real.to_string_lossy().into_owned())),
                Err(message) => found.problems.add(format!("capabilities.{key}[{n}]"), message),
            }
        }
    }
    found.problems.0.extend(Capacity::read().exceeded_by(&manifest.limits).0);
    found
}

/// A field of the manifest and what is wrong with it.
type Blame = (&'static str, String);

async fn prove_program(host: &Host, manifest: &Manifest) -> Result<(), Blame> {
    let environment = match &manifest.environment {
        None => None,
        Some(wanted) => {
            let never = CancellationToken::new();
            match environment::find(host, &wanted.python, &never).await {
                Ok(Some(built)) => Some(built),
                // it is built by the first execution, which may take minutes and tells how it went
                Ok(None) | Err(Unbuilt::Stopped) => return Ok(()),
                Err(Unbuilt::Failed(why)) => return Err(("environment.python", why)),
            }
        }
    };
    let located = find(host, manifest, environment.as_deref()).map_err(|why| ("command", why))?;
    let sight = Sight::of(manifest, Path::new(&located.path), environment.as_deref());
    let (program, directories) = (PathBuf::from(&located.path), located.directories.clone());
    let libraries = library_path(manifest, &host.variables);
    let look =
        tokio::task::spawn_blocking(move || why_not_executable(&program, &sight, &directories, &libraries));
    if let Some(why) = look.await.unwrap_or_default() {
        return Err(("command", why));
    }
    match manifest.protocol {
        Protocol::Command => Ok(()),
        Protocol::Singer | Protocol::Flexcore => {
            try_out(host, manifest, located).await.map_err(|why| ("command", why))
        }
    }
}

/// The directories of `LD_LIBRARY_PATH`, where the manifest lists that.
fn library_path(manifest: &Manifest, daemon: &BTreeMap<String, String>) -> Vec<PathBuf> {
    const NAME: &str = "LD_LIBRARY_PATH";
    let granted = manifest.capabilities.env.iter().any(|name| name == NAME);
    let value = daemon.get(NAME).filter(|_| granted);
    value.map(|value| std::env::split_paths(value).collect()).unwrap_or_default()
}

/// Starts the program as an execution would and ends it at once: that it was executed is all that counts. What it
/// answers decides nothing, so nobody waits for it.
async fn try_out(host: &Host, manifest: &Manifest, located: Located) -> Result<(), String> {
    let io = |error: io::Error| format!("it cannot be tried out: {error}; check the data directory");
    let scratch = Scratch::create_named(&host.data_dir, &format!("trial-{}", Uuid::now_v7())).map_err(io)?;
    let workdir = scratch.program(0).map_err(io)?;
    let start = Start {
        argv: std::iter::once(located.path.clone())
            .chain(manifest.command.iter().skip(1).cloned())
            .chain([QUESTION.to_owned()])
            .collect(),
        // secrets are for executions
        env: surroundings::variables(
            &located.directories,
            &workdir,
            &manifest.capabilities,
            &host.variables,
            Vec::new(),
        ),
        workdir,
        stdin: None,
        stdout: nowhere().map_err(io)?,
        stderr: nowhere().map_err(io)?,
        limits: manifest.limits.clone(),
        jail: Some(Jail {
            // where links lead now is what is granted
            view: view::of(host, manifest, None, Path::new(&located.path), located.environment.as_deref())?,
            files: Vec::new(),
            subprocess: manifest.capabilities.subprocess,
            result: None,
            connect: Vec::new(),
        }),
    };
    let trial = async {
        let launched = host.launcher.start(start).await.map_err(|error| error.to_string())?;
        launched.control.stop(Duration::ZERO);
        launched.ended.await;
        Ok(())
    };
    let end = timeout(TRIAL_TIMEOUT, trial).await;
    end.unwrap_or_else(|_| Err(format!("it was not executed within {} s", TRIAL_TIMEOUT.as_secs())))
}

fn nowhere() -> io::Result<std::os::fd::OwnedFd> {
    OpenOptions::new().write(true).open("/dev/null").map(File::into)
}

#[cfg(test)]
mod tests;
