//! Brings the database's schema up to date, one node at a time. The statements are in `migrations/postgres`.

use std::time::Duration;

use flexcore_actors::ports::event_store::StoreError;
use tokio_postgres::{Client, Config};

use super::{error, session};

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

/// Checks the server and migrates. The lock belongs to the session, so it ends with the connection whatever
/// happens.
pub(super) async fn run(config: &Config) -> Result<(), StoreError> {
    const OPERATION: &str = "migrate the database";
    let mut client = session::connect(config, OPERATION).await?;
    check_server(&client).await?;
    let lock = format!("set lock_timeout = {}; select pg_advisory_lock({LOCK})", TURN_TIMEOUT.as_millis());
    client.batch_execute(&lock).await.map_err(|e| error::not_stored("wait for the turn to migrate", e))?;
    let run = embedded::migrations::runner().run_async(&mut client).await;
    run.map_err(|source| StoreError::Failed { operation: OPERATION, source: Box::new(source) })?;
    // the client is dropped here: its session ends and with it the lock
    Ok(())
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
