//! Snapshots in the database, read and written on the reading connections, outside the appends. Nothing here touches
//! events.

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::ids::{StreamId, Version};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::snapshot_store::Snapshot;
use flexcore_actors::ports::{BoxFuture, SnapshotStore};
use tokio_postgres::Error;

use super::{PostgresStore, value};

/// A late one changes nothing; one of another shape is of no use to who saves.
const SAVE: &str = "insert into snapshot as kept (stream, version, schema_fingerprint, payload, taken_at) \
                    values ($1, $2, $3, $4, $5) \
                    on conflict (stream) do update set version = excluded.version, \
                    schema_fingerprint = excluded.schema_fingerprint, payload = excluded.payload, \
                    taken_at = excluded.taken_at \
                    where excluded.version >= kept.version \
                    or excluded.schema_fingerprint <> kept.schema_fingerprint";

impl SnapshotStore for PostgresStore {
    fn load<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        Box::pin(self.read("load a snapshot", async move |db| load(db, stream).await))
    }

    fn save<'a>(
        &'a self,
        stream: &'a StreamId,
        snapshot: &'a Snapshot,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.read("save a snapshot", async move |db| save(db, stream, snapshot).await))
    }
}

async fn load(db: &ClientWrapper, stream: &StreamId) -> Result<Option<Snapshot>, Error> {
    let sql = "select version, taken_at, schema_fingerprint, payload from snapshot where stream = $1";
    let statement = db.prepare_cached(sql).await?;
    let Some(row) = db.query_opt(&statement, &[&stream.as_str()]).await? else { return Ok(None) };
    Ok(Some(Snapshot {
        version: Version(value::counter(&row, "version")?),
        taken_at: row.try_get("taken_at")?,
        fingerprint: value::digest(&row, "schema_fingerprint")?,
        payload: value::bytes(&row, "payload")?,
    }))
}

async fn save(db: &ClientWrapper, stream: &StreamId, snapshot: &Snapshot) -> Result<(), Error> {
    let (version, taken_at) = (value::integer(snapshot.version.0), value::time(snapshot.taken_at));
    let (fingerprint, payload) = (&snapshot.fingerprint[..], &snapshot.payload[..]);
    let statement = db.prepare_cached(SAVE).await?;
    db.execute(&statement, &[&stream.as_str(), &version, &fingerprint, &payload, &taken_at]).await?;
    Ok(())
}
