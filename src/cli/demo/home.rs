//! Where the demo lives: its directory, the data set it brings along, the definitions of its plugins and its
//! pipeline. Never in here: talking to the node.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::failure::Failure;

pub(super) const TAP: &str = "flexcore-tap-file";
pub(super) const TARGET: &str = "flexcore-target-file";
pub(super) const PIPELINE: &str = "seattle-weather";
pub(super) const STREAM: &str = "seattle_weather";
/// The field that tells the records apart.
pub(super) const KEY: &str = "date";

/// Records a second: with the 1,461 of the data set the run lasts about four seconds.
const RATE: u64 = 400;
/// Records between two of the tap's bookmarks.
const STATE_EVERY: u64 = 50;
const DATA_SET: &str = include_str!("../../../plugins/data/seattle-weather.csv");
const DATA_FILE: &str = "seattle-weather.csv";

/// The demo's directory.
pub(super) struct Home {
    path: PathBuf,
    temporary: bool,
}

impl Home {
    /// Makes the directory: `wanted`, which must be new or empty, or a temporary one.
    pub(super) fn make(wanted: Option<&Path>) -> Result<Self, Failure> {
        let path = match wanted {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("flexcore-demo-{}", Uuid::now_v7().simple())),
        };
        let fail = |what: &str, error: std::io::Error| {
            Failure::failed(format!("cannot {what} {}: {error}", path.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| fail("create", error))?;
        if std::fs::read_dir(&path).map_err(|error| fail("read", error))?.next().is_some() {
            return Err(Failure::usage(format!("{} is not empty", path.display()))
                .hint("give --data-dir a directory that is new or empty, so that the demo counts only its own records"));
        }
        for part in ["node", "in", "out"] {
            std::fs::create_dir(path.join(part)).map_err(|error| fail("create a directory in", error))?;
        }
        Ok(Self { path, temporary: wanted.is_none() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The node's own data.
    pub(super) fn node_dir(&self) -> PathBuf {
        self.path.join("node")
    }

    /// Where the target writes.
    pub(super) fn out_dir(&self) -> PathBuf {
        self.path.join("out")
    }

    fn in_dir(&self) -> PathBuf {
        self.path.join("in")
    }

    /// Writes the data set and counts its rows.
    pub(super) fn write_data_set(&self) -> Result<usize, Failure> {
        std::fs::write(self.in_dir().join(DATA_FILE), DATA_SET)
            .map_err(|error| Failure::failed(format!("cannot write the data set: {error}")))?;
        // the first line names the columns
        Ok(DATA_SET.lines().skip(1).filter(|line| !line.is_empty()).count())
    }

    /// The two plugins.
    pub(super) fn manifests(&self) -> [(&'static str, Value); 2] {
        let manifest = |name: &str, kind: &str, capabilities: Value| {
            json!({
                "kind": "Plugin", "name": name, "version": env!("CARGO_PKG_VERSION"), "type": kind,
                "protocol": "singer", "command": [name], "capabilities": capabilities,
            })
        };
        [
            (TAP, manifest(TAP, "extractor", json!({"read": [self.in_dir()]}))),
            (TARGET, manifest(TARGET, "loader", json!({"write": [self.out_dir()]}))),
        ]
    }

    /// The pipeline.
    pub(super) fn pipeline(&self) -> Value {
        let file = json!({"path": self.in_dir().join(DATA_FILE), "stream": STREAM, "key_properties": [KEY]});
        let tap = json!({"files": [file], "state_every": STATE_EVERY, "rate": RATE});
        json!({
            "kind": "Pipeline", "name": PIPELINE, "description": "Load the demo's data set", "owner": "demo",
            "steps": [{
                "name": "extract-load",
                "pipe": [
                    {"plugin": TAP, "config": tap},
                    {"plugin": TARGET, "config": {"destination_path": self.out_dir()}},
                ],
                "retry": {"attempts": 3, "initial": "500ms"},
            }],
        })
    }

    /// Removes a temporary directory.
    pub(super) fn remove(self) -> Result<(), Failure> {
        if self.temporary {
            std::fs::remove_dir_all(&self.path).map_err(|error| {
                Failure::failed(format!("cannot remove {}: {error}", self.path.display()))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_set_is_told_apart_by_its_key() {
        let mut lines = DATA_SET.lines();
        let column = lines.next().unwrap().split(',').position(|name| name == KEY).unwrap();
        let keys: std::collections::HashSet<&str> =
            lines.map(|line| line.split(',').nth(column).unwrap()).collect();
        let home = Home::make(None).unwrap();
        assert_eq!(keys.len(), home.write_data_set().unwrap());
        assert!(keys.len() > 1_000);
        home.remove().unwrap();
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::make(Some(&dir.path().join("new/demo"))).unwrap();
        assert!(home.out_dir().is_dir());
        let again = Home::make(Some(home.path())).err().unwrap();
        assert_eq!(again.exit, super::super::Exit::Usage);
        home.remove().unwrap();
        assert!(dir.path().join("new/demo").exists(), "a directory that was asked for is kept");
    }
}
