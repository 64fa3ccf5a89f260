//! Reading over the seam between the database and archive files. Archived events are always the beginning of the log,
//! so a read that begins right after what was asked for needs no file. The database is asked for events first and for
//! files afterwards: what is archived in between is in both answers, never in none.

use std::ops::Range;
use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::{Position, StreamId, Version};
use flexcore_actors::domain::integrity::merkle::Hash;
use flexcore_actors::ports::event_store::{EventFilter, StoreError};
use tokio_postgres::{Error, Row};

use super::{PostgresStore, error, reads, value};
use crate::archive::{ArchiveError, Reader, Recorded};

/// Events of the database, and the files to look into before them.
pub(super) struct Found {
    events: Vec<RecordedEvent>,
    files: Vec<Recorded>,
}

/// Events of one stream.
pub(super) async fn stream(
    db: &ClientWrapper,
    stream: &StreamId,
    after: Version,
    limit: usize,
) -> Result<Found, Error> {
    let events = reads::stream(db, stream, after, limit).await?;
    let whole = match events.first() {
        Some(event) => event.version.0 == after.0 + 1,
        None => reads::head_version(db, stream).await? <= after,
    };
    let files = if whole { Vec::new() } else { files(db, Position(0)).await? };
    Ok(Found { events, files })
}

/// Events of the whole store.
pub(super) async fn all(
    db: &ClientWrapper,
    after: Position,
    limit: usize,
    filter: &EventFilter,
) -> Result<Found, Error> {
    let events = reads::all(db, after, limit, filter).await?;
    let whole = events.first().is_some_and(|event| event.position.0 == after.0 + 1);
    let files = if whole { Vec::new() } else { files(db, after).await? };
    Ok(Found { events, files })
}

/// The files that hold positions above `after`.
pub(super) async fn files(db: &ClientWrapper, after: Position) -> Result<Vec<Recorded>, Error> {
    let sql = "select first_position, last_position, file, sha256 from archive where last_position > $1 \
               order by first_position";
    let statement = db.prepare_cached(sql).await?;
    let file = |row: &Row| {
        let positions = value::counter(row, "first_position")?..=value::counter(row, "last_position")?;
        Ok(Recorded { name: row.try_get("file")?, sha256: value::digest(row, "sha256")?, positions })
    };
    db.query(&statement, &[&value::integer(after.0)]).await?.iter().map(file).collect()
}

impl PostgresStore {
    /// Puts what `read` finds in the files before the events of the database, at most `limit` in all.
    pub(super) async fn complete(
        &self,
        operation: &'static str,
        found: Found,
        limit: usize,
        read: impl Fn(&Reader, usize) -> Result<Vec<RecordedEvent>, ArchiveError> + Send + 'static,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let Found { events, files } = found;
        if files.is_empty() {
            return Ok(events);
        }
        let collect = move |opened: &mut dyn Iterator<Item = Result<Reader, ArchiveError>>| {
            let mut all: Vec<RecordedEvent> = Vec::new();
            while all.len() < limit
                && let Some(file) = opened.next()
            {
                all.extend(read(&file?, limit - all.len())?);
            }
            Ok(all)
        };
        let mut all = self.in_files(operation, files, collect).await?;
        let last = all.last().map_or(0, |event| event.position.0);
        all.extend(events.into_iter().filter(|event| event.position.0 > last));
        all.truncate(limit);
        Ok(all)
    }

    /// Puts the leaf hashes of archived events before those of the database.
    pub(super) async fn complete_leaves(
        &self,
        operation: &'static str,
        indexes: Range<u64>,
        stored: Vec<Hash>,
        files: Vec<Recorded>,
    ) -> Result<Vec<Hash>, StoreError> {
        let Some(last) = files.last().map(|file| *file.positions.end()) else { return Ok(stored) };
        let collect = move |opened: &mut dyn Iterator<Item = Result<Reader, ArchiveError>>| {
            let mut all = Vec::new();
            for file in opened {
                all.extend(file?.leaves(indexes.start + 1..=indexes.end)?);
            }
            // the database's part may begin in a file, if that was made in between
            let seam = usize::try_from(indexes.end.saturating_sub(last)).unwrap_or(usize::MAX);
            all.extend_from_slice(&stored[stored.len().saturating_sub(seam)..]);
            Ok(all)
        };
        self.in_files(operation, files, collect).await
    }

    /// Opens the files one after the other, on a thread that may block.
    async fn in_files<T: Send + 'static>(
        &self,
        operation: &'static str,
        files: Vec<Recorded>,
        collect: impl FnOnce(&mut dyn Iterator<Item = Result<Reader, ArchiveError>>) -> Result<T, ArchiveError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let Some(dir) = self.archive_dir.clone() else {
            return Err(error::refused(
                operation,
                "events are in archive files: set archive.dir to their place",
            ));
        };
        let checked = Arc::clone(&self.archives);
        blocking(operation, move || {
            let mut opened = files.iter().map(|file| checked.open(&dir, file));
            collect(&mut opened)
        })
        .await
    }
}

/// Works with archive files where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|source| {
            let passes = source.passes();
            let source = Box::new(source);
            if passes {
                StoreError::Unavailable { operation, source }
            } else {
                StoreError::Failed { operation, source }
            }
        }),
        Err(source) => Err(StoreError::Failed { operation, source: Box::new(source) }),
    }
}
