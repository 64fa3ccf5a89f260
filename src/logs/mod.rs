//! The log store of a node: one file of JSON lines for each execution, under the data directory.
//!
//! Callers hand lines to a writer thread through a bounded queue and never wait; what does not fit is counted and
//! dropped. Never in here: what the lines mean, or who may read them.

mod limits;
mod reader;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flexcore_actors::domain::ids::{ExecutionId, Name};
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::log_store::{LogLine, LogStore};
use futures::FutureExt;

use self::limits::READ_LINES;
use self::reader::Reader;
use self::writer::Writer;

/// Under the data directory.
const DIRECTORY: &str = "logs";

/// Log files of executions. Cheap to clone; the writer ends with the last clone, after writing what it was given.
#[derive(Debug, Clone)]
pub struct FileLogs {
    writer: Arc<Writer>,
    reader: Arc<Reader>,
}

impl FileLogs {
    /// Opens the logs under `data_dir` and starts their writer.
    ///
    /// # Errors
    /// When the directory cannot be made or the thread not be started.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let directory = data_dir.join(DIRECTORY);
        std::fs::create_dir_all(&directory)?;
        let writer = Arc::new(Writer::start(directory.clone())?);
        Ok(Self { writer, reader: Arc::new(Reader::new(directory)) })
    }

    /// Waits until everything given before is written.
    pub async fn flush(&self) {
        self.writer.flush().await;
    }
}

impl LogStore for FileLogs {
    fn append(&self, execution: ExecutionId, lines: &[LogLine]) {
        self.writer.append(execution, lines);
    }

    fn read(
        &self,
        execution: ExecutionId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, io::Result<(Vec<LogLine>, u64)>> {
        let reader = Arc::clone(&self.reader);
        async move {
            let read = move || reader.read(execution, after, limit.min(READ_LINES));
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
        }
        .boxed()
    }

    fn tail<'a>(
        &'a self,
        execution: ExecutionId,
        plugin: &'a Name,
        last: usize,
    ) -> BoxFuture<'a, io::Result<Vec<LogLine>>> {
        let (reader, plugin) = (Arc::clone(&self.reader), plugin.clone());
        async move {
            self.flush().await;
            let read = move || reader.tail(execution, &plugin, last);
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
        }
        .boxed()
    }
}

/// The file of an execution.
fn path_of(directory: &Path, execution: ExecutionId) -> PathBuf {
    directory.join(format!("{execution}.ndjson"))
}

#[cfg(test)]
mod tests;
