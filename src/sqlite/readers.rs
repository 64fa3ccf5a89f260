//! Read-only connections, opened when first needed and kept. Reading blocks, so it runs on tokio's blocking threads;
//! nothing here can write.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flexcore_actors::ports::event_store::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{error, open_readable};

/// Reads at the same time; the next waits. More would only compete for the same disk and processors.
const READERS: usize = 4;

/// The pool.
pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            permits: Arc::new(Semaphore::new(READERS)),
            idle: Arc::new(Mutex::new(Vec::with_capacity(READERS))),
        }
    }

    /// Runs `read` on a connection. A connection whose read failed is closed, not used again.
    pub(super) async fn read<T, F>(&self, operation: &'static str, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(error::gone(operation, "store's readers"));
        };
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let done = tokio::task::spawn_blocking(move || {
            // held to the end of the read, also when its caller has gone
            let _permit = permit;
            let kept = idle.lock().expect("no holder of this lock panics").pop();
            let connection = kept.map_or_else(|| open_readable(&path), Ok)?;
            let value = read(&connection)?;
            idle.lock().expect("no holder of this lock panics").push(connection);
            Ok(value)
        });
        match done.await {
            Ok(result) => result.map_err(|e| error::not_stored(operation, e)),
            Err(_) => Err(error::gone(operation, "store's reader")),
        }
    }
}
