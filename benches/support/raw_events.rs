//! The other side of the append benchmark: nothing but rows of events, inserted by `unnest`, each batch in a
//! transaction of its own. No stream heads, no commands, no fencing: what FlexCore adds must not be in here.

use std::time::{Duration, Instant};

use anyhow::Result;
use flexcore_actors::ports::event_store::Append;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

const TABLE: &str = "
    create table raw_event (like event including all) partition by range (position);
    create table raw_event_p0 partition of raw_event for values from (0) to (25000000);
    create table raw_event_p1 partition of raw_event for values from (25000000) to (50000000)";

const INSERT: &str = "
    insert into raw_event (position, version, recorded_at, id, correlation_id, causation_id, schema_version,
                           stream, kind, node, actor, payload, payload_hash, leaf_hash)
    select $1::bigint + e.ord, e.version, clock_timestamp(), e.id, e.correlation, e.causation, e.schema,
           e.stream, e.kind, 'bench', e.actor, e.payload, e.payload_hash, e.leaf
    from unnest($2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::integer[], $7::text[], $8::uuid[],
                $9::uuid[], $10::bytea[], $11::bytea[], $12::bytea[]) with ordinality
         as e (stream, version, id, kind, schema, actor, correlation, causation, payload, payload_hash, leaf, ord)";

/// The table of raw events.
pub struct RawEvents<'c> {
    client: &'c Client,
    insert: Statement,
    last: i64,
}

impl<'c> RawEvents<'c> {
    /// Makes the table like that of the store, which must be there.
    pub async fn create(client: &'c Client) -> Result<Self> {
        client.batch_execute(TABLE).await?;
        Ok(Self { client, insert: client.prepare(INSERT).await?, last: 0 })
    }

    /// Inserts the events of all `appends`, those of `batch` appends at a time; how long it took.
    pub async fn insert(&mut self, appends: &[Append], batch: usize) -> Result<Duration> {
        let began = Instant::now();
        for appends in appends.chunks(batch) {
            self.last += insert(self.client, &self.insert, self.last, appends).await?;
        }
        Ok(began.elapsed())
    }
}

/// Inserts one batch after the position `last`; how many events it had.
async fn insert(client: &Client, statement: &Statement, last: i64, appends: &[Append]) -> Result<i64> {
    let (mut streams, mut versions, mut ids): (Vec<&str>, Vec<i64>, Vec<Uuid>) = Default::default();
    let (mut kinds, mut schemas, mut actors): (Vec<&str>, Vec<i32>, Vec<&str>) = Default::default();
    let (mut correlations, mut causations): (Vec<Uuid>, Vec<Option<Uuid>>) = Default::default();
    let mut payloads: Vec<&[u8]> = Vec::new();
    // as wide as hashes, but not computed
    let hash: &[u8] = &[7; 32];
    for append in appends {
        for part in &append.streams {
            for (version, event) in (i64::try_from(part.expected.0)? + 1..).zip(&part.events) {
                streams.push(part.stream.as_str());
                versions.push(version);
                ids.push(event.id.0);
                kinds.push(event.kind);
                schemas.push(i32::from(event.schema_version));
                actors.push(&append.origin.actor);
                correlations.push(append.origin.correlation_id.0);
                causations.push(append.origin.causation_id);
                payloads.push(&event.payload);
            }
        }
    }
    client
        .execute(
            statement,
            &[
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
                &vec![hash; ids.len()],
                &vec![hash; ids.len()],
            ],
        )
        .await?;
    Ok(i64::try_from(ids.len())?)
}
