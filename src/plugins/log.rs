//! The log of one program of an attempt: bounded by `limits.output`, cut lines marked, never an error for the program.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flexcore_actors::domain::ids::{ExecutionId, Name};
use flexcore_actors::domain::quantity::Bytes;
use flexcore_actors::ports::log_store::{LogLine, LogStream};
use flexcore_actors::ports::{Clock, LogStore};

use super::limits::MAX_LOG_LINE;
use super::output::Line;
use super::redact::Redactor;

pub use flexcore_actors::ports::log_store::LogStream as Stream;

/// Appended to a line that was cut.
const CUT_MARK: &str = " … (line cut by flexcore)";

/// Where a program's lines go. Cheap to clone; clones share the budget.
#[derive(Clone)]
pub struct ProgramLog(Arc<Inner>);

struct Inner {
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    execution: ExecutionId,
    step: Name,
    plugin: Name,
    limit: Bytes,
    secrets: Redactor,
    used: Mutex<u64>,
    dropped: AtomicU64,
}

impl std::fmt::Debug for ProgramLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgramLog").field("plugin", &self.0.plugin).finish_non_exhaustive()
    }
}

/// Whose log it is.
#[derive(Debug, Clone)]
pub struct LogIdentity {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub step: Name,
    /// The plugin.
    pub plugin: Name,
}

impl ProgramLog {
    /// A log that keeps at most `limit` bytes of text and hides `secrets` in what the program prints.
    #[must_use]
    pub fn new(
        store: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
        identity: LogIdentity,
        limit: Bytes,
        secrets: Redactor,
    ) -> Self {
        let LogIdentity { execution, step, plugin } = identity;
        let (used, dropped) = (Mutex::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { store, clock, execution, step, plugin, limit, secrets, used, dropped }))
    }

    /// Adds lines a program printed; empty ones are left out. Beyond the limit one mark is written and the rest dropped.
    pub fn lines(&self, stream: Stream, lines: &[Line]) {
        let mut kept = Vec::with_capacity(lines.len());
        {
            let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            for line in lines.iter().filter(|line| !line.bytes.is_empty()) {
                let fits = *used <= self.0.limit.0;
                *used = used.saturating_add(line.bytes.len() as u64);
                match (fits, *used > self.0.limit.0) {
                    (true, false) => kept.push(self.line(stream, text_of(line, &self.0.secrets))),
                    (true, true) => {
                        self.0.dropped.fetch_add(1, Ordering::Relaxed);
                        kept.push(self.line(LogStream::Flexcore, self.mark()));
                    }
                    (false, _) => _ = self.0.dropped.fetch_add(1, Ordering::Relaxed),
                }
            }
        }
        if !kept.is_empty() {
            self.0.store.append(self.0.execution, &kept);
        }
    }

    /// Adds a remark of the runtime itself; not counted.
    pub fn remark(&self, text: impl Into<String>) {
        let text = self.0.secrets.redact(&text.into());
        self.0.store.append(self.0.execution, &[self.line(LogStream::Flexcore, text)]);
    }

    /// Says how much was dropped, if anything was.
    pub fn close(&self) {
        let dropped = self.0.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.remark(format!("{dropped} lines were dropped beyond the log's limit"));
        }
    }

    fn mark(&self) -> String {
        format!("log cut: limits.output of {} is reached; what follows is dropped", self.0.limit)
    }

    fn line(&self, stream: LogStream, text: String) -> LogLine {
        LogLine {
            time: self.0.clock.now(),
            step: self.0.step.clone(),
            plugin: self.0.plugin.clone(),
            stream,
            text,
        }
    }
}

fn text_of(line: &Line, secrets: &Redactor) -> String {
    let bytes = &line.bytes[..line.bytes.len().min(MAX_LOG_LINE)];
    let text = String::from_utf8_lossy(bytes);
    if line.cut || line.bytes.len() > MAX_LOG_LINE {
        secrets.redact_cut(&text) + CUT_MARK
    } else {
        secrets.redact(text.trim_end_matches('\r'))
    }
}

#[cfg(test)]
mod tests {
    use flexcore_actors::ports::clock::System;
    use uuid::Uuid;

    use super::*;
    use crate::plugins::testing::MemoryLogs;

    #[test]
    fn the_limit_leaves_one_mark_and_a_count() {
        let logs = Arc::new(MemoryLogs::default());
        let identity = LogIdentity {
            execution: ExecutionId(Uuid::from_u128(1)),
            step: Name::new("s").unwrap(),
            plugin: Name::new("p").unwrap(),
        };
        let log = ProgramLog::new(logs.clone(), Arc::new(System), identity, Bytes(10), Redactor::default());
        let line = |text: &str| Line { bytes: text.as_bytes().to_vec(), cut: false };
        log.lines(Stream::Stderr, &[line("12345"), line(""), line("12345"), line("x"), line("y")]);
        log.lines(Stream::Stderr, &[line("z")]);
        log.close();
        let texts = logs.texts();
        assert_eq!(&texts[..2], ["12345", "12345"]);
        assert!(texts[2].contains("limits.output of 10B"), "{texts:?}");
        assert_eq!(texts[3..], ["3 lines were dropped beyond the log's limit"]);
    }

    #[test]
    fn cut_lines_are_marked() {
        let cut = text_of(&Line { bytes: b"abc\xff".to_vec(), cut: true }, &Redactor::default());
        assert_eq!(cut, format!("abc{CUT_MARK}"));
    }
}
