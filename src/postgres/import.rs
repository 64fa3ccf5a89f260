//! Takes a log from elsewhere into the database. It writes rows as they are given, by statements of its own: importing is
//! the owner's, and no function of the schema does it. What is right was decided before.

use deadpool_postgres::{ClientWrapper, Object};
use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::import_store::{ImportPage, ImportState};
use flexcore_actors::ports::{BoxFuture, ImportStore};
use jiff::Timestamp;
use tokio_postgres::{Error, GenericClient, Row};
use uuid::Uuid;

use super::{PostgresStore, config, error, no_reader, value};

/// For update, so that nobody appends or claims meanwhile.
const STATE: &str = "select next_position - 1 as position, digest, (select max(epoch) > 0 from shard) as claimed from log_head";

impl ImportStore for PostgresStore {
    fn import_state(&self) -> BoxFuture<'_, Result<ImportState, StoreError>> {
        Box::pin(self.read("read how far the import is", async |db| state(&db.query_one(STATE, &[]).await?)))
    }

    fn import(&self, after: Position, page: ImportPage) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            const OPERATION: &str = "import";
            let mut connection = self.readers.get().await.map_err(|e| no_reader(OPERATION, e))?;
            let patience = config::READ_TIMEOUT + config::ANSWER_GRACE;
            let stored = tokio::time::timeout(patience, store(&mut connection, after, &page)).await;
            let source = match stored {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => {
                    "something else has written to the store meanwhile, or a node has claimed it".into()
                }
                Ok(Err(error)) => return Err(error::after_sending(OPERATION, error)),
                Err(_) => {
                    drop(Object::take(connection));
                    return Err(StoreError::Unknown {
                        operation: OPERATION,
                        source: error::too_slow(patience),
                    });
                }
            };
            Err(StoreError::Failed { operation: OPERATION, source })
        })
    }
}

fn state(row: &Row) -> Result<ImportState, Error> {
    let digest = match row.try_get::<_, Option<&[u8]>>("digest")? {
        Some(_) => Some(value::digest(row, "digest")?),
        None => None,
    };
    let position = Position(value::counter(row, "position")?);
    Ok(ImportState { position, digest, claimed: row.try_get("claimed")? })
}

async fn store(db: &mut ClientWrapper, after: Position, page: &ImportPage) -> Result<bool, Error> {
    let tx = db.transaction().await?;
    let now = state(&tx.query_one(&format!("{STATE} for update of log_head"), &[]).await?)?;
    if now.claimed || now.position != after {
        return Ok(false);
    }
    let last = page.events.last().map_or(after, |event| event.position);
    tx.execute("select flexcore_add_partitions($1)", &[&value::integer(last.0)]).await?;
    events(&*tx, &page.events).await?;
    ends(&*tx, page).await?;
    let digest = page.digest.as_ref().map(|digest| &digest[..]);
    let next = value::integer(last.0 + 1);
    tx.execute("update log_head set next_position = $1, digest = $2", &[&next, &digest]).await?;
    sealed(&*tx, page).await?;
    tx.commit().await?;
    Ok(true)
}

async fn events(tx: &impl GenericClient, events: &[RecordedEvent]) -> Result<(), Error> {
    let sql = "insert into event (position, version, recorded_at, id, correlation_id, causation_id, schema_version, \
               stream, kind, node, actor, payload, payload_hash, leaf_hash) \
               select * from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::uuid[], \
               $7::integer[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[], $14::bytea[])";
    let column = |of: fn(&RecordedEvent) -> i64| events.iter().map(of).collect::<Vec<i64>>();
    let text = |of: for<'a> fn(&'a RecordedEvent) -> &'a str| events.iter().map(of).collect::<Vec<&str>>();
    let blob = |of: for<'a> fn(&'a RecordedEvent) -> &'a [u8]| events.iter().map(of).collect::<Vec<&[u8]>>();
    let times: Vec<Timestamp> = events.iter().map(|event| event.recorded_at).collect();
    let ids: Vec<Uuid> = events.iter().map(|event| event.id.0).collect();
    let correlations: Vec<Uuid> = events.iter().map(|event| event.origin.correlation_id.0).collect();
    let causations: Vec<Option<Uuid>> = events.iter().map(|event| event.origin.causation_id).collect();
    let schemas: Vec<i32> = events.iter().map(|event| event.schema_version.into()).collect();
    tx.execute(
        sql,
        &[
            &column(|event| value::integer(event.position.0)),
            &column(|event| value::integer(event.version.0)),
            &times,
            &ids,
            &correlations,
            &causations,
            &schemas,
            &text(|event| event.stream.as_str()),
            &text(|event| &event.kind),
            &text(|event| &event.node),
            &text(|event| &event.origin.actor),
            &blob(|event| &event.payload),
            &blob(|event| &event.hashes.payload),
            &blob(|event| &event.hashes.leaf.0),
        ],
    )
    .await
    .map(drop)
}

async fn ends(tx: &impl GenericClient, page: &ImportPage) -> Result<(), Error> {
    let sql = "insert into stream (name, head_version, shard, category, leaf_hash) \
               select * from unnest($1::text[], $2::bigint[], $3::smallint[], $4::text[], $5::bytea[]) \
               on conflict (name) do update set head_version = excluded.head_version, leaf_hash = excluded.leaf_hash";
    let names: Vec<&str> = page.ends.iter().map(|end| end.stream.as_str()).collect();
    let versions: Vec<i64> = page.ends.iter().map(|end| value::integer(end.version.0)).collect();
    let shards: Vec<i16> = page.ends.iter().map(|end| end.stream.shard().0.into()).collect();
    let categories: Vec<&str> = page.ends.iter().map(|end| end.stream.category().as_str()).collect();
    let leaves: Vec<&[u8]> = page.ends.iter().map(|end| &end.leaf.0[..]).collect();
    tx.execute(sql, &[&names, &versions, &shards, &categories, &leaves]).await.map(drop)
}

async fn sealed(tx: &impl GenericClient, page: &ImportPage) -> Result<(), Error> {
    for tile in &page.tiles {
        let (level, index, root) = (i16::from(tile.level), value::integer(tile.index), tile.root());
        tx.execute(
            "insert into merkle_tile (level, tile_index, root, hashes) values ($1, $2, $3, $4)",
            &[&level, &index, &&root[..], &tile.hashes.as_flattened()],
        )
        .await?;
    }
    for checkpoint in &page.checkpoints {
        let size = value::integer(checkpoint.size);
        tx.execute(
            "insert into checkpoint (size, root, note, sealed_at) values ($1, $2, $3, $4)",
            &[&size, &&checkpoint.root[..], &checkpoint.note, &checkpoint.sealed_at],
        )
        .await?;
    }
    Ok(())
}
