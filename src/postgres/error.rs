//! PostgreSQL's errors in the words of the port: would a retry help, and is it certain that nothing was stored.
//! The details of an error are left out: they can quote rows.

use flexcore_actors::ports::event_store::StoreError;
use tokio_postgres::error::{DbError, Severity, SqlState};

/// An error of a connection attempt or of a statement that only reads.
pub(super) fn not_stored(operation: &'static str, error: tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        Some(db) if !passes(db.code()) => StoreError::Failed { operation, source: describe(error) },
        None if is_misfit(&error) => StoreError::Failed { operation, source: describe(error) },
        _ => StoreError::Unavailable { operation, source: describe(error) },
    }
}

/// Whether a value came that is not what the schema lets in: reading it again does not help.
fn is_misfit(error: &tokio_postgres::Error) -> bool {
    // what the connection met has an i/o error beneath it, or nothing
    std::error::Error::source(error).is_some_and(|source| !source.is::<std::io::Error>())
}

/// An error after a statement that writes was sent. Only an answer of severity ERROR says that its transaction was
/// rolled back; when the connection or the server's process ended, the commit may have come first.
pub(super) fn after_sending(operation: &'static str, error: tokio_postgres::Error) -> StoreError {
    if ends_connection(&error) {
        StoreError::Unknown { operation, source: describe(error) }
    } else {
        not_stored(operation, error)
    }
}

/// Is the connection of no use after this error?
pub(super) fn ends_connection(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|db| db.parsed_severity() != Some(Severity::Error))
}

/// What a person has to change.
pub(super) fn refused(operation: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Failed { operation, source: reason.into().into() }
}

/// No answer in time.
pub(super) fn too_slow(waited: std::time::Duration) -> Box<dyn std::error::Error + Send + Sync> {
    format!("no answer from postgresql within {} s", waited.as_secs()).into()
}

/// Classes of SQLSTATE that may be over by themselves or by an operator's hand.
fn passes(code: &SqlState) -> bool {
    const CLASSES: [&str; 6] = [
        "08", // connection
        "25", // the server has become read-only: another one is the primary now
        "40", // serialization, deadlock
        "53", // disk full, out of memory, too many connections
        "55", // lock timeout
        "57", // statement timeout, shutdown, starting up
    ];
    CLASSES.iter().any(|class| code.code().starts_with(class))
}

fn describe(error: tokio_postgres::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error.as_db_error() {
        Some(db) => summary(db).into(),
        None => error.into(),
    }
}

fn summary(db: &DbError) -> String {
    format!("{} (sqlstate {})", db.message(), db.code().code())
}
