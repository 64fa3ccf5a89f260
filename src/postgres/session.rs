//! Making one connection and driving it. Nothing here knows a statement of the store.

use flexcore_actors::ports::event_store::StoreError;
use tokio_postgres::{Client, Config, NoTls};

use super::config::CONNECT_TIMEOUT;
use super::error;

/// Connects within [`CONNECT_TIMEOUT`]; a task of its own drives the connection until the client is dropped.
pub(super) async fn connect(config: &Config, operation: &'static str) -> Result<Client, StoreError> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(NoTls));
    let (client, connection) = match connecting.await {
        Ok(connected) => connected.map_err(|e| error::not_stored(operation, e))?,
        Err(_) => {
            return Err(StoreError::Unavailable { operation, source: error::too_slow(CONNECT_TIMEOUT) });
        }
    };
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "a database connection was lost");
        }
    });
    Ok(client)
}
