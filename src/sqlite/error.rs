//! SQLite's errors in the words of the port: would a retry help, and is it certain that nothing was stored.

use flexcore_actors::ports::event_store::StoreError;
use rusqlite::ErrorCode;

/// An error before or during the statements of a transaction: it is rolled back, so nothing is stored.
pub(super) fn not_stored(operation: &'static str, error: rusqlite::Error) -> StoreError {
    if passes(&error) {
        StoreError::Unavailable { operation, source: Box::new(error) }
    } else {
        StoreError::Failed { operation, source: Box::new(error) }
    }
}

/// An error of the commit itself: when the disk failed under it, recovery may still find the transaction whole.
pub(super) fn at_commit(operation: &'static str, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) | None => StoreError::Unknown { operation, source: Box::new(error) },
        Some(_) => not_stored(operation, error),
    }
}

/// The writer or a reader is gone: only a programming error or the end of the process does that.
pub(super) fn gone(operation: &'static str, who: &'static str) -> StoreError {
    StoreError::Failed { operation, source: format!("the {who} has ended: restart the node").into() }
}

/// May it be over by itself, or by an operator's hand (a full disk, a lock of another program)?
fn passes(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
        )
    )
}
