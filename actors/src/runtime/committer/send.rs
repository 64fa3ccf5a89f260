//! Sending a batch until it is known what became of it, within a bound. Never in here: what is in a batch, or who asked.

use std::sync::Arc;

use tokio::time::Instant;

use super::CommitError;
use crate::limits::{COMMIT_RESEND_INITIAL, COMMIT_RESEND_MAX, COMMIT_RESENDS, COMMIT_TRY};
use crate::ports::EventStore;
use crate::ports::batch::Batch;
use crate::ports::event_store::{AppendOutcome, StoreError};

/// Sends the batch, and the identical batch again: while it is certainly not stored, until `patience` is over (but for
/// at least [`COMMIT_TRY`]); from the moment that it may be stored, until it is known, [`COMMIT_RESENDS`] times at most.
pub(super) async fn send_until_known(
    store: &dyn EventStore,
    batch: &Arc<Batch>,
    patience: Instant,
) -> Result<Vec<AppendOutcome>, CommitError> {
    let patience = patience.max(Instant::now() + COMMIT_TRY);
    let (mut pause, mut uncertain, mut attempt) = (COMMIT_RESEND_INITIAL, false, 0);
    loop {
        let error = match store.append(Arc::clone(batch)).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(error) => error,
        };
        uncertain |= !error.certainly_not_stored();
        let patient = if uncertain { attempt < COMMIT_RESENDS } else { Instant::now() + pause < patience };
        if !(error.retryable() && patient) {
            return Err(given_up(&error, uncertain));
        }
        tracing::warn!(error = &error as &dyn std::error::Error, attempt, uncertain, "commit is sent again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(COMMIT_RESEND_MAX);
        attempt += 1;
    }
}

fn given_up(error: &StoreError, uncertain: bool) -> CommitError {
    tracing::error!(error = error as &dyn std::error::Error, uncertain, "commit given up");
    match (uncertain, error.retryable()) {
        (true, _) => CommitError::Unknown,
        (false, true) => CommitError::Unavailable,
        (false, false) => CommitError::Failed,
    }
}
