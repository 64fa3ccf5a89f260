//! Puts together what the log is sealed with: the store's tree, the key, and the directory outside. A part of composing:
//! paths and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use flexcore_actors::ports::IntegrityStore;
use flexcore_actors::runtime::integrity::IntegrityPorts;

use crate::config::Config;
use crate::integrity::{CheckpointDirectory, KeyFile};

/// The key for checkpoints, below the data directory when no other place is configured.
const KEY_FILE: &str = "integrity.key";
/// Copies of checkpoints, below the data directory when no other place is configured.
const CHECKPOINT_DIR: &str = "checkpoints";

/// Where the key for checkpoints is, and whether it lies beside the store.
pub(crate) fn key_file(config: &Config, data_dir: &Path) -> (PathBuf, bool) {
    place(config.integrity_key_file.as_deref(), data_dir, KEY_FILE)
}

/// Where copies of checkpoints are, and whether they lie beside the store.
pub(super) fn checkpoint_dir(config: &Config, data_dir: &Path) -> (PathBuf, bool) {
    place(config.integrity_checkpoint_dir.as_deref(), data_dir, CHECKPOINT_DIR)
}

/// What the runtime seals with; makes a key when there is none.
pub(super) fn ports(
    config: &Config,
    data_dir: &Path,
    store: Arc<dyn IntegrityStore>,
) -> anyhow::Result<IntegrityPorts> {
    let (path, beside_store) = key_file(config, data_dir);
    let secret = config.cluster.as_ref().map(|cluster| cluster.secret.reveal());
    let signer = KeyFile::open_or_generate(&path, beside_store, secret)
        .context("integrity.key_file cannot be used")?;
    let (path, beside_store) = checkpoint_dir(config, data_dir);
    let outside = CheckpointDirectory::open(&path, beside_store)
        .with_context(|| format!("integrity.checkpoint_dir {} cannot be used", path.display()))?;
    Ok(IntegrityPorts { store, signer: Arc::new(signer), outside: Arc::new(outside) })
}

/// A path of the configuration or its default in the data directory, and whether it lies in there.
fn place(path: Option<&Path>, data_dir: &Path, default: &str) -> (PathBuf, bool) {
    let Some(path) = path else { return (data_dir.join(default), true) };
    // what is not there yet will be made in the nearest directory that is
    let real = |path: &Path| {
        let real =
            |path: &Path| fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path });
        path.ancestors().find_map(|path| real(path).ok())
    };
    let beside_store =
        real(path).zip(real(data_dir)).is_some_and(|(path, data_dir)| path.starts_with(data_dir));
    (path.to_path_buf(), beside_store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_data_directory_is_known_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        fs::create_dir(&data_dir).unwrap();
        std::os::unix::fs::symlink(&data_dir, folder.path().join("link")).unwrap();
        let beside = |path: &str| place(Some(&folder.path().join(path)), &data_dir, "x").1;
        assert!(place(None, &data_dir, "x").1);
        for inside in ["data/key", "data/not/yet/there/key", "link/key"] {
            assert!(beside(inside), "{inside}");
        }
        for outside in ["key", "not/yet/there/key", "database/key"] {
            assert!(!beside(outside), "{outside}");
        }
    }
}
