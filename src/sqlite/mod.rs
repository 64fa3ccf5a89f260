//! The event store of a single node, in one SQLite file: the embedded default. One writer thread commits batches,
//! a few read-only connections read. Who may open the file at all (the lock of the data directory) is not decided
//! here, and nothing here knows PostgreSQL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{Category, CommandId, Position, StreamId, Version};
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::event_store::{
    AppendOutcome, EventFilter, StoreError, StoredCommand, StreamOrder, Wakeup,
};
use flexcore_actors::ports::head::Head;
use flexcore_actors::ports::{BoxFuture, EventStore};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::watch;

use self::cluster::Members;
use self::readers::Readers;
use self::snapshots::SnapshotWriter;
use self::writer::Writer;
use crate::schema::{self, Migration};

mod append;
mod beside;
mod cluster;
mod error;
mod import;
mod integrity;
mod migrate;
mod read_models;
mod readers;
mod reads;
mod secrets;
mod snapshots;
mod subscriptions;
mod tokens;
mod value;
mod writer;

pub use self::beside::SqliteBeside;
pub use self::read_models::SqliteReadModels;

const OPEN: &str = "open the store's file";

/// How long a connection waits for a lock of another program (a backup, `sqlite3` on the command line).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this size (bytes) after a checkpoint.
const WAL_KEPT: u32 = 64 << 20;
/// Statements kept prepared on a connection; there are fewer.
const PREPARED: usize = 32;

/// An event store in a SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    // the others are closed first, so that the writer's close ends the write-ahead log
    readers: Readers,
    snapshots: SnapshotWriter,
    writer: Writer,
    head: Arc<Head>,
    members: Members,
}

impl SqliteStore {
    /// Opens the file, creates it when it is not there, and brings its schema up to date. Blocks: it is for the
    /// start of a node.
    ///
    /// # Errors
    /// When the folder does not exist or may not be written, the file is not a database or another program holds
    /// it, or a newer version of FlexCore has migrated it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let mut connection = open_writable(path).map_err(|e| error::not_stored(OPEN, e))?;
        migrate::run(&mut connection)?;
        Self::over(path, connection)
    }

    fn over(path: &Path, connection: Connection) -> Result<Self, StoreError> {
        let last = reads::head(&connection).map_err(|e| error::not_stored("read the log's head", e))?;
        let head = Arc::new(Head::new(last));
        let epochs = cluster::epochs(&connection).map_err(|e| error::not_stored("read the shards", e))?;
        let writer = Writer::start(connection, Arc::clone(&head)).map_err(|source| StoreError::Failed {
            operation: "start the store's writer",
            source: Box::new(source),
        })?;
        let (readers, snapshots) = (Readers::new(path), SnapshotWriter::new(path));
        Ok(Self { path: path.to_owned(), readers, snapshots, writer, head, members: Members::new(&epochs) })
    }

    /// Opens the file to be read: whatever would write fails. Its schema must be that of this version. Blocks.
    ///
    /// # Errors
    /// When the file is not there or cannot be read, or its schema is another.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let connection = open_readable(path).map_err(|e| error::not_stored(OPEN, e))?;
        schema::check_current(&migrate::status(&connection)?)
            .map_err(|unfit| StoreError::Failed { operation: OPEN, source: Box::new(unfit) })?;
        Self::over(path, connection)
    }

    /// Opens the file to be written beside a running node, which has migrated it: its schema must be that of this version.
    /// The node hears of what is stored here when it looks. Blocks.
    ///
    /// # Errors
    /// When the file is not there or cannot be written, or its schema is another.
    pub fn open_beside(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        // not there, it must not be made
        let connection = open_readable(path).map_err(|e| error::not_stored(OPEN, e))?;
        schema::check_current(&migrate::status(&connection)?)
            .map_err(|unfit| StoreError::Failed { operation: OPEN, source: Box::new(unfit) })?;
        Self::over(path, open_writable(path).map_err(|e| error::not_stored(OPEN, e))?)
    }

    /// Brings the file's schema up to date, and creates the file when it is not there; gives the migrations as they
    /// were before. Blocks. The caller holds the lock of the data directory.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn migrate(path: impl AsRef<Path>) -> Result<Vec<Migration>, StoreError> {
        let mut connection = open_writable(path.as_ref()).map_err(|e| error::not_stored(OPEN, e))?;
        migrate::run(&mut connection)
    }

    /// The file's migrations, applied or not; a file that is not there has none. Blocks, and changes nothing.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn migrations(path: impl AsRef<Path>) -> Result<Vec<Migration>, StoreError> {
        let path = path.as_ref();
        if !path.try_exists().map_err(|e| StoreError::Failed { operation: OPEN, source: Box::new(e) })? {
            return Ok(migrate::status_of_nothing());
        }
        migrate::status(&open_readable(path).map_err(|e| error::not_stored(OPEN, e))?)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn open_writable(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    // a deferred transaction that later writes meets "database is locked" at once, without waiting
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection.pragma_update(None, "journal_mode", "wal")?;
    // S6: an acknowledged commit survives the loss of power
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
    Ok(connection)
}

fn open_readable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    Ok(connection)
}

impl EventStore for SqliteStore {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Vec<AppendOutcome>, StoreError>> {
        Box::pin(async move {
            if batch.units().is_empty() { Ok(Vec::new()) } else { self.writer.append(batch).await }
        })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        after: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        let stream = stream.clone();
        Box::pin(self.readers.read("read_stream", move |db| reads::stream(db, &stream, after, limit)))
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        limit: usize,
        filter: &'a EventFilter,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        let filter = filter.clone();
        Box::pin(self.readers.read("read_all", move |db| reads::all(db, after, limit, &filter)))
    }

    fn find_command<'a>(
        &'a self,
        stream: &'a StreamId,
        id: CommandId,
    ) -> BoxFuture<'a, Result<Option<StoredCommand>, StoreError>> {
        let stream = stream.clone();
        Box::pin(self.readers.read("find_command", move |db| reads::command(db, &stream, id)))
    }

    fn list_streams<'a>(
        &'a self,
        category: Category,
        after: Option<&'a StreamId>,
        order: StreamOrder,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamId>, StoreError>> {
        let after = after.cloned();
        let list = move |db: &Connection| reads::streams(db, category, after.as_ref(), order, limit);
        Box::pin(self.readers.read("list_streams", list))
    }

    fn wakeups<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Wakeup>, StoreError>> {
        let after = after.cloned();
        Box::pin(self.readers.read("wakeups", move |db| reads::wakeups(db, after.as_ref(), limit)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.readers.read("head", reads::head))
    }

    fn head_changes(&self) -> watch::Receiver<Position> {
        self.head.changes()
    }
}
