//! Snapshots in the store's file. They are written by a connection of their own that does not wait for the disk: losing
//! one costs nothing but time, and the writer's commits must not wait for them. Nothing here touches events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flexcore_actors::domain::ids::{StreamId, Version};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::snapshot_store::Snapshot;
use flexcore_actors::ports::{BoxFuture, SnapshotStore, batch};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{SqliteStore, error, open_writable, value};

/// A late one changes nothing; one of another shape is of no use to who saves.
const SAVE: &str = "insert into snapshot (stream, version, schema_fingerprint, payload, taken_at) \
                    values (?1, ?2, ?3, ?4, ?5) \
                    on conflict (stream) do update set version = excluded.version, \
                    schema_fingerprint = excluded.schema_fingerprint, payload = excluded.payload, \
                    taken_at = excluded.taken_at \
                    where excluded.version >= version or excluded.schema_fingerprint <> schema_fingerprint";

/// The connection that writes snapshots, made when the first is saved.
pub(super) struct SnapshotWriter {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl SnapshotWriter {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), connection: Arc::default() }
    }

    async fn save(&self, stream: StreamId, snapshot: Snapshot) -> Result<(), StoreError> {
        const OPERATION: &str = "save a snapshot";
        let (path, slot) = (self.path.clone(), Arc::clone(&self.connection));
        let done = tokio::task::spawn_blocking(move || {
            let mut slot = slot.lock().expect("no holder of this lock panics");
            // taken out, so that a connection that failed is closed and not used again
            let connection = slot.take().map_or_else(|| open(&path), Ok)?;
            save(&connection, &stream, &snapshot)?;
            *slot = Some(connection);
            Ok(())
        });
        match done.await {
            Ok(result) => result.map_err(|e| error::not_stored(OPERATION, e)),
            Err(_) => Err(error::gone(OPERATION, "store's writer of snapshots")),
        }
    }
}

impl SnapshotStore for SqliteStore {
    fn load<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        let stream = stream.clone();
        Box::pin(self.readers.read("load a snapshot", move |db| load(db, &stream)))
    }

    fn save<'a>(
        &'a self,
        stream: &'a StreamId,
        snapshot: &'a Snapshot,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.snapshots.save(stream.clone(), snapshot.clone()))
    }
}

fn open(path: &Path) -> Result<Connection> {
    let connection = open_writable(path)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

fn load(db: &Connection, stream: &StreamId) -> Result<Option<Snapshot>> {
    let mut statement = db.prepare_cached(
        "select version, taken_at, schema_fingerprint, payload from snapshot where stream = ?1",
    )?;
    let snapshot = |row: &rusqlite::Row<'_>| {
        Ok(Snapshot {
            version: Version(value::counter(row, 0)?),
            taken_at: value::time(row, 1)?,
            fingerprint: row.get(2)?,
            payload: value::bytes(row, 3)?,
        })
    };
    statement.query_row([stream.as_str()], snapshot).optional()
}

fn save(db: &Connection, stream: &StreamId, snapshot: &Snapshot) -> Result<()> {
    let taken_at = batch::whole_micros(snapshot.taken_at).as_microsecond();
    let mut statement = db.prepare_cached(SAVE)?;
    statement.execute(params![
        stream.as_str(),
        value::integer(snapshot.version.0),
        snapshot.fingerprint,
        &snapshot.payload[..],
        taken_at,
    ])?;
    Ok(())
}
