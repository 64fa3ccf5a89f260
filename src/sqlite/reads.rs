//! The statements that read, each a function of a connection. Nothing here writes or waits.

use flexcore_actors::domain::event::{Origin, RecordedEvent};
use flexcore_actors::domain::ids::{
    Category, CommandId, CorrelationId, EventId, Position, StreamId, Version,
};
use flexcore_actors::domain::integrity::leaf::{EventHashes, LeafHash};
use flexcore_actors::ports::batch::next_micro;
use flexcore_actors::ports::event_store::{Committed, EventFilter, StoredCommand, StreamOrder, Wakeup};
use rusqlite::{Connection, OptionalExtension, Result, Row, ToSql, params};

use super::value;

/// Read by [`event`], in this order.
const EVENT: &str = "id, stream, version, position, kind, schema_version, recorded_at, node, actor, \
                     correlation_id, causation_id, payload, payload_hash, leaf_hash";

/// Events of one stream.
pub(super) fn stream(
    db: &Connection,
    stream: &StreamId,
    after: Version,
    limit: usize,
) -> Result<Vec<RecordedEvent>> {
    let sql =
        format!("select {EVENT} from event where stream = ?1 and version > ?2 order by version limit ?3");
    let mut statement = db.prepare_cached(&sql)?;
    statement
        .query_map(params![stream.as_str(), value::integer(after.0), value::rows(limit)], event)?
        .collect()
}

/// Events of the whole store. A filter's parts are joined into the statement, so that each combination gets its own
/// plan: by stream it walks the stream's index, whose order is that of positions too.
pub(super) fn all(
    db: &Connection,
    after: Position,
    limit: usize,
    filter: &EventFilter,
) -> Result<Vec<RecordedEvent>> {
    let (after, limit) = (value::integer(after.0), value::rows(limit));
    let from = filter.from.map(|time| next_micro(time).as_microsecond());
    let to = filter.to.map(|time| next_micro(time).as_microsecond());
    let name = filter.stream.as_ref().map(StreamId::as_str);
    let mut sql = format!("select {EVENT} from event where position > :after");
    let mut bound: Vec<(&str, &dyn ToSql)> = vec![(":after", &after), (":limit", &limit)];
    let several = serde_json::Value::from(filter.kinds.clone()).to_string();
    let (is_kind, kind): (_, Option<&dyn ToSql>) = match &filter.kinds[..] {
        [] => ("", None),
        [one] => (" and kind = :kind", Some(one)),
        _ => (" and kind in (select value from json_each(:kind))", Some(&several)),
    };
    let parts: [(&str, &str, Option<&dyn ToSql>); 4] = [
        (" and stream = :stream", ":stream", name.as_ref().map(|v| v as _)),
        (is_kind, ":kind", kind),
        (" and recorded_at >= :from", ":from", from.as_ref().map(|v| v as _)),
        (" and recorded_at < :to", ":to", to.as_ref().map(|v| v as _)),
    ];
    for (condition, parameter, value) in parts {
        if let Some(value) = value {
            sql.push_str(condition);
            bound.push((parameter, value));
        }
    }
    sql.push_str(if name.is_some() {
        " order by version limit :limit"
    } else {
        " order by position limit :limit"
    });
    db.prepare_cached(&sql)?.query_map(bound.as_slice(), event)?.collect()
}

/// A command that was stored before.
pub(super) fn command(db: &Connection, stream: &StreamId, id: CommandId) -> Result<Option<StoredCommand>> {
    let mut statement = db.prepare_cached(
        "select request_hash, first_version, events, position, committed_at, answer from command \
         where stream = ?1 and command_id = ?2",
    )?;
    let found = |row: &Row<'_>| {
        let committed = Committed {
            first_version: Version(value::counter(row, 1)?),
            events: row.get(2)?,
            position: Position(value::counter(row, 3)?),
            at: value::time(row, 4)?,
            answer: value::bytes(row, 5)?,
        };
        Ok((row.get(0)?, committed))
    };
    statement.query_row(params![stream.as_str(), id.0.as_bytes()], found).optional()
}

/// Names of the streams of a category.
pub(super) fn streams(
    db: &Connection,
    category: Category,
    after: Option<&StreamId>,
    order: StreamOrder,
    limit: usize,
) -> Result<Vec<StreamId>> {
    // a category's names lie between its text with '-' and the same with the character after '-'
    let (low, high) = (format!("{}-", category.as_str()), format!("{}.", category.as_str()));
    let sql = match order {
        StreamOrder::Ascending => {
            "select name from stream where name > ?1 and name < ?2 and name > coalesce(?3, '') \
             order by name limit ?4"
        }
        StreamOrder::Descending => {
            "select name from stream where name > ?1 and name < ?2 and name < coalesce(?3, ?2) \
             order by name desc limit ?4"
        }
    };
    let after = after.map(StreamId::as_str);
    let mut statement = db.prepare_cached(sql)?;
    statement.query_map(params![low, high, after, value::rows(limit)], |row| value::stream(row, 0))?.collect()
}

/// Streams with open work.
pub(super) fn wakeups(db: &Connection, after: Option<&StreamId>, limit: usize) -> Result<Vec<Wakeup>> {
    let mut statement =
        db.prepare_cached("select stream, due from wakeup where stream > ?1 order by stream limit ?2")?;
    let after = after.map_or("", StreamId::as_str);
    let wakeup =
        |row: &Row<'_>| Ok(Wakeup { stream: value::stream(row, 0)?, due: Some(value::time(row, 1)?) });
    statement.query_map(params![after, value::rows(limit)], wakeup)?.collect()
}

/// The position of the last event.
pub(super) fn head(db: &Connection) -> Result<Position> {
    let mut statement = db.prepare_cached("select next_position - 1 from log_head")?;
    statement.query_row([], |row| value::counter(row, 0)).map(Position)
}

fn event(row: &Row<'_>) -> Result<RecordedEvent> {
    Ok(RecordedEvent {
        id: EventId(value::uuid(row, 0)?),
        stream: value::stream(row, 1)?,
        version: Version(value::counter(row, 2)?),
        position: Position(value::counter(row, 3)?),
        kind: row.get(4)?,
        schema_version: row.get(5)?,
        recorded_at: value::time(row, 6)?,
        node: row.get(7)?,
        origin: Origin {
            actor: row.get(8)?,
            correlation_id: CorrelationId(value::uuid(row, 9)?),
            causation_id: value::optional_uuid(row, 10)?,
        },
        payload: value::bytes(row, 11)?,
        hashes: EventHashes { payload: row.get(12)?, leaf: LeafHash(row.get(13)?) },
    })
}
