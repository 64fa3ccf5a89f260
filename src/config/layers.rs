//! File, environment and flags laid over each other as one untyped value that remembers who said what. Never in
//! here: which values are right.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::reader::nearest;
use serde_json::{Map, Value};

use crate::yaml::{self, Document};

use super::{ConfigError, Mistake};

/// Every key of this version. What a variable may replace follows from it.
pub(super) const KEYS: &[&str] = &[
    "node.name",
    "node.labels",
    "node.memory",
    "data_dir",
    "http.listen",
    "http.max_connections",
    "grpc.listen",
    "auth.required",
    "cluster.redis_url",
    "cluster.secret",
    "cluster.advertise",
    "database.url",
    "integrity.key_file",
    "integrity.checkpoint_dir",
    "secrets.key_file",
    "secrets.key",
    "archive.dir",
    "sandbox.policy",
    "sandbox.required",
    "sandbox.accept_missing",
    "sandbox.warm_interpreters",
    "log",
    "log_format",
    "shutdown.grace",
];

/// Those of [`KEYS`] that are whole numbers; a variable's text becomes one for them.
const NUMBERS: &[&str] = &["http.max_connections", "sandbox.warm_interpreters"];

/// Those of [`KEYS`] that are true or false.
const SWITCHES: &[&str] = &["auth.required"];

/// Those of [`KEYS`] that are lists; a variable's text is cut at commas for them.
const LISTS: &[&str] = &["sandbox.accept_missing"];

/// Those of [`KEYS`] that are maps of texts; a variable has `name=value` for them, with commas between.
const MAPS: &[&str] = &["node.labels"];

/// Keys of the contract, below `auth`, whose feature is not there yet: an error in a file, a warning from the environment.
pub(super) const LATER: &[(&str, &str)] = &[("jwt", "JSON Web Tokens")];

/// Variables that are ours but no configuration: the command line's own, and those that programs are given.
const OTHER_VARIABLES: &[&str] = &[
    "FLEXCORE_CONFIG",
    "FLEXCORE_SERVER",
    "FLEXCORE_TOKEN",
    "FLEXCORE_RESULT",
    "FLEXCORE_OPERATION",
    "FLEXCORE_PARAMETERS",
    "FLEXCORE_SECRETS_DIR",
];

const PREFIX: &str = "FLEXCORE_";

/// A key that a flag of the command line gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag, for messages: `--data-dir`.
    pub flag: &'static str,
    /// The key: `data_dir`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// What all layers say together.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) value: Value,
    pub(super) warnings: Vec<String>,
    file: Option<(PathBuf, Option<Document>)>,
    replaced: HashMap<&'static str, String>,
}

impl Layers {
    /// Who said `key`: a variable, a flag, or a place in the file.
    pub(super) fn origin(&self, key: &str) -> String {
        if let Some(origin) = self.replaced.get(key) {
            return origin.clone();
        }
        match &self.file {
            Some((path, Some(document))) => {
                let mark = document.position(key);
                format!("{}:{}:{}", path.display(), mark.line, mark.column)
            }
            Some((path, None)) => path.display().to_string(),
            None => "configuration".to_owned(),
        }
    }

    fn replace(&mut self, key: &'static str, text: &str, origin: String) {
        let number = text.parse::<u64>().ok().filter(|_| NUMBERS.contains(&key));
        let value = match number {
            Some(number) => Value::from(number),
            None if SWITCHES.contains(&key) && matches!(text, "true" | "false") => {
                Value::from(text == "true")
            }
            None if MAPS.contains(&key) => pairs(text).unwrap_or_else(|| Value::from(text)),
            None if LISTS.contains(&key) => text.split(',').map(str::trim).collect(),
            None => Value::from(text),
        };
        let mut at = &mut self.value;
        let mut parts = key.split('.').peekable();
        while let (Some(part), Value::Object(map)) = (parts.next(), &mut *at) {
            if parts.peek().is_none() {
                map.insert(part.to_owned(), value);
                break;
            }
            at = map.entry(part).or_insert(Value::Null);
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
        }
        self.replaced.insert(key, origin);
    }
}

/// `a=b,c=d` as an object; `None` when it is not that.
fn pairs(text: &str) -> Option<Value> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), Value::from(value.trim())))
    };
    text.split(',').map(pair).collect::<Option<Map<_, _>>>().map(Value::Object)
}

pub(super) fn merge(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Layers, ConfigError> {
    let document = file.map(read_file).transpose()?;
    let value = match &document {
        Some(Some(document)) => document.value.clone(),
        _ => Value::Object(Map::new()),
    };
    let file = file.map(|path| (path.to_owned(), document.flatten()));
    let mut layers = Layers { value, warnings: Vec::new(), file, replaced: HashMap::new() };
    let mut variables: Vec<(String, String)> =
        variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in variables {
        match KEYS.iter().find(|key| variable_of(key) == name) {
            // an empty variable is how orchestrators say "not set"
            Some(_) if text.is_empty() => {}
            Some(key) => layers.replace(key, &text, name),
            None if OTHER_VARIABLES.contains(&name.as_str()) => {}
            None => layers.warnings.push(ignored(&name)),
        }
    }
    for flag in flags {
        layers.replace(flag.key, &flag.value, flag.flag.to_owned());
    }
    Ok(layers)
}

fn read_file(path: &Path) -> Result<Option<Document>, ConfigError> {
    let fail =
        |origin: String, message: String| ConfigError(vec![Mistake { origin, key: String::new(), message }]);
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| fail(shown.to_string(), format!("cannot read the configuration file: {error}")))?;
    let mut documents = yaml::parse(&text)
        .map_err(|error| fail(format!("{shown}:{}:{}", error.mark.line, error.mark.column), error.message))?;
    if documents.len() > 1 {
        let mark = documents[1].position("");
        let message = "a configuration is one document: remove the second one".to_owned();
        return Err(fail(format!("{shown}:{}:{}", mark.line, mark.column), message));
    }
    Ok(documents.pop())
}

/// The variable that replaces a key: `http.listen` is `FLEXCORE_HTTP_LISTEN`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

fn ignored(name: &str) -> String {
    let later = LATER.iter().find(|(key, _)| {
        let variable = variable_of(&format!("auth.{key}"));
        name == variable || name.starts_with(&format!("{variable}_"))
    });
    if let Some((_, feature)) = later {
        return format!("{name} is ignored: it is not supported yet and comes with {feature}");
    }
    let known: Vec<String> = KEYS.iter().map(|key| variable_of(key)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = nearest(name, &known).map_or_else(String::new, |k| format!("; did you mean {k}?"));
    format!("{name} is ignored: no such key{hint}")
}
