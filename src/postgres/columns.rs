//! A batch as the columns that `flexcore_append` takes, and its answer as outcomes. No connection.

use std::collections::HashMap;

use flexcore_actors::domain::ids::{Epoch, Position, StreamId, Version};
use flexcore_actors::ports::event_store::{Append, AppendOutcome, Committed};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::value;

/// How many parameters the function takes.
pub(super) const PARAMETERS: usize = 30;
/// The call; the parameters are numbered in the order of [`Columns::parameters`].
pub(super) const CALL: &str = "select code, unit, part, number, events, first_version, at, answer \
     from flexcore_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
     $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)";

/// The columns of some units of a batch.
#[derive(Default)]
pub(super) struct Columns<'a> {
    units: UnitColumns<'a>,
    parts: PartColumns<'a>,
    events: EventColumns<'a>,
    claims: Claims,
    wakeup_streams: Vec<&'a str>,
    wakeup_dues: Vec<Option<Timestamp>>,
}

#[derive(Default)]
struct UnitColumns<'a> {
    stream: Vec<&'a str>,
    command: Vec<Uuid>,
    hash: Vec<&'a [u8]>,
    answer: Vec<&'a [u8]>,
    first: Vec<i64>,
    events: Vec<i32>,
    /// Events of this batch up to and with the unit.
    last: Vec<i64>,
}

#[derive(Default)]
struct PartColumns<'a> {
    unit: Vec<i32>,
    stream: Vec<&'a str>,
    category: Vec<&'static str>,
    shard: Vec<i16>,
    epoch: Vec<i64>,
    expected: Vec<i64>,
    events: Vec<i32>,
    /// How many of them get their first events, and how many further ones.
    begin: i32,
    go_on: i32,
    ids: Vec<&'a StreamId>,
}

/// Each pair of shard and epoch that occurs, once.
#[derive(Default)]
struct Claims {
    shards: Vec<i16>,
    epochs: Vec<i64>,
    /// Their places, from 1.
    places: HashMap<(i16, i64), i32>,
}

impl Claims {
    fn place(&mut self, shard: i16, epoch: i64) -> i32 {
        *self.places.entry((shard, epoch)).or_insert_with(|| {
            self.shards.push(shard);
            self.epochs.push(epoch);
            value::count(self.shards.len())
        })
    }
}

