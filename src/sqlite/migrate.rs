//! Brings a file's schema up to date, and says what it has. The statements are in `migrations/sqlite`.

use flexcore_actors::ports::event_store::StoreError;
use rusqlite::Connection;

use super::error;
use crate::schema::{self, Applied, Migration};

mod embedded {
    //! The statements of `migrations/sqlite`, embedded.
    refinery::embed_migrations!("migrations/sqlite");
}

/// Applies what is pending, each migration in a transaction of its own; gives what there was to see before.
///
/// # Errors
/// [`StoreError::Failed`] when the file's history speaks against it ([`schema::Unfit`]) or a statement fails.
pub(super) fn run(connection: &mut Connection) -> Result<Vec<Migration>, StoreError> {
    const OPERATION: &str = "migrate the store's file";
    let before = status(connection)?;
    schema::check(&before)
        .map_err(|unfit| StoreError::Failed { operation: OPERATION, source: Box::new(unfit) })?;
    let run = embedded::migrations::runner().run(connection);
    run.map_err(|source| StoreError::Failed { operation: OPERATION, source: Box::new(source) })?;
    Ok(before)
}

/// What the file has and what it lacks. Only reads.
pub(super) fn status(connection: &Connection) -> Result<Vec<Migration>, StoreError> {
    const OPERATION: &str = "read the history of migrations";
    let applied = history(connection).map_err(|e| error::not_stored(OPERATION, e))?;
    Ok(schema::compare(embedded::migrations::runner().get_migrations(), &applied))
}

/// What a file that does not exist yet lacks: everything.
pub(super) fn status_of_nothing() -> Vec<Migration> {
    schema::compare(embedded::migrations::runner().get_migrations(), &[])
}

/// The rows that the migration library keeps; a file without them was never migrated.
fn history(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let there =
        "select count(*) from sqlite_schema where type = 'table' and name = 'refinery_schema_history'";
    if connection.query_row(there, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(Vec::new());
    }
    let mut rows = connection.prepare(
        "select version, name, applied_on, checksum from refinery_schema_history order by version",
    )?;
    rows.query_map([], |row| {
        let at: String = row.get(2)?;
        let at = at.parse().map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(e))
        })?;
        Ok(Applied { version: row.get(0)?, name: row.get(1)?, at, checksum: row.get(3)? })
    })?
    .collect()
}
