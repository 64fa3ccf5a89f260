//! The Merkle tree and its checkpoints in PostgreSQL. A seal is one call of `flexcore_seal` on a connection of the pool: it
//! never waits behind appends, nor they behind it. What is a tree, and whether it is right, is not known here.

use std::ops::Range;
use std::sync::Arc;

use deadpool_postgres::{ClientWrapper, Object};
use flexcore_actors::domain::ids::{Position, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::domain::integrity::merkle::{Hash, Tile};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::integrity_store::{LogState, Seal, SealOutcome, StoredCheckpoint, StreamEnd};
use flexcore_actors::ports::{BoxFuture, IntegrityStore};
use tokio_postgres::{Error, Row};

use super::{PostgresStore, archived, config, error, no_reader, value};

/// Read by [`checkpoint`].
const CHECKPOINT: &str = "size, root, note, sealed_at";

impl IntegrityStore for PostgresStore {
    fn log_state(&self) -> BoxFuture<'_, Result<LogState, StoreError>> {
        Box::pin(self.read("read the log's state", log_state))
    }

    fn leaves(&self, indexes: Range<u64>) -> BoxFuture<'_, Result<Vec<Hash>, StoreError>> {
        Box::pin(async move {
            const OPERATION: &str = "read leaf hashes";
            let wanted = indexes.clone();
            let (stored, files) = self
                .read(OPERATION, async move |db| {
                    let stored = leaves(db, wanted.clone()).await?;
                    let missing = (stored.len() as u64) < wanted.end.saturating_sub(wanted.start);
                    let after = Position(wanted.start);
                    Ok((stored, if missing { archived::files(db, after).await? } else { Vec::new() }))
                })
                .await?;
            self.complete_leaves(OPERATION, indexes, stored, files).await
        })
    }

    fn tiles(&self, level: u8, first: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Tile>, StoreError>> {
        Box::pin(self.read("read tiles", async move |db| tiles(db, level, first, limit).await))
    }

    fn tile_roots(
        &self,
        level: u8,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Hash>, StoreError>> {
        Box::pin(self.read("read roots of tiles", async move |db| tile_roots(db, level, first, limit).await))
    }

    fn checkpoints(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredCheckpoint>, StoreError>> {
        Box::pin(self.read("read checkpoints", async move |db| checkpoints(db, after, limit).await))
    }

    fn stream_ends<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEnd>, StoreError>> {
        let read = async move |db: &ClientWrapper| stream_ends(db, after, limit).await;
        Box::pin(self.read("read the records of streams", read))
    }

    fn seal(&self, seal: Arc<Seal>) -> BoxFuture<'_, Result<SealOutcome, StoreError>> {
        Box::pin(async move {
            const OPERATION: &str = "seal";
            let connection = self.readers.get().await.map_err(|e| no_reader(OPERATION, e))?;
            let patience = config::READ_TIMEOUT + config::ANSWER_GRACE;
            if let Ok(done) = tokio::time::timeout(patience, store(&connection, &seal)).await {
                return done.map_err(|e| error::after_sending(OPERATION, e));
            }
            drop(Object::take(connection));
            Err(StoreError::Unknown { operation: OPERATION, source: error::too_slow(patience) })
        })
    }
}

async fn store(db: &ClientWrapper, seal: &Seal) -> Result<SealOutcome, Error> {
    let statement = db.prepare_cached("select flexcore_seal($1, $2, $3, $4, $5, $6, $7, $8, $9)").await?;
    let levels: Vec<i16> = seal.tiles.iter().map(|tile| tile.level.into()).collect();
    let indexes: Vec<i64> = seal.tiles.iter().map(|tile| value::integer(tile.index)).collect();
    let roots: Vec<Hash> = seal.tiles.iter().map(Tile::root).collect();
    let roots: Vec<&[u8]> = roots.iter().map(|root| &root[..]).collect();
    let hashes: Vec<&[u8]> = seal.tiles.iter().map(|tile| tile.hashes.as_flattened()).collect();
    let StoredCheckpoint { size, root, note, sealed_at } = &seal.checkpoint;
    let (previous, size, sealed_at) =
        (value::integer(seal.previous), value::integer(*size), value::time(*sealed_at));
    let root = &root[..];
    let row = db
        .query_one(
            &statement,
            &[&previous, &size, &root, note, &sealed_at, &levels, &indexes, &roots, &hashes],
        )
        .await?;
    Ok(if row.try_get::<_, bool>(0)? { SealOutcome::Sealed } else { SealOutcome::Behind })
}

async fn log_state(db: &ClientWrapper) -> Result<LogState, Error> {
    // one statement, so that both are seen at one moment
    let sql = format!(
        "select h.next_position - 1 as position, h.digest, c.{} from log_head h \
         left join checkpoint c on c.size = (select max(size) from checkpoint)",
        CHECKPOINT.replace(", ", ", c.")
    );
    let statement = db.prepare_cached(&sql).await?;
    let row = db.query_one(&statement, &[]).await?;
    let digest = match row.try_get::<_, Option<&[u8]>>("digest")? {
        Some(_) => Some(value::digest(&row, "digest")?),
        None => None,
    };
    let sealed = match row.try_get::<_, Option<i64>>("size")? {
        Some(_) => Some(checkpoint(&row)?),
        None => None,
    };
    Ok(LogState { position: Position(value::counter(&row, "position")?), digest, sealed })
}

async fn stream_ends(
    db: &ClientWrapper,
    after: Option<&StreamId>,
    limit: usize,
) -> Result<Vec<StreamEnd>, Error> {
    let sql = "select name, head_version, leaf_hash from stream where name > $1 order by name limit $2";
    let statement = db.prepare_cached(sql).await?;
    let after = after.map_or("", StreamId::as_str);
    let end = |row: &Row| {
        Ok(StreamEnd {
            stream: value::stream(row, "name")?,
            version: Version(value::counter(row, "head_version")?),
            leaf: LeafHash(value::digest(row, "leaf_hash")?),
        })
    };
    db.query(&statement, &[&after, &value::rows(limit)]).await?.iter().map(end).collect()
}

async fn leaves(db: &ClientWrapper, indexes: Range<u64>) -> Result<Vec<Hash>, Error> {
    let sql = "select leaf_hash from event where position > $1 and position <= $2 order by position";
    let statement = db.prepare_cached(sql).await?;
    let bounds = [value::integer(indexes.start), value::integer(indexes.end)];
    let rows = db.query(&statement, &[&bounds[0], &bounds[1]]).await?;
    rows.iter().map(|row| value::digest(row, "leaf_hash")).collect()
}

async fn tiles(db: &ClientWrapper, level: u8, first: u64, limit: usize) -> Result<Vec<Tile>, Error> {
    let sql = "select tile_index, hashes from merkle_tile where level = $1 and tile_index >= $2 \
               order by tile_index limit $3";
    let statement = db.prepare_cached(sql).await?;
    let rows =
        db.query(&statement, &[&i16::from(level), &value::integer(first), &value::rows(limit)]).await?;
    let tile = |row: &Row| {
        let (index, hashes) = (value::counter(row, "tile_index")?, value::digests(row, "hashes")?);
        Ok(Tile { level, index, hashes })
    };
    rows.iter().map(tile).collect()
}

async fn tile_roots(db: &ClientWrapper, level: u8, first: u64, limit: usize) -> Result<Vec<Hash>, Error> {
    let sql =
        "select root from merkle_tile where level = $1 and tile_index >= $2 order by tile_index limit $3";
    let statement = db.prepare_cached(sql).await?;
    let rows =
        db.query(&statement, &[&i16::from(level), &value::integer(first), &value::rows(limit)]).await?;
    rows.iter().map(|row| value::digest(row, "root")).collect()
}

async fn checkpoints(db: &ClientWrapper, after: u64, limit: usize) -> Result<Vec<StoredCheckpoint>, Error> {
    let sql = format!("select {CHECKPOINT} from checkpoint where size > $1 order by size limit $2");
    let statement = db.prepare_cached(&sql).await?;
    let rows = db.query(&statement, &[&value::integer(after), &value::rows(limit)]).await?;
    rows.iter().map(checkpoint).collect()
}

fn checkpoint(row: &Row) -> Result<StoredCheckpoint, Error> {
    Ok(StoredCheckpoint {
        size: value::counter(row, "size")?,
        root: value::digest(row, "root")?,
        note: row.try_get("note")?,
        sealed_at: row.try_get("sealed_at")?,
    })
}