#[derive(Default)]
struct EventColumns<'a> {
    stream: Vec<&'a str>,
    claim: Vec<i32>,
    version: Vec<i64>,
    id: Vec<Uuid>,
    kind: Vec<&'static str>,
    schema: Vec<i32>,
    actor: Vec<&'a str>,
    correlation: Vec<Uuid>,
    causation: Vec<Option<Uuid>>,
    payload: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// Lays out units in their order.
    pub(super) fn of(units: impl IntoIterator<Item = &'a Append>) -> Self {
        let mut columns = Self::default();
        let mut wakeups = HashMap::new();
        for unit in units {
            columns.unit(unit);
            for wakeup in &unit.wakeups {
                // of several for one stream the last counts
                wakeups.insert(wakeup.stream.as_str(), wakeup.due.map(value::time));
            }
        }
        (columns.wakeup_streams, columns.wakeup_dues) = wakeups.into_iter().unzip();
        columns
    }

    fn unit(&mut self, unit: &'a Append) {
        let number = value::count(self.units.stream.len());
        let before = self.events.id.len();
        let mut first = 0;
        for part in &unit.streams {
            if part.stream == unit.command.stream {
                first = value::integer(part.expected.0);
            }
            let (shard, epoch) = (i16::from(part.stream.shard().0), value::integer(part.epoch.0));
            let claim = self.claims.place(shard, epoch);
            let parts = &mut self.parts;
            match (part.events.is_empty(), part.expected.0) {
                (true, _) => {}
                (false, 0) => parts.begin += 1,
                (false, _) => parts.go_on += 1,
            }
            parts.unit.push(number);
            parts.stream.push(part.stream.as_str());
            parts.category.push(part.stream.category().as_str());
            parts.shard.push(shard);
            parts.epoch.push(epoch);
            parts.expected.push(value::integer(part.expected.0));
            parts.events.push(value::count(part.events.len()));
            parts.ids.push(&part.stream);
            for (added, event) in (1..).zip(&part.events) {
                let events = &mut self.events;
                events.stream.push(part.stream.as_str());
                events.claim.push(claim);
                events.version.push(value::integer(part.expected.0).saturating_add(added));
                events.id.push(event.id.0);
                events.kind.push(event.kind);
                events.schema.push(i32::from(event.schema_version));
                events.actor.push(&unit.origin.actor);
                events.correlation.push(unit.origin.correlation_id.0);
                events.causation.push(unit.origin.causation_id);
                events.payload.push(&event.payload);
            }
        }
        let units = &mut self.units;
        units.stream.push(unit.command.stream.as_str());
        units.command.push(unit.command.id.0);
        units.hash.push(&unit.command.request_hash);
        units.answer.push(&unit.command.answer);
        units.first.push(first);
        units.events.push(value::count(self.events.id.len() - before));
        units.last.push(value::integer(self.events.id.len() as u64));
    }

    /// The parameters of [`CALL`].
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); PARAMETERS] {
        let (u, s, e) = (&self.units, &self.parts, &self.events);
        [
            &u.stream,
            &u.command,
            &u.hash,
            &u.answer,
            &u.first,
            &u.events,
            &u.last,
            &s.unit,
            &s.stream,
            &s.category,
            &s.shard,
            &s.epoch,
            &s.expected,
            &s.events,
            &s.begin,
            &s.go_on,
            &self.claims.shards,
            &self.claims.epochs,
            &e.stream,
            &e.claim,
            &e.version,
            &e.id,
            &e.kind,
            &e.schema,
            &e.actor,
            &e.correlation,
            &e.causation,
            &e.payload,
            &self.wakeup_streams,
            &self.wakeup_dues,
        ]
    }

    /// What the function answered: the outcome of each unit, `None` for those that nothing speaks against but that
    /// were not stored, because others of the batch were refused.
    pub(super) fn outcomes(&self, rows: &[Row]) -> Result<Vec<Option<AppendOutcome>>, tokio_postgres::Error> {
        let mut outcomes = vec![None; self.units.stream.len()];
        if let [row] = rows
            && row.try_get::<_, i32>("code")? == 0
        {
            let (before, at) = (value::counter(row, "number")?, row.try_get("at")?);
            return Ok((0..outcomes.len()).map(|unit| Some(self.committed(unit, before, at))).collect());
        }
        let mut weights = vec![(i32::MAX, i64::MAX); outcomes.len()];
        for row in rows {
            let (code, part): (i32, i64) = (row.try_get("code")?, row.try_get("part")?);
            let unit = usize::try_from(row.try_get::<_, i32>("unit")?).unwrap_or(usize::MAX);
            // the first reason counts: by kind, then by place
            if let Some(weight) = weights.get_mut(unit)
                && (code, part) < *weight
            {
                *weight = (code, part);
                outcomes[unit] = Some(self.refused(row, code, part)?);
            }
        }
        Ok(outcomes)
    }

    fn committed(&self, unit: usize, before: u64, at: Timestamp) -> AppendOutcome {
        let units = &self.units;
        AppendOutcome::Committed(Committed {
            first_version: Version(units.first[unit].unsigned_abs()),
            events: units.events[unit].unsigned_abs(),
            position: Position(before + units.last[unit].unsigned_abs()),
            at,
            answer: bytes::Bytes::copy_from_slice(units.answer[unit]),
        })
    }

    fn refused(&self, row: &Row, code: i32, part: i64) -> Result<AppendOutcome, tokio_postgres::Error> {
        let stream = || {
            let index = usize::try_from(part - 1).expect("the function numbers parts from 1");
            self.parts.ids[index]
        };
        Ok(match code {
            1 => AppendOutcome::Duplicate(Committed {
                first_version: Version(value::counter(row, "first_version")?),
                events: row.try_get::<_, i32>("events")?.unsigned_abs(),
                position: Position(value::counter(row, "number")?),
                at: row.try_get("at")?,
                answer: value::bytes(row, "answer")?,
            }),
            2 => AppendOutcome::CommandReused,
            3 => AppendOutcome::Fenced {
                shard: stream().shard(),
                current: Epoch(value::counter(row, "number")?),
            },
            _ => AppendOutcome::Conflict {
                stream: stream().clone(),
                actual: Version(value::counter(row, "number")?),
            },
        })
    }
}
