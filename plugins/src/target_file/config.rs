//! The target's configuration: what may be written in it, and what it is checked for. Touches no file.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;

/// Records after which a STATE is not held back any longer, unless configured.
const BATCH_ROWS: u64 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub destination_path: PathBuf,
    #[serde(default)]
    pub format: Format,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default = "batch_rows")]
    pub batch_rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    #[default]
    Jsonl,
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    #[default]
    Append,
    Replace,
}

impl Format {
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

fn batch_rows() -> u64 {
    BATCH_ROWS
}

impl Config {
    /// What the types cannot say.
    pub fn check(&self) -> Result<(), Error> {
        if self.destination_path.as_os_str().is_empty() {
            return Err(Error::invalid("configuration: destination_path is empty: name a directory"));
        }
        if self.batch_rows == 0 {
            return Err(Error::invalid("configuration: batch_rows must be at least 1"));
        }
        Ok(())
    }
}

/// The JSON Schema of [`Config`], for `--about`.
pub(super) fn settings() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["destination_path"],
        "properties": {
            "destination_path": {"type": "string", "description": "directory of the files, made if it is missing"},
            "format": {"enum": ["jsonl", "csv"], "default": "jsonl", "description": "jsonl or csv"},
            "mode": {"enum": ["append", "replace"], "default": "append",
                     "description": "append to the files, or replace each as a whole when the input has ended"},
            "batch_rows": {"type": "integer", "minimum": 1, "default": BATCH_ROWS,
                           "description": "records after which a STATE is made durable at once and not within a second"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_key_and_about_names_every_key() {
        let parse = |value: Value| serde_json::from_value::<Config>(value).map_err(|error| error.to_string());
        let config = parse(json!({"destination_path": "out"})).unwrap();
        assert!(config.check().is_ok() && config.format == Format::Jsonl && config.mode == Mode::Append);
        let none = parse(json!({"destination_path": "out", "batch_rows": 0})).unwrap();
        assert!(none.check().unwrap_err().to_string().contains("batch_rows"));
        let unknown = parse(json!({"destination_pth": "out"})).unwrap_err();
        for key in settings()["properties"].as_object().unwrap().keys() {
            assert!(unknown.contains(&format!("`{key}`")), "{key}");
        }
        assert_eq!(unknown.matches('`').count(), 2 * 5, "one unknown key and four known ones");
    }
}
