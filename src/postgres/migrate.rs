//! Brings the database's schema up to date, one node at a time, and says what it has. The statements are in
//! `migrations/postgres`; `guards.sql` is what holds for the functions of all of them.

use std::time::Duration;

use flexcore_actors::ports::event_store::StoreError;
use tokio_postgres::{Client, Config, Row};

use super::{error, session};
use crate::schema::{self, Applied, Migration, State};

mod embedded {
    //! The statements of `migrations/postgres`, embedded.
    refinery::embed_migrations!("migrations/postgres");
}

/// Key of the advisory lock that nodes take turns by: "flexcore" in ASCII.
const LOCK: i64 = 0x666c_6578_636f_7265;
/// How long a node waits for another one that migrates.
const TURN_TIMEOUT: Duration = Duration::from_secs(120);
/// The oldest server that is tested and supported.
const MIN_VERSION: i32 = 150_000;

/// Whichever migration made a function: who may call it, and as whom it acts.
const GUARDS: &str = include_str!("guards.sql");

const OPERATION: &str = "migrate the database";
const READ_HISTORY: &str = "read the history of migrations";

/// Checks the server and applies what is pending, each migration in a transaction of its own; gives the migrations
/// as they were before. The lock belongs to the session, so it ends with the connection whatever happens.
///
/// # Errors
/// [`StoreError::Failed`] when the database's history speaks against it ([`schema::Unfit`]) or a statement fails.
pub(super) async fn run(config: &Config) -> Result<Vec<Migration>, StoreError> {
    let mut client = session::connect(config, OPERATION).await?;
    check_server(&client).await?;
    let lock = format!("set lock_timeout = {}; select pg_advisory_lock({LOCK})", TURN_TIMEOUT.as_millis());
    client.batch_execute(&lock).await.map_err(|e| error::not_stored("wait for the turn to migrate", e))?;
    let before = compared(&client).await?;
    schema::check(&before)
        .map_err(|unfit| StoreError::Failed { operation: OPERATION, source: Box::new(unfit) })?;
    if before.iter().any(|migration| migration.state != State::Applied) {
        let run = embedded::migrations::runner().run_async(&mut client).await;
        run.map_err(|source| StoreError::Failed { operation: OPERATION, source: Box::new(source) })?;
    }
    // a role that may create nothing can run a node: for it there is nothing to change here
    let guarded = client.batch_execute(GUARDS).await;
    guarded.map_err(|e| error::not_stored("guard the functions of the schema", e))?;
    // the client is dropped here: its session ends and with it the lock
    Ok(before)
}

/// Lets a role run a node, and nothing more.
pub(super) async fn grant(config: &Config, role: &str) -> Result<(), StoreError> {
    const OPERATION: &str = "grant what a node needs";
    let client = session::connect(config, OPERATION).await?;
    client
        .execute("select flexcore_grant($1)", &[&role])
        .await
        .map(drop)
        .map_err(|e| error::not_stored(OPERATION, e))
}

/// What the database has and what it lacks. Only reads.
pub(super) async fn status(config: &Config) -> Result<Vec<Migration>, StoreError> {
    let client = session::connect(config, READ_HISTORY).await?;
    check_server(&client).await?;
    compared(&client).await
}

async fn compared(client: &Client) -> Result<Vec<Migration>, StoreError> {
    let rows = history(client).await.map_err(|e| error::not_stored(READ_HISTORY, e))?;
    let applied: Result<Vec<Applied>, _> = rows.iter().map(applied).collect();
    let applied = applied.map_err(|reason| error::refused(READ_HISTORY, reason))?;
    Ok(schema::compare(embedded::migrations::runner().get_migrations(), &applied))
}

/// The rows that the migration library keeps; a database without them was never migrated.
async fn history(client: &Client) -> Result<Vec<Row>, tokio_postgres::Error> {
    let there = "select to_regclass('refinery_schema_history') is not null";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(Vec::new());
    }
    client
        .query(
            "select version, name, applied_on, checksum from refinery_schema_history order by version",
            &[],
        )
        .await
}

fn applied(row: &Row) -> Result<Applied, String> {
    let text = |column| row.try_get::<_, String>(column).map_err(|e| e.to_string());
    let version: i32 = row.try_get("version").map_err(|e| e.to_string())?;
    let version = u32::try_from(version).map_err(|_| format!("there is a migration {version}"))?;
    let at = text("applied_on")?;
    let at = at.parse().map_err(|e| format!("migration {version} was applied at {at:?}: {e}"))?;
    Ok(Applied { version, name: text("name")?, at, checksum: text("checksum")? })
}

async fn check_server(client: &Client) -> Result<(), StoreError> {
    const OPERATION: &str = "check the database server";
    let row = client
        .query_one(
            "select current_setting('server_version_num')::int, current_setting('server_encoding')",
            &[],
        )
        .await
        .map_err(|e| error::not_stored(OPERATION, e))?;
    let (version, encoding): (i32, String) = (row.get(0), row.get(1));
    if version < MIN_VERSION {
        let reason =
            format!("postgresql {}.{} is too old: use 15 or newer", version / 10_000, version % 10_000);
        return Err(error::refused(OPERATION, reason));
    }
    if encoding != "UTF8" {
        let reason = format!("the database's encoding is {encoding}: create it with encoding 'UTF8'");
        return Err(error::refused(OPERATION, reason));
    }
    Ok(())
}
