//! The Merkle tree and its checkpoints in the store's file. What is a tree, and whether it is right, is not known here.

use std::ops::Range;
use std::sync::Arc;

use flexcore_actors::domain::ids::{Position, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::domain::integrity::merkle::{Hash, Tile};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::integrity_store::{LogState, Seal, SealOutcome, StoredCheckpoint, StreamEnd};
use flexcore_actors::ports::{BoxFuture, IntegrityStore};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row, Transaction, params};

use super::{SqliteStore, value};

impl IntegrityStore for SqliteStore {
    fn log_state(&self) -> BoxFuture<'_, std::result::Result<LogState, StoreError>> {
        Box::pin(self.readers.read("read the log's state", log_state))
    }

    fn leaves(&self, indexes: Range<u64>) -> BoxFuture<'_, std::result::Result<Vec<Hash>, StoreError>> {
        Box::pin(self.readers.read("read leaf hashes", move |db| leaves(db, indexes)))
    }

    fn tiles(
        &self,
        level: u8,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::result::Result<Vec<Tile>, StoreError>> {
        Box::pin(self.readers.read("read tiles", move |db| tiles(db, level, first, limit)))
    }

    fn tile_roots(
        &self,
        level: u8,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::result::Result<Vec<Hash>, StoreError>> {
        Box::pin(self.readers.read("read roots of tiles", move |db| tile_roots(db, level, first, limit)))
    }

    fn checkpoints(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::result::Result<Vec<StoredCheckpoint>, StoreError>> {
        Box::pin(self.readers.read("read checkpoints", move |db| checkpoints(db, after, limit)))
    }

    fn stream_ends<'a>(
        &'a self,
        after: Option<&'a StreamId>,
        limit: usize,
    ) -> BoxFuture<'a, std::result::Result<Vec<StreamEnd>, StoreError>> {
        let after = after.cloned();
        let read = move |db: &Connection| stream_ends(db, after.as_ref(), limit);
        Box::pin(self.readers.read("read the records of streams", read))
    }

    fn seal(&self, seal: Arc<Seal>) -> BoxFuture<'_, std::result::Result<SealOutcome, StoreError>> {
        Box::pin(self.writer.write("seal", move |tx| seal_on_top(tx, &seal)))
    }
}

/// Stores a seal; runs on the writer's thread, in its transaction.
fn seal_on_top(tx: &Transaction<'_>, seal: &Seal) -> Result<SealOutcome> {
    let latest =
        tx.query_row("select coalesce(max(size), 0) from checkpoint", [], |row| value::counter(row, 0))?;
    if latest != seal.previous {
        return Ok(SealOutcome::Behind);
    }
    store(tx, &seal.tiles, std::slice::from_ref(&seal.checkpoint))?;
    Ok(SealOutcome::Sealed)
}

/// Stores tiles and checkpoints as they are given.
pub(super) fn store(tx: &Transaction<'_>, tiles: &[Tile], checkpoints: &[StoredCheckpoint]) -> Result<()> {
    let mut tile = tx.prepare_cached(
        "insert into merkle_tile (level, tile_index, root, hashes) values (?1, ?2, ?3, ?4)",
    )?;
    for complete in tiles {
        let (index, hashes) = (value::integer(complete.index), complete.hashes.as_flattened());
        tile.execute(params![complete.level, index, complete.root(), hashes])?;
    }
    let mut checkpoint =
        tx.prepare_cached("insert into checkpoint (size, root, note, sealed_at) values (?1, ?2, ?3, ?4)")?;
    for StoredCheckpoint { size, root, note, sealed_at } in checkpoints {
        checkpoint.execute(params![value::integer(*size), root, note, sealed_at.as_microsecond()])?;
    }
    Ok(())
}

fn log_state(db: &Connection) -> Result<LogState> {
    // one statement, so that both are seen at one moment
    let mut statement = db.prepare_cached(
        "select h.next_position - 1, h.digest, c.size, c.root, c.note, c.sealed_at from log_head h \
         left join checkpoint c on c.size = (select max(size) from checkpoint)",
    )?;
    statement.query_row([], |row| {
        let sealed = row.get::<_, Option<i64>>(2)?.map(|_| checkpoint(row, 2)).transpose()?;
        Ok(LogState { position: Position(value::counter(row, 0)?), digest: row.get(1)?, sealed })
    })
}

fn stream_ends(db: &Connection, after: Option<&StreamId>, limit: usize) -> Result<Vec<StreamEnd>> {
    let mut statement = db.prepare_cached(
        "select name, head_version, leaf_hash from stream where name > ?1 order by name limit ?2",
    )?;
    let after = after.map_or("", StreamId::as_str);
    let end = |row: &Row<'_>| {
        Ok(StreamEnd {
            stream: value::stream(row, 0)?,
            version: Version(value::counter(row, 1)?),
            leaf: LeafHash(row.get(2)?),
        })
    };
    statement.query_map(params![after, value::rows(limit)], end)?.collect()
}

fn leaves(db: &Connection, indexes: Range<u64>) -> Result<Vec<Hash>> {
    let mut statement = db.prepare_cached(
        "select leaf_hash from event where position > ?1 and position <= ?2 order by position",
    )?;
    let bounds = params![value::integer(indexes.start), value::integer(indexes.end)];
    statement.query_map(bounds, |row| row.get(0))?.collect()
}

fn tiles(db: &Connection, level: u8, first: u64, limit: usize) -> Result<Vec<Tile>> {
    let mut statement = db.prepare_cached(
        "select tile_index, hashes from merkle_tile where level = ?1 and tile_index >= ?2 \
         order by tile_index limit ?3",
    )?;
    let tile = |row: &Row<'_>| {
        let hashes = row.get_ref(1)?.as_blob()?;
        let (hashes, rest) = hashes.as_chunks::<32>();
        if !rest.is_empty() {
            let wrong = "not a whole number of hashes";
            return Err(Error::FromSqlConversionFailure(1, Type::Blob, wrong.into()));
        }
        Ok(Tile { level, index: value::counter(row, 0)?, hashes: hashes.to_vec() })
    };
    statement.query_map(params![level, value::integer(first), value::rows(limit)], tile)?.collect()
}

fn tile_roots(db: &Connection, level: u8, first: u64, limit: usize) -> Result<Vec<Hash>> {
    let mut statement = db.prepare_cached(
        "select root from merkle_tile where level = ?1 and tile_index >= ?2 order by tile_index limit ?3",
    )?;
    let bounds = params![level, value::integer(first), value::rows(limit)];
    statement.query_map(bounds, |row| row.get(0))?.collect()
}

fn checkpoints(db: &Connection, after: u64, limit: usize) -> Result<Vec<StoredCheckpoint>> {
    let mut statement = db.prepare_cached(
        "select size, root, note, sealed_at from checkpoint where size > ?1 order by size limit ?2",
    )?;
    let bounds = params![value::integer(after), value::rows(limit)];
    statement.query_map(bounds, |row| checkpoint(row, 0))?.collect()
}

fn checkpoint(row: &Row<'_>, first: usize) -> Result<StoredCheckpoint> {
    Ok(StoredCheckpoint {
        size: value::counter(row, first)?,
        root: row.get(first + 1)?,
        note: row.get(first + 2)?,
        sealed_at: value::time(row, first + 3)?,
    })
}
