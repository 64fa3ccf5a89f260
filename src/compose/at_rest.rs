//! A store without a node: opened to be read, never written. A part of composing: opening and nothing else.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use flexcore_actors::ports::checkpoints::{Signer as _, TrustedKey};
use flexcore_actors::ports::{EventStore, ImportStore, IntegrityStore};

use super::integrity::{checkpoint_dir, key_file};
use super::{EMBEDDED_STORE, archiving, locks, make_data_dir};
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
        let store = store.context("database.url: the event store cannot be read")?;
        let store = Arc::new(store.with_archive_dir(archiving::dir(config, &config.data_dir)));
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

/// A store that takes a log from elsewhere; it is made and migrated. No node can use the data directory meanwhile.
pub struct Target {
    /// Where the events go.
    pub store: Arc<dyn ImportStore>,
    _lock: Option<File>,
}

/// Opens the store that a configuration names, to import into it.
///
/// # Errors
/// When a node runs in the data directory, or the store cannot be opened.
pub async fn open_target(config: &Config) -> anyhow::Result<Target> {
    if let Some(url) = &config.database_url {
        let store = PostgresStore::connect(url.reveal()).await;
        let store = store.context("database.url: the event store cannot be opened")?;
        return Ok(Target { store: Arc::new(store), _lock: None });
    }
    let data_dir = make_data_dir(&config.data_dir)?;
    let lock = locks::node(&data_dir)?;
    let path = data_dir.join(EMBEDDED_STORE);
    let open = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || SqliteStore::open(path))
    };
    let store =
        open.await?.with_context(|| format!("the embedded store {} cannot be opened", path.display()))?;
    Ok(Target { store: Arc::new(store), _lock: Some(lock) })
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
