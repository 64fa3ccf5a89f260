//! The tap's configuration: what may be written in it, and what it is checked for. Opens no data file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::kind::Kind;
use crate::Error;

/// Records between two STATE messages, unless configured.
const STATE_EVERY: u64 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub files: Vec<FileConfig>,
    #[serde(default = "state_every")]
    pub state_every: u64,
    #[serde(default)]
    pub rate: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub path: PathBuf,
    #[serde(default)]
    pub stream: Option<String>,
    #[serde(default)]
    pub format: Option<Format>,
    #[serde(default)]
    pub key_properties: Vec<String>,
    #[serde(default)]
    pub replication_key: Option<String>,
    #[serde(default)]
    pub delimiter: Option<char>,
    #[serde(default)]
    pub types: BTreeMap<String, Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Csv,
    Jsonl,
}

fn state_every() -> u64 {
    STATE_EVERY
}

impl Config {
    /// What the types cannot say.
    pub fn check(&self) -> Result<(), Error> {
        if self.files.is_empty() {
            return Err(Error::invalid("configuration: files is empty: name at least one {\"path\": …}"));
        }
        if self.state_every == 0 {
            return Err(Error::invalid("configuration: state_every must be at least 1"));
        }
        if self.rate.is_some_and(|rate| rate <= 0.0) {
            return Err(Error::invalid("configuration: rate must be more than 0 records per second"));
        }
        for (index, file) in self.files.iter().enumerate() {
            if file.delimiter.is_some_and(|c| !c.is_ascii() || matches!(c, '"' | '\n' | '\r')) {
                return Err(Error::invalid(format!(
                    "configuration: files[{index}].delimiter must be one ascii character, \
                     and neither a quote nor a line end"
                )));
            }
            if file.stream.as_deref() == Some("") {
                return Err(Error::invalid(format!(
                    "configuration: files[{index}].stream is empty: leave it out to use the file's name"
                )));
            }
        }
        Ok(())
    }
}

/// The JSON Schema of [`Config`], for `--about`.
pub(super) fn settings() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["files"],
        "properties": {
            "files": {
                "type": "array", "minItems": 1,
                "description": "the files or directories to read",
                "items": {
                    "type": "object", "additionalProperties": false, "required": ["path"],
                    "properties": {
                        "path": {"type": "string", "description": "a file, or a directory read without descending"},
                        "stream": {"type": "string", "description": "default: the file's name without extension"},
                        "format": {"enum": ["csv", "jsonl"], "description": "default: by extension"},
                        "key_properties": {"type": "array", "items": {"type": "string"}},
                        "replication_key": {"type": "string", "description": "named in SCHEMA; filters nothing"},
                        "delimiter": {"type": "string", "description": "one character; default: comma, tab for .tsv"},
                        "types": {"type": "object", "description": "csv column to type, instead of inferring",
                                  "additionalProperties": {"enum": Kind::NAMES}},
                    },
                },
            },
            "state_every": {"type": "integer", "minimum": 1, "default": STATE_EVERY,
                            "description": "records between two STATE messages"},
            "rate": {"type": "number", "exclusiveMinimum": 0,
                     "description": "records per second at most; default: no limit"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: Value) -> String {
        let config: Config = match serde_json::from_value(config) {
            Ok(config) => config,
            Err(error) => return error.to_string(),
        };
        config.check().map_or_else(|error| error.to_string(), |()| "ok".into())
    }

    #[test]
    fn mistakes_name_the_key() {
        assert_eq!(check(json!({"files": [{"path": "a.csv"}]})), "ok");
        for (config, named) in [
            (json!({"files": []}), "files is empty"),
            (json!({"files": [{"path": "a"}], "state_every": 0}), "state_every"),
            (json!({"files": [{"path": "a"}], "rate": 0}), "rate"),
            (json!({"files": [{"path": "a", "delimiter": "é"}]}), "files[0].delimiter"),
            (json!({"files": [{"path": "a", "stream": ""}]}), "files[0].stream"),
            (json!({"files": [{"path": "a", "pth": 1}]}), "unknown field `pth`"),
            (json!({"files": [{"path": "a", "types": {"x": "int"}}]}), "unknown variant `int`"),
        ] {
            assert!(check(config).contains(named), "{named}");
        }
    }

    #[test]
    fn about_names_every_key_and_no_other() {
        let settings = settings();
        let file = &settings["properties"]["files"]["items"]["properties"];
        let known = |error: String| -> Vec<String> {
            error.split('`').skip(3).step_by(2).map(String::from).collect::<Vec<_>>()
        };
        for (shown, error) in
            [(&settings["properties"], check(json!({"?": 1}))), (file, check(json!({"files": [{"?": 1}]})))]
        {
            let mut names: Vec<_> = shown.as_object().unwrap().keys().cloned().collect();
            let mut accepted = known(error);
            names.sort();
            accepted.sort();
            assert_eq!(names, accepted);
        }
    }
}
