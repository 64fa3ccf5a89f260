//! Values as SQLite keeps them, converted by hand in both directions. No statements.

use flexcore_actors::domain::ids::{Name, StreamId};
use jiff::Timestamp;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Error, Row};
use uuid::Uuid;

/// A counter; what is beyond SQLite's integers is beyond everything stored as well.
pub(super) fn integer(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// A limit of rows; see [`integer`].
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Reads a counter.
pub(super) fn counter(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(column, value))
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let micros: i64 = row.get(column)?;
    Timestamp::from_microsecond(micros).map_err(|_| Error::IntegralValueOutOfRange(column, micros))
}

/// Reads the name of a stream.
pub(super) fn stream(row: &Row<'_>, column: usize) -> rusqlite::Result<StreamId> {
    let text: String = row.get(column)?;
    text.try_into().map_err(|e| Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// Reads a name.
pub(super) fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<Name> {
    let text: String = row.get(column)?;
    text.try_into().map_err(|e| Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// Reads an id.
pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

/// Reads an id that may be absent.
pub(super) fn optional_uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Uuid>> {
    row.get::<_, Option<[u8; 16]>>(column).map(|bytes| bytes.map(Uuid::from_bytes))
}

/// Reads bytes without a copy in between.
pub(super) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<bytes::Bytes> {
    let blob = row
        .get_ref(column)?
        .as_blob()
        .map_err(|e: FromSqlError| Error::FromSqlConversionFailure(column, Type::Blob, Box::new(e)))?;
    Ok(bytes::Bytes::copy_from_slice(blob))
}
