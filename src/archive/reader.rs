//! Reading an archive file. Every function blocks: call it where blocking is allowed. Nothing here writes.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{Position, StreamId, Version};
use flexcore_actors::ports::batch::next_micro;
use flexcore_actors::ports::event_store::EventFilter;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params, params_from_iter};

use super::error::ArchiveError;
use super::row::{self, COLUMNS, integer};
use super::{APPLICATION, FORMAT};

/// An open archive file.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
    /// The positions it holds.
    holds: RangeInclusive<u64>,
}

impl Reader {
    /// Opens a file that must hold exactly the events at these positions.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`] when there is no such file, [`ArchiveError::Damaged`] when it is something else.
    pub fn open(path: &Path, holds: RangeInclusive<u64>) -> Result<Self, ArchiveError> {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(ArchiveError::Missing { path: path.to_path_buf() }),
            Err(source) => return Err(ArchiveError::Io { path: path.to_path_buf(), source }),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let broken = |source| ArchiveError::Database { path: path.to_path_buf(), source };
        let db = Connection::open_with_flags(path, flags).map_err(broken)?;
        let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(broken);
        if (pragma("application_id")?, pragma("user_version")?) != (APPLICATION, FORMAT) {
            let reason = "it is no archive of this version's format".to_owned();
            return Err(ArchiveError::Damaged { path: path.to_path_buf(), reason });
        }
        Ok(Self { db, path: path.to_path_buf(), holds })
    }

    /// Events with a position above `after` that pass the filter, in order, at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read, or lacks an event.
    pub fn all(
        &self,
        after: Position,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<RecordedEvent>, ArchiveError> {
        let mut sql = format!("select {COLUMNS} from event where position > ?1");
        let mut bound = vec![number(after.0)];
        let mut demand = |condition: &str, value: Value| {
            bound.push(value);
            sql.push_str(&condition.replace('$', &format!("?{}", bound.len())));
        };
        if let Some(stream) = &filter.stream {
            demand(" and stream = $", Value::Text(stream.as_str().to_owned()));
        }
        if let Some(from) = filter.from {
            demand(" and recorded_at >= $", Value::Integer(next_micro(from).as_microsecond()));
        }
        if let Some(to) = filter.to {
            demand(" and recorded_at < $", Value::Integer(next_micro(to).as_microsecond()));
        }
        for (n, kind) in filter.kinds.iter().enumerate() {
            demand(if n == 0 { " and kind in ($" } else { ", $" }, Value::Text(kind.clone()));
        }
        let close = if filter.kinds.is_empty() { "" } else { ")" };
        let order = if filter.stream.is_some() { "version" } else { "position" };
        sql.push_str(&format!("{close} order by {order} limit {}", integer(limit as u64)));
        let events = self.events(&sql, bound)?;
        if *filter == EventFilter::default() {
            self.check_gapless(after, limit, &events)?;
        }
        Ok(events)
    }

    /// Events of one stream with a version above `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stream(
        &self,
        stream: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ArchiveError> {
        let sql = format!(
            "select {COLUMNS} from event where stream = ?1 and version > ?2 order by version limit ?3"
        );
        let bound = vec![Value::Text(stream.as_str().to_owned()), number(after.0), number(limit as u64)];
        self.events(&sql, bound)
    }

    /// The leaf hashes of the events at these positions, in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn leaves(&self, positions: RangeInclusive<u64>) -> Result<Vec<[u8; 32]>, ArchiveError> {
        let sql = "select leaf_hash from event where position between ?1 and ?2 order by position";
        let read = || {
            let mut statement = self.db.prepare(sql)?;
            let bounds = params![integer(*positions.start()), integer(*positions.end())];
            statement.query_map(bounds, |row| row.get(0))?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|source| self.broken(source))
    }

    fn events(&self, sql: &str, bound: Vec<Value>) -> Result<Vec<RecordedEvent>, ArchiveError> {
        let read = || {
            let mut statement = self.db.prepare(sql)?;
            statement.query_map(params_from_iter(bound), row::read)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|source| self.broken(source))
    }

    fn check_gapless(
        &self,
        after: Position,
        limit: usize,
        events: &[RecordedEvent],
    ) -> Result<(), ArchiveError> {
        let first = (after.0 + 1).max(*self.holds.start());
        let expected = (first..=*self.holds.end()).take(limit);
        if events.iter().map(|event| event.position.0).eq(expected) {
            return Ok(());
        }
        let (first, last) = (self.holds.start(), self.holds.end());
        let reason = format!("it must hold every position from {first} to {last}, and some are missing");
        Err(ArchiveError::Damaged { path: self.path.clone(), reason })
    }

    fn broken(&self, source: rusqlite::Error) -> ArchiveError {
        ArchiveError::Database { path: self.path.clone(), source }
    }
}

fn number(value: u64) -> Value {
    Value::Integer(integer(value))
}
