//! What one transaction does with a batch: judge each unit in order, store the good ones. Runs on the writer's thread
//! only; it neither begins nor ends the transaction.

use flexcore_actors::domain::ids::{Position, StreamId, Version};
use flexcore_actors::ports::batch::whole_micros;
use flexcore_actors::ports::event_store::{Append, AppendOutcome, Committed, StreamAppend};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Result, Transaction, params};

use super::{reads, value};

/// Stores the units that nothing speaks against; one outcome for each unit.
pub(super) fn batch(tx: &Transaction<'_>, units: &[Append], now: Timestamp) -> Result<Vec<AppendOutcome>> {
    let before = reads::head(tx)?;
    let mut appender = Appender { tx, now, last: before };
    let outcomes = units.iter().map(|unit| appender.unit(unit)).collect::<Result<Vec<_>>>()?;
    if appender.last != before {
        tx.prepare_cached("update log_head set next_position = ?1")?
            .execute([value::integer(appender.last.0 + 1)])?;
    }
    Ok(outcomes)
}

struct Appender<'a> {
    tx: &'a Transaction<'a>,
    now: Timestamp,
    last: Position,
}

impl Appender<'_> {
    fn unit(&mut self, unit: &Append) -> Result<AppendOutcome> {
        if let Some((hash, first)) = reads::command(self.tx, &unit.command.stream, unit.command.id)? {
            let same = hash == unit.command.request_hash;
            return Ok(if same { AppendOutcome::Duplicate(first) } else { AppendOutcome::CommandReused });
        }
        let mut owners = Vec::with_capacity(unit.streams.len());
        for part in &unit.streams {
            match self.owner(part)? {
                Ok(owner) => owners.push(owner),
                Err(fenced) => return Ok(fenced),
            }
        }
        for part in &unit.streams {
            let actual = self.version(&part.stream)?;
            if actual != part.expected {
                return Ok(AppendOutcome::Conflict { stream: part.stream.clone(), actual });
            }
        }
        self.store(unit, &owners).map(AppendOutcome::Committed)
    }

    /// S1: the owner of the part's shard, if the part was written under the shard's epoch.
    fn owner(&self, part: &StreamAppend) -> Result<std::result::Result<String, AppendOutcome>> {
        let shard = part.stream.shard();
        let mut statement = self.tx.prepare_cached("select owner, epoch from shard where shard = ?1")?;
        let (owner, epoch): (Option<String>, _) =
            statement.query_row([shard.0], |row| Ok((row.get(0)?, value::counter(row, 1)?)))?;
        let fenced = AppendOutcome::Fenced { shard, current: flexcore_actors::domain::ids::Epoch(epoch) };
        Ok(owner.filter(|_| epoch == part.epoch.0).ok_or(fenced))
    }

    fn version(&self, stream: &StreamId) -> Result<Version> {
        let mut statement = self.tx.prepare_cached("select head_version from stream where name = ?1")?;
        let version = statement.query_row([stream.as_str()], |row| value::counter(row, 0)).optional()?;
        Ok(Version(version.unwrap_or(0)))
    }

    fn store(&mut self, unit: &Append, owners: &[String]) -> Result<Committed> {
        let before = self.last;
        let mut first_version = Version(0);
        for (part, owner) in unit.streams.iter().zip(owners) {
            if part.stream == unit.command.stream {
                first_version = part.expected;
            }
            self.events(unit, part, owner)?;
        }
        self.wakeups(unit)?;
        let committed = Committed {
            first_version,
            events: u32::try_from(self.last.0 - before.0).expect("a unit is far smaller"),
            position: self.last,
            at: self.now,
            answer: unit.command.answer.clone(),
        };
        self.command(unit, &committed)?;
        Ok(committed)
    }

    fn events(&mut self, unit: &Append, part: &StreamAppend, owner: &str) -> Result<()> {
        let mut insert = self.tx.prepare_cached(
            "insert into event (position, stream, version, id, kind, schema_version, recorded_at, node, actor, \
             correlation_id, causation_id, payload) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        let origin = &unit.origin;
        for (version, event) in (part.expected.0 + 1..).zip(&part.events) {
            self.last.0 += 1;
            insert.execute(params![
                value::integer(self.last.0),
                part.stream.as_str(),
                value::integer(version),
                event.id.0.as_bytes(),
                event.kind,
                event.schema_version,
                self.now.as_microsecond(),
                owner,
                origin.actor,
                origin.correlation_id.0.as_bytes(),
                origin.causation_id.as_ref().map(uuid::Uuid::as_bytes),
                &event.payload[..],
            ])?;
        }
        if part.events.is_empty() {
            return Ok(());
        }
        let head = part.expected.0 + part.events.len() as u64;
        self.tx
            .prepare_cached(
                "insert into stream (name, category, shard, head_version) values (?1, ?2, ?3, ?4) \
                 on conflict (name) do update set head_version = excluded.head_version",
            )?
            .execute(params![
                part.stream.as_str(),
                part.stream.category().as_str(),
                part.stream.shard().0,
                value::integer(head),
            ])?;
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

    fn command(&self, unit: &Append, committed: &Committed) -> Result<()> {
        let mut insert = self.tx.prepare_cached(
            "insert into command (stream, command_id, request_hash, first_version, events, position, \
             committed_at, answer) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        insert.execute(params![
            unit.command.stream.as_str(),
            unit.command.id.0.as_bytes(),
            unit.command.request_hash,
            value::integer(committed.first_version.0),
            committed.events,
            value::integer(committed.position.0),
            committed.at.as_microsecond(),
            &committed.answer[..],
        ])?;
        Ok(())
    }
}
