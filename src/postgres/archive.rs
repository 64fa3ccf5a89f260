//! Moves the oldest partitions to archive files: copy, read back and compare, then remove the partition and record the
//! file at once. A crash at any point leaves every event in the database or in a recorded file; running again goes on.
//! Nothing here reads events for anyone.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use flexcore_actors::domain::event::RecordedEvent;
use flexcore_actors::domain::ids::Position;
use flexcore_actors::domain::integrity::merkle::{Hash, TILE_WIDTH};
use flexcore_actors::ports::event_store::{EventFilter, StoreError};
use sha2::{Digest, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Row};

use super::archived::blocking;
use super::{config, error, reads, session, value};
use crate::archive::{Draft, Finished, Reader};

/// Events that are copied and compared at once.
const PAGE: usize = 1_024;
/// How long appends and reads may have to wait behind the removal of a partition that waits for its lock.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the lock is tried for.
const LOCK_ATTEMPTS: u32 = 20;
/// What lies between two attempts: readers and appends get their turn.
const LOCK_PAUSE: Duration = Duration::from_secs(1);
/// Key of the advisory lock that archiving processes keep each other out by: "fcarch" in ASCII.
const LOCK: i64 = 0x6663_6172_6368;

const OPERATION: &str = "archive events";

/// What stays in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every partition that holds this position or a later one.
    Before(Position),
    /// So many partitions with events, the one that is written included.
    Partitions(u32),
}

/// What to archive, and where to.
#[derive(Debug, Clone)]
pub struct ArchiveRequest {
    /// What stays.
    pub keep: Keep,
    /// The directory for the files.
    pub dir: PathBuf,
}

/// A partition that is now a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedPartition {
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// The file's name in the directory.
    pub file: String,
    /// Of the file's bytes.
    pub sha256: [u8; 32],
}

/// What was archived, in the order of the log.
#[derive(Debug, Clone)]
pub struct ArchiveReport {
    /// Now in files.
    pub archived: Vec<ArchivedPartition>,
    /// Why no more than that.
    pub stopped_by: String,
}

struct Partition {
    name: String,
    positions: RangeInclusive<u64>,
}

/// Archives from the beginning of the log as far as the request and the partitions allow.
///
/// # Errors
/// When the database or a file fails, or a copy differs; partitions before it are archived.
pub(super) async fn run(config: &Config, request: &ArchiveRequest) -> Result<ArchiveReport, StoreError> {
    let db = session::connect(&config::reader(config), OPERATION).await?;
    prepare(&db).await?;
    let partitions = partitions(&db).await?;
    let head = number(&db, "select next_position - 1 from log_head").await?;
    let with_events = partitions.iter().filter(|part| *part.positions.start() <= head).count();
    let mut archived = Vec::new();
    for (n, part) in partitions.into_iter().enumerate() {
        let last = *part.positions.end();
        let kept = match request.keep {
            Keep::Before(position) => last >= position.0,
            Keep::Partitions(count) => with_events - n.min(with_events) <= count as usize,
        };
        let reason =
            if kept { Some("the rest is to be kept".to_owned()) } else { obstacle(&db, &part, head).await? };
        if let Some(stopped_by) = reason {
            return Ok(ArchiveReport { archived, stopped_by });
        }
        archived.push(move_out(&db, part, request).await?);
    }
    Ok(ArchiveReport { archived, stopped_by: "there are no more partitions".to_owned() })
}

