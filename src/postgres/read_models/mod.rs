//! Read models in the same database as the events, on connections of their own: projecting and listing take nothing
//! from the pool that aggregates recover by, and their settings suit them. Each change is one statement of its own
//! transaction. What is in the tables can be derived again, so commits do not wait for the disk.

mod statements;

use deadpool_postgres::{ClientWrapper, Object, Pool};
use flexcore_actors::domain::ids::Position;
use flexcore_actors::domain::projection::{Row, View};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::read_models::{
    Advance, Advanced, Generation, LeftOut, Projected, RowPage, RowQuery,
};
use flexcore_actors::ports::{BoxFuture, ReadModels};
use tokio_postgres::Config;

use super::{config, error, no_reader, pool};

/// Connections that lists are read on; the next list waits.
const LISTS: usize = 4;
/// Connections that projectors write on. More would only take the database from those who append.
const PROJECTORS: usize = 2;

/// Read models in a PostgreSQL database whose schema is up to date.
pub struct PostgresReadModels {
    lists: Pool,
    projectors: Pool,
}

impl PostgresReadModels {
    /// On the database of these settings; connects when it is first needed.
    pub(super) fn new(config: &Config) -> Result<Self, StoreError> {
        Ok(Self {
            lists: pool(config::lists(config), LISTS)?,
            projectors: pool(config::projector(config), PROJECTORS)?,
        })
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        read: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        on(&self.lists, operation, read).await?.map_err(|e| error::not_stored(operation, e))
    }

    async fn write<T>(
        &self,
        operation: &'static str,
        write: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        on(&self.projectors, operation, write).await?.map_err(|e| error::after_sending(operation, e))
    }
}

/// Runs a statement on a connection of the pool. One that gave no answer in time is closed: the next statement would
/// wait behind the first.
async fn on<T>(
    pool: &Pool,
    operation: &'static str,
    work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
) -> Result<Result<T, tokio_postgres::Error>, StoreError> {
    let connection = pool.get().await.map_err(|e| no_reader(operation, e))?;
    let patience = config::READ_TIMEOUT + config::ANSWER_GRACE;
    if let Ok(done) = tokio::time::timeout(patience, work(&*connection)).await {
        return Ok(done);
    }
    drop(Object::take(connection));
    Err(StoreError::Unknown { operation, source: error::too_slow(patience) })
}

impl ReadModels for PostgresReadModels {
    fn open(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        Box::pin(self.write("open a read model", async move |db| statements::open(db, view, shape).await))
    }

    fn projections(&self) -> BoxFuture<'_, Result<Vec<Projected>, StoreError>> {
        Box::pin(self.read("list the read models", statements::projections))
    }

    fn load<'a>(
        &'a self,
        view: View,
        generation: Generation,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        let load = async move |db: &ClientWrapper| statements::load(db, view, generation, keys).await;
        Box::pin(self.write("load rows of a read model", load))
    }

    fn advance<'a>(&'a self, advance: &'a Advance) -> BoxFuture<'a, Result<Advanced, StoreError>> {
        let store = async move |db: &ClientWrapper| statements::advance(db, advance).await;
        Box::pin(self.write("advance a read model", store))
    }

    fn begin_rebuild(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        let begin = async move |db: &ClientWrapper| statements::begin_rebuild(db, view, shape).await;
        Box::pin(self.write("begin to rebuild a read model", begin))
    }

    fn reset(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        Box::pin(self.write("reset a read model", async move |db| statements::reset(db, view, shape).await))
    }

    fn swap(&self, view: View, generation: Generation) -> BoxFuture<'_, Result<Advanced, StoreError>> {
        let swap = async move |db: &ClientWrapper| statements::swap(db, view, generation).await;
        Box::pin(self.write("swap a read model", swap))
    }

    fn sweep(&self, view: View, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(self.write("sweep a read model", async move |db| statements::sweep(db, view, limit).await))
    }

    fn parked(
        &self,
        view: View,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LeftOut>, StoreError>> {
        let parked = async move |db: &ClientWrapper| statements::parked(db, view, after, limit).await;
        Box::pin(self.read("list what a read model leaves out", parked))
    }

    fn list<'a>(&'a self, query: &'a RowQuery) -> BoxFuture<'a, Result<RowPage, StoreError>> {
        Box::pin(self.read("list a read model", async move |db| statements::list(db, query).await))
    }

    fn find<'a>(&'a self, view: View, key: &'a str) -> BoxFuture<'a, Result<Option<Row>, StoreError>> {
        let find = async move |db: &ClientWrapper| statements::find(db, view, key).await;
        Box::pin(self.read("find a row of a read model", find))
    }
}
