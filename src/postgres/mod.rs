//! The event store in PostgreSQL: the truth of a cluster. One connection writes, one renews
//! the node's lease, one listens, a pool reads;
//! every wait has a bound. What a batch means is decided inside the database by `flexcore_append` (see `migrations/postgres`), so
//! that its lock is never held across a round trip. Nothing here knows SQLite, and no URL or password is ever part
//! of a message.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{Category, CommandId, Position, StreamId, Version};
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::event_store::{
    AppendOutcome, EventFilter, StoreError, StoredCommand, StreamOrder, Wakeup,
};
use flexcore_actors::ports::head::Head;
use flexcore_actors::ports::{BoxFuture, EventStore};
use tokio::sync::watch;
use tokio_postgres::{Config, NoTls};

use self::cluster::Leases;
use self::listener::Listener;
use self::writer::Writer;
use crate::archive::Checked;
use crate::schema::{self, Migration};

mod archive;
mod archived;
mod cluster;
mod columns;
mod config;
mod error;
mod import;
mod integrity;
mod listener;
mod migrate;
mod read_models;
mod reads;
mod secrets;
mod session;
mod snapshots;
mod subscriptions;
mod tokens;
mod value;
mod writer;

pub use self::archive::{ArchiveReport, ArchiveRequest, ArchivedPartition, Keep};
pub use self::read_models::PostgresReadModels;

/// Reading connections of a node; the next read waits.
const READERS: usize = 8;
/// How long a read waits for a free connection.
const READER_WAIT: Duration = Duration::from_secs(5);

/// An event store in a PostgreSQL database, version 15 or newer.
pub struct PostgresStore {
    config: Config,
    readers: Pool,
    writer: Writer,
    leases: Leases,
    head: Arc<Head>,
    archive_dir: Option<PathBuf>,
    archives: Arc<Checked>,
    _listener: Listener,
}

impl PostgresStore {
    /// Connects by a URL `postgres://user:password@host:port/database` and brings the schema up to date; nodes that
    /// start at the same time take turns.
    ///
    /// # Errors
    /// When the URL is not one, asks for TLS (not supported yet), or as [`PostgresStore::connect_with`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(config::parse(url)?).await
    }

    /// As [`PostgresStore::connect`], with settings that were read before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server cannot be reached; [`StoreError::Failed`] when it refuses, is too
    /// old, or a newer version of FlexCore has migrated the database.
    pub async fn connect_with(config: Config) -> Result<Self, StoreError> {
        let config = config::common(config)?;
        migrate::run(&config).await?;
        Self::over(config).await
    }

    async fn over(config: Config) -> Result<Self, StoreError> {
        let reader = config::reader(&config);
        let head = Arc::new(Head::new(Position(0)));
        let store = Self {
            readers: pool(reader.clone(), READERS)?,
            writer: Writer::new(config::writer(&config)),
            leases: Leases::new(config::leases(&config)),
            head: Arc::clone(&head),
            archive_dir: None,
            archives: Arc::default(),
            _listener: Listener::start(reader, head),
            config,
        };
        store.head.raise(store.head().await?);
        Ok(store)
    }

    /// Connects to read: the server refuses whatever would write, and may itself be a standby. The schema must be that
    /// of this version.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`], and when the schema is another.
    pub async fn connect_to_read(url: &str) -> Result<Self, StoreError> {
        let config = config::read_only(config::parse(url)?)?;
        schema::check_current(&migrate::status(&config).await?)
            .map_err(|unfit| StoreError::Failed { operation: "read the store", source: Box::new(unfit) })?;
        Self::over(config).await
    }

    /// The directory that holds archived events (`archive.dir`); without it, reading them fails and says so.
    #[must_use]
    pub fn with_archive_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self { archive_dir: Some(dir.into()), ..self }
    }

    /// Moves the oldest events to archive files, partition by partition; nodes may be running. What an earlier call
    /// left unfinished is done again.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`]; when a file cannot be written or does not hold what the database does, and then
    /// the partition stays where it is.
    pub async fn archive(url: &str, request: &ArchiveRequest) -> Result<ArchiveReport, StoreError> {
        archive::run(&config::common(config::parse(url)?)?, request).await
    }

    /// The read models in the same database.
    ///
    /// # Errors
    /// When the connections' settings cannot be used.
    pub fn read_models(&self) -> Result<PostgresReadModels, StoreError> {
        PostgresReadModels::new(&self.config)
    }

    /// Brings the database's schema up to date, in turn with nodes that do the same; gives the migrations as they were
    /// before.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn migrate(url: &str) -> Result<Vec<Migration>, StoreError> {
        migrate::run(&config::common(config::parse(url)?)?).await
    }

    /// Lets a role of the server run a node on this database: it may read, call the functions that write, and create or
    /// change nothing. To be repeated after each migration, by the owner of the schema.
    ///
    /// # Errors
    /// When there is no such role, or the caller is not the owner.
    pub async fn grant(url: &str, role: &str) -> Result<(), StoreError> {
        migrate::grant(&config::common(config::parse(url)?)?, role).await
    }

    /// The database's migrations, applied or not. Changes nothing.
    ///
    /// # Errors
    /// When the URL is not one, or the server cannot be reached, refuses or is too old.
    pub async fn migrations(url: &str) -> Result<Vec<Migration>, StoreError> {
        migrate::status(&config::common(config::parse(url)?)?).await
    }

    /// Runs a read, or a write that may be lost, on a connection of the pool. One that gave no answer in time is
    /// closed: the next statement would
    /// wait behind the first.
    async fn read<T>(
        &self,
        operation: &'static str,
        read: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let connection = self.readers.get().await.map_err(|e| no_reader(operation, e))?;
        let patience = config::READ_TIMEOUT + config::ANSWER_GRACE;
        if let Ok(done) = tokio::time::timeout(patience, read(&*connection)).await {
            return done.map_err(|e| error::not_stored(operation, e));
        }
        drop(Object::take(connection));
        Err(StoreError::Unavailable { operation, source: error::too_slow(patience) })
    }
}

