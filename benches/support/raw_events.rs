//! The other sides of the append benchmark: nothing but rows of events, by `unnest` or by binary `COPY`, each batch in a
//! transaction of its own. No stream heads, no commands, no fencing: what FlexCore adds must not be in here.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Result;
use flexcore_actors::domain::event::{NewEvent, Origin};
use flexcore_actors::ports::event_store::Append;
use jiff::Timestamp;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

const TABLES: &str = "
    create table raw_event (like event including all) partition by range (position);
    create table raw_event_p0 partition of raw_event for values from (0) to (25000000);
    create table raw_event_p1 partition of raw_event for values from (25000000) to (50000000);
    create table copied_event (like event including all) partition by range (position);
    create table copied_event_p0 partition of copied_event for values from (0) to (25000000);
    create table copied_event_p1 partition of copied_event for values from (25000000) to (50000000)";

const INSERT: &str = "
    insert into raw_event (position, version, recorded_at, id, correlation_id, causation_id, schema_version,
                           stream, kind, node, actor, payload, payload_hash, leaf_hash)
    select $1::bigint + e.ord, e.version, clock_timestamp(), e.id, e.correlation, e.causation, e.schema,
           e.stream, e.kind, 'bench', e.actor, e.payload, e.payload_hash, e.leaf
    from unnest($2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::integer[], $7::text[], $8::uuid[],
                $9::uuid[], $10::bytea[], $11::bytea[], $12::bytea[]) with ordinality
         as e (stream, version, id, kind, schema, actor, correlation, causation, payload, payload_hash, leaf, ord)";

const COPY: &str = "
    copy copied_event (position, version, recorded_at, id, correlation_id, causation_id, schema_version, stream, kind,
                       node, actor, payload, payload_hash, leaf_hash) from stdin (format binary)";

/// What the columns of `COPY` are.
const COLUMNS: [Type; 14] = [
    Type::INT8,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::UUID,
    Type::UUID,
    Type::UUID,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::BYTEA,
    Type::BYTEA,
    Type::BYTEA,
];

/// As wide as a hash, but not computed.
const HASH: &[u8] = &[7; 32];

/// The tables of raw events.
pub struct RawEvents<'c> {
    client: &'c Client,
    insert: Statement,
    inserted: i64,
    copied: i64,
}

/// An event as both write it.
struct Row<'a> {
    stream: &'a str,
    version: i64,
    event: &'a NewEvent,
    origin: &'a Origin,
}

impl<'c> RawEvents<'c> {
    /// Makes the tables like that of the store, which must be there.
    pub async fn create(client: &'c Client) -> Result<Self> {
        client.batch_execute(TABLES).await?;
        Ok(Self { client, insert: client.prepare(INSERT).await?, inserted: 0, copied: 0 })
    }

    /// Inserts the events of all `appends`, those of `batch` appends at a time; how long it took.
    pub async fn insert(&mut self, appends: &[Append], batch: usize) -> Result<Duration> {
        let began = Instant::now();
        for appends in appends.chunks(batch) {
            self.inserted += insert(self.client, &self.insert, self.inserted, &rows(appends)?).await?;
        }
        Ok(began.elapsed())
    }

    /// The same by `COPY`.
    pub async fn copy(&mut self, appends: &[Append], batch: usize) -> Result<Duration> {
        let began = Instant::now();
        for appends in appends.chunks(batch) {
            self.copied += copy(self.client, self.copied, &rows(appends)?).await?;
        }
        Ok(began.elapsed())
    }
}

fn rows(appends: &[Append]) -> Result<Vec<Row<'_>>> {
    let mut rows = Vec::with_capacity(appends.len());
    for append in appends {
        for part in &append.streams {
            let first = i64::try_from(part.expected.0)? + 1;
            rows.extend((first..).zip(&part.events).map(|(version, event)| Row {
                stream: part.stream.as_str(),
                version,
                event,
                origin: &append.origin,
            }));
        }
    }
    Ok(rows)
}

/// Inserts one batch after the position `last`; how many events it had.
async fn insert(client: &Client, statement: &Statement, last: i64, rows: &[Row<'_>]) -> Result<i64> {
    let streams: Vec<&str> = rows.iter().map(|row| row.stream).collect();
    let versions: Vec<i64> = rows.iter().map(|row| row.version).collect();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.event.id.0).collect();
    let kinds: Vec<&str> = rows.iter().map(|row| row.event.kind).collect();
    let schemas: Vec<i32> = rows.iter().map(|row| i32::from(row.event.schema_version)).collect();
    let actors: Vec<&str> = rows.iter().map(|row| row.origin.actor.as_str()).collect();
    let correlations: Vec<Uuid> = rows.iter().map(|row| row.origin.correlation_id.0).collect();
    let causations: Vec<Option<Uuid>> = rows.iter().map(|row| row.origin.causation_id).collect();
    let payloads: Vec<&[u8]> = rows.iter().map(|row| &row.event.payload[..]).collect();
    let hashes = vec![HASH; rows.len()];
    let columns: [&(dyn ToSql + Sync); 12] = [
        &last,
        &streams,
        &versions,
        &ids,
        &kinds,
        &schemas,
        &actors,
        &correlations,
        &causations,
        &payloads,
        &hashes,
        &hashes,
    ];
    client.execute(statement, &columns).await?;
    Ok(i64::try_from(rows.len())?)
}

/// Copies one batch after the position `last`; how many events it had.
async fn copy(client: &Client, last: i64, rows: &[Row<'_>]) -> Result<i64> {
    let mut writer = pin!(BinaryCopyInWriter::new(client.copy_in(COPY).await?, &COLUMNS));
    let now = Timestamp::now();
    for (position, row) in (last + 1..).zip(rows) {
        let (event, origin) = (row.event, row.origin);
        let columns: [&(dyn ToSql + Sync); 14] = [
            &position,
            &row.version,
            &now,
            &event.id.0,
            &origin.correlation_id.0,
            &origin.causation_id,
            &i32::from(event.schema_version),
            &row.stream,
            &event.kind,
            &"bench",
            &origin.actor,
            &&event.payload[..],
            &HASH,
            &HASH,
        ];
        writer.as_mut().write(&columns).await?;
    }
    writer.as_mut().finish().await?;
    Ok(i64::try_from(rows.len())?)
}
