//! Secrets on their way to a program: revealed at the last moment, only those that its manifest grants; written into its
//! configuration, into files of a private directory, and into its environment where the manifest says so; taken out again
//! of everything that is recorded. Never in here: where secrets are kept, or keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::outcome::{Cause, CauseKind};
use flexcore_actors::domain::pipeline::schema_problems;
use flexcore_actors::domain::plugin::Manifest;
use flexcore_actors::domain::secret::{SecretName, SecretValue, place_secrets};
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::plugin_host::{AttemptEnd, PipeSpec, ProgramSpec};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::host::Host;
use super::launch::{PlacedFile, Shown};
use super::limits::MAX_ENV_BYTES;
use super::program::{Refusal, config_of};
use super::redact::Redactor;
use super::scratch::Scratch;

/// Names the directory with a program's secrets.
pub const DIRECTORY_VARIABLE: &str = "FLEXCORE_SECRETS_DIR";

/// What the plugin host needs of a vault, as a trait of its own: adapters do not import each other.
pub trait Secrets: Send + Sync + 'static {
    /// The values of secrets, each of which must exist. The error is a person's sentence with the cure, without values.
    fn reveal<'a>(
        &'a self,
        names: &'a [SecretName],
    ) -> BoxFuture<'a, Result<BTreeMap<SecretName, SecretValue>, String>>;

    /// Those of the names that no secret has now, without a look at any value. The error is why that cannot be said.
    fn missing<'a>(&'a self, names: &'a [SecretName]) -> BoxFuture<'a, Result<Vec<SecretName>, String>>;
}

/// The secrets of one program, by name.
pub type Granted = BTreeMap<SecretName, SecretValue>;

/// Reveals what each program of an attempt is granted and writes it where its configuration refers to it.
///
/// # Errors
/// When a secret cannot be had or does not fit where it belongs, and when the attempt is stopped meanwhile.
pub(super) async fn resolve(
    secrets: &dyn Secrets,
    spec: &mut PipeSpec,
    stop: &CancellationToken,
) -> Result<Vec<Granted>, Refusal> {
    let mut granted = Vec::with_capacity(spec.programs.len());
    for program in &mut spec.programs {
        let revealed = tokio::select! {
            revealed = reveal(secrets, &program.manifest) => revealed,
            () = stop.cancelled() => return Err(Refusal::Stopped),
        };
        let placed = revealed.and_then(|revealed| place(program, &revealed).map(|()| revealed));
        granted.push(placed.map_err(|why| {
            let plugin = &program.manifest.name;
            Refusal::Cause(Cause::new(
                CauseKind::StartFailed,
                format!("{plugin} could not be started: {why}"),
            ))
        })?);
    }
    Ok(granted)
}

async fn reveal(secrets: &dyn Secrets, manifest: &Manifest) -> Result<Granted, String> {
    let names = manifest.capabilities.secrets.iter().map(SecretName::new);
    let names = names.collect::<Result<Vec<_>, _>>().map_err(|invalid| invalid.to_string())?;
    if names.is_empty() {
        return Ok(Granted::new());
    }
    let revealed = secrets.reveal(&names).await?;
    for name in names.iter().filter(|name| manifest.capabilities.env.iter().any(|e| e == name.as_str())) {
        let fits = |value: &SecretValue| {
            value.text().is_some_and(|text| !text.contains('\0'))
                && value.reveal().len() + name.as_str().len() + 2 <= MAX_ENV_BYTES
        };
        if !revealed.get(name).is_some_and(fits) {
            return Err(format!(
                "the secret {name} is not text that fits into a variable: take it out of capabilities.env and let \
                 the program read the file ${DIRECTORY_VARIABLE}/{name}"
            ));
        }
    }
    Ok(revealed)
}

fn place(program: &mut ProgramSpec, granted: &Granted) -> Result<(), String> {
    if program.secrets.is_empty() {
        return Ok(());
    }
    let mut config = config_of(program);
    place_secrets(&mut config, &program.secrets, granted).map_err(|why| why.to_string())?;
    if let Some(problem) = schema_problems(&program.manifest, &config, "config").0.first() {
        return Err(format!("{}: {}", problem.field, problem.message));
    }
    program.config = config;
    Ok(())
}

/// Where secrets are in a root file system of a program's own.
const DIRECTORY: &str = "/run/secrets";

/// Where the program at place `n` finds its secrets: [`DIRECTORY`], unless that is the host's for it.
pub(super) fn directory(host: &Host, scratch: &Scratch, n: usize, view: &[Shown]) -> PathBuf {
    let own = Path::new(DIRECTORY);
    let overlaps = |shown: &Shown| shown.target.starts_with(own) || own.starts_with(&shown.target);
    let free = host.launcher.has_own_root() && !view.iter().any(overlaps);
    if free { own.to_owned() } else { scratch.secrets(n) }
}

/// A file for each secret of a program in its private directory, readable by the program's user alone and written by nobody.
pub(super) fn files(granted: &Granted, directory: &Path) -> Vec<PlacedFile> {
    let file = |(name, value): (&SecretName, &SecretValue)| PlacedFile {
        path: directory.join(name.as_str()),
        mode: 0o400,
        content: value.reveal().to_vec(),
    };
    granted.iter().map(file).collect()
}

/// The variables that secrets add to a program's environment.
pub(super) fn variables(manifest: &Manifest, granted: &Granted, directory: &Path) -> Vec<(String, String)> {
    let named = |name: &SecretName| manifest.capabilities.env.iter().any(|listed| listed == name.as_str());
    let values = granted.iter().filter(|(name, _)| named(name));
    let values = values.filter_map(|(name, value)| Some((name.to_string(), value.text()?.to_owned())));
    let directory = (DIRECTORY_VARIABLE.to_owned(), directory.to_string_lossy().into_owned());
    values.chain((!granted.is_empty()).then_some(directory)).collect()
}

/// Hides every secret of an attempt, of whichever of its programs.
pub(super) fn redactor(granted: &[Granted]) -> Redactor {
    Redactor::default().hiding(granted.iter().flat_map(BTreeMap::values))
}

/// Takes secrets out of what will be recorded about an attempt: a program may have written them into its result or its
/// error.
pub(super) fn scrub(end: &mut AttemptEnd, secrets: &Redactor) {
    let programs = end.report.programs.iter_mut().filter_map(|program| program.cause.as_mut());
    for cause in programs.chain(&mut end.cause) {
        cause.message = secrets.redact(&cause.message);
        scrub_value(&mut cause.detail, secrets);
    }
    for network in end.report.programs.iter_mut().filter_map(|program| program.network.as_mut()) {
        for unreached in network.denials.iter_mut().chain(&mut network.failures) {
            unreached.host = secrets.redact(&unreached.host);
        }
    }
    scrub_value(&mut end.report.result, secrets);
}

/// Takes secrets out of a value, keys and numbers included.
pub(super) fn scrub_value(value: &mut Value, secrets: &Redactor) {
    match value {
        Value::String(text) => *text = secrets.redact(text),
        Value::Array(items) => items.iter_mut().for_each(|item| scrub_value(item, secrets)),
        Value::Object(map) => {
            let fields = std::mem::take(map);
            map.extend(fields.into_iter().map(|(key, mut field)| {
                scrub_value(&mut field, secrets);
                (secrets.redact(&key), field)
            }));
        }
        Value::Number(number) => {
            let text = number.to_string();
            let hidden = secrets.redact(&text);
            if hidden != text {
                *value = Value::String(hidden);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}
