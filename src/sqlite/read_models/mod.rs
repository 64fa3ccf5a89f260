//! Read models in a SQLite file of their own beside the event store's, so that projecting never waits for the writer of
//! events nor holds it up. What is in it can be derived again: commits need not survive a loss of power
//! (`synchronous=normal`; the file stays whole), and a file that cannot be read is replaced by an empty one.

mod statements;

use std::path::Path;
use std::sync::{Arc, Mutex};

use flexcore_actors::domain::ids::Position;
use flexcore_actors::domain::projection::{Row, View};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::read_models::{
    Advance, Advanced, Generation, LeftOut, Projected, RowPage, RowQuery,
};
use flexcore_actors::ports::{BoxFuture, ReadModels};
use rusqlite::{Connection, Transaction};

use super::readers::Readers;
use super::{error, open_writable};

mod migrations {
    //! The statements of `migrations/sqlite_read_models`, embedded.
    refinery::embed_migrations!("migrations/sqlite_read_models");
}

/// Read models in a SQLite file.
pub struct SqliteReadModels {
    // the readers are closed first, so that the writer's close ends the write-ahead log
    readers: Readers,
    writer: Arc<Mutex<Connection>>,
}

impl SqliteReadModels {
    /// Opens the file, creates it when it is not there. Blocks: it is for the start of a node.
    ///
    /// # Errors
    /// When the folder does not exist or may not be written, or another program holds the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let writer = match migrated(path) {
            Err(error) if !error.retryable() && path.exists() => {
                let reason = &error as &dyn std::error::Error;
                tracing::warn!(error = reason, path = %path.display(), "read models are begun anew");
                discard(path)?;
                migrated(path)?
            }
            opened => opened?,
        };
        Ok(Self { readers: Readers::new(path), writer: Arc::new(Mutex::new(writer)) })
    }

    /// Runs one transaction on a blocking thread; others wait for it.
    async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let writer = Arc::clone(&self.writer);
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let before = |e| error::not_stored(operation, e);
            let transaction = connection.transaction().map_err(before)?;
            let value = work(&transaction).map_err(before)?;
            transaction.commit().map_err(|e| error::at_commit(operation, e))?;
            Ok(value)
        });
        done.await.unwrap_or_else(|_| Err(error::gone(operation, "writer of the read models")))
    }
}

fn migrated(path: &Path) -> Result<Connection, StoreError> {
    const OPERATION: &str = "open the file of the read models";
    let mut connection = open_writable(path).map_err(|e| error::not_stored(OPERATION, e))?;
    connection.pragma_update(None, "synchronous", "normal").map_err(|e| error::not_stored(OPERATION, e))?;
    migrations::migrations::runner().run(&mut connection).map_err(|source| StoreError::Failed {
        operation: "migrate the file of the read models",
        source: Box::new(source),
    })?;
    Ok(connection)
}

/// Removes the file and what SQLite keeps beside it.
fn discard(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Failed {
                    operation: "remove the unreadable file of the read models",
                    source: Box::new(error),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

impl ReadModels for SqliteReadModels {
    fn open(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        Box::pin(self.write("open a read model", move |tx| statements::open(tx, view, shape)))
    }

    fn projections(&self) -> BoxFuture<'_, Result<Vec<Projected>, StoreError>> {
        Box::pin(self.readers.read("list the read models", statements::projections))
    }

    fn load<'a>(
        &'a self,
        view: View,
        generation: Generation,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        let keys = keys.to_vec();
        let load = move |db: &Connection| statements::load(db, view, generation, &keys);
        Box::pin(self.readers.read("load rows of a read model", load))
    }

    fn advance<'a>(&'a self, advance: &'a Advance) -> BoxFuture<'a, Result<Advanced, StoreError>> {
        let advance = advance.clone();
        Box::pin(self.write("advance a read model", move |tx| statements::advance(tx, &advance)))
    }

    fn begin_rebuild(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        let begin = move |tx: &Transaction<'_>| statements::begin_rebuild(tx, view, shape);
        Box::pin(self.write("begin to rebuild a read model", begin))
    }

    fn reset(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        Box::pin(self.write("reset a read model", move |tx| statements::reset(tx, view, shape)))
    }

    fn swap(&self, view: View, generation: Generation) -> BoxFuture<'_, Result<Advanced, StoreError>> {
        Box::pin(self.write("swap a read model", move |tx| statements::swap(tx, view, generation)))
    }

    fn sweep(&self, view: View, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(self.write("sweep a read model", move |tx| statements::sweep(tx, view, limit)))
    }

    fn parked(
        &self,
        view: View,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LeftOut>, StoreError>> {
        let parked = move |db: &Connection| statements::parked(db, view, after, limit);
        Box::pin(self.readers.read("list what a read model leaves out", parked))
    }

    fn list<'a>(&'a self, query: &'a RowQuery) -> BoxFuture<'a, Result<RowPage, StoreError>> {
        let query = query.clone();
        Box::pin(self.readers.read("list a read model", move |db| statements::list(db, &query)))
    }

    fn find<'a>(&'a self, view: View, key: &'a str) -> BoxFuture<'a, Result<Option<Row>, StoreError>> {
        let key = key.to_owned();
        Box::pin(self.readers.read("find a row of a read model", move |db| statements::find(db, view, &key)))
    }
}
