//! A store without a node: opened to be read, never written. A part of composing: opening and nothing else.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use flexcore_actors::ports::checkpoints::{Signer as _, TrustedKey};
use flexcore_actors::ports::{EventStore, IntegrityStore};

use super::EMBEDDED_STORE;
use super::integrity::{checkpoint_dir, key_file};
use crate::config::Config;
use crate::integrity::{CheckpointDirectory, KeyFile};
use crate::postgres::PostgresStore;
use crate::sqlite::SqliteStore;

/// A store that can only be read.
pub struct AtRest {
    /// The events.
    pub events: Arc<dyn EventStore>,
    /// The records and checkpoints beside them.
    pub integrity: Arc<dyn IntegrityStore>,
}

/// Opens the store that a configuration names. A node may be running on it.
///
/// # Errors
/// When there is none, it cannot be read, or its schema is not that of this version.
pub async fn open(config: &Config) -> anyhow::Result<AtRest> {
    if let Some(url) = &config.database_url {
        let store = PostgresStore::connect_to_read(url.reveal()).await;
        let store = Arc::new(store.context("database.url: the event store cannot be read")?);
        return Ok(AtRest { events: Arc::clone(&store) as _, integrity: store });
    }
    let path = config.data_dir.join(EMBEDDED_STORE);
    if !path.try_exists().unwrap_or(true) {
        bail!("there is no embedded store {}: name another --data-dir, or a --database-url", path.display());
    }
    let open = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || SqliteStore::open_to_read(path))
    };
    let store =
        open.await?.with_context(|| format!("the embedded store {} cannot be read", path.display()))?;
    let store = Arc::new(store);
    Ok(AtRest { events: Arc::clone(&store) as _, integrity: store })
}

/// The public halves of the configured key file, and whether it lies beside the store; none when there is no file.
///
/// # Errors
/// When the file is there and cannot be used.
pub fn trusted(config: &Config) -> anyhow::Result<Option<(Vec<TrustedKey>, bool)>> {
    let (path, beside_store) = key_file(config, &config.data_dir);
    if !path.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    let keys = KeyFile::open(&path, beside_store).context("integrity.key_file cannot be used")?;
    Ok(Some((keys.trusted(), beside_store)))
}

/// The configured directory of checkpoints; none when it is not there.
pub fn checkpoints(config: &Config) -> Option<CheckpointDirectory> {
    let (path, beside_store) = checkpoint_dir(config, &config.data_dir);
    directory(&path, beside_store)
}

/// A directory of checkpoints, if it is there.
pub fn directory(path: &Path, beside_store: bool) -> Option<CheckpointDirectory> {
    path.is_dir().then(|| CheckpointDirectory::existing(path, beside_store))
}
