//! Takes a log from elsewhere into the store's file. It writes rows as they are given: what is right was decided before.

use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::import_store::{ImportPage, ImportState};
use flexcore_actors::ports::{BoxFuture, ImportStore};
use rusqlite::{Connection, Transaction, params};

use super::{SqliteStore, integrity, value};

impl ImportStore for SqliteStore {
    fn import_state(&self) -> BoxFuture<'_, Result<ImportState, StoreError>> {
        Box::pin(self.readers.read("read how far the import is", state))
    }

    fn import(&self, after: Position, page: ImportPage) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.writer.write("import", move |tx| store(tx, after, &page)).await? {
                return Ok(());
            }
            let source = "something else has written to the store meanwhile, or a node has claimed it".into();
            Err(StoreError::Failed { operation: "import", source })
        })
    }
}

fn state(db: &Connection) -> rusqlite::Result<ImportState> {
    let sql = "select next_position - 1, digest, (select max(epoch) > 0 from shard) from log_head";
    db.query_row(sql, [], |row| {
        Ok(ImportState {
            position: Position(value::counter(row, 0)?),
            digest: row.get(1)?,
            claimed: row.get(2)?,
        })
    })
}

/// Stores a page; runs on the writer's thread. False when the store is not as it must be.
fn store(tx: &Transaction<'_>, after: Position, page: &ImportPage) -> rusqlite::Result<bool> {
    let now = state(tx)?;
    if now.claimed || now.position != after {
        return Ok(false);
    }
    let mut insert = tx.prepare_cached(
        "insert into event (position, stream, version, id, kind, schema_version, recorded_at, node, actor, \
         correlation_id, causation_id, payload, payload_hash, leaf_hash) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    for event in &page.events {
        insert.execute(params![
            value::integer(event.position.0),
            event.stream.as_str(),
            value::integer(event.version.0),
            event.id.0.as_bytes(),
            event.kind,
            event.schema_version,
            event.recorded_at.as_microsecond(),
            event.node,
            event.origin.actor,
            event.origin.correlation_id.0.as_bytes(),
            event.origin.causation_id.as_ref().map(uuid::Uuid::as_bytes),
            &event.payload[..],
            event.hashes.payload,
            event.hashes.leaf.0,
        ])?;
    }
    let mut upsert = tx.prepare_cached(
        "insert into stream (name, category, shard, head_version, leaf_hash) values (?1, ?2, ?3, ?4, ?5) \
         on conflict (name) do update set head_version = excluded.head_version, leaf_hash = excluded.leaf_hash",
    )?;
    for end in &page.ends {
        let (name, category) = (end.stream.as_str(), end.stream.category().as_str());
        let version = value::integer(end.version.0);
        upsert.execute(params![name, category, end.stream.shard().0, version, end.leaf.0])?;
    }
    let last = page.events.last().map_or(after, |event| event.position);
    tx.execute(
        "update log_head set next_position = ?1, digest = ?2",
        params![value::integer(last.0 + 1), page.digest],
    )?;
    integrity::store(tx, &page.tiles, &page.checkpoints)?;
    Ok(true)
}
