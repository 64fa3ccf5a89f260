//! What programs say on their standard error, kept for people. Not events: capped, and lost with its node's disk.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BoxFuture;
use crate::domain::ids::{ExecutionId, Name};

/// One line of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub time: Timestamp,
    /// The step.
    pub step: Name,
    /// The plugin.
    pub plugin: Name,
    /// `stderr` or `stdout`; `flexcore` for remarks of the runtime itself.
    pub stream: LogStream,
    /// The text without its newline; invalid UTF-8 replaced, over-long lines cut with a mark.
    pub text: String,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The runtime's own remark.
    Flexcore,
}

/// Lines read in one go by [`LogStore::tail`].
const TAIL_PAGE: usize = 1_000;

/// Where log lines are kept, by execution.
pub trait LogStore: Send + Sync + 'static {
    /// Adds lines; never blocks the caller for long and never fails it: what cannot be kept is counted and dropped.
    fn append(&self, execution: ExecutionId, lines: &[LogLine]);

    /// Lines of an execution from line number `after` (0 is the beginning), at most `limit`, with the number to go
    /// on from. Empty when there are none (yet).
    ///
    /// # Errors
    /// When the log exists but cannot be read.
    fn read(
        &self,
        execution: ExecutionId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::io::Result<(Vec<LogLine>, u64)>>;

    /// The last lines of a program that were given before, at most `last`. A store may look for them in the end of a
    /// long log only.
    ///
    /// # Errors
    /// When the log exists but cannot be read.
    fn tail<'a>(
        &'a self,
        execution: ExecutionId,
        plugin: &'a Name,
        last: usize,
    ) -> BoxFuture<'a, std::io::Result<Vec<LogLine>>> {
        Box::pin(async move {
            let (mut after, mut kept) = (0, VecDeque::new());
            loop {
                let (lines, next) = self.read(execution, after, TAIL_PAGE).await?;
                if next == after {
                    return Ok(kept.into());
                }
                kept.extend(lines.into_iter().filter(|line| line.plugin == *plugin));
                kept.drain(..kept.len().saturating_sub(last));
                after = next;
            }
        })
    }
}
