//! In-memory neighbours for the tests of the plugin host.

use std::sync::Mutex;

use flexcore_actors::domain::ids::ExecutionId;
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::log_store::{LogLine, LogStore};

/// A log that keeps everything.
#[derive(Debug, Default)]
pub struct MemoryLogs(Mutex<Vec<LogLine>>);

impl MemoryLogs {
    /// The texts of all lines, in order.
    pub fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|line| line.text.clone()).collect()
    }
}

impl LogStore for MemoryLogs {
    fn append(&self, _: ExecutionId, lines: &[LogLine]) {
        self.0.lock().unwrap().extend_from_slice(lines);
    }

    fn read(
        &self,
        _: ExecutionId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::io::Result<(Vec<LogLine>, u64)>> {
        let after = usize::try_from(after).unwrap();
        let lines: Vec<LogLine> = self.0.lock().unwrap().iter().skip(after).take(limit).cloned().collect();
        let next = (after + lines.len()) as u64;
        Box::pin(std::future::ready(Ok((lines, next))))
    }
}
