//! One event as a row of an archive file, in both directions. No statements that look for events.

use flexcore_actors::domain::event::{Origin, RecordedEvent};
use flexcore_actors::domain::ids::{CorrelationId, EventId, Position, Version};
use flexcore_actors::domain::integrity::leaf::{EventHashes, LeafHash};
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Error, Result, Row, params};
use uuid::Uuid;

/// Read by [`read`], written by [`write()`].
pub(super) const COLUMNS: &str = "position, version, recorded_at, id, correlation_id, causation_id, \
                                  schema_version, stream, kind, node, actor, payload, payload_hash, leaf_hash";

/// The table; times are microseconds since 1970.
pub(super) const TABLE: &str = "create table event (
    position integer primary key,
    version integer not null,
    recorded_at integer not null,
    id blob not null,
    correlation_id blob not null,
    causation_id blob,
    schema_version integer not null,
    stream text not null,
    kind text not null,
    node text not null,
    actor text not null,
    payload blob not null,
    payload_hash blob not null,
    leaf_hash blob not null
) strict";

/// Made when all rows are there.
pub(super) const INDEXES: &str = "create unique index event_stream_version on event (stream, version);
create index event_kind_position on event (kind, position);";

/// A counter; what is beyond SQLite's integers is beyond everything stored as well.
pub(super) fn integer(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// Adds an event by a statement that takes [`COLUMNS`].
pub(super) fn write(statement: &mut CachedStatement<'_>, event: &RecordedEvent) -> Result<usize> {
    let origin = &event.origin;
    statement.execute(params![
        integer(event.position.0),
        integer(event.version.0),
        event.recorded_at.as_microsecond(),
        event.id.0.as_bytes(),
        origin.correlation_id.0.as_bytes(),
        origin.causation_id.as_ref().map(Uuid::as_bytes),
        event.schema_version,
        event.stream.as_str(),
        event.kind,
        event.node,
        origin.actor,
        &event.payload[..],
        event.hashes.payload,
        event.hashes.leaf.0,
    ])
}

/// Reads an event from [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> Result<RecordedEvent> {
    let stream: String = row.get(7)?;
    Ok(RecordedEvent {
        position: Position(counter(row, 0)?),
        version: Version(counter(row, 1)?),
        recorded_at: time(row, 2)?,
        id: EventId(row.get(3).map(Uuid::from_bytes)?),
        origin: Origin {
            correlation_id: CorrelationId(row.get(4).map(Uuid::from_bytes)?),
            causation_id: row.get::<_, Option<[u8; 16]>>(5)?.map(Uuid::from_bytes),
            actor: row.get(10)?,
        },
        schema_version: row.get(6)?,
        stream: stream.try_into().map_err(|e| Error::FromSqlConversionFailure(7, Type::Text, Box::new(e)))?,
        kind: row.get(8)?,
        node: row.get(9)?,
        payload: row.get::<_, Vec<u8>>(11)?.into(),
        hashes: EventHashes { payload: row.get(12)?, leaf: LeafHash(row.get(13)?) },
    })
}

fn counter(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(column, value))
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    let micros: i64 = row.get(column)?;
    Timestamp::from_microsecond(micros).map_err(|_| Error::IntegralValueOutOfRange(column, micros))
}
