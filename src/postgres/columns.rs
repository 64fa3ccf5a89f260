//! A batch as the columns that `flexcore_append` takes, and its answer as outcomes. No connection.

use std::collections::{HashMap, HashSet};

use flexcore_actors::domain::ids::{Epoch, Position, StreamId, Version};
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::event_store::{Append, AppendOutcome, Committed};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::value;

/// How many parameters the function takes.
pub(super) const PARAMETERS: usize = 38;
/// The call; the parameters are numbered in the order of [`Columns::parameters`].
pub(super) const CALL: &str = "select code, unit, part, number, events, first_version, at, answer \
     from flexcore_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
     $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38)";

/// The columns of some units of a batch.
pub(super) struct Columns<'a> {
    node: &'a str,
    at: Timestamp,
    /// The leaf hashes of all events, one after the other.
    leaves: Vec<u8>,
    units: Vec<Unit<'a>>,
    commands: CommandColumns<'a>,
    unnamed: UnnamedColumns,
    parts: PartColumns<'a>,
    events: EventColumns<'a>,
    claims: Claims,
    wakeup_streams: Vec<&'a str>,
    wakeup_dues: Vec<Option<Timestamp>>,
}

/// What the outcome of a unit is made of.
struct Unit<'a> {
    append: &'a Append,
    /// Events of this batch up to and with the unit.
    last: u64,
}

#[derive(Default)]
struct CommandColumns<'a> {
    unit: Vec<i32>,
    stream: Vec<&'a str>,
    id: Vec<Uuid>,
    hash: Vec<&'a [u8]>,
    answer: Vec<&'a [u8]>,
    first: Vec<i64>,
    events: Vec<i32>,
    last: Vec<i64>,
}

/// Units without a command, which are known by their first event.
#[derive(Default)]
struct UnnamedColumns {
    unit: Vec<i32>,
    /// Its place among the events, from 1.
    event: Vec<i64>,
}

#[derive(Default)]
struct PartColumns<'a> {
    unit: Vec<i32>,
    stream: Vec<&'a str>,
    category: Vec<&'static str>,
    shard: Vec<i16>,
    epoch: Vec<Option<i64>>,
    expected: Vec<i64>,
    events: Vec<i32>,
    leaf: Vec<Option<&'a [u8]>>,
    /// How many of them get their first events, and how many further ones.
    begin: i32,
    go_on: i32,
    ids: Vec<&'a StreamId>,
}

/// Each pair of shard and epoch that has to be right, once.
#[derive(Default)]
struct Claims {
    shards: Vec<i16>,
    epochs: Vec<i64>,
    known: HashSet<(i16, i64)>,
}

impl Claims {
    fn add(&mut self, shard: i16, epoch: i64) {
        if self.known.insert((shard, epoch)) {
            self.shards.push(shard);
            self.epochs.push(epoch);
        }
    }
}

