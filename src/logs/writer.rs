//! The thread that writes log files.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flexcore_actors::domain::ids::ExecutionId;
use flexcore_actors::ports::log_store::{LogLine, LogStream};
use tokio::sync::oneshot;

use super::limits::{DROP_COUNTS, FILE_BYTES, OPEN_FILES, QUEUE};
use super::path_of;

/// The sending side. Dropping it writes what was given and ends the thread.
#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Task>>,
    dropped: Arc<Dropped>,
    thread: Option<JoinHandle<()>>,
}

/// Lines that did not fit into the queue, by execution.
type Dropped = Mutex<HashMap<ExecutionId, u64>>;

enum Task {
    Write(ExecutionId, Vec<LogLine>),
    Flush(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(directory: PathBuf) -> io::Result<Self> {
        let (queue, tasks) = sync_channel(QUEUE);
        let dropped = Arc::new(Dropped::default());
        let files = Files { directory, open: HashMap::new(), clock: 0 };
        let known = Arc::clone(&dropped);
        let thread =
            std::thread::Builder::new().name("logs".to_owned()).spawn(move || work(files, &tasks, &known))?;
        Ok(Self { queue: Some(queue), dropped, thread: Some(thread) })
    }

    /// Hands lines over, or counts them when the writer is behind.
    pub fn append(&self, execution: ExecutionId, lines: &[LogLine]) {
        let Some(queue) = &self.queue else { return };
        if lines.is_empty() || queue.try_send(Task::Write(execution, lines.to_vec())).is_ok() {
            return;
        }
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        if dropped.len() < DROP_COUNTS || dropped.contains_key(&execution) {
            *dropped.entry(execution).or_default() += lines.len() as u64;
        }
    }

    /// Waits until everything given before is written.
    pub async fn flush(&self) {
        let Some(queue) = self.queue.clone() else { return };
        let (done, finished) = oneshot::channel();
        // the queue may be full; waiting for a place belongs on a thread that may wait
        let sent = tokio::task::spawn_blocking(move || queue.send(Task::Flush(done)).is_ok()).await;
        if sent.unwrap_or(false) {
            let _ = finished.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(mut files: Files, tasks: &Receiver<Task>, dropped: &Dropped) {
    for task in tasks {
        match task {
            Task::Write(execution, lines) => {
                let missing = dropped.lock().unwrap_or_else(PoisonError::into_inner).remove(&execution);
                let told = missing.and_then(|count| Some(remark_on_dropped(lines.first()?, count)));
                if let Err(error) = files.write(execution, told.iter().chain(&lines)) {
                    // the log of a program must not end its execution
                    tracing::warn!(%execution, %error, lines = lines.len(), "log lines could not be written");
                    files.open.remove(&execution);
                }
            }
            Task::Flush(done) => _ = done.send(()),
        }
    }
}

fn remark_on_dropped(next: &LogLine, count: u64) -> LogLine {
    let text = format!("{count} lines were dropped here: the log could not be written as fast");
    LogLine { stream: LogStream::Flexcore, text, ..next.clone() }
}

/// The files that are being written.
struct Files {
    directory: PathBuf,
    open: HashMap<ExecutionId, OpenFile>,
    clock: u64,
}

struct OpenFile {
    file: File,
    size: u64,
    used: u64,
}

impl Files {
    fn write<'l>(
        &mut self,
        execution: ExecutionId,
        lines: impl Iterator<Item = &'l LogLine>,
    ) -> io::Result<()> {
        let target = self.file(execution)?;
        let mut bytes = Vec::new();
        for line in lines {
            let full = target.size + bytes.len() as u64 > FILE_BYTES;
            if full {
                break;
            }
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
            if target.size + bytes.len() as u64 > FILE_BYTES {
                let limit = FILE_BYTES >> 20;
                let text =
                    format!("log cut: an execution's log is at most {limit} MiB; what follows is dropped");
                serde_json::to_writer(
                    &mut bytes,
                    &LogLine { stream: LogStream::Flexcore, text, ..line.clone() },
                )?;
                bytes.push(b'\n');
            }
        }
        target.file.write_all(&bytes)?;
        target.size += bytes.len() as u64;
        Ok(())
    }

    fn file(&mut self, execution: ExecutionId) -> io::Result<&mut OpenFile> {
        self.clock += 1;
        if !self.open.contains_key(&execution) {
            if self.open.len() >= OPEN_FILES {
                let oldest = self.open.iter().min_by_key(|(_, file)| file.used).map(|(id, _)| *id);
                oldest.and_then(|id| self.open.remove(&id));
            }
            self.open.insert(execution, open(&path_of(&self.directory, execution))?);
        }
        let file = self.open.get_mut(&execution).ok_or(io::ErrorKind::NotFound)?;
        file.used = self.clock;
        Ok(file)
    }
}

/// Opens a log to be continued; a line that a crash cut off is ended, so that it does not spoil the next one.
fn open(path: &Path) -> io::Result<OpenFile> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut size = file.seek(SeekFrom::End(0))?;
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok(OpenFile { file, size, used: 0 })
}

#[cfg(test)]
mod tests {
    use flexcore_actors::domain::ids::Name;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nobody_waits_for_a_slow_disk_and_gaps_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let execution = ExecutionId(Uuid::from_u128(7));
        let line = |text: &str| LogLine {
            time: Timestamp::UNIX_EPOCH,
            step: Name::new("step").unwrap(),
            plugin: Name::new("tap").unwrap(),
            stream: LogStream::Stderr,
            text: text.to_owned(),
        };
        // a writer that has not begun to work stands for a slow disk
        let (queue, tasks) = sync_channel(1);
        let mut writer = Writer { queue: Some(queue), dropped: Arc::default(), thread: None };
        writer.append(execution, &[line("kept")]);
        writer.append(execution, &[line("lost"), line("lost")]);
        writer.append(execution, &[line("lost")]);
        writer.queue = None;
        let files = Files { directory: dir.path().to_owned(), open: HashMap::new(), clock: 0 };
        work(files, &tasks, &writer.dropped);
        let content = std::fs::read_to_string(path_of(dir.path(), execution)).unwrap();
        let texts: Vec<String> =
            content.lines().map(|l| serde_json::from_str::<LogLine>(l).unwrap().text).collect();
        assert_eq!(texts, ["3 lines were dropped here: the log could not be written as fast", "kept"]);
    }
}