fn pool(config: Config, size: usize) -> Result<Pool, StoreError> {
    // a connection is checked by use: one that is closed is not given out, and a read may be repeated
    let manager =
        Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(READER_WAIT))
        .create_timeout(Some(config::CONNECT_TIMEOUT))
        .recycle_timeout(Some(config::CONNECT_TIMEOUT))
        .build()
        .map_err(|source| StoreError::Failed {
            operation: "set up the reading connections",
            source: Box::new(source),
        })
}

fn no_reader(operation: &'static str, error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(e) => error::not_stored(operation, e),
        other => StoreError::Unavailable { operation, source: Box::new(other) },
    }
}

impl EventStore for PostgresStore {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Vec<AppendOutcome>, StoreError>> {
        Box::pin(async move {
            if batch.units().is_empty() {
                return Ok(Vec::new());
            }
            let outcomes = self.writer.append(&batch).await?;
            // readers of this node need not wait for the notification
            self.head.raise_by(&outcomes);
            Ok(outcomes)
        })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        after: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            const OPERATION: &str = "read_stream";
            let found = self
                .read(OPERATION, async move |db| archived::stream(db, stream, after, limit).await)
                .await?;
            let stream = stream.clone();
            self.complete(OPERATION, found, limit, move |file, limit| file.stream(&stream, after, limit))
                .await
        })
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        limit: usize,
        filter: &'a EventFilter,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            const OPERATION: &str = "read_all";
            let found =
                self.read(OPERATION, async move |db| archived::all(db, after, limit, filter).await).await?;
            let filter = filter.clone();
            self.complete(OPERATION, found, limit, move |file, limit| file.all(after, limit, &filter)).await
        })
    }

    fn find_command<'a>(
        &'a self,
        stream: &'a StreamId,
        id: CommandId,
    ) -> BoxFuture<'a, Result<Option<StoredCommand>, StoreError>> {
        Box::pin(self.read("find_command", async move |db| reads::command(db, stream, id).await))
    }

    fn list_streams<'a>(
        &'a self,
        category: Category,
        after: Option<&'a StreamId>,
        order: StreamOrder,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamId>, StoreError>> {
        let list = async move |db: &ClientWrapper| reads::streams(db, category, after, order, limit).await;
        Box::pin(self.read("list_streams", list))
    }

    fn wakeups<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Wakeup>, StoreError>> {
        Box::pin(self.read("wakeups", async move |db| reads::wakeups(db, after, limit).await))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.read("head", reads::head))
    }

    fn head_changes(&self) -> watch::Receiver<Position> {
        self.head.changes()
    }
}
