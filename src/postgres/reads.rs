//! The statements that read, each a function of a connection. Nothing here writes.

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::event::{Origin, RecordedEvent};
use flexcore_actors::domain::ids::{
    Category, CommandId, CorrelationId, EventId, Position, StreamId, Version,
};
use flexcore_actors::domain::integrity::leaf::{EventHashes, LeafHash};
use flexcore_actors::ports::batch::next_micro;
use flexcore_actors::ports::event_store::{Committed, EventFilter, StoredCommand, StreamOrder, Wakeup};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::value;

/// Read by [`event`].
pub(super) const EVENT: &str = "id, stream, version, position, kind, schema_version, recorded_at, node, actor, \
                     correlation_id, causation_id, payload, payload_hash, leaf_hash";

/// Events of one stream.
pub(super) async fn stream(
    db: &ClientWrapper,
    stream: &StreamId,
    after: Version,
    limit: usize,
) -> Result<Vec<RecordedEvent>, Error> {
    let sql =
        format!("select {EVENT} from event where stream = $1 and version > $2 order by version limit $3");
    let statement = db.prepare_cached(&sql).await?;
    let (after, limit) = (value::integer(after.0), value::rows(limit));
    let rows = db.query(&statement, &[&stream.as_str(), &after, &limit]).await?;
    rows.iter().map(event).collect()
}

/// Events of the whole store. A filter's parts are joined into the statement, so that each combination gets its own
/// plan: by stream it walks the stream's index, whose order is that of positions too; times are turned into positions.
pub(super) async fn all(
    db: &ClientWrapper,
    after: Position,
    limit: usize,
    filter: &EventFilter,
) -> Result<Vec<RecordedEvent>, Error> {
    let (after, limit) = (value::integer(after.0), value::rows(limit));
    let name = filter.stream.as_ref().map(StreamId::as_str);
    let from = filter.from.map(|time| value::time(next_micro(time)));
    let to = filter.to.map(|time| value::time(next_micro(time)));
    let mut sql = format!("select {EVENT} from event where position > $1");
    let mut bound: Vec<&(dyn ToSql + Sync)> = vec![&after, &limit];
    let kind: Option<&(dyn ToSql + Sync)> = match &filter.kinds[..] {
        [] => None,
        [one] => Some(one),
        _ => Some(&filter.kinds),
    };
    let is_kind = if filter.kinds.len() > 1 { "kind = any($)" } else { "kind = $" };
    // a stream's own events are few enough to be filtered
    let (low, high) = if name.is_none() { filter.widened() } else { (None, None) };
    let (low, high) = (low.map(value::time), high.map(value::time));
    let parts: [(&str, Option<&(dyn ToSql + Sync)>); 6] = [
        ("stream = $", name.as_ref().map(|v| v as _)),
        (is_kind, kind),
        ("recorded_at >= $", from.as_ref().map(|v| v as _)),
        ("recorded_at < $", to.as_ref().map(|v| v as _)),
        ("position >= flexcore_position_at($)", low.as_ref().map(|v| v as _)),
        ("position < flexcore_position_at($)", high.as_ref().map(|v| v as _)),
    ];
    for (condition, value) in parts {
        if let Some(value) = value {
            bound.push(value);
            sql.push_str(" and ");
            sql.push_str(&condition.replace('$', &format!("${}", bound.len())));
        }
    }
    sql.push_str(if name.is_some() { " order by version limit $2" } else { " order by position limit $2" });
    let statement = db.prepare_cached(&sql).await?;
    db.query(&statement, &bound).await?.iter().map(event).collect()
}

