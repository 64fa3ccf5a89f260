//! Moving old events of the store that a configuration names to files, without a node. Never in here: which events may
//! be moved, or what the files are like.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::Config;
use crate::postgres::{ArchiveReport, ArchiveRequest, Keep, PostgresStore};

/// Archived events, below the data directory when no other place is configured.
const ARCHIVE_DIR: &str = "archive";

/// Where archived events are.
pub(crate) fn dir(config: &Config, data_dir: &Path) -> PathBuf {
    config.archive_dir.clone().unwrap_or_else(|| data_dir.join(ARCHIVE_DIR))
}

/// Archives what may be archived, from the beginning of the log.
///
/// # Errors
/// When the store is an embedded one, cannot be reached, or a file cannot be written or verified.
pub async fn run(config: &Config, keep: Keep) -> anyhow::Result<ArchiveReport> {
    let Some(url) = &config.database_url else {
        bail!("archiving needs a PostgreSQL store: the embedded store keeps all events in its one file")
    };
    let request = ArchiveRequest { keep, dir: dir(config, &config.data_dir) };
    PostgresStore::archive(url.reveal(), &request).await.context("the events cannot be archived")
}
