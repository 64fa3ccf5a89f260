//! The migrations of the store that a configuration names, without a node. Never in here: what they change.

use std::path::Path;

use anyhow::{Context, bail};

use super::{EMBEDDED_STORE, locks, make_data_dir};
use crate::config::Config;
use crate::postgres::PostgresStore;
use crate::schema::Migration;
use crate::sqlite::SqliteStore;

const NO_DATABASE: &str = "database.url: the event store cannot be opened";

/// Applies what is pending, as the start of a node does; gives the migrations as they were before.
///
/// # Errors
/// When a node runs in the data directory, the store cannot be reached, or its history speaks against it
/// ([`crate::schema::Unfit`]).
pub async fn apply(config: &Config) -> anyhow::Result<Vec<Migration>> {
    if let Some(url) = &config.database_url {
        return PostgresStore::migrate(url.reveal()).await.context(NO_DATABASE);
    }
    let data_dir = make_data_dir(&config.data_dir)?;
    let _lock = locks::node(&data_dir)?;
    embedded(&data_dir, |path| SqliteStore::migrate(path)).await
}

/// The migrations, applied or not. Changes nothing, and a node may be running.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(config: &Config) -> anyhow::Result<Vec<Migration>> {
    if let Some(url) = &config.database_url {
        return PostgresStore::migrations(url.reveal()).await.context(NO_DATABASE);
    }
    embedded(&config.data_dir, |path| SqliteStore::migrations(path)).await
}

/// Lets a role of the database's server run a node, and nothing more.
///
/// # Errors
/// When there is no such role, or the store is no PostgreSQL database of which the caller is the owner.
pub async fn grant(config: &Config, role: &str) -> anyhow::Result<()> {
    let Some(url) = &config.database_url else {
        bail!("the embedded store knows no roles: name a PostgreSQL database with --database-url")
    };
    PostgresStore::grant(url.reveal(), role).await.context(NO_DATABASE)
}

/// Runs what blocks on a thread for it.
async fn embedded(
    data_dir: &Path,
    work: fn(&Path) -> Result<Vec<Migration>, flexcore_actors::ports::event_store::StoreError>,
) -> anyhow::Result<Vec<Migration>> {
    let path = data_dir.join(EMBEDDED_STORE);
    let done = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || work(&path))
    };
    done.await?.with_context(|| format!("the embedded store {} cannot be opened", path.display()))
}