async fn prepare(db: &Client) -> Result<(), StoreError> {
    let ready = flag(db, "select to_regclass('archive') is not null").await?;
    if !ready {
        return Err(error::refused(OPERATION, "the database's schema is older: run flexcore migrate first"));
    }
    let may = "has_function_privilege('flexcore_archive(text, bigint, bigint, text, bytea)', 'execute')";
    if !flag(db, &format!("select {may}")).await? {
        let reason = "the role may not remove partitions: archive as the owner of the tables, or let the owner \
                      grant execute on function flexcore_archive";
        return Err(error::refused(OPERATION, reason));
    }
    if !flag(db, &format!("select pg_try_advisory_lock({LOCK})")).await? {
        return Err(error::refused(OPERATION, "another flexcore archive is running: wait for its end"));
    }
    let timeout = format!("set lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    db.batch_execute(&timeout).await.map_err(|e| error::not_stored(OPERATION, e))
}

/// The partitions with their bounds as the catalog has them, by position.
async fn partitions(db: &Client) -> Result<Vec<Partition>, StoreError> {
    let sql = "select p.name, p.bounds[1]::bigint as low, p.bounds[2]::bigint as high from ( \
                   select c.relname::text as name, \
                          regexp_match(pg_get_expr(c.relpartbound, c.oid), '\\(''?(\\d+)''?\\) TO \\(''?(\\d+)''?\\)') \
                              as bounds \
                   from pg_inherits i join pg_class c on c.oid = i.inhrelid \
                   where i.inhparent = 'event'::regclass) p \
               order by low";
    let rows = db.query(sql, &[]).await.map_err(|e| error::not_stored(OPERATION, e))?;
    let partition = |row: &Row| {
        let (low, high) = (value::counter(row, "low")?, value::counter(row, "high")?);
        // positions begin with 1
        Ok(Partition { name: row.try_get("name")?, positions: low.max(1)..=high.saturating_sub(1) })
    };
    rows.iter().map(partition).collect::<Result<_, _>>().map_err(|e| error::not_stored(OPERATION, e))
}

/// What speaks against archiving a partition, if anything does.
async fn obstacle(db: &Client, part: &Partition, head: u64) -> Result<Option<String>, StoreError> {
    let (name, last) = (&part.name, *part.positions.end());
    if last > head {
        return Ok(Some(format!("partition {name} is not full")));
    }
    // its leaves must lie in complete tiles: those stay, and proofs are made from them
    let tiles_end = last.next_multiple_of(TILE_WIDTH as u64);
    if number(db, "select coalesce(max(size), 0) from checkpoint").await? < tiles_end {
        return Ok(Some(format!("no checkpoint covers partition {name} yet (it needs {tiles_end} events)")));
    }
    let open = format!(
        "select exists (select from wakeup w where w.stream like 'execution-%' \
         and exists (select from event e where e.stream = w.stream and e.position <= {last}))"
    );
    Ok(flag(db, &open)
        .await?
        .then(|| format!("partition {name} holds events of an execution that is still open")))
}

async fn move_out(
    db: &Client,
    part: Partition,
    request: &ArchiveRequest,
) -> Result<ArchivedPartition, StoreError> {
    let Finished { file, sha256 } = copy(db, &part, request).await?;
    compare(db, &part, request.dir.join(&file)).await?;
    remove(db, &part, &file, &sha256).await?;
    let (first, last) = (Position(*part.positions.start()), Position(*part.positions.end()));
    tracing::info!(first = first.0, last = last.0, file, "events were archived");
    Ok(ArchivedPartition { first, last, file, sha256 })
}

async fn copy(db: &Client, part: &Partition, request: &ArchiveRequest) -> Result<Finished, StoreError> {
    let (dir, positions) = (request.dir.clone(), part.positions.clone());
    let mut draft = blocking(OPERATION, move || Draft::create(&dir, &positions)).await?;
    let mut after = part.positions.start() - 1;
    while after < *part.positions.end() {
        let events = page(db, part, after).await?;
        after = events.last().map_or(after, |event| event.position.0);
        draft = blocking(OPERATION, move || {
            draft.add(&events)?;
            Ok(draft)
        })
        .await?;
    }
    blocking(OPERATION, move || draft.finish()).await
}

/// The next events of a partition, every one of them there.
async fn page(db: &Client, part: &Partition, after: u64) -> Result<Vec<RecordedEvent>, StoreError> {
    // by the table's own name: who may read it may not name its partitions
    let sql = format!(
        "select {} from event where position > $1 and position <= $2 order by position limit $3",
        reads::EVENT
    );
    let last = value::integer(*part.positions.end());
    let rows = db.query(&sql, &[&value::integer(after), &last, &value::rows(PAGE)]).await;
    let events: Result<Vec<_>, _> = rows.and_then(|rows| rows.iter().map(reads::event).collect());
    let events = events.map_err(|e| error::not_stored(OPERATION, e))?;
    let expected = (after + 1..=*part.positions.end()).take(PAGE);
    if events.iter().map(|event| event.position.0).eq(expected) {
        return Ok(events);
    }
    let reason =
        format!("partition {} lacks an event above position {after}: run flexcore verify", part.name);
    Err(error::refused(OPERATION, reason))
}

/// Reads the file back: it must hold what the database holds, with the leaves that were sealed.
async fn compare(db: &Client, part: &Partition, path: PathBuf) -> Result<(), StoreError> {
    let positions = part.positions.clone();
    let shown = path.display().to_string();
    let mut file = blocking(OPERATION, move || Reader::open(&path, positions)).await?;
    let mut after = part.positions.start() - 1;
    while after < *part.positions.end() {
        let copied;
        (file, copied) = blocking(OPERATION, move || {
            let events = file.all(Position(after), PAGE, &EventFilter::default())?;
            Ok((file, events))
        })
        .await?;
        if copied != page(db, part, after).await? {
            let reason = format!("archive file {shown} differs from the database: check the disk, run again");
            return Err(error::refused(OPERATION, reason));
        }
        check_hashes(db, &copied).await?;
        after = copied.last().map_or(after, |event| event.position.0);
    }
    Ok(())
}

async fn check_hashes(db: &Client, events: &[RecordedEvent]) -> Result<(), StoreError> {
    let index = |event: &RecordedEvent| (event.position.0 - 1) / TILE_WIDTH as u64;
    let (Some(first), Some(last)) = (events.first().map(index), events.last().map(index)) else {
        return Ok(());
    };
    let sql = "select hashes from merkle_tile where level = 0 and tile_index between $1 and $2 \
               order by tile_index";
    let rows = db.query(sql, &[&value::integer(first), &value::integer(last)]).await;
    let tiles: Result<Vec<Vec<Hash>>, _> =
        rows.and_then(|rows| rows.iter().map(|row| value::digests(row, "hashes")).collect());
    let sealed = tiles.map_err(|e| error::not_stored(OPERATION, e))?.concat();
    for event in events {
        let at = event.position.0 - 1 - first * TILE_WIDTH as u64;
        let leaf = usize::try_from(at).ok().and_then(|at| sealed.get(at));
        let payload: Hash = Sha256::digest(&event.payload).into();
        if leaf != Some(&event.hashes.leaf.0) || payload != event.hashes.payload {
            let reason = format!("event {} is not as it was sealed: run flexcore verify", event.position.0);
            return Err(error::refused(OPERATION, reason));
        }
    }
    Ok(())
}

/// Removes the partition and records the file. The lock it needs is asked for briefly and again, because appends and
/// reads queue behind it.
async fn remove(db: &Client, part: &Partition, file: &str, sha256: &[u8; 32]) -> Result<(), StoreError> {
    let (first, last) = (value::integer(*part.positions.start()), value::integer(*part.positions.end()));
    let mut attempt = 1;
    loop {
        let sql = "select flexcore_archive($1, $2, $3, $4, $5)";
        let removed = db.execute(sql, &[&part.name, &first, &last, &file, &&sha256[..]]).await;
        match removed {
            Ok(_) => return Ok(()),
            Err(e) if e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && attempt < LOCK_ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(e) => return Err(error::after_sending(OPERATION, e)),
        }
    }
}

async fn flag(db: &Client, sql: &str) -> Result<bool, StoreError> {
    let row = db.query_one(sql, &[]).await;
    row.and_then(|row| row.try_get(0)).map_err(|e| error::not_stored(OPERATION, e))
}

async fn number(db: &Client, sql: &str) -> Result<u64, StoreError> {
    let row = db.query_one(sql, &[]).await;
    row.and_then(|row| row.try_get::<_, i64>(0))
        .map(i64::unsigned_abs)
        .map_err(|e| error::not_stored(OPERATION, e))
}
