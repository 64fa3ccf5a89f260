//! What one transaction does with a batch: judge each unit in order, store the good ones. Runs on the writer's thread
//! only; it neither begins nor ends the transaction.

use flexcore_actors::domain::ids::{Epoch, Position, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::{LeafHash, next_digest};
use flexcore_actors::ports::batch::{Batch, whole_micros};
use flexcore_actors::ports::event_store::{Append, AppendOutcome, CommandRecord, Committed, StreamAppend};
use rusqlite::{OptionalExtension, Result, Row, Transaction, params};

use super::{reads, value};

/// Stores the units that nothing speaks against; one outcome for each unit.
pub(super) fn batch(tx: &Transaction<'_>, batch: &Batch) -> Result<Vec<AppendOutcome>> {
    let (before, digest) = tx
        .prepare_cached("select next_position - 1, digest from log_head")?
        .query_row([], |row| Ok((Position(value::counter(row, 0)?), row.get(1)?)))?;
    let mut appender = Appender { tx, batch, last: before, leaves: Vec::new() };
    let outcomes = (0..batch.units().len()).map(|unit| appender.unit(unit)).collect::<Result<Vec<_>>>()?;
    if appender.last != before {
        tx.prepare_cached("update log_head set next_position = ?1, digest = ?2")?
            .execute(params![value::integer(appender.last.0 + 1), next_digest(digest, appender.leaves)])?;
    }
    Ok(outcomes)
}

struct Appender<'a> {
    tx: &'a Transaction<'a>,
    batch: &'a Batch,
    last: Position,
    /// Of the events stored so far.
    leaves: Vec<LeafHash>,
}