/// A command that was stored before.
pub(super) async fn command(
    db: &ClientWrapper,
    stream: &StreamId,
    id: CommandId,
) -> Result<Option<StoredCommand>, Error> {
    let statement = db
        .prepare_cached(
            "select request_hash, first_version, events, position, committed_at, answer from command \
             where stream = $1 and command_id = $2",
        )
        .await?;
    let Some(row) = db.query_opt(&statement, &[&stream.as_str(), &id.0]).await? else { return Ok(None) };
    let committed = Committed {
        first_version: Version(value::counter(&row, "first_version")?),
        events: row.try_get::<_, i32>("events")?.unsigned_abs(),
        position: Position(value::counter(&row, "position")?),
        at: row.try_get("committed_at")?,
        answer: value::bytes(&row, "answer")?,
    };
    Ok(Some((value::digest(&row, "request_hash")?, committed)))
}

/// Names of the streams of a category.
pub(super) async fn streams(
    db: &ClientWrapper,
    category: Category,
    after: Option<&StreamId>,
    order: StreamOrder,
    limit: usize,
) -> Result<Vec<StreamId>, Error> {
    // a category's names lie between its text with '-' and the same with the character after '-'
    let (mut low, mut high) = (format!("{}-", category.as_str()), format!("{}.", category.as_str()));
    let sql = match order {
        StreamOrder::Ascending => {
            "select name from stream where name > $1 and name < $2 order by name limit $3"
        }
        StreamOrder::Descending => {
            "select name from stream where name > $1 and name < $2 order by name desc limit $3"
        }
    };
    if let Some(after) = after.map(StreamId::as_str) {
        match order {
            StreamOrder::Ascending => low = low.max(after.to_owned()),
            StreamOrder::Descending => high = high.min(after.to_owned()),
        }
    }
    let statement = db.prepare_cached(sql).await?;
    let rows = db.query(&statement, &[&low, &high, &value::rows(limit)]).await?;
    rows.iter().map(|row| value::stream(row, "name")).collect()
}

/// Streams with open work.
pub(super) async fn wakeups(
    db: &ClientWrapper,
    after: Option<&StreamId>,
    limit: usize,
) -> Result<Vec<Wakeup>, Error> {
    let sql = "select stream, due from wakeup where stream > $1 order by stream limit $2";
    let statement = db.prepare_cached(sql).await?;
    let after = after.map_or("", StreamId::as_str);
    let rows = db.query(&statement, &[&after, &value::rows(limit)]).await?;
    let wakeup =
        |row: &Row| Ok(Wakeup { stream: value::stream(row, "stream")?, due: Some(row.try_get("due")?) });
    rows.iter().map(wakeup).collect()
}

/// The version of a stream's last event; 0 before the first.
pub(super) async fn head_version(db: &ClientWrapper, stream: &StreamId) -> Result<Version, Error> {
    let statement = db.prepare_cached("select head_version from stream where name = $1").await?;
    let row = db.query_opt(&statement, &[&stream.as_str()]).await?;
    row.map_or(Ok(Version(0)), |row| value::counter(&row, "head_version").map(Version))
}

/// The position of the last event.
pub(super) async fn head(db: &ClientWrapper) -> Result<Position, Error> {
    let statement = db.prepare_cached("select next_position - 1 as head from log_head").await?;
    value::counter(&db.query_one(&statement, &[]).await?, "head").map(Position)
}

/// Reads an event from [`EVENT`].
pub(super) fn event(row: &Row) -> Result<RecordedEvent, Error> {
    Ok(RecordedEvent {
        id: EventId(row.try_get("id")?),
        stream: value::stream(row, "stream")?,
        version: Version(value::counter(row, "version")?),
        position: Position(value::counter(row, "position")?),
        kind: row.try_get("kind")?,
        schema_version: value::small(row, "schema_version")?,
        recorded_at: row.try_get("recorded_at")?,
        node: row.try_get("node")?,
        origin: Origin {
            actor: row.try_get("actor")?,
            correlation_id: CorrelationId(row.try_get("correlation_id")?),
            causation_id: row.try_get("causation_id")?,
        },
        payload: value::bytes(row, "payload")?,
        hashes: EventHashes {
            payload: value::digest(row, "payload_hash")?,
            leaf: LeafHash(value::digest(row, "leaf_hash")?),
        },
    })
}
