//! What lies beside the events in the store's file: secrets and tokens. They are few and seldom change: each change has a
//! connection of its own, so that a command of the command line can make it beside a running node.

use std::path::{Path, PathBuf};

use flexcore_actors::ports::event_store::StoreError;
use rusqlite::{Params, Result};

use super::readers::Readers;
use super::{error, migrate, open_readable, open_writable};
use crate::schema;

/// The secrets and tokens of a SQLite file.
pub struct SqliteBeside {
    path: PathBuf,
    pub(super) readers: Readers,
}

impl SqliteBeside {
    /// Those of a store's file; a node may be running on it. Blocks.
    ///
    /// # Errors
    /// When the file is not there or cannot be read, or its schema is not that of this version.
    pub fn open(path: impl AsRef<Path>) -> std::result::Result<Self, StoreError> {
        const OPERATION: &str = "open the store's file";
        let path = path.as_ref();
        let connection = open_readable(path).map_err(|e| error::not_stored(OPERATION, e))?;
        schema::check_current(&migrate::status(&connection)?)
            .map_err(|unfit| StoreError::Failed { operation: OPERATION, source: Box::new(unfit) })?;
        Ok(Self { path: path.to_owned(), readers: Readers::new(path) })
    }

    /// Carries out one statement; whether it changed a row.
    pub(super) async fn write(
        &self,
        operation: &'static str,
        sql: &'static str,
        values: impl Params + Send + 'static,
    ) -> std::result::Result<bool, StoreError> {
        let path = self.path.clone();
        let write = move || -> Result<bool> { Ok(open_writable(&path)?.execute(sql, values)? > 0) };
        match tokio::task::spawn_blocking(write).await {
            Ok(done) => done.map_err(|e| error::at_commit(operation, e)),
            Err(_) => Err(error::gone(operation, "store's writer")),
        }
    }
}