#[derive(Default)]
struct EventColumns<'a> {
    stream: Vec<&'a str>,
    version: Vec<i64>,
    id: Vec<Uuid>,
    kind: Vec<&'static str>,
    schema: Vec<i32>,
    actor: Vec<&'a str>,
    correlation: Vec<Uuid>,
    causation: Vec<Option<Uuid>>,
    payload: Vec<&'a [u8]>,
    payload_hash: Vec<&'a [u8]>,
    leaf: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// Lays out units of a batch, given by their places in it, in order.
    pub(super) fn of(batch: &'a Batch, units: impl IntoIterator<Item = usize>) -> Self {
        let mut columns = Self {
            node: batch.node(),
            at: value::time(batch.at()),
            leaves: Vec::new(),
            units: Vec::new(),
            commands: CommandColumns::default(),
            unnamed: UnnamedColumns::default(),
            parts: PartColumns::default(),
            events: EventColumns::default(),
            claims: Claims::default(),
            wakeup_streams: Vec::new(),
            wakeup_dues: Vec::new(),
        };
        let mut wakeups = HashMap::new();
        for unit in units {
            columns.unit(batch, unit);
            for wakeup in &batch.units()[unit].wakeups {
                // of several for one stream the last counts
                wakeups.insert(wakeup.stream.as_str(), wakeup.due.map(value::time));
            }
        }
        (columns.wakeup_streams, columns.wakeup_dues) = wakeups.into_iter().unzip();
        columns
    }

    fn unit(&mut self, batch: &'a Batch, place: usize) {
        let append = &batch.units()[place];
        let number = value::count(self.units.len());
        let before = self.events.id.len();
        self.parts(batch, place, number);
        self.events(batch, place);
        let last = self.events.id.len() as u64;
        if let Some(command) = &append.command {
            let commands = &mut self.commands;
            commands.unit.push(number);
            commands.stream.push(append.own().stream.as_str());
            commands.id.push(command.id.0);
            commands.hash.push(&command.request_hash);
            commands.answer.push(&command.answer);
            commands.first.push(value::integer(append.own().expected.0));
            commands.events.push(value::count(append.events()));
            commands.last.push(value::integer(last));
        } else if append.events() > 0 {
            self.unnamed.unit.push(number);
            self.unnamed.event.push(value::rows(before + 1));
        }
        self.units.push(Unit { append, last });
    }

    fn parts(&mut self, batch: &'a Batch, place: usize, number: i32) {
        let mut heads = batch.heads(place);
        for part in &batch.units()[place].streams {
            let shard = i16::from(part.stream.shard().0);
            let epoch = part.epoch.map(|epoch| value::integer(epoch.0));
            if let Some(epoch) = epoch {
                self.claims.add(shard, epoch);
            }
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
            let leaf = if part.events.is_empty() { None } else { heads.next() };
            parts.leaf.push(leaf.map(|(_, leaf)| &leaf.0[..]));
            parts.ids.push(&part.stream);
        }
    }

    fn events(&mut self, batch: &'a Batch, place: usize) {
        let origin = &batch.units()[place].origin;
        for (stream, version, event, hashes) in batch.events(place) {
            self.leaves.extend(hashes.leaf.0);
            let events = &mut self.events;
            events.stream.push(stream.as_str());
            events.version.push(value::integer(version.0));
            events.id.push(event.id.0);
            events.kind.push(event.kind);
            events.schema.push(i32::from(event.schema_version));
            events.actor.push(&origin.actor);
            events.correlation.push(origin.correlation_id.0);
            events.causation.push(origin.causation_id);
            events.payload.push(&event.payload);
            events.payload_hash.push(&hashes.payload);
            events.leaf.push(&hashes.leaf.0);
        }
    }

    /// The parameters of [`CALL`].
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); PARAMETERS] {
        let (c, s, e) = (&self.commands, &self.parts, &self.events);
        [
            &self.node,
            &self.at,
            &self.leaves,
            &c.unit,
            &c.stream,
            &c.id,
            &c.hash,
            &c.answer,
            &c.first,
            &c.events,
            &c.last,
            &self.unnamed.unit,
            &self.unnamed.event,
            &s.unit,
            &s.stream,
            &s.category,
            &s.shard,
            &s.epoch,
            &s.expected,
            &s.events,
            &s.leaf,
            &s.begin,
            &s.go_on,
            &self.claims.shards,
            &self.claims.epochs,
            &e.stream,
            &e.version,
            &e.id,
            &e.kind,
            &e.schema,
            &e.actor,
            &e.correlation,
            &e.causation,
            &e.payload,
            &e.payload_hash,
            &e.leaf,
            &self.wakeup_streams,
            &self.wakeup_dues,
        ]
    }

    /// What the function answered: the outcome of each unit, `None` for those that nothing speaks against but that
    /// were not stored, because others of the batch were refused.
    pub(super) fn outcomes(&self, rows: &[Row]) -> Result<Vec<Option<AppendOutcome>>, tokio_postgres::Error> {
        let mut outcomes = vec![None; self.units.len()];
        if let [row] = rows
            && row.try_get::<_, i32>("code")? == 0
        {
            let before = value::counter(row, "number")?;
            return Ok(self.units.iter().map(|unit| Some(self.committed(unit, before))).collect());
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
                outcomes[unit] = Some(self.refused(row, unit, code, part)?);
            }
        }
        Ok(outcomes)
    }

    fn committed(&self, unit: &Unit<'_>, before: u64) -> AppendOutcome {
        AppendOutcome::Committed(Committed {
            first_version: unit.append.own().expected,
            events: events(unit.append),
            position: Position(before + unit.last),
            at: self.at,
            answer: unit.append.command.as_ref().map(|c| c.answer.clone()).unwrap_or_default(),
        })
    }

    fn refused(
        &self,
        row: &Row,
        unit: usize,
        code: i32,
        part: i64,
    ) -> Result<AppendOutcome, tokio_postgres::Error> {
        let stream = || {
            let index = usize::try_from(part - 1).expect("the function numbers parts from 1");
            self.parts.ids[index]
        };
        let append = self.units[unit].append;
        Ok(match code {
            1 => AppendOutcome::Duplicate(Committed {
                first_version: Version(value::counter(row, "first_version")?),
                events: row.try_get::<_, i32>("events")?.unsigned_abs(),
                position: Position(value::counter(row, "number")?),
                at: row.try_get("at")?,
                answer: value::bytes(row, "answer")?,
            }),
            2 => AppendOutcome::CommandReused,
            3 => AppendOutcome::Duplicate(Committed {
                first_version: append.own().expected,
                events: events(append),
                position: Position(value::counter(row, "number")? + u64::from(events(append)) - 1),
                at: row.try_get("at")?,
                answer: bytes::Bytes::new(),
            }),
            4 => AppendOutcome::Fenced {
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

fn events(unit: &Append) -> u32 {
    value::count(unit.events()).unsigned_abs()
}
