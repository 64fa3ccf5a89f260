//! The one thread that writes. Jobs wait in a bounded queue; each is one transaction. It decides nothing about
//! units: see `append.rs`.

use std::sync::Arc;
use std::thread::JoinHandle;

use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::event_store::{AppendOutcome, StoreError};
use flexcore_actors::ports::head::Head;
use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::{append, error};

/// Jobs that may wait; the next caller waits for a place. The committer sends few batches at a time.
const QUEUE: usize = 8;

/// The handle of the thread; dropping it waits for the job in hand and closes the file.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Write = Box<dyn FnOnce(&mut Connection) + Send>;
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Append(Arc<Batch>, Reply<Vec<AppendOutcome>>),
    /// Anything else.
    Write(Write),
}

impl Writer {
    /// Gives the connection to a thread of its own; what it stores raises `head`.
    pub(super) fn start(connection: Connection, head: Arc<Head>) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || run(connection, &head, queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Stores a batch.
    pub(super) async fn append(&self, batch: Arc<Batch>) -> Result<Vec<AppendOutcome>, StoreError> {
        self.ask("append", |reply| Job::Append(batch, reply)).await
    }

    /// Does `work` in a transaction of its own.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(operation, |reply| {
            Job::Write(Box::new(move |connection| {
                let _ = reply.send(transaction(connection, operation, work));
            }))
        })
        .await
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().expect("taken only by drop");
        jobs.send(job(reply)).await.map_err(|_| error::gone(operation, "store's writer"))?;
        // the thread panicked with the job in hand: whether it had committed is not known
        answer.await.unwrap_or_else(|lost| Err(StoreError::Unknown { operation, source: Box::new(lost) }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

fn run(mut connection: Connection, head: &Head, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        // a caller that has gone does not need the answer
        match job {
            Job::Append(batch, reply) => {
                let done = transaction(&mut connection, "append", |tx| append::batch(tx, &batch));
                if let Ok(outcomes) = &done {
                    head.raise_by(outcomes);
                }
                let _ = reply.send(done);
            }
            Job::Write(work) => work(&mut connection),
        }
    }
}

fn transaction<T>(
    connection: &mut Connection,
    operation: &'static str,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let before = |e| error::not_stored(operation, e);
    let transaction = connection.transaction().map_err(before)?;
    let value = work(&transaction).map_err(before)?;
    transaction.commit().map_err(|e| error::at_commit(operation, e))?;
    Ok(value)
}