impl Appender<'_> {
    fn unit(&mut self, number: usize) -> Result<AppendOutcome> {
        let unit = &self.batch.units()[number];
        if let Some(command) = &unit.command
            && let Some((hash, first)) = reads::command(self.tx, &unit.own().stream, command.id)?
        {
            let same = hash == command.request_hash;
            return Ok(if same { AppendOutcome::Duplicate(first) } else { AppendOutcome::CommandReused });
        }
        if let Some(refused) = self.refused(unit)? {
            return Ok(self.repeated(unit)?.unwrap_or(refused));
        }
        self.store(number).map(AppendOutcome::Committed)
    }

    fn refused(&self, unit: &Append) -> Result<Option<AppendOutcome>> {
        for part in &unit.streams {
            if let Some(fenced) = self.fenced(part)? {
                return Ok(Some(fenced));
            }
        }
        for part in &unit.streams {
            let actual = self.version(&part.stream)?;
            if actual != part.expected {
                return Ok(Some(AppendOutcome::Conflict { stream: part.stream.clone(), actual }));
            }
        }
        Ok(None)
    }

    /// A unit without a command was stored before when its first event stands where it would be put.
    fn repeated(&self, unit: &Append) -> Result<Option<AppendOutcome>> {
        let Some(part) = unit.streams.iter().find(|part| unit.command.is_none() && !part.events.is_empty())
        else {
            return Ok(None);
        };
        let mut statement = self.tx.prepare_cached(
            "select position, recorded_at from event where stream = ?1 and version = ?2 and id = ?3",
        )?;
        let version = value::integer(part.expected.0).saturating_add(1);
        let id = part.events[0].id.0;
        let events = u32::try_from(unit.events()).expect("a unit is far smaller");
        let stored = |row: &Row<'_>| {
            Ok(AppendOutcome::Duplicate(Committed {
                first_version: unit.own().expected,
                events,
                position: Position(value::counter(row, 0)? + u64::from(events) - 1),
                at: value::time(row, 1)?,
                answer: bytes::Bytes::new(),
            }))
        };
        statement.query_row(params![part.stream.as_str(), version, id.as_bytes()], stored).optional()
    }

    /// S1: whether the batch's node does not own the part's shard under the epoch that the part names.
    fn fenced(&self, part: &StreamAppend) -> Result<Option<AppendOutcome>> {
        let Some(named) = part.epoch else { return Ok(None) };
        let shard = part.stream.shard();
        let mut statement = self.tx.prepare_cached("select owner, epoch from shard where shard = ?1")?;
        let (owner, epoch): (Option<String>, _) =
            statement.query_row([shard.0], |row| Ok((row.get(0)?, value::counter(row, 1)?)))?;
        let owned = epoch == named.0 && owner.as_deref() == Some(self.batch.node());
        Ok((!owned).then_some(AppendOutcome::Fenced { shard, current: Epoch(epoch) }))
    }

    fn version(&self, stream: &StreamId) -> Result<Version> {
        let mut statement = self.tx.prepare_cached("select head_version from stream where name = ?1")?;
        let version = statement.query_row([stream.as_str()], |row| value::counter(row, 0)).optional()?;
        Ok(Version(version.unwrap_or(0)))
    }

    fn store(&mut self, number: usize) -> Result<Committed> {
        let unit = &self.batch.units()[number];
        self.events(number)?;
        self.heads(number)?;
        self.wakeups(unit)?;
        let committed = Committed {
            first_version: unit.own().expected,
            events: u32::try_from(unit.events()).expect("a unit is far smaller"),
            position: self.last,
            at: self.batch.at(),
            answer: unit.command.as_ref().map(|command| command.answer.clone()).unwrap_or_default(),
        };
        if let Some(command) = &unit.command {
            self.command(&unit.own().stream, command, &committed)?;
        }
        Ok(committed)
    }

    fn events(&mut self, number: usize) -> Result<()> {
        let mut insert = self.tx.prepare_cached(
            "insert into event (position, stream, version, id, kind, schema_version, recorded_at, node, actor, \
             correlation_id, causation_id, payload, payload_hash, leaf_hash) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?;
        let (batch, origin) = (self.batch, &self.batch.units()[number].origin);
        for (stream, version, event, hashes) in batch.events(number) {
            self.last.0 += 1;
            self.leaves.push(hashes.leaf);
            insert.execute(params![
                value::integer(self.last.0),
                stream.as_str(),
                value::integer(version.0),
                event.id.0.as_bytes(),
                event.kind,
                event.schema_version,
                batch.at().as_microsecond(),
                batch.node(),
                origin.actor,
                origin.correlation_id.0.as_bytes(),
                origin.causation_id.as_ref().map(uuid::Uuid::as_bytes),
                &event.payload[..],
                hashes.payload,
                hashes.leaf.0,
            ])?;
        }
        Ok(())
    }

    fn heads(&self, number: usize) -> Result<()> {
        let mut upsert = self.tx.prepare_cached(
            "insert into stream (name, category, shard, head_version, leaf_hash) values (?1, ?2, ?3, ?4, ?5) \
             on conflict (name) do update \
             set head_version = excluded.head_version, leaf_hash = excluded.leaf_hash",
        )?;
        for (part, leaf) in self.batch.heads(number) {
            let head = part.expected.0 + part.events.len() as u64;
            upsert.execute(params![
                part.stream.as_str(),
                part.stream.category().as_str(),
                part.stream.shard().0,
                value::integer(head),
                leaf.0,
            ])?;
        }
        Ok(())
    }

    fn wakeups(&self, unit: &Append) -> Result<()> {
        for wakeup in &unit.wakeups {
            let stream = wakeup.stream.as_str();
            match wakeup.due {
                Some(due) => self
                    .tx
                    .prepare_cached(
                        "insert into wakeup (stream, due) values (?1, ?2) \
                         on conflict (stream) do update set due = excluded.due",
                    )?
                    .execute(params![stream, whole_micros(due).as_microsecond()])?,
                None => self.tx.prepare_cached("delete from wakeup where stream = ?1")?.execute([stream])?,
            };
        }
        Ok(())
    }

    fn command(&self, stream: &StreamId, command: &CommandRecord, committed: &Committed) -> Result<()> {
        let mut insert = self.tx.prepare_cached(
            "insert into command (stream, command_id, request_hash, first_version, events, position, \
             committed_at, answer) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        insert.execute(params![
            stream.as_str(),
            command.id.0.as_bytes(),
            command.request_hash,
            value::integer(committed.first_version.0),
            committed.events,
            value::integer(committed.position.0),
            committed.at.as_microsecond(),
            &committed.answer[..],
        ])?;
        Ok(())
    }
}
