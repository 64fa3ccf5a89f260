//! The one connection that writes. Each call is one statement of its own transaction, so the log's head is never
//! locked across a round trip. A connection that failed is dropped and made again, with a bound; what had been sent
//! on it is answered as unknown, never sent again from here: that is the committer's to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::event_store::{AppendOutcome, StoreError};
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};

use super::columns::{CALL, Columns};
use super::config::{ANSWER_GRACE, APPEND_TIMEOUT};
use super::{error, session};

/// Attempts to connect before a call is answered as unavailable.
const CONNECT_ATTEMPTS: u32 = 5;
/// The pause after the first failed attempt; doubled after each.
const CONNECT_BACKOFF: Duration = Duration::from_millis(50);
/// How often a batch is sent without the units that were refused. The second time is refused only if another node
/// appends to the same streams at the same moment.
const ROUNDS: usize = 8;
/// Positions of one partition of the table event, as its migration has them.
const PARTITION: u64 = 25_000_000;

/// The writing side.
pub(super) struct Writer {
    config: Config,
    session: Mutex<Option<Arc<Session>>>,
}

/// A connection; calls that overlap are sent one behind the other and carried out in that order.
struct Session {
    client: Client,
    append: Statement,
    /// The position from which the partition after the next has to be made.
    partitions_until: AtomicU64,
}

impl Writer {
    /// A writer that connects when it is first needed.
    pub(super) fn new(config: Config) -> Self {
        Self { config, session: Mutex::new(None) }
    }

    /// Stores a batch. What is refused is taken out and the rest sent again, so that every unit has its outcome and
    /// the good ones are stored in one transaction.
    pub(super) async fn append(&self, batch: &Batch) -> Result<Vec<AppendOutcome>, StoreError> {
        const OPERATION: &str = "append";
        let mut outcomes: Vec<Option<AppendOutcome>> = vec![None; batch.units().len()];
        for _ in 0..ROUNDS {
            let open: Vec<usize> = (0..outcomes.len()).filter(|&unit| outcomes[unit].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let columns = Columns::of(batch, open.iter().copied());
            let session = self.ready(OPERATION).await?;
            let rows = self.ask(&session, &session.append, &columns.parameters(), OPERATION).await?;
            let answered = columns.outcomes(&rows).map_err(|e| StoreError::Failed {
                operation: "read the answer of append",
                source: Box::new(e),
            })?;
            for (unit, outcome) in open.into_iter().zip(answered) {
                outcomes[unit] = outcome;
            }
            session.keep_partitions_ahead(&outcomes).await;
        }
        let all: Option<Vec<AppendOutcome>> = outcomes.into_iter().collect();
        all.ok_or_else(|| StoreError::Unavailable {
            operation: OPERATION,
            source: format!("in each of {ROUNDS} rounds another writer was faster").into(),
        })
    }

    /// The session, made again when it is gone.
    async fn ready(&self, operation: &'static str) -> Result<Arc<Session>, StoreError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(Arc::clone(session));
        }
        *slot = None;
        let session = Arc::new(self.connect(operation).await?);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Sends a statement. When the connection ends or stays silent, the session is given up and the outcome unknown.
    async fn ask(
        &self,
        session: &Arc<Session>,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
        operation: &'static str,
    ) -> Result<Vec<Row>, StoreError> {
        let patience = APPEND_TIMEOUT + ANSWER_GRACE;
        let failed = match tokio::time::timeout(patience, session.client.query(statement, parameters)).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(e)) if !error::ends_connection(&e) => return Err(error::after_sending(operation, e)),
            Ok(Err(e)) => error::after_sending(operation, e),
            Err(_) => StoreError::Unknown { operation, source: error::too_slow(patience) },
        };
        // another call may have replaced it already
        self.session.lock().await.take_if(|current| Arc::ptr_eq(current, session));
        Err(failed)
    }

    async fn connect(&self, operation: &'static str) -> Result<Session, StoreError> {
        let mut pause = CONNECT_BACKOFF;
        let mut attempt = 1;
        loop {
            match Session::open(&self.config, operation).await {
                Err(error) if error.retryable() && attempt < CONNECT_ATTEMPTS => {
                    tracing::warn!(%error, attempt, "cannot connect to the database, trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }
}

impl Session {
    async fn open(config: &Config, operation: &'static str) -> Result<Self, StoreError> {
        let client = session::connect(config, operation).await?;
        let prepare = async {
            // S6: an operator may ask for more (remote_apply), never for less
            client
                .batch_execute(
                    "select set_config('synchronous_commit', 'on', false) \
                     where current_setting('synchronous_commit') = 'off'",
                )
                .await?;
            client.prepare(CALL).await
        };
        let append = match tokio::time::timeout(APPEND_TIMEOUT, prepare).await {
            Ok(prepared) => prepared.map_err(|e| error::not_stored(operation, e))?,
            Err(_) => {
                return Err(StoreError::Unavailable { operation, source: error::too_slow(APPEND_TIMEOUT) });
            }
        };
        Ok(Self { client, append, partitions_until: AtomicU64::new(0) })
    }

    /// After a batch that reached a new partition, makes the one after it. A failure is not the batch's: it is
    /// tried again after the next one, and there is a whole partition left to go.
    async fn keep_partitions_ahead(&self, outcomes: &[Option<AppendOutcome>]) {
        let position = outcomes.iter().flatten().filter_map(|outcome| match outcome {
            AppendOutcome::Committed(committed) => Some(committed.position.0),
            _ => None,
        });
        let Some(last) = position.max().filter(|&last| last >= self.partitions_until.load(Relaxed)) else {
            return;
        };
        let make = format!("select flexcore_add_partitions({last})");
        match tokio::time::timeout(APPEND_TIMEOUT, self.client.batch_execute(&make)).await {
            Ok(Ok(())) => self.partitions_until.store((last / PARTITION + 1) * PARTITION, Relaxed),
            Ok(Err(error)) => {
                tracing::error!(%error, last, "cannot make the next partition of the event table")
            }
            Err(_) => tracing::error!(last, "making the next partition of the event table takes too long"),
        }
    }
}
